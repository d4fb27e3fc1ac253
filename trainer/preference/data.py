"""Votes on statements: reading them, drawing few raters, and how far the groups of a conversation differ."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mediator.errors import InputError
from mediator.settings import user_path
from trainer.empathy.data import numbered_lines

ANSWERS = ("agree", "disagree", "pass")

Counts = NDArray[np.int64]

_FEWEST = 5
"""Votes that a group must have cast on a statement for its share to say anything."""


@dataclass(frozen=True)
class Statement:
    """One statement that people voted on.

    Attributes:
        conversation: where it was made: the name of its file; `host_of` reads from it who held it.
        text: the statement.
        votes: how many agreed, disagreed and passed.
        groups: the same for each opinion group, where these are known.
    """

    conversation: str
    text: str
    votes: tuple[int, int, int]
    groups: tuple[tuple[int, int, int], ...] = field(default=())

    @property
    def share(self) -> float:
        """The share that agreed, of those who took a stand, 0..1; there is at least one of them."""
        agree, disagree, _ = self.votes
        return agree / (agree + disagree)

    @property
    def disagreement(self) -> float | None:
        """How far the groups differ; None where fewer than two of them have five votes for or against.

        The standard deviation of the groups' shares, less what chance makes of it with so few votes: the root of the
        mean squared difference between two groups' shares over 2, from which the sampling variance p (1 - p) / (n - 1)
        of each share is taken; 0 where no more is left. 0..0.71.
        """
        groups = [(agree, agree + against) for agree, against, _ in self.groups if agree + against >= _FEWEST]
        if len(groups) < 2:
            return None
        shares = np.array([agree / count for agree, count in groups])
        noise = np.mean([share * (1 - share) / (count - 1) for share, (_, count) in zip(shares, groups, strict=True)])
        return math.sqrt(max(0.0, float(shares.var(ddof=1) - noise)))


def load_votes(path: Path | str) -> list[Statement]:
    """Read statements on which somebody agreed or disagreed: one file, or each JSONL file of a folder, in their order.

    A line is ``{text, agree, disagree, pass, groups: {id: {agree, disagree, pass}}}``; ``groups`` may be missing.

    Raises:
        InputError: nothing is there, or a line is bad; file, line and field are named.
    """
    place = user_path(str(path))
    files = sorted(place.glob("*.jsonl")) if place.is_dir() else [place]
    found = [statement for file in files for statement in _read(file)]
    if not found:
        raise InputError(f"{place} holds no statement with votes.", "Name a folder of JSONL files, or one such file.")
    return found


def conversations(statements: Sequence[Statement]) -> list[str]:
    """Return the names of the conversations, sorted."""
    return sorted({statement.conversation for statement in statements})


def host_of(conversation: str) -> str:
    """Return who held a conversation: the part of its name before the first dot, as in ``HOST.SUBJECT.jsonl``.

    Conversations of one host share voters and customs: they tell less of what a new one will be like than as many of
    different hosts do. A name without a dot is its own host.
    """
    return conversation.partition(".")[0]


def counts_of(statements: Sequence[Statement], count_pass: bool = False) -> Counts:
    """Return the votes as (B, 2), or (B, 3) with those who passed."""
    return np.array([statement.votes[: 3 if count_pass else 2] for statement in statements], dtype=np.int64)


def drawn_raters(counts: Counts, raters: int, seed: int) -> Counts:
    """Draw so many votes of each statement, without putting any back.

    Args:
        counts: (B, C) all votes.
        raters: how many are drawn; a statement with fewer keeps all; 0 keeps all votes of all.
        seed: of the drawing; what is drawn of a row depends on it, on ``raters``, and on the row's place and counts,
            and on no other row.

    Returns:
        (B, C) the drawn votes.
    """
    if raters == 0:
        return counts.copy()
    return np.array(
        [
            np.random.default_rng((seed, raters, place)).multivariate_hypergeometric(row, min(raters, int(row.sum())))
            for place, row in enumerate(counts)
        ]
    )


def _read(path: Path) -> list[Statement]:
    statements = []
    for number, line in numbered_lines(path):
        where = f"{path}, line {number + 1}"
        text = line.get("text")
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{where}: `text` is missing or empty.", "It is the statement that people voted on.")
        votes = _votes(line, where, "")
        groups = line.get("groups") or {}
        if not isinstance(groups, dict):
            raise InputError(f"{where}: `groups` is no object.", "It has the votes of each group by its name.")
        parts = tuple(_votes(groups[name], where, f"groups.{name}.") for name in sorted(groups))
        if votes[0] + votes[1] > 0:
            statements.append(Statement(path.stem, text.strip(), votes, parts))
    return statements


def _votes(value: object, where: str, prefix: str) -> tuple[int, int, int]:
    found = []
    for name in ANSWERS:
        count = value.get(name) if isinstance(value, dict) else None
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise InputError(f"{where}: `{prefix}{name}` is no whole number of votes.", "It is at least 0.")
        found.append(count)
    return found[0], found[1], found[2]

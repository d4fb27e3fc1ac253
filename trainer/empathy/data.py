"""The human judgements that the empathy encoder learns from: ratings, stories, opposing claims; checked and split."""

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mediator.errors import InputError
from mediator.schema import View


@dataclass(frozen=True)
class RatedPair:
    """One human rating. ``rating`` is 0..1: the empathy of ``view_a``'s author for ``view_b``'s; ``row`` from 0."""

    row: int
    view_a: View
    view_b: View
    rating: float

    @property
    def rater(self) -> str:
        """Who rated: A's text stands for its author."""
        return self.view_a.as_text()


@dataclass(frozen=True)
class StoryPair:
    """Two stories with their human empathic similarity, 1..4.

    ``mean`` is that of all similarities that were rated (empathy, event, emotion, moral), 1..4: less noisy to learn
    from, and the empathic one correlates with each of the others at about 0.6.
    """

    story_a: str
    story_b: str
    empathy: float
    mean: float


@dataclass(frozen=True)
class Contrast:
    """Two opposing sides: ``anchors[i]`` belongs to ``answers[i]`` and not to the other answer."""

    anchors: tuple[str, str]
    answers: tuple[str, str]


@dataclass
class TrainingData:
    """Everything one run learns from, and the raters by whom it chooses its epoch."""

    raters: list[list[RatedPair]] = field(default_factory=list)
    sides: list[Contrast] = field(default_factory=list)
    stances: list[Contrast] = field(default_factory=list)
    stories: list[StoryPair] = field(default_factory=list)
    validation: list[list[RatedPair]] = field(default_factory=list)


def numbered_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with their numbers from 0. Raises `InputError` naming file and line."""
    if not path.is_file():
        raise InputError(f"There is no file {path}.", "Give the path of the JSONL file.")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}, line {number + 1}: not valid JSON ({error.msg}).") from error
            if not isinstance(value, dict):
                raise InputError(f"{path}, line {number + 1}: not a JSON object.")
            yield number, value


def load_ratings(path: Path | str) -> list[RatedPair]:
    """Read rated pairs of views. Raises `InputError` with file, line and field."""
    pairs = []
    for row, line in numbered_lines(Path(path)):
        try:
            view_a, view_b = View(**line["view_a"]), View(**line["view_b"])
            rating = float(line["empathy"]) / 100
        except KeyError as error:
            raise InputError(f"{path}, line {row + 1}: the field {error} is missing.") from error
        except ValidationError as error:
            first = error.errors()[0]
            field_name = ".".join(str(part) for part in first["loc"]) or "view"
            raise InputError(f"{path}, line {row + 1}: {field_name}: {first['msg']}.") from error
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}, line {row + 1}: {error}.") from error
        if not 0 <= rating <= 1:
            raise InputError(f"{path}, line {row + 1}: `empathy` is {line['empathy']}; it must lie between 0 and 100.")
        pairs.append(RatedPair(row, view_a, view_b, rating))
    return pairs


def load_rows(path: Path | str) -> list[int]:
    """Read the `row` of each line: a line of a file of ratings, from 0. Raises `InputError` with file and line."""
    rows = []
    for number, line in numbered_lines(Path(path)):
        row = line.get("row")
        if not isinstance(row, int) or isinstance(row, bool) or row < 0:
            raise InputError(f"{path}, line {number + 1}: `row` is {row}; it must be a whole number from 0.")
        rows.append(row)
    return rows


def raters_left_out(pairs: Sequence[RatedPair], paths: Sequence[Path | str]) -> set[str]:
    """Return the raters of the rows that files name (`load_rows`): of nothing of theirs may be learned."""
    rows = {row for path in paths for row in load_rows(path)}
    return {pair.rater for pair in pairs if pair.row in rows}


def load_stories(path: Path | str) -> list[StoryPair]:
    """Read rated pairs of stories. Raises `InputError` with file, line and field."""
    stories = []
    for row, line in numbered_lines(Path(path)):
        try:
            empathy = float(line["empathy"])
            rated = [empathy, *(float(line[name]) for name in ("event", "emotion", "moral") if name in line)]
            stories.append(StoryPair(str(line["story_a"]), str(line["story_b"]), empathy, sum(rated) / len(rated)))
        except KeyError as error:
            raise InputError(f"{path}, line {row + 1}: the field {error} is missing.") from error
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}, line {row + 1}: {error}.") from error
    return stories


def split_by_rater(
    pairs: Sequence[RatedPair], held_out: float, seed: int
) -> tuple[list[list[RatedPair]], list[list[RatedPair]]]:
    """Divide into (training, held out), each a list of raters with all their pairs; no rater is in both.

    Raters are shuffled from their sorted order, so that the division depends on the seed and not on the file's order.
    """
    by_rater: dict[str, list[RatedPair]] = defaultdict(list)
    for pair in pairs:
        by_rater[pair.rater].append(pair)
    raters = sorted(by_rater)
    random.Random(seed).shuffle(raters)  # noqa: S311  (no secret: a reproducible shuffle)
    count = round(len(raters) * held_out)
    return [by_rater[rater] for rater in raters[count:]], [by_rater[rater] for rater in raters[:count]]


def _situation(view: View) -> str:
    """A view without its suggestion: with it, the contrast would be won by comparing a text with itself."""
    return View(place=view.place or "-", reason=view.reason).as_text()


def contrasts_of_views(pairs: Sequence[RatedPair]) -> list[Contrast]:
    """Make one contrast of each pair of views that both suggest something different."""
    return [
        Contrast((_situation(pair.view_a), _situation(pair.view_b)), (pair.view_a.suggestion, pair.view_b.suggestion))
        for pair in pairs
        if pair.view_a.suggestion and pair.view_b.suggestion and pair.view_a.suggestion != pair.view_b.suggestion
    ]


def contrasts_of_claims(path: Path | str, seed: int) -> list[Contrast]:
    """Make contrasts of claims with at least two perspectives on each side; every perspective is used at most once."""
    chance = random.Random(seed)  # noqa: S311  (no secret: a reproducible shuffle)
    contrasts = []
    for _, line in numbered_lines(Path(path)):
        support, undermine = list(line.get("support", [])), list(line.get("undermine", []))
        chance.shuffle(support)
        chance.shuffle(undermine)
        contrasts += [
            Contrast((support[i], undermine[i]), (support[i + 1], undermine[i + 1]))
            for i in range(0, min(len(support), len(undermine)) - 1, 2)
        ]
    return contrasts

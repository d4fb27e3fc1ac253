"""Redaction: names and places that a mediator lists are replaced in every text of a session; the scores stay."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from mediator.schema import LONGEST_LABEL
from mediator.session import LONGEST_TITLE, Session

Pair = tuple[str, str]
"""A word, or several with spaces between, and what stands in its place; an empty one is made: ``[name 1]``."""

_SIDES = ("a", "b")
"""What `Rating.rater` holds for the two sides: codes, not names."""

# Texts that are codes of the program, never words of a person.
_CODES = frozenset("id round_id like form strategy category state mark verdict".split())
_LIMITS = {"label": LONGEST_LABEL, "title": LONGEST_TITLE}

# Scripts in which words are not set apart by spaces, or (Korean) carry their particles: there, any occurrence counts.
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3130, 0x318F),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7FF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip
_NO_WIDTH_SPACE = "\u200b"
_ALIKE = str.maketrans("’ʼ‘´`＇‐‑‒–—−ı\u200b", "''''''------i ")


def redact(session: Session, pairs: Sequence[Pair]) -> Session:
    """Return the session with every listed word replaced.

    That is in views, names of sides, what is known about people, summary, comments, proposals (also of audits), edits,
    notes, raters, titles, problems and models' names.

    Case makes no difference, nor does the way accents, spaces, hyphens and apostrophes are encoded. A word counts where
    it stands by itself or with a possessive s ("Anna's", "Annas"), which is left behind; in scripts without spaces,
    anywhere. Where several listed words begin at one place, the longest counts. One word has one replacement
    everywhere; of two entries for it the first counts.

    **What it cannot find:** misspellings, other spellings and nicknames, other inflections, names inside longer words,
    and descriptions that give somebody away ("the baker on the third floor"). Somebody must read the result.

    Args:
        session: as it is; it is not changed.
        pairs: (word, replacement). Blank words are left out. Words without a replacement become ``[name 1]``,
            ``[name 2]``, … in the order of the list.

    Example:
        >>> _Redactor([("Anna", "")]).text("ANNA's cat, Annabel, and Annas dog")
        "[name 1]'s cat, Annabel, and [name 1]s dog"
    """
    redactor = _Redactor(pairs)
    if not redactor.words:
        return session
    return Session.model_validate(_walk(session.model_dump(round_trip=True), redactor.text))


def occurrences(session: Session, pairs: Sequence[Pair]) -> tuple[int, ...]:
    """Count what `redact` would replace: one number for each pair, 0 for a blank word or one that is listed again."""
    redactor = _Redactor(pairs)
    _walk(session.model_dump(round_trip=True), redactor.text)
    counts: list[int] = []
    for word, _ in pairs:
        counts.append(redactor.counts.pop(_word(word), 0))
    return tuple(counts)


class _Redactor:
    """Replaces the words of one list, and counts.

    Attributes:
        words: replacement of each folded word.
        counts: how often each folded word was replaced so far.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.words: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        unnamed = 0
        for word, replacement in pairs:
            folded = _word(word)
            if not folded or folded in self.words:
                continue
            if not replacement.strip():
                unnamed += 1
                replacement = f"[name {unnamed}]"
            self.words[folded] = replacement.strip()
        self._by_start: dict[str, list[str]] = {}
        for folded in sorted(self.words, key=len, reverse=True):
            self._by_start.setdefault(folded[0], []).append(folded)

    def text(self, text: str) -> str:
        folded, starts, ends = _folded(text)
        pieces: list[str] = []
        done, at = 0, 0
        while at < len(folded):
            word = self._at(folded, at)
            if word is None or starts[at] < done:  # the second half of what one character folds to
                at += 1
                continue
            pieces += (text[done : starts[at]], self.words[word])
            at += len(word)
            done = ends[at - 1]
            self.counts[word] = self.counts.get(word, 0) + 1
        return "".join([*pieces, text[done:]])

    def _at(self, folded: str, at: int) -> str | None:
        """Return the longest listed word that stands at this place."""
        for word in self._by_start.get(folded[at], ()):
            if folded.startswith(word, at) and _begins(folded, at) and _ends(folded, at + len(word)):
                return word
        return None


def _begins(folded: str, at: int) -> bool:
    return at == 0 or not (_joins(folded[at]) and _joins(folded[at - 1]))


def _ends(folded: str, end: int) -> bool:
    if end >= len(folded) or not (_joins(folded[end - 1]) and _joins(folded[end])):
        return True
    return folded[end] == "s" and (end + 1 == len(folded) or not _joins(folded[end + 1]))


@lru_cache(maxsize=4096)
def _joins(character: str) -> bool:
    """Whether a character makes one word with its neighbours of this kind."""
    if not (character.isalnum() or unicodedata.category(character).startswith("M")):
        return False
    return not any(first <= ord(character) <= last for first, last in _UNSPACED)


def _word(word: str) -> str:
    return _folded(word)[0].strip()


def _folded(text: str) -> tuple[str, list[int], list[int]]:
    """Return the text in one form for all ways of writing it, and where each of its characters is in the original.

    The three have the same length; the two lists hold beginnings and ends, counted in characters of ``text``.
    """
    folded: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    while at < len(text):
        end = at + 1
        while end < len(text) and _continues(text[end]):
            end += 1
        piece = _fold(text[at:end])
        if piece.isspace() and folded and folded[-1] == " ":
            piece, ends[-1] = "", end
        for character in piece:
            folded.append(character)
            starts.append(at)
            ends.append(end)
        at = end
    return "".join(folded), starts, ends


@lru_cache(maxsize=4096)
def _continues(character: str) -> bool:
    """Whether a character belongs to the one before: accents, the parts of a Korean syllable, and unseen characters."""
    if _is_unseen(character) or 0x1160 <= ord(character) <= 0x11FF:
        return True
    return unicodedata.category(character).startswith("M")


@lru_cache(maxsize=16384)
def _fold(piece: str) -> str:
    visible = "".join(character for character in piece if not _is_unseen(character))
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible).casefold())
    plain = plain.replace("i\u0307", "i").translate(_ALIKE)
    return "".join(" " if character.isspace() else character for character in plain)


def _is_unseen(character: str) -> bool:
    """Soft hyphens, joiners and marks of direction. A space of no width is a space."""
    return unicodedata.category(character) == "Cf" and character != _NO_WIDTH_SPACE


def _walk(value: Any, change: Callable[[str], str], field: str = "") -> Any:
    if isinstance(value, str):
        return _shortened(change(value), _LIMITS.get(field))
    if isinstance(value, Mapping):
        if field in ("demographics", "timings"):
            return _renamed(value, change)
        return {
            name: entry if isinstance(entry, str) and name in _CODES else _walk(entry, change, name)
            for name, entry in value.items()
        }
    if isinstance(value, list | tuple):
        if field == "ratings":
            raters = _distinct([entry["rater"] for entry in value], change)
            rest = ({name: part for name, part in entry.items() if name != "rater"} for entry in value)
            return [_walk(entry, change) | {"rater": rater} for entry, rater in zip(rest, raters, strict=True)]
        return [_walk(entry, change, field) for entry in value]
    return value


def _renamed(value: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Redact a mapping whose names are somebody's words, too."""
    entries = (change(entry) if isinstance(entry, str) else entry for entry in value.values())
    return dict(zip(_distinct(list(value), change, ()), entries, strict=True))


def _distinct(names: list[str], change: Callable[[str], str], codes: tuple[str, ...] = _SIDES) -> list[str]:
    """Redact names that must stay different from each other: what would be the same is told apart by a number."""
    made: list[str] = []
    for name in names:
        plain = name if name in codes else _shortened(change(name), LONGEST_LABEL - 5 if codes else None)
        unique, number = plain, 1
        while unique in made or (unique in codes and name not in codes):
            number += 1
            unique = f"{plain} ({number})"
        made.append(unique)
    return made


def _shortened(text: str, limit: int | None) -> str:
    """Cut a text that its replacements made too long between two words: a part of a word might be a listed one."""
    if limit is None or len(text) <= limit:
        return text
    head = text[: limit - 1]
    return head[: max((at for at, character in enumerate(head) if character.isspace()), default=0)].rstrip() + "…"

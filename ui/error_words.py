"""An error's sentence in the language of the page: raised in English, put into German where it is shown.

The command line, the logs and what a run leaves in its folder stay English. assets/errors/de/*.yaml holds, for each
English sentence with its places, the German one: ``"{path} is a folder.": "{path} ist ein Ordner."``. phrases.yaml
has what only stands within another sentence, frames.yaml sentences of nothing but places. A place of the German
sentence may say what stands in it:

- ``{size:figure}`` a number with English separators, and perhaps its unit
- ``{name:quoted}`` a text in Python's quotes
- ``{reason:words}`` words that have an entry of their own, or several sentences
- ``{packages:list}`` names with "and" between them; ``{ways:ways}`` several phrases with "or" between them

What no entry fits is shown as it is.
"""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from string import Formatter

from mediator.errors import EvenhandError
from mediator.resources import asset, read_yaml
from ui.strings import LANGUAGES

LONGEST = 20_000
"""Characters: a longer sentence is shown as it is, so that comparing it with every entry stays quick."""
_DEEPEST = 4  # an error may quote another one, which may quote a third one
_MOST_ENDS = 24  # of sentences, that are tried as the place where one ends and the next begins
_MOST_TRIED = 600  # pieces of a text that are compared with all entries; beyond, it is hardly an error of ours
_END = re.compile(r"[.!?:] (?=\S)|\S (?=[A-Z`])")
_SHORT = 16  # characters of a template besides its places
_FIGURE = re.compile(r"(?<![\w.,-])-?\d[\d,]*(?:\.\d+)?(?=[ %)]|$)")
_SEPARATORS = str.maketrans(",.", ".,")

Pairs = Sequence[tuple["Template", "Template"]]


@dataclass(frozen=True, slots=True)
class Template:
    """A sentence cut at its places: ``literals[0] {names[0]} literals[1] … literals[-1]``."""

    literals: tuple[str, ...]
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    """What stands in each place, in a German sentence: see the head of this file."""

    def found_in(self, sentence: str) -> dict[str, str] | None:
        """Return what stands in each place of a sentence, None where it is not of this template.

        Linear in the sentence's length: each literal is looked for once, from where the one before it ended.
        """
        first, last = self.literals[0], self.literals[-1]
        if not self.names:
            return {} if sentence == first else None
        end = len(sentence) - len(last)
        if len(first) > end or not sentence.startswith(first) or not sentence.endswith(last):
            return None
        found: dict[str, str] = {}
        start = len(first)
        for name, literal in zip(self.names[:-1], self.literals[1:-1], strict=True):
            at = sentence.find(literal, start, end)
            if at < 0:
                return None
            found[name] = sentence[start:at]
            start = at + len(literal)
        found[self.names[-1]] = sentence[start:end]
        return found


@dataclass(frozen=True)
class Sentences:
    """All that a language has: pairs of an English template and its own, those with the longest literal text first."""

    whole: Pairs
    phrases: Pairs
    frames: Pairs


def in_language(language: str, error: EvenhandError | str) -> str:
    """Return an error's message and hint in a language, in English where there is no translation. Plain text.

    Args:
        language: ``en`` or ``de``.
        error: an error, or what ``str()`` once made of one: its message, a blank, and its hint if it has one. Several
            of them one after the other are read too.

    Example:
        >>> in_language("de", "The number of candidates is 99. Ask for 1 to 20.")
        'Als Anzahl der Vorschläge ist 99 angegeben. Verlangen Sie 1 bis 20.'
    """
    if language not in LANGUAGES or not sentences_of(language).whole:
        return str(error)
    if isinstance(error, EvenhandError):
        return " ".join(_translated(language, text) for text in (error.message, error.hint) if text)
    return _translated(language, error)


@cache
def sentences_of(language: str) -> Sentences:
    """Return what assets/errors has for a language; nothing for English, which errors are raised in."""
    texts: dict[str, dict[str, str]] = {"phrases": {}, "frames": {}, "whole": {}}
    for path in sorted(asset("errors", language).glob("*.yaml")):
        texts[path.stem if path.stem in texts else "whole"] |= read_yaml(path) or {}
    return Sentences(**{name: _pairs(entries) for name, entries in texts.items()})


def _pairs(entries: Mapping[str, str]) -> Pairs:
    pairs = [(template_of(english), template_of(other)) for english, other in entries.items()]
    return sorted(pairs, key=lambda pair: (-sum(map(len, pair[0].literals)), pair[0].literals))


def template_of(text: str) -> Template:
    """Cut a text at its ``{places}``; ``{{`` and ``}}`` are braces of the sentence itself."""
    literals, names, kinds = [""], list[str](), list[str]()
    for literal, name, kind, _ in Formatter().parse(text):
        literals[-1] += literal
        if name is not None:
            names.append(name)
            kinds.append(kind or "")
            literals.append("")
    return Template(tuple(literals), tuple(names), tuple(kinds))


@lru_cache(maxsize=256)
def _translated(language: str, text: str) -> str:
    """Translate a message, a hint, or several of them with a blank between."""
    if len(text) > LONGEST:
        return text
    return _Reader(sentences_of(language)).read(text) or text


class _Reader:
    """Puts sentences into the language of some pairs."""

    def __init__(self, known: Sentences) -> None:
        self._known = known
        self._tried = 0
        self._found: dict[tuple[str, bool], str] = {}

    def read(self, text: str, depth: int = 0) -> str:
        """Return the translation of one known sentence or of several in a row; nothing where one of them is unknown.

        Several first: a template that ends with a place would take the sentences that follow for what stands there.
        """
        ends = [found.end() for found in _END.finditer(text)][-_MOST_ENDS:]
        return (ends and self._several(text, ends, depth)) or self.one(text, depth) or self._frame(text, depth)

    def one(self, text: str, depth: int) -> str:
        """Return the translation of one known sentence, or of a phrase within another one; nothing if unknown."""
        within = depth > 0
        if (text, within) not in self._found:
            self._tried += 1
            self._found[text, within] = "" if self._tried > _MOST_TRIED else self._looked_up(text, depth)
        return self._found[text, within]

    def _looked_up(self, text: str, depth: int) -> str:
        framed = ", line " not in text
        for pairs in (self._known.whole, self._known.phrases if depth else ()):
            for english, other in pairs:
                if not framed and sum(map(len, english.literals)) < _SHORT:
                    framed = True  # before "{name} is missing." takes the file and the line for a name
                    if found := self._frame(text, depth):
                        return found
                places = english.found_in(text)
                if places is not None:
                    return self._filled(other, places, depth)
        return ""

    def _several(self, text: str, ends: list[int], depth: int) -> str:
        """Cut a text into known sentences, as short ones as can be; nothing where that cannot be done."""
        starts = [0, *ends]
        rest: dict[int, str] = {len(text) + 1: ""}  # what follows from each start, where it can be read
        for at, start in reversed(list(enumerate(starts))):
            for end in [*starts[at + 1 :], len(text) + 1]:
                if end not in rest or (start == 0 and end > len(text)):
                    continue
                piece = text[start : end - 1] if end <= len(text) else text[start:]
                found = self.one(piece, depth) or self._frame(piece, depth)
                if found:
                    rest[start] = f"{found} {rest[end]}".strip()
                    break
        return rest.get(0, "")

    def _frame(self, text: str, depth: int) -> str:
        """Return a text of a frame's form, where what stands in the frame's last place is known; else nothing."""
        for english, other in self._known.frames if depth < _DEEPEST and self._tried < _MOST_TRIED else ():
            places = english.found_in(text)
            if places is not None and self.read(places[other.names[-1]], depth + 1):
                return self._filled(other, places, depth)
        return ""

    def _filled(self, template: Template, places: Mapping[str, str], depth: int) -> str:
        """Put what was found into a sentence, as it is: it is never read as a template."""
        words = [template.literals[0]]
        for name, kind, literal in zip(template.names, template.kinds, template.literals[1:], strict=True):
            value = places[name]
            if kind in ("words", "ways") and depth < _DEEPEST:
                parts = value.split(", or ") if kind == "ways" else [value]
                value = ", oder ".join(self.read(part, depth + 1) or part for part in parts)
            words += _KINDS.get(kind, str)(value), literal
        return "".join(words)


def _figure(value: str) -> str:
    swapped = _FIGURE.sub(lambda found: found.group().translate(_SEPARATORS), value)
    return re.sub(r"(?<=\d)%", "\u00a0%", swapped)


def _quoted(value: str) -> str:
    """Put a text that stands in Python's quotes into German ones."""
    try:
        text = ast.literal_eval(value) if value[:1] in ("'", '"') else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        text = None
    return f"„{text}“" if isinstance(text, str) and repr(text) == value else value


def _listed(value: str) -> str:
    return value.replace(" and ", " und ").replace(" or ", " oder ")


_KINDS: Mapping[str, Callable[[str], str]] = {"figure": _figure, "quoted": _quoted, "list": _listed}

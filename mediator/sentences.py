"""The sentences of a text, and how much each of them tilts it: the text is scored once more without each one."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from mediator.neutrality import ABOUT_EQUAL
from mediator.schema import Dispute
from mediator.strategies import Scorer

NOTICEABLE = 0.02
"""Change of the tilt, 0..1, below which no sentence is said to tilt a text: less is the scorer's noise."""

MOST_PIECES = 40
"""Pieces of a text that are measured. Of a longer text, neighbouring sentences are measured together."""


@dataclass(frozen=True)
class SentenceInfluence:
    """One sentence of a text and what it does to the scores.

    Attributes:
        text: the sentence as it stands, with the space after it.
        start, end: where it stands: ``whole[start:end] == text``. The sentences of a text follow each other without a
            gap, from 0 to its end.
        tilt_change: tilt with the sentence less tilt without it, -2..2: above zero it draws the text towards A.
        warmth_change: warmth with the sentence less warmth without it, -1..1: above zero it brings the text closer to
            the side further off.
        tilts: whether it is the one that tilts the text most, in the direction in which the text is tilted.
        measured: whether the changes say anything (see `Scores.measured`).
    """

    text: str
    start: int
    end: int
    tilt_change: float
    warmth_change: float
    tilts: bool = False
    measured: bool = True


def influence(scorer: Scorer, dispute: Dispute, text: str) -> tuple[SentenceInfluence, ...]:
    """Measure what each sentence does to the scores of a text, by leaving it out (leave-one-sentence-out).

    At most one sentence ``tilts``: none where the text is about equally close to both sides, or cannot be told to lean
    at all, has a single sentence, or where no sentence moves it by `NOTICEABLE`. The changes of a single sentence are
    0: nothing is left without it.

    Returns:
        The sentences in order; none for a text without any visible character.
    """
    if not text.strip():
        return ()
    spans = _grouped(list(spans_of(text)))
    if len(spans) == 1:
        return (SentenceInfluence(text, 0, len(text), 0.0, 0.0),)
    shorter = [(text[:start] + text[end:]).strip() for start, end in spans]
    whole, *without = scorer.score(dispute, [text, *shorter])
    tilts = [whole.tilt - rest.tilt for rest in without]
    warmths = [whole.warmth - rest.warmth for rest in without]
    direction = 1.0 if whole.tilt > 0 else -1.0
    most = max(range(len(spans)), key=lambda index: direction * tilts[index])
    known = whole.gap > ABOUT_EQUAL and whole.tells_apart is not False
    tilted = known and direction * tilts[most] >= NOTICEABLE
    return tuple(
        SentenceInfluence(
            text[start:end],
            start,
            end,
            tilts[index],
            warmths[index],
            tilts=tilted and index == most,
            measured=whole.measured,
        )
        for index, (start, end) in enumerate(spans)
    )


def spans_of(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the sentences of a text stand, ``(start, end)``: together they are the whole text.

    The space after a sentence belongs to it. A list item and a paragraph end like a sentence; a quotation and a
    parenthesis are not cut.
    """
    kept_whole = [match.span() for match in _KEPT_WHOLE.finditer(text)]
    openings = [opening for opening, _ in kept_whole]
    start, last_visible = 0, len(text.rstrip())
    for end in sorted({*_ends_of_sentences(text), *(match.end() for match in _ENDS_OF_LINES.finditer(text))}):
        before = bisect_left(openings, end)  # of those kept whole, which do not overlap, only the last may hold it
        inside = before > 0 and end < kept_whole[before - 1][1]
        if not inside and end < last_visible and text[start:end].strip():
            yield start, end
            start = end
    if text:
        yield start, len(text)


def sentences(text: str) -> list[str]:
    """Split a text into its sentences, each with the space after it: joined, they are the text.

    Example:
        >>> sentences("Dr. Lee opens at 9.30. “Is that late?” It is not.")
        ['Dr. Lee opens at 9.30. ', '“Is that late?” ', 'It is not.']
    """
    return [text[start:end] for start, end in spans_of(text)]


_CLOSING = "\"'”’“»«›)\\]」』）】》"
_UNSPACED_STOP = "。！？｡︒．"
_SPACED_STOP = ".!?…‽؟۔।॥።។။"

# Pairs only, and not over the end of a paragraph: a lone quotation mark keeps nothing together.
_KEPT_WHOLE = re.compile(
    r"“(?:(?!\n\s*\n)[^“”]){1,500}”|„(?:(?!\n\s*\n)[^„“”]){1,500}[“”]|«(?:(?!\n\s*\n)[^«»]){1,500}»"
    r"|»(?:(?!\n\s*\n)[^«»]){1,500}«|「[^「」]{1,500}」|『[^『』]{1,500}』"
    r'|(?<![\w"])"(?=\S)[^"\n]{1,500}(?<=\S)"(?![\w"])|\((?:(?!\n\s*\n)[^()]){1,500}\)|（[^（）]{1,500}）'
)

_LIST_MARK = r"(?:[-*•–—·▪◦]|\(?\d{1,2}[.)]|\(?[a-z]\))[ \t]+"
_ENDS_OF_LINES = re.compile(rf"\n[ \t]*\n\s*|\n[ \t]*(?={_LIST_MARK}\S)|[\u2028\u2029]\s*")

_STOP = re.compile(
    rf"(?P<unspaced>[{_UNSPACED_STOP}]+[{_UNSPACED_STOP}{_SPACED_STOP}]*[{_CLOSING}]*\s*)"
    rf"|(?<![{_SPACED_STOP}])(?P<stop>[{_SPACED_STOP}]++)(?P<closing>[{_CLOSING}]*+)(?P<space>\s+|(?=[^\W\d_])|(?=[“„«]))"
)
_WORD_BEFORE = re.compile(r"[\w.&’'-]*\w$|\w?$")
_WORD_AFTER = re.compile(r"[\"'“„«‘(\[\s]*([\w’'-]+)")

_NEVER_LAST = frozenset(
    """mr mrs ms mx dr prof rev fr sr jr hr frau st mt ft sgt capt lt col gen gov sen rep hon messrs mme mlle vs cf viz
    al inc e.g eg i.e ie z.b d.h u.a o.ä s.o s.u i.d.r v.a u.u z.t bzw ggf evtl inkl exkl vgl sog ca zzgl bspw insb
    betr gem max min mind approx dept dipl ing dir geb gest tel hl abt""".split()
)
"""Abbreviations, without the last full stop, after which a sentence goes on."""

_BEFORE_NUMBERS = frozenset("no nos nr nrn art abs p pp s ch fig abb sec vol par §".split())
"""Abbreviations after which a sentence goes on with a number."""

_MONTHS_AND_SUCH = frozenset(
    """januar februar märz april mai juni juli august september oktober november dezember jan feb mär apr jun jul
    aug sep sept okt nov dez stock stockwerk etage og klasse jahrgang jahrhundert lebensjahr mal woche tag stunde runde
    schritt platz buch kapitel stufe etappe person fassung auflage""".split()
)
_BEFORE_ORDINALS = frozenset(
    "am der die das dem den des vom zum zur im ab seit bis beim jeder jede jedes jeden jedem und".split()
)
_OPENERS = frozenset(
    """the a an in on at to both they we it he she this that these those each if when for from with after before then so
    there one two either neither all everyone nobody people der die das ein eine in im an am zu beide sie wir es er
    dies diese dieser wenn für von mit nach vor dann danach später dort hier so jede jeder alle niemand""".split()
)


_SEEN_BEFORE = 200
"""Characters before a number that are looked at: a list mark, or a word before an ordinal, stands close to it."""


def _ends_of_sentences(text: str) -> Iterator[int]:
    """Yield where a new sentence may begin, by the stops: after the space that follows one."""
    for match in _STOP.finditer(text):
        if match["unspaced"] is not None or _ends_here(text, match):
            yield match.end()


def _ends_here(text: str, match: re.Match[str]) -> bool:
    """Whether a stop that a space follows, or a letter at once, ends a sentence."""
    after = _WORD_AFTER.match(text, match.end())
    next_word = after.group(1) if after else ""
    if next_word[:1].islower():
        return False
    before = _word_before(text, match.start())
    if not match["space"]:
        return _ends_without_space(match, before, next_word)
    if match["stop"] != "." or match["closing"]:
        return True
    if before.isdigit():
        return not _is_number_with_a_dot(text, match.start(), before, next_word)
    word = before.casefold()
    if word in _NEVER_LAST or (word in _BEFORE_NUMBERS and next_word[:1].isdigit()):
        return False
    # "J. Smith" is one name, "for side A. They" two sentences.
    initial = len(before) == 1 and before.isalpha() and before.isupper()
    return not initial or next_word.casefold() in _OPENERS or "\n" in match["space"]


def _ends_without_space(match: re.Match[str], before: str, next_word: str) -> bool:
    """Whether a sentence ends where the space was forgotten: "the park.Then"; not in "e.g.This", "Q.E.D", "v2.Beta"."""
    if match["stop"] in {"!", "?"} or match["closing"]:
        return bool(before) and (len(next_word) > 1 or next_word == "I")
    # All letters small before it and the next one a capital with a small letter: else it may be a name of a file.
    plain = before.isalpha() and len(before) > 1 and before[1:].islower() and before.casefold() not in _NEVER_LAST
    return plain and (next_word[1:2].islower() or next_word == "I")


def _is_number_with_a_dot(text: str, stop: int, number: str, next_word: str) -> bool:
    """Whether a number and its dot are a list mark at the start of a line, or an ordinal ("am 3. Mai")."""
    nearby = max(0, stop - _SEEN_BEFORE)
    line = text[max(nearby, text.rfind("\n", nearby, stop) + 1) : stop]
    if line.strip() == number:
        return len(number) <= 2
    if len(number) > 2:
        return False
    word, words = next_word.casefold(), line.casefold().split()
    if word in _MONTHS_AND_SUCH:
        return True
    return word not in _OPENERS and len(words) > 1 and words[-2] in _BEFORE_ORDINALS


def _word_before(text: str, stop: int) -> str:
    """The word that ends at a position, with the dots inside it: "e.g" of "e.g."."""
    found = _WORD_BEFORE.search(text, max(0, stop - 40), stop)
    return found.group() if found else ""


def _grouped(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Put neighbours together, evenly, until at most `MOST_PIECES` are left."""
    size = -(-len(spans) // MOST_PIECES)
    return [(group[0][0], group[-1][1]) for group in (spans[at : at + size] for at in range(0, len(spans), size))]

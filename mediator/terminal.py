"""The terminal picture: views and candidates with two bars each, in any width, with and without colour or Unicode."""

import os
import re
from collections.abc import Sequence
from typing import IO

from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.text import Text

from mediator.mediation import MediationDone
from mediator.models import CatalogueEntry
from mediator.neutrality import describe, order_is_clear, scores_of
from mediator.schema import Candidate, Dispute, Scores, Strategy, View
from mediator.strategies import CandidateDone, CandidateProgress, RoundStarted, StrategyEvent

_WIDEST_TEXT = 100
_NARROWEST = 30
_LONGEST_VIEW = 400
"""Characters of a view that the picture repeats; its author knows the rest."""
_LONGEST_PART = 160
"""Characters of its place and of its reason; what the author asks for comes last and must not be what is cut."""

# The two sides have the same weight: same length, same glyph, colours of about the same brightness. What tells them
# apart without colour is the letter at both ends.
_STYLES = {"A": Style(color="color(38)"), "B": Style(color="color(172)")}
_FAINT = Style(dim=True)
_STRONG = Style(bold=True)

ONLY_ENGLISH = "The measure was made from English texts: for other languages the bars say nothing yet."
"""Said where scores are shown that are not `Scores.measured`."""

READY_MADE = (
    "Put together from ready-made measures; check that each fits. A language model reads the case itself: --model."
)
"""Said under the drafter's proposals."""

_ESCAPE_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    r"|[\x1b\x9d][\]PX^_].*?(?:\x07|\x1b\\|\x9c|$)"  # titles, links, clipboard: up to their end
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
# Control characters, and the marks that reorder what is written after them.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_PLAIN = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...", "\u00a0": " ", "±": "+-"}
)


def safe(text: str) -> str:
    """Return a text of unknown origin without what a terminal obeys: escape sequences, controls, reordering marks."""
    return _CONTROL.sub("", _ESCAPE_SEQUENCE.sub("", text.replace("\t", " ").replace("\r\n", "\n")))


class _Console(Console):
    """Leaves a closed pipe to the command line, where rich would end the program with a failure."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Picture:
    """Draws on one stream (stdout, or stderr for progress)."""

    def __init__(self, stream: IO[str], width: int | None = None) -> None:
        """Look at the stream once: how wide, colours or not (NO_COLOR), Unicode or not."""
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
        self.console = _Console(file=stream, width=width, markup=False, highlight=False, emoji=False)
        self.width = max(_NARROWEST, min(self.console.width, _WIDEST_TEXT))
        self.unicode = _draws_unicode(stream)

    def print(self, *parts: RenderableType) -> None:
        """Print lines as they are: no markup is interpreted, no line is broken again."""
        for part in parts:
            self.console.print(part, soft_wrap=True)

    def dispute(self, dispute: Dispute) -> None:
        """Print the title and the two views, shortened."""
        if dispute.title:
            self.print(*self._wrapped(dispute.title, "", _STRONG), Text())
        for side, view in (("A", dispute.view_a), ("B", dispute.view_b)):
            self.print(*self._view(side, view), Text())

    def result(self, done: MediationDone) -> None:
        """Print the candidates, best first."""
        for number, candidate in enumerate(done.candidates, start=1):
            self.print(*self._candidate(number, candidate), Text())

    def notes(self, done: MediationDone, count: int, strategy: str) -> None:
        """Print what is to be known about the candidates as a whole: how many, from which strategy, how warm."""
        found = len(done.candidates)
        if found < count and not done.cancelled:
            self.print(*self._wrapped(f"{found} of the {count} asked for: the others said the same or did not come."))
        measured = all(scores_of(candidate).measured for candidate in done.candidates)
        if not measured:
            self.print(*self._wrapped(ONLY_ENGLISH))
        if done.below_floor:
            which = "The last one comes" if done.below_floor == 1 else f"The last {done.below_floor} come"
            which = f"All {found} come" if 1 < done.below_floor == found else which
            self.print(*self._wrapped(f"{which} close to one side only, or to none."))
        if measured and not order_is_clear(done.candidates):
            self.print(*self._wrapped("Their order is no ranking: they differ by less than the measure can tell."))
        if strategy == "all":
            origins = ", ".join(f"{number} from {name}" for name, number in done.sources.items())
            self.print(*self._wrapped(f"Of these: {origins}."))

    def scored(self, number: int, text: str, scores: Scores, remark: str = "") -> None:
        """Print one text with its bars; ``remark`` stands behind the numbers."""
        self.print(*self._block(f"{number}. {_in_words(scores)}", text, scores, remark), Text())

    def catalogue(self, entries: Sequence[CatalogueEntry]) -> None:
        """Print what `evenhand models list` shows."""
        for kind, heading in (("writer", "Writers (--model)"), ("encoder", "Encoders (--encoder)")):
            self.print(Text(heading, _STRONG), Text())
            for entry in (entry for entry in entries if entry.kind == kind):
                mark = "installed" if entry.installed else "not installed"
                self.print(*self._wrapped(f"{entry.name}  [{mark}]", "  ", _STRONG))
                self.print(*self._wrapped(entry.about, "    "))
                if entry.why_not:
                    self.print(*self._wrapped(entry.why_not, "    "))
                where = f"text goes to {entry.destination}" if entry.destination else "text stays on this computer"
                facts = [where, f"licence: {entry.licence}"]
                if entry.size:
                    facts.append(_size(entry.size))
                self.print(*self._wrapped("; ".join(facts), "    ", _FAINT), Text())

    def line(self, text: str, style: Style | None = None) -> None:
        """Print one sentence."""
        self.print(*self._wrapped(text, "", style or Style()))

    def _view(self, side: str, view: View) -> list[Text]:
        lines = [Text(f"View {side}", _STYLES[side] + _STRONG)]
        for part, longest in (
            (view.text, _LONGEST_VIEW),
            (view.place, _LONGEST_PART),
            (view.reason, _LONGEST_PART),
            (view.suggestion, _LONGEST_VIEW),
        ):
            lines += self._wrapped(_shortened(safe(part), longest), "  ")
        return lines

    def _candidate(self, number: int, candidate: Candidate) -> list[Text]:
        scores = scores_of(candidate)
        origin = f"{candidate.strategy}, round {candidate.round}"
        return self._block(f"{number}. {_in_words(scores)}", candidate.text, scores, origin)

    def _block(self, heading: str, text: str, scores: Scores, origin: str = "") -> list[Text]:
        if not scores.measured:
            remark = self._wrapped(f"({origin})", "   ", _FAINT) if origin else []
            return [*self._wrapped(heading, "", _STRONG), *self._wrapped(text, "   "), *remark]
        shown = scores.rounded()
        tilt = _signed(shown.tilt)
        if scores.tilt_low is not None and scores.tilt_high is not None:
            tilt = f"{tilt} (between {_signed(scores.tilt_low)} and {_signed(scores.tilt_high)})"
        numbers = f"gap {shown.gap:.2f}, tilt {tilt}, warmth {shown.warmth:.2f}"
        return [
            *self._wrapped(heading, "", _STRONG),
            *self._wrapped(text, "   "),
            *self._bars(scores, "   "),
            *self._wrapped(f"{numbers} ({origin})" if origin else numbers, "   ", _FAINT),
        ]

    def _bars(self, scores: Scores, indent: str) -> list[Text]:
        sides = (("A", scores.score_a, scores.score_error_a), ("B", scores.score_b, scores.score_error_b))
        within = ["" if error is None else self.written(f" ± {error:.2f}") for _, _, error in sides]
        length = max(10, min(50, self.width - len(indent) - 12 - max(map(len, within))))
        return [
            Text.assemble(indent, self.bar(side, value, length, error), f" {value:.2f}{words}")
            for (side, value, error), words in zip(sides, within, strict=True)
        ]

    def bar(self, side: str, value: float, length: int, error: float | None = None) -> Text:
        """One bar of ``length`` cells, with the letter of its side at both ends; ``value`` is 0..1.

        The cells within the standard ``error``, 0..1, to both sides of its end are half filled.
        """

        def cells(share: float) -> int:
            return round(max(0.0, min(1.0, share)) * length)

        filled = low = high = cells(value)
        if error is not None:
            low, high = min(filled, cells(value - error)), max(filled, cells(value + error))
        full, half, empty = ("█", "▒", "·") if self.unicode else ("#", "=", ".")
        letter = (side, _STYLES[side] + _STRONG)
        done, unsure = (full * low, _STYLES[side]), (half * (high - low), _STYLES[side])
        return Text.assemble(letter, " ", done, unsure, (empty * (length - high), _FAINT), " ", letter)

    def _wrapped(self, text: str, indent: str = "", style: Style | None = None) -> list[Text]:
        lines: list[Text] = []
        for paragraph in safe(text).split("\n"):
            flowing = Text(self.written(" ".join(paragraph.split())), style or Style())
            if not flowing.plain:
                continue
            lines += flowing.wrap(self.console, self.width - len(indent))
        for line in lines:
            line.rstrip()
            if indent:
                line.pad_left(len(indent))
        return lines

    def written(self, text: str) -> str:
        """Replace typographic marks where the stream has only ASCII."""
        return text if self.unicode else text.translate(_PLAIN)


class Progress:
    """The proposals while they are written: one line and two bars each, redrawn in place."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._heading = "Reading the views"
        self._texts: dict[int, str] = {}
        self._scores: dict[int, Scores] = {}

    def see(self, event: StrategyEvent) -> None:
        """Take in what happened."""
        if isinstance(event, RoundStarted):
            self._texts.clear()
            self._scores.clear()
            self._heading = _round_words(event.strategy, event.round, event.rounds)
        elif isinstance(event, CandidateProgress):
            self._texts[event.index] = event.text
            if event.scores:
                self._scores[event.index] = event.scores
        elif isinstance(event, CandidateDone):
            self._texts[event.index] = event.candidate.text
            self._scores[event.index] = scores_of(event.candidate)

    def picture(self) -> RenderableType:
        """Draw the present state, as high as the terminal allows."""
        picture, lines = self._picture, [Text(self._heading, _FAINT)]
        room = max(1, (picture.console.height - 2) // 3)
        length = max(5, min(24, (picture.width - 16) // 2))
        for index in sorted(self._texts)[-room:]:
            scores = self._scores.get(index)
            if scores is not None and not scores.measured:
                lines.append(Text.assemble(f"{index + 1}. ", (_in_words(scores), _FAINT)))
            else:
                values = (scores.score_a, scores.score_b) if scores else (0.0, 0.0)
                bars = [picture.bar(side, value, length) for side, value in zip("AB", values, strict=True)]
                lines.append(Text.assemble(f"{index + 1}. ", bars[0], "  ", bars[1]))
            tail = picture.written(" ".join(safe(self._texts[index]).split()))
            line = Text(tail[-4 * picture.width :], no_wrap=True)
            while line.cell_len > picture.width - 4:
                line = Text(line.plain[1 + (line.cell_len - picture.width + 4) // 2 :], no_wrap=True)
            line.pad_left(3)
            lines.append(line)
        return Group(*lines)


def _in_words(scores: Scores) -> str:
    return describe(scores) if scores.measured else "not measured for this language"


def _round_words(strategy: Strategy, number: int, rounds: int) -> str:
    return f"Writing: {strategy}, round {number} of at most {rounds}" if rounds > 1 else f"Writing: {strategy}"


def destination_words(destination: str | None, model: str) -> str:
    """Say where the text went."""
    if destination is None:
        return f"The text stayed on this computer (model {model})."
    return f"The text was sent to {destination} (model {model})."


def timing_words(timings: dict[str, float]) -> str:
    """Say how long it took."""
    parts = [f"{timings[name]:.1f} s {words}" for name, words in (("writing", "writing"), ("scoring", "scoring"))]
    return f"{timings['total']:.1f} s in all: {', '.join(parts)}."


def _signed(value: float) -> str:
    """Two decimals with a sign, but none for what rounds to zero."""
    return f"{value:+.2f}" if abs(value) >= 0.005 else "0.00"


def _shortened(text: str, longest: int) -> str:
    text = " ".join(text.split())
    if len(text) <= longest:
        return text
    cut = text[: longest - 1]
    return (cut.rpartition(" ")[0] or cut).rstrip(" ,;:") + "…"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.0f} kB"


def _draws_unicode(stream: IO[str]) -> bool:
    """Whether block characters can be expected to appear: the stream can encode them and the locale is not plain C."""
    try:
        "█·".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    named = next((os.environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "")
    return named not in ("C", "POSIX")

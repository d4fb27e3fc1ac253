"""The picture on a terminal: its bars, widths and colours, plain characters, and nothing that a terminal obeys."""

import io
import re
from dataclasses import replace

import pytest

from mediator.disputes import example
from mediator.mediation import MediationDone
from mediator.neutrality import describe
from mediator.schema import Candidate, Scores, Strategy
from mediator.strategies import CandidateDone, CandidateProgress, RoundStarted
from mediator.terminal import Picture, Progress, safe

SCORES = [
    Scores(score_a=0.9, score_b=0.42, raw_a=0.5, raw_b=0.4),
    Scores(score_a=0.0, score_b=1.0, raw_a=0.1, raw_b=0.6),
]
DONE = MediationDone(
    candidates=tuple(
        Candidate(
            text=f"{number}: " + "Dogs run free in the early hours, 犬は朝だけ自由に走れる. " * 4,
            strategy=strategy,
            scores=scores,
        )
        for number, (strategy, scores) in enumerate(zip((Strategy.COT, Strategy.SINGLE), SCORES, strict=True))
    ),
    pool=(),
    sources={Strategy.SINGLE: 1, Strategy.COT: 1},
    timings={"total": 2.0, "writing": 1.5, "scoring": 0.25},
    below_floor=2,
)


class Terminal(io.TextIOWrapper):
    """A stream in memory that may say that it is a terminal."""

    def __init__(self, encoding: str = "utf-8", is_terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def shown(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


def drawn(stream: Terminal, width: int) -> str:
    picture = Picture(stream, width)
    picture.dispute(example("library-hours"))
    picture.result(DONE)
    picture.notes(DONE, 4, "all")
    return stream.shown()


@pytest.fixture
def _utf8_locale(monkeypatch):
    monkeypatch.setenv("LC_ALL", "en_GB.UTF-8")


@pytest.mark.usefixtures("_utf8_locale")
@pytest.mark.parametrize("width", [60, 80, 137, 200])
def test_the_picture_fits_the_width_and_its_bars_are_equal_in_weight(width):
    from rich.cells import cell_len

    lines = drawn(Terminal(), width).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    bars = [re.fullmatch(r" +([AB]) ([█·]+) \1 (\d\.\d\d)", line) for line in lines]
    bars = [bar for bar in bars if bar]
    assert [bar[1] for bar in bars] == ["A", "B", "A", "B"]
    length = len(bars[0][2])
    assert length >= 10
    for bar, value in zip(bars, (0.9, 0.42, 0.0, 1.0), strict=True):
        assert bar[2] == "█" * round(value * length) + "·" * (length - round(value * length))
        assert float(bar[3]) == value
    text = " ".join(" ".join(lines).split())
    for candidate in DONE.candidates:
        assert " ".join(candidate.text.split())[:40] in text
        assert describe(candidate.scores) in text
    assert "gap 0.48, tilt +0.48, warmth 0.42 (cot, round 1)" in text
    assert "2 of the 4 asked for" in text
    assert "All 2 come close to one side only, or to none." in text
    assert "Of these: 1 from single, 1 from cot." in text
    # What each side asks for is never what is cut.
    for view in (example("library-hours").view_a, example("library-hours").view_b):
        assert view.suggestion in text


@pytest.mark.parametrize(("locale", "bar"), [("en_GB.UTF-8", "██▒▒▒▒····"), ("C", "##====....")])
def test_the_picture_says_how_sure_the_bars_are_and_whether_the_order_means_anything(locale, bar, monkeypatch):
    monkeypatch.setenv("LC_ALL", locale)
    known = {"score_error_a": 0.2, "score_error_b": 0.05, "tilt_low": -0.2, "tilt_high": 0.4}
    unsure = Scores(score_a=0.4, score_b=0.3, raw_a=0.5, raw_b=0.5, **known)
    picture = Picture(stream := Terminal(), 30)
    candidate = DONE.candidates[0].model_copy(update={"scores": unsure})
    picture.scored(1, "Dogs run free.", unsure)
    picture.notes(replace(DONE, candidates=(candidate, candidate), below_floor=0), 2, "single")
    shown = stream.shown()
    assert max(map(len, shown.splitlines())) <= 30
    assert f"A {bar} A 0.40 {'±' if bar[0] == '█' else '+-'} 0.20" in shown
    text = " ".join(shown.split())
    assert "1. cannot tell them apart" in text
    assert "tilt +0.10 (between -0.20 and +0.40)" in text
    assert "Their order is no ranking: they differ by less than the measure can tell." in text
    assert "±" not in drawn(Terminal(), 80)


def test_what_was_not_measured_for_its_language_has_no_bars():
    picture = Picture(stream := Terminal(), 60)
    scores = SCORES[0].unmeasured()
    candidate = DONE.candidates[0].model_copy(update={"scores": scores})
    picture.scored(1, "Hunde laufen frei.", scores)
    picture.notes(replace(DONE, candidates=(candidate, candidate), below_floor=0), 1, "single")
    progress = Progress(picture)
    progress.see(CandidateProgress(Strategy.COT, 1, 0, "Hunde laufen", scores))
    picture.print(progress.picture())
    shown = " ".join(stream.shown().split())
    assert "1. not measured for this language Hunde laufen" in shown
    assert "··" not in shown
    assert ".." not in shown
    assert "no ranking" not in shown
    assert "1. not measured for this language Hunde laufen frei." in shown
    assert "made from English texts" in shown
    assert not any(words in shown for words in ("gap", "█", "close to", "tell them apart"))


def test_one_text_of_another_language_does_not_hide_that_others_are_far():
    picture = Picture(stream := Terminal(), 60)
    one, other = DONE.candidates
    foreign = other.model_copy(update={"scores": SCORES[0].unmeasured()})
    picture.notes(replace(DONE, candidates=(foreign, one), below_floor=1), 2, "single")
    shown = " ".join(stream.shown().split())
    assert "made from English texts" in shown
    assert "The last one comes close to one side only, or to none." in shown


def test_colours_only_on_a_terminal_and_not_with_no_color(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[" not in drawn(Terminal(), 80)
    assert "\x1b[38;5;38m" in drawn(Terminal(is_terminal=True), 80)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*3[0-8]", drawn(Terminal(is_terminal=True), 80))


@pytest.mark.parametrize(("encoding", "locale"), [("ascii", "en_GB.UTF-8"), ("utf-8", "C"), ("latin-1", "")])
def test_plain_characters_where_there_are_no_others(encoding, locale, monkeypatch):
    monkeypatch.setenv("LC_ALL", locale)
    shown = drawn(Terminal(encoding), 80)
    assert re.search(r"A #+\.+ A 0\.90", shown)
    assert not set(shown) & set("█·…’")


def test_safe_strips_what_a_terminal_obeys_and_nothing_else():
    assert safe("a\tb\r\nc — “d” é 犬 🐕") == "a b\nc — “d” é 犬 🐕"
    for bad in (
        "\x1b[2J",
        "\x1b]8;;http://x\x1b\\",
        "\x1b]52;c;eA==\x07",
        "\x9b31m",
        "\x1bc",
        "\x1b(0",
        "\x08",
        "\u2066",
        "\x00",
    ):
        assert safe(f"a{bad}b") == "ab"
    assert "\x1b" not in safe("unfinished \x1b]0;title")


@pytest.mark.usefixtures("_utf8_locale")
@pytest.mark.parametrize("width", [60, 100, 200])
def test_progress_fits_the_terminal(width):
    from rich.cells import cell_len

    stream = Terminal()
    picture = Picture(stream, width)
    progress = Progress(picture)
    progress.see(RoundStarted(Strategy.COT_FEEDBACK, 2, 3))
    progress.see(CandidateProgress(Strategy.COT_FEEDBACK, 2, 0, "[red]" + "犬が走る " * 200 + "END", SCORES[0]))
    progress.see(CandidateProgress(Strategy.COT_FEEDBACK, 2, 1, "Only a start"))
    progress.see(CandidateDone(Strategy.COT_FEEDBACK, 2, 2, DONE.candidates[0]))
    picture.print(progress.picture())
    lines = stream.shown().splitlines()
    assert max(cell_len(line) for line in lines) <= width
    assert lines[0] == "Writing: cot-feedback, round 2 of at most 3"
    assert lines[2].endswith("END")
    assert "Only a start" in lines[4]
    progress.see(RoundStarted(Strategy.COT_FEEDBACK, 3, 3))
    picture.print(progress.picture())
    assert stream.shown().splitlines()[-1] == "Writing: cot-feedback, round 3 of at most 3"

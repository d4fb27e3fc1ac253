"""The command line: its contract, its sentences, its picture, and what Ctrl-C, pipes and odd terminals do to it."""

import codecs
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from support.messages_server import Answer, scripted_server

from mediator.disputes import example
from mediator.empathy import EmpathyModel
from mediator.mediation import MediationDone
from mediator.neutrality import describe
from mediator.schema import Candidate, Dispute, Scores, Strategy, StrategyChoice, View
from mediator.terminal import Picture, Progress, safe
from ui.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]
VIEWS = ["--view-a", "Dogs need to run free in the park.", "--view-b", "Dogs in the park must be on a leash."]
# What the drafter writes fastest.
QUICK = ["--strategy", "single", "-n", "2"]
SECRET = "the neighbours' pear tree"


@pytest.fixture(autouse=True)
def _logs_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EVENHAND_LOG_FOLDER", str(tmp_path / "log"))
    yield
    for name in ("mediator", "trainer", "ui"):
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            handler.close()
        logger.handlers, logger.propagate = [], True


@pytest.fixture
def log(tmp_path: Path) -> Callable[[], str]:
    path = tmp_path / "log" / "evenhand.log"
    return lambda: path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.fixture(scope="module")
def scorer() -> Iterator[EmpathyModel]:
    model = EmpathyModel.load()
    model.references()
    yield model
    model.close()


needs_terminals = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")


def start(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """Start the command line in a process of its own, from the source tree."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **options.pop("environment", {})}
    return subprocess.Popen(
        [sys.executable, *options.pop("program", ["-m", "ui.cli"]), *arguments],
        env={name: value for name, value in environment.items() if value is not None},
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=options.pop("stderr", subprocess.PIPE),
        text=True,
        encoding="utf-8",
        **options,
    )


class Screen:
    """What a process writes on a pseudo-terminal."""

    def __init__(self, ours: int) -> None:
        self._ours = ours
        self._shown = ""
        self._changed = threading.Condition()
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            try:
                piece = os.read(self._ours, 4096)
            except OSError:  # Linux's way to say that the other end was closed
                piece = b""
            with self._changed:
                self._shown += decoder.decode(piece)
                self._ended = not piece
                self._changed.notify_all()
            if not piece:
                os.close(self._ours)
                return

    def wait_for(self, text: str) -> None:
        with self._changed:
            found = self._changed.wait_for(lambda: text in self._shown or self._ended, timeout=60)
            assert found, self._shown
            assert text in self._shown

    def wait_for_end(self) -> str:
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended, timeout=60)
            return self._shown


def start_on_terminal(*arguments: str, **options: Any) -> "tuple[subprocess.Popen[str], Screen]":
    """Like `start`, with stderr on a terminal of 80 columns."""
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    environment = {"TERM": "xterm", "LC_ALL": "C.UTF-8", "COLUMNS": "80"}
    process = start(*arguments, environment=environment, stderr=theirs, **options)
    os.close(theirs)
    return process, Screen(ours)


def answering(*pieces: str, then: Callable[[Answer], None] | None = None) -> Callable[[Answer], None]:
    """Script: a stream of OpenAI's protocol with one piece of text per event, complete unless ``then`` takes over."""

    def chunk(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}

    def script(answer: Answer) -> None:
        answer.start_stream()
        for piece in pieces:
            answer.event(chunk({"role": "assistant", "content": piece}), named=False)
        if then is not None:
            then(answer)
            return
        answer.event(chunk({}, "stop"), named=False)
        answer.raw("data: [DONE]\n\n")
        answer.end()

    return script


TWO = (
    "1. Dogs may run free before nine, and walk on a leash after that.\n",
    "2. A fenced meadow is set apart for dogs.",
)


# Help and usage


@pytest.mark.parametrize("command", [[], ["ui"], ["propose"], ["score"], ["models"], ["models", "list"]])
def test_every_help_reads_well_on_a_narrow_terminal(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main([*command, "--help"]) == 0
    output = capsys.readouterr()
    assert output.out.startswith(f"usage: evenhand {' '.join(command)}".rstrip())
    assert output.err == ""
    assert all(len(line) <= 120 for line in output.out.splitlines())
    assert output.out.isascii()


def test_the_help_of_propose_names_every_strategy_model_and_option(capsys):
    main(["propose", "--help"])
    text = capsys.readouterr().out
    for strategy in get_args(StrategyChoice):
        assert re.search(rf"^  {re.escape(strategy)} ", text, re.MULTILINE)
    for form in ("drafter", "bundled", "claude[:MODEL]", "gguf:PATH", "hf:PATH_OR_ID[+ADAPTER]", "openai:MODEL@URL"):
        assert re.search(rf"^  {re.escape(form)} ", text, re.MULTILINE)
    for option in ("--view-a", "--view-b", "--model", "--strategy", "-n", "--rounds", "--seed", "--comment", "--json"):
        assert option in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["propose"], "No dispute is given."),
        (["propose", "--view-a", "x"], "--view-b is missing."),
        (["propose", "--view-a", "x", "--view-b", "  "], "--view-b is empty."),
        (["propose", "library-hours", *VIEWS], "Both DISPUTE and a view are given."),
        (["propose", "nowhere.yaml"], "There is no file nowhere.yaml."),
        (["propose", "library-hours", "--model", "clod"], "There is no model 'clod'."),
        (
            ["propose", "library-hours", "--strategy", "guess"],
            "There is no strategy 'guess'. Choose one of: single,",
        ),
        (["propose", "library-hours", "-n", "0"], "The number of candidates is 0."),
        (["propose", "library-hours", "--rounds", "99"], "The number of rounds is 99."),
        (["propose", "library-hours", "--seed", "-1"], "The seed is -1."),
        (["propose", "library-hours", "--comment", "x" * 5000], "Comment 1 has 5,000 characters."),
        (["propose", "--view-a", "x" * 30_000, "--view-b", "y"], "View A has 30,000 characters."),
        (["score", "--view-a", "x" * 30_000, "--view-b", "y", "--text", "z"], "View A has 30,000 characters."),
        (["score", "library-hours", "--text", "x" * 30_000], "Text 1 has 30,000 characters."),
        (["propose", "~nobody-of-this-name/x.yaml"], "There is no file ~nobody-of-this-name/x.yaml."),
        (["score", "library-hours", "--text", "good", "--text", " "], "Text 2 is empty: there is nothing to score."),
        (["ui", "--host", "0.0.0.0"], "Other computers can reach Evenhand at this address, so it needs a password."),
    ],
)
def test_bad_input_is_one_sentence_on_stderr_and_exit_2(arguments, sentence, capsys):
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"evenhand: {sentence}")
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["propose", "a", "--nonsense"], ["propose", "a", "-n", "x"], ["score", "library-hours"], ["models"]],
)
def test_bad_usage_is_exit_2(arguments, capsys):
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "usage: evenhand" in output.err


def test_what_cannot_work_is_exit_1(capsys, tmp_path):
    assert main(["propose", "library-hours", "--model", "bundled"]) == 1
    assert capsys.readouterr().err.startswith("evenhand: No language model ships with this version of Evenhand.")
    assert main(["propose", "library-hours", "--model", f"gguf:{tmp_path / 'none.gguf'}"]) == 1
    assert "none.gguf" in capsys.readouterr().err
    assert main(["score", "library-hours", "--text", "a", "--encoder", str(tmp_path / "none.gguf")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


# JSON


def test_propose_json_is_the_contract_to_the_letter(capsys, scorer):
    assert main(["propose", "library-hours", *QUICK, "--seed", "3", "--json"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    printed = json.loads(output.out)
    assert list(printed) == ["dispute", "model", "strategy", "seed", "candidates", "timings"]
    assert Dispute.model_validate(printed["dispute"]) == example("library-hours")
    assert (printed["model"], printed["strategy"], printed["seed"]) == ("drafter", "single", 3)
    assert len(printed["candidates"]) == 2
    for candidate in printed["candidates"]:
        assert list(candidate) == [
            *("text", "strategy", "round"),
            *("score_a", "score_b", "raw_a", "raw_b", "gap", "tilt", "warmth"),
            *("score_error_a", "score_error_b", "tilt_low", "tilt_high"),
        ]
        [measured] = scorer.score(example("library-hours"), [candidate["text"]])
        for name in list(candidate)[3:]:
            assert candidate[name] == pytest.approx(getattr(measured, name), abs=1e-6)
    assert {"total", "writing", "scoring"} <= set(printed["timings"])

    assert main(["propose", "library-hours", *QUICK, "--seed", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["candidates"] == printed["candidates"]


def test_views_come_from_options_a_file_or_standard_input(capsys, tmp_path, monkeypatch):
    expected = Dispute(view_a=View(text=VIEWS[1]), view_b=View(text=VIEWS[3]))
    written = json.dumps(expected.model_dump(mode="json"))
    (tmp_path / "d.json").write_text(written, encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(written.encode())))
    for arguments in (VIEWS, [str(tmp_path / "d.json")], ["-"]):
        assert main(["score", *arguments, "--text", "A meadow for dogs.", "--json"]) == 0
        [scores] = json.loads(capsys.readouterr().out)
        assert scores["text"] == "A meadow for dogs."
    assert main(["propose", *VIEWS, *QUICK, "--json"]) == 0
    assert Dispute.model_validate(json.loads(capsys.readouterr().out)["dispute"]) == expected


def test_score_json_is_a_list_in_the_order_given_and_symmetric(capsys):
    texts = ["Dogs run free before nine.", "Every dog on a leash, always.", "Dogs run free before nine."]
    options = [part for text in texts for part in ("--text", text)]
    assert main(["score", *VIEWS, *options, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert [entry["text"] for entry in scores] == texts
    assert scores[0] == scores[2] != scores[1]
    assert main(["score", "--view-a", VIEWS[3], "--view-b", VIEWS[1], *options, "--json"]) == 0
    for here, swapped in zip(scores, json.loads(capsys.readouterr().out), strict=True):
        assert (here["score_a"], here["raw_a"]) == (swapped["score_b"], swapped["raw_b"])
        assert here["tilt"] == -swapped["tilt"]
        assert (here["score_error_a"], here["tilt_low"]) == (swapped["score_error_b"], -swapped["tilt_high"])


def test_models_list(capsys):
    assert main(["models", "list", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert {"name", "kind", "about", "installed", "why_not", "size", "licence", "destination"} == set(entries[0])
    assert main(["models", "list"]) == 0
    shown = capsys.readouterr().out
    for entry in entries:
        assert f"{entry['name']} [{'installed' if entry['installed'] else 'not installed'}]" in shown


# With a language model behind a real server


def test_what_a_model_writes_is_neither_markup_nor_obeyed_by_the_terminal(capsys):
    hostile = (
        "1. A [bold]meadow[/bold] :dog: for \x1b[31mdogs\x1b[0m\x1b]0;owned\x07, \u202efenced\x9b2J.\n"
        "2. Leashes after nine."
    )
    with scripted_server(answering(hostile)) as server:
        model = f"openai:m@{server.url}/v1"
        assert main(["propose", *VIEWS, "--model", model, *QUICK]) == 0
    shown = capsys.readouterr().out
    assert "A [bold]meadow[/bold] :dog: for dogs, fenced." in shown
    assert not set(shown) & {"\x1b", "\x07", "\x9b", "\u202e"}
    assert f"stayed on this computer (model {model})" in " ".join(shown.split())


def test_a_host_elsewhere_is_announced_before_anything_is_sent(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    noted = tmp_path / "stderr"
    before: list[str] = []

    def look_first(answer: Answer) -> None:
        before.append(noted.read_text(encoding="utf-8"))
        answering(*TWO)(answer)

    with scripted_server(look_first) as server, noted.open("w") as stderr:
        # 2130706433 is 127.0.0.1 as one number, which resolvers know and which is not seen to be this computer.
        model = f"openai:m@{server.url.replace('127.0.0.1', '2130706433')}/v1"
        process = start("propose", *VIEWS, "--model", model, *QUICK, stderr=stderr)
        output, _ = process.communicate(timeout=60)
    announcement = f"evenhand: The text of the views goes to 2130706433 (model {model}).\n"
    assert before == [announcement]
    assert noted.read_text(encoding="utf-8") == announcement
    assert process.returncode == 0
    assert f"The text was sent to 2130706433 (model {model})." in " ".join(output.split())


@needs_terminals
def test_ctrl_c_stops_the_writer_and_prints_what_is_finished():
    with scripted_server(answering(*TWO, then=Answer.stall)) as server:
        process, screen = start_on_terminal("propose", *VIEWS, "--model", f"openai:m@{server.url}/v1", *QUICK, "--json")
        screen.wait_for("A fenced meadow")  # the second is being written, so the first is finished
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert server.closed_by_client.wait(10)
    assert process.returncode == 130
    texts = [candidate["text"] for candidate in json.loads(output)["candidates"]]
    assert texts[0] == "Dogs may run free before nine, and walk on a leash after that."
    screen.wait_for("evenhand: Stopped; this is what was finished.")


@needs_terminals
def test_a_second_ctrl_c_ends_a_program_that_does_not_stop():
    # A process that is not scheduled to answer: its writer is waited for, and nothing tells it to stop.
    program = (
        "import threading, mediator.cli as cli\n"
        "from mediator.cancellation import Cancellation\n"
        "def never():\n"
        "    cli.say('waiting')\n"
        "    threading.Event().wait()\n"
        "    yield\n"
        "cancel = Cancellation()\n"
        "with cli.cancelled_by_interrupt(cancel):\n"
        "    list(cli._in_background(never(), cancel))\n"
    )
    process, screen = start_on_terminal(program=["-c", program])
    screen.wait_for("waiting")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    screen.wait_for("Stopped at once.")


def test_what_was_finished_is_printed_when_the_work_fails_half_way(capsys, log):
    with scripted_server(answering(*TWO), lambda answer: answer.json(401, {"error": {"message": SECRET}})) as server:
        model = f"openai:m@{server.url}/v1"
        assert main(["propose", *VIEWS, "--model", model, "--strategy", "all", "-n", "2", "--json"]) == 1
    output = capsys.readouterr()
    assert {candidate["strategy"] for candidate in json.loads(output.out)["candidates"]} == {"single"}
    assert output.err.startswith("evenhand: cot: ")
    assert output.err.count("\n") == 1
    assert SECRET not in log()


def test_a_failure_is_a_sentence_on_screen_and_a_traceback_in_the_log(capsys, log, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-key")
    with scripted_server(lambda answer: answer.json(401, {"error": {"message": "bad key sk-secret-key"}})) as server:
        arguments = ["propose", "--view-a", SECRET, "--view-b", "b", "--model", f"openai:m@{server.url}/v1", "--json"]
        assert main(arguments) == 1
        assert server.requests[0].headers["authorization"] == "Bearer sk-secret-key"
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "sk-secret-key" not in output.err + log()
    assert SECRET not in log()
    assert "AuthenticationFailed" in log()
    assert "propose_command" in log()


def test_a_fault_of_ours_names_the_log_and_shows_no_traceback(capsys, log, monkeypatch):
    def broken() -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr("mediator.models.catalogue", broken)
    assert main(["models", "list"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("evenhand: Something went wrong inside Evenhand (KeyError). The details are in ")
    assert errors.count("\n") == 1
    assert "in broken" in log()
    assert SECRET not in log()


# The picture

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

    from mediator.strategies import CandidateDone, CandidateProgress, RoundStarted

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


# In real surroundings


def test_in_a_c_locale_and_a_pipe():
    process = start(
        *("score", *VIEWS, "--text", "Dogs – “free” until nine."),
        environment={"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "COLUMNS": "60"},
    )
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert 'Dogs - "free" until nine.' in output
    assert output.isascii()
    assert max(len(line) for line in output.splitlines()) <= 60

    process = start("score", *VIEWS, "--text", "犬 “free”", "--json", environment={"PYTHONIOENCODING": "ascii"})
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert json.loads(output)[0]["text"] == "犬 “free”"


def test_a_reader_that_leaves_early_is_no_failure():
    process = start("models", "list")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 0


@needs_terminals
def test_progress_is_shown_on_a_terminal_and_taken_away():
    go_on = threading.Event()

    def unhurried(answer: Answer) -> None:
        answering(*TWO, then=lambda _: go_on.wait(60))(answer)
        answer.start_stream = lambda: None  # type: ignore[method-assign]  # the head of the stream has been sent
        answering(" It has shade.")(answer)

    with scripted_server(unhurried) as server:
        process, screen = start_on_terminal("propose", *VIEWS, "--model", f"openai:m@{server.url}/v1", *QUICK, "--json")
        screen.wait_for("A fenced meadow is set apart for dogs.")
        go_on.set()
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    text = screen.wait_for_end()
    assert "Writing: single" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is hidden, and comes back
    assert sorted(candidate["text"] for candidate in json.loads(output)["candidates"]) == [
        "A fenced meadow is set apart for dogs. It has shade.",
        "Dogs may run free before nine, and walk on a leash after that.",
    ]

"""`evenhand propose`: the JSON of its contract, where a text goes, and what a model writes on a screen."""

import json
import threading

import pytest
from support.command_line import QUICK, TWO, VIEWS, needs_terminals, start, start_on_terminal
from support.messages_server import Answer, answering, scripted_server

from mediator.disputes import example
from mediator.schema import Dispute
from ui.cli import main


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
            *("score_error_a", "score_error_b", "tilt_low", "tilt_high", "measured"),
        ]
        [measured] = scorer.score(example("library-hours"), [candidate["text"]])
        for name in list(candidate)[3:]:
            assert candidate[name] == pytest.approx(getattr(measured, name), abs=1e-6)
    assert {"total", "writing", "scoring"} <= set(printed["timings"])

    assert main(["propose", "library-hours", *QUICK, "--seed", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["candidates"] == printed["candidates"]


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

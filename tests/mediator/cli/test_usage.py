"""Help that reads well, and one sentence for what cannot be done."""

import re
from typing import get_args

import pytest
from support.command_line import VIEWS

from mediator.schema import StrategyChoice
from ui.cli import main


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

"""`evenhand dataset`: what a user types, sees and gets, from the source to the parts of the data set."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.batches_server import batches_server, succeeded
from support.messages_server import message_events, scripted_server

from mediator.mediation import MediationOptions
from mediator.schema import View
from trainer.dataset.building.cost import cost_words, estimate, price_of
from trainer.dataset.building.meter import Meter, progress_words
from trainer.dataset.building.synthesis import BuildProgress
from trainer.dataset.data import DataCandidate, Example, read_examples, write_examples
from trainer.dataset.stats import stats_of
from ui.cli import main

REPOSITORY = Path(__file__).resolve().parents[3]
ANSWER = (
    "1. Fence off one meadow for the dogs and keep the paths for walkers.\n"
    "2. Let dogs run before nine, and leash them from then on until dusk."
)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENHAND_LOG_FOLDER", str(tmp_path / "log"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Rated pairs of views, as the public ones are."""
    path = tmp_path / "pairs.jsonl"
    pairs = [
        {
            "view_a": {"place": f"Park {number}", "reason": "My dog must run", "suggestion": "No leashes"},
            "view_b": {"place": f"Street {number}", "reason": "I am afraid", "suggestion": "Leash all dogs"},
            "empathy": 30,
        }
        for number in range(4)
    ]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return path


def example(number: int, *candidates: DataCandidate) -> Example:
    return Example(
        id=f"d{number}", view_a=View(text=f"a {number}"), view_b=View(text=f"b {number}"), candidates=candidates
    )


def remote(url: str) -> list[str]:
    return ["--model", f"openai:m@{url}/v1"]


def test_the_drafter_fills_a_set_that_validates_splits_and_counts(source, tmp_path, capsys):
    output = tmp_path / "set.jsonl"
    quick = ["--strategy", "single", "-n", "2", "--every", "2"]
    assert main(["dataset", "build", str(source), "--output", str(output), *quick, "--json"]) == 0
    out, err = capsys.readouterr()
    assert "evenhand: 2 disputes, written by drafter into" in err
    report = json.loads(out)
    assert (report["disputes"], report["written"], report["failed"], report["left"]) == (2, 2, [], 0)
    found = read_examples(output)
    assert [example.view_a.place for example in found] == ["Park 0", "Park 2"]
    assert all(candidate.score_a is not None for example in found for candidate in example.candidates)

    assert main(["dataset", "build", str(source), "--output", str(output), *quick]) == 0
    assert "0 disputes drafted in 0 s, 2 were there before." in capsys.readouterr().err
    assert main(["dataset", "build", str(source), "--output", str(output), *quick, "--seed", "3"]) == 2
    assert "was begun with other settings: seed 0, now 3." in capsys.readouterr().err

    assert main(["dataset", "validate", str(output)]) == 0
    assert capsys.readouterr().err.endswith("every line is good.\n")
    assert main(["dataset", "stats", str(output), "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)
    assert (stats["disputes"], stats["without_candidates"], stats["texts"]) == (2, 0, 4)
    assert stats["strategies"]["single"]["candidates"] == stats["all"]["candidates"] > 0
    assert main(["dataset", "split", str(output), "--shares", "50,0,50"]) == 0
    assert "set.test.jsonl: 1 disputes (50.0%)" in capsys.readouterr().out
    assert len(read_examples(tmp_path / "set.train.jsonl")) == 1


def test_validate_lists_every_bad_line(tmp_path, capsys):
    path = tmp_path / "set.jsonl"
    path.write_text('{"id": 1}\n\nnonsense\n')
    assert main(["dataset", "validate", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{path}, line 1: `view_a` is missing",
        f"{path}, line 1: `view_b` is missing",
        f"{path}, line 1: `id` is a number, not text",
        f"{path}, line 3: is not valid JSON at column 1 (expecting value)",
    ]
    assert err == f"evenhand: {path}: 2 lines are bad.\n"
    assert main(["dataset", "validate", str(path), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["problems"][3] == {
        "line": 3,
        "field": "",
        "message": "is not valid JSON at column 1 (expecting value)",
    }
    assert main(["dataset", "validate", str(tmp_path / "none.jsonl")]) == 2
    assert "There is no file" in capsys.readouterr().err


def test_stats_counts_by_strategy(tmp_path, capsys):
    path = tmp_path / "set.jsonl"
    write_examples(
        path,
        [
            example(
                1,
                DataCandidate(text="one two three", strategy="cot", score_a=0.75, score_b=0.25),
                DataCandidate(text="one", strategy="cot", score_a=0.75, score_b=0.75),
                DataCandidate(text="one two", strategy="single", score_a=0.5, score_b=0.75),
            ),
            example(2, DataCandidate(text="one two three four")),
            example(3),
        ],
    )
    stats = stats_of(read_examples(path))
    assert (stats.disputes, stats.without_candidates, stats.texts) == (3, 1, 6)
    assert list(stats.strategies) == ["cot", "single", "unknown"]
    cot = stats.strategies["cot"]
    assert (cot.candidates, cot.share, cot.words, cot.gap, cot.warmth, cot.below_floor) == (2, 0.5, 2.0, 0.25, 0.5, 1)
    assert stats.strategies["unknown"].gap is None
    assert stats.all.words == 2.5
    assert main(["dataset", "stats", str(path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[2] == ["cot", "2", "50.0%", "2.0", "0.250", "0.500", "1"]
    assert rows[4] == ["unknown", "1", "25.0%", "4.0", "-", "-", "0"]


def test_split_says_what_is_left_out_and_replaces_nothing_unasked(tmp_path, capsys):
    """Every A with every B: nothing can be divided without a loss."""
    path = tmp_path / "set.jsonl"
    examples = [
        Example(id=f"d{a}{b}", view_a=View(text=f"a{a}"), view_b=View(text=f"b{b}")) for a in range(6) for b in range(6)
    ]
    write_examples(path, examples)
    assert main(["dataset", "split", str(path), "--shares", "60,20,20", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["largest_group"] == 36
    assert found["left_out"]
    parts = {
        name: read_examples(found[name]["file"]) for name in ("train", "validation", "test") if found[name]["disputes"]
    }
    assert sum(map(len, parts.values())) + len(found["left_out"]) == 36
    assert main(["dataset", "split", str(path)]) == 2
    assert "set.train.jsonl" in capsys.readouterr().err
    assert main(["dataset", "split", str(path), "--shares", "60,20,20", "--force"]) == 0
    assert f"Left out: {len(found['left_out'])}, each with one view" in capsys.readouterr().out
    assert main(["dataset", "split", str(path), "--shares", "60,40"]) == 2
    assert "are not three numbers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--strategy", "best"], "There is no strategy 'best'."),
        (["-n", "99"], "The number of candidates is 99."),
        (["--model", "gpt"], "There is no model 'gpt'."),
        (["--workers", "0"], "--workers is 0."),
        (["--batch-api"], "--batch-api is for Claude, and --model is drafter."),
        (["--limit", "0"], "--limit is 0."),
    ],
)
def test_bad_usage_is_one_sentence_and_nothing_is_written(source, tmp_path, capsys, arguments, words):
    assert main(["dataset", "build", str(source), "--output", str(tmp_path / "set.jsonl"), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["pairs.jsonl"]


# -- remote writers --------------------------------------------------------------------------------------------------


def openai_events(*texts: str) -> Any:
    """Script: a complete stream of an OpenAI-compatible server."""

    def script(answer: Any) -> None:
        answer.start_stream()
        for text in texts:
            answer.event({"choices": [{"index": 0, "delta": {"content": text}}]}, named=False)
        answer.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, named=False)
        answer.raw("data: [DONE]\n\n")
        answer.end()

    return script


def test_a_server_is_asked_by_several_threads_and_what_fails_is_tried_again(source, tmp_path, capsys):
    output = tmp_path / "set.jsonl"

    def answers(answer: Any) -> None:
        if "Park 1" in json.dumps(answer.server.requests[-1].body):
            answer.error(400, "invalid_request_error", "no parks")
        else:
            openai_events(ANSWER)(answer)

    arguments = ["dataset", "build", str(source), "--output", str(output), "--strategy", "single", "-n", "2"]
    with scripted_server(answers) as server:
        server.script = [answers]
        assert main([*arguments, *remote(server.url), "--workers", "1", "--json"]) == 1
        out, err = capsys.readouterr()
        report = json.loads(out)
        assert (report["written"], report["left"], len(report["failed"])) == (3, 1, 1)
        assert "rejected the request" in report["failed"][0]["problem"]
        assert f"{report['failed'][0]['id']} failed: " in err
        assert "Call the same command again to go on." in err
        server.script = [openai_events(ANSWER)]
        assert main([*arguments, *remote(server.url), "--workers", "3"]) == 0
        assert "1 dispute drafted" in capsys.readouterr().err
    assert len(read_examples(output)) == 4


def test_the_cost_is_shown_before_a_remote_model_is_paid(source, tmp_path, capsys, monkeypatch):
    """A host of its own name counts as remote; nothing is sent to it unless somebody agrees."""
    output = tmp_path / "set.jsonl"
    arguments = ["dataset", "build", str(source), "--output", str(output), "--strategy", "single"]
    elsewhere = ["--model", "openai:m@http://models.invalid/v1"]
    assert main([*arguments, *elsewhere]) == 2
    err = capsys.readouterr().err
    assert "The texts of 4 disputes go to models.invalid." in err
    assert "About 4 requests to m@http://models.invalid/v1: " in err
    assert "What that costs is not known: there is no price for this model." in err
    assert "Nobody can be asked here whether to begin. Give --yes." in err
    assert not output.exists()
    assert main([*arguments, *elsewhere, "--price-input", "1000", "--price-output", "0"]) == 2
    err = capsys.readouterr().err
    assert "That is about $" in err
    assert "($1000 and $0 for a million tokens, as you gave them)" in err
    assert main([*arguments, *elsewhere, "--price-input", "1"]) == 2
    assert "Only one of --price-input and --price-output is given." in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")
@pytest.mark.parametrize(("answer", "status", "asked"), [("y", 0, 2), ("", 0, 0), ("no", 0, 0)])
def test_claude_is_asked_after_a_yes_only(source, tmp_path, capsys, monkeypatch, answer, status, asked):
    """With a price given, the question comes for a model on this computer, too."""
    import pty

    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-a-test")
    output = tmp_path / "set.jsonl"
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    with scripted_server(message_events(ANSWER)) as server, open(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        arguments = ["dataset", "build", str(source), "--output", str(output), "--strategy", "single", "-n", "2"]
        price = ["--price-input", "2", "--price-output", "10"]
        assert main([*arguments, "--model", "claude:m", "--limit", "2", *price]) == status
        assert len(server.requests) == asked
    os.close(ours)
    err = capsys.readouterr().err
    assert "Begin? [y/N]" in err
    assert ("Not begun." in err) == (asked == 0)
    assert output.exists() == (asked > 0)


def test_batches_from_the_command_line(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-a-test")
    output = tmp_path / "set.jsonl"
    with batches_server() as server:
        server.answer = lambda params: succeeded(ANSWER)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        arguments = ["dataset", "build", str(source), "--output", str(output), "--strategy", "single", "-n", "2"]
        assert main([*arguments, "--model", "claude:m", "--batch-api", "--yes"]) == 0
        assert [len(requests) for requests in server.batches.values()] == [4]
    err = capsys.readouterr().err
    assert "Batch msgbatch_1 with 4 requests is sent" in err
    assert len(read_examples(output)) == 4
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["log"]  # no answers are left behind


def test_what_a_build_asks_and_costs():
    disputes = [example(number) for number in range(100)]
    one = MediationOptions(strategy="single", count=4)
    listed = price_of("claude-sonnet-4-5-20250929", (None, None), batch=False)
    assert listed is not None
    assert (listed.input, listed.output) == (3, 15)
    halved = price_of("claude-sonnet-4-5", (None, None), batch=True)
    assert halved is not None
    assert (halved.input, halved.output) == (1.5, 7.5)
    assert price_of("claude-next", (None, None), batch=False) is None
    found = estimate(disputes, one, True, listed)
    assert found.requests == 100
    assert found.dollars == pytest.approx((found.input_tokens * 3 + found.output_tokens * 15) / 1e6)
    assert found.most_dollars is not None
    assert found.most_dollars > found.dollars
    assert "($3 and $15 for a million tokens, list prices of " in cost_words(found, "m")
    everything = estimate(disputes, MediationOptions(strategy="all", count=4, rounds=3), True, listed)
    assert everything.requests == 600  # three strategies once, and three rounds of feedback
    assert everything.input_tokens > 6 * found.input_tokens  # later rounds carry the earlier candidates
    assert estimate(disputes[:50], one, True, None).input_tokens == pytest.approx(found.input_tokens / 2, rel=0.02)


def test_progress_in_words():
    assert progress_words(BuildProgress(0, 0, 9, 0.0, None)) == "0 of 9 disputes"
    words = progress_words(BuildProgress(117, 3, 2323, 228.0, 4185.7))
    assert words == "117 of 2,323 disputes, 3 failed, 1.9 s each, about 70 min left"


def test_a_terminal_shows_one_line_and_a_pipe_a_line_now_and_then(capsys):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    with Meter(screen) as meter:
        meter.show(BuildProgress(1, 0, 9, 2.0, 16.0))
        meter.show(BuildProgress(2, 0, 9, 4.0, 14.0))  # too soon after the first
        meter.tell("A word beside.")
    assert screen.getvalue() == "\r1 of 9 disputes, 2.0 s each, about 16 s left\x1b[K\r\x1b[K\r\x1b[K"
    assert capsys.readouterr().err == "evenhand: A word beside.\n"
    with Meter(io.StringIO()) as meter:
        meter.show(BuildProgress(1, 0, 9, 2.0, 16.0))
    assert capsys.readouterr().err == ""


def test_help_and_counting_need_neither_torch_nor_the_mediation():
    """What `evenhand --help` loads for `dataset` stays light."""
    program = (
        "import sys, ui.cli; ui.cli.build_parser(); "
        "print([name for name in ('torch', 'transformers', 'pydantic', 'numpy', 'anthropic') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY, timeout=120
    )
    assert found.stdout.strip() == "[]"

"""Drafting by message batches against a real local server: waves, failures, and what a kill at each moment leaves."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.batches_server import BatchesServer, batches_server, errored, succeeded
from support.patience import until

from mediator.cancellation import Cancellation
from mediator.mediation import MediationOptions
from mediator.schema import Dispute, Scores, StrategyChoice, View
from mediator.writers.base import AuthenticationFailed, ModelNotFound, Unreachable
from mediator.writers.remote import Patience
from trainer.dataset.building.batch_api import BatchClient
from trainer.dataset.building.batch_crew import BatchCrew
from trainer.dataset.building.batch_journal import BatchJournal
from trainer.dataset.building.output import BuildSettings
from trainer.dataset.building.provider_limits import Waits
from trainer.dataset.building.synthesis import BuildReport, build
from trainer.dataset.data import Example, read_examples, write_examples

REPOSITORY = Path(__file__).resolve().parents[4]
MARKED = "COMPROMISES:\n"


class LengthScorer:
    """Scores a text by its length: longer is closer to A, shorter to B."""

    def score(self, dispute: Dispute, texts: Sequence[str]) -> list[Scores]:
        found = [min(len(text), 100) / 100 for text in texts]
        return [Scores(score_a=score, score_b=1 - score, raw_a=score, raw_b=1 - score) for score in found]


def dispute(number: int) -> Example:
    return Example(
        id=f"d{number}",
        view_a=View(text=f"Dogs need to run free in park number {number}."),
        view_b=View(text=f"Dogs in park number {number} belong on a leash."),
    )


def asked(params: dict[str, Any]) -> str:
    """All that a request says."""
    return "\n".join(block["text"] for message in params["messages"] for block in message["content"])


def two_parks(params: dict[str, Any]) -> dict[str, Any]:
    """Answer as a good model would, each request in words of its own, so that nothing is a near-duplicate."""
    said = asked(params)
    number = len(said)
    one = f"Fence half of meadow {number} for dogs and leave the other half for walkers who want quiet {number}."
    two = f"Mornings {number} without a leash before nine, and with one for the rest of every day {number}."
    heading = MARKED if "COMPROMISES:" in said else ""
    return succeeded(f"{heading}1. {one}\n2. {two}")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[BatchesServer]:
    monkeypatch.setenv("EVENHAND_LOG_FOLDER", str(tmp_path / "log"))
    with batches_server() as state:
        state.answer = two_parks
        monkeypatch.setenv("ANTHROPIC_BASE_URL", state.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-a-test")
        yield state


def drafted(
    tmp_path: Path, examples: Sequence[Example], strategy: StrategyChoice = "all", cancel: Cancellation | None = None
) -> tuple[BuildReport, list[str]]:
    """Build as the command does, and return the report and what was told."""
    told: list[str] = []
    options = MediationOptions(strategy=strategy, count=2, rounds=2)
    settings = BuildSettings(model="claude:m", encoder="length", strategy=strategy, count=2, rounds=2, seed=0)
    client = BatchClient("m", Patience(first_wait=0.01))
    journal = BatchJournal(tmp_path / "out.jsonl.batches")
    crew = BatchCrew(client, journal, LengthScorer(), options, told.append, poll=0.02, waits=Waits(tries=3, first=0.02))
    try:
        return build(examples, tmp_path / "out.jsonl", settings, crew, cancel), told
    finally:
        client.close()


def sent(server: BatchesServer) -> list[int]:
    """How many requests each batch had."""
    return [len(requests) for requests in server.batches.values()]


def test_all_first_requests_go_out_together_and_feedback_in_the_next_batch(server, tmp_path):
    server.polls = 2
    report, told = drafted(tmp_path, [dispute(1), dispute(2), dispute(3)])
    assert (report.written, report.failed, report.given_up) == (3, [], None)
    assert sent(server) == [12, 3]  # four strategies for each dispute, then the second round of feedback
    for example in read_examples(tmp_path / "out.jsonl"):
        assert len(example.candidates) == 2
        assert all(candidate.strategy and candidate.score_a is not None for candidate in example.candidates)
    assert told[0] == "Batch msgbatch_1 with 12 requests is sent; it may take up to 24 hours."
    assert server.keys == {"Bearer sk-of-a-test"}
    second = [asked(request["params"]) for request in server.batches["msgbatch_2"]]
    assert all("Fence half of meadow" in said and "closeness to A" in said for said in second)


def test_what_is_sent_is_what_the_streaming_writer_sends(server, tmp_path):
    drafted(tmp_path, [dispute(1)], "single")
    (request,) = server.batches["msgbatch_1"]
    params = request["params"]
    assert params["model"] == "m"
    assert params["max_tokens"] > 2048
    assert "stream" not in params
    assert params["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert [message["role"] for message in params["messages"]] == ["user", "assistant", "user"]
    assert len(request["custom_id"]) == 32


def test_what_expires_is_sent_again_and_in_the_end_reported(server, tmp_path):
    """The first dispute's request expires once, the second's always."""

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        said = asked(params)
        first = "number 1" in said and len(server.batches) == 1
        return {"type": "expired"} if first or "number 2" in said else two_parks(params)

    server.answer = answer
    report, _ = drafted(tmp_path, [dispute(1), dispute(2), dispute(3)], "single")
    assert sent(server) == [3, 2, 1]
    assert [example.id for example in read_examples(tmp_path / "out.jsonl")] == ["d3", "d1"]
    assert [outcome.id for outcome in report.failed] == ["d2"]
    assert report.failed[0].problem.startswith("The batch expired before this request was answered.")
    server.answer = two_parks  # the next call tries it again, and nothing else
    report, _ = drafted(tmp_path, [dispute(1), dispute(2), dispute(3)], "single")
    assert (report.present, report.written) == (2, 1)
    assert sent(server) == [3, 2, 1, 1]


@pytest.mark.parametrize(
    ("result", "batches", "words"),
    [
        (errored("invalid_request_error", "messages: bad"), 1, "The provider rejected the request (messages: bad)."),
        (errored("overloaded_error", "busy"), 3, "The provider failed on this request (busy)."),
        (succeeded("", "refusal"), 1, "Claude declined to answer."),
        (succeeded("", "max_tokens"), 1, "Claude used up its tokens before it began to answer."),
        ({"type": "canceled"}, 1, "The batch was canceled."),
        (succeeded("I would rather talk about the weather."), 2, "answered twice without a list of compromises"),
    ],
)
def test_a_request_that_fails_is_one_failed_dispute(server, tmp_path, result, batches, words):
    server.answer = lambda params: result if "number 1" in asked(params) else two_parks(params)
    report, _ = drafted(tmp_path, [dispute(1), dispute(2)], "single")
    assert [outcome.id for outcome in report.failed] == ["d1"]
    assert words in report.failed[0].problem
    assert (report.written, len(server.batches)) == (1, batches)


def test_a_strategy_that_is_refused_is_done_without(server, tmp_path):
    refused = succeeded("", "refusal")
    server.answer = lambda params: refused if "COMPROMISES:" in asked(params) else two_parks(params)
    report, _ = drafted(tmp_path, [dispute(1)])
    assert report.written == 1
    assert "Claude declined" in report.partly[0].problem
    (example,) = read_examples(tmp_path / "out.jsonl")
    assert {candidate.strategy for candidate in example.candidates} == {"single"}


@pytest.mark.parametrize(
    ("kind", "error"), [("authentication_error", AuthenticationFailed), ("not_found_error", ModelNotFound)]
)
def test_what_fails_for_all_ends_the_build(server, tmp_path, kind, error):
    server.answer = lambda params: errored(kind, "no")
    report, _ = drafted(tmp_path, [dispute(1), dispute(2)], "single")
    assert isinstance(report.given_up, error)
    assert report.written == 0


def test_a_long_prompt_is_sent_again_shorter(server, tmp_path):
    """The third round of feedback is too long for the model until the worst of the earlier candidates are left out.

    Each round's texts come closer to fifty characters, where both sides are served alike: so the rounds go on.
    """

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        said = asked(params)
        if said.count("Proposal ") > 2:
            return errored("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum")
        long = 90 if said.count("Proposal ") == 0 else 70
        return succeeded(
            f"{MARKED}1. {'meadows for dogs and walkers ' * 4:.{long}}\n2. {'hours before nine daily ' * 4:.{long}}"
        )

    server.answer = answer
    options = MediationOptions(strategy="cot-feedback", count=2, rounds=3)
    client = BatchClient("m")
    journal = BatchJournal(tmp_path / "journal")
    crew = BatchCrew(client, journal, LengthScorer(), options, poll=0.02)
    outcomes = [outcome for outcome in crew.outcomes([dispute(1)], Cancellation()) if outcome]
    client.close()
    assert outcomes[0].example is not None
    shown = [asked(requests[0]["params"]).count("Proposal ") for requests in server.batches.values()]
    assert shown == [0, 2, 4, 2]


def test_a_refused_submission_is_tried_again(server, tmp_path):
    server.refuse = [429, 529]
    report, _ = drafted(tmp_path, [dispute(1)], "single")
    assert report.written == 1
    assert sent(server) == [1]


def test_a_provider_that_refuses_again_and_again_ends_the_build_in_a_sentence(server, tmp_path):
    server.refuse = [429] * 9
    report, _ = drafted(tmp_path, [dispute(1)], "single")
    assert "takes no more requests for now" in str(report.given_up)
    assert not server.batches
    server.refuse = []
    report, _ = drafted(tmp_path, [dispute(1)], "single")
    assert report.written == 1
    assert sent(server) == [1]


def test_a_submission_whose_answer_is_lost_is_found_and_not_sent_again(server, tmp_path):
    server.drop = 1
    report, _ = drafted(tmp_path, [dispute(1), dispute(2)], "single")
    assert report.written == 2
    assert sent(server) == [2]


def test_a_cancel_leaves_the_batch_to_the_next_call(server, tmp_path):
    server.polls = 10_000
    cancel = Cancellation()
    options = MediationOptions(strategy="single", count=2)
    settings = BuildSettings(model="claude:m", encoder="length", strategy="single", count=2, rounds=2, seed=0)
    client = BatchClient("m")

    def press() -> None:
        until(lambda: server.asked)
        time.sleep(0.2)  # for the build to begin its wait
        cancel.cancel()

    journal = BatchJournal(tmp_path / "out.jsonl.batches")
    # Hours between two questions: a build that is deaf meanwhile does not end before the test is ended.
    crew = BatchCrew(client, journal, LengthScorer(), options, lambda words: None, poll=10_000.0)
    threading.Thread(target=press, daemon=True).start()
    report = build([dispute(1)], tmp_path / "out.jsonl", settings, crew, cancel)
    client.close()
    assert report.cancelled
    assert list(server.asked.values()) == [1]
    server.polls = 0
    report, told = drafted(tmp_path, [dispute(1)], "single")
    assert told[0] == "Waiting for batch msgbatch_1. Ctrl-C leaves it running; the next call fetches it."
    assert report.written == 1
    assert sent(server) == [1]


BUILDS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import test_batch_api as t
from trainer.dataset.data import read_disputes
t.drafted(Path(sys.argv[1]), read_disputes(sys.argv[2])[0], "single")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize("moment", ["while waiting", "before the name came"])
def test_after_kill_9_a_batch_is_not_sent_a_second_time(server, tmp_path, moment, monkeypatch):
    """Killed while it waits for the batch, or after the provider took the batch in but before its name was on disk."""
    source = tmp_path / "source.jsonl"
    write_examples(source, [dispute(1), dispute(2)])
    server.polls = 10_000
    if moment == "before the name came":
        stalled = server.describe

        def describe(batch: str) -> dict[str, Any]:
            time.sleep(20)  # the process is dead by then
            return stalled(batch)

        server.describe = describe
    tests = str(REPOSITORY / "tests")
    process = subprocess.Popen(
        [sys.executable, "-c", BUILDS, str(tmp_path), str(source), str(Path(__file__).resolve().parent)],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tests}", "OMP_NUM_THREADS": "1"},
    )
    try:
        assert server.taken.wait(60)
        if moment == "while waiting":
            end = time.monotonic() + 30
            while not server.asked:
                assert time.monotonic() < end
                time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    if moment == "before the name came":
        server.describe = stalled
    journal = BatchJournal(tmp_path / "out.jsonl.batches")
    assert len(journal.batches) == 1
    assert bool(journal.unnamed) == (moment == "before the name came")
    server.polls = 0
    report, told = drafted(tmp_path, [dispute(1), dispute(2)], "single")
    assert report.written == 2
    assert sent(server) == [2]
    found = any("it is not sent again" in words for words in told)
    assert found == (moment == "before the name came")


def test_a_torn_line_of_the_journal_is_cut_off(server, tmp_path):
    report, _ = drafted(tmp_path, [dispute(1)], "single")
    folder = tmp_path / "out.jsonl.batches"
    for name in ("answers.jsonl", "batches.jsonl"):
        with (folder / name).open("a") as file:
            file.write('{"announced": "x", "ke')
    journal = BatchJournal(folder)
    assert len(journal.answers) == report.written == 1
    assert not journal.batches
    answer = next(iter(journal.answers.values()))
    assert (answer.input_tokens, answer.output_tokens) == (17, 7)  # what its cache gave and took is read, too


def test_without_a_server_the_build_ends_in_a_sentence(server, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    report, _ = drafted(tmp_path, [dispute(1)], "single")
    assert isinstance(report.given_up, Unreachable)


def test_without_a_key_nothing_is_sent(server, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(AuthenticationFailed, match="There is no key for Claude"):
        BatchClient("m")
    assert not server.batches


def test_large_waves_are_divided(server, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.dataset.building.batch_crew.MOST_REQUESTS", 2)
    report, _ = drafted(tmp_path, [dispute(number) for number in range(5)], "single")
    assert report.written == 5
    assert sent(server) == [2, 2, 1]

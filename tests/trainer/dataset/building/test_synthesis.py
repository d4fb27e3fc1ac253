"""Building a data set: what is written, what is done again after a failure or a kill, and who works."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from mediator.cancellation import Cancellation
from mediator.empathy import EmpathyModel
from mediator.errors import InputError
from mediator.mediation import MediationOptions
from mediator.models import parse_model
from mediator.schema import Dispute, Scores, Strategy, StrategyChoice, View
from mediator.writers.base import (
    AuthenticationFailed,
    Brief,
    Delta,
    Overloaded,
    RequestRejected,
    UnusableOutput,
    WriterError,
)
from mediator.writers.drafter import Drafter
from trainer.dataset.building.crew import Crew, Outcome, ProcessCrew, ThreadCrew, WorkerDied
from trainer.dataset.building.output import BuildSettings, OtherSettings, OutputInUse, open_output, settings_file
from trainer.dataset.building.provider_limits import Waits
from trainer.dataset.building.synthesis import BuildProgress, BuildReport, build, choose, workers_for
from trainer.dataset.data import DatasetError, DatasetWriteError, Example, problems, read_examples, write_examples

REPOSITORY = Path(__file__).resolve().parents[4]
SETTINGS = BuildSettings(model="steady", encoder="length", strategy="single", count=2, rounds=1, seed=0)
QUICK = Waits(tries=2, first=0.01)


def dispute(number: int) -> Example:
    return Example(
        id=f"d{number}",
        view_a=View(text=f"Dogs need to run free in park number {number}."),
        view_b=View(text=f"Dogs in park number {number} belong on a leash."),
    )


class LengthScorer:
    """Scores a text by its length: longer is closer to A, shorter to B."""

    def score(self, dispute: Dispute, texts: Sequence[str]) -> list[Scores]:
        found = [min(len(text), 100) / 100 for text in texts]
        return [Scores(score_a=score, score_b=1 - score, raw_a=score, raw_b=1 - score) for score in found]


class Steady:
    """A writer that writes two candidates for every brief, unless the dispute's text is one that it fails on."""

    name, destination = "steady", None

    def __init__(self, **failures: WriterError) -> None:
        self.failures = failures
        self.briefs: list[Brief] = []
        self.lock = threading.Lock()
        self.on_brief = lambda brief: None

    def write(self, brief: Brief, cancel: Cancellation) -> Iterator[Delta]:
        with self.lock:
            self.briefs.append(brief)
        self.on_brief(brief)
        cancel.raise_if_cancelled()
        number = brief.dispute.view_a.text.rstrip(".").split()[-1]
        for key in (f"d{number}", brief.strategy.name.lower()):
            if key in self.failures:
                raise self.failures[key]
        where = f"{brief.strategy.value} {number} {len(brief.earlier)}"
        yield Delta(0, f"Fence off one meadow of the park for the dogs, {where}", done=True)
        yield Delta(1, f"Let them run before nine in the morning only, then leash all, {where}", done=True)

    def close(self) -> None:
        pass


def built(
    path: Path,
    examples: Sequence[Example],
    writer: Steady,
    workers: int = 1,
    strategy: StrategyChoice = "single",
    cancel: Cancellation | None = None,
) -> BuildReport:
    crew = ThreadCrew(writer, LengthScorer(), MediationOptions(strategy=strategy, count=2, rounds=2), workers, QUICK)
    return build(examples, path, SETTINGS, crew, cancel)


def test_every_dispute_gets_its_candidates_best_first(tmp_path):
    path = tmp_path / "out.jsonl"
    report = built(path, [dispute(1), dispute(2)], Steady(), strategy="all")
    assert (report.total, report.present, report.written, report.failed) == (2, 0, 2, [])
    first, second = read_examples(path)
    assert [first.id, second.id] == ["d1", "d2"]
    assert first.view_a == dispute(1).view_a
    assert len(first.candidates) == 2
    for candidate in first.candidates:
        assert candidate.strategy in set(Strategy)
        assert candidate.score_a == min(len(candidate.text), 100) / 100
        assert candidate.score_a + candidate.score_b == pytest.approx(1)
    gaps = [abs(candidate.score_a - candidate.score_b) for candidate in first.candidates]
    assert gaps == sorted(gaps)


def test_a_second_call_does_what_is_left_and_nothing_twice(tmp_path):
    path, writer = tmp_path / "out.jsonl", Steady(d2=RequestRejected("No."))
    report = built(path, [dispute(1), dispute(2), dispute(3)], writer)
    assert (report.written, [outcome.id for outcome in report.failed]) == (2, ["d2"])
    assert report.failed[0].problem == "No."
    writer.failures = {}
    writer.briefs.clear()
    report = built(path, [dispute(1), dispute(2), dispute(3), dispute(4)], writer)
    assert (report.present, report.written, report.failed) == (2, 2, [])
    assert [brief.dispute.id for brief in writer.briefs] == ["d2", "d4"]
    assert [example.id for example in read_examples(path)] == ["d1", "d3", "d2", "d4"]
    assert built(path, [dispute(1)], writer).written == 0


@pytest.mark.parametrize("tail", ['{"id": "d2", "view_a": {"te', '{"id": "d2"', "\0\0\0"])
def test_a_line_torn_by_a_kill_is_cut_off_and_done_again(tmp_path, tail):
    path = tmp_path / "out.jsonl"
    built(path, [dispute(1)], Steady())
    with path.open("a") as file:
        file.write(tail)
    report = built(path, [dispute(1), dispute(2)], Steady())
    assert (report.mended, report.written) == (len(tail), 1)
    assert problems(path) == []
    assert [example.id for example in read_examples(path)] == ["d1", "d2"]


def test_a_whole_last_line_without_its_end_is_kept(tmp_path):
    path = tmp_path / "out.jsonl"
    built(path, [dispute(1)], Steady())
    path.write_bytes(path.read_bytes().rstrip())
    report = built(path, [dispute(1), dispute(2)], Steady())
    assert (report.mended, report.present, report.written) == (0, 1, 1)
    assert [example.id for example in read_examples(path)] == ["d1", "d2"]


def test_an_output_goes_on_with_the_same_settings_only(tmp_path):
    path = tmp_path / "out.jsonl"
    built(path, [dispute(1)], Steady())
    before = path.read_bytes()
    other = SETTINGS.model_copy(update={"seed": 7, "strategy": "cot"})
    with (
        pytest.raises(OtherSettings, match=r"other settings: strategy 'single', now 'cot'; seed 0, now 7\."),
        open_output(path, other),
    ):
        pass
    settings_file(path).unlink()
    with pytest.raises(OtherSettings, match="was not begun by `evenhand dataset build`"), open_output(path, SETTINGS):
        pass
    assert path.read_bytes() == before


def test_two_builds_do_not_write_the_same_output(tmp_path):
    path = tmp_path / "out.jsonl"
    with open_output(path, SETTINGS), pytest.raises(OutputInUse, match=f"process {os.getpid()}"):
        built(path, [dispute(1)], Steady())
    assert built(path, [dispute(1)], Steady()).written == 1


def test_an_output_with_a_bad_line_is_not_gone_on_with(tmp_path):
    path = tmp_path / "out.jsonl"
    built(path, [dispute(1)], Steady())
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(DatasetError, match=r"line 1: `view_a` is missing"):
        built(path, [dispute(2)], Steady())
    with pytest.raises(DatasetError, match="is a folder"):
        built(tmp_path, [dispute(2)], Steady())


def test_one_strategy_that_fails_is_done_without_and_said(tmp_path):
    path = tmp_path / "out.jsonl"
    report = built(path, [dispute(1)], Steady(single=UnusableOutput("No list.")), strategy="all")
    assert report.written == 1
    assert report.partly[0].problem == "single: No list."
    strategies = {candidate.strategy for candidate in read_examples(path)[0].candidates}
    assert Strategy.SINGLE not in strategies


def test_a_dispute_on_which_the_provider_was_lost_is_left_for_the_next_call(tmp_path):
    """Although three strategies wrote something: the pool would not be the one that was asked for."""
    path, writer = tmp_path / "out.jsonl", Steady(cot_feedback=Overloaded("Busy."))
    report = built(path, [dispute(1)], writer, strategy="all")
    assert (report.written, report.failed[0].problem) == (0, "Busy.")
    assert sum(brief.strategy is Strategy.COT_FEEDBACK for brief in writer.briefs) == 2  # it was tried twice
    assert not path.exists()


@pytest.mark.parametrize(
    ("error", "tried"),
    [(AuthenticationFailed("No key."), 1), (Overloaded("Busy."), 5), (RequestRejected("No credit."), 25)],
)
def test_what_fails_for_all_ends_the_build(tmp_path, error, tried):
    writer = Steady(single=error)
    report = built(tmp_path / "out.jsonl", [dispute(number) for number in range(60)], writer)
    assert report.given_up is error
    assert tried <= len(report.failed) <= tried + 2  # the next ones had been begun
    assert len(writer.briefs) < 60


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_on_a_full_disk_nobody_works_on(tmp_path):
    writer = Steady()
    (tmp_path / "out.jsonl").symlink_to("/dev/full")
    with pytest.raises(DatasetWriteError, match="No space left on device"):
        built(tmp_path / "out.jsonl", [dispute(number) for number in range(60)], writer, workers=2)
    assert len(writer.briefs) < 10


def test_a_bug_in_one_dispute_does_not_end_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("EVENHAND_LOG_FOLDER", str(tmp_path / "log"))
    writer = Steady()

    def breaks(brief: Brief) -> None:
        if "number 2" in brief.dispute.view_a.text:
            raise ZeroDivisionError

    writer.on_brief = breaks
    report = built(tmp_path / "out.jsonl", [dispute(1), dispute(2), dispute(3)], writer)
    assert report.written == 2
    assert "Something went wrong inside Evenhand (ZeroDivisionError)" in report.failed[0].problem


def test_threads_work_at_the_same_time(tmp_path):
    writer, meeting = Steady(), threading.Barrier(4, timeout=30)
    writer.on_brief = lambda brief: meeting.wait() and None
    report = built(tmp_path / "out.jsonl", [dispute(number) for number in range(8)], writer, workers=4)
    assert report.written == 8
    assert sorted(example.id for example in read_examples(tmp_path / "out.jsonl")) == [f"d{n}" for n in range(8)]


def test_a_cancel_keeps_what_is_done(tmp_path):
    path, writer, cancel = tmp_path / "out.jsonl", Steady(), Cancellation()

    def stop(brief: Brief) -> None:
        if "number 3" in brief.dispute.view_a.text:
            cancel.cancel()

    writer.on_brief = stop
    report = built(path, [dispute(number) for number in range(9)], writer, cancel=cancel)
    assert report.cancelled
    assert [example.id for example in read_examples(path)] == ["d0", "d1", "d2"]
    assert not report.failed


class Slow:
    """A crew whose disputes end one second apart, by a clock of its own."""

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock

    def outcomes(self, examples: Sequence[Example], cancel: Cancellation) -> Generator[Outcome | None, None, None]:
        for example in examples:
            yield None
            self.clock[0] += 1
            yield Outcome(example.id, example) if example.id != "d1" else Outcome(example.id, problem="No.")


def test_progress_tells_how_long_it_will_take(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("trainer.dataset.building.synthesis.time.monotonic", lambda: clock[0])
    seen: list[BuildProgress] = []
    crew: Crew = Slow(clock)
    build([dispute(number) for number in range(4)], tmp_path / "out.jsonl", SETTINGS, crew, watch=seen.append)
    assert seen[0] == BuildProgress(0, 0, 4, 0.0, None)
    assert seen[3] == BuildProgress(1, 1, 4, 2.0, 2.0)
    assert seen[-1] == BuildProgress(3, 1, 4, 4.0, 0.0)


def test_nothing_is_begun_that_nobody_agrees_to(tmp_path):
    writer = Steady()
    crew = ThreadCrew(writer, LengthScorer(), MediationOptions(strategy="single"), 1)
    asked: list[int] = []

    def agree(left: Sequence[Example]) -> bool:
        asked.append(len(left))
        return False

    report = build([dispute(1), dispute(2)], tmp_path / "out.jsonl", SETTINGS, crew, agree=agree)
    assert (report.declined, report.written, asked, writer.briefs) == (True, 0, [2], [])


def test_which_disputes_and_how_many_workers():
    examples = [dispute(number) for number in range(10)]
    assert [example.id for example in choose(examples, every=3)] == ["d0", "d3", "d6", "d9"]
    assert [example.id for example in choose(examples, every=3, limit=2)] == ["d0", "d3"]
    for wrong in ({"every": 0}, {"limit": 0}):
        with pytest.raises(InputError, match="Give 1 or more"):
            choose(examples, **wrong)
    assert workers_for(parse_model("drafter"), None) == 1
    assert workers_for(parse_model("drafter"), 3) == 3
    assert workers_for(parse_model("claude"), None) == 4
    with pytest.raises(InputError, match="runs on this computer"):
        workers_for(parse_model("gguf:x.gguf"), 2)
    with pytest.raises(InputError, match="Give 1 to 64"):
        workers_for(parse_model("claude"), 65)


# -- with the drafter, in processes of their own ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def scorer() -> Iterator[EmpathyModel]:
    model = EmpathyModel.load()
    yield model
    model.close()


def test_processes_write_what_one_thread_writes(tmp_path, scorer):
    options = MediationOptions(strategy="single", count=2)
    examples = [dispute(number) for number in range(3)]
    outputs = []
    for name, crew in (
        ("thread", ThreadCrew(Drafter(scorer), scorer, options, 1)),
        ("processes", ProcessCrew("drafter", "bundled", options, 2)),
    ):
        assert build(examples, tmp_path / name, SETTINGS, crew).written == 3
        outputs.append(sorted((tmp_path / name).read_text().splitlines()))
    assert outputs[0] == outputs[1]


def test_a_worker_that_dies_is_replaced_and_its_dispute_reported():
    """The worker is killed with the dispute in its hands; the others are drafted by the one that takes its place."""
    crew = ProcessCrew("drafter", "bundled", MediationOptions(strategy="single", count=1), 1)
    outcomes = crew.outcomes([dispute(1), dispute(2)], Cancellation())
    assert next(outcomes) is None
    (child,) = workers_of(os.getpid())
    child.kill()
    found = [outcome for outcome in outcomes if outcome]
    assert [(outcome.id, outcome.example is None) for outcome in found] == [("d1", True), ("d2", False)]
    assert isinstance(found[0].error, WorkerDied)
    assert not workers_of(os.getpid())


def workers_of(process: int) -> list[psutil.Process]:
    children = psutil.Process(process).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def command(source: Path, output: Path) -> "subprocess.Popen[str]":
    arguments = ["dataset", "build", str(source), "--output", str(output), "--strategy", "single", "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "ui.cli", *arguments, "--workers", "2", "-n", "2"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_lines(path: Path, process: "subprocess.Popen[str]", count: int) -> None:
    end = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_kill_9_and_ctrl_c_lose_nothing_that_was_written(tmp_path):
    """One build of many disputes: killed, gone on with, interrupted, and finished on a few."""
    source, path = tmp_path / "source.jsonl", tmp_path / "out.jsonl"
    write_examples(source, [dispute(number) for number in range(200)])
    first = command(source, path)
    try:
        wait_for_lines(path, first, 1)
        workers = workers_of(first.pid)
        assert len(workers) == 2
    finally:
        first.kill()
        first.communicate()
    whole = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    before = [json.loads(line)["id"] for line in whole]
    assert before
    assert not psutil.wait_procs(workers, timeout=60)[1]  # they noticed that nobody takes their work any more

    second = command(source, path)
    try:
        wait_for_lines(path, second, len(whole) + 1)
        os.killpg(second.pid, signal.SIGINT)  # as a terminal does: the workers get it, too
        out, err = second.communicate(timeout=60)
    finally:
        second.kill()
    assert second.returncode == 130, err
    report = json.loads(out)
    assert report["cancelled"]
    assert report["present"] == len(before)
    assert "Call the same command again to go on." in err
    assert problems(path) == []
    ids = [example.id for example in read_examples(path)]
    assert ids[: len(before)] == before
    assert len(ids) == len(set(ids)) == report["present"] + report["written"]

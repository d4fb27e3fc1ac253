"""The process of a run: kill -9 and resume with a real recipe, signals, several processes, what the folder says."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.run_recipes import recipe_folder
from support.toy_training import toy_dataset, toy_model

from trainer.alignment.config import make_config
from trainer.recipes import train
from trainer.runs import runs
from trainer.runs.folder import RunFolder, append_line, last_lines, read_json, read_lines, write_json
from trainer.runs.reporter import FolderReporter
from trainer.runs.runs import Run

unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "data"))
    yield
    for run in runs.list_runs():
        runs._end_processes(run)


@pytest.fixture
def light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes that need no torch; see support.run_recipes."""
    monkeypatch.setenv("PYTHONPATH", str(recipe_folder(tmp_path)))


def wait(run: Run, until: Callable[[Run], bool], seconds: float = 120) -> Run:
    end = time.monotonic() + seconds
    while not until(now := runs.refreshed(run)):
        assert time.monotonic() < end, (now, runs.log_tail(run))
        time.sleep(0.03)
    return now


def launch(what: str, processes: int = 1, **more: Any) -> Run:
    config = make_config("sft", {"model": what, "epochs": 500, "learning_rate": 0.05, **more})
    return runs.launch(config, "sft", force=True, processes=processes)


@unix
def test_kill_9_and_resume_give_the_same_weights_as_a_run_that_was_left_alone(tmp_path):
    model = toy_model(tmp_path / "base", layers=1, width=32)
    dataset = toy_dataset(tmp_path / "data.jsonl", 4)
    settings = {
        "model": str(model),
        "dataset": str(dataset),
        "epochs": 20,  # so many that it cannot be done before it is seen at a step
        "batch_size": 1,
        "gradient_accumulation": 1,
        "learning_rate": 1e-3,
        "checkpoint_every": 8,
        "sample_disputes": 0,
        "device": "cpu",
        "longest_text": 256,
    }
    config = make_config("sft", settings)
    killed = runs.launch(config, "sft")
    before = wait(killed, lambda now: now.step >= 9)  # beyond a checkpoint
    # Frozen first, so that it cannot be done before it is killed.
    process = psutil.Process(RunFolder(killed.folder).read_status().pid)
    process.suspend()
    process.kill()
    dead = wait(killed, lambda now: not now.active)
    assert (dead.state, dead.model) == ("failed", None)
    assert dead.step < dead.steps
    again = runs.resume(dead)
    assert again.step >= before.step
    done = wait(killed, lambda now: not now.active)
    assert (done.state, done.step) == ("done", done.steps)
    # The same in this process, which nobody kills.
    alone = reporter(tmp_path)
    train("sft", config, tmp_path / "run", alone, resume=False)
    folders = (killed.folder, tmp_path / "run")
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1]
    assert weights[0] != (model / "model.safetensors").read_bytes()
    curves = [[(line["step"], line["loss"]) for line in read_lines(folder / "metrics.jsonl")] for folder in folders]
    assert curves[0] == curves[1]
    assert curves[0][-1][1] < curves[0][0][1]


@unix
@pytest.mark.usefixtures("light")
def test_the_first_sigterm_asks_and_the_second_does_not():
    polite = wait(launch("count"), lambda now: now.step > 0)
    deaf = wait(launch("deaf"), lambda now: now.phase == "loading")
    os.kill(RunFolder(polite.folder).read_status().pid, signal.SIGTERM)
    assert wait(polite, lambda now: not now.active).state == "stopped"
    pid = RunFolder(deaf.folder).read_status().pid
    for child in psutil.Process(pid).children():
        child.kill()
    os.kill(pid, signal.SIGTERM)
    time.sleep(1.0)
    assert runs.refreshed(deaf).active
    os.kill(pid, signal.SIGTERM)
    assert wait(deaf, lambda now: not now.active).state == "stopped"


@unix
@pytest.mark.usefixtures("light")
def test_several_processes_are_one_run_of_which_the_first_writes():
    run = launch("together", processes=2)
    wait(run, lambda now: all((now.folder / f"rank-{rank}").exists() for rank in range(2)) and runs.metrics(now))
    pids = [int((run.folder / f"rank-{rank}").read_text()) for rank in range(2)]
    status, launched = RunFolder(run.folder).read_status(), RunFolder(run.folder).read_launch()
    assert status.pid == pids[0]
    assert launched.pid not in pids
    assert [line["loss"] for line in runs.metrics(run)] == [0.0]
    stopped = runs.stop(run)
    assert stopped.state == "stopped"
    assert not any(psutil.pid_exists(pid) for pid in [*pids, launched.pid])


@unix
@pytest.mark.usefixtures("light")
def test_when_another_process_fails_the_run_has_its_reason():
    run = wait(launch("second_fails", processes=2), lambda now: not now.active)
    assert (run.state, run.message, run.hint, run.exit_code) == ("failed", "The second one cannot.", "Mend it.", 2)


@unix
@pytest.mark.usefixtures("light")
def test_killing_the_launcher_of_several_leaves_none_of_them_behind():
    run = launch("together", processes=2)
    wait(run, lambda now: (now.folder / "rank-0").exists() and (now.folder / "rank-1").exists())
    pids = [int((run.folder / f"rank-{rank}").read_text()) for rank in range(2)]
    psutil.Process(RunFolder(run.folder).read_launch().pid).kill()
    assert runs.stop(run).state == "stopped"
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)


def reporter(tmp_path: Path, **more: Any) -> FolderReporter:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir(exist_ok=True)
    write_json(folder.config, {"recipe": "sft", "settings": {}})
    return FolderReporter(folder, **more)


def test_the_time_left_follows_the_speed_of_each_phase(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told = reporter(tmp_path)
    told.phase("caching", 0, 10)
    assert told.status.seconds_left is None
    now[0] += 4
    told.phase("caching", 2, 10)
    assert told.status.seconds_left == 16
    for step in range(1, 4):
        now[0] += 5
        told.phase("training", step, 13)
    assert (told.status.seconds_left, told.status.step, told.status.steps) == (50, 3, 13)
    told.phase("measuring", 0, 1)
    now[0] += 30  # measuring comes between steps, and takes its time again
    told.phase("training", 4, 13)
    assert told.status.seconds_left == 9 * 40 / 3
    told.phase("training", 1, 13)  # it has begun anew
    assert told.status.seconds_left is None


def test_the_status_is_not_written_at_every_word_but_at_every_phase(tmp_path, monkeypatch):
    written = []
    real = RunFolder.write_status
    monkeypatch.setattr(RunFolder, "write_status", lambda *given, **more: (written.append(1), real(*given, **more)))
    told = reporter(tmp_path)
    told.start()
    for done in range(1000):
        told.phase("caching", done, 1000)
    assert 2 <= len(written) < 20
    told.phase("saving")
    assert read_json(tmp_path / "run" / "status.json")["phase"] == "saving"
    told.end("done")
    last = read_json(tmp_path / "run" / "status.json")
    assert (last["state"], last["pid"]) == ("done", os.getpid())


def test_the_reserve_makes_room_for_the_last_words(tmp_path, monkeypatch):
    told = reporter(tmp_path)
    folder = RunFolder(tmp_path / "run")
    told.start()
    folder.keep_reserve()
    real = os.open

    def full(path: Any, flags: int, *given: Any, **more: Any) -> int:
        if flags & os.O_CREAT and folder.reserve.exists():  # a disk on which only the reserve can be given back
            raise OSError(28, "No space left on device", str(path))
        return real(path, flags, *given, **more)

    monkeypatch.setattr(os, "open", full)
    told.end("failed", "The disk is full.", "Make room.")
    assert not folder.reserve.exists()
    assert (folder.read_status().state, folder.read_status().message) == ("failed", "The disk is full.")


def test_lines_of_an_attempt_that_was_overtaken_do_not_count(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for attempt, steps in ((1.0, (1, 2, 2, 3, 4)), (2.0, (3, 4, 5)), (3.0, (5,))):
        for step in steps:
            append_line(path, {"step": step, "from": attempt, "attempt": attempt})
    expected = [(1, 1.0), (2, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 3.0)]
    assert [(line["step"], line["from"]) for line in read_lines(path)] == expected
    assert all("attempt" not in line for line in read_lines(path))
    assert [line["step"] for line in read_lines(path, largest=150)] == [4, 5]


def test_the_log_shows_of_a_progress_bar_what_a_terminal_would():
    text = "first\n 10%\r 50%\r100%\nlast\r\n\n"
    assert last_lines(text, 3) == "first\n100%\nlast"
    assert last_lines(text, 1) == "last"
    assert last_lines(text, 0) == ""


def test_keys_do_not_appear_in_what_is_shown_of_the_log(tmp_path, monkeypatch):
    key = "sk-ant-api03-" + "a1B2" * 20
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    folder = RunFolder(tmp_path)
    folder.log.write_text(f"connecting with {key}\n")
    assert "connecting" in folder.log_tail(5)
    assert key not in folder.log_tail(5)

"""Runs as whoever launches them sees them: real processes, launched, watched, killed, stopped, resumed and deleted."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.patience import PATIENCE, until
from support.run_recipes import recipe_folder

from trainer.alignment.config import CONFIGS, load_config, make_config
from trainer.runs import runs
from trainer.runs.folder import RunFolder, append_line, read_json, write_json
from trainer.runs.processes import ProcessName, lives, name_of
from trainer.runs.runs import CannotLaunch, Run, RunIsActive, RunIsDone, RunNotFound

SOURCE = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder of its own, in which no process is left at the end."""
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONPATH", str(recipe_folder(tmp_path)))
    yield tmp_path / "data" / "runs"
    for run in runs.list_runs():
        runs._end_processes(run)


def launch(what: str, steps: float = 3, seconds: float = 0.01, **more: Any) -> Run:
    options = {name: more.pop(name) for name in ("attached",) if name in more}
    config = make_config("sft", {"model": what, "epochs": steps, "learning_rate": seconds, **more})
    return runs.launch(config, "sft", force=True, **options)


def wait(run: Run, condition: Callable[[Run], bool], seconds: float = PATIENCE) -> Run:
    end = time.monotonic() + seconds
    while not condition(now := runs.refreshed(run)):
        assert time.monotonic() < end, (now, runs.log_tail(run))
        time.sleep(0.03)
    return now


def over(run: Run) -> bool:
    return not run.active


def process_of(run: Run) -> psutil.Process:
    return psutil.Process(RunFolder(run.folder).read_status().pid)


def test_a_run_works_in_a_process_of_its_own_and_its_folder_tells_everything(place):
    began = time.time()
    run = launch("count")
    assert run.active
    assert run.folder.parent == place
    assert run.id.startswith("sft-" + time.strftime("%Y"))
    assert run.settings["epochs"] == 3
    done = wait(run, over)
    assert (done.state, done.step, done.steps, done.message) == ("done", 3, 3, "")
    assert done.model == run.folder / "model"
    assert done.model.is_dir()
    lines = runs.metrics(run)
    assert [(line["step"], line["steps"], line["loss"]) for line in lines] == [(1, 3, 1.0), (2, 3, 0.5), (3, 3, 1 / 3)]
    assert all(line["memory_bytes"] > 1e6 and began <= line["time"] <= time.time() for line in lines)
    assert [line["step"] for line in runs.metrics(run, after=1)] == [2, 3]
    assert runs.samples(run)[0] == {"step": 1, "dispute_id": "d1", "text": "text 1", "score_a": 0.5, "score_b": None}
    assert runs.find(run.id) == done
    assert runs.list_runs() == [done]
    if sys.platform != "win32":
        assert run.folder.stat().st_mode & 0o077 == 0  # what a run writes may quote a dispute


def launching_program(options: str = "") -> "subprocess.Popen[str]":
    """A program that launches a long run, prints its id, and lives on until it is killed."""
    program = (
        "import sys, time; from trainer.runs import runs; from trainer.alignment.config import make_config\n"
        "config = make_config('sft', {'model': 'count', 'epochs': 500, 'learning_rate': 0.05})\n"
        f"print(runs.launch(config, 'sft', force=True{options}).id, flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": os.environ["PYTHONPATH"] + os.pathsep + str(SOURCE)}
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)


def test_the_run_outlives_the_process_that_launched_it(place):
    with launching_program() as parent:
        assert parent.stdout is not None
        run = runs.find(parent.stdout.readline().strip())
        before = wait(run, lambda now: now.step > 0)
        parent.kill()
    wait(run, lambda now: now.step > before.step + 2)
    assert runs.stop(run).state == "stopped"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_an_attached_run_stops_with_its_parent():
    with launching_program(", attached=True") as parent:
        assert parent.stdout is not None
        run = runs.find(parent.stdout.readline().strip())
        wait(run, lambda now: now.step > 0)
        parent.kill()
    assert wait(run, over).state == "stopped"


def test_more_output_than_a_pipe_holds_does_not_hang_it():
    run = wait(launch("shout"), over)
    assert run.state == "done"
    assert RunFolder(run.folder).log.stat().st_size > 1_500_000
    assert runs.log_tail(run, 2).count("\n") == 1


def test_stop_is_heard_at_the_next_step_and_resume_goes_on_from_there():
    run = launch("count", 200, 0.05)
    wait(run, lambda now: now.step >= 3)
    stopped = runs.stop(run)
    assert stopped.state == "stopped"
    assert "resumed from its last checkpoint" in stopped.message
    at = stopped.step
    assert 3 <= at < 200
    assert not lives(RunFolder(run.folder).read_status())
    # The lines of a step that is repeated must be there once.
    (run.folder / "checkpoints" / f"checkpoint-{at}").rmdir()
    again = runs.resume(stopped, force=True)
    assert again.active
    assert again.step == at
    wait(run, lambda now: now.step > at)
    runs.stop(run)
    steps = [line["step"] for line in runs.metrics(run)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > at
    assert [sample["step"] for sample in runs.samples(run)] == steps


def test_a_stop_that_comes_before_the_process_begins_is_heard():
    run = launch("count", 500, 0.05)
    runs.ask_to_stop(run)
    assert runs.refreshed(run).state in ("stopping", "stopped")
    stopped = wait(run, over)
    assert (stopped.state, stopped.step) == ("stopped", 0)
    assert "starts from the beginning" in stopped.message
    assert runs.metrics(run) == []


def test_a_phase_that_does_not_look_is_interrupted_and_its_children_die_too():
    run = wait(launch("deaf"), lambda now: now.phase == "loading")
    child = wait_for_child(process_of(run))
    stopped = runs.stop(run, patience=0.3)
    assert stopped.state == "stopped"
    assert "starts from the beginning" in stopped.message
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that could be ignored")
def test_what_ignores_everything_is_killed_with_its_children(monkeypatch):
    monkeypatch.setattr(runs, "_AFTER_ASKING", 0.3)
    run = wait(launch("obstinate"), lambda now: now.phase == "loading")
    process = process_of(run)
    child = wait_for_child(process)
    stopped = runs.stop(run, patience=0.2)
    assert stopped.state == "stopped"
    assert "was ended" in stopped.message
    assert not lives(name_of(process.pid))
    assert not lives(name_of(child.pid))


def wait_for_child(process: psutil.Process) -> psutil.Process:
    return until(process.children, "it started no process")[0]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_process_is_failed_with_a_reason_and_can_be_resumed():
    run = wait(launch("count", 300, 0.03, batch_size=8), lambda now: now.step >= 3)
    process_of(run).send_signal(signal.SIGKILL)
    dead = wait(run, over)
    assert dead.state == "failed"
    assert "without a word" in dead.message
    assert "memory" in dead.message
    assert "batch_size=4 and gradient_accumulation=8" in dead.hint
    # It is kept, because what it was told from changes.
    assert json.loads((run.folder / "status.json").read_bytes())["state"] == "failed"
    again = wait(runs.resume(dead, force=True), lambda now: now.step > dead.step)
    assert again.message == ""
    runs.stop(run)


def test_each_way_to_fail_has_its_sentence(tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "x"}\nnonsense\n')
    expected = {
        "out_of_memory": ("ran out of memory", "batch_size=2"),
        "crash": ("crashed (segmentation fault)", "end of the log"),
        "bad_row": ("bad.jsonl, line 1", ""),
        "vanish": ("without a word", "Close other programs"),
        "no_such_recipe": ("KeyError", "end of the log"),
    }
    started = {what: launch(what, dataset=str(bad)) for what in expected}
    for what, (message, hint) in expected.items():
        ended = wait(started[what], over)
        assert ended.state == "failed"
        assert message in ended.message, what
        assert hint in ended.hint, (what, ended.hint)
    assert runs.refreshed(started["bad_row"]).exit_code == 2
    assert "Traceback" in runs.log_tail(started["bad_row"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_disk_that_fills_up_ends_the_run_with_its_sentence(monkeypatch):
    made = runs.make_folder
    monkeypatch.setattr(runs, "make_folder", lambda *given: full(made(*given)))
    run = wait(launch("count"), over)
    assert run.state == "failed"
    assert run.message.startswith(f"The disk of {run.folder} is full")
    assert "keep_checkpoints" in run.hint


def full(folder: RunFolder) -> RunFolder:
    folder.metrics.symlink_to("/dev/full")
    return folder


def test_a_loss_that_is_no_number_is_told_and_not_written():
    run = wait(launch("not_a_number"), lambda now: bool(now.message))
    assert "no number" in run.message
    assert "learning_rate" in run.hint
    assert "loss" not in runs.metrics(run)[0]
    assert runs.metrics(run)[0]["gap"] == 0.25
    assert runs.stop(run).state == "stopped"


def test_a_folder_that_is_deleted_while_it_runs_ends_the_run_and_is_not_made_again(place):
    run = wait(launch("count", 500, 0.05), lambda now: now.step > 0)
    process = process_of(run)
    run.folder.rename(place / ".gone")
    process.wait(20)
    assert not run.folder.exists()
    with pytest.raises(RunNotFound, match="deleted"):
        runs.refreshed(run)
    assert runs.list_runs() == []
    deaf = wait(launch("deaf"), lambda now: now.phase == "loading")
    process = process_of(deaf)
    for child in process.children():
        child.kill()
    deaf.folder.rename(place / ".gone-too")
    process.wait(20)


def test_two_cannot_work_on_one_run():
    run = wait(launch("count", 300, 0.03), lambda now: now.step > 0)
    with pytest.raises(RunIsActive, match="works already"):
        runs.resume(run)
    with pytest.raises(RunIsActive, match="Stop it first"):
        runs.delete(run)
    second = [sys.executable, "-c", SECOND, str(run.folder)]
    environment = {**os.environ, "PYTHONPATH": os.environ["PYTHONPATH"] + os.pathsep + str(SOURCE)}
    found = subprocess.run(second, env=environment, capture_output=True, text=True)
    assert found.returncode == 1
    assert f"Process {process_of(run).pid} works on this run already" in found.stderr
    assert runs.refreshed(run).state == "running"
    runs.stop(run)


SECOND = (
    "import sys; from trainer.runs import process as program\n"
    "program._LOCK_PATIENCE = 0.2; sys.exit(program.main([sys.argv[1], '--resume']))"
)


def test_a_finished_run_is_not_resumed_and_is_deleted_whole(place):
    run = wait(launch("count", 1), over)
    with pytest.raises(RunIsDone, match="finished"):
        runs.resume(run)
    runs.delete(run)
    assert list(place.iterdir()) == []
    runs.delete(run)  # it is gone: that is what was wanted


def test_another_process_with_the_same_number_is_not_taken_for_the_run():
    run = wait(launch("count", 1), over)
    folder = RunFolder(run.folder)
    ours = name_of()
    assert lives(ours)
    earlier = ours.model_copy(update={"process_started": ours.process_started - 60, "since_boot": ours.since_boot - 60})
    for named, state in ((ours, "running"), (earlier, "failed")):
        status = folder.read_status().model_copy(update={"state": "running", **named.model_dump()})
        folder.write_status(status)
        write_json(folder.launch, {**read_json(folder.launch), **named.model_dump()})
        assert runs.refreshed(run).state == state


def test_the_clock_may_be_set_and_the_computer_started_anew():
    ours = name_of()
    if not ours.boot:
        pytest.skip("this system does not name its starts")
    assert lives(ours.model_copy(update={"process_started": ours.process_started - 3600}))
    other_boot = ours.model_copy(update={"boot": "another"})
    assert not lives(other_boot)
    assert not lives(ProcessName())
    run = wait(launch("count", 1), over)
    folder = RunFolder(run.folder)
    folder.write_status(folder.read_status().model_copy(update={"state": "running", **other_boot.model_dump()}))
    write_json(folder.launch, {**read_json(folder.launch), "boot": "another"})
    failed = runs.refreshed(run)
    assert failed.state == "failed"
    assert "restarted" in failed.message


def test_a_process_that_has_ended_and_was_not_waited_for_is_dead():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        named = name_of(child.pid)
        assert lives(named)
        assert child.stdin is not None
        child.stdin.close()
        until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
        assert not lives(named)


@pytest.mark.skipif(sys.platform == "win32", reason="processes of Windows do not become zombies")
def test_a_launched_process_leaves_no_zombie():
    run = launch("count", 1)
    wait(run, over)
    pid = RunFolder(run.folder).read_launch().pid
    until(lambda: not psutil.pid_exists(pid), "it is a zombie, or goes on")


def test_a_run_on_another_computer_is_believed_until_it_is_silent():
    run = wait(launch("count", 1), over)
    folder = RunFolder(run.folder)
    there = {"state": "running", "host": "elsewhere", "pid": 1, "updated": time.time()}
    write_json(folder.launch, {**read_json(folder.launch), "host": "elsewhere"})
    folder.write_status(folder.read_status().model_copy(update=there))
    assert runs.refreshed(run).state == "running"
    with pytest.raises(RunIsActive, match="elsewhere"):
        runs.stop(run, patience=0.1)
    folder.stop.unlink()
    write_json(folder.launch, {**read_json(folder.launch), "at": 1.0})
    folder.write_status(folder.read_status().model_copy(update={"updated": time.time() - 1000}))
    failed = runs.refreshed(run)
    assert failed.state == "failed"
    assert "elsewhere" in failed.message


def test_torn_lines_damaged_status_and_foreign_folders_are_passed_over(place):
    run = wait(launch("count", 2), over)
    folder = RunFolder(run.folder)
    with folder.metrics.open("a") as file:
        file.write('{"step": 3, "los')
    assert [line["step"] for line in runs.metrics(run)] == [1, 2]
    append_line(folder.metrics, {"step": 3, "loss": 0.1})
    assert [line["step"] for line in runs.metrics(run)] == [1, 2, 3]
    (place / "notes").mkdir()
    (place / "broken").mkdir()
    (place / "broken" / "config.json").write_text('{"recipe":')
    assert [one.id for one in runs.list_runs()] == [run.id]
    folder.status.write_text('{"state": "runn')
    assert wait(run, over).state == "failed"


def test_runs_are_found_by_a_part_of_their_id_or_by_their_folder(place):
    run = wait(launch("count", 1), over)
    other = wait(launch("count", 1), over)
    assert runs.find(run.id[-4:]).id == run.id
    assert runs.find(str(run.folder)).id == run.id
    for named, words in (("sft-", "called like"), ("ab", "no run"), ("", "no run"), ("../../etc", "no run")):
        with pytest.raises(RunNotFound, match=words):
            runs.find(named)
    assert [one.id for one in runs.list_runs()] == [other.id, run.id]


def test_paths_are_kept_absolute_because_the_process_works_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "count").mkdir()  # a folder that is called like a model is meant before the hub
    config = make_config("nce", {"model": "count", "dataset": "a.jsonl", "hypotheses": "b.jsonl"})
    run = runs.launch(config, "nce", force=True)
    names = ("model", "dataset", "validation", "hypotheses")
    assert [run.settings[name] for name in names] == [
        str(tmp_path / "count"),
        str(tmp_path / "a.jsonl"),
        "",
        str(tmp_path / "b.jsonl"),
    ]
    wait(run, over)


def test_a_run_that_cannot_be_started_leaves_nothing(place, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(place / "no-such-python"))
    with pytest.raises(CannotLaunch, match="cannot be started"):
        launch("count")
    assert list(place.iterdir()) == []


def test_a_run_that_cannot_be_resumed_stays_as_it_was(place, monkeypatch):
    run = wait(launch("vanish"), over)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(place / "no-such-python"))
        with pytest.raises(CannotLaunch):
            runs.resume(run, force=True)
    assert runs.refreshed(run) == run


def test_patience_grows_with_the_steps(place):
    run = wait(launch("vanish"), over)
    folder = RunFolder(run.folder)
    for step in range(5):
        append_line(folder.metrics, {"step": step, "time": 1000.0 + 40 * step})
    assert runs._three_steps(run) == 120
    folder.write_status(folder.read_status().model_copy(update={"phase": "hypotheses"}))
    assert runs._three_steps(run) == 0


def test_the_command_gives_the_same_settings_again():
    odd = {
        "model": 'it\'s a "model"',
        "dataset": "123",
        "validation": "- x: #y",
        "learning_rate": 3e-7,
        "epochs": 2.5,
        "packing": False,
        "trainable": "lora",
        "precision": "bf16",
    }
    words = shlex.split(runs.command_of("sft", make_config("sft", odd).model_dump()))
    assert words[:3] == ["evenhand", "train", "sft"]
    assert words[3::2] == ["--set"] * len(odd)
    assert load_config("sft", None, words[4::2]) == make_config("sft", odd)
    for recipe in CONFIGS:
        assert runs.command_of(recipe, make_config(recipe, {}).model_dump()) == f"evenhand train {recipe}"

"""The sentences for a run that failed: from the error, from a dead process's log, from what the system counted."""

import errno
from pathlib import Path

import pytest

from mediator.errors import InputError
from trainer.runs import failures
from trainer.runs.failures import memory_kills, of_error, of_silence, what_to_lower
from trainer.runs.folder import Launch, RunFolder, write_json

SETTINGS = {"batch_size": 8, "gradient_accumulation": 2, "longest_text": 512, "trainable": "all", "precision": "auto"}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path)
    write_json(made.launch, Launch(pid=1, at=1.0, memory_kills=3).model_dump())
    return made


def caused(outer: BaseException, inner: BaseException) -> BaseException:
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "message", "hint", "status"),
    [
        (InputError("Line 3 is bad.", "Mend it."), "Line 3 is bad.", "Mend it.", 2),
        (caused(RuntimeError("x"), InputError("Line 3 is bad.")), "Line 3 is bad.", "", 2),
        (MemoryError(), "The computer ran out of memory.", "batch_size=4 and gradient_accumulation=4", 1),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "The GPU ran out of memory.", "batch_size=4", 1),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
            "The computer ran out of memory.",
            "batch_size=4",
            1,
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "is full", "keep_checkpoints", 1),
        (caused(ValueError("x"), OSError(errno.ENOSPC, "")), "is full", "keep_checkpoints", 1),
        # What safetensors raises.
        (Exception('I/O error: "No space left on device (os error 28)"'), "is full", "keep_checkpoints", 1),
        (ModuleNotFoundError("No module named 'peft'", name="peft"), "package peft", "evenhand[train]", 1),
        (ValueError("a\nb"), "failed inside: ValueError: a", "end of the log", 1),
        (ValueError("x" * 999), "failed inside: ValueError: xxx", "end of the log", 1),
    ],
)
def test_an_error_has_its_sentence(error, message, hint, status, tmp_path):
    found = of_error(error, SETTINGS, tmp_path)
    assert message in found.message
    assert hint in found.hint
    assert found.exit_code == status
    assert len(found.message) < 300


TORCHRUN = """\
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
trainer.runs.process FAILED
  exitcode  : -9 (pid: 4711)
  traceback : Signal 9 (SIGKILL) received by PID 4711
"""


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (TORCHRUN, "no memory left"),
        ("Fatal Python error: Segmentation fault\n\nCurrent thread", "crashed (segmentation fault)"),
        ("Fatal Python error: Bus error\n", "crashed (bus error)"),
        ("ModuleNotFoundError: No module named 'torch'", "package torch"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "ran out of memory"),
        ("torch.OutOfMemoryError: CUDA out of memory.", "The GPU ran out of memory"),
        ("write failed: No space left on device", "is full"),
        ("Traceback (most recent call last):\n  x\nRuntimeError: odd thing", "RuntimeError: odd thing"),
        ("[rank1]: ValueError: odd thing", "ValueError: odd thing"),
        ("all is well", "without a word"),
        ("", "without a word"),
    ],
)
def test_the_end_of_the_log_tells_why_a_process_died(log, message, folder, monkeypatch):
    monkeypatch.setattr(failures, "memory_kills", lambda: 3)
    folder.log.write_text(f"--- launched\n{log}\n")
    assert message in of_silence(folder, SETTINGS).message


def test_a_bus_error_on_a_full_disk_is_the_disk(folder, monkeypatch):
    folder.log.write_text("Fatal Python error: Bus error\n")
    monkeypatch.setattr(failures, "_is_almost_full", lambda path: True)
    assert "is full" in of_silence(folder, SETTINGS).message


def test_what_an_earlier_start_has_logged_does_not_count(folder, monkeypatch):
    monkeypatch.setattr(failures, "memory_kills", lambda: 3)
    old = "CUDA out of memory\n"
    folder.log.write_text(old + "--- resumed\n")
    write_json(folder.launch, Launch(pid=1, log_start=len(old), memory_kills=3).model_dump())
    assert "without a word" in of_silence(folder, SETTINGS).message
    # Nor does what was overcome long before the end.
    folder.log.write_text(old + "step\n" * 100)
    write_json(folder.launch, Launch(pid=1, memory_kills=3).model_dump())
    assert "without a word" in of_silence(folder, SETTINGS).message


def test_a_process_that_the_system_killed_for_memory_is_named_so(folder, tmp_path, monkeypatch):
    counter = tmp_path / "memory.events"
    monkeypatch.setattr(failures, "_counters", lambda: [tmp_path / "not-there", counter])
    assert memory_kills() is None
    for text in ("low 0\noom 9\noom_kill 3\noom_group_kill 0\n", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"):
        counter.write_text(text)
        assert memory_kills() == 3
    assert "without a word" in of_silence(folder, SETTINGS).message
    counter.write_text("oom_kill 4\n")
    found = of_silence(folder, SETTINGS)
    assert found.message == "The computer ran out of memory, and the system ended the training."
    assert "batch_size=4" in found.hint


def test_what_another_process_of_the_run_said_comes_first(folder):
    folder.log.write_text(TORCHRUN)
    write_json(folder.failure, {"message": "Line 3 is bad.", "hint": "Mend it.", "exit_code": 2})
    assert tuple(of_silence(folder, SETTINGS)) == ("Line 3 is bad.", "Mend it.", 2)


def test_only_what_can_still_be_lowered_is_advised():
    assert what_to_lower(SETTINGS).startswith("set batch_size=4 and gradient_accumulation=4")
    least = {"batch_size": 1, "longest_text": 64, "trainable": "last_layers", "precision": "bf16"}
    assert what_to_lower(least) == "choose a smaller model"
    assert "precision=bf16" in what_to_lower({**least, "precision": "fp32"})
    assert "hypothesis_batch" in what_to_lower({**least, "hypothesis_batch": 16})
    assert "batch" not in what_to_lower({**least, "trainable": "all"})

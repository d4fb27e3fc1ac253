"""Exports of a run's model as the page sees them: real processes, cancelled, killed, and one whose file is no good."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("gguf", reason="gguf is not installed")

from support.stored_runs import stored_run
from support.toy_training import toy_model

from mediator.errors import InputError, ModelFileError
from trainer.export import jobs as export_jobs
from trainer.export.jobs import ExportIsActive, ExportJob, NothingToExport
from trainer.export.quantise import KINDS
from trainer.runs import runs
from trainer.runs.folder import RunFolder
from trainer.runs.runs import Run


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A data folder of its own, in which no process is left at the end."""
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "data"))
    yield
    for run in runs.list_runs():
        for job in export_jobs.list_jobs(run):
            runs.stop(job.run, patience=0.0)


def finished_run(**options: Any) -> Run:
    run = stored_run("sft-1")
    toy_model(run.folder / "model", layers=1, **options)
    return run


def wait(job: ExportJob, run: Run, until: Callable[[ExportJob], bool]) -> ExportJob:
    end = time.monotonic() + 240
    while not until(job):
        assert time.monotonic() < end, (job, export_jobs.log_tail(job))
        time.sleep(0.02)
        job = export_jobs.find(run, job.kind)
    return job


def left_behind(job: ExportJob) -> list[str]:
    return sorted(path.name for path in job.run.folder.iterdir() if ".gguf" in path.name)


def test_the_kinds_are_those_of_the_quantiser() -> None:
    assert export_jobs.KINDS == KINDS


def test_what_cannot_be_exported_is_refused_at_once() -> None:
    run = stored_run("sft-1", state="stopped")
    with pytest.raises(NothingToExport):
        export_jobs.launch(run, "f16")
    run = stored_run("sft-2", result=True)  # config.json is there, and no weights
    with pytest.raises(ModelFileError):
        export_jobs.launch(run, "f16")
    with pytest.raises(InputError, match="nonsense"):
        export_jobs.launch(run, "nonsense")  # type: ignore[arg-type]
    assert export_jobs.list_jobs(run) == []


def test_one_at_a_time_cancelled_killed_and_found_again() -> None:
    run = finished_run(width=256)
    job = export_jobs.launch(run, "q4_k_m")
    assert job.active
    with pytest.raises(ExportIsActive, match="q4_k_m"):
        export_jobs.launch(run, "q8_0")
    job = wait(job, run, lambda now: now.run.phase != "")
    export_jobs.ask_to_stop(job)
    job = wait(job, run, lambda now: not now.active)
    assert (job.run.state, job.run.message) == ("stopped", "Cancelled; nothing of the file was kept.")
    assert left_behind(job) == []
    assert job.writer == ""

    # Started again, and killed: whoever looks next sees that it is dead, and says so in words of an export.
    job = wait(export_jobs.launch(run, "q4_k_m"), run, lambda now: now.run.phase != "")
    os.kill(RunFolder(job.run.folder).read_status().pid, signal.SIGKILL)
    job = wait(job, run, lambda now: not now.active)
    assert job.run.state == "failed"
    assert "export" in job.run.message
    assert job.run.hint.endswith("Export the model again.")
    assert runs.list_runs() == [runs.refreshed(run)], "an export is no run of its own"


def test_a_file_that_does_not_pass_its_check_is_kept_aside_and_cannot_be_used() -> None:
    from safetensors.torch import load_file, save_file

    run = finished_run(width=32)
    weights = run.folder / "model" / "model.safetensors"
    tensors = load_file(weights)
    # In every block of 32 weights one so large that the others round to zero; and what it is multiplied with is zero.
    tensors["model.norm.weight"][::32] = 0
    tensors["lm_head.weight"][:, ::32] = 1000
    save_file(tensors, weights, metadata={"format": "pt"})
    job = wait(export_jobs.launch(run, "q8_0"), run, lambda now: not now.active)
    assert job.run.state == "failed"
    assert job.run.message.startswith("The file did not pass its check.")
    assert job.result is not None
    assert job.result.check is not None
    assert not job.result.passed
    assert [one.what for one in job.result.check.findings if one.passed is False] == ["logits", "top1"]
    assert left_behind(job) == ["sft-1-q8_0.failed.gguf"]
    assert job.writer == ""

"""Exports of a run's model: each works in a process of its own and a folder inside the run's, and is found again there.

Like a run of training, an export goes on when the page or the app is closed, and its folder tells all there is to know.
There is one folder for each kind of quantisation; exporting again replaces what is in it. Nothing here needs torch.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from mediator.errors import EvenhandError, InputError
from mediator.file_lock import Locked, locked
from trainer.export.process import RESULT_FILE
from trainer.runs import runs
from trainer.runs.folder import RunFolder, Status, read_json, write_json
from trainer.runs.reading import EXPORT_RECIPE, Run, read_run
from trainer.runs.starting import start

if TYPE_CHECKING:
    from trainer.export.exporting import Export, Result
    from trainer.export.quantise import Kind

KINDS: tuple["Kind", ...] = ("f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m")
"""As `trainer.export.quantise.KINDS`, which takes longer to import; a test holds them together."""

USUAL: "Kind" = "q4_k_m"
"""What is exported to when nothing else is chosen."""

FOLDER = "exports"
"""In a run's folder: one folder for each kind."""

_PROGRAM = "trainer.export.process"


class NothingToExport(EvenhandError):
    """The run has no model, or not yet."""


class ExportIsActive(EvenhandError):
    """The run's model is being exported, and two exports at once would only slow each other."""


class ExportNotFound(InputError):
    """The run's model was not exported to this kind."""


@dataclass(frozen=True)
class ExportJob:
    """An export as it is in this moment.

    Attributes:
        kind: how the weights are quantised.
        run: its process and progress. ``phase`` is a `trainer.export.exporting.Stage`; ``id`` is the kind.
        file: where the file lies, or will lie.
        result: once the file is written: what it is, and what its check found; also of one that did not pass.
    """

    kind: "Kind"
    run: Run
    file: Path
    result: "Result | None" = None

    @property
    def active(self) -> bool:
        """Whether a process works on it, or is about to."""
        return self.run.active

    @property
    def writer(self) -> str:
        """The name of the file as a writer, ``gguf:PATH``; empty where it may not be used, or is gone."""
        usable = self.run.state == "done" and self.result is not None and self.result.passed and self.file.is_file()
        return self.result.model if usable and self.result is not None else ""


def exportable(run: Run) -> bool:
    """Whether a run has a model that can be exported."""
    return run.model is not None and (run.model / "config.json").is_file()


def launch(run: Run, kind: "Kind") -> ExportJob:
    """Start the export of a run's model, and return at once.

    Raises:
        NothingToExport: see there.
        ExportIsActive: see there.
        InputError: an unknown kind.
        ModelFileError, NotEnoughDisk, MissingExtraError: see `trainer.export.exporting.Export.plan`.
        runs.CannotLaunch: the folder cannot be written, or the process not be started.
    """
    if kind not in KINDS:
        raise InputError(f"There is no quantisation {str(kind)[:40]!r}.", f"Choose one of: {', '.join(KINDS)}.")
    if not exportable(run):
        raise NothingToExport(f"The run {run.id} has no model that could be exported.", "Wait until it is done.")
    export = _export_of(run, kind)
    export.plan()  # what is wrong from the start is better said here
    folder = _folder(run, kind)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        with locked(run.folder / FOLDER / "launch.lock", wait=2.0):
            if working := next((job for job in list_jobs(run) if job.active), None):
                raise ExportIsActive(
                    f"The model of this run is being exported already ({working.kind}).", "Wait for it, or cancel it."
                )
            (folder.path / RESULT_FILE).unlink(missing_ok=True)
            export.failed_target.unlink(missing_ok=True)
            folder.write_status(Status(updated=time.time()))
            settings = export.model_dump(mode="json")
            values = {"recipe": EXPORT_RECIPE, "settings": settings, "created": time.time(), "gpus": 1}
            write_json(folder.config, values, synced=True)
            start(folder, 1, resumed=False, attached=False, program=_PROGRAM)
    except Locked as error:
        raise ExportIsActive("An export of this run is being started already.", "Wait a moment.") from error
    except OSError as error:
        raise runs.CannotLaunch(
            f"The export cannot be started in {folder.path}: {error.strerror or error}.",
            "Check the folder and its rights.",
        ) from error
    return find(run, kind)


def list_jobs(run: Run) -> list[ExportJob]:
    """Return the exports of a run's model, the newest first."""
    found = [job for kind in KINDS if (job := _read(run, kind)) is not None]
    return sorted(found, key=lambda job: job.run.created, reverse=True)


def find(run: Run, kind: str) -> ExportJob:
    """Return one export of a run's model. Raises `ExportNotFound`."""
    found = next((job for known in KINDS if known == kind and (job := _read(run, known)) is not None), None)
    if found is None:
        raise ExportNotFound(f"The model of the run {run.id} was not exported to {kind[:40]!r}.", "Reload the page.")
    return found


def ask_to_stop(job: ExportJob) -> None:
    """Ask an export to stop; returns at once. Of one that has ended: nothing."""
    runs.ask_to_stop(job.run)


def stop(job: ExportJob) -> None:
    """Stop an export and wait until it has, by force if need be; nothing of its file is kept."""
    runs.stop(job.run, patience=5.0)


def log_tail(job: ExportJob, lines: int = 40) -> str:
    """Return the last lines of an export's log; empty where there is none."""
    return runs.log_tail(job.run, lines)


def _export_of(run: Run, kind: "Kind") -> "Export":
    from trainer.export.exporting import Export

    checkpoint = run.folder / "model"
    # Named after the run: every run's model lies in a folder called so.
    output = _folder(run, kind).path / f"{run.id}-{kind}.gguf"
    return Export(checkpoint=checkpoint, quant=kind, output=output, name=run.id, force=True)


def _folder(run: Run, kind: "Kind") -> RunFolder:
    return RunFolder(run.folder / FOLDER / kind)


def _read(run: Run, kind: "Kind") -> ExportJob | None:
    folder = _folder(run, kind)
    now = read_run(folder.path)
    if now is None:
        return None
    return ExportJob(kind=kind, run=now, file=Path(str(now.settings.get("output", ""))), result=_result(folder))


def _result(folder: RunFolder) -> "Result | None":
    if not (folder.path / RESULT_FILE).is_file():
        return None
    from trainer.export.exporting import Result

    try:
        return Result.model_validate(read_json(folder.path / RESULT_FILE))
    except ValidationError:
        return None

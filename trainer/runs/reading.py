"""A run as its folder tells it: what was launched, how far it is, and whether its process is there at all."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from mediator.file_lock import Locked, locked
from trainer.runs.failures import EXPORT, TRAINING, Work, of_silence
from trainer.runs.folder import LIVE, Launch, RunFolder, Standing, State, Status, read_json
from trainer.runs.processes import lives

EXPORT_RECIPE = "export"
"""The recipe of a folder in which a model is exported: it is no run of training; see `trainer.export.jobs`."""

_GRACE = 60.0  # seconds in which a launch may not yet have noted its process
_SILENCE = 180.0  # seconds after which the run of another computer that says nothing is taken for dead


class Run(Standing):
    """A run as it is in this moment: ``failed`` also where its status still says ``running`` and its process is dead.

    Attributes:
        id: such as ``nce-20261121-142030-ab12``: the recipe, the local time, a random end.
        folder: where all of it lies.
        recipe: one of `trainer.config.CONFIGS`.
        settings: of the recipe, all of them.
        created: seconds since 1970.
        processes: how many work together (one for each GPU).
    """

    id: str
    folder: Path
    recipe: str
    settings: dict[str, Any]
    created: float
    processes: int = 1

    @property
    def active(self) -> bool:
        """Whether a process works on it, or is about to."""
        return self.state in LIVE

    @property
    def model(self) -> Path | None:
        """The folder of the trained model, once it is there."""
        return RunFolder(self.folder).model if self.state == "done" else None

    @property
    def resumable(self) -> bool:
        """Whether `resume` can go on with it."""
        return self.state in ("stopped", "failed")


def folders(parent: Path) -> list[Path]:
    """Return the folders in which runs may lie; none where the parent cannot be read."""
    try:
        return [path for path in parent.iterdir() if not path.name.startswith(".") and path.is_dir()]
    except OSError:
        return []


def read_run(path: Path) -> Run | None:
    """Return the run in a folder, or None where there is none."""
    folder = RunFolder(path)
    config = read_json(folder.config)
    recipe, settings = config.get("recipe"), config.get("settings")
    if not isinstance(recipe, str) or not isinstance(settings, dict):
        return None
    work = EXPORT if recipe == EXPORT_RECIPE else TRAINING
    created = config.get("created")
    return Run(
        id=path.name,
        folder=path,
        recipe=recipe,
        settings=settings,
        created=float(created) if isinstance(created, int | float) else 0.0,
        processes=count if isinstance(count := config.get("gpus"), int) and count > 0 else 1,
        **_present(folder, settings, work).model_dump(include=set(Standing.model_fields)),
    )


def _present(folder: RunFolder, settings: dict[str, Any], work: Work) -> Status:
    """Return the status as it is in truth: whether there is a process, and if not, why it ended."""
    status = folder.read_status()
    if status.state not in LIVE:
        return status
    launch = folder.read_launch()
    if _has_process(folder, status, launch):
        stopping = status.state != "stopping" and folder.stop.exists()
        return status.model_copy(update={"state": "stopping"}) if stopping else status
    status = folder.read_status()  # it may have ended in order between the two looks
    if status.state not in LIVE:
        return status
    if status.elsewhere or launch.elsewhere:
        name = status.host or launch.host
        message, hint = f"The {work.name} was done by the computer {name}, which says no more.", "Look there."
        return ended(status, "failed", message, hint)
    if folder.stop.exists():
        kept = "; what its checkpoints hold is kept" if work is TRAINING else ""
        return ended(status, "stopped", f"It ended while it was being stopped{kept}.", "")
    failure = of_silence(folder, settings, work)
    failed = ended(status, "failed", failure.message, failure.hint, failure.exit_code)
    # Kept, because what it is told from (the log, counters of the system) changes. Not while somebody resumes the run.
    with suppress(OSError, Locked), locked(folder.launch_lock):
        if folder.read_status() == status and not _has_process(folder, status, folder.read_launch()):
            folder.write_status(failed)
    return failed


def _has_process(folder: RunFolder, status: Status, launch: Launch) -> bool:
    if launch.elsewhere or status.elsewhere:
        return time.time() - max(status.updated, launch.at) < _SILENCE
    if launch:
        return lives(launch) or lives(status)
    # Between the start of the process and the note about it.
    return lives(status) or time.time() - max(launch.at, status.updated) < _GRACE


def ended(status: Status, state: State, message: str, hint: str, exit_code: int = 1) -> Status:
    """Return a status of a run that has ended, with the reason."""
    changes = {"state": state, "message": message, "hint": hint, "exit_code": exit_code, "seconds_left": None}
    return status.model_copy(update=changes)

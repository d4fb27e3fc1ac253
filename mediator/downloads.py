"""The downloaded models: fetched one at a time, recorded, found again, removed."""

import contextlib
import errno
import json
from collections.abc import Callable
from pathlib import Path

from mediator.cancellation import Cancellation
from mediator.catalogue import Downloadable
from mediator.file_lock import Locked, locked
from mediator.hub import DownloadError
from mediator.memory import gigabytes
from mediator.settings import models_folder
from mediator.transfer import (
    DiskFull,
    Installed,
    Patience,
    Progress,
    Transfer,
    WrongChecksum,
    origin_of,
    part_of,
    record_of,
)
from mediator.writers.remote import EventLoopThread

__all__ = [
    "AlreadyRunning", "CannotWrite", "DiskFull", "DownloadError", "Installed", "Patience", "Progress", "WrongChecksum",
    "begun", "download", "installed", "remove",
]  # fmt: skip


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class AlreadyRunning(DownloadError):
    """The same file is being downloaded by somebody else, perhaps in another window."""


class CannotWrite(DownloadError):
    """The folder of models cannot be written."""


def download(
    entry: Downloadable,
    folder: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: Cancellation | None = None,
    patience: Patience | None = None,
) -> Path:
    """Download a model and return the path of its file. One that is there already is not fetched again.

    Args:
        entry: what to fetch.
        folder: where to; by default `mediator.settings.models_folder`.
        progress: called about five times a second, in this thread.
        cancel: ends it within half a second; what has come stays for the next attempt.
        patience: how long and how often to try.

    Raises:
        DownloadError: one of its kinds says why. What has come stays, except after `WrongChecksum`.
        ModelFileError: what came is no sound GGUF file; it has been deleted.
        Cancelled: after a cancel.
    """
    folder = folder or models_folder()
    cancel = cancel or Cancellation()
    cancel.raise_if_cancelled()
    target = entry.path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f"{target.name}.lock")):
            if target.is_file() and installed(entry, folder) is not None:
                return target
            transfer = Transfer(entry, target, patience or Patience())
            loop = EventLoopThread()
            try:
                for report in loop.stream(transfer.run, cancel):
                    if progress is not None:
                        progress(report)
            finally:
                loop.close(_nothing)  # waits for the file to be closed
    except Locked as error:
        raise AlreadyRunning(
            f"{entry.title} is being downloaded already (by process {error.process}).", "Wait for it, or stop it there."
        ) from error
    except OSError as error:
        raise _write_error(error, entry, target) from error
    return target


def installed(entry: Downloadable, folder: Path | None = None) -> Installed | None:
    """Return the record of a downloaded model, or None when it is not there whole."""
    path = entry.path(folder)
    try:
        record = Installed(**json.loads(record_of(path).read_bytes()))
        return record if path.stat().st_size == record.size else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def begun(entry: Downloadable, folder: Path | None = None) -> int:
    """Return how many bytes of an unfinished download are kept; 0 for none."""
    try:
        return part_of(entry.path(folder)).stat().st_size
    except OSError:
        return 0


def remove(entry: Downloadable, folder: Path | None = None) -> bool:
    """Delete a downloaded model, and what an unfinished download left; returns whether there was anything.

    Raises:
        AlreadyRunning: it is being downloaded.
        CannotWrite: a file cannot be deleted, perhaps because it is in use.
    """
    target = entry.path(folder)
    if not target.parent.is_dir():
        return False
    found = False
    try:
        with locked(target.with_name(f"{target.name}.lock")):
            for path in (target, record_of(target), part_of(target), origin_of(target)):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
                    found = True
    except Locked as error:
        raise AlreadyRunning(f"{entry.title} is being downloaded.", "Stop the download first.") from error
    except OSError as error:
        raise CannotWrite(
            f"{target} cannot be deleted: {error.strerror}.", "Close whatever uses it, and try again."
        ) from error
    return found


async def _nothing() -> None:
    """The farewell of a loop that holds nothing."""


def _write_error(error: OSError, entry: Downloadable, target: Path) -> DownloadError:
    if error.errno in _FULL:
        here = begun(entry, target.parent)
        return DiskFull(
            f"The disk of {target.parent} is full: {gigabytes(here)} of {entry.title} have come and are kept.",
            "Make room, then download it again: it goes on from there.",
        )
    return CannotWrite(f"{target.parent} cannot be written: {error.strerror or error}.", "Check the folder.")

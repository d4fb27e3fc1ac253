"""Checkpoints of a run: which of them are whole, which is the newest, and which may go.

A checkpoint is whole when its marker is there and its files have the lengths that the marker names; the marker is
written last. A process that is killed while it writes leaves a folder without one, and that folder is passed over.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mediator.atomic_file import sync_file, write_whole
from mediator.errors import InputError
from mediator.settings import user_path

_MARKER = "complete.json"
_PREFIX = "checkpoint-"


class CannotResume(InputError):
    """The checkpoint was made with other settings, another model or another data set than the run has now."""


class FolderTaken(InputError):
    """A run shall start in a folder that holds the checkpoints or the result of another."""


class Checkpoint(NamedTuple):
    """A whole checkpoint. ``made_with`` is what it depends on, as given to `seal`."""

    folder: Path
    step: int
    made_with: dict[str, Any]


def newest(folder: Path) -> Checkpoint | None:
    """Return the whole checkpoint with the most steps below ``folder``, or None."""
    return max(_whole(folder), key=lambda one: one.step, default=None)


def seal(checkpoint: Path, step: int, made_with: Mapping[str, Any]) -> None:
    """Declare that a checkpoint is whole, when all its files are on the disk.

    Raises:
        OSError: the disk is full.
    """
    files = {}
    for file in sorted(checkpoint.iterdir()):
        if file.is_file() and not file.name.lstrip(".").startswith(_MARKER):
            sync_file(file)
            files[file.name] = file.stat().st_size
    write_whole(checkpoint / _MARKER, json.dumps({"step": step, "files": files, "made_with": dict(made_with)}))


def tidy(folder: Path, keep: int | None = None) -> None:
    """Delete the checkpoints that are not whole, and all but the newest ``keep`` of the others (None: keep all)."""
    whole = sorted(_whole(folder), key=lambda one: one.step, reverse=True)
    kept = {one.folder for one in whole[: len(whole) if keep is None else keep]}
    for one in folder.glob(f"{_PREFIX}*"):
        if one not in kept:
            # Without its marker first, so that a kill in between does not leave what looks whole.
            (one / _MARKER).unlink(missing_ok=True)
            shutil.rmtree(one, ignore_errors=True)


def check_same(checkpoint: Checkpoint, made_with: Mapping[str, Any]) -> None:
    """Raise `CannotResume`, naming the first difference, unless a run that goes on is the run that began."""
    for name, now in made_with.items():
        if name in checkpoint.made_with and checkpoint.made_with[name] != now:
            raise CannotResume(
                f"The checkpoint at step {checkpoint.step} was made with {name} = {checkpoint.made_with[name]}, "
                f"and now it is {now}.",
                "Resume with the settings of the run, or start a new run.",
            )


def require_fresh(folder: Path) -> None:
    """Raise `FolderTaken` when a run in this folder has got as far as a checkpoint or a result."""
    if newest(folder / "checkpoints") is not None or (folder / "model").exists():
        raise FolderTaken(f"{folder} holds a run already.", "Resume it, or give the new run a folder of its own.")


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal. Raises OSError."""
    with user_path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _whole(folder: Path) -> list[Checkpoint]:
    found = []
    for one in folder.glob(f"{_PREFIX}*"):
        try:
            marker = json.loads((one / _MARKER).read_text(encoding="utf-8"))
            if all((one / name).stat().st_size == size for name, size in marker["files"].items()):
                found.append(Checkpoint(one, int(marker["step"]), dict(marker["made_with"])))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found

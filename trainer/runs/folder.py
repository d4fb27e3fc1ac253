"""The files of a run's folder: what each is called, and how they are written and read while the other side works."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from mediator.atomic_file import write_whole
from mediator.schema import Record
from mediator.settings import without_keys
from trainer.runs.processes import ProcessName

State = Literal["starting", "running", "stopping", "stopped", "done", "failed"]

LIVE: tuple[State, ...] = ("starting", "running", "stopping")
"""The states in which a run has a process."""

RESERVE = 64 << 10
"""Bytes kept free for the last words of a run whose disk fills up."""


class Standing(Record):
    """How far a run is.

    Attributes:
        state: see `State`.
        phase: see `trainer.progress.Phase`; empty before the first.
        done: of ``total`` texts, steps or files of the phase.
        total: 0 for unknown.
        step: optimiser steps made, of ``steps``.
        steps: 0 for unknown.
        updated: when the run last said anything, in seconds since 1970.
        seconds_left: of this phase; None for unknown.
        message: why it ended, in a sentence; while it works, what the user should know. Mostly empty.
        hint: what to do about it.
        exit_code: what the command line exits with after a failure.
    """

    state: State = "starting"
    phase: str = ""
    done: int = 0
    total: int = 0
    step: int = 0
    steps: int = 0
    updated: float = 0.0
    seconds_left: float | None = None
    message: str = ""
    hint: str = ""
    exit_code: int = 0


class Status(ProcessName, Standing):
    """status.json: how far a run is, as its process said last. The process that works is the one named.

    What a dead process left may still say ``running``.
    """


class Launch(ProcessName):
    """launch.json: the process that was started, which is torchrun where several work.

    Attributes:
        at: when, in seconds since 1970.
        log_start: where in log.txt its output begins, in bytes.
        memory_kills: how many processes the system had ended for lack of memory before; None for unknown.
    """

    at: float = 0.0
    log_start: int = 0
    memory_kills: int | None = None


class RunFolder:
    """The paths in one run's folder, and how its small files are written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.status = path / "status.json"
        self.launch = path / "launch.json"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.jsonl"
        self.log = path / "log.txt"
        self.stop = path / "stop"
        self.failure = path / "failure.json"
        self.lock = path / "run.lock"
        self.launch_lock = path / "launch.lock"
        self.reserve = path / ".reserve"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"

    def read_status(self) -> Status:
        """Return the status; that of a run which has said nothing yet where there is none that can be read."""
        try:
            return Status.model_validate(read_json(self.status))
        except ValidationError:
            return Status()

    def read_launch(self) -> Launch:
        """Return how it was launched; the empty one where that was never written."""
        try:
            return Launch.model_validate(read_json(self.launch))
        except ValidationError:
            return Launch()

    def write_status(self, status: Status, last: bool = False) -> None:
        """Replace the status as a whole.

        Args:
            status: what it is now.
            last: it is the last one: it must reach the disk, and may use the space that was kept free for it.

        Raises `OSError`.
        """
        value = status.model_dump(mode="json")
        try:
            write_json(self.status, value, synced=last)
        except OSError:
            if not last or not self.path.is_dir():
                raise
            with suppress(OSError):
                self.reserve.unlink()
            try:
                write_json(self.status, value, synced=True)
            except OSError:  # no room for a second file: over the old one, which a reader may see half written
                self.status.write_text(json.dumps(value), encoding="utf-8")

    def keep_reserve(self) -> None:
        """Take the space that the last status may need."""
        with suppress(OSError):
            self.reserve.write_bytes(bytes(RESERVE))

    def log_tail(self, lines: int, largest: int = 64 << 10) -> str:
        """Return the last lines of the log, without keys and without what a progress bar overwrote."""
        return last_lines(self.log_since(-largest), lines)

    def log_since(self, start: int, largest: int = 256 << 10) -> str:
        """Return the log from a byte on, at most its last ``largest`` bytes; a negative start counts from the end."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size + start if start < 0 else start, size - largest, 0))
                content = file.read(largest)
        except OSError:
            return ""
        return without_keys(content.decode("utf-8", "replace"))


def last_lines(text: str, lines: int) -> str:
    """Return the last lines of a log, each as it stood when its last carriage return had been obeyed."""
    shown = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    while shown and not shown[-1]:
        shown.pop()
    return "\n".join(shown[-lines:]) if lines > 0 else ""


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty where there is none or it is damaged."""
    for _ in range(3):  # on Windows a file cannot be opened in the moment in which it is replaced
        try:
            found = json.loads(path.read_bytes())
            return found if isinstance(found, dict) else {}
        except PermissionError:
            time.sleep(0.02)
        except (OSError, ValueError, RecursionError):
            return {}
    return {}


def write_json(path: Path, value: Mapping[str, Any], synced: bool = False) -> None:
    """Replace a JSON file as a whole: a reader finds the old one or the new one, never a part. Raises `OSError`."""
    write_whole(path, json.dumps(value), synced=synced)


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Append one object as a line, in one write; after a torn line, on a new one.

    Raises `OSError`; FileNotFoundError where the folder is gone, which is not made anew.
    """
    line = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if os.fstat(handle).st_size:
            os.lseek(handle, -1, os.SEEK_END)
            line = line if os.read(handle, 1) == b"\n" else b"\n" + line
        while line:
            line = line[os.write(handle, line) :]
    finally:
        os.close(handle)


def read_lines(path: Path, largest: int = 0) -> list[dict[str, Any]]:
    """Return the objects of a file of lines, or of its last ``largest`` bytes. Torn and damaged lines are passed over.

    A run that was resumed repeats the steps after its checkpoint: of those, what the last attempt says counts. Its
    lines are told by ``attempt``, which is taken off.
    """
    try:
        with path.open("rb") as file:
            if largest:
                file.seek(max(0, file.seek(0, os.SEEK_END) - largest))
            content = file.read()
    except OSError:
        return []
    found: list[dict[str, Any]] = []
    attempt: object = None
    for line in content.split(b"\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(value, dict) or not isinstance(value.get("step"), int):
            continue
        this = value.pop("attempt", attempt)
        if this != attempt:
            while found and found[-1]["step"] >= value["step"]:
                found.pop()
            attempt = this
        found.append(value)
    return found

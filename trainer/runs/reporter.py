"""The `Reporter` of a run: writes what a recipe tells into the run's folder, and looks there whether it shall stop."""

import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from trainer.progress import Phase
from trainer.runs.failures import RunFolderGone
from trainer.runs.folder import RunFolder, State, Status, append_line, write_json
from trainer.runs.processes import ProcessName, name_of

_BETWEEN_WRITES = 0.5  # seconds between two writes of the status, where nothing but numbers changed
_HEARTBEAT = 5.0  # seconds after which the status is written again without any change
_RECENT = 30  # steps over which the speed is taken


class FolderReporter:
    """Writes to a run's folder. Only the first of several processes of a run writes; the others only look.

    Thread-safe. Metrics and samples that cannot be written raise `OSError` (a full disk ends the run, with its
    sentence) or `RunFolderGone`.
    """

    def __init__(self, folder: RunFolder, writes: bool = True, attempt: float = 0.0) -> None:
        """Begin to tell of a run.

        Args:
            folder: of the run.
            writes: whether this process is the one that writes.
            attempt: what tells the lines of this start of the run from those of earlier ones.
        """
        self._folder, self._writes, self._attempt = folder, writes, attempt
        before = folder.read_status()
        process = name_of() if writes else ProcessName()
        # A resumed run shows how far it was until it says more.
        self._status = Status(**process.model_dump(), state="running", step=before.step, steps=before.steps)
        self._lock = threading.RLock()
        self._written_at = 0.0
        self._pending = False
        self._stop = threading.Event()
        self._speeds: dict[str, deque[tuple[float, int]]] = {}

    @property
    def status(self) -> Status:
        """What was told last."""
        with self._lock:
            return self._status

    @property
    def stopping(self) -> bool:
        """Whether the run was asked to stop; unlike `should_stop`, this tells nobody."""
        return self._stop.is_set() or self._folder.stop.exists()

    def start(self) -> None:
        """Say that the process lives."""
        self._update(now=True)

    def phase(self, name: Phase, done: int = 0, total: int = 0) -> None:
        """Tell what is being done; see `trainer.progress.Reporter`."""
        with self._lock:
            changes = {"step": done, "steps": total} if name == "training" and total else {}
            left = self._left(name, done, total)
            new = name != self._status.phase
            self._update(now=new, phase=name, done=done, total=total, seconds_left=left, **changes)

    def metrics(self, step: int, steps: int, epoch: float, values: Mapping[str, float]) -> None:
        """Append a line to metrics.jsonl; what is not a finite number is left out, and a loss like that is told."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        finite.setdefault("memory_bytes", float(_resident()))
        self._append(
            self._folder.metrics,
            {"step": step, "steps": steps, "epoch": round(epoch, 4), "time": time.time(), **finite},
        )
        changes: dict[str, Any] = {}
        if "loss" in values and "loss" not in finite and not self._status.message:
            changes = {
                "message": f"The loss is no number any more since step {step}.",
                "hint": "Stop the run and lower learning_rate; if precision is bf16, fp32 may help too.",
            }
        with self._lock:
            if self._status.phase == "training":
                changes |= {"done": step, "total": steps, "seconds_left": self._left("training", step, steps)}
            self._update(step=step, steps=steps, **changes)

    def sample(self, step: int, dispute_id: str, text: str, score_a: float | None, score_b: float | None) -> None:
        """Append a line to samples.jsonl."""
        self._append(
            self._folder.samples,
            {"step": step, "dispute_id": dispute_id, "text": text, "score_a": score_a, "score_b": score_b},
        )

    def should_stop(self) -> bool:
        """Whether somebody asked the run to stop. Raises `RunFolderGone` when its folder was deleted."""
        if not self._stop.is_set() and self._folder.stop.exists():
            self._stop.set()
        if not self._folder.config.exists() and not self._folder.path.is_dir():
            raise _gone(self._folder)
        if self._stop.is_set():
            if self._status.state == "running":
                self._update(now=True, state="stopping")
            return True
        return False

    def ask_to_stop(self) -> None:
        """Have `should_stop` say yes from now on."""
        self._stop.set()

    def beat(self) -> None:
        """Write what was held back, and now and then the time, so that a reader sees that the process lives."""
        with self._lock:
            age = time.monotonic() - self._written_at
            if (self._pending and age >= _BETWEEN_WRITES) or age >= _HEARTBEAT:
                self._update(now=True)

    def end(self, state: State, message: str = "", hint: str = "", exit_code: int = 0) -> None:
        """Write the last status. A process that does not write notes why it failed, for those that do."""
        if not self._writes:
            if state == "failed" and not self._folder.failure.exists():
                with suppress(OSError):
                    said = {"message": message, "hint": hint, "exit_code": exit_code}
                    write_json(self._folder.failure, said)
            return
        with self._lock:
            if state == "done":
                self._status = self._status.model_copy(update={"done": self._status.total})
            self._status = self._status.model_copy(
                update={
                    "state": state,
                    "message": message or (self._status.message if state == "done" else ""),
                    "hint": hint or (self._status.hint if state == "done" else ""),
                    "exit_code": exit_code,
                    "seconds_left": None,
                    "updated": time.time(),
                }
            )
            self._writes = False
            self._folder.write_status(self._status, last=True)

    def _update(self, now: bool = False, **changes: Any) -> None:
        with self._lock:
            self._status = self._status.model_copy(update={**changes, "updated": time.time()})
            if not self._writes:
                return
            if not now and time.monotonic() - self._written_at < _BETWEEN_WRITES:
                self._pending = True
                return
            try:
                self._folder.write_status(self._status)
            except FileNotFoundError:
                if not self._folder.path.is_dir():
                    raise _gone(self._folder) from None
                raise
            self._written_at, self._pending = time.monotonic(), False

    def _append(self, path: Any, value: dict[str, Any]) -> None:
        if not self._writes:
            return
        try:
            with self._lock:
                append_line(path, {**value, "attempt": self._attempt})
        except FileNotFoundError:
            raise _gone(self._folder) from None

    def _left(self, phase: str, done: int, total: int) -> float | None:
        """Seconds until ``total``, at the speed of the last steps; what came between two steps counts too."""
        seen = self._speeds.setdefault(phase, deque(maxlen=_RECENT))
        if seen and done < seen[-1][1]:  # it has begun anew
            seen.clear()
        if not seen or done > seen[-1][1]:
            seen.append((time.monotonic(), done))
        (first_time, first), (last_time, last) = seen[0], seen[-1]
        if last <= first or not total or done > total:
            return None
        return round((total - done) * (last_time - first_time) / (last - first), 1)


def _gone(folder: RunFolder) -> RunFolderGone:
    return RunFolderGone(f"The run's folder {folder.path} was deleted while it worked.", "The run was ended.")


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)

"""A run in the terminal: one line that follows it while it works, and the pictures of what was measured."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import pairwise
from types import FrameType
from typing import Any

from mediator.cli_output import picture, say
from mediator.ctrl_c import ctrl_c_calls
from mediator.durations import duration
from mediator.errors import EvenhandError
from trainer.runs import runs
from trainer.runs.runs import Run

_LOOK = 0.2  # seconds between two looks at the run
_BETWEEN_LINES = 10.0  # seconds between two lines of progress where there is no terminal to draw on

_BLOCKS, _PLAIN = "▁▂▃▄▅▆▇█", "_.-=+*%#"


@contextmanager
def interrupts_kept() -> Iterator[threading.Event]:
    """Keep a Ctrl-C that comes while a run is being launched for `watch`; it would leave the run behind, unfollowed."""
    pressed = threading.Event()
    with ctrl_c_calls(lambda *_: pressed.set()):
        yield pressed


def watch(run: Run, early: threading.Event | None = None) -> tuple[Run, bool]:
    """Follow a run on stderr until it ends. Ctrl-C stops it: a checkpoint is written; a second one ends it at once.

    ``early``, of `interrupts_kept`, says that it was pressed already.

    Returns:
        the run as it ended, and whether Ctrl-C was pressed.
    """
    with _obeying_interrupt(run) as interrupted, _shown() as show:
        if early is not None and early.is_set():
            signal.raise_signal(signal.SIGINT)
        now, seen_at, last = runs.refreshed(run), 0.0, (0.0, 0)
        values: dict[str, float] = {}
        while now.active:
            if (now.updated, now.step) != last or time.monotonic() - seen_at > 1:
                last, seen_at = (now.updated, now.step), time.monotonic()
                values = runs.latest(now)
                show(now, values)
            time.sleep(_LOOK)
            now = runs.refreshed(run)
    return now, interrupted.is_set()


def progress_words(run: Run, values: dict[str, float]) -> str:
    """Say in one line how far a run is: ``training: step 12 of 48, loss 1.234, 2 min left``."""
    words = {"starting": "starting", "stopping": "stopping"}.get(run.state, run.phase or "starting")
    parts = []
    if run.phase == "training" and run.steps:
        parts.append(f"step {run.step} of {run.steps}")
    elif run.total:
        parts.append(f"{run.done} of {run.total}")
    if run.phase in ("training", "measuring", "saving") and "loss" in values:
        parts.append(f"loss {values['loss']:.4g}")
    if run.seconds_left is not None and run.state == "running":
        parts.append(f"{duration(run.seconds_left)} left")
    return f"{words}: {', '.join(parts)}" if parts else words


def sparkline(values: Sequence[float], width: int, unicode: bool = True) -> str:
    """Draw numbers as a row of at most ``width`` small columns; what shares a column is averaged."""
    if not values:
        return ""
    count = min(width, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)]
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(edges)]
    low, high = min(means), max(means)
    marks = _BLOCKS if unicode else _PLAIN
    if high <= low:
        return marks[0] * count
    return "".join(marks[min(len(marks) - 1, int((mean - low) / (high - low) * len(marks)))] for mean in means)


@contextmanager
def _shown() -> Iterator[Any]:
    """Return what draws progress: a line that changes on a terminal, else one at each new phase and now and then."""
    if sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown"):
        from rich.live import Live
        from rich.text import Text

        shown = picture(sys.stderr)
        line = [Text("starting")]
        live = Live(
            get_renderable=lambda: line[0],
            console=shown.console,
            transient=True,
            refresh_per_second=5,
            redirect_stdout=False,
            redirect_stderr=False,
        )

        def draw(run: Run, values: dict[str, float]) -> None:
            text = f"{run.id}  {progress_words(run, values)}"
            line[0] = Text(shown.written(text), no_wrap=True, overflow="ellipsis")

        with live:
            yield draw
        return
    phases: set[str] = set()
    last = time.monotonic()

    def tell(run: Run, values: dict[str, float]) -> None:
        nonlocal last
        now = time.monotonic()
        if (run.phase or "starting") not in phases or now - last >= _BETWEEN_LINES:
            phases.add(run.phase or "starting")
            last = now
            say(f"{run.id}: {progress_words(run, values)}")

    with nullcontext():
        yield tell


@contextmanager
def _obeying_interrupt(run: Run) -> Iterator[threading.Event]:
    """While the block runs, Ctrl-C stops the run; a second one ends its processes."""
    pressed = threading.Event()

    def interrupted(number: int, frame: FrameType | None) -> None:
        # In threads of their own: a signal handler must not wait.
        if pressed.is_set():
            threading.Thread(target=_stop, args=(run, 0.0), daemon=True).start()
        else:
            pressed.set()
            say("Stopping: a checkpoint is written first. Ctrl-C again ends it at once.")
            threading.Thread(target=_stop, args=(run, 20.0), daemon=True).start()

    with ctrl_c_calls(interrupted):
        yield pressed


def _stop(run: Run, patience: float) -> None:
    with suppress(EvenhandError):  # whoever follows the run meets it too, and says it
        runs.stop(run, patience)

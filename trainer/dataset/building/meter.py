"""How far a build is, in one line on stderr: redrawn on a terminal, else a line now and then."""

import shutil
import sys
import time
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from mediator.cli_output import say
from mediator.durations import duration

if TYPE_CHECKING:
    from trainer.dataset.building.synthesis import BuildProgress

_PERIOD = 30.0
"""Seconds between two lines where there is no terminal."""


class Meter:
    """Shows progress. Use as a context; on a terminal its line goes away at the end."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._next = time.monotonic() + (0 if self._live else _PERIOD)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def tell(self, words: str) -> None:
        """Say something beside the progress, on a line of its own."""
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        say(words)

    def show(self, progress: "BuildProgress") -> None:
        """Show how far it is, if the last time is long enough ago."""
        now = time.monotonic()
        if now < self._next:
            return
        words = progress_words(progress)
        if self._live:
            self._next = now + 0.2
            self._stream.write(f"\r{words[: shutil.get_terminal_size().columns - 1]}\x1b[K")
            self._stream.flush()
        else:
            self._next = now + _PERIOD
            say(words)


def progress_words(progress: "BuildProgress") -> str:
    """Say how far a build is: "120 of 2,323 disputes, 3 failed, 1.9 s each, about 1 h 10 min left"."""
    tried = progress.done + progress.failed
    parts = [f"{progress.done:,} of {progress.total:,} disputes"]
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if tried:
        parts.append(f"{progress.seconds / tried:.1f} s each")
    if progress.seconds_left is not None:
        parts.append(f"about {duration(progress.seconds_left)} left")
    return ", ".join(parts)

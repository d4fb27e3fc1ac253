"""The command line in a process of its own, also on a terminal: started as a user would, and what it shows."""

import codecs
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from support.patience import PATIENCE

REPOSITORY = Path(__file__).resolve().parents[2]
VIEWS = ["--view-a", "Dogs need to run free in the park.", "--view-b", "Dogs in the park must be on a leash."]
QUICK = ["--strategy", "single", "-n", "2"]
"""What the drafter writes fastest."""

TWO = (
    "1. Dogs may run free before nine, and walk on a leash after that.\n",
    "2. A fenced meadow is set apart for dogs.",
)
"""What a model behind a server writes, in two pieces."""

needs_terminals = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")


def start(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """Start the command line in a process of its own, from the source tree."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **options.pop("environment", {})}
    return subprocess.Popen(
        [sys.executable, *options.pop("program", ["-m", "ui.cli"]), *arguments],
        env={name: value for name, value in environment.items() if value is not None},
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=options.pop("stderr", subprocess.PIPE),
        text=True,
        encoding="utf-8",
        **options,
    )


class Screen:
    """What a process writes on a pseudo-terminal."""

    def __init__(self, ours: int) -> None:
        self._ours = ours
        self._shown = ""
        self._changed = threading.Condition()
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            try:
                piece = os.read(self._ours, 4096)
            except OSError:  # Linux's way to say that the other end was closed
                piece = b""
            with self._changed:
                self._shown += decoder.decode(piece)
                self._ended = not piece
                self._changed.notify_all()
            if not piece:
                os.close(self._ours)
                return

    def wait_for(self, text: str) -> None:
        with self._changed:
            found = self._changed.wait_for(lambda: text in self._shown or self._ended, timeout=PATIENCE)
            assert found, self._shown
            assert text in self._shown

    def wait_for_end(self) -> str:
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended, timeout=PATIENCE)
            return self._shown


def start_on_terminal(*arguments: str, **options: Any) -> "tuple[subprocess.Popen[str], Screen]":
    """Like `start`, with stderr on a terminal of 80 columns."""
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    environment = {"TERM": "xterm", "LC_ALL": "C.UTF-8", "COLUMNS": "80"}
    process = start(*arguments, environment=environment, stderr=theirs, **options)
    os.close(theirs)
    return process, Screen(ours)

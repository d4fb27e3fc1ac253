"""Trainings in processes of their own: killed (SIGKILL) at a given place, or several that learn together.

The libraries take seconds to import; a fork of the tests' process has them already, and is a process like any other.
"""

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from trainer.progress import Silent


class Deadly(Silent):
    """A reporter that kills its process, as kill -9 does, when a phase has got as far as it was told."""

    def __init__(self, phase: str, done: int) -> None:
        self._phase, self._done = phase, done

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        if name == self._phase and done >= self._done:
            os.kill(os.getpid(), signal.SIGKILL)


def forked(work: Callable[[], object], environment: Mapping[str, str] | None = None) -> int:
    """Do the work in a fork of this process, in one thread; return its process number.

    It ends with 0, or with 1 where the work raised, which it prints on stderr; nothing of the tests' own happens in it.
    Skips the test where a fork cannot learn.
    """
    import torch

    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    if torch.cuda.is_available():
        pytest.skip("autograd cannot be forked once a device's threads run")
    process = os.fork()
    if process:
        return process
    try:
        os.environ.update(environment or {})
        torch.set_num_threads(1)
        work()
    except BaseException:  # noqa: BLE001 - told by the exit status
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def ended(process: int) -> int:
    """Wait for a fork's end; return its exit status, negative the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def train_until_killed(
    recipe: str, settings: Mapping[str, Any], folder: Path, phase: str, done: int, resume: bool = False
) -> None:
    """Train in a process of its own until it kills itself at ``done`` of a phase."""
    from trainer.alignment.config import make_config
    from trainer.recipes import train

    config = make_config(recipe, dict(settings))
    process = forked(lambda: train(recipe, config, folder, Deadly(phase, done), resume))
    status = None
    deadline = time.monotonic() + 120
    try:
        while status is None:
            found, how = os.waitpid(process, os.WNOHANG)
            if found:
                status = os.waitstatus_to_exitcode(how)
            else:
                assert time.monotonic() < deadline, "it has not killed itself"
                time.sleep(0.02)
    finally:
        if status is None:
            os.kill(process, signal.SIGKILL)
            ended(process)
    assert status == -signal.SIGKILL


def train_together(recipe: str, settings: Mapping[str, Any], folder: Path, cache: Path, processes: int) -> None:
    """Train in several processes, with ``cache`` as the cache folder, that find each other as torchrun's do."""
    from trainer.alignment.config import make_config
    from trainer.recipes import train

    config = make_config(recipe, dict(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "EVENHAND_CACHE_FOLDER": str(cache),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    running: list[int] = []
    try:
        for rank in map(str, range(processes)):
            own = {**shared, "RANK": rank, "LOCAL_RANK": rank}
            running.append(forked(lambda: train(recipe, config, folder, Silent(), False), own))
        while running:
            for process in running[:]:
                found, status = os.waitpid(process, os.WNOHANG)
                if found:
                    running.remove(process)
                    assert status == 0
            time.sleep(0.02)
    finally:  # where one has failed the others would wait for it
        for process in running:
            os.kill(process, signal.SIGKILL)
            ended(process)

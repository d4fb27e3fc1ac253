"""Runs of a test: in a data folder of its own, and none of their processes outlives it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trainer.runs import runs


@contextmanager
def own_runs(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep runs below ``folder``; at the end, end their processes and close the log that commands have opened."""
    patch.setenv("EVENHAND_DATA_FOLDER", str(folder / "data"))
    patch.setenv("EVENHAND_LOG_FOLDER", str(folder / "log"))
    yield
    for run in runs.list_runs():
        runs._end_processes(run)
    for name in ("mediator", "trainer", "ui"):
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            handler.close()
        logger.handlers, logger.propagate = [], True

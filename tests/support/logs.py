"""The log of one test's own: `main` and the app open files of a log, which the next test must not write into."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def logs_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of this test's log; at the end its files are closed and the loggers are as they were."""
    folder = tmp_path / "log"
    monkeypatch.setenv("EVENHAND_LOG_FOLDER", str(folder))
    yield folder
    for name in ("mediator", "trainer", "ui"):
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            handler.close()
        logger.handlers, logger.propagate = [], True

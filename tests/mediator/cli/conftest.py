"""Fixtures of the command line's tests: a log of each test's own."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _logs_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EVENHAND_LOG_FOLDER", str(tmp_path / "log"))
    yield
    for name in ("mediator", "trainer", "ui"):
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            handler.close()
        logger.handlers, logger.propagate = [], True


@pytest.fixture
def log(tmp_path: Path) -> Callable[[], str]:
    path = tmp_path / "log" / "evenhand.log"
    return lambda: path.read_text(encoding="utf-8") if path.exists() else ""

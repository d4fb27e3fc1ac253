"""Fixtures of the command line's tests: a log of each test's own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.logs import logs_of_its_own

__all__ = ["logs_of_its_own"]


@pytest.fixture(autouse=True)
def _logs(logs_of_its_own: Path) -> None:
    """Every test of a command has them."""


@pytest.fixture
def log(logs_of_its_own: Path) -> Callable[[], str]:
    path = logs_of_its_own / "evenhand.log"
    return lambda: path.read_text(encoding="utf-8") if path.exists() else ""

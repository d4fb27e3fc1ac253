"""Waiting for what another thread, process or window does: long enough for a busy machine, no claim of speed."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = 60.0
"""Seconds after which what has not happened is taken for never happening."""


def until(condition: Callable[[], Found], what: str = "it did not happen", seconds: float = PATIENCE) -> Found:
    """Ask again and again until the answer is true, and return it.

    A test that means "soon" lets the other side hold on to what must not be waited for, and releases it after this.

    Args:
        condition: asked every 10 ms, and once more when the time is over.
        what: what is missing, for the failure's message.
        seconds: only ever a guard against hanging.

    Raises:
        AssertionError: it was not true within the time.
    """
    end = time.monotonic() + seconds
    while True:
        is_late = time.monotonic() >= end
        if found := condition():
            return found
        assert not is_late, f"{what} (waited {seconds:g} s)"
        time.sleep(0.01)

"""Asking a provider no faster than it allows: fewer requests at once after a refusal, waits, and tries again."""

import math
import random
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mediator.cancellation import Cancellation
from mediator.writers.base import (
    Brief,
    Delta,
    Overloaded,
    PromptTooLong,
    RateLimited,
    RequestRejected,
    UnusableOutput,
    Writer,
    WriterError,
)

ABOUT_ONE_REQUEST = (UnusableOutput, PromptTooLong, RequestRejected)
"""Errors that say something about one request; the others say that the provider cannot be worked with for now."""

_MORE_AFTER = 10
"""Requests in a row that must go well before one more is sent at the same time."""


@dataclass(frozen=True)
class Waits:
    """How often and how long to wait for a provider that is busy, beyond the patience of the writers themselves.

    Attributes:
        tries: requests in all, >= 1.
        first: seconds before the second; doubled each time, with up to a quarter less at random.
        longest: seconds; also the most that a provider's own wish is followed.
    """

    tries: int = 4
    first: float = 15.0
    longest: float = 600.0

    def after(self, attempt: int, asked: float | None) -> float:
        """Seconds to wait after failed attempt number ``attempt`` (from 0); ``asked`` is the provider's own wish."""
        if asked is not None:
            return min(asked, self.longest)
        wait: float = min(self.first * 2**attempt, self.longest)
        return wait * (1 - random.random() / 4)  # noqa: S311 - jitter, no secret


class ProviderGate:
    """Lets requests to one provider through, as many at once as it bears. Thread-safe.

    A refusal (too many requests, overloaded) halves how many may be under way and holds all of them back for a while;
    every ten requests that go well allow one more, up to ``most``: additive increase, multiplicative decrease.

    Attributes:
        most: requests at the same time, at the start and at most.
        allowed: requests at the same time, now.
    """

    def __init__(self, most: int) -> None:
        self.most = self.allowed = most
        self._changed = threading.Condition()
        self._under_way = 0
        self._open_at = 0.0
        self._good = 0

    @contextmanager
    def turn(self, cancel: Cancellation) -> Iterator[None]:
        """Wait for a turn, which lasts as long as the block. Raises `Cancelled` within half a second of a cancel."""
        with self._changed:
            while self._under_way >= self.allowed or time.monotonic() < self._open_at:
                cancel.raise_if_cancelled()
                self._changed.wait(min(0.5, max(0.01, self._open_at - time.monotonic())))
            cancel.raise_if_cancelled()
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def went_well(self) -> None:
        """Count a request that was answered."""
        with self._changed:
            self._good += 1
            if self._good >= _MORE_AFTER and self.allowed < self.most:
                self._good = 0
                self.allowed += 1
                self._changed.notify_all()

    def was_refused(self, wait: float) -> None:
        """Send nothing for ``wait`` seconds, and then only half as many at once."""
        with self._changed:
            now = time.monotonic()
            if now >= self._open_at:  # those that were refused together with the first one say nothing new
                self.allowed = max(1, self.allowed // 2)
            self._good = 0
            self._open_at = max(self._open_at, now + wait)


class PatientWriter:
    """A `Writer` that asks again, later, when its provider is busy or away.

    Its candidates come whole, each in one piece: nobody watches them grow, so no half of one needs a score.

    Attributes:
        lost: the last error that was not about one request only, after all tries; None if there was none.
    """

    def __init__(self, inner: Writer, gate: ProviderGate, waits: Waits | None = None) -> None:
        self.name, self.destination = inner.name, inner.destination
        self.lost: WriterError | None = None
        self._inner, self._gate, self._waits = inner, gate, waits or Waits()

    def write(self, brief: Brief, cancel: Cancellation) -> Generator[Delta, None, None]:
        """See `Writer.write`. Raises the last `WriterError` when all tries failed."""
        attempt = 0
        while True:
            begun = False
            try:
                with self._gate.turn(cancel):
                    for delta in _whole(self._inner.write(brief, cancel)):
                        begun = True
                        yield delta
                self._gate.went_well()
                return
            except ABOUT_ONE_REQUEST:
                self._gate.went_well()  # it was answered
                raise
            except WriterError as error:
                attempt += 1
                if not error.retryable or attempt >= self._waits.tries:
                    self.lost = error
                    raise
                wait = self._waits.after(attempt - 1, asked_wait(error))
                if isinstance(error, RateLimited | Overloaded):
                    self._gate.was_refused(wait)
                else:
                    _sleep(wait, cancel)
            if begun:
                yield Delta(0, "", restart=True)

    def close(self) -> None:
        """Close the writer inside."""
        self._inner.close()


def _whole(deltas: Iterator[Delta]) -> Generator[Delta, None, None]:
    """Join the pieces of each candidate."""
    texts: dict[int, str] = {}
    try:
        for delta in deltas:
            if delta.restart:
                texts.clear()
                yield Delta(0, "", restart=True)
            texts[delta.index] = texts.get(delta.index, "") + delta.text
            if delta.done:
                yield Delta(delta.index, texts.pop(delta.index), done=True)
    finally:
        if isinstance(deltas, Generator):  # whoever walks away ends the request, too
            deltas.close()
    for index in sorted(texts):
        if texts[index].strip():
            yield Delta(index, texts[index], done=True)


def asked_wait(error: BaseException) -> float | None:
    """Return the seconds that a provider asked to wait (``retry-after-ms``, ``retry-after``), or None."""
    cause: BaseException | None = error
    while cause is not None:
        headers = getattr(getattr(cause, "response", None), "headers", None) or {}
        for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
            try:
                seconds = float(headers[name]) / unit
            except (KeyError, ValueError):  # absent, or a date
                continue
            if math.isfinite(seconds) and seconds >= 0:
                return seconds
        cause = cause.__cause__
    return None


def _sleep(seconds: float, cancel: Cancellation) -> None:
    """Sleep, but not through a cancel. Raises `Cancelled`."""
    woken = threading.Event()
    with cancel.calling(woken.set):
        woken.wait(seconds)
    cancel.raise_if_cancelled()

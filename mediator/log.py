"""The log: tracebacks for whoever mends Evenhand, without what people wrote and without keys."""

import logging
import logging.handlers
import os
import sys
import traceback
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from mediator.errors import EvenhandError
from mediator.settings import log_folder, without_keys

_PACKAGES = ("mediator", "trainer", "ui")
_LARGEST = 1_000_000  # bytes of one log file; three are kept


def log_file() -> Path:
    """The path of the log file."""
    return log_folder() / "evenhand.log"


def start_logging(verbose: bool = False) -> None:
    """Send warnings and tracebacks of this project's packages to the log file, and with ``verbose`` all to stderr.

    Safe to call again. A log that cannot be written is no reason to stop: the work goes on without it.
    """
    # Without any handler, Python's logging would print warnings on stderr.
    handlers: list[logging.Handler] = [_file_handler() or logging.NullHandler()]
    if verbose:
        screen = logging.StreamHandler(sys.stderr)
        screen.setFormatter(_Formatter("%(levelname)s %(name)s: %(message)s"))
        handlers.append(screen)
    for name in _PACKAGES:
        logger = logging.getLogger(name)
        for old in logger.handlers:
            with suppress(OSError):  # a full disk
                old.close()
        logger.handlers = list(handlers)
        logger.setLevel(logging.DEBUG if verbose else logging.INFO)
        logger.propagate = False


def describe_error(error: BaseException) -> str:
    """Return a traceback as text without the errors' messages, which may quote a view or what a provider answered.

    What stays of an error is its type, for an operating system's error also its reason, and where it was raised.
    """
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        name = f"{type(current).__module__}.{type(current).__qualname__}"
        if isinstance(current, OSError) and current.strerror:
            name += f" ({current.strerror})"
        parts.append("".join(traceback.format_tb(current.__traceback__)) + name)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return without_keys("\n\nwhich came from\n\n".join(parts))


def log_error(error: BaseException) -> None:
    """Write an error that ends the work to the log file."""
    level = logging.INFO if isinstance(error, EvenhandError) else logging.ERROR
    logging.getLogger("mediator").log(level, "%s", describe_error(error))


def _file_handler() -> logging.Handler | None:
    path = log_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            return None
        handler = _PrivateFileHandler(
            path, maxBytes=_LARGEST, backupCount=2, encoding="utf-8", errors="backslashreplace", delay=True
        )
    except OSError:
        return None
    handler.setLevel(logging.INFO)
    handler.setFormatter(_Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    return handler


class _PrivateFileHandler(logging.handlers.RotatingFileHandler):
    """A log file that only its owner may read."""

    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return open(handle, "a", encoding=self.encoding, errors=self.errors)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        """Do nothing about a full disk: Python's way would print a traceback with the message on the screen."""


class _Formatter(logging.Formatter):
    """Strikes keys out of what is logged, and writes an exception in the guarded way of `describe_error`."""

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info and record.exc_info[1] is not None:
            copied = logging.makeLogRecord(record.__dict__)
            copied.msg = f"{record.getMessage()}\n{describe_error(record.exc_info[1])}"
            copied.args = copied.exc_info = copied.exc_text = None
            record = copied
        return without_keys(super().format(record))

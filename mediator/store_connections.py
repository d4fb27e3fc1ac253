"""The connections to the file of sessions: one that writes at a time, some that read, all errors put into sentences."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mediator.errors import InputError
from mediator.store_errors import StoreClosed, busy, translated
from mediator.store_schema import BUSY_SECONDS, bring_up_to_date, connect, copies, make_private, roll_back

_MOST_READERS = 8
"""Connections kept open for the next reader."""


class Connections:
    """Gives transactions to any number of threads. In memory there is one connection, which serves one at a time."""

    def __init__(self, path: Path | None) -> None:
        """Open or make the file, and bring it up to date. Raises `StoreError`."""
        self._path = path
        self._lock = threading.Lock()
        self._readers: list[sqlite3.Connection] = []
        self._readers_lock = threading.Lock()
        self._closed = False
        with self._translating():
            if path is not None:
                make_private(path)
            self._writer = connect(path)
            try:
                bring_up_to_date(self._writer, path)
                # What a program that was killed left in the log, of deleted sessions too, goes into the file and away.
                # Not worth a wait: where somebody else reads or writes, that one will.
                self._writer.execute("PRAGMA busy_timeout = 0")
                with suppress(sqlite3.OperationalError):
                    self._empty_the_log()
                self._writer.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
            except BaseException:
                self._writer.close()
                raise

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection with a transaction that has the file to itself; it is on the disk when the block ends.

        An error in the block leaves everything as it was. Raises `StoreError`.
        """
        with self._translating(), self._lock:
            self._must_be_open()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                roll_back(self._writer)
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection with a transaction of its own: all that is read through it is of one moment."""
        if self._path is None:
            with self.writing() as connection:
                yield connection
            return
        with self._translating():
            connection = self._taken(self._path)
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                roll_back(connection)
                self._put_back(connection)

    def clean(self) -> None:
        """Rebuild the file without what was deleted, empty the log, remove copies that a migration put aside.

        Raises `StoreBusy` where another program is reading the file and keeps the log from being emptied.
        """
        with self._translating(), self._lock:
            self._must_be_open()
            self._empty_the_log()  # so that what was deleted is overwritten in the file before it becomes smaller
            # Makes the file smaller, and needs room for a second one; without it, `secure_delete` must do.
            with suppress(sqlite3.OperationalError):
                self._writer.execute("VACUUM")
            if self._path is not None:
                for copy in copies(self._path):
                    copy.unlink(missing_ok=True)
                if not self._empty_the_log():
                    raise busy(self._path)

    def close(self) -> None:
        """Close all. Safe to call twice; the rest raises `StoreClosed` afterwards."""
        with self._lock, self._readers_lock:
            self._closed = True
            readers, self._readers = self._readers, []
            for connection in (*readers, self._writer):
                with suppress(sqlite3.Error):
                    connection.close()

    def _taken(self, path: Path) -> sqlite3.Connection:
        with self._readers_lock:
            self._must_be_open()
            if self._readers:
                return self._readers.pop()
        return connect(path, reading=True)

    def _put_back(self, connection: sqlite3.Connection) -> None:
        with self._readers_lock:
            if self._closed or len(self._readers) >= _MOST_READERS:
                connection.close()
            else:
                self._readers.append(connection)

    def _empty_the_log(self) -> bool:
        """Write SQLite's log into the file and cut it to nothing; False where another program keeps that from it."""
        return not self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]

    def _must_be_open(self) -> None:
        if self._closed:
            raise StoreClosed("The sessions were closed.", "Start Evenhand again.")

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:  # a rank of 0 in a file to be imported, for one
            raise InputError("A value is outside its limits and cannot be kept.") from error
        except (sqlite3.Error, OSError) as error:
            raise translated(error, self._path) from error
        except OverflowError as error:
            raise InputError("A number is too large to be kept.", "Use a smaller one.") from error

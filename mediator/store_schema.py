"""The file of sessions as SQLite sees it: its tables, the steps between its versions, and how it is opened safely."""

import os
import re
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from mediator.store_errors import StoreForeign, StoreTooNew, damaged, no_database

APPLICATION_ID = 0x45766864
"""`PRAGMA application_id` of our files: the letters "Evhd"."""

BUSY_SECONDS = 10.0
"""How long to wait for another process that is writing."""

_MAGIC = b"SQLite format 3\x00"

Step = tuple[str, ...]

# Times are milliseconds since 1970 in UTC. A column that ends in ``_json`` holds a model of mediator/schema.py,
# mediator/session.py or mediator/kept_audit.py. ``folded`` is what the search reads. ``position`` keeps the order in
# which rows came.
# No STRICT, no RETURNING: the SQLite of some systems that have Python 3.11 is older than they are.
STEPS: tuple[Step, ...] = (
    (
        """CREATE TABLE session (
            id TEXT PRIMARY KEY NOT NULL,
            title TEXT NOT NULL,
            form_json TEXT NOT NULL,
            opening TEXT NOT NULL,
            folded TEXT NOT NULL,
            created_at INTEGER NOT NULL CHECK (typeof(created_at) = 'integer'),
            updated_at INTEGER NOT NULL CHECK (typeof(updated_at) = 'integer'),
            version INTEGER NOT NULL CHECK (typeof(version) = 'integer')
        )""",
        "CREATE INDEX session_by_version ON session (version)",
        """CREATE TABLE round (
            id TEXT PRIMARY KEY NOT NULL,
            session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
            number INTEGER NOT NULL CHECK (number >= 1),
            dispute_json TEXT NOT NULL,
            model TEXT NOT NULL,
            strategy TEXT NOT NULL,
            count INTEGER NOT NULL,
            rounds INTEGER NOT NULL,
            seed INTEGER NOT NULL,
            comment TEXT NOT NULL,
            like_id TEXT REFERENCES proposal (id) ON DELETE SET NULL,
            folded TEXT NOT NULL,
            state TEXT NOT NULL,
            owner TEXT NOT NULL,
            problem TEXT NOT NULL DEFAULT '',
            below_floor INTEGER NOT NULL DEFAULT 0,
            stopped_early INTEGER NOT NULL DEFAULT 0,
            sources_json TEXT NOT NULL DEFAULT '{}',
            timings_json TEXT NOT NULL DEFAULT '{}',
            started_at INTEGER NOT NULL,
            finished_at INTEGER,
            UNIQUE (session_id, number)
        )""",
        "CREATE INDEX round_by_like ON round (like_id)",
        """CREATE TABLE proposal (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            round_id TEXT NOT NULL REFERENCES round (id) ON DELETE CASCADE,
            text TEXT NOT NULL,
            folded TEXT NOT NULL,
            strategy TEXT NOT NULL,
            pass INTEGER NOT NULL CHECK (pass >= 1),
            score_a REAL, score_b REAL, raw_a REAL, raw_b REAL,
            rank INTEGER CHECK (rank >= 1),
            mark TEXT NOT NULL DEFAULT '' CHECK (mark IN ('', 'kept', 'dropped'))
        )""",
        "CREATE INDEX proposal_by_round ON proposal (round_id, mark)",
        """CREATE TABLE edit (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            proposal_id TEXT NOT NULL REFERENCES proposal (id) ON DELETE CASCADE,
            text TEXT NOT NULL,
            folded TEXT NOT NULL,
            score_a REAL NOT NULL, score_b REAL NOT NULL, raw_a REAL NOT NULL, raw_b REAL NOT NULL,
            made_at INTEGER NOT NULL
        )""",
        "CREATE INDEX edit_by_proposal ON edit (proposal_id)",
        """CREATE TABLE rating (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            proposal_id TEXT NOT NULL REFERENCES proposal (id) ON DELETE CASCADE,
            rater TEXT NOT NULL,
            value INTEGER NOT NULL CHECK (value BETWEEN 1 AND 5),
            note TEXT NOT NULL,
            made_at INTEGER NOT NULL
        )""",
        "CREATE INDEX rating_by_proposal ON rating (proposal_id)",
    ),
    # How sure the scores are; NULL where nothing is known, as for all that were measured before.
    tuple(
        f"ALTER TABLE {table} ADD COLUMN {column} REAL"
        for table in ("proposal", "edit")
        for column in ("score_error_a", "score_error_b", "tilt_low", "tilt_high")
    ),
    # Which round a round went on from; NULL for the one before, as for all that were asked for before.
    ("ALTER TABLE round ADD COLUMN after INTEGER CHECK (after >= 1)",),
    # Swap audits; ``round_id`` is NULL for one that is of no round. Which round it is stands in no ``audit_json``.
    (
        """CREATE TABLE audit (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
            round_id TEXT REFERENCES round (id) ON DELETE CASCADE,
            audit_json TEXT NOT NULL
        )""",
        "CREATE INDEX audit_by_session ON audit (session_id)",
        "CREATE INDEX audit_by_round ON audit (round_id)",
    ),
)
"""Step n leads from version n to n + 1 (`PRAGMA user_version`); each runs in one transaction. Only ever append."""


def connect(path: Path | None, *, reading: bool = False) -> sqlite3.Connection:
    """Open a connection with our settings, in autocommit mode, for use by several threads in turn.

    Durability: ``synchronous=FULL`` makes each commit wait until the disk has it, so that a finished proposal survives
    a power cut. With NORMAL it would survive a kill -9 only. There are a few commits a second at most.

    Nothing is left behind: ``secure_delete`` overwrites what is deleted, and ``temp_store`` keeps what SQLite sorts or
    rebuilds in memory, out of the folder for temporary files.
    """
    connection = sqlite3.connect(
        ":memory:" if path is None else path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in (
            "foreign_keys = ON",
            "secure_delete = ON",
            "temp_store = MEMORY",
            "synchronous = FULL",
            "fullfsync = ON",  # macOS: a plain fsync leaves the data in the drive's cache
            "trusted_schema = OFF",
            "cell_size_check = ON",
            f"query_only = {'ON' if reading else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def make_private(path: Path) -> None:
    """Make the folder (0700) and an empty file (0600) where there are none; take others' rights to the file away.

    SQLite gives the files that it puts beside it the same rights.

    Raises:
        StoreDamaged: the file does not begin like a database. SQLite would write over one of a few bytes.
        OSError: the disk, or the rights to it.
    """
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.parent.mkdir(mode=0o700)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) not in (b"", _MAGIC):
                raise no_database(path) from None
        with suppress(OSError):  # somebody else's file that we may use all the same
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead mode; a file system that cannot do it keeps the slower journal.

    SQLite does not wait for others here, whatever its busy timeout is: of several that make the file at once all but
    one would be turned away.
    """
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def bring_up_to_date(connection: sqlite3.Connection, path: Path | None, steps: Sequence[Step] = STEPS) -> None:
    """Take the steps that the file lacks, in write-ahead mode; an existing file is copied aside before.

    The copy is named after the version that it holds (``sessions.sqlite3.version-1``).

    Raises:
        StoreTooNew: a newer version of Evenhand wrote the file.
        StoreForeign: it is another program's database.
        StoreDamaged: it calls itself ours and lacks our tables.
        sqlite3.Error, OSError: the disk.
    """
    version = _checked_version(connection, path, len(steps))
    if path is not None:
        _use_write_ahead_log(connection)
    if path is not None and 0 < version < len(steps):
        copy_aside(connection, path)
    while version < len(steps):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have taken this step while we waited.
            version = _checked_version(connection, path, len(steps))
            if version < len(steps):
                for statement in steps[version]:
                    connection.execute(statement)
                version += 1
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {version}")
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise
    for table in re.findall(r"CREATE TABLE (\w+)", str(steps)):
        connection.execute(f"SELECT 1 FROM {table} LIMIT 1")  # noqa: S608 - raises where it is missing


def rows(connection: sqlite3.Connection, statement: str, values: Sequence[str | int] = ()) -> list[sqlite3.Row]:
    """Run a query and return all rows, whose columns can be had by name.

    Whatever happens the query is over afterwards: one that failed half-way, kept alive by its traceback, would hold the
    file's log for itself.
    """
    with closing(connection.cursor()) as cursor:
        cursor.row_factory = sqlite3.Row
        return cursor.execute(statement, values).fetchall()


def first_row(connection: sqlite3.Connection, statement: str, *values: str | int) -> sqlite3.Row | None:
    """Run a query and return the first row, or None."""
    return next(iter(rows(connection, statement, values)), None)


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction without a trace, if one is open."""
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def copy_aside(connection: sqlite3.Connection, path: Path) -> Path:
    """Copy the file as it is now, what stands in its log included, and return where to."""
    unfinished = path.with_name(f"{path.name}.copying-{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(unfinished, isolation_level=None)) as copy:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
            version = _number(copy, "user_version")
        aside = path.with_name(f"{path.name}.version-{version}")
        os.replace(unfinished, aside)
    finally:
        unfinished.unlink(missing_ok=True)
    return aside


def copies(path: Path) -> list[Path]:
    """Return the copies that were put aside before a migration, finished or not."""
    beginnings = (f"{path.name}.version-", f"{path.name}.copying-")
    return sorted(entry for entry in path.parent.iterdir() if entry.name.startswith(beginnings))


def _checked_version(connection: sqlite3.Connection, path: Path | None, newest: int) -> int:
    version, application = _number(connection, "user_version"), _number(connection, "application_id")
    tables = rows(connection, "SELECT count(*) FROM sqlite_master")[0][0]
    if (version or tables) and application != APPLICATION_ID:
        raise StoreForeign(
            f"The file {path} is a database of another program.",
            "Move it away, or set EVENHAND_DATA_FOLDER to another folder.",
        )
    if version > newest:
        raise StoreTooNew(
            f"The file of sessions {path} was written by a newer version of Evenhand "
            f"(its format is {version}, this version knows {newest}).",
            "Use the newer version, or set EVENHAND_DATA_FOLDER to another folder.",
        )
    if version < 0 or (version and not tables):
        raise damaged(str(path), "its tables are missing")
    return version


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(rows(connection, f"PRAGMA {pragma}")[0][0])

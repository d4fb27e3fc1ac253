"""What can go wrong with the file of sessions: one type per cause, each naming the file and the way out."""

import sqlite3
from pathlib import Path

from mediator.errors import EvenhandError, InputError


class StoreError(EvenhandError):
    """The sessions cannot be read or kept."""


class StoreFull(StoreError):
    """There is no room left for the file."""


class StoreReadOnly(StoreError):
    """The file or its folder may not be written."""


class StoreUnreachable(StoreError):
    """The file or its folder cannot be opened or made."""


class StoreDamaged(StoreError):
    """The file is no database, is cut off, or holds what Evenhand would never write."""


class StoreForeign(StoreError):
    """The file is a database of another program."""


class StoreTooNew(StoreError):
    """The file was written by a newer version of Evenhand."""


class StoreBusy(StoreError):
    """Another program has had the file to itself for too long."""


class StoreClosed(StoreError):
    """The store was closed before."""


class SessionNotFound(InputError):
    """There is no session with this id, or it was deleted."""


class RoundNotFound(SessionNotFound):
    """There is no round with this id, or its session was deleted."""


class ProposalNotFound(SessionNotFound):
    """There is no proposal with this id, or its session was deleted."""


class AmbiguousId(InputError):
    """More than one session's id begins like this."""


RECOVERY = (
    "Put back a copy of it if there is one; else rename it, and Evenhand starts a new one. "
    "The renamed file may still be read with SQLite's `.recover`."
)


def damaged(name: str, what: str) -> StoreDamaged:
    """Make the error for a file that is damaged; ``what`` is a clause: "its session 1f3a holds no valid form"."""
    return StoreDamaged(f"The file of sessions {name} is damaged: {what}.", RECOVERY)


def no_database(name: str | Path) -> StoreDamaged:
    """Make the error for a file that is something else, or whose beginning is lost."""
    return StoreDamaged(f"The file {name} is no database of sessions.", RECOVERY)


def busy(name: str | Path) -> StoreBusy:
    """Make the error for a file that another program does not let go of."""
    return StoreBusy(
        f"The file of sessions {name} is in use by another program.",
        "Close the other program, or try again in a moment.",
    )


def translated(error: sqlite3.Error | OSError, path: Path | None) -> StoreError:
    """Put an error of SQLite or of the file system into a sentence. ``path`` is None for a private store in memory."""
    name = str(path) if path is not None else "memory"
    folder = str(path.parent) if path is not None else "memory"
    if isinstance(error, OSError):
        return _of_the_file_system(error, name, folder)
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        return StoreFull(
            f"The sessions cannot be kept in {name}: the disk is full.",
            "Free some space; what was kept before is intact, the last change is not kept.",
        )
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return StoreReadOnly(
            f"The sessions cannot be kept in {name}: the file or its folder may not be written.",
            f"Give yourself the right to write in {folder}, or set EVENHAND_DATA_FOLDER to another folder.",
        )
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):
        return StoreUnreachable(
            f"The file of sessions {name} cannot be opened, read or written.",
            f"See that the folder {folder} is there, that its disk works and has space, and that you may write in it; "
            "or set EVENHAND_DATA_FOLDER to another folder.",
        )
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return busy(name)
    if primary == sqlite3.SQLITE_NOTADB:
        return no_database(name)
    if primary == sqlite3.SQLITE_NOMEM:
        return StoreError(f"There is not enough memory for the sessions ({name}).", "Close other programs.")
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return StoreClosed("The sessions were closed.", "Start Evenhand again.")
    if isinstance(error, sqlite3.DatabaseError):  # malformed, a missing table or column, text that is not UTF-8
        return damaged(name, "its content is not what Evenhand writes")
    return StoreError(f"The sessions in {name} cannot be used ({type(error).__name__}).", "Start Evenhand again.")


def _of_the_file_system(error: OSError, name: str, folder: str) -> StoreError:
    import errno

    reason = error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"The sessions cannot be kept in {name}: the disk is full.", "Free some space.")
    kind = StoreReadOnly if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else StoreUnreachable
    return kind(
        f"The sessions cannot be kept in {name} ({reason}).",
        f"Make {folder} a folder in which you may write, or set EVENHAND_DATA_FOLDER to another one.",
    )


def no_session(session_id: str) -> SessionNotFound:
    """Make the error for a session that is not there."""
    return SessionNotFound(f"There is no session {session_id[:40]!r}.", "It may have been deleted: look at the list.")


def no_round(round_id: str) -> RoundNotFound:
    """Make the error for a round that is not there."""
    return RoundNotFound(f"There is no round {round_id[:40]!r}.", "Its session may have been deleted.")


def no_proposal(proposal_id: str) -> ProposalNotFound:
    """Make the error for a proposal that is not there."""
    return ProposalNotFound(f"There is no proposal {proposal_id[:40]!r}.", "Its session may have been deleted.")

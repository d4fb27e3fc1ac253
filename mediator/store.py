"""The sessions: every dispute, round, proposal, edit, mark, rating and audit, saved at once in SQLite or in memory."""

import re
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from mediator.errors import InputError
from mediator.interruption import this_process
from mediator.kept_audit import KeptAudit
from mediator.schema import Candidate, Dispute, Scores, Strategy, StrategyChoice
from mediator.session import (
    LONGEST_TITLE,
    Edit,
    Form,
    Mark,
    Proposal,
    Rating,
    Round,
    RoundState,
    Session,
    SessionSummary,
    is_of,
    now,
)
from mediator.settings import data_folder
from mediator.store_connections import Connections
from mediator.store_errors import (
    AmbiguousId,
    ProposalNotFound,
    RoundNotFound,
    SessionNotFound,
    StoreError,
    no_proposal,
    no_round,
    no_session,
)
from mediator.store_reading import Reader
from mediator.store_rows import (
    as_json,
    claim_audits,
    form_columns,
    insert_audit,
    insert_edit,
    insert_proposal,
    insert_rating,
    insert_round,
    insert_session,
    milliseconds,
    new_id,
    next_version,
    outcome_columns,
    take_in,
    touch,
    whole,
)
from mediator.store_schema import first_row
from mediator.store_search import ids_beginning, summary_rows

__all__ = [
    "FILE_NAME",
    "SHORTEST_ID",
    "ProposalNotFound",
    "RoundNotFound",
    "SessionNotFound",
    "Store",
    "StoreError",
    "default_store",
]

FILE_NAME = "sessions.sqlite3"

SHORTEST_ID = 4
"""Characters of an id that name a session where no other begins with them."""

_ID = re.compile("[0-9a-f]{32}")

Made = TypeVar("Made")


def default_store() -> "Store":
    """Open the sessions in the folder of the settings. Raises `StoreError`."""
    return Store(data_folder() / FILE_NAME)


class Store:
    """Sessions in a file, or in memory for private ones. For any number of threads, and of processes on one file.

    Whoever writes has the file to itself for that moment: a lock among the threads, ``BEGIN IMMEDIATE`` among the
    processes. Readers see the state after the last finished change and wait for nobody. When a method returns, what it
    changed is on the disk.

    A round whose program ended in its midst reads as ``interrupted``, with its best proposals chosen (see
    `mediator.interruption`). That is worked out at each reading and never written: reading changes nothing, and a
    writer that was taken for dead (a process of another machine or container) may still finish its round.

    Every method raises `StoreError` when the file cannot serve, `SessionNotFound` (or its kinds `RoundNotFound`,
    `ProposalNotFound`) for an id that is not there, and `InputError` for a title, rater or text that cannot be kept.
    Halves of surrogate pairs in a text are replaced.

    Example:
        >>> store = Store(None)
        >>> session = store.create(title="Dogs in the park")
        >>> [found.title for found in store.list("DOGS")]
        ['Dogs in the park']
    """

    def __init__(self, path: Path | None) -> None:
        """Open the file, or make it with its folders (readable by the owner only). None: in memory, never on disk."""
        self.path = path
        self._connections = Connections(path)

    @property
    def private(self) -> bool:
        """Whether nothing is written to disk."""
        return self.path is None

    def create(
        self,
        form: Form = Form(),  # noqa: B008 - a record never changes
        title: str = "",
        session_id: str | None = None,
    ) -> Session:
        """Make a new session, under ``session_id`` if it is given; return the one that has this id if there is one.

        Raises `InputError` for a ``session_id`` that is not 32 hexadecimal digits.
        """
        if session_id is not None and not _ID.fullmatch(session_id):
            raise InputError(f"{whole(session_id[:40])!r} is no id of a session.", "Begin a new session.")
        time = now()
        session = Session(id=session_id or new_id(), title=_title(title), form=form, created_at=time, updated_at=time)
        with self._connections.writing() as connection:
            if first_row(connection, "SELECT 1 FROM session WHERE id = ?", session.id) is None:
                insert_session(connection, session, next_version(connection))
            return self._session(connection, session.id)

    def get(self, session_id: str) -> Session:
        """Return a session as it is now."""
        with self._connections.reading() as connection:
            return self._session(connection, session_id)

    def version(self, session_id: str) -> int:
        """Return a number that grows with every change of a session, also by other processes; 0 for an unknown id."""
        with self._connections.reading() as connection:
            row = first_row(connection, "SELECT version FROM session WHERE id = ?", whole(session_id))
            return 0 if row is None else int(row[0])

    def find(self, beginning: str) -> str:
        """Return the id that begins so, of at least `SHORTEST_ID` characters.

        Raises:
            SessionNotFound: none does, or ``beginning`` is too short.
            AmbiguousId: several do.
        """
        sought = whole(beginning).strip().lower()
        if len(sought) < SHORTEST_ID:
            raise SessionNotFound(
                f"{beginning!r} is too short for the id of a session.", f"Give at least {SHORTEST_ID} characters of it."
            )
        with self._connections.reading() as connection:
            found = ids_beginning(connection, sought)
        if len(found) > 1:
            raise AmbiguousId(f"The ids of several sessions begin with {sought!r}.", "Give more of it.")
        if not found:
            raise no_session(beginning)
        return found[0]

    def list(self, search: str = "") -> list[SessionSummary]:
        """Return the sessions, the one changed last first; with ``search``, those in which every word of it occurs.

        A word occurs where it stands in the title, the views, the comments or a proposal, also as a part of a longer
        word. Case and accents make no difference.
        """
        with self._connections.reading() as connection:
            reader = self._reader(connection)
            return [reader.summary(row) for row in summary_rows(connection, whole(search))]

    def save_form(self, session_id: str, form: Form) -> None:
        """Keep what is typed. Called often: without a change it writes nothing and the version stays."""
        text = as_json(form)
        with self._connections.reading() as connection:
            row = first_row(connection, "SELECT form_json FROM session WHERE id = ?", whole(session_id))
            if row is None:
                raise no_session(session_id)
            if row[0] == text:
                return
        with self._connections.writing() as connection:
            row = first_row(connection, "SELECT title FROM session WHERE id = ?", session_id)
            if row is None:
                raise no_session(session_id)
            connection.execute(
                "UPDATE session SET form_json = ?, opening = ?, folded = ? WHERE id = ?",
                (*form_columns(str(row[0]), form), session_id),
            )
            touch(connection, session_id)

    def rename(self, session_id: str, title: str) -> None:
        """Give a session another title, of at most `LONGEST_TITLE` characters; empty for none.

        Called with every saving of the page: without a change nobody else's writing is waited for.
        """
        title = _title(title)
        with self._connections.reading() as connection:
            row = first_row(connection, "SELECT title FROM session WHERE id = ?", whole(session_id))
            if row is not None and row["title"] == title:
                return
        with self._connections.writing() as connection:
            session = self._session(connection, session_id)
            if session.title == title:
                return
            _, _, folded = form_columns(title, session.form)
            connection.execute("UPDATE session SET title = ?, folded = ? WHERE id = ?", (title, folded, session_id))
            touch(connection, session_id)

    def duplicate(self, session_id: str, title: str = "") -> Session:
        """Copy a session with all its rounds under new ids; without a ``title`` the copy has that of the original.

        A round that is still running is interrupted in the copy.
        """
        with self._connections.writing() as connection:
            original = self._session(connection, session_id)
            changes = {"title": _title(title) or original.title, "created_at": now()}
            return self._session(connection, take_in(connection, original.model_copy(update=changes)))

    def add(self, session: Session) -> Session:
        """Take in a session that was exported, under new ids; returns it as it is kept.

        All times stay but that of its last change, which is now: it stands first in the list. Its rounds are numbered
        anew in their order, and a running one is interrupted: whoever runs it does not write here. A private session
        becomes one of this store's kind.
        """
        with self._connections.writing() as connection:
            titled = session.model_copy(update={"title": _title(session.title)})
            return self._session(connection, take_in(connection, titled))

    def delete(self, session_id: str) -> None:
        """Delete a session for good: its bytes are in no file of the folder afterwards.

        What was deleted is overwritten, the file rebuilt, the log emptied, and copies that a migration put aside are
        removed, since they hold it too.

        Raises `StoreBusy` when it is deleted, but another program that is reading the file keeps its traces in the log.
        """
        with self._connections.writing() as connection:
            if not connection.execute("DELETE FROM session WHERE id = ?", (whole(session_id),)).rowcount:
                raise no_session(session_id)
        self._connections.clean()

    def start_round(
        self,
        session_id: str,
        dispute: Dispute,
        model: str,
        strategy: StrategyChoice,
        count: int,
        rounds: int,
        seed: int,
        comment: str = "",
        like: str | None = None,
        after: int | None = None,
    ) -> Round:
        """Begin a round, as asked for: see `Round`. It belongs to this process until `finish_round`.

        An audit that was run before, with the same views and choices and for no round, becomes one of this round.
        """
        with self._connections.writing() as connection:
            self._must_be_there(connection, session_id)
            if like is not None and self._session_of_proposal(connection, like) != session_id:
                raise no_proposal(like)
            last = first_row(
                connection, "SELECT number FROM round WHERE session_id = ? ORDER BY number DESC", session_id
            )
            entry = Round(
                id=new_id(),
                number=1 if last is None else 1 + last["number"],
                dispute=dispute,
                model=model,
                strategy=strategy,
                count=count,
                rounds=rounds,
                seed=seed,
                comment=comment,
                after=after,
                started_at=now(),
            )
            insert_round(connection, session_id, entry, this_process())
            connection.execute("UPDATE round SET like_id = ? WHERE id = ?", (like, entry.id))
            claim_audits(connection, session_id, entry)
            touch(connection, session_id)
            return self._round(connection, entry.id)

    def add_proposal(self, round_id: str, candidate: Candidate) -> Proposal:
        """Keep a finished candidate."""
        proposal = Proposal(id=new_id(), candidate=candidate)
        with self._connections.writing() as connection:
            session_id = self._session_of_round(connection, round_id)
            insert_proposal(connection, round_id, proposal)
            touch(connection, session_id)
            return self._proposal(connection, proposal.id)

    def discard(self, round_id: str, strategy: Strategy, pass_number: int) -> None:
        """Remove the proposals of one pass, because its writer starts it again.

        What somebody marked, edited or rated stays.
        """
        with self._connections.writing() as connection:
            session_id = self._session_of_round(connection, round_id)
            gone = connection.execute(
                "DELETE FROM proposal WHERE round_id = ? AND strategy = ? AND pass = ? AND mark = '' "
                "AND NOT EXISTS (SELECT 1 FROM edit WHERE proposal_id = proposal.id) "
                "AND NOT EXISTS (SELECT 1 FROM rating WHERE proposal_id = proposal.id)",
                (round_id, str(strategy), pass_number),
            )
            if gone.rowcount:
                touch(connection, session_id)

    def finish_round(
        self,
        round_id: str,
        state: RoundState,
        ranks: Mapping[str, int],
        problem: str = "",
        below_floor: int = 0,
        stopped_early: bool = False,
        sources: Mapping[Strategy, int] | None = None,
        timings: Mapping[str, float] | None = None,
    ) -> Round:
        """End a round. ``ranks`` names the selected proposals, 1 the best; all others of the round have none.

        Raises `ProposalNotFound` for one in ``ranks`` that is not in the round, and `ValueError` for ``running``.
        """
        if state == "running":
            raise ValueError("a finished round is not running")
        with self._connections.writing() as connection:
            session_id = self._session_of_round(connection, round_id)
            entry = self._round(connection, round_id).model_copy(
                update={
                    "problem": problem,
                    "below_floor": below_floor,
                    "stopped_early": stopped_early,
                    "sources": dict(sources or {}),
                    "timings": dict(timings or {}),
                }
            )
            connection.execute(
                "UPDATE round SET state = ?, problem = ?, below_floor = ?, stopped_early = ?, sources_json = ?, "
                "timings_json = ?, finished_at = ? WHERE id = ?",
                (state, *outcome_columns(entry), milliseconds(now()), round_id),
            )
            connection.execute("UPDATE proposal SET rank = NULL WHERE round_id = ?", (round_id,))
            for proposal_id, rank in ranks.items():
                ranked = "UPDATE proposal SET rank = ? WHERE id = ? AND round_id = ?"
                if not connection.execute(ranked, (rank, whole(proposal_id), round_id)).rowcount:
                    raise no_proposal(proposal_id)
            touch(connection, session_id)
            return self._round(connection, round_id)

    def mark(self, proposal_id: str, mark: Mark) -> Proposal:
        """Mark a proposal as kept or dropped; empty takes the mark away."""
        return self._change(
            proposal_id,
            lambda connection, before: (
                before.mark != mark
                and bool(connection.execute("UPDATE proposal SET mark = ? WHERE id = ?", (mark, proposal_id)))
            ),
        )

    def add_edit(self, proposal_id: str, text: str, scores: Scores) -> Proposal:
        """Keep a new wording of a proposal, with its scores. What is worded so already is not changed."""
        edit = _checked(lambda: Edit(text=whole(text), scores=scores, made_at=now()), "The wording is empty.")

        def change(connection: sqlite3.Connection, before: Proposal) -> bool:
            if (before.current.text, before.current.scores) == (edit.text, edit.scores):
                return False
            insert_edit(connection, proposal_id, edit)
            return True

        return self._change(proposal_id, change)

    def rate(self, proposal_id: str, rater: str, value: int, note: str = "") -> Proposal:
        """Keep how somebody takes a proposal. Earlier ratings of the same rater stay in the file; the latest shows."""
        rating = _checked(
            lambda: Rating(rater=whole(rater), value=value, note=whole(note), made_at=now()),
            "A rating has a rater of 1 to 60 characters and a value from 1 to 5.",
        )

        def change(connection: sqlite3.Connection, before: Proposal) -> bool:
            same = rating.model_copy(update={"made_at": None})
            if any(latest.model_copy(update={"made_at": None}) == same for latest in before.ratings):
                return False
            insert_rating(connection, proposal_id, rating)
            return True

        return self._change(proposal_id, change)

    def add_audit(self, session_id: str, audit: KeptAudit, number: int = 0) -> KeptAudit:
        """Keep a finished swap audit; returns it as it is kept.

        It is of the round ``number`` (0: the last one) if it was run with the views and choices of that (see
        `mediator.session.is_of`), else of none. One that found just what the latest of its round found is not kept
        twice.
        """
        with self._connections.writing() as connection:
            session = self._session(connection, session_id)
            ended = [entry for entry in session.rounds if entry.state != "running"]
            shown = [entry for entry in session.rounds if entry.number == number]
            shown = shown or [*session.rounds[-1:], *ended[-1:]]  # the one that is on the page, if one runs
            of = next((entry.id for entry in shown if is_of(audit, entry)), None)
            audit = audit.model_copy(update={"round_id": of})
            before = next((one for one in reversed(session.audits) if one.round_id == of), None)
            if before is not None and before.model_copy(update={"made_at": audit.made_at}) == audit:
                return before
            insert_audit(connection, session_id, audit)
            touch(connection, session_id)
            return self._reader(connection).audits(session_id)[-1]

    def close(self) -> None:
        """Close the file. Safe to call twice; every other method raises `StoreClosed` afterwards."""
        self._connections.close()

    def _change(self, proposal_id: str, change: Callable[[sqlite3.Connection, Proposal], bool]) -> Proposal:
        """Change a proposal; ``change`` returns whether it did anything."""
        with self._connections.writing() as connection:
            if change(connection, self._proposal(connection, proposal_id)):
                touch(connection, self._session_of_proposal(connection, proposal_id))
            return self._proposal(connection, proposal_id)

    def _reader(self, connection: sqlite3.Connection) -> Reader:
        return Reader(connection, "memory" if self.path is None else str(self.path), self.private)

    def _session(self, connection: sqlite3.Connection, session_id: str) -> Session:
        session = self._reader(connection).session(whole(session_id))
        if session is None:
            raise no_session(session_id)
        return session

    def _round(self, connection: sqlite3.Connection, round_id: str) -> Round:
        entry = self._reader(connection).round(whole(round_id))
        if entry is None:
            raise no_round(round_id)
        return entry

    def _proposal(self, connection: sqlite3.Connection, proposal_id: str) -> Proposal:
        proposal = self._reader(connection).proposal(whole(proposal_id))
        if proposal is None:
            raise no_proposal(proposal_id)
        return proposal

    def _must_be_there(self, connection: sqlite3.Connection, session_id: str) -> None:
        if first_row(connection, "SELECT 1 FROM session WHERE id = ?", whole(session_id)) is None:
            raise no_session(session_id)

    def _session_of_proposal(self, connection: sqlite3.Connection, proposal_id: str) -> str:
        statement = "SELECT session_id FROM round JOIN proposal ON round.id = round_id WHERE proposal.id = ?"
        row = first_row(connection, statement, whole(proposal_id))
        if row is None:
            raise no_proposal(proposal_id)
        return str(row[0])

    def _session_of_round(self, connection: sqlite3.Connection, round_id: str) -> str:
        row = first_row(connection, "SELECT session_id FROM round WHERE id = ?", whole(round_id))
        if row is None:
            raise no_round(round_id)
        return str(row[0])


def _title(title: str) -> str:
    title = " ".join(whole(title).split())
    if len(title) > LONGEST_TITLE:
        raise InputError(f"The title has {len(title):,} characters.", f"Shorten it to {LONGEST_TITLE}.")
    return title


def _checked(make: Callable[[], Made], problem: str) -> Made:
    try:
        return make()
    except ValidationError:
        raise InputError(problem) from None

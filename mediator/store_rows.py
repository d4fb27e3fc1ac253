"""Sessions become rows: what each table's columns hold, and the number of the change that every change gets."""

import math
import sqlite3
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from mediator.errors import InputError
from mediator.interruption import as_interrupted
from mediator.kept_audit import KeptAudit
from mediator.schema import Dispute, Scores, Strategy
from mediator.session import Edit, Form, Proposal, Rating, Round, Session, is_of, now
from mediator.store_schema import rows
from mediator.store_search import fold, folded_form, folded_round, opening

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SCORE_COLUMNS = ("score_a", "score_b", "raw_a", "raw_b", "score_error_a", "score_error_b", "tilt_low", "tilt_high")
"""The columns, and the fields of `Scores`, that keep scores; those of the second half may be NULL."""
_SCORE_NAMES = ", ".join(SCORE_COLUMNS)


def new_id() -> str:
    """Return an id unlike every other: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def next_version(connection: sqlite3.Connection) -> int:
    """Return the number of the next change.

    One count for all sessions: in each of them it only grows, and the order of all is the order of their changes,
    whatever the clock does.
    """
    return int(rows(connection, "SELECT coalesce(max(version), 0) + 1 FROM session")[0][0])


def touch(connection: sqlite3.Connection, session_id: str) -> None:
    """Note that a session was changed, now."""
    connection.execute(
        "UPDATE session SET version = ?, updated_at = ? WHERE id = ?",
        (next_version(connection), milliseconds(now()), session_id),
    )


def whole(text: str) -> str:
    """Return a text that can be written: halves of surrogate pairs that stand alone become the replacement sign."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def as_json(record: BaseModel) -> str:
    """Return a record as JSON that makes the same record; the same record always gives the same text."""
    try:
        return record.model_dump_json(round_trip=True)
    except PydanticSerializationError:
        changed = _all_whole(record.model_dump(round_trip=True))
        return type(record).model_validate(changed).model_dump_json(round_trip=True)


def _all_whole(value: Any) -> Any:
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, dict):
        return {_all_whole(key): _all_whole(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_all_whole(entry) for entry in value]
    return value


def milliseconds(time: datetime) -> int:
    """Return a time as the files keep it: milliseconds since 1970 in UTC."""
    return (time.astimezone(UTC) - EPOCH) // timedelta(milliseconds=1)


def insert_session(connection: sqlite3.Connection, session: Session, version: int) -> None:
    """Insert a session's own row; its rounds come apart."""
    connection.execute(
        "INSERT INTO session (id, title, form_json, opening, folded, created_at, updated_at, version) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            session.id,
            session.title,
            *form_columns(session.title, session.form),
            milliseconds(session.created_at),
            milliseconds(session.updated_at),
            version,
        ),
    )


def form_columns(title: str, form: Form) -> tuple[str, str, str]:
    """Return ``form_json``, ``opening`` and ``folded`` of a session's row."""
    text = as_json(form)
    form = Form.model_validate_json(text)  # without what could not be written
    return text, opening(form), folded_form(title, form)


def insert_round(connection: sqlite3.Connection, session_id: str, entry: Round, owner: str) -> None:
    """Insert a round's own row; its proposals come apart, and so does ``like``, whose proposal must be there."""
    dispute = as_json(entry.dispute)
    connection.execute(
        "INSERT INTO round (id, session_id, number, dispute_json, model, strategy, count, rounds, seed, comment, "
        "folded, state, owner, problem, below_floor, stopped_early, sources_json, timings_json, started_at, "
        "finished_at, after) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.id,
            session_id,
            entry.number,
            dispute,
            whole(entry.model),
            entry.strategy,
            entry.count,
            entry.rounds,
            entry.seed,
            whole(entry.comment),
            folded_round(Dispute.model_validate_json(dispute), whole(entry.comment)),
            entry.state,
            owner,
            *outcome_columns(entry),
            milliseconds(entry.started_at),
            None if entry.finished_at is None else milliseconds(entry.finished_at),
            entry.after,
        ),
    )


def outcome_columns(entry: Round) -> tuple[str, int, int, str, str]:
    """Return ``problem``, ``below_floor``, ``stopped_early``, ``sources_json`` and ``timings_json`` of a round."""
    sources = Sources(values=entry.sources)
    timings = Timings(values=entry.timings)
    return (
        whole(entry.problem),
        entry.below_floor,
        int(entry.stopped_early),
        as_json(sources),
        as_json(timings),
    )


class Sources(BaseModel):
    """What ``sources_json`` holds."""

    values: dict[Strategy, int]


class Timings(BaseModel):
    """What ``timings_json`` holds."""

    values: dict[str, float]


def insert_proposal(connection: sqlite3.Connection, round_id: str, proposal: Proposal) -> None:
    """Insert a proposal with its edits and ratings."""
    candidate = proposal.candidate
    scores = (None,) * len(SCORE_COLUMNS) if candidate.scores is None else score_columns(candidate.scores)
    connection.execute(
        f"INSERT INTO proposal (id, round_id, text, folded, strategy, pass, {_SCORE_NAMES}, rank, mark) "  # noqa: S608
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            proposal.id,
            round_id,
            whole(candidate.text),
            fold(whole(candidate.text)),
            str(candidate.strategy),
            candidate.round,
            *scores,
            proposal.rank,
            proposal.mark,
        ),
    )
    for edit in proposal.edits:
        insert_edit(connection, proposal.id, edit)
    for rating in proposal.ratings:
        insert_rating(connection, proposal.id, rating)


def insert_edit(connection: sqlite3.Connection, proposal_id: str, edit: Edit) -> None:
    """Insert a later wording of a proposal."""
    text = whole(edit.text)
    connection.execute(
        f"INSERT INTO edit (proposal_id, text, folded, {_SCORE_NAMES}, made_at) "  # noqa: S608
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (proposal_id, text, fold(text), *score_columns(edit.scores), milliseconds(edit.made_at)),
    )


def insert_rating(connection: sqlite3.Connection, proposal_id: str, rating: Rating) -> None:
    """Insert a rating of a proposal; earlier ones of the same rater stay."""
    connection.execute(
        "INSERT INTO rating (proposal_id, rater, value, note, made_at) VALUES (?, ?, ?, ?, ?)",
        (proposal_id, rating.rater, rating.value, whole(rating.note), milliseconds(rating.made_at)),
    )


def insert_audit(connection: sqlite3.Connection, session_id: str, audit: KeptAudit) -> None:
    """Insert a swap audit. Raises `InputError` for one that could not be read again: a score is no finite number."""
    text = as_json(audit.model_copy(update={"round_id": None}))
    try:
        KeptAudit.model_validate_json(text)
    except ValidationError:
        raise InputError("A score of the audit is no finite number.", "Run it again.") from None
    connection.execute(
        "INSERT INTO audit (session_id, round_id, audit_json) VALUES (?, ?, ?)", (session_id, audit.round_id, text)
    )


def claim_audits(connection: sqlite3.Connection, session_id: str, entry: Round) -> None:
    """Give a new round the audits that were run with its views and choices before there was a round."""
    unclaimed = "SELECT position, audit_json FROM audit WHERE session_id = ? AND round_id IS NULL"
    for row in rows(connection, unclaimed, (session_id,)):
        with suppress(ValueError):  # a damaged one is said to be so when its session is read
            if is_of(KeptAudit.model_validate_json(row["audit_json"]), entry):
                connection.execute("UPDATE audit SET round_id = ? WHERE position = ?", (entry.id, row["position"]))


def score_columns(scores: Scores) -> tuple[float | None, ...]:
    """Return the values of `SCORE_COLUMNS`. Raises `InputError` for what is no finite number."""
    values = tuple(getattr(scores, name) for name in SCORE_COLUMNS)
    if not all(value is None or math.isfinite(value) for value in values):
        raise InputError("A score is no finite number.", "Score the text again.")
    return values


def take_in(connection: sqlite3.Connection, session: Session) -> str:
    """Insert a whole session under new ids, its rounds numbered anew; return its id. A running round is interrupted."""
    kept = session.model_copy(update={"id": new_id(), "updated_at": now()})
    insert_session(connection, kept, next_version(connection))
    new_ids: dict[str, str] = {}
    new_rounds: dict[str, str] = {}
    for number, entry in enumerate(session.rounds, start=1):
        ended = as_interrupted(entry) if entry.state == "running" else entry
        inserted = ended.model_copy(update={"id": new_id(), "number": number})
        insert_round(connection, kept.id, inserted, "")
        new_rounds[entry.id] = inserted.id
        for proposal in ended.proposals:
            copy = proposal.model_copy(update={"id": new_id()})
            insert_proposal(connection, inserted.id, copy)
            new_ids[proposal.id] = copy.id
        # A round can only be like a proposal that was there before it.
        like = new_ids.get(entry.like) if entry.like is not None else None
        connection.execute("UPDATE round SET like_id = ? WHERE id = ?", (like, inserted.id))
    for audit in session.audits:
        of = None if audit.round_id is None else new_rounds.get(audit.round_id)
        insert_audit(connection, kept.id, audit.model_copy(update={"round_id": of}))
    return kept.id

"""Rows become sessions: each record is checked as it is read, because a file may be damaged or made to do harm."""

import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from mediator.interruption import as_interrupted, is_alive
from mediator.kept_audit import KeptAudit
from mediator.older_scores import judged, judged_proposal
from mediator.schema import Candidate, Dispute, Scores
from mediator.session import Edit, Form, Proposal, Rating, Round, Session, SessionSummary
from mediator.store_errors import damaged
from mediator.store_rows import EPOCH, SCORE_COLUMNS, Sources, Timings
from mediator.store_schema import first_row, rows

Made = TypeVar("Made")


class Reader:
    """Reads sessions over one connection; the caller holds a transaction, so that all it reads belongs together."""

    def __init__(self, connection: sqlite3.Connection, name: str, private: bool) -> None:
        """``name`` is what a sentence calls the file."""
        self._connection = connection
        self._name = name
        self._private = private

    def session(self, session_id: str) -> Session | None:
        """Return a whole session, or None. Raises `StoreDamaged`."""
        row = first_row(self._connection, "SELECT * FROM session WHERE id = ?", session_id)
        if row is None:
            return None
        rounds = self._rounds("round.session_id = ?", session_id)
        audits = self.audits(session_id)
        return self._made(
            lambda: Session(
                id=row["id"],
                title=row["title"],
                form=Form.model_validate_json(row["form_json"]),
                rounds=rounds,
                audits=audits,
                created_at=_time(row["created_at"]),
                updated_at=_time(row["updated_at"]),
                private=self._private,
            ),
            f"its session {session_id[:32]!r}",
        )

    def round(self, round_id: str) -> Round | None:
        """Return a whole round, or None. Raises `StoreDamaged`."""
        return next(iter(self._rounds("round.id = ?", round_id)), None)

    def audits(self, session_id: str) -> tuple[KeptAudit, ...]:
        """Return the swap audits of a session, oldest first. Raises `StoreDamaged`."""
        found = self._rows("SELECT * FROM audit WHERE session_id = ? ORDER BY position", session_id)
        return tuple(self._audit(row) for row in found)

    def proposal(self, proposal_id: str) -> Proposal | None:
        """Return a whole proposal, or None. Raises `StoreDamaged`."""
        within = "FROM round JOIN proposal ON round.id = proposal.round_id WHERE proposal.id = ?"
        of = first_row(self._connection, f"SELECT round.id, round.dispute_json {within}", proposal_id)
        if of is None:
            return None
        dispute = self._made(lambda: Dispute.model_validate_json(of["dispute_json"]), _round_named(of))
        (proposal,) = self._proposals("proposal.id = ?", proposal_id)[of["id"]]
        return judged_proposal(proposal, dispute)

    def summary(self, row: sqlite3.Row) -> SessionSummary:
        """Return one line of the list. Raises `StoreDamaged`."""
        return self._made(
            lambda: SessionSummary(
                id=row["id"],
                title=row["title"],
                opening=row["opening"],
                rounds=row["rounds"],
                proposals=row["proposals"],
                kept=row["kept"],
                created_at=_time(row["created_at"]),
                updated_at=_time(row["updated_at"]),
            ),
            "its list of sessions",
        )

    def _rounds(self, condition: str, value: str) -> tuple[Round, ...]:
        proposals = self._proposals(condition, value)
        found = self._rows(f"SELECT * FROM round WHERE {condition} ORDER BY number", value)  # noqa: S608 - ours
        return tuple(self._round(row, proposals.get(row["id"], [])) for row in found)

    def _round(self, row: sqlite3.Row, proposals: list[Proposal]) -> Round:
        entry = self._made(
            lambda: Round(
                id=row["id"],
                number=row["number"],
                dispute=Dispute.model_validate_json(row["dispute_json"]),
                model=row["model"],
                strategy=row["strategy"],
                count=row["count"],
                rounds=row["rounds"],
                seed=row["seed"],
                comment=row["comment"],
                like=row["like_id"],
                after=row["after"],
                state=row["state"],
                problem=row["problem"],
                below_floor=row["below_floor"],
                stopped_early=row["stopped_early"],
                sources=Sources.model_validate_json(row["sources_json"]).values,
                timings=Timings.model_validate_json(row["timings_json"]).values,
                started_at=_time(row["started_at"]),
                finished_at=None if row["finished_at"] is None else _time(row["finished_at"]),
                proposals=tuple(proposals),
            ),
            _round_named(row),
        )
        entry = judged(entry)
        if entry.state == "running" and not is_alive(str(row["owner"])):
            return as_interrupted(entry)
        return entry

    def _proposals(self, condition: str, value: str) -> dict[str, list[Proposal]]:
        """Return proposals by their round, in the order in which they came."""
        within = f"FROM proposal JOIN round ON round.id = proposal.round_id WHERE {condition}"
        edits: dict[str, list[Edit]] = {}
        for row in self._rows(
            f"SELECT edit.* FROM edit WHERE proposal_id IN (SELECT proposal.id {within}) ORDER BY position",  # noqa: S608
            value,
        ):
            edits.setdefault(row["proposal_id"], []).append(self._edit(row))
        ratings: dict[str, dict[str, Rating]] = {}
        for row in self._rows(
            f"SELECT rating.* FROM rating WHERE proposal_id IN (SELECT proposal.id {within}) ORDER BY position",  # noqa: S608
            value,
        ):
            latest = ratings.setdefault(row["proposal_id"], {})
            latest.pop(row["rater"], None)
            latest[row["rater"]] = self._rating(row)
        found: dict[str, list[Proposal]] = {}
        for row in self._rows(f"SELECT proposal.* {within} ORDER BY proposal.position", value):
            key = row["id"]
            proposal = self._proposal(row, edits.get(key, []), list(ratings.get(key, {}).values()))
            found.setdefault(row["round_id"], []).append(proposal)
        return found

    def _proposal(self, row: sqlite3.Row, edits: list[Edit], ratings: list[Rating]) -> Proposal:
        def make() -> Proposal:
            scored = any(row[name] is not None for name in SCORE_COLUMNS)
            candidate = Candidate(
                text=row["text"],
                strategy=row["strategy"],
                round=row["pass"],
                scores=_scores(row) if scored else None,
            )
            return Proposal(
                id=row["id"],
                candidate=candidate,
                rank=row["rank"],
                mark=row["mark"],
                edits=tuple(edits),
                ratings=tuple(ratings),
            )

        return self._made(make, f"its proposal {str(row['id'])[:32]!r}")

    def _audit(self, row: sqlite3.Row) -> KeptAudit:
        def make() -> KeptAudit:
            return KeptAudit.model_validate_json(row["audit_json"]).model_copy(update={"round_id": row["round_id"]})

        return self._made(make, f"its audit {row['position']}")

    def _edit(self, row: sqlite3.Row) -> Edit:
        return self._made(
            lambda: Edit(text=row["text"], scores=_scores(row), made_at=_time(row["made_at"])),
            f"the edit {row['position']}",
        )

    def _rating(self, row: sqlite3.Row) -> Rating:
        return self._made(
            lambda: Rating(rater=row["rater"], value=row["value"], note=row["note"], made_at=_time(row["made_at"])),
            f"the rating {row['position']}",
        )

    def _rows(self, statement: str, value: str) -> list[sqlite3.Row]:
        return rows(self._connection, statement, (value,))

    def _made(self, make: Callable[[], Made], what: str) -> Made:
        """Make a record of a row. The cause is not passed on: pydantic's message quotes what people wrote."""
        try:
            return make()
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
            raise damaged(self._name, f"{what} cannot be read") from None


def _round_named(row: sqlite3.Row) -> str:
    return f"its round {str(row['id'])[:32]!r}"


def _scores(row: sqlite3.Row) -> Scores:
    return Scores(**{name: row[name] for name in SCORE_COLUMNS})


def _time(value: Any) -> datetime:
    if not isinstance(value, int):
        raise ValueError("a time that is no number")
    return EPOCH + timedelta(milliseconds=value)

"""The shapes of a session: what the mediator typed, the rounds of proposals, their edits, marks and ratings."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from mediator.kept_audit import KeptAudit
from mediator.schema import Candidate, Dispute, Label, Record, Scores, Strategy, StrategyChoice, Text

LONGEST_TITLE = 200
"""Characters of a session's title."""

Title = Annotated[str, StringConstraints(strip_whitespace=True, max_length=LONGEST_TITLE)]

Mark = Literal["", "kept", "dropped"]
"""What the mediator thinks of a proposal; empty for undecided."""

RoundState = Literal["running", "done", "stopped", "failed", "interrupted"]
"""``stopped``: by somebody. ``failed``: `Round.problem` says why. ``interrupted``: the program ended in its midst."""


def now() -> datetime:
    """Return the present time, in UTC, to the millisecond: what the store keeps."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


class SideForm(Record):
    """What is typed on one side of the page, finished or not. Both forms are kept; ``form`` says which is shown."""

    label: Label = ""
    form: Literal["text", "parts"] = "text"
    text: str = ""
    place: str = ""
    reason: str = ""
    suggestion: str = ""
    demographics: dict[str, str] = Field(default_factory=dict)


class Form(Record):
    """All that is typed and chosen on the Mediate page, finished or not: a session is reopened with it."""

    side_a: SideForm = SideForm()
    side_b: SideForm = SideForm()
    summary: str = ""
    comment: str = ""
    model: str = ""
    strategy: StrategyChoice = "cot-feedback"
    count: int = 4
    rounds: int = 3
    seed: int = 0


class Edit(Record):
    """A later wording of a proposal by the mediator; the writer's own is never overwritten."""

    text: Text = Field(min_length=1)
    scores: Scores
    made_at: AwareDatetime


class Rating(Record):
    """How somebody takes a proposal.

    Attributes:
        rater: ``a`` or ``b`` for the two sides; any other name for somebody else.
        value: 1 (not acceptable) .. 5 (fully acceptable).
        note: why, in the rater's words.
    """

    rater: Label = Field(min_length=1)
    value: int = Field(ge=1, le=5)
    note: Text = ""
    made_at: AwareDatetime


class Proposal(Record):
    """A candidate in a session, with all that was done to it since.

    Attributes:
        id: unlike that of every other proposal anywhere (a UUID's 32 hexadecimal digits).
        candidate: as the writer wrote it, with its scores.
        rank: its place among the selected of its round, 1 the best; None for the rest of the pool.
        mark: kept, dropped or undecided.
        edits: later wordings, oldest first. Going back to an earlier wording adds it again: nothing is removed.
        ratings: the latest one of each rater, oldest first.
    """

    id: str
    candidate: Candidate
    rank: int | None = None
    mark: Mark = ""
    edits: tuple[Edit, ...] = ()
    ratings: tuple[Rating, ...] = ()

    @property
    def current(self) -> Candidate:
        """The candidate in its latest wording, with the scores of that wording."""
        if not self.edits:
            return self.candidate
        return self.candidate.model_copy(update={"text": self.edits[-1].text, "scores": self.edits[-1].scores})

    @property
    def edited(self) -> bool:
        """Whether the wording shown is the mediator's."""
        return bool(self.edits) and self.edits[-1].text != self.candidate.text


class Round(Record):
    """One press of Propose: what was asked, of whom, and what came.

    Attributes:
        id: as `Proposal.id`.
        number: counts from 1 within the session.
        dispute: the views as they were then; scores of this round are of these views.
        model: as in the ``--model`` option. Holds no key.
        comment: the mediator's feedback for this round; empty for none.
        like: id of the proposal that this round was to stay close to ("more like this"), or None.
        after: number of the round that this one went on from; None for the first one, and where it was not kept, which
            means the one before.
        state: see `RoundState`.
        problem: what went wrong, as a sentence; empty if nothing did.
        below_floor: how many of the selected, the last ones, are below the warmth floor.
        sources: how many of the selected ones each strategy wrote.
        timings: seconds, as in `mediator.mediation.MediationDone`.
        proposals: in the order in which they were finished.
    """

    id: str
    number: int = Field(ge=1)
    dispute: Dispute
    model: str
    strategy: StrategyChoice
    count: int
    rounds: int
    seed: int
    comment: str = ""
    like: str | None = None
    after: int | None = Field(default=None, ge=1, exclude_if=lambda number: number is None)
    state: RoundState = "running"
    problem: str = ""
    below_floor: int = 0
    stopped_early: bool = False
    sources: dict[Strategy, int] = Field(default_factory=dict)
    timings: dict[str, float] = Field(default_factory=dict)
    started_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    proposals: tuple[Proposal, ...] = ()

    @property
    def follows(self) -> int:
        """The number of the round that this one went on from; 0 for none."""
        return self.number - 1 if self.after is None or self.after >= self.number else self.after

    @property
    def selected(self) -> tuple[Proposal, ...]:
        """The selected ones, best first."""
        chosen = [proposal for proposal in self.proposals if proposal.rank is not None]
        return tuple(sorted(chosen, key=lambda proposal: proposal.rank or 0))

    @property
    def rest(self) -> tuple[Proposal, ...]:
        """The finished ones that were not selected, in the order in which they were finished."""
        return tuple(proposal for proposal in self.proposals if proposal.rank is None)


class Session(Record):
    """A mediator's work on one dispute, from the first word typed to the last rating.

    Attributes:
        id: as `Proposal.id`; names the session in the page's address.
        title: shown in lists; empty until the mediator or an example gives one.
        form: what is on the page, finished or not.
        rounds: oldest first.
        audits: the finished swap audits, oldest first.
        private: never written to disk.
    """

    id: str
    title: Title = ""
    form: Form = Form()
    rounds: tuple[Round, ...] = ()
    audits: tuple[KeptAudit, ...] = Field(default=(), exclude_if=lambda audits: not audits)
    created_at: AwareDatetime
    updated_at: AwareDatetime
    private: bool = False

    def proposal(self, proposal_id: str) -> Proposal | None:
        """Return the proposal of this id, or None."""
        everything = (proposal for entry in self.rounds for proposal in entry.proposals)
        return next((proposal for proposal in everything if proposal.id == proposal_id), None)


class SessionSummary(Record):
    """One line of the list of sessions."""

    id: str
    title: str
    opening: str
    """The first words of both views, for a session without a title. Plain text, at most 160 characters."""
    rounds: int
    proposals: int
    kept: int
    created_at: AwareDatetime
    updated_at: AwareDatetime


def leading_to(rounds: Sequence[Round], number: int) -> tuple[Round, ...]:
    """Return the rounds that led to the round ``number`` (0 or unknown: the last one), oldest first, itself the last.

    What was tried in between and left, by going back to an earlier round, is not among them.
    """
    by_number = {entry.number: entry for entry in rounds}
    at = number if number in by_number else max(by_number, default=0)
    found: list[Round] = []
    while at:
        found.append(by_number[at])
        at = max((other for other in by_number if other <= by_number[at].follows), default=0)
    return tuple(reversed(found))


def is_of(audit: KeptAudit, entry: Round) -> bool:
    """Whether an audit was run with the views and the choices of a round.

    It always runs from the start: what was said to the round (its comment, and the rounds before) plays no part.
    """
    before, then = audit.dispute, entry.dispute
    chosen = ("model", "strategy", "count", "rounds", "seed")
    return (before.view_a, before.view_b, before.summary) == (then.view_a, then.view_b, then.summary) and all(
        getattr(audit, name) == getattr(entry, name) for name in chosen
    )


def audits_beside(session: Session, number: int) -> tuple[tuple[KeptAudit, ...], Round | None]:
    """Return the audits to show beside the round ``number`` (0 or unknown: the last one), and that round, if any.

    That is the latest of its own; before it the latest of all, where that is of no round; and for a round without any
    the latest of all, whose round is then to be said. A round that runs is passed over: its proposals are not there
    yet.
    """
    rounds = [entry for entry in session.rounds if entry.state != "running"]
    entry = next((entry for entry in rounds if entry.number == number), rounds[-1] if rounds else None)
    latest = session.audits[-1:]
    own = [audit for audit in session.audits if entry is not None and audit.round_id == entry.id][-1:]
    fresh = [audit for audit in latest if audit.round_id is None]
    return (*fresh, *own) or latest, entry

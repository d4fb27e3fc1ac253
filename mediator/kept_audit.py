"""The shapes of a swap audit as it is kept with its session: what was run, what both runs wrote, what that says."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, model_validator

from mediator.schema import Candidate, Dispute, Record, StrategyChoice

Verdict = Literal["identical", "same_scores", "differs"]
"""``identical``: word for word the same proposals, with their scores exactly exchanged. ``same_scores``: other texts,
as language models write them when the order of the views changes, that favour neither place (see
`mediator.swap_audit.SwapAudit.position_bias`). ``differs``: one place was favoured, or the scores themselves are not
exchanged."""

Finding = Literal["unmeasured", "identical", "same_scores", "scores_differ", "favours_first", "favours_second"]
"""A verdict as data for the sentence that says it; ``favours_first`` names a place, whoever stood in it."""

MOST_SELECTED = 100
"""Each is compared with each of the other run; what is asked for is far less."""

_Tilt = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
_Error = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class AuditRun(Record):
    """What one of the two mediations wrote; scores are of the dispute as it was in that run.

    Attributes:
        selected: best first.
        rest: the finished ones that were not selected.
    """

    selected: tuple[Candidate, ...] = Field(min_length=1, max_length=MOST_SELECTED)
    rest: tuple[Candidate, ...] = ()

    @model_validator(mode="after")
    def _is_scored(self) -> "AuditRun":
        if any(candidate.scores is None for candidate in self.pool):
            raise ValueError("a proposal of an audit has no scores")
        return self

    @property
    def pool(self) -> tuple[Candidate, ...]:
        """All of them."""
        return (*self.selected, *self.rest)


class KeptAudit(Record):
    """A finished swap audit. Holds what was found, and no page: that is made anew in the language of whoever looks.

    Attributes:
        round_id: of the round with whose views and choices it was run, or None where no round has them.
        dispute: the views as they stood.
        model, strategy, count, rounds, seed, comment: what was asked for, as in `mediator.session.Round`.
        verdict, scores_exchange: see `Verdict` and `mediator.swap_audit.SwapAudit`.
        tilt_original, tilt_swapped, position_bias: -1..1, as in `mediator.swap_audit.SwapAudit`.
        error_original, error_swapped, chance: how far chance may carry these three, as there; None where not known.
        original, swapped: what both runs wrote.
        made_at: when it ended.
    """

    round_id: str | None = None
    dispute: Dispute
    model: str
    strategy: StrategyChoice
    count: int
    rounds: int
    seed: int
    comment: str = ""
    verdict: Verdict
    scores_exchange: bool
    tilt_original: _Tilt
    tilt_swapped: _Tilt
    position_bias: _Tilt
    error_original: _Error | None = None
    error_swapped: _Error | None = None
    chance: _Error | None = None
    original: AuditRun
    swapped: AuditRun
    made_at: AwareDatetime

    @property
    def finding(self) -> Finding:
        """The verdict as data for a sentence."""
        said = measured((*self.original.pool, *self.swapped.pool))
        return finding(self.verdict, self.scores_exchange, said, self.position_bias)


def measured(candidates: tuple[Candidate, ...]) -> bool:
    """Whether all scores say something (see `mediator.schema.Scores.measured`)."""
    return all(candidate.scores is not None and candidate.scores.measured for candidate in candidates)


def finding(verdict: Verdict, scores_exchange: bool, is_measured: bool, position_bias: float) -> Finding:
    """Say what an audit found; ``is_measured`` is whether the scores of both runs say anything."""
    if scores_exchange and verdict != "identical" and not is_measured:
        return "unmeasured"
    if verdict != "differs":
        return verdict
    if not scores_exchange:
        return "scores_differ"
    return "favours_first" if position_bias > 0 else "favours_second"

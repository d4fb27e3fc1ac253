"""The shapes of a mediation: views, disputes, scores, candidates. The file formats are these models."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, computed_field, model_validator

Text = Annotated[str, StringConstraints(strip_whitespace=True)]

LONGEST_LABEL = 60
"""Characters of the name of a side."""

Label = Annotated[str, StringConstraints(strip_whitespace=True, max_length=LONGEST_LABEL)]


class Strategy(StrEnum):
    """The paper's four prompting strategies."""

    SINGLE = "single"
    COT = "cot"
    COT_SELF_SCORE = "cot-self-score"
    COT_FEEDBACK = "cot-feedback"


StrategyChoice = Literal["single", "cot", "cot-self-score", "cot-feedback", "all"]
Category = Literal["safe", "welcome", "other"]


class Record(BaseModel):
    """Common rules: unknown fields are mistakes worth reporting, and records do not change once made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class View(Record):
    """One side's point of view: ``{place, reason, suggestion}``, or free ``text``; never empty.

    ``label`` is how the mediator names this side ("The tenants"); it is shown, and never scored.
    """

    label: Label = ""
    place: Text = ""
    reason: Text = ""
    suggestion: Text = ""
    text: Text = ""
    demographics: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_something(self) -> "View":
        if not (self.place or self.reason or self.suggestion or self.text):
            raise ValueError("a view is empty: give it `text`, or at least one of `place`, `reason`, `suggestion`")
        if self.text and (self.place or self.reason or self.suggestion):
            raise ValueError("a view has both `text` and `place`/`reason`/`suggestion`: use one form or the other")
        return self

    def as_text(self) -> str:
        """The whole view as running text (place, reason, suggestion in this order): what the encoder reads."""
        if self.text:
            return self.text
        parts = (part for part in (self.place, self.reason, self.suggestion) if part)
        return " ".join(part if part[-1] in ".!?…\"”'" else part + "." for part in parts)


class Dispute(Record):
    """Two opposing views; the unit that Evenhand works on and the content of a dispute file.

    ``summary`` is a third person's neutral summary of the dispute, if there is one: writers may read it, and nothing is
    scored against it.
    """

    view_a: View
    view_b: View
    title: Text = ""
    category: Category = "other"
    summary: Text = ""

    def swapped(self) -> "Dispute":
        """The same dispute with A and B exchanged."""
        return self.model_copy(update={"view_a": self.view_b, "view_b": self.view_a})


def _is_none(value: object) -> bool:
    return value is None


class Scores(Record):
    """Empathic similarity of one text to each view.

    ``score_a`` and ``score_b`` are calibrated per view, 0..1 (see mediator/empathy.py); ``raw_a`` and ``raw_b`` are the
    plain cosines, -1..1.

    How sure they are, where the scorer can tell: ``score_error_a`` and ``score_error_b`` are standard errors of the
    two scores, 0..1; ``tilt_low`` and ``tilt_high`` are the ends of an interval around the tilt, -1..1 (docs/empathy.md
    says what was measured of it). Each is None, and left out of what is written, where nothing is known. An interval
    from -1 to 1, with errors of 1, holds everything there is: the scores say nothing of this text (see `measured`).
    """

    score_a: float = Field(ge=0, le=1)
    score_b: float = Field(ge=0, le=1)
    raw_a: float
    raw_b: float
    score_error_a: float | None = Field(default=None, ge=0, le=1, exclude_if=_is_none)
    score_error_b: float | None = Field(default=None, ge=0, le=1, exclude_if=_is_none)
    tilt_low: float | None = Field(default=None, ge=-1, le=1, exclude_if=_is_none)
    tilt_high: float | None = Field(default=None, ge=-1, le=1, exclude_if=_is_none)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def gap(self) -> float:
        """|a - b|, 0..1: 0 is empathically neutral."""
        return abs(self.score_a - self.score_b)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def tilt(self) -> float:
        """A - b, -1..1: above zero leans to A, below zero to B."""
        return self.score_a - self.score_b

    @computed_field  # type: ignore[prop-decorator]
    @property
    def warmth(self) -> float:
        """min(a, b), 0..1: how close the text comes to the side it serves less."""
        return min(self.score_a, self.score_b)

    @property
    def measured(self) -> bool:
        """Whether the scores say anything: not where text or views are in a language that they were not made for."""
        return (self.tilt_low, self.tilt_high) != (-1.0, 1.0)

    @property
    def tells_apart(self) -> bool | None:
        """Whether the interval of the tilt leaves zero out; None where there is no interval."""
        if self.tilt_low is None or self.tilt_high is None:
            return None
        return self.tilt_low > 0 or self.tilt_high < 0

    def unmeasured(self) -> "Scores":
        """The same figures, marked as saying nothing."""
        nothing = {"score_error_a": 1.0, "score_error_b": 1.0, "tilt_low": -1.0, "tilt_high": 1.0}
        return self.model_copy(update=nothing)

    def rounded(self) -> "Scores":
        """The scores to two decimals: gap, tilt and warmth of what stands on a screen add up there."""
        return self.model_copy(update={"score_a": round(self.score_a, 2), "score_b": round(self.score_b, 2)})

    def swapped(self) -> "Scores":
        """The scores of the same text with A and B exchanged."""
        return Scores(
            score_a=self.score_b,
            score_b=self.score_a,
            raw_a=self.raw_b,
            raw_b=self.raw_a,
            score_error_a=self.score_error_b,
            score_error_b=self.score_error_a,
            tilt_low=None if self.tilt_high is None else -self.tilt_high,
            tilt_high=None if self.tilt_low is None else -self.tilt_low,
        )


class Candidate(Record):
    """One proposed compromise. ``round`` counts from 1; ``scores`` is None until the scorer has read the text."""

    text: Text = Field(min_length=1)
    strategy: Strategy
    round: int = Field(default=1, ge=1)
    scores: Scores | None = None

"""Which parts of a session go onto a page to hand out, and which stay with the mediator."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Parts:
    """What a page says besides the two views, the summary, the proposals kept and who wrote them.

    What may have been said in confidence is on it only where it is asked for. JSON, to import again, holds everything.

    Attributes:
        ratings: how each proposal was taken, and the notes on that.
        history: the feedback of each round, how the proposals came about, and earlier wordings of proposals and views.
        audit: what came of running the dispute with A and B exchanged, for each round for which that was done.
        others: the proposals neither kept nor dropped; None where it is for the session to say: if none was kept.
    """

    ratings: bool = False
    history: bool = False
    audit: bool = False
    others: bool | None = None

    def with_others(self, kept: int) -> bool:
        """Whether the proposals neither kept nor dropped are on the page, where ``kept`` were kept."""
        return kept == 0 if self.others is None else self.others

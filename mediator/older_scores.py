"""Scores that were kept before any were marked as saying nothing: they are judged anew when a session is read."""

from collections.abc import Callable
from itertools import takewhile

from mediator.language import reads_as_english
from mediator.neutrality import is_below
from mediator.schema import Dispute, Scores
from mediator.session import Proposal, Round


def judged(entry: Round) -> Round:
    """Return a round with all scores marked that say nothing: those of texts and views of another language.

    Scores so marked are not `Scores.measured`, `Round.below_floor` counts them no more, and where no others are there,
    `Round.stopped_early` does not say that they were good enough. The round itself comes back where nothing changes, as
    with all that is written today.
    """
    proposals = _judged(entry.proposals, entry.dispute)
    if all(new is old for new, old in zip(proposals, entry.proposals, strict=True)):
        return entry
    changed = entry.model_copy(update={"proposals": proposals})
    below = len(list(takewhile(_is_far, reversed(changed.selected))))
    stopped = entry.stopped_early and any((of := proposal.candidate.scores) and of.measured for proposal in proposals)
    return changed.model_copy(update={"below_floor": min(entry.below_floor, below), "stopped_early": stopped})


def _is_far(proposal: Proposal) -> bool:
    return proposal.candidate.scores is not None and is_below(proposal.candidate.scores)


def judged_proposal(proposal: Proposal, dispute: Dispute) -> Proposal:
    """Return a proposal as `judged` does; its scores are of the views of ``dispute``."""
    return _judged((proposal,), dispute)[0]


def _judged(proposals: tuple[Proposal, ...], dispute: Dispute) -> tuple[Proposal, ...]:
    views_read: bool | None = None

    def says_nothing(text: str) -> bool:
        nonlocal views_read
        if views_read is None:  # asked for only where there are scores
            views_read = all(reads_as_english(view.as_text()) for view in (dispute.view_a, dispute.view_b))
        return not views_read or not reads_as_english(text)

    return tuple(_of_proposal(proposal, says_nothing) for proposal in proposals)


def _of_proposal(proposal: Proposal, says_nothing: Callable[[str], bool]) -> Proposal:
    def anew(text: str, scores: Scores) -> Scores:
        return scores.unmeasured() if scores.measured and says_nothing(text) else scores

    candidate = proposal.candidate
    scores = candidate.scores and anew(candidate.text, candidate.scores)
    edits = tuple((edit, anew(edit.text, edit.scores)) for edit in proposal.edits)
    if scores is candidate.scores and all(new is edit.scores for edit, new in edits):
        return proposal
    return proposal.model_copy(
        update={
            "candidate": candidate.model_copy(update={"scores": scores}),
            "edits": tuple(edit.model_copy(update={"scores": new}) for edit, new in edits),
        }
    )

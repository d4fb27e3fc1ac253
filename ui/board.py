"""The board: turns the events of one running mediation into the drafts and the words that the page shows."""

from dataclasses import dataclass, field
from typing import assert_never

from mediator.mediation import Event, MediationDone
from mediator.neutrality import order_is_clear
from mediator.schema import Candidate, Scores
from mediator.session import Round
from mediator.strategies import CandidateDone, CandidateProgress, RoundDone, RoundStarted
from ui.cards import LiveDraft
from ui.error_words import in_language
from ui.strings import figure, say

FEWEST_WORDS = 8
"""Words of an unfinished draft from which on its bars are shown. By fewer, another language may pass for English, and
bars be shown that go again: of 40 sentences of ten other languages, 10 pass by 4 words, 5 by 6, none by 8."""


@dataclass
class _Draft:
    """A candidate on its way."""

    text: str = ""
    scores: Scores | None = None
    done: bool = False


@dataclass
class Board:
    """What is to be seen during one mediation. Knows no Gradio and does no work.

    Attributes:
        several: more than one strategy is run, so say which one is at work.
    """

    several: bool = False
    _drafts: dict[int, _Draft] = field(default_factory=dict)
    _earlier: list[Candidate] = field(default_factory=list)
    _finished: dict[int, Candidate] = field(default_factory=dict)
    _started: RoundStarted | None = None

    def apply(self, event: Event) -> None:
        """Take in the next event."""
        match event:
            case RoundStarted(again=again):
                if not again:
                    self._earlier += self._finished.values()
                self._drafts, self._finished = {}, {}
                self._started = event
            case CandidateProgress(index=index, text=text, scores=scores):
                draft = self._drafts.setdefault(index, _Draft())
                draft.text = text
                if scores is not None and len(text.split()) >= FEWEST_WORDS:
                    draft.scores = scores
            case CandidateDone(index=index, candidate=candidate):
                self._drafts[index] = _Draft(candidate.text, candidate.scores, done=True)
                self._finished[index] = candidate
            case RoundDone() | MediationDone():
                pass  # its drafts stay until the next pass begins
            case _:
                assert_never(event)

    def drafts(self) -> list[LiveDraft]:
        """The drafts of the pass that is being written, in order."""
        return [LiveDraft(index, draft.text, draft.scores, draft.done) for index, draft in sorted(self._drafts.items())]

    def activity(self, language: str) -> str:
        """What is going on now, in a few words."""
        if self._started is None:
            return say(language, "mediate.getting_ready")
        parts = [say(language, f"status.strategy_{self._started.strategy.name.lower()}")] if self.several else []
        if self._started.rounds > 1:
            parts.append(say(language, "mediate.pass_of", number=self._started.round, most=self._started.rounds))
        where = f" ({', '.join(parts)})" if parts else ""
        if not self._drafts:
            return say(language, "mediate.waiting_for_writer", where=where)
        return say(language, "mediate.writing", where=where, finished=len(self._finished) + len(self._earlier))


def outcome(entry: Round, language: str) -> str:
    """The sentence at the end of a round."""
    count = len(entry.selected)
    if entry.state == "failed":
        return in_language(language, entry.problem)
    if entry.state == "interrupted":
        return say(language, "mediate.interrupted", count=count)
    if entry.state == "stopped":
        return say(language, "mediate.stopped", count=count) if count else say(language, "mediate.stopped_early")
    seconds = figure(language, entry.timings.get("total", 0.0), 1)
    scored = [proposal.candidate for proposal in entry.selected if proposal.candidate.scores is not None]
    ordered = count > 1 and all(candidate.scores.measured for candidate in scored if candidate.scores)
    key = "mediate.done_few" if not ordered else "mediate.done" if order_is_clear(scored) else "mediate.done_unclear"
    said = [say(language, key, seconds=seconds, proposals=say(language, "common.proposals", count=count))]
    if count < entry.count and not entry.problem:
        said.append(say(language, "mediate.fewer", count=entry.count))
    if entry.stopped_early:
        said.append(say(language, "mediate.no_further_passes"))
    return " ".join(said)

"""The board: turns the events of one mediation into what the page shows. Knows no Gradio and does no work."""

from dataclasses import dataclass, field
from typing import assert_never

from mediator.mediation import Event, MediationDone
from mediator.schema import Candidate, Scores, Strategy
from mediator.strategies import CandidateDone, CandidateProgress, RoundDone, RoundStarted
from ui.components import STRATEGY_LABELS, Card, bars_explained, card_of, cards, folded_cards, note, placeholder

NOTHING_YET = (
    "The proposals appear here, each with two bars: how close it comes to view A, and how close to view B. "
    "Write both views, or choose an example, then press Propose."
)


@dataclass
class _Draft:
    """A candidate on its way."""

    text: str = ""
    scores: Scores | None = None
    candidate: Candidate | None = None


@dataclass
class Board:
    """What is on the page during one mediation.

    Attributes:
        several: more than one strategy is run, so say which one is at work.
    """

    several: bool = False
    _drafts: dict[int, _Draft] = field(default_factory=dict)
    _earlier: list[Candidate] = field(default_factory=list)
    _started: RoundStarted | None = None
    _done: MediationDone | None = None

    def apply(self, event: Event) -> None:
        """Take in the next event."""
        match event:
            case RoundStarted(again=again):
                if not again:
                    self._earlier += self._finished()
                self._drafts = {}
                self._started = event
            case CandidateProgress(index=index, text=text, scores=scores):
                draft = self._drafts.setdefault(index, _Draft())
                draft.text = text
                draft.scores = scores or draft.scores
            case CandidateDone(index=index, candidate=candidate):
                self._drafts[index] = _Draft(candidate.text, candidate.scores, candidate)
            case RoundDone():
                pass  # its cards stay until the next round begins
            case MediationDone():
                self._done = event
            case _:
                assert_never(event)

    def activity(self) -> str:
        """What is going on now, in a few words."""
        if self._started is None:
            return "Getting ready…"
        parts = [STRATEGY_LABELS[self._started.strategy]] if self.several else []
        if self._started.rounds > 1:
            parts.append(f"round {self._started.round} of at most {self._started.rounds}")
        where = f" ({', '.join(parts)})" if parts else ""
        finished = len(self._finished()) + len(self._earlier)
        if not self._drafts:
            return f"Waiting for the writer{where}…"
        return f"Writing{where}, {finished} finished…"

    def outcome(self) -> str:
        """The sentence at the end."""
        done = self._done
        if done is None:
            return ""
        count = len(done.candidates)
        if done.cancelled:
            if not count:
                return "Stopped before the first proposal was finished."
            return f"Stopped. {_kept(count)}"
        seconds = done.timings.get("total", 0.0)
        early = " Further rounds were not needed." if done.stopped_early else ""
        return f"Done in {seconds:.1f} s. {_counted(count)}, best first.{early}"

    def cards(self) -> str:
        """The cards in front: those being written, at the end the selected ones."""
        if self._done is not None:
            return self._selected(self._done)
        if not self._drafts:
            return placeholder("The first words are on their way.")
        contents = [
            card_of(draft.candidate, f"draft-{index}", f"Draft {index + 1}")
            if draft.candidate is not None
            else Card(f"draft-{index}", f"Draft {index + 1}", draft.text, draft.scores, writing=True)
            for index, draft in sorted(self._drafts.items())
        ]
        return cards(contents, "Being written") + bars_explained()

    def others(self) -> str:
        """The folded cards: earlier rounds, at the end the rest of the pool."""
        if self._done is None:
            contents = [_card(candidate, number, "Earlier draft") for number, candidate in enumerate(self._earlier, 1)]
            return folded_cards(contents, f"Drafts of earlier rounds ({len(contents)})", "others")
        chosen = set(map(id, self._done.candidates))
        rest = [candidate for candidate in self._done.pool if id(candidate) not in chosen]
        contents = [_card(candidate, number, "Other draft") for number, candidate in enumerate(rest, 1)]
        return folded_cards(contents, f"Other drafts, not selected ({len(contents)})", "others")

    def _selected(self, done: MediationDone) -> str:
        notes = [note(done.problem)] if done.problem else []
        if not done.candidates:
            return "".join([*notes, placeholder(NOTHING_YET)])
        if done.below_floor:
            notes.append(note(_far(done.below_floor, len(done.candidates))))
        if self.several:
            notes.append(note(_sources(done.sources)))
        contents = [
            _card(candidate, number, "Option", "selected") for number, candidate in enumerate(done.candidates, 1)
        ]
        explanation = "" if done.below_floor else "Best first: the most even of those that come close to both sides."
        return "".join(notes) + cards(contents, "Proposals", explanation) + bars_explained()

    def _finished(self) -> list[Candidate]:
        return [draft.candidate for _, draft in sorted(self._drafts.items()) if draft.candidate is not None]


def _card(candidate: Candidate, number: int, title: str, key: str = "other") -> Card:
    return card_of(candidate, f"{key}-{number}", f"{title} {number}")


def _counted(count: int) -> str:
    return "1 proposal" if count == 1 else f"{count} proposals"


def _kept(count: int) -> str:
    return "The one finished proposal is below." if count == 1 else f"The {count} best finished proposals are below."


def _far(below: int, count: int) -> str:
    if below == 1:
        start = "This proposal is" if count == 1 else "The last proposal is"
    else:
        start = "These proposals are" if below == count else f"The last {below} proposals are"
    return f"{start} far from at least one side. Say more about what each side needs, or comment, and propose again."


def _sources(sources: dict[Strategy, int]) -> str:
    counts = "; ".join(f"{STRATEGY_LABELS[strategy]}: {count}" for strategy, count in sources.items())
    return f"How many of these each strategy wrote. {counts}."

"""The paper's four prompting strategies: which briefs go to the writer, round after round, and what is seen of it."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mediator.cancellation import Cancellation
from mediator.neutrality import best_first, scores_of, without_near_duplicates
from mediator.schema import Candidate, Dispute, Scores, Strategy, StrategyChoice
from mediator.writers.base import Brief, UnusableOutput, Writer

LIVE_SCORES_PER_SECOND = 12.0
"""How often, at most, the unfinished texts of one stream are scored. Well above the 5 updates per second that the bars
promise also when tokens come unevenly, and about a tenth of one core's time."""

IMPROVEMENT = 0.01
"""Change of the best gap or the best warmth, 0..1, that makes another round of feedback worth while."""

GOOD_GAP = 0.03
"""Gap, 0..1, below which a candidate needs no further work, when it also has `GOOD_WARMTH`."""

GOOD_WARMTH = 0.75
"""Warmth, 0..1, from which a candidate with `GOOD_GAP` needs no further work."""


@runtime_checkable
class Scorer(Protocol):
    """Measures how close texts come to the two views of a dispute."""

    def score(self, dispute: Dispute, texts: Sequence[str]) -> list[Scores]:
        """Return the scores of each text, in the order given."""
        ...


@dataclass(frozen=True)
class RoundStarted:
    """The writer has been asked. ``round`` counts from 1; fewer than ``rounds`` may follow (early stop).

    ``again`` says that the writer starts this round afresh: forget what was streamed for this strategy and round.
    """

    strategy: Strategy
    round: int
    rounds: int
    again: bool = False


@dataclass(frozen=True)
class CandidateProgress:
    """A candidate is being written. ``index`` counts from 0 within the round; ``text`` is all of it so far.

    ``scores`` are those of the text so far, or None when they were not measured this time: leave the bars as they are.
    """

    strategy: Strategy
    round: int
    index: int
    text: str
    scores: Scores | None = None


@dataclass(frozen=True)
class CandidateDone:
    """A candidate is finished; ``candidate.scores`` is set and exact. May come without a `CandidateProgress` before."""

    strategy: Strategy
    round: int
    index: int
    candidate: Candidate


@dataclass(frozen=True)
class RoundDone:
    """All candidates of one round, in the order written.

    ``best_gap`` is the gap of the best candidate (see `mediator.neutrality.best_first`) and ``best_warmth`` the
    greatest warmth, both over all rounds of this strategy so far, and over those that were measured where there are
    any. ``stopped_early`` says that the rounds left are not needed.
    """

    strategy: Strategy
    round: int
    candidates: tuple[Candidate, ...]
    best_gap: float
    best_warmth: float
    stopped_early: bool = False


StrategyEvent = RoundStarted | CandidateProgress | CandidateDone | RoundDone


@dataclass(frozen=True)
class Plan:
    """What is asked of a strategy.

    Attributes:
        count: candidates per round, >= 1.
        rounds: the most rounds of `cot-feedback`, >= 1; the other strategies have one.
        seed: round r is written with ``seed + r - 1``.
        comments: the mediator's remarks, oldest first; they go with every brief.
        earlier: candidates from before this run, oldest first; they go with every brief, and their scores with those of
            `cot-feedback`. Those without scores are scored first.
        like, avoid, language: as in `mediator.writers.base.Brief`; they go with every brief.
    """

    count: int = 4
    rounds: int = 3
    seed: int = 0
    comments: tuple[str, ...] = ()
    earlier: tuple[Candidate, ...] = ()
    like: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    language: str = "en"


def strategies_of(choice: StrategyChoice) -> tuple[Strategy, ...]:
    """Return the strategies that a choice stands for, in the order in which they run."""
    return tuple(Strategy) if choice == "all" else (Strategy(choice),)


def run(
    strategy: Strategy, dispute: Dispute, writer: Writer, scorer: Scorer, plan: Plan, cancel: Cancellation
) -> Generator[StrategyEvent, None, None]:
    """Run one strategy.

    `cot-feedback` asks again and again, each time with all that was written before and its scores. Nothing is taken
    back between the rounds: the caller chooses from all of them, so the best so far is never lost. It ends before the
    last round when a round improved neither the best gap nor the best warmth, or when enough candidates are good.
    Scores that say nothing (see `Scores.measured`) end nothing.

    Raises:
        WriterError: the writer failed; candidates already reported as done stay good.
        UnusableOutput: the writer ended the first round without a candidate.
        Cancelled: soon after ``cancel`` is cancelled.
    """
    rounds = plan.rounds if strategy is Strategy.COT_FEEDBACK else 1
    earlier = _scored(plan.earlier, dispute, scorer) if strategy is Strategy.COT_FEEDBACK else plan.earlier
    written: list[Candidate] = []
    for number in range(1, rounds + 1):
        cancel.raise_if_cancelled()
        yield RoundStarted(strategy, number, rounds)
        brief = Brief(
            dispute=dispute,
            strategy=strategy,
            count=plan.count,
            seed=plan.seed + number - 1,
            earlier=earlier + tuple(written),
            comments=plan.comments,
            like=plan.like,
            avoid=plan.avoid,
            language=plan.language,
        )
        before = list(written)
        new = yield from _one_round(brief, number, rounds, writer, scorer, cancel)
        written += new
        if not written:
            raise UnusableOutput(f"{writer.name} wrote no compromise at all.", "Try again, or choose another model.")
        stopped_early = number < rounds and (_is_good_enough(written, plan.count) or not _improves(before, written))
        yield RoundDone(strategy, number, tuple(new), *_best(written), stopped_early=stopped_early)
        if stopped_early:
            return


def _one_round(
    brief: Brief, number: int, rounds: int, writer: Writer, scorer: Scorer, cancel: Cancellation
) -> Generator[StrategyEvent, None, list[Candidate]]:
    """Send one brief, pass on what streams in, score it, and return the finished candidates in the order of index."""
    texts: dict[int, str] = {}
    finished: dict[int, Candidate] = {}
    throttle = Throttle(1.0 / LIVE_SCORES_PER_SECOND)

    def finish(index: int) -> CandidateDone | None:
        text = texts.pop(index).strip()
        if not text or index in finished:
            return None
        scores = scorer.score(brief.dispute, [text])[0]
        finished[index] = Candidate(text=text, strategy=brief.strategy, round=number, scores=scores)
        return CandidateDone(brief.strategy, number, index, finished[index])

    deltas = writer.write(brief, cancel)
    try:
        for delta in deltas:
            if delta.restart:
                texts.clear()
                finished.clear()
                yield RoundStarted(brief.strategy, number, rounds, again=True)
            if delta.text or delta.done:
                texts[delta.index] = texts.get(delta.index, "") + delta.text
            if delta.done:
                if done := finish(delta.index):
                    yield done
            elif delta.text and (so_far := texts[delta.index].strip()):
                scores = None
                if throttle.ready():
                    scores = scorer.score(brief.dispute, [so_far])[0]
                    throttle.rest()
                yield CandidateProgress(brief.strategy, number, delta.index, so_far, scores)
            cancel.raise_if_cancelled()
    finally:
        # A consumer that walks away must end the writer's request too, now and not when memory is collected.
        if isinstance(deltas, Generator):
            deltas.close()
    for index in sorted(texts):
        if done := finish(index):
            yield done
    return [finished[index] for index in sorted(finished)]


class Throttle:
    """Lets something happen at most once per ``period`` seconds, and never for more than half of the time."""

    def __init__(self, period: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._clock = clock
        self._started: float | None = None
        self._next = -float("inf")

    def ready(self) -> bool:
        """Whether it may happen now; if so, its time starts."""
        now = self._clock()
        if now < self._next:
            return False
        self._started = now
        self._next = now + self._period
        return True

    def rest(self) -> None:
        """It has happened: rest for at least as long as it took, so that a slow scorer does not starve the writer."""
        if self._started is not None:
            now = self._clock()
            self._next = max(self._next, now + (now - self._started))


def _scored(candidates: Sequence[Candidate], dispute: Dispute, scorer: Scorer) -> tuple[Candidate, ...]:
    """Score those candidates that have no scores; keep the order."""
    missing = [candidate.text for candidate in candidates if candidate.scores is None]
    new = iter(scorer.score(dispute, missing) if missing else [])
    return tuple(
        candidate if candidate.scores is not None else candidate.model_copy(update={"scores": next(new)})
        for candidate in candidates
    )


def _best(candidates: Sequence[Candidate]) -> tuple[float, float]:
    """Return the gap of the best candidate and the greatest warmth, of those that were measured where there are any."""
    candidates = _measured(candidates) or candidates
    return (
        scores_of(best_first(candidates)[0]).gap,
        max(scores_of(candidate).warmth for candidate in candidates),
    )


def _measured(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return those whose scores say something: no others decide whether to go on."""
    return [candidate for candidate in candidates if scores_of(candidate).measured]


def _improves(before: Sequence[Candidate], after: Sequence[Candidate]) -> bool:
    """Whether the last round made the best gap or the best warmth better.

    The first round always does, and so does one after which it cannot be said: where something in it was not measured.
    """
    if not before or not all(scores_of(candidate).measured for candidate in after[len(before) :]):
        return True
    if not _measured(before):
        return True
    (old_gap, old_warmth), (new_gap, new_warmth) = _best(before), _best(after)
    return old_gap - new_gap > IMPROVEMENT or new_warmth - old_warmth > IMPROVEMENT


def _is_good_enough(candidates: Sequence[Candidate], count: int) -> bool:
    """Whether there are ``count`` different candidates that need no further work."""
    good = [
        candidate
        for candidate in _measured(candidates)
        if scores_of(candidate).gap < GOOD_GAP and scores_of(candidate).warmth >= GOOD_WARMTH
    ]
    return len(without_near_duplicates(good)) >= count

"""The one entry point of the main job: a dispute in, events out, the best candidates of the pool at the end."""

import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import get_args

from mediator.cancellation import Cancellation, Cancelled
from mediator.errors import EvenhandError, InputError
from mediator.neutrality import select
from mediator.schema import Candidate, Dispute, Scores, Strategy, StrategyChoice
from mediator.strategies import (
    CandidateDone,
    CandidateProgress,
    Plan,
    RoundDone,
    RoundStarted,
    Scorer,
    StrategyEvent,
    run,
    strategies_of,
)
from mediator.writers.base import (
    Brief,
    Delta,
    PromptTooLong,
    RequestRejected,
    UnusableOutput,
    Writer,
)

__all__ = [
    "CandidateDone",
    "CandidateProgress",
    "Event",
    "MediationDone",
    "MediationOptions",
    "RoundDone",
    "RoundStarted",
    "propose",
]

LONGEST_VIEW = 20_000
"""Characters of one view, demographics included."""

LONGEST_COMMENT = 4_000
"""Characters of one comment of the mediator."""

MOST_LIKED = 8
"""Texts to stay close to: more of them would point everywhere."""

MOST_AVOIDED = 500
"""Dropped texts."""

LARGEST_SEED = 2**31 - 1
"""What every writer's generator takes."""

MOST_CANDIDATES = 12
MOST_ROUNDS = 10

# These say something about one request, not about the provider: the next strategy's request may well succeed.
_ONE_REQUEST_ONLY = (UnusableOutput, PromptTooLong, RequestRejected)


@dataclass(frozen=True)
class MediationOptions:
    """What to ask for. Raises `InputError` for a value out of range.

    Attributes:
        strategy: one of the paper's four, or ``all`` of them with one selection from the common pool.
        count: how many candidates each round writes and how many are selected, 1..12.
        rounds: the most rounds of `cot-feedback`, 1..10.
        seed: the same seed gives the same candidates where the writer is deterministic; 0..`LARGEST_SEED`.
        comments: the mediator's remarks, oldest first; empty ones are left out.
        earlier: candidates of earlier calls (a continued session), oldest first: the writer sees them, but the
            selection is made from new ones only, and leaves out what nearly repeats one of them.
        like: texts to stay close to without repeating them ("more like this"), at most `MOST_LIKED`.
        avoid: texts that were dropped, oldest first, at most `MOST_AVOIDED`; the selection leaves out what nearly
            repeats one of them. Empty ones are left out of both.
        language: code of the page's language, for views that have none in common.
    """

    strategy: StrategyChoice = "cot-feedback"
    count: int = 4
    rounds: int = 3
    seed: int = 0
    comments: tuple[str, ...] = ()
    earlier: tuple[Candidate, ...] = ()
    like: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    language: str = "en"

    def __post_init__(self) -> None:
        if self.strategy not in get_args(StrategyChoice):
            known = ", ".join(get_args(StrategyChoice))
            raise InputError(f"There is no strategy {str(self.strategy)!r}.", f"Choose one of: {known}.")
        if not 1 <= self.count <= MOST_CANDIDATES:
            raise InputError(f"The number of candidates is {self.count}.", f"Ask for 1 to {MOST_CANDIDATES}.")
        if not 1 <= self.rounds <= MOST_ROUNDS:
            raise InputError(f"The number of rounds is {self.rounds}.", f"Ask for 1 to {MOST_ROUNDS}.")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"The seed is {self.seed}.", f"Choose 0 to {LARGEST_SEED}.")
        object.__setattr__(self, "comments", tuple(text.strip() for text in self.comments if text.strip()))
        object.__setattr__(self, "earlier", tuple(self.earlier))
        self._check_examples("like", "texts to stay close to", MOST_LIKED)
        self._check_examples("avoid", "dropped texts", MOST_AVOIDED)
        for number, comment in enumerate(self.comments, start=1):
            if len(comment) > LONGEST_COMMENT:
                raise InputError(
                    f"Comment {number} has {len(comment):,} characters.", f"Shorten it to {LONGEST_COMMENT:,}."
                )

    def _check_examples(self, name: str, words: str, most: int) -> None:
        """Tidy the texts of ``like`` or ``avoid``; the same text twice counts once."""
        texts = tuple(dict.fromkeys(text.strip() for text in getattr(self, name) if text.strip()))
        object.__setattr__(self, name, texts)
        if len(texts) > most:
            raise InputError(f"There are {len(texts)} {words}.", f"Give at most {most}.")
        for number, text in enumerate(texts, start=1):
            if len(text) > LONGEST_VIEW:
                raise InputError(
                    f"Number {number} of the {words} has {len(text):,} characters.", f"Shorten it to {LONGEST_VIEW:,}."
                )


@dataclass(frozen=True)
class MediationDone:
    """The last event of every mediation.

    Attributes:
        candidates: the selected ones, best first: at most ``count``.
        pool: every finished candidate in the order in which it was finished, the selected ones included.
        sources: how many of the selected ones each strategy wrote (the paper's Table 1); every strategy that was to run
            has an entry.
        timings: seconds. ``total`` by the wall clock; ``writing`` waiting for the writer; ``scoring`` in the scorer;
            ``first_text`` from the start to the first piece of a candidate, absent when none came.
        below_floor: how many of the selected (the last ones) are below the warmth floor.
        cancelled: somebody stopped it; what was finished before is here.
        stopped_early: `cot-feedback` needed fewer rounds than it was given.
        problem: what went wrong on the way, as a sentence for the screen; None if nothing did.
    """

    candidates: tuple[Candidate, ...]
    pool: tuple[Candidate, ...]
    sources: dict[Strategy, int]
    timings: dict[str, float]
    below_floor: int = 0
    cancelled: bool = False
    stopped_early: bool = False
    problem: str | None = None


Event = StrategyEvent | MediationDone


def propose(
    dispute: Dispute,
    writer: Writer,
    scorer: Scorer,
    options: MediationOptions | None = None,
    cancel: Cancellation | None = None,
) -> Iterator[Event]:
    """Draft compromises for a dispute; the last event is a `MediationDone`, also after a cancel.

    With ``all``, a request that one strategy's writer could not serve (no usable text, too long, refused) does not keep
    the next strategy from running.

    Raises:
        InputError: a view or the summary is too long. Raised at the call, before the first event.
        EvenhandError: the writer failed (`WriterError`), or its file did (`ModelFileError`), and there is not one
            finished candidate; otherwise `MediationDone.problem` says what happened. Raised while iterating.

    Example:
        >>> from mediator.schema import View
        >>> dispute = Dispute(view_a=View(text="Dogs need to run."), view_b=View(text="Dogs must be on a leash."))
        >>> for event in propose(dispute, writer, scorer):  # doctest: +SKIP
        ...     if isinstance(event, MediationDone):
        ...         print(event.candidates[0].text)
    """
    check_length(dispute)
    return _mediate(dispute, writer, scorer, options or MediationOptions(), cancel or Cancellation())


def check_length(dispute: Dispute) -> None:
    """Raise `InputError` when a view or the summary has more than `LONGEST_VIEW` characters: it would take minutes."""
    for name, view in (("View A", dispute.view_a), ("View B", dispute.view_b)):
        length = len(view.as_text()) + sum(len(key) + len(value) for key, value in view.demographics.items())
        if length > LONGEST_VIEW:
            raise InputError(
                f"{name} has {length:,} characters.",
                f"Shorten it to {LONGEST_VIEW:,}: what the person wants and why is enough.",
            )
    if len(dispute.summary) > LONGEST_VIEW:
        raise InputError(
            f"The summary has {len(dispute.summary):,} characters.",
            f"Shorten it to {LONGEST_VIEW:,}: a few sentences are enough.",
        )


def _mediate(
    dispute: Dispute, writer: Writer, scorer: Scorer, options: MediationOptions, cancel: Cancellation
) -> Generator[Event, None, None]:
    started = time.perf_counter()
    timed_writer, timed_scorer = _TimedWriter(writer), _TimedScorer(scorer)
    plan = Plan(
        options.count,
        options.rounds,
        options.seed,
        options.comments,
        options.earlier,
        options.like,
        options.avoid,
        options.language,
    )
    strategies = strategies_of(options.strategy)
    pool: list[Candidate] = []
    first_text: float | None = None
    cancelled = stopped_early = False
    problems: list[str] = []
    failure: EvenhandError | None = None

    for strategy in strategies:
        try:
            with closing(run(strategy, dispute, timed_writer, timed_scorer, plan, cancel)) as events:
                for event in events:
                    if isinstance(event, RoundStarted) and event.again:
                        void = (event.strategy, event.round)
                        pool = [candidate for candidate in pool if (candidate.strategy, candidate.round) != void]
                    elif isinstance(event, CandidateDone):
                        pool.append(event.candidate)
                    elif isinstance(event, RoundDone):
                        stopped_early = stopped_early or event.stopped_early
                    if first_text is None and isinstance(event, CandidateProgress | CandidateDone):
                        first_text = time.perf_counter() - started
                    yield event
        except Cancelled:
            cancelled = True
        except EvenhandError as error:
            # A connection closed under a writer by the cancel may surface as its error: the user knows of the cancel.
            cancelled = cancel.cancelled
            if not cancelled:
                failure = error
                problems.append(f"{strategy}: {error}" if len(strategies) > 1 else str(error))
        if cancelled or (failure is not None and not isinstance(failure, _ONE_REQUEST_ONLY)):
            break

    if failure is not None and not pool and not cancelled:
        raise failure
    known = (*options.avoid, *options.like, *(candidate.text for candidate in options.earlier))
    selection = select(pool, options.count, known=known)
    counts = Counter(candidate.strategy for candidate in selection.candidates)
    timings = {
        "total": time.perf_counter() - started,
        "writing": timed_writer.seconds,
        "scoring": timed_scorer.seconds,
    }
    if first_text is not None:
        timings["first_text"] = first_text
    yield MediationDone(
        candidates=selection.candidates,
        pool=tuple(pool),
        sources={strategy: counts[strategy] for strategy in strategies},
        timings=timings,
        below_floor=selection.below_floor,
        cancelled=cancelled,
        stopped_early=stopped_early,
        problem=" ".join(problems) or None,
    )


class _TimedWriter:
    """A writer that counts the seconds spent waiting for it."""

    def __init__(self, inner: Writer) -> None:
        self.name = inner.name
        self.destination = inner.destination
        self.seconds = 0.0
        self._inner = inner

    def write(self, brief: Brief, cancel: Cancellation) -> Generator[Delta, None, None]:
        started = time.perf_counter()
        deltas = self._inner.write(brief, cancel)
        try:
            while True:
                try:
                    delta = next(deltas)
                except StopIteration:
                    return
                finally:
                    self.seconds += time.perf_counter() - started
                yield delta
                started = time.perf_counter()
        finally:
            if isinstance(deltas, Generator):
                deltas.close()

    def close(self) -> None:
        self._inner.close()


class _TimedScorer:
    """A scorer that counts the seconds spent in it."""

    def __init__(self, inner: Scorer) -> None:
        self.seconds = 0.0
        self._inner = inner

    def score(self, dispute: Dispute, texts: Sequence[str]) -> list[Scores]:
        started = time.perf_counter()
        try:
            return self._inner.score(dispute, texts)
        finally:
            self.seconds += time.perf_counter() - started

"""The swap audit: the same mediation once more with A and B exchanged, and what that changed."""

import difflib
import math
import re
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, variance
from typing import Literal

from mediator.cancellation import Cancellation
from mediator.kept_audit import Verdict, measured
from mediator.mediation import Event, MediationDone, MediationOptions, check_length, propose
from mediator.neutrality import ABOUT_EQUAL, overlap, scores_of
from mediator.schema import Candidate, Dispute, Scores
from mediator.side_letters import exchanged_letters
from mediator.strategies import Scorer
from mediator.writers.base import Writer

FEWEST_FOR_AN_ERROR = 3
"""Proposals of a run from which the error of their mean tilt is told: the spread of two says next to nothing."""

_QUANTILES = (4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)
"""Of Student's t, 97.5 %, with 2, 3, ... 12 degrees of freedom; from there on 2.18 is a little too careful."""

MOST_COMPARISONS = 200_000
"""Of words with words, in the words that two texts share: beyond it what changed is not told word by word."""


@dataclass(frozen=True)
class AuditProgress:
    """Something happened in one of the two mediations; its `MediationDone` is reported in this way too."""

    run: Literal["original", "swapped"]
    event: Event


@dataclass(frozen=True)
class Change:
    """A stretch of words, with the space after it, that both texts have, or only one of them."""

    where: Literal["both", "original", "swapped"]
    text: str


@dataclass(frozen=True)
class AuditPair:
    """A proposal of the original run beside the one of the swapped run that is most like it.

    Attributes:
        original: with scores of the dispute as it stands.
        swapped: its ``score_a`` is the closeness to the view that is A in the swapped dispute: the original's B.
        overlap: shared fraction of their words, 0..1.
        same_text: whether they agree word for word.
        score_difference: the largest difference, 0..1, between a score and its exchanged counterpart.
        changes: how to get from one text to the other.
    """

    original: Candidate
    swapped: Candidate
    overlap: float
    same_text: bool
    score_difference: float
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class SwapAudit:
    """What exchanging A and B changed; the last event of an audit.

    Three of its figures are means over so few texts that chance moves them. Beside each stands its error: half
    the width of the 95 % interval of a mean of so few (Student's t). It is made of
    the spread among a run's proposals. What is wrong with the scores of all of them alike is not in it, and as
    proposals of one run are not independent it is on the small side. It is None, not known, where a run has fewer than
    `FEWEST_FOR_AN_ERROR` proposals or scores that say nothing (`Scores.measured`).

    Attributes:
        verdict: None when one of the runs was cut short (cancelled, failed half-way): then there is nothing to say.
        original, swapped: how the two mediations ended.
        pairs: the selected proposals of both, matched by their words, in the order of the original's.
        only_original, only_swapped: selected proposals without a partner, when one run selected more.
        largest_score_difference: the greatest `AuditPair.score_difference`; 0 without pairs.
        scores_exchange: whether scoring every text of the original run with the sides exchanged exchanges the scores
            exactly: the plain check of the scorer, the same for every writer.
        tilt_original: mean tilt over all proposals of the original run, -1..1, above zero towards the original's A.
        tilt_swapped: the same of the swapped run, towards the same person.
        position_bias: half of their difference, -1..1: how much the person in place A was favoured by that place.
        error_original, error_swapped: of ``tilt_original`` and ``tilt_swapped``, 0 or above.
        chance: of ``position_bias``, 0 or above: what it may reach by chance. 0 if both runs wrote the
            same texts: then nothing is left to chance.
    """

    verdict: Verdict | None
    original: MediationDone
    swapped: MediationDone
    pairs: tuple[AuditPair, ...] = ()
    only_original: tuple[Candidate, ...] = ()
    only_swapped: tuple[Candidate, ...] = ()
    largest_score_difference: float = 0.0
    scores_exchange: bool = True
    tilt_original: float = 0.0
    tilt_swapped: float = 0.0
    position_bias: float = 0.0
    error_original: float | None = None
    error_swapped: float | None = None
    chance: float | None = None


AuditEvent = AuditProgress | SwapAudit


def audit(
    dispute: Dispute,
    writer: Writer,
    scorer: Scorer,
    options: MediationOptions | None = None,
    cancel: Cancellation | None = None,
    original: MediationDone | None = None,
) -> Iterator[AuditEvent]:
    """Run the same mediation with A and B exchanged and compare; the last event is a `SwapAudit`, also after a cancel.

    Everything else stays the same: writer, strategy, seed, comments. Where a comment, the summary or an earlier text
    speaks of the sides by their letters ("more for side B"), the letters are exchanged with them.

    Args:
        dispute: as it stands.
        writer: as for `mediator.mediation.propose`.
        scorer: as for `propose`.
        options: as for `propose`.
        cancel: stops both runs.
        original: how the mediation with these very options ended, where it was run before; else it is run now.

    Raises:
        InputError: as `propose`, at the call.
        EvenhandError: as `propose`, while iterating.
    """
    check_length(dispute)
    return _audit(dispute, writer, scorer, options or MediationOptions(), cancel or Cancellation(), original)


def _audit(
    dispute: Dispute,
    writer: Writer,
    scorer: Scorer,
    options: MediationOptions,
    cancel: Cancellation,
    original: MediationDone | None,
) -> Generator[AuditEvent, None, None]:
    if original is None:
        original = yield from _run("original", dispute, writer, scorer, options, cancel)
    exchanged = exchanged_dispute(dispute)
    swapped = yield from _run("swapped", exchanged, writer, scorer, exchanged_options(options), cancel)
    yield compare(dispute, scorer, original, swapped)


def _run(
    name: Literal["original", "swapped"],
    dispute: Dispute,
    writer: Writer,
    scorer: Scorer,
    options: MediationOptions,
    cancel: Cancellation,
) -> Generator[AuditEvent, None, MediationDone]:
    done: MediationDone | None = None
    events = propose(dispute, writer, scorer, options, cancel)
    try:
        for event in events:
            if isinstance(event, MediationDone):
                done = event
            yield AuditProgress(name, event)
    finally:
        if isinstance(events, Generator):
            events.close()
    if done is None:
        raise RuntimeError("a mediation ended without its last event")
    return done


def compare(dispute: Dispute, scorer: Scorer, original: MediationDone, swapped: MediationDone) -> SwapAudit:
    """Compare two finished mediations, of a dispute and of the same with its sides exchanged."""
    pairs, only_original, only_swapped = matched(original.candidates, swapped.candidates)
    scores_exchange = _scores_exchange(dispute, scorer, [candidate.text for candidate in original.pool])
    tilts = [scores_of(candidate).tilt for candidate in original.pool]
    towards_the_same = [-scores_of(candidate).tilt for candidate in swapped.pool]
    one, other = (fmean(values) if values else 0.0 for values in (tilts, towards_the_same))
    largest = max((pair.score_difference for pair in pairs), default=0.0)
    bias = (one - other) / 2
    same_texts = all(pair.same_text for pair in pairs) and not only_original and not only_swapped
    verdict: Verdict | None
    if original.cancelled or swapped.cancelled or original.problem or swapped.problem or not pairs:
        verdict = None
    elif not scores_exchange:
        verdict = "differs"
    elif same_texts and largest == 0.0:
        verdict = "identical"
    else:
        # The page calls a text about equal up to this gap; the two runs may lie as far apart.
        verdict = "same_scores" if abs(one - other) <= ABOUT_EQUAL else "differs"
    known = measured((*original.pool, *swapped.pool))
    errors = [_error_of_the_mean(values) if known else None for values in (tilts, towards_the_same)]
    return SwapAudit(
        verdict=verdict,
        original=original,
        swapped=swapped,
        pairs=pairs,
        only_original=only_original,
        only_swapped=only_swapped,
        largest_score_difference=largest,
        scores_exchange=scores_exchange,
        tilt_original=one,
        tilt_swapped=other,
        position_bias=bias,
        error_original=errors[0],
        error_swapped=errors[1],
        chance=0.0 if known and _same_texts(original.pool, swapped.pool) else _of_half_the_difference(*errors),
    )


def exchanged_dispute(dispute: Dispute) -> Dispute:
    """The dispute with A and B exchanged, also where its summary speaks of them by their letters."""
    return dispute.swapped().model_copy(update={"summary": exchanged_letters(dispute.summary)})


def exchanged_options(options: MediationOptions) -> MediationOptions:
    """The options for the exchanged dispute: what speaks of A and B, or was scored for them, is exchanged too."""
    return replace(
        options,
        comments=tuple(exchanged_letters(comment) for comment in options.comments),
        earlier=tuple(_exchanged_candidate(candidate) for candidate in options.earlier),
        like=tuple(exchanged_letters(text) for text in options.like),
        avoid=tuple(exchanged_letters(text) for text in options.avoid),
    )


def exchanged_scores(scores: Scores) -> Scores:
    """The same scores with A and B exchanged."""
    return scores.swapped()


def difference(original: str, swapped: str) -> tuple[Change, ...]:
    """What two texts share and what only one of them says, by words, in the order of the texts."""
    one, other = re.findall(r"\S+\s*|\s+", original), re.findall(r"\S+\s*|\s+", swapped)
    plain, other_plain = ([word.strip() for word in words] for words in (one, other))
    counts, other_counts = Counter(plain), Counter(other_plain)
    if sum(count * other_counts[word] for word, count in counts.items()) > MOST_COMPARISONS:
        return Change("original", original), Change("swapped", swapped)
    changes: list[Change] = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, plain, other_plain, autojunk=False).get_opcodes():
        if kind == "equal":
            changes.append(Change("both", "".join(one[i:j])))
            continue
        if j > i:
            changes.append(Change("original", "".join(one[i:j])))
        if m > k:
            changes.append(Change("swapped", "".join(other[k:m])))
    return tuple(changes)


def _exchanged_candidate(candidate: Candidate) -> Candidate:
    scores = None if candidate.scores is None else exchanged_scores(candidate.scores)
    return candidate.model_copy(update={"text": exchanged_letters(candidate.text), "scores": scores})


def matched(
    original: Sequence[Candidate], swapped: Sequence[Candidate]
) -> tuple[tuple[AuditPair, ...], tuple[Candidate, ...], tuple[Candidate, ...]]:
    """Pair the candidates, the most alike first, until one side has none left."""
    likeness = sorted(
        (
            (-overlap(one.text, other.text), abs(i - j), i, j)
            for i, one in enumerate(original)
            for j, other in enumerate(swapped)
        ),
    )
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for _, _, i, j in likeness:
        if i not in partner and j not in taken:
            partner[i] = j
            taken.add(j)
    return (
        tuple(_pair(original[i], swapped[partner[i]]) for i in sorted(partner)),
        tuple(one for i, one in enumerate(original) if i not in partner),
        tuple(other for j, other in enumerate(swapped) if j not in taken),
    )


def _pair(original: Candidate, swapped: Candidate) -> AuditPair:
    one, other = scores_of(original), exchanged_scores(scores_of(swapped))
    # A writer may name the sides by their letters: those of the swapped run mean the other person.
    same = swapped.text == original.text or exchanged_letters(swapped.text) == original.text
    return AuditPair(
        original=original,
        swapped=swapped,
        overlap=overlap(original.text, swapped.text),
        same_text=same,
        score_difference=max(abs(one.score_a - other.score_a), abs(one.score_b - other.score_b)),
        changes=difference(original.text, swapped.text),
    )


def _scores_exchange(dispute: Dispute, scorer: Scorer, texts: Sequence[str]) -> bool:
    """Whether exchanging the sides exchanges the scores of these texts, to the last bit."""
    if not texts:
        return True
    there = scorer.score(dispute.swapped(), texts)
    return [exchanged_scores(scores) for scores in there] == scorer.score(dispute, texts)


def _same_texts(original: Sequence[Candidate], swapped: Sequence[Candidate]) -> bool:
    """Whether both runs wrote the same texts, in whatever order, for the same people."""
    texts = sorted(candidate.text for candidate in original)
    there = [candidate.text for candidate in swapped]
    return texts in (sorted(there), sorted(map(exchanged_letters, there)))


def _error_of_the_mean(values: Sequence[float]) -> float | None:
    """Return half the width of the mean's 95 % interval; None for fewer than `FEWEST_FOR_AN_ERROR` values."""
    if len(values) < FEWEST_FOR_AN_ERROR:
        return None
    quantile = _QUANTILES[min(len(values) - FEWEST_FOR_AN_ERROR, len(_QUANTILES) - 1)]
    return quantile * math.sqrt(variance(values) / len(values))


def _of_half_the_difference(first: float | None, second: float | None) -> float | None:
    """Return the error of half the difference of two means from theirs; None where one of them is not known."""
    return None if first is None or second is None else math.hypot(first, second) / 2

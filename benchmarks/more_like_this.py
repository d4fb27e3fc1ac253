"""What "more like this" and "dropped" do to the drafter's next proposals, over the ten example disputes.

    python benchmarks/more_like_this.py

For each strategy: the mean cosine of four new proposals to the liked one, with and without it being liked, the largest
share of words that a new one has in common with any earlier one, and the means of warmth and gap. Then, with two of
four proposals dropped: how many new ones use a measure that only the dropped ones used, with and without the drop.
"""

from collections.abc import Sequence
from statistics import fmean

from mediator.cancellation import Cancellation
from mediator.disputes import examples
from mediator.drafting.constraints import Constraints
from mediator.drafting.retrieval import Retrieval
from mediator.empathy import EmpathyModel
from mediator.neutrality import overlap
from mediator.schema import Candidate, Dispute, Strategy
from mediator.writers.base import Brief
from mediator.writers.drafter import Drafter


def write(scorer: EmpathyModel, brief: Brief) -> list[str]:
    """Return the texts of one brief."""
    texts: dict[int, str] = {}
    for delta in Drafter(scorer).write(brief, Cancellation()):
        texts[delta.index] = texts.get(delta.index, "") + delta.text
    return [texts[index] for index in sorted(texts)]


def scored(scorer: EmpathyModel, dispute: Dispute, texts: Sequence[str]) -> tuple[Candidate, ...]:
    """Return the texts as earlier candidates."""
    pairs = zip(texts, scorer.score(dispute, texts), strict=True)
    return tuple(Candidate(text=text, strategy=Strategy.COT_FEEDBACK, scores=scores) for text, scores in pairs)


def liked(scorer: EmpathyModel, strategy: Strategy) -> None:
    """Print one line on "more like this"."""
    near, far, shared = [], [], 0.0
    warmth, gap = [], []
    for dispute in examples().values():
        first = write(scorer, Brief(dispute, Strategy.COT_FEEDBACK))
        earlier = scored(scorer, dispute, first)
        target = scorer.embed(first[:1])[0]
        new = write(scorer, Brief(dispute, strategy, earlier=earlier, like=(first[0],), seed=1))
        free = write(scorer, Brief(dispute, strategy, earlier=earlier, seed=1))
        near += [float(cosine) for cosine in scorer.embed(new) @ target]
        far += [float(cosine) for cosine in scorer.embed(free) @ target]
        shared = max(
            [shared, *(overlap(text, other) for place, text in enumerate(new) for other in (*first, *new[:place]))]
        )
        scores = scorer.score(dispute, new)
        warmth += [each.warmth for each in scores]
        gap += [each.gap for each in scores]
    print(
        f"{strategy:15} cosine {fmean(near):.3f} liked, {fmean(far):.3f} not; most shared words {shared:.2f}; "
        f"warmth {fmean(warmth):.3f}, gap {fmean(gap):.3f}"
    )


def dropped(scorer: EmpathyModel) -> None:
    """Print one line on "dropped"."""
    again = before = 0
    for dispute in examples().values():
        retrieval = Retrieval((dispute.view_a, dispute.view_b), Constraints(), scorer)
        first = write(scorer, Brief(dispute, Strategy.COT_FEEDBACK))
        drop, keep = tuple(first[:2]), scored(scorer, dispute, first[2:])
        gone = {name for text in drop for name in retrieval.measures_in(text)}
        gone -= {name for text in first[2:] for name in retrieval.measures_in(text)}
        new = write(scorer, Brief(dispute, Strategy.COT_FEEDBACK, earlier=keep, avoid=drop, seed=1))
        free = write(scorer, Brief(dispute, Strategy.COT_FEEDBACK, earlier=keep, seed=1))
        again += sum(bool(gone & set(retrieval.measures_in(text))) for text in new)
        before += sum(bool(gone & set(retrieval.measures_in(text))) for text in free)
    print(f"of 40 new proposals, {again} use a measure that only dropped ones used; {before} if nothing is dropped")


def main() -> None:
    """Measure and print."""
    scorer = EmpathyModel.load()
    for strategy in Strategy:
        liked(scorer, strategy)
    dropped(scorer)


if __name__ == "__main__":
    main()

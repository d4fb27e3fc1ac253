"""How well an encoder's cosines follow human judgement: rank correlations with bootstrap intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.empathy.data import RatedPair, StoryPair

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]


def spearman(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Rank correlation, -1..1; 0 where one of the two is constant.

    The same number as `numpy.corrcoef` of `scipy.stats.rankdata`, to the last bit. These check and convert what they
    are given for ten times as long as they compute, and a bootstrap asks thousands of times.
    """
    ranks = np.stack([_ranks(first), _ranks(second)])
    if (ranks == ranks[:, :1]).all(axis=1).any():
        return 0.0
    ranks -= ranks.mean(axis=1, keepdims=True)
    products = (ranks @ ranks.T) * (1 / (ranks.shape[1] - 1))
    own, other = np.sqrt(products.diagonal())
    return float(np.clip(products[0, 1] / own / other, -1, 1))


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks from 1, those of equal values their mean; all NaN where a value is."""
    if not len(values) or np.isnan(values).any():
        return np.full(len(values), np.nan)
    order = np.argsort(values)
    ordered = values[order]
    first_of_its_kind = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    starts = np.append(np.flatnonzero(first_of_its_kind), len(values))
    ranks = np.empty(len(values))
    ranks[order] = (0.5 * (starts[:-1] + starts[1:] + 1))[first_of_its_kind.cumsum() - 1]
    return ranks


@dataclass(frozen=True)
class Estimate:
    """A figure with the middle 95 % of its bootstrap distribution."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(
    groups: Sequence[Any], figure: Callable[[list[Any]], float], seed: int = 0, draws: int = 1000
) -> Estimate:
    """Estimate a figure's uncertainty by drawing whole groups (raters) with replacement."""
    generator = np.random.default_rng(seed)
    values = [figure([groups[i] for i in generator.integers(0, len(groups), len(groups))]) for _ in range(draws)]
    low, high = np.percentile(values, [2.5, 97.5])
    return Estimate(figure(list(groups)), float(low), float(high))


Groups = list[tuple[NDArray[Any], NDArray[Any]]]


def without_levels(raters: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> Groups:
    """Take each rater's mean off both cosines and ratings; raters with one pair say nothing and are left out."""
    return [(c - c.mean(), r - r.mean()) for c, r in raters if len(c) > 1]


def within_rater_spearman(raters: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> float:
    """Spearman of (cosines, ratings) after each rater's mean is taken off both; 0 where nobody has two pairs."""
    return raw_spearman(without_levels(raters))


def scores_of_ratings(encode: Encode, raters: Sequence[Sequence[RatedPair]]) -> Groups:
    """Per rater, the cosines of the rated pairs and the ratings."""
    texts = list(dict.fromkeys(t for rater in raters for p in rater for t in (p.view_a.as_text(), p.view_b.as_text())))
    vectors = dict(zip(texts, encode(texts), strict=True))
    return [
        (
            np.array([vectors[p.view_a.as_text()] @ vectors[p.view_b.as_text()] for p in rater]),
            np.array([p.rating for p in rater]),
        )
        for rater in raters
    ]


def raw_spearman(raters: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> float:
    """Spearman of (cosines, ratings) over all raters' pairs, whoever rated them; the paper's figure."""
    if not raters:
        return 0.0
    return spearman(np.concatenate([c for c, _ in raters]), np.concatenate([r for _, r in raters]))


def estimates_of(groups: Groups) -> dict[str, Estimate]:
    """``within_rater`` and ``raw`` of raters' cosines and ratings, the raters drawn by bootstrap."""
    inner = without_levels(groups)
    # The levels are taken off once and not in each draw: a drawn rater's mean is the same.
    within = bootstrap(inner, raw_spearman) if inner else Estimate(0.0, 0.0, 0.0)
    return {"within_rater": within, "raw": bootstrap(groups, raw_spearman)}


def evaluate_ratings(encode: Encode, raters: Sequence[Sequence[RatedPair]]) -> dict[str, Estimate]:
    """Spearman of cosine and rating on held-out raters: ``within_rater`` and ``raw``, the raters drawn by bootstrap."""
    return estimates_of(scores_of_ratings(encode, raters))


def compare_ratings(before: Encode, after: Encode, raters: Sequence[Sequence[RatedPair]]) -> dict[str, Estimate]:
    """The gain of ``after`` over ``before`` in the figures of `evaluate_ratings`, both on the same drawn raters."""
    old, new = scores_of_ratings(before, raters), scores_of_ratings(after, raters)

    def gain(one: Groups, other: Groups) -> Estimate:
        if not one:
            return Estimate(0.0, 0.0, 0.0)
        return bootstrap(
            list(zip(one, other, strict=True)),
            lambda drawn: raw_spearman([b for _, b in drawn]) - raw_spearman([a for a, _ in drawn]),
        )

    return {"within_rater": gain(without_levels(old), without_levels(new)), "raw": gain(old, new)}


def scores_of_stories(encode: Encode, stories: Sequence[StoryPair]) -> list[tuple[float, float]]:
    """Per pair of stories, its cosine and its human rating."""
    vectors = encode([story.story_a for story in stories] + [story.story_b for story in stories])
    cosines = (vectors[: len(stories)] * vectors[len(stories) :]).sum(-1)
    return [(float(cosine), story.empathy) for cosine, story in zip(cosines, stories, strict=True)]


def _story_spearman(items: Sequence[tuple[float, float]]) -> float:
    return spearman(np.array([cosine for cosine, _ in items]), np.array([empathy for _, empathy in items]))


def evaluate_stories(encode: Encode, stories: Sequence[StoryPair]) -> Estimate:
    """Spearman of cosine and empathic similarity of story pairs, the pairs drawn by bootstrap."""
    return bootstrap(scores_of_stories(encode, stories), _story_spearman)


def compare_stories(before: Encode, after: Encode, stories: Sequence[StoryPair]) -> Estimate:
    """The gain of ``after`` over ``before`` in `evaluate_stories`, both on the same drawn pairs."""
    items = list(zip(scores_of_stories(before, stories), scores_of_stories(after, stories), strict=True))
    return bootstrap(
        items, lambda drawn: _story_spearman([new for _, new in drawn]) - _story_spearman([old for old, _ in drawn])
    )


def remembering(model: Any, prefix: str = "") -> Encode:
    """An `Encode` of a `SentenceTransformer` as it is now, which runs each text once, behind the prefix it wants."""
    known: dict[str, Vectors] = {}

    def encode(texts: Sequence[str]) -> Vectors:
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            behind = [prefix + text for text in missing]  # and not behind a prompt of the base's own
            rows = model.encode(behind, prompt="", normalize_embeddings=True, show_progress_bar=False)
            known.update(zip(missing, np.asarray(rows, dtype=np.float32), strict=True))
        return np.stack([known[text] for text in texts])

    return encode


def measure(
    before: Encode, after: Encode, held_out: Sequence[Sequence[RatedPair]], stories: Sequence[StoryPair]
) -> dict[str, dict[str, Estimate]]:
    """All figures of two encoders, under ``before``, ``after`` and ``gain``."""
    figures = {
        "before": evaluate_ratings(before, held_out),
        "after": evaluate_ratings(after, held_out),
        "gain": compare_ratings(before, after, held_out),
    }
    if stories:
        figures["before"]["stories"] = evaluate_stories(before, stories)
        figures["after"]["stories"] = evaluate_stories(after, stories)
        figures["gain"]["stories"] = compare_stories(before, after, stories)
    return figures

"""Measures how much of human empathy ratings any model of the texts could explain, and what one division is worth.

    python benchmarks/empathy_ceiling.py MODEL_FOLDER [--cache FOLDER] [--data FOLDER] [--divisions 20]

MODEL_FOLDER is the untouched all-MiniLM-L6-v2 as a sentence-transformers folder. All ratings of efp/pairs.jsonl are
used: 0..1, by raters of views. Spearman over all pairs (`raw`) and after each rater's mean is taken off (`within`), as
in `empathy_table.py`. ± is a standard error, brackets are 95 % intervals: by bootstrap over raters (the views held
fixed), or pairs of stories, or by 1.96 standard errors where it is said. Nobody rated a pair twice, so how steady a
rater's answers are is unknown; how far raters of the same view agree is known. Sources: `variance_components.py` (REML,
GREML), `two_annotators.py`; split halves with Spearman's and Brown's formula (both in the British Journal of
Psychology 3, 1910). The data folder is the option's, or is named by EVENHAND_DATA, or is ../shared/data beside the
repository.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from empathy_table import ROOT, Array, Predict, Raters, Vectors, by_rater, cells, cosine, head
from numpy.typing import NDArray
from two_annotators import Agreement, agreement, counts_of
from variance_components import REST, Components, Share, linear_kernel, reml, same_group

from mediator.encoders import load_encoder
from trainer.empathy.data import RatedPair, load_ratings, load_stories, split_by_rater
from trainer.empathy.figures import raw_spearman, spearman, within_rater_spearman
from trainer.empathy.heads import KernelHead, RidgeHead, without_group_means
from trainer.evaluate.tables import markdown_table

Numbers = NDArray[np.int64]
Rows = list[list[str]]

RATER, VIEW = "the rater", "the rated view"
OWN_TEXT, VIEW_TEXT, MEETING = "the rater's own text", "the rated view's text", "the meeting of the two texts"
SIMULATIONS, HALVES, STORY_DRAWS = 400, 1000, 1000


@dataclass(frozen=True)
class Ratings:
    """All ratings, each rater's together; three of shape ``(n,)``.

    Attributes:
        raters: numbers from 0.
        views: numbers of the rated views from 0.
        values: 0..1.
    """

    raters: Numbers
    views: Numbers
    values: Array

    @classmethod
    def of(cls, raters: Raters) -> "Ratings":
        """Number the views of so many raters."""
        pairs = [pair for rater in raters for pair in rater]
        _, views = np.unique([pair.view_b.as_text() for pair in pairs], return_inverse=True)
        numbers = np.repeat(np.arange(len(raters)), [len(rater) for rater in raters])
        return cls(numbers, views, np.array([pair.rating for pair in pairs]))

    def centred(self) -> tuple[Array, Array]:
        """The values without their raters' means, and 1 for raters of two views or more, else 0."""
        return without_group_means(self.values, self.raters), (np.bincount(self.raters)[self.raters] > 1).astype(float)

    def figures(self, predicted: Array, observed: Array) -> tuple[float, float]:
        """Spearman of the two over all pairs, and within raters."""
        ends = np.cumsum(np.bincount(self.raters))[:-1]
        groups = list(zip(np.split(predicted, ends), np.split(observed, ends), strict=True))
        return raw_spearman(groups), within_rater_spearman(groups)


def component_rows(found: Components) -> Rows:
    """One row for each component: the variance in thousandths, and the share of the whole."""
    rows = []
    for name in found.names:
        variance, error = 1000 * found.variance(name), 1000 * found.error(name)
        rows.append([name, f"{variance:.1f} ± {error:.1f}", str(found.share([name]))])
    return rows


def knowing_every_view(ratings: Ratings, variances: Sequence[float]) -> Array:
    """Spearman, raw and within, of the views' exact effects with ratings that are simulated on the real design.

    Args:
        ratings: who rated what; simulated ones are given the real ones' values by rank, ties included.
        variances: of raters, views, and the rest.
    """
    generator, values = np.random.default_rng(0), np.sort(ratings.values)
    of_raters, of_views, of_rest = np.sqrt(variances)
    figures = []
    for _ in range(SIMULATIONS):
        levels = generator.normal(0, of_raters, ratings.raters.max() + 1)[ratings.raters]
        effects = generator.normal(0, of_views, ratings.views.max() + 1)[ratings.views]
        observed = levels + effects + generator.normal(0, of_rest, len(values))
        figures.append(ratings.figures(effects, values[np.argsort(np.argsort(observed))]))
    return np.asarray(np.mean(figures, axis=0))


def told_by_others(ratings: Ratings, found: Components) -> Array:
    """For each rating, what the other raters of the same view say of it: their mean, shrunk towards 0 where few do."""
    values, counted = ratings.centred()
    sums = np.bincount(ratings.views, values * counted)[ratings.views] - values * counted
    others = np.bincount(ratings.views, counted)[ratings.views] - counted
    return np.asarray(sums / (others + found.variance(REST) / found.variance(VIEW)))


def limit_rows(raters: Raters, ratings: Ratings, found: Components) -> Rows:
    """What the views alone tell: known exactly, and as far as the other raters' ratings tell them."""
    within = found.share([VIEW], [VIEW, REST])
    total = found.variance(VIEW) + found.variance(REST)
    best, lowest, highest = (
        knowing_every_view(ratings, [found.variance(RATER), total * share, total * (1 - share)])
        for share in (within.value, *within.interval)
    )
    told = by_rater(told_by_others(ratings, found), raters)
    _, held_out = split_by_rater([pair for rater in raters for pair in rater], held_out=0.2, seed=0)
    names = {rater[0].rater for rater in held_out}
    held = [group for group, rater in zip(told, raters, strict=True) if rater[0].rater in names]
    return [
        [
            "knows each view's effect exactly (simulated; range by 1.96 standard errors)",
            *(f"{best[i]:.3f} [{lowest[i]:.3f}, {highest[i]:.3f}]" for i in range(2)),
        ],
        ["told how others rated the same view", *cells(told)],
        [f"the same, on the {len(held)} held-out raters", *cells(held)],
    ]


def half_rows(ratings: Ratings) -> Rows:
    """Means of views by two random halves of the raters, again and again; the raters' own means are off."""
    generator, (values, counted) = np.random.default_rng(0), ratings.centred()
    views = ratings.views.max() + 1
    rows = []
    for fewest in (2, 4):
        figures = []
        for _ in range(HALVES):
            side = generator.integers(0, 2, ratings.raters.max() + 1)[ratings.raters]
            weights = [counted * (side == half) for half in range(2)]
            numbers = np.array([np.bincount(ratings.views, weight, views) for weight in weights])
            sums = np.array([np.bincount(ratings.views, weight * values, views) for weight in weights])
            enough = (numbers >= fewest).all(axis=0)
            first, second = sums[:, enough] / numbers[:, enough]
            figures.append((np.corrcoef(first, second)[0, 1], spearman(first, second), enough.sum()))
        correlation, ranks, left = np.mean(figures, axis=0)
        whole = 2 * correlation / (1 + correlation)
        rows.append([f"{fewest}", f"{left:.0f}", f"{correlation:.3f}", f"{ranks:.3f}", f"{whole:.3f}"])
    return rows


def text_components(vectors: Vectors, raters: Raters, ratings: Ratings) -> Components:
    """Rater, view, and what linear functions of the two texts' vectors and of their products tell (GREML)."""
    own, other, _ratings, _numbers = vectors.of(raters)

    def kernel(rows: Array, numbers: Numbers) -> Array:
        _, first = np.unique(numbers, return_index=True)  # each text once: its mean is not that of the ratings
        return linear_kernel(rows[first])[np.ix_(numbers, numbers)]

    of_own, of_other = kernel(own, ratings.raters), kernel(other, ratings.views)
    kernels = {RATER: same_group(ratings.raters), VIEW: same_group(ratings.views)}
    kernels |= {OWN_TEXT: of_own, VIEW_TEXT: of_other, MEETING: of_own * of_other}
    return reml(ratings.values, kernels)


def endless_rows(found: Components) -> Rows:
    """The correlation that those components allow: the root of their share."""

    def shown(share: Share) -> str:
        low, high = share.interval
        return f"{np.sqrt(share.value):.3f} [{np.sqrt(low):.3f}, {np.sqrt(high):.3f}]"

    inner = [name for name in found.names if name not in (RATER, OWN_TEXT)]
    new, known = [VIEW_TEXT, MEETING], [VIEW, VIEW_TEXT, MEETING]
    return [
        [name, shown(found.share([OWN_TEXT, *told])), shown(found.share(told, inner))]
        for name, told in (("views never rated before", new), ("views whose effect is known", known))
    ]


def division_rows(vectors: Vectors, pairs: Sequence[RatedPair], divisions: int) -> Iterator[list[str]]:
    """Raw and within of cosine and heads over divisions by rater, seeds 0, 1, ...; and seed 0's place among them."""
    methods: list[tuple[str, Predict, float]] = [
        ("cosine, off the shelf", cosine(vectors), 0.0),
        ("ridge on [u, v, abs(u - v), u * v]", head(vectors, RidgeHead), 1.0),
        ("kernel ridge, within raters, a quarter to learn from", head(vectors, KernelHead), 0.25),
        ("the same, a half", head(vectors, KernelHead), 0.5),
        ("the same, all", head(vectors, KernelHead), 1.0),
    ]
    splits = [split_by_rater(pairs, held_out=0.2, seed=seed) for seed in range(divisions)]
    for name, predict, part in methods:
        figures = []
        for training, held_out in splits:
            groups = by_rater(predict(training[: int(len(training) * part)], held_out), held_out)
            figures.append((raw_spearman(groups), within_rater_spearman(groups)))
        row = [name]
        for values in np.array(figures).T:
            row += [f"{values.mean():.3f}", f"{values.std():.3f}", f"{values.min():.3f} to {values.max():.3f}"]
            row.append(f"{values[0]:.3f} ({1 + int((values > values[0]).sum())}.)")
        yield row


def story_row(name: str, means: Array) -> list[str]:
    """The two annotators' latent correlation, and Spearman of a perfect model with their mean, by bootstrap."""
    generator, found = np.random.default_rng(0), agreement(counts_of(means))
    drawn = [agreement(counts_of(generator.choice(means, len(means)))).correlation for _ in range(STORY_DRAWS)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    limits = [Agreement(float(one), found.thresholds).best_spearman() for one in (found.correlation, low, high)]
    correlation = f"{found.correlation:.3f} [{low:.3f}, {high:.3f}]"
    return [name, str(len(means)), correlation, f"{limits[0]:.3f} [{limits[1]:.3f}, {limits[2]:.3f}]"]


def show(title: str, header: list[str], rows: Sequence[list[str]]) -> None:
    print(f"\n{title}\n\n{markdown_table(header, rows)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the untouched encoder: a sentence-transformers folder, or a GGUF file")
    parser.add_argument("--cache", type=Path, help="keep the vectors in this folder")
    parser.add_argument("--data", type=Path, help="the folder with efp/pairs.jsonl and empathic_stories/")
    parser.add_argument("--divisions", type=int, default=20, help="divisions by rater, at least 2 (default: 20)")
    options = parser.parse_args()
    if options.divisions < 2:
        parser.error("--divisions must be 2 or more: one division has no range.")
    data = options.data or Path(os.environ.get("EVENHAND_DATA") or ROOT.parent / "shared" / "data")
    pairs = load_ratings(data / "efp" / "pairs.jsonl")
    raters, _ = split_by_rater(pairs, held_out=0.0, seed=0)
    ratings, vectors = Ratings.of(raters), Vectors(load_encoder(options.model), options.cache)
    print(f"{len(pairs)} ratings by {len(raters)} raters of {ratings.views.max() + 1} views")

    found = reml(ratings.values, {RATER: same_group(ratings.raters), VIEW: same_group(ratings.views)})
    rows = component_rows(found)
    rows.append(["the rated view, of what lies within a rater", "", str(found.share([VIEW], [VIEW, REST]))])
    columns = ["", "variance (/ 1000)", "share"]
    show("Variance components of the ratings (REML).", columns, rows)
    show("What can be reached without any text.", ["", "raw", "within"], limit_rows(raters, ratings, found))
    columns = ["fewest ratings in each half", "views", "correlation", "Spearman", "Spearman-Brown"]
    show(f"Agreement of the views' means by two halves of the raters ({HALVES} halvings).", columns, half_rows(ratings))
    told = text_components(vectors, raters, ratings)
    gain = told.log_likelihood - found.log_likelihood
    columns = [f"log-likelihood +{gain:.1f} for 3 components", "variance (/ 1000)", "share"]
    show("What linear functions of the vectors tell (GREML).", columns, component_rows(told))
    columns = ["correlation with ratings without end (1.96 standard errors)", "raw", "within"]
    show("The most that a bilinear model on these vectors could reach.", columns, endless_rows(told))
    columns = ["", *(f"{kind}{what}" for kind in ("raw", "within") for what in ("", ", sd", ", range", ", seed 0"))]
    rows = list(division_rows(vectors, pairs, options.divisions))
    show(f"Held-out raters of {options.divisions} divisions (in brackets: seed 0's place).", columns, rows)
    development, tested = (load_stories(data / "empathic_stories" / f"{part}.jsonl") for part in ("dev", "test"))
    parts = [("test", tested), ("test and development", development + tested)]
    rows = [story_row(name, np.array([story.empathy for story in part])) for name, part in parts]
    columns = ["stories", "pairs", "two annotators' latent correlation", "Spearman of a perfect model"]
    show("What the stories' two annotators allow.", columns, rows)


if __name__ == "__main__":
    main()

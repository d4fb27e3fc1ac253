"""Measures how well human empathy ratings can be told from texts: baselines, cheap heads, and the scorer's cosines.

    python benchmarks/empathy_table.py MODEL_FOLDER [--bundled] [--cache FOLDER]

MODEL_FOLDER is the untouched all-MiniLM-L6-v2 as a sentence-transformers folder; the heads are fitted on its vectors.
Spearman with human ratings of efp/pairs.jsonl, over all pairs (`raw`) and after each rater's mean is taken off
(`within`): in five-fold cross-validation over the 797 training raters, on which the heads' settings were chosen; on 199
held-out raters; and in cross-validation where neither the raters nor the rated views were met before. Then Spearman on
the test pairs of EmpathicStories. Brackets are 95 % bootstrap intervals (raters, or pairs of stories, drawn with
replacement, the rated views held fixed); beside the held-out figure within raters stands the wider one with raters and
views both drawn, for views recur and a head may know them. The data folder is named by EVENHAND_DATA, or is
../shared/data beside the repository.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mediator.embedding_store import EmbeddingStore  # noqa: E402
from mediator.empathy import Scale, reference_proposals  # noqa: E402
from mediator.encoders import Encoder, load_encoder  # noqa: E402
from trainer.empathy.data import RatedPair, load_ratings, load_stories, split_by_rater  # noqa: E402
from trainer.empathy.figures import bootstrap, estimates_of, spearman  # noqa: E402
from trainer.empathy.heads import KernelHead, RidgeHead, StoryHead, folds, without_group_means  # noqa: E402

Array = NDArray[np.float64]
Raters = list[list[RatedPair]]
# (training raters, measured raters) -> a prediction for each measured pair, in order.
Predict = Callable[[Raters, Raters], Array]


class Vectors:
    """Vectors of texts by one encoder, kept on disk between runs."""

    def __init__(self, encoder: Encoder, cache: Path | None) -> None:
        self._encoder, self._store = encoder, EmbeddingStore(encoder.fingerprint, cache)

    def __call__(self, texts: Sequence[str]) -> Array:
        """Unit vectors, shape ``(len(texts), dimensions)``."""
        return self._store.get(texts, self._encoder).astype(np.float64)

    def of(self, raters: Raters) -> tuple[Array, Array, Array, NDArray[np.int64]]:
        """Own views, rated views, ratings, and the raters' numbers."""
        pairs = [pair for rater in raters for pair in rater]
        numbers = np.concatenate([np.full(len(rater), number) for number, rater in enumerate(raters)])
        own, other = (self([getattr(pair, side).as_text() for pair in pairs]) for side in ("view_a", "view_b"))
        return own, other, np.array([pair.rating for pair in pairs]), numbers


def cosine(vectors: Vectors) -> Predict:
    def predict(_: Raters, measured: Raters) -> Array:
        own, other, _ratings, _numbers = vectors.of(measured)
        return np.asarray((own * other).sum(axis=1))

    return predict


def calibrated(vectors: Vectors) -> Predict:
    """The position on the scale of the rater's own view, as the scorer shows it for one side."""

    def predict(_: Raters, measured: Raters) -> Array:
        references = vectors(reference_proposals())
        own, other, _ratings, _numbers = vectors.of(measured)
        scales = [Scale.of((references @ one).astype(np.float32)) for one in own]
        return np.array([scale.position(float(a @ b)) for scale, a, b in zip(scales, own, other, strict=True)])

    return predict


def head(vectors: Vectors, make: Callable[[], RidgeHead | KernelHead]) -> Predict:
    def predict(training: Raters, measured: Raters) -> Array:
        own, other, _ratings, _numbers = vectors.of(measured)
        return make().fit(*vectors.of(training)).predict(own, other)

    return predict


def constant(_: Raters, measured: Raters) -> Array:
    return np.zeros(sum(map(len, measured)))


def mean_of_the_raters_others(_: Raters, measured: Raters) -> Array:
    """Not a rival: it is told how the same rater rated other views."""
    middle = float(np.mean([pair.rating for rater in measured for pair in rater]))
    values = []
    for rater in measured:
        total = sum(pair.rating for pair in rater)
        values += [(total - pair.rating) / (len(rater) - 1) if len(rater) > 1 else middle for pair in rater]
    return np.array(values)


def by_rater(predicted: Array, raters: Raters) -> list[tuple[Array, Array]]:
    ends = np.cumsum([len(rater) for rater in raters])[:-1]
    ratings = (np.array([pair.rating for pair in rater]) for rater in raters)
    return list(zip(np.split(predicted, ends), ratings, strict=True))


def cross_validated(predict: Predict, raters: Raters, new_views: bool = False) -> list[tuple[Array, Array]]:
    """Five folds of raters; with ``new_views``, times five folds of rated views, and no measured view is learned from.

    With new views a rater's pairs are predicted by up to five fits: they are compared with the rater's others as usual.
    """
    groups: list[tuple[Array, Array]] = []
    texts = sorted({pair.view_b.as_text() for rater in raters for pair in rater})
    parts = [{texts[i] for i in part} for part in folds(len(texts), 5, 0)] if new_views else [set(texts)]
    for fold in folds(len(raters), 5, 0):
        chosen = set(fold.tolist())
        training = [rater for number, rater in enumerate(raters) if number not in chosen]
        measured = [raters[number] for number in fold]
        values = np.zeros(sum(map(len, measured)))
        flat = [pair for rater in measured for pair in rater]
        for part in parts:
            inside = np.array([pair.view_b.as_text() in part for pair in flat])
            if not inside.any():
                continue
            known = training
            if new_views:
                known = [kept for rater in training if (kept := [p for p in rater if p.view_b.as_text() not in part])]
            values[inside] = predict(known, measured)[inside]
        groups += by_rater(values, measured)
    return groups


def cells(groups: list[tuple[Array, Array]]) -> list[str]:
    estimates = estimates_of(groups)
    return [str(estimates["raw"]), str(estimates["within_rater"])]


def interval_over_raters_and_views(predicted: Array, raters: Raters, draws: int = 1000) -> str:
    """The 95 % interval of the figure within raters where raters and rated views are both drawn with replacement.

    A rating counts as often as its rater was drawn, times as often as its view was. The interval errs on the wide side.
    Source: A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007.
    """
    pairs = [pair for rater in raters for pair in rater]
    numbers = np.repeat(np.arange(len(raters)), [len(rater) for rater in raters])
    several = np.bincount(numbers)[numbers] > 1
    one, other = (
        without_group_means(values, numbers)[several] for values in (predicted, np.array([p.rating for p in pairs]))
    )
    texts = np.array([pair.view_b.as_text() for pair in pairs])[several]
    ways = [np.unique(way, return_inverse=True)[1] for way in (numbers[several], texts)]
    generator, figures = np.random.default_rng(0), []
    for _ in range(draws):
        times = np.ones(len(one), dtype=np.int64)
        for way in ways:
            count = int(way.max()) + 1
            times *= np.bincount(generator.integers(0, count, count), minlength=count)[way]
        figures.append(spearman(np.repeat(one, times), np.repeat(other, times)))
    low, high = np.percentile(figures, [2.5, 97.5])
    return f"[{low:.3f}, {high:.3f}]"


def story_cell(predicted: Array, empathy: Array) -> str:
    items = list(zip(predicted, empathy, strict=True))
    return str(bootstrap(items, lambda drawn: spearman(*(np.array(side) for side in zip(*drawn, strict=True)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the untouched encoder: a sentence-transformers folder, or a GGUF file")
    parser.add_argument("--bundled", action="store_true", help="measure the cosines of the bundled encoder too")
    parser.add_argument("--cache", type=Path, help="keep the vectors in this folder")
    options = parser.parse_args()
    data = Path(os.environ.get("EVENHAND_DATA") or ROOT.parent / "shared" / "data")
    training, held_out = split_by_rater(load_ratings(data / "efp" / "pairs.jsonl"), held_out=0.2, seed=0)
    learned, tested = (load_stories(data / "empathic_stories" / f"{part}.jsonl") for part in ("dev", "test"))
    empathy = np.array([story.empathy for story in tested])
    base = Vectors(load_encoder(options.model), options.cache)

    def stories(vectors: Vectors) -> tuple[Array, Array]:
        return vectors([story.story_a for story in tested]), vectors([story.story_b for story in tested])

    def story_cosines(vectors: Vectors) -> Array:
        first, second = stories(vectors)
        return np.asarray((first * second).sum(axis=1))

    story_head = StoryHead().fit(
        base([story.story_a for story in learned]),
        base([story.story_b for story in learned]),
        np.array([story.mean for story in learned]),
    )
    rows: list[tuple[str, Predict, Array | None, bool]] = [
        ("constant", constant, np.zeros(len(tested)), False),
        ("mean of the rater's other ratings (told, not predicted)", mean_of_the_raters_others, None, False),
        ("cosine, off the shelf", cosine(base), story_cosines(base), False),
        ("cosine, off the shelf, calibrated per view", calibrated(base), None, False),
        ("ridge on [u, v, abs(u - v), u * v]", head(base, RidgeHead), None, True),
        ("the same, within raters", head(base, lambda: RidgeHead(penalty=30.0, within=True)), None, True),
        ("kernel ridge, within raters", head(base, KernelHead), None, True),
        ("ridge on stories' abs(u - v) and cosine", constant, story_head.predict(*stories(base)), False),
    ]
    if options.bundled:
        bundled = Vectors(load_encoder("bundled"), options.cache)
        rows += [
            ("cosine, bundled encoder", cosine(bundled), story_cosines(bundled), False),
            ("cosine, bundled encoder, calibrated per view", calibrated(bundled), None, False),
        ]
    print(f"{len(training)} training and {len(held_out)} held-out raters; {len(tested)} test pairs of stories\n")
    header = [
        "",
        "CV raw",
        "CV within",
        "held out raw",
        "held out within",
        "raters x views",
        "new views raw",
        "new views within",
        "stories",
    ]
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header), flush=True)
    for name, predict, similarities, learns in rows:
        row = [name]
        if predict is constant and similarities is not None and similarities.any():
            row += [""] * 7
        else:
            seen = name.startswith("cosine, bundled")  # it was tuned on the training raters
            row += ["", ""] if seen else cells(cross_validated(predict, training))
            predicted = predict(training, held_out)
            row += [*cells(by_rater(predicted, held_out)), interval_over_raters_and_views(predicted, held_out)]
            if predict is mean_of_the_raters_others:  # leaving one out turns the order within a rater round
                row[2] = row[4] = row[5] = ""
            row += cells(cross_validated(predict, training, new_views=True)) if learns else ["", ""]
        row.append("" if similarities is None else story_cell(similarities, empathy))
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()

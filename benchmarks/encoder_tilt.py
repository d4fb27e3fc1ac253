"""Measures encoders as scorers: which side a text serves, balanced against one-sided, and human empathy ratings.

    python benchmarks/encoder_tilt.py bundled MODEL.gguf SENTENCE_TRANSFORMERS_FOLDER

For each encoder, on the sets of benchmarks/data/tilt_development.jsonl, whose texts a language model wrote, with the
views of rows of efp/pairs.jsonl: `sign`, the share of one-sided texts whose tilt points to the side they serve, and
`AUC`, the chance that a one-sided text has a larger |tilt| than a balanced one; once with raw cosines, once as the
difference of two cosines calibrated per view, and once as the scorer shows it (mediator/contrast.py). Then how sure the
shown tilt is: the share of balanced texts whose interval holds zero, of one-sided texts whose interval lies on the side
that they serve, and of sets whose balanced texts have an order that is called clear (mediator/neutrality.py). Then
Spearman with human empathy: held-out raters (within a rater, and raw), and pairs of stories. Brackets are 95 %
bootstrap intervals. The data folder is named by EVENHAND_DATA, or is ../shared/data beside the repository.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mediator.empathy import EmpathyModel, reference_proposals  # noqa: E402
from mediator.neutrality import best_first, order_is_clear  # noqa: E402
from mediator.schema import Candidate, Dispute, Strategy, View  # noqa: E402
from trainer.empathy.data import load_ratings, load_stories, split_by_rater  # noqa: E402
from trainer.empathy.figures import bootstrap, evaluate_ratings, evaluate_stories  # noqa: E402

SETS = ROOT / "benchmarks" / "data" / "tilt_development.jsonl"


@dataclass(frozen=True)
class TiltSet:
    """One dispute with texts of known leaning."""

    dispute: Dispute
    balanced: tuple[str, ...]
    serves_a: tuple[str, ...]
    serves_b: tuple[str, ...]


# (dispute, texts) -> one tilt per text, above zero towards A.
Tilt = Callable[[Dispute, Sequence[str]], list[float]]


def data_folder() -> Path:
    return Path(os.environ.get("EVENHAND_DATA") or ROOT.parent / "shared" / "data")


def load_sets(path: Path, ratings: Path) -> list[TiltSet]:
    rows = {pair.row: pair for pair in load_ratings(ratings)}
    sets = []
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        pair = rows[entry["row"]]
        one, other, balanced = (
            (value,) if isinstance(value, str) else tuple(value)
            for value in (entry["serves_a"], entry["serves_b"], entry["balanced"])
        )
        sets.append(TiltSet(Dispute(view_a=pair.view_a, view_b=pair.view_b), balanced, one, other))
    return sets


def auc(larger: NDArray[np.float64], smaller: NDArray[np.float64]) -> float:
    """The chance that a draw from the first exceeds one from the second; ties count half."""
    first, second = larger[:, None], smaller[None, :]
    return float((first > second).mean() + (first == second).mean() / 2)


def measure_tilt(sets: Sequence[TiltSet], tilt: Tilt) -> tuple[str, str]:
    """Sign accuracy and AUC as text, with intervals over the sets."""
    results: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for item in sets:
        values = tilt(item.dispute, [*item.serves_a, *item.serves_b, *item.balanced])
        a, b = len(item.serves_a), len(item.serves_b)
        towards = np.array([*values[:a], *(-value for value in values[a : a + b])])
        results.append((towards, np.abs(values[a + b :])))
    sign = bootstrap(results, lambda drawn: float((np.concatenate([one for one, _ in drawn]) > 0).mean()))
    area = bootstrap(
        results,
        lambda drawn: auc(np.abs(np.concatenate([one for one, _ in drawn])), np.concatenate([b for _, b in drawn])),
    )
    return str(sign), str(area)


def measure_intervals(sets: Sequence[TiltSet], model: EmpathyModel) -> tuple[str, str, str]:
    """How sure the scorer is, as three shares.

    Of the balanced texts whose interval holds zero, of the one-sided ones whose interval is on their side, and of the
    sets where the order of the balanced texts is called clear.
    """
    balanced: list[NDArray[np.bool_]] = []
    one_sided: list[NDArray[np.bool_]] = []
    ranked: list[NDArray[np.bool_]] = []
    for item in sets:
        a = len(item.serves_a)
        found = model.score(item.dispute, [*item.serves_a, *item.serves_b, *item.balanced])
        sides, both = found[: a + len(item.serves_b)], found[a + len(item.serves_b) :]
        balanced.append(np.array([not scores.tells_apart for scores in both]))
        one_sided.append(
            np.array([bool(scores.tells_apart) and (scores.tilt > 0) == (i < a) for i, scores in enumerate(sides)])
        )
        pool = [
            Candidate(text=text, strategy=Strategy.SINGLE, scores=scores)
            for text, scores in zip(item.balanced, both, strict=True)
        ]
        ranked.append(np.array([order_is_clear(best_first(pool))]))

    def share(drawn: list[NDArray[np.bool_]]) -> float:
        return float(np.concatenate(drawn).mean())

    sure, told, clear = (str(bootstrap(each, share)) for each in (balanced, one_sided, ranked))
    return sure, told, clear


# fmt: off
_COMMON = frozenset((
    "about", "after", "again", "all", "also", "and", "any", "are", "because", "been", "before", "being", "but", "can",
    "could", "did", "does", "for", "from", "get", "had", "has", "have", "her", "here", "him", "his", "how", "into",
    "its", "just", "like", "more", "most", "not", "one", "our", "out", "over", "own", "some", "such", "than", "that",
    "the", "their", "them", "then", "there", "these", "they", "this", "those", "through", "too", "under", "very", "was",
    "were", "what", "when", "where", "which", "while", "who", "will", "with", "would", "you", "your",
))
# fmt: on


@cache
def content_stems(text: str) -> frozenset[str]:
    import snowballstemmer

    words = [word for word in re.findall(r"[a-z']+", text.lower()) if word not in _COMMON and len(word) > 2]
    return frozenset(snowballstemmer.stemmer("english").stemWords(words))


def overlap(view: View, text: str) -> float:
    """Shared content-word stems over the geometric mean of both sizes: the cosine of two sets of words."""
    one, other = content_stems(view.as_text()), content_stems(text)
    return len(one & other) / max(1.0, float(np.sqrt(len(one) * len(other))))


def overlap_tilt(dispute: Dispute, texts: Sequence[str]) -> list[float]:
    return [overlap(dispute.view_a, text) - overlap(dispute.view_b, text) for text in texts]


def calibrated_overlap_tilt(dispute: Dispute, texts: Sequence[str]) -> list[float]:
    def positions(view: View) -> list[float]:
        scale = [overlap(view, reference) for reference in reference_proposals()]
        spread = max(float(np.std(scale)), 1e-3)
        return [(overlap(view, text) - float(np.mean(scale))) / spread for text in texts]

    return [a - b for a, b in zip(positions(dispute.view_a), positions(dispute.view_b), strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", default=["bundled"], help="bundled, a GGUF file, or a model folder")
    parser.add_argument("--sets", type=Path, default=SETS, help="JSONL of {row, balanced, serves_a, serves_b}")
    parser.add_argument("--no-ratings", action="store_true", help="leave out the two Spearman measurements")
    parser.add_argument("--no-baseline", action="store_true", help="leave out plain word overlap")
    options = parser.parse_args()
    data = data_folder()
    ratings = data / "efp" / "pairs.jsonl"
    sets = load_sets(options.sets, ratings)
    _, held_out = split_by_rater(load_ratings(ratings), held_out=0.2, seed=0)
    stories = load_stories(data / "empathic_stories" / "test.jsonl")
    one_sided = sum(len(item.serves_a) + len(item.serves_b) for item in sets)
    balanced = sum(len(item.balanced) for item in sets)
    print(f"{len(sets)} sets: {one_sided} one-sided and {balanced} balanced texts; {len(held_out)} held-out raters\n")

    rows = []
    if not options.no_baseline:
        raw, calibrated = measure_tilt(sets, overlap_tilt), measure_tilt(sets, calibrated_overlap_tilt)
        rows.append(["word overlap", *raw, *calibrated, *[""] * 8])
    for name in options.encoders:
        model = EmpathyModel.load(name)

        def encode(texts: Sequence[str], model: EmpathyModel = model) -> NDArray[np.float32]:
            return model.embed(texts)

        def raw_tilt(dispute: Dispute, texts: Sequence[str], model: EmpathyModel = model) -> list[float]:
            return [scores.raw_a - scores.raw_b for scores in model.score(dispute, texts)]

        def calibrated_tilt(dispute: Dispute, texts: Sequence[str], model: EmpathyModel = model) -> list[float]:
            one, other = (model.scale(view.as_text()) for view in (dispute.view_a, dispute.view_b))
            return [one.position(s.raw_a) - other.position(s.raw_b) for s in model.score(dispute, texts)]

        def tilt(dispute: Dispute, texts: Sequence[str], model: EmpathyModel = model) -> list[float]:
            return [scores.tilt for scores in model.score(dispute, texts)]

        row = [Path(name).name]
        for reading in (raw_tilt, calibrated_tilt, tilt):
            row += measure_tilt(sets, reading)
        row += measure_intervals(sets, model)
        if options.no_ratings:
            row += ["", "", ""]
        else:
            estimates = evaluate_ratings(encode, held_out)
            row += [str(estimates["within_rater"]), str(estimates["raw"]), str(evaluate_stories(encode, stories))]
        rows.append(row)
        model.close()
    header = ["encoder", "sign raw", "AUC raw", "sign per view", "AUC per view", "sign shown", "AUC shown"]
    header += ["balanced hold zero", "one-sided told", "balanced ranked", "within rater", "raw ratings", "stories"]
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()

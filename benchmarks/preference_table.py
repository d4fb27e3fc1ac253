"""Measures the preference model: d-PM in both directions and its baselines, with few raters, on other conversations.

    python benchmarks/preference_table.py --votes FOLDER --output preference.md

Prints the tables of docs/preference.md as Markdown.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from trainer.evaluate.bootstrap import interval  # noqa: E402
from trainer.preference.config import PreferenceConfig  # noqa: E402
from trainer.preference.data import Counts, Statement, counts_of, drawn_raters, load_votes  # noqa: E402
from trainer.preference.figures import (  # noqa: E402
    Features,
    Figures,
    Shares,
    chosen,
    constant_predictor,
    figures_of,
    head_predictor,
    left_out,
    mean_of,
    names_of,
    word_counts,
)
from trainer.preference.recipe import encoded  # noqa: E402

OBJECTIVES = {
    "soft": "soft labels",
    "no_aggregation": "no aggregation",
    "major": "majority",
    "r_q": "d-PM, KL(r ‖ q)",
    "q_r": "d-PM, KL(q ‖ r), eq. 6",
}
_PRIOR_VOTES = 4
"""What the model's share counts beside the votes that were heard, in votes."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", required=True, help="folder of JSONL files, one conversation each")
    parser.add_argument("--encoder", default="bundled", help="bundled, a GGUF file, or a sentence-transformers folder")
    parser.add_argument("--seeds", type=int, default=2, help="draws of raters (default: 2)")
    parser.add_argument("--raters", type=int, nargs="*", default=[2, 4, 8, 0], help="votes a statement; 0 is all")
    parser.add_argument("--objectives", nargs="*", default=list(OBJECTIVES), choices=list(OBJECTIVES))
    parser.add_argument("--tilt", type=Path, default=ROOT / "benchmarks" / "data" / "tilt_development.jsonl")
    parser.add_argument("--output", type=Path, help="a file for the tables; by default they are printed only")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    statements = load_votes(options.votes)
    features, _ = encoded(options.encoder, statements)
    text = "\n\n".join([*_tables(statements, features, options), _balance(statements, features, options)]) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    return 0


def _tables(statements: Sequence[Statement], features: Features, options: argparse.Namespace) -> Iterator[str]:
    unseen: list[list[str]] = []
    heard: list[list[str]] = []
    words = PreferenceConfig(penalty=1e-6)
    true = counts_of(statements)
    for raters in options.raters:
        seeds = range(options.seeds if raters else 1)
        drawn = {seed: drawn_raters(true, raters, seed) for seed in seeds}
        constants = {
            seed: figures_of(statements, left_out(statements, features, drawn[seed], constant_predictor))
            for seed in seeds
        }
        label = str(raters or "all")
        unseen.append(_row(label, "constant", list(constants.values()), []))
        counted = [
            figures_of(
                statements,
                left_out(statements, word_counts(statements), drawn[seed], head_predictor(words)),
                constants[seed],
            )
            for seed in seeds
        ]
        unseen.append(_row(label, "count of words", counted, list(constants.values())))
        for objective in options.objectives:
            config = PreferenceConfig.model_validate({"objective": objective})
            found = [
                figures_of(
                    statements,
                    left_out(
                        statements, features, drawn[seed], head_predictor(config.model_copy(update={"seed": seed}))
                    ),
                    constants[seed],
                )
                for seed in seeds
            ]
            unseen.append(_row(label, OBJECTIVES[objective], found, list(constants.values())))
            print(*unseen[-1], file=sys.stderr, flush=True)
        if raters:
            heard += _heard(label, statements, features, drawn)
    if 0 in options.raters:
        perfect = figures_of(statements, true[:, 0] / true.sum(axis=1))
        unseen.append(_row("", "the true shares", [perfect], []))
    head = ["raters", "objective", "log-loss", "gain over the constant", "by statement", "Brier", "rank", "groups"]
    yield _markdown(head, unseen)
    yield _markdown(["raters", "predicted by", "log-loss", "Brier", "rank"], heard)


def _balance(statements: Sequence[Statement], features: Features, options: argparse.Namespace) -> str:
    """Whether a head fitted to all votes tells proposals for both sides from those for one side of the same dispute."""
    names, votes = names_of(statements), counts_of(statements)
    lines = [json.loads(line) for line in options.tilt.read_text(encoding="utf-8").splitlines()]
    texts = [text for line in lines for text in (*line["balanced"], line["serves_a"], line["serves_b"])]
    vectors, _ = encoded(options.encoder, [Statement("", text, (1, 0, 0)) for text in texts])
    shares = head_predictor(PreferenceConfig())(names, features, votes, vectors).reshape(len(lines), -1)
    wins = [(row[:-2, None] > row[None, -2:]).mean() for row in shares]
    low, high = interval(wins)
    return (
        f"Of {len(lines)} disputes, a balanced proposal is predicted to be more accepted than a one-sided one in "
        f"{np.mean(wins):.2f} [{low:.2f}, {high:.2f}] of all pairs; the predicted shares of a dispute's proposals "
        f"have a standard deviation of {shares.std(axis=1).mean():.3f}."
    )


def _row(raters: str, name: str, found: Sequence[Figures], constants: Sequence[Figures]) -> list[str]:
    """One row: means over the seeds of each conversation's figure, and intervals over the conversations."""
    mean = {
        figure: np.mean([getattr(one, figure) for one in found], axis=0).tolist()
        for figure in ("log_loss", "brier", "rank", "groups")
    }
    gain = by_statement = ""
    if constants:
        base = np.mean([one.log_loss for one in constants], axis=0)
        difference = base - mean["log_loss"]
        gain = _signed(float(difference.mean()), *interval(difference.tolist()))
        sizes = list(found[0].sizes)
        by_statement = _signed(
            float(np.average(difference, weights=sizes)), *interval(difference.tolist(), weights=sizes)
        )
    rank, groups = ("", "") if name == "constant" else (_plain(mean["rank"]), _plain(mean["groups"]))
    return [
        raters,
        name,
        f"{mean_of(mean['log_loss'])[0]:.4f}",
        gain,
        by_statement,
        f"{mean_of(mean['brier'])[0]:.4f}",
        rank,
        groups,
    ]


def _heard(
    raters: str, statements: Sequence[Statement], features: Features, drawn: dict[int, Counts]
) -> list[list[str]]:
    """The remaining votes of statements of which a few votes were heard, by what can be known then."""
    true = counts_of(statements)
    found: dict[str, list[Figures]] = {}
    for seed, votes in drawn.items():
        rest = true - votes
        kept = np.flatnonzero(rest.sum(axis=1) > 0)
        left = [_with_votes(statements[at], rest[at]) for at in kept]
        names = names_of(statements)
        smooth = (votes + 0.1) / (votes + 0.1).sum(axis=1, keepdims=True)
        by_text = {}
        for objective in ("soft", "r_q"):
            config = chosen(
                names, features, votes, PreferenceConfig.model_validate({"objective": objective, "seed": seed})
            )
            by_text[objective] = _in_sample(features, votes, config)
        posterior = smooth * np.stack([by_text["r_q"], 1 - by_text["r_q"]], axis=1)
        posterior /= np.stack([by_text["r_q"], 1 - by_text["r_q"]], axis=1).sum(axis=0)
        text = by_text["soft"]
        shares: dict[str, Shares] = {
            "constant": constant_predictor(names, features, votes, features),
            "the votes heard, smoothed (d-PM's prior)": smooth[:, 0],
            "the text: soft labels": text,
            "the text: d-PM, KL(r ‖ q)": by_text["r_q"],
            "both: d-PM's r": posterior[:, 0] / posterior.sum(axis=1),
            f"both: the text as {_PRIOR_VOTES} votes": (votes[:, 0] + _PRIOR_VOTES * text)
            / (votes.sum(axis=1) + _PRIOR_VOTES),
        }
        for name, share in shares.items():
            found.setdefault(name, []).append(figures_of(left, share[kept]))
    return [[raters, name, *_figures(figures, name == "constant")] for name, figures in found.items()]


def _figures(found: Sequence[Figures], flat: bool) -> list[str]:
    loss, brier, rank = (
        np.mean([getattr(one, name) for one in found], axis=0).tolist() for name in ("log_loss", "brier", "rank")
    )
    return [_plain(loss, 4), f"{mean_of(brier)[0]:.4f}", "" if flat else _plain(rank)]


def _in_sample(features: Features, votes: Counts, config: PreferenceConfig) -> Shares:
    return head_predictor(config)(np.array([]), features, votes, features)


def _with_votes(statement: Statement, votes: Any) -> Statement:
    return Statement(statement.conversation, statement.text, (int(votes[0]), int(votes[1]), 0), statement.groups)


def _plain(values: Sequence[float], digits: int = 2) -> str:
    mean, ends = mean_of(values)
    return f"{mean:.{digits}f} [{ends.low:.{digits}f}, {ends.high:.{digits}f}]"


def _signed(mean: float, low: float, high: float) -> str:
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())

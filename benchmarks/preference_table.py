"""Measures the preference model: d-PM in both directions and its baselines, with few raters, on hosts left out.

    python benchmarks/preference_table.py --votes FOLDER --output preference.md

Prints the tables of docs/preference.md as Markdown, and what the head makes of texts of known leaning. Every host (the
part of a conversation's file name before the first dot) is left out with all its conversations; intervals come from
drawing hosts. About five minutes on one core.
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

from mediator.acceptance import Acceptance  # noqa: E402
from trainer.evaluate.bootstrap import interval  # noqa: E402
from trainer.preference.config import PreferenceConfig  # noqa: E402
from trainer.preference.data import (  # noqa: E402
    Counts,
    Statement,
    conversations,
    counts_of,
    drawn_raters,
    load_votes,
)
from trainer.preference.figures import (  # noqa: E402
    Figures,
    Shares,
    chosen,
    constant_predictor,
    figures_of,
    head_predictor,
    left_out,
    mean_of,
    measure,
    names_of,
    word_counts,
)
from trainer.preference.recipe import Features, encoded, fit  # noqa: E402

OBJECTIVES = {
    "soft": "soft labels",
    "no_aggregation": "no aggregation",
    "major": "majority",
    "r_q": "d-PM, KL(r ‖ q)",
    "q_r": "d-PM, KL(q ‖ r), eq. 6",
}
_PRIOR_VOTES = 4
"""What a predicted share counts beside the votes that were heard, in votes: the model's, and the constant's."""

_DATA = ROOT / "benchmarks" / "data"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", required=True, help="folder of JSONL files, one conversation each")
    parser.add_argument("--encoder", default="bundled", help="bundled, a GGUF file, or a sentence-transformers folder")
    parser.add_argument("--seeds", type=int, default=2, help="draws of raters (default: 2)")
    parser.add_argument("--raters", type=int, nargs="*", default=[2, 4, 8, 0], help="votes a statement; 0 is all")
    parser.add_argument("--objectives", nargs="*", default=list(OBJECTIVES), choices=list(OBJECTIVES))
    parser.add_argument(
        "--tilt", type=Path, nargs="*", default=[_DATA / f"tilt_{part}.jsonl" for part in ("development", "reporting")]
    )
    parser.add_argument("--output", type=Path, help="a file for the tables; by default they are printed only")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    statements = load_votes(options.votes)
    features, _ = encoded(options.encoder, statements)
    parts = [*_tables(statements, features, options), *_shipped(statements, features, options)]
    text = "\n\n".join(parts) + "\n"
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
        unseen.append(_row(label, "constant", list(constants.values())))
        counted = [
            figures_of(
                statements,
                left_out(statements, word_counts(statements), drawn[seed], head_predictor(words)),
                constants[seed],
            )
            for seed in seeds
        ]
        unseen.append(_row(label, "count of words", counted))
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
            unseen.append(_row(label, OBJECTIVES[objective], found))
            print(*unseen[-1], file=sys.stderr, flush=True)
        if raters:
            heard += _heard(label, statements, features, drawn)
    if 0 in options.raters:
        perfect = figures_of(statements, true[:, 0] / true.sum(axis=1))
        unseen.append(_row("", "the true shares", [perfect]))
    head = ["raters", "objective", "log-loss", "gain over the constant", "by conversation", "by statement"]
    yield _markdown([*head, "Brier", "rank", "groups"], unseen)
    yield _markdown(["raters", "predicted by", "log-loss", "gain over the constant as votes", "Brier", "rank"], heard)


def _shipped(statements: Sequence[Statement], features: Features, options: argparse.Namespace) -> Iterator[str]:
    """What a head fitted to all votes, as it is shipped, gains in each conversation and makes of the tilt sets."""
    names, votes, config = names_of(statements), counts_of(statements), PreferenceConfig()
    found = measure(statements, features, votes, config)
    if found and found.constant:
        figures = (found.sizes, found.constant.log_loss, found.gains(), found.rank)
        yield _markdown(
            ["conversation", "statements", "constant", "gain of soft labels", "rank"],
            [
                [name, str(size), f"{base:.4f}", f"{gain:+.4f}", f"{rank:.2f}"]
                for name, size, base, gain, rank in zip(conversations(statements), *figures, strict=True)
            ],
        )
    quantiles = found.quantiles if found else np.zeros(0)
    head = Acceptance(
        fit(features, votes, chosen(names, features, votes, config)), ("agree", "disagree"), "", quantiles, {}
    )
    for path in options.tilt:
        yield _balance(head, path, options.encoder)


def _balance(head: Acceptance, path: Path, encoder: str) -> str:
    """Whether a head tells proposals for both sides from those for one side of the same dispute."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    groups = [(_listed(line["balanced"]), [*_listed(line["serves_a"]), *_listed(line["serves_b"])]) for line in lines]
    texts = [text for balanced, one_sided in groups for text in (*balanced, *one_sided)]
    vectors, _ = encoded(encoder, [Statement("", text, (1, 0, 0)) for text in texts])
    ends = np.cumsum([len(balanced) + len(one_sided) for balanced, one_sided in groups])[:-1]
    spread, wins, more = [], [], []
    for (both, _one), row in zip(groups, np.split(np.array(head.shares(vectors)), ends), strict=True):
        spread.append(row.std())
        wins.append(float((row[: len(both), None] > row[None, len(both) :]).mean()))
        called = [head.kind(share) == "more" for share in row]
        more.append((np.mean(called[: len(both)]), np.mean(called[len(both) :])))
    low, high = interval(wins)
    balanced, one_sided = np.mean(more, axis=0)
    difference = [float(one - both) for both, one in more]
    return (
        f"{path.name}: of {len(lines)} disputes, a balanced proposal is predicted to be more accepted than a one-sided "
        f"one in {np.mean(wins):.2f} [{low:.2f}, {high:.2f}] of all pairs; the predicted shares of a dispute's "
        f"proposals have a standard deviation of {np.mean(spread):.3f}. Called more widely acceptable than most: "
        f"{balanced:.3f} of the balanced, {one_sided:.3f} of the one-sided texts, a difference of "
        + _signed(float(np.mean(difference)), *interval(difference))
        + "."
    )


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _row(raters: str, name: str, found: Sequence[Figures]) -> list[str]:
    """One row: means over the seeds of each conversation's figure, and intervals over the hosts."""
    hosts, sizes = found[0].hosts, found[0].sizes
    gains = ["", "", ""]
    if found[0].constant:
        gain = np.mean([one.gains() for one in found], axis=0).tolist()
        gains = [_gain(gain, hosts, weights) for weights in (None, [1] * len(hosts), sizes)]
    mean = {
        figure: np.mean([getattr(one, figure) for one in found], axis=0).tolist()
        for figure in ("log_loss", "brier", "rank", "groups")
    }
    rank, groups = ("", "") if name == "constant" else (_plain(mean[figure], hosts) for figure in ("rank", "groups"))
    loss, brier = (f"{mean_of(mean[figure], hosts)[0]:.4f}" for figure in ("log_loss", "brier"))
    return [raters, name, loss, *gains, brier, rank, groups]


def _heard(
    raters: str, statements: Sequence[Statement], features: Features, drawn: dict[int, Counts]
) -> list[list[str]]:
    """The remaining votes of statements of which a few votes were heard, by what can be known then.

    What is said of the text and the constant comes from the other hosts' statements, but for the last row: there the
    head was fitted to the drawn votes of all, also of the very statements that it predicts.
    """
    true, names = counts_of(statements), names_of(statements)
    found: dict[str, list[Figures]] = {}
    for seed, votes in drawn.items():
        rest = true - votes
        kept = np.flatnonzero(rest.sum(axis=1) > 0)
        left = [_with_votes(statements[at], rest[at]) for at in kept.tolist()]
        configs = {
            objective: PreferenceConfig.model_validate({"objective": objective, "seed": seed})
            for objective in ("soft", "r_q")
        }
        constant = left_out(statements, features, votes, constant_predictor)
        soft, dpm = (left_out(statements, features, votes, head_predictor(configs[objective])) for objective in configs)
        smooth = (votes + 0.1) / (votes + 0.1).sum(axis=1, keepdims=True)
        posterior = smooth * np.stack([dpm / dpm.sum(), (1 - dpm) / (1 - dpm).sum()], axis=1)
        fitted = head_predictor(configs["soft"])(names, features, votes, features)
        shares: dict[str, Shares] = {
            "constant": constant,
            "the votes heard, smoothed (d-PM's prior)": smooth[:, 0],
            "the text: soft labels": soft,
            "the text: d-PM, KL(r ‖ q)": dpm,
            "both: d-PM's r": posterior[:, 0] / posterior.sum(axis=1),
            f"the votes, and the constant as {_PRIOR_VOTES} more": _with_prior(votes, constant),
            f"the votes, and the text as {_PRIOR_VOTES} more": _with_prior(votes, soft),
            "the same, the head fitted to these votes too": _with_prior(votes, fitted),
        }
        plain = figures_of(left, _with_prior(votes, constant)[kept])
        for name, share in shares.items():
            found.setdefault(name, []).append(figures_of(left, share[kept], plain))
    return [[raters, name, *_figures(name, figures)] for name, figures in found.items()]


def _with_prior(votes: Counts, share: Shares) -> Shares:
    """The share of agreement where a predicted one counts as so many votes more."""
    summed: Shares = (votes[:, 0] + _PRIOR_VOTES * share) / (votes.sum(axis=1) + _PRIOR_VOTES)
    return summed


def _figures(name: str, found: Sequence[Figures]) -> list[str]:
    hosts = found[0].hosts
    loss, brier, rank = (
        np.mean([getattr(one, figure) for one in found], axis=0).tolist() for figure in ("log_loss", "brier", "rank")
    )
    gain = np.mean([one.gains() for one in found], axis=0).tolist()
    return [
        _plain(loss, hosts, 4),
        _gain(gain, hosts) if any(gain) else "",
        f"{mean_of(brier, hosts)[0]:.4f}",
        "" if name == "constant" else _plain(rank, hosts),
    ]


def _with_votes(statement: Statement, votes: Any) -> Statement:
    return Statement(statement.conversation, statement.text, (int(votes[0]), int(votes[1]), 0), statement.groups)


def _plain(values: Sequence[float], hosts: Sequence[str], digits: int = 2) -> str:
    mean, ends = mean_of(values, hosts)
    return f"{mean:.{digits}f} [{ends.low:.{digits}f}, {ends.high:.{digits}f}]"


def _gain(gains: Sequence[float], hosts: Sequence[str], weights: Sequence[float] | None = None) -> str:
    mean, ends = mean_of(gains, hosts, weights)
    return _signed(mean, *ends)


def _signed(mean: float, low: float, high: float) -> str:
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())

"""The page of a reproduction: our tables beside the paper's, and figures."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from trainer.dataset.data import Example
from trainer.dataset.splits import largest_component
from trainer.evaluate.bootstrap import Difference
from trainer.evaluate.figures import COLOURS, INK, QUIET, bars, gaps, likelihoods, new_axes, save_drawing
from trainer.evaluate.measure import Measurement
from trainer.evaluate.shared_views import Texts, half_width, texts_of
from trainer.evaluate.tables import (
    composition_table,
    difference_of,
    differences_table,
    figures_table,
    markdown_table,
    shown_difference,
)

LLAMA = {
    "base": {"rouge1": 0.164, "rougeL": 0.107},
    "best of 5": {"rouge1": 0.193, "rougeL": 0.151},
    "SFT": {"rouge1": 0.255, "rougeL": 0.186},
    "+NCE": {"rouge1": 0.315, "rougeL": 0.216},
    "+task": {"rouge1": 0.321, "rougeL": 0.326},
}
MISTRAL = {
    "base": {"rouge1": 0.160, "rougeL": 0.105},
    "best of 5": {"rouge1": 0.191, "rougeL": 0.127},
    "SFT": {"rouge1": 0.256, "rougeL": 0.185},
    "+NCE": {"rouge1": 0.318, "rougeL": 0.234},
    "+task": {"rouge1": 0.333, "rougeL": 0.254},
}
FORGETTING = {
    "+DPO": {"log_likelihood": -1.9145},
    "+NCE": {"log_likelihood": -1.6234},
    "+task": {"log_likelihood": -1.6345},
}
"""The paper's Tables 2 and 4."""

SHARED = "± with shared views"


def write_page(
    output: Path,
    facts: Mapping[str, Any],
    examples: Sequence[Example],
    measurements: Sequence[Measurement],
    weights: Mapping[str, Sequence[float]],
    curves: Mapping[str, Path],
    seed: int,
    validation: Measurement | None = None,
) -> Path:
    """Write tables.md and the figures into a folder; return the page.

    Args:
        output: the folder.
        facts: sizes, options and seconds, as results.json has them.
        examples: the whole data set.
        measurements: on the test pairs, and of forgetting.
        weights: of eq. 1's second term, by kind of score.
        curves: the metrics of runs, by name.
        seed: of the intervals.
        validation: ROUGE on the validation pairs.
    """
    found = {one.subject: one for one in measurements}
    named = {example.id: example for example in examples}
    tested = [named[pair] for pair in found["rouge"].pairs]
    views = {example.id: texts_of(example) for example in examples}
    parts = [f"## Size\n\n{_size(facts)}"]
    parts.append(f"## Table 1: the candidates by strategy\n\n{composition_table(examples)}")
    parts.append(_rouge(found["rouge"], views, _ties(tested), output, seed))
    if validation is not None:
        parts.append(on_validation(validation, [named[pair] for pair in validation.pairs], seed))
    parts.append(_neutrality(found["neutrality"], views, output, seed))
    parts.append("## Table 3: demographics\n\n" + _demographics(found["demographics"]))
    if "forgetting" in found:
        parts.append(_forgetting(found["forgetting"], output, seed))
    parts.append(_second_term(weights, output))
    if picture := _curves(curves, output):
        parts.append(f"## The curves\n\n![]({picture.name})")
    path = output / "tables.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def _size(facts: Mapping[str, Any]) -> str:
    data, base = facts["data"], facts["base"]
    rows = [
        ["pairs to learn from", f"{data['train']}"],
        ["of these, in the alignments", f"{data['align']}"],
        ["pairs to measure on", f"{data['test']}"],
        ["pairs for validation", f"{data['validation']}"],
        ["pairs left out, so that no view is in two parts", f"{data['left_out']}"],
    ]
    if base:
        rows += [
            ["weights of the model", f"{base['weights']:,}"],
            ["tokens it has read before", f"{base['tokens_learned_from']:,}"],
            ["its perplexity on prose it has not read", f"{base['held_out_perplexity']:.1f}"],
        ]
    options = facts["options"]
    names = ("sft_epochs", "nce_epochs", "task_epochs", "sft_rate", "rate", "layers", "tokens", "longest_text", "seed")
    rows += [[name.replace("_", " "), options[name]] for name in names]
    rows += [[f"seconds, {name}", f"{spent:.0f}"] for name, spent in facts["seconds_of_runs"].items()]
    return markdown_table(["", ""], rows)


def _ties(examples: Sequence[Example]) -> str:
    """How pairs hang together: words within a sentence."""
    tied = largest_component(examples)
    often = Counter(text for example in examples for text in texts_of(example)).most_common(1)[0][1]
    return f"views that pairs share tie {tied} of the {len(examples)} together, and one is in {often}"


def _rouge(measurement: Measurement, views: Mapping[str, Texts], ties: str, output: Path, seed: int) -> str:
    paper = [
        [row, *(f"{values[name]:.3f}" for values in (LLAMA[row], MISTRAL[row]) for name in values)] for row in LLAMA
    ]
    head = ["", "Llama ROUGE-1", "Llama ROUGE-L", "Mistral ROUGE-1", "Mistral ROUGE-L"]
    bars(
        measurement,
        {"rouge1": "ROUGE-1", "rougeL": "ROUGE-L"},
        output / "rouge.png",
        f"ROUGE F, {len(measurement.pairs)} test pairs, beside the paper's (Llama)",
        LLAMA,
    )
    steps = [("base", "SFT"), *(("SFT", row) for row in _alignments(measurement)), ("+NCE", "+task")]
    steps += [("+NCE", row) for row in measurement.rows if row.startswith("+NCE (")]
    steps += [("+task", row) for row in measurement.rows if row.startswith("+task (")]
    return "\n\n".join(
        [
            "## Table 2: ROUGE",
            f"Ours, {len(measurement.pairs)} test pairs (brackets: 95 % intervals, shared views counted):",
            figures_table(measurement),
            "The paper's:",
            markdown_table(head, paper),
            "(The longest common sequence of two texts cannot have more words than they share, so a ROUGE-L of .326 "
            "beside a ROUGE-1 of .321 cannot be right; the paper's Llama, +task, may have meant .226.)",
            "Ours, differences on the same pairs (opposite order: the share of resamples in which it turns around):",
            _rouge_differences(measurement, steps, views, seed),
            f"The brackets of differences take pairs for independent, and they are not: {ties}. ± is half of the "
            "interval in which pairs with a common view count as dependent; where it is wider, it is the one to go by.",
            " ".join(figure_notes(measurement)),
            "![](rouge.png)",
        ]
    )


def on_validation(measurement: Measurement, examples: Sequence[Example], seed: int) -> str:
    """ROUGE-L once more, on other pairs about other views: ``examples``, in the order of the measurement."""
    views = {example.id: texts_of(example) for example in examples}
    rows = {row: {"rougeL": figures["rougeL"]} for row, figures in measurement.rows.items()}
    steps = [("base", "SFT"), *(("SFT", row) for row in _alignments(measurement))]
    return "\n\n".join(
        [
            "### The same on the validation pairs",
            f"{len(measurement.pairs)} pairs that no model has learned from and that share no view with the test pairs "
            f"({_ties(examples)}):",
            figures_table(measurement.model_copy(update={"rows": rows})),
            _rouge_differences(measurement, steps, views, seed),
            measurement.notes[-1],
        ]
    )


def figure_notes(measurement: Measurement) -> list[str]:
    """A measurement's notes, where they stand under differences whose brackets take pairs for independent."""
    figures = "the intervals of the figures are widened"
    return [note.replace("intervals are widened", figures) for note in measurement.notes]


def _rouge_differences(
    measurement: Measurement, steps: Sequence[tuple[str, str]], views: Mapping[str, Texts], seed: int
) -> str:
    lines = []
    for first, second in steps:
        found = difference_of(measurement, "rougeL", first, second, seed)
        if found is not None:
            dependent = f"±{_with_shared_views(measurement, 'rougeL', first, second, views):.3f}"
            lines.append([f"{second} - {first}", shown_difference(found), f"{found.opposite:.3f}", dependent])
    return markdown_table(["", "ROUGE-L", "opposite order", SHARED], lines)


def _with_shared_views(
    measurement: Measurement, name: str, first: str, second: str, views: Mapping[str, Texts]
) -> float:
    """Half of the interval of second - first in which pairs with a common view are dependent."""
    before, after = (measurement.rows[row][name].values for row in (first, second))
    both = [
        (two - one, views[pair])
        for pair, one, two in zip(measurement.pairs, before, after, strict=True)
        if one is not None and two is not None
    ]
    return half_width([value for value, _ in both], [texts for _, texts in both])


def _neutrality(measurement: Measurement, views: Mapping[str, Texts], output: Path, seed: int) -> str:
    gaps(measurement, output / "neutrality.png", f"Distance from neutrality, {len(measurement.pairs)} test pairs")
    return "\n\n".join(
        [
            "## Figure 4: neutrality",
            figures_table(measurement),
            "Every row beside SFT, on the same pairs (opposite order and ±: of the gap):",
            *neutrality_beside_sft(measurement, views, seed),
            " ".join(figure_notes(measurement)),
            "![](neutrality.png)",
        ]
    )


def neutrality_beside_sft(measurement: Measurement, views: Mapping[str, Texts], seed: int) -> tuple[str, str]:
    """Compare every row's gap and warmth with SFT's; return the table, and what may be concluded from so many.

    A gap is called smaller beyond chance where its whole 95 % interval lies below 0; and after Bonferroni where twice
    the share of resamples in the opposite order, times the number of comparisons, is below .05.
    """
    lines = []
    gaps_of: dict[str, Difference] = {}
    colder = set()
    for row in measurement.rows:
        gap = difference_of(measurement, "gap", "SFT", row, seed) if row != "SFT" else None
        warmth = difference_of(measurement, "warmth", "SFT", row, seed)
        if gap is None or warmth is None:
            continue
        dependent = f"±{_with_shared_views(measurement, 'gap', 'SFT', row, views):.3f}"
        lines.append(
            [f"{row} - SFT", shown_difference(gap), f"{gap.opposite:.3f}", dependent, shown_difference(warmth)]
        )
        gaps_of[row] = gap
        if warmth.high < 0:
            colder.add(row)
    alignments = [row for row in _alignments(measurement) if row in gaps_of]
    smaller = [row for row in alignments if gaps_of[row].mean < 0]
    whole = [row for row in smaller if gaps_of[row].high < 0]
    counted = [row for row in smaller if 2 * gaps_of[row].opposite * len(lines) < 0.05]
    words = (
        f"These are {len(lines)} comparisons on the same {len(measurement.pairs)} pairs, and each model was trained "
        "once: the intervals say what other pairs would give, not what another seed would, and of twenty of them about "
        f"one leaves out 0 by chance. Of the {len(alignments)} alignments {len(smaller)} have a smaller gap than SFT. "
        f"Whole interval below 0: {_listed(whole)}; with all comparisons counted (Bonferroni): {_listed(counted)}. "
        f"Colder than SFT, whole interval: {len(colder.intersection(alignments))} of the {len(alignments)} alignments, "
        f"{len(colder.intersection(smaller))} of the {len(smaller)} with a smaller gap."
    )
    return markdown_table(["", "gap", "opposite order", SHARED, "warmth"], lines), words


def _alignments(measurement: Measurement) -> list[str]:
    """The rows that were trained from SFT."""
    return [row for row in measurement.rows if row.startswith("+")]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"


def _demographics(measurement: Measurement) -> str:
    return "\n\n".join([*([figures_table(measurement)] if measurement.rows else []), *measurement.notes])


def _forgetting(measurement: Measurement, output: Path, seed: int) -> str:
    likelihoods(measurement, output / "forgetting.png", "What is left of ordinary prose (WikiText-2 test)")
    steps = [("base", "SFT"), *(("SFT", row) for row in _alignments(measurement)), ("+DPO", "+NCE"), ("+DPO", "+task")]
    return "\n\n".join(
        [
            "## Table 4: forgetting",
            figures_table(measurement, FORGETTING, digits=4),
            "Differences on the same windows:",
            differences_table(measurement, "log_likelihood", steps, seed, digits=4),
            " ".join(measurement.notes),
            "![](forgetting.png)",
        ]
    )


def _second_term(weights: Mapping[str, Sequence[float]], output: Path) -> str:
    """A table and a figure of the factor of the second term's gradient."""
    kinds = {"sum": "sum (as printed)", "mean": "mean of a token", "log_ratio": "log ratio to the start"}
    drawing, axes = new_axes(5.0, 3.2)
    for place, kind in enumerate(kinds):
        values = [max(value, 1e-320) for value in weights[kind]]
        x = [place + 0.4 * ((number * 0.618) % 1.0 - 0.5) for number in range(len(values))]
        axes.semilogy(x, values, ".", color=COLOURS[place], alpha=0.5)
    axes.axhline(2**-24, color=QUIET, linestyle="--", linewidth=1, label="lost beside 1 in float32")
    axes.set_xticks(range(len(kinds)), list(kinds.values()))
    axes.set_ylabel("factor of the gradient, sigma(s)")
    axes.set_title("Eq. 1: what the second term still pushes", loc="left", color=INK)
    axes.legend(frameon=False)
    save_drawing(drawing, output / "second_term.png")
    rows = [[words, f"{median(weights[kind]):.2g}", f"{max(weights[kind]):.2g}"] for kind, words in kinds.items()]
    return "\n\n".join(
        [
            "## Equation 1: the second term",
            f"The gradient of -log sigma(-s) is sigma(s). Over {len(weights['sum'])} hypotheses of the fine-tuned "
            f"model, whose log-probability is {fmean(weights['log_probability']):.0f} on average:",
            markdown_table(["score", "median factor", "largest"], rows),
            "![](second_term.png)",
        ]
    )


def _curves(curves: Mapping[str, Path], output: Path) -> Path | None:
    """Draw the likelihood of targets and hypotheses while the alignments learn."""
    drawing, axes = new_axes(7.0, 3.8)
    drawn = 0
    for name, path in curves.items():
        if not path.is_file():
            continue
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        colour = COLOURS[drawn % len(COLOURS)]
        for measure, style in (("target_log_likelihood", "-"), ("hypothesis_log_likelihood", ":")):
            points = [(line["epoch"], line[measure]) for line in lines if measure in line]
            if points:
                means = _smoothed([value for _, value in points])
                label = f"{name}, {measure.partition('_')[0]}"
                axes.plot([epoch for epoch, _ in points], means, style, color=colour, label=label)
        drawn += 1
    if not drawn:
        return None
    axes.set_xlabel("epoch")
    axes.set_ylabel("nats for each token")
    axes.set_title("Targets and the model's own answers while it is aligned", loc="left", color=INK)
    axes.legend(frameon=False, fontsize=7, ncols=2)
    return save_drawing(drawing, output / "curves.png")


def _smoothed(values: Sequence[float], share: float = 0.05) -> list[float]:
    """A running mean over a share of the values."""
    half = max(1, int(len(values) * share / 2))
    return [fmean(values[max(0, place - half) : place + half + 1]) for place in range(len(values))]

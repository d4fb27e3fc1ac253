"""What stands for a text's score: sum, mean or log_ratio, measured by ROUGE, neutrality and forgetting; and a figure.

The paper's eq. 1 is -log sigma(s_target) - log sigma(-s_hypothesis). With s the log-probability of a whole text, the
gradient of the second term is weighted by sigma(s_hypothesis), which is 0 for any text of more than a few words. Here
one fine-tuned model is aligned with each kind of score, all else equal, and measured on pairs that none has seen; and
the gradients of the two terms are measured on the fine-tuned model itself.

    python benchmarks/score_kinds.py --model FINE_TUNED --dataset train.jsonl --test test.jsonl \\
        --prose wikitext2/test.txt --output results [--set learning_rate=1e-3] [--recipe nce --recipe task]

Writes score_kinds.md, score_kinds.json and score_kinds.png. Killed, it goes on where it was.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mediator.errors import EvenhandError  # noqa: E402
from trainer.alignment.config import AlignConfig, load_config  # noqa: E402
from trainer.dataset.data import Example, read_examples  # noqa: E402
from trainer.progress import Phase, Silent  # noqa: E402

KINDS = ("sum", "mean", "log_ratio")


class Telling(Silent):
    """Prints how far a run is, now and then."""

    def __init__(self, name: str) -> None:
        self._name, self._last = name, ""

    def phase(self, name: Phase, done: int = 0, total: int = 0) -> None:
        """Print tenths."""
        told = f"{self._name}: {name} {10 * done // total * 10 if total else 0} %"
        if told != self._last:
            print(told, file=sys.stderr, flush=True)
        self._last = told

    def metrics(self, step: int, steps: int, epoch: float, values: Mapping[str, float]) -> None:
        """Print the last step."""
        if step == steps:
            print(f"{self._name}: " + ", ".join(f"{k} {v:.4g}" for k, v in values.items()), file=sys.stderr, flush=True)


def trained(recipe: str, kind: str, options: argparse.Namespace) -> Path:
    """Align the model with one kind of score, or find that it was done."""
    from trainer.recipes import train

    config = load_config(
        recipe,
        options.config,
        [f"model={options.model}", f"dataset={options.dataset}", f"score={kind}", "sample_disputes=0", *options.set],
    )
    folder = options.output / "runs" / f"{recipe}-{kind}"
    return train(recipe, config, folder, Telling(f"{recipe} {kind}"), resume=folder.exists())


def measured(models: Mapping[str, Path], examples: Sequence[Example], options: argparse.Namespace) -> dict[str, Any]:
    """ROUGE and neutrality of each model's answers, and its likelihood of ordinary prose."""
    from mediator.empathy import EmpathyModel
    from trainer.evaluate.answers import AnswerSettings, MeasuredModel
    from trainer.evaluate.forgetting import read_prose
    from trainer.evaluate.measure import MeasureSettings, measure_forgetting, measure_neutrality, measure_rouge

    config = load_config("nce", options.config, options.set)
    assert isinstance(config, AlignConfig)
    answers = AnswerSettings(tokens=config.hypothesis_tokens, longest_text=config.longest_text)
    settings = MeasureSettings(answers, best_of=1, windows=options.windows)
    named = [MeasuredModel(name, str(path), options.output / "answers") for name, path in models.items()]

    def telling(name: str) -> Telling:
        return Telling(f"measure {name}")

    found = [
        measure_rouge(named, examples, settings, telling),
        measure_neutrality(named, examples, EmpathyModel.load(), settings, telling),
    ]
    if options.prose:
        found.append(measure_forgetting(named, read_prose(options.prose), settings, telling))
    rows: dict[str, Any] = {name: {} for name in models}
    for measurement in found:
        for name in models:
            for figure, value in measurement.rows[name].items():
                rows[name][figure] = {"mean": value.mean, "low": value.low, "high": value.high}
    return rows


def likelihoods(models: Mapping[str, Path], examples: Sequence[Example], own: Mapping[str, str], longest: int) -> Any:
    """For each model: nats for each token of the targets and of the start's own answers, and the lead of a text."""
    import torch

    from trainer.models import pretrained
    from trainer.models.network import Network, batch_of

    rows = {}
    for name, path in models.items():
        model, tokenizer = pretrained.load(str(path))
        network = Network(model)
        targets, hypotheses = encoded(tokenizer, examples, own, longest)
        sums = []
        for texts in (targets, hypotheses):
            total, count = 0.0, 0
            for start in range(0, len(texts), 8):
                with torch.no_grad():
                    found, counts = network(**batch_of(texts[start : start + 8], model.device))
                total, count = total + float(found.sum()), count + int(counts.sum())
            sums.append((total / count, total / len(texts)))
        rows[name] = {"target": sums[0][0], "hypothesis": sums[1][0], "lead": sums[0][1] - sums[1][1]}
    return rows


def encoded(tokenizer: Any, examples: Sequence[Example], own: Mapping[str, str], longest: int) -> tuple[Any, Any]:
    """The first candidate of each pair, and the model's own answer, as tokens."""
    from trainer.models.network import encode_answer
    from trainer.models.prompting import encode, prompt_of

    targets = [encode(tokenizer, prompt_of(one), one.candidates[0].text, longest) for one in examples]
    return targets, [encode_answer(tokenizer, prompt_of(one), own[one.id], longest) for one in examples]


def gradients(
    model_folder: Path, examples: Sequence[Example], own: Mapping[str, str], config: AlignConfig
) -> dict[str, Any]:
    """Measure the gradients of the two terms of eq. 1 on the model that alignment starts from, pair by pair.

    Returns:
        ``norms``: for each kind the mean norms of the ``first`` and the ``second`` term's gradients with respect
        to what learns; ``sums`` and ``counts`` of the model's own answers.
    """
    import torch
    from torch.nn.functional import logsigmoid

    from trainer.losses import score
    from trainer.models import pretrained
    from trainer.models.network import Network, batch_of

    model, tokenizer = pretrained.load(str(model_folder))
    model.requires_grad_(False)
    for layer in model.get_decoder().layers[-config.layers :]:
        layer.requires_grad_(True)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    network = Network(model)
    targets, hypotheses = encoded(tokenizer, examples, own, config.longest_text)
    norms: dict[str, dict[str, list[float]]] = {kind: {"first": [], "second": []} for kind in KINDS}
    sums, counts = [], []
    for target, hypothesis in zip(targets, hypotheses, strict=True):
        found, lengths = network(**batch_of([target, hypothesis], model.device))
        sums.append(float(found[1].detach()))
        counts.append(int(lengths[1]))
        for kind in KINDS:
            scores = score(found, lengths, kind, found.detach())
            for name, term in (("first", -logsigmoid(scores[0])), ("second", -logsigmoid(-scores[1]))):
                parts = torch.autograd.grad(term, learning, retain_graph=True)
                norms[kind][name].append(math.sqrt(sum(float(part.double().square().sum()) for part in parts)))
    return {
        "norms": {
            kind: {name: statistics.fmean(values) for name, values in terms.items()} for kind, terms in norms.items()
        },
        "sums": sums,
        "counts": counts,
    }


def figure(found: Mapping[str, Any], path: Path) -> None:
    """Draw the weight of the second term's gradient against the text's log-probability, and the measured gradients."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sums, count = sorted(found["sums"]), statistics.median(found["counts"])
    start = statistics.median(sums)
    lowest = min(1.25 * sums[0], -60.0)
    points = [lowest * (1 - number / 400) for number in range(401)]

    def sigma(value: float) -> float:
        return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))

    # The derivative of the second term by the text's log-probability: sigma(s) times ds / dlog p.
    curves = {
        "sum": [sigma(point) for point in points],
        "mean": [sigma(point / count) / count for point in points],
        "log_ratio": [sigma(point - start) for point in points],
    }
    colours = {"sum": "#D55E00", "mean": "#009E73", "log_ratio": "#0072B2"}
    drawing = Figure(figsize=(10, 4), dpi=150, layout="constrained")
    FigureCanvasAgg(drawing)
    left, right = drawing.subplots(1, 2, width_ratios=(3, 2))
    for kind, values in curves.items():
        left.plot(points, values, color=colours[kind], label=kind)
    left.axhline(1.2e-7, color="#777777", linewidth=0.8, linestyle="--")
    left.text(lowest, 1.7e-7, "below: lost beside 1 in float32", fontsize=7, color="#777777")
    left.plot(sums, [0.012] * len(sums), "|", color="#222222", transform=left.get_xaxis_transform(), markersize=6)
    left.set(
        yscale="log",
        ylim=(1e-30, 10),
        xlabel="log-probability of the model's own answer, nats (ticks: those of this model)",
        ylabel="weight of the second term's gradient",
        title="-log sigma(-s): what pushes the own answer down",
    )
    left.legend(loc="lower right", bbox_to_anchor=(1, 0.05))
    floor = 1e-12
    for place, kind in enumerate(KINDS):
        norms = found["norms"][kind]
        share = norms["second"] / norms["first"] if norms["first"] else 0.0
        right.bar(place, max(share, floor), 0.6, color=colours[kind])
        right.text(place, max(share, floor) * 1.6, f"{share:.2g}", ha="center", fontsize=9)
    right.set(
        yscale="log",
        ylim=(floor, 1e3),
        xticks=range(len(KINDS)),
        xticklabels=KINDS,
        ylabel="second term's gradient / first term's",
        title=f"measured on {len(sums)} pairs",
    )
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
    drawing.savefig(path, format="png", metadata={"Software": None})


def table(rows: Mapping[str, Any], likely: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Lay the figures out as Markdown."""
    columns = {"ROUGE-1": "rouge1", "ROUGE-L": "rougeL", "gap": "gap", "warmth": "warmth"}
    columns["prose, nats a token"] = "log_likelihood"
    there = {title: name for title, name in columns.items() if any(name in row for row in rows.values())}
    likelihood_columns = ["targets, nats a token", "own answers, nats a token", "lead, nats a text"]
    lines = ["| | " + " | ".join([*there, *likelihood_columns]) + " |", "|---" * (len(there) + 4) + "|"]
    for name, row in rows.items():
        cells = [f"{row[key]['mean']:.3f} ({row[key]['low']:.3f}..{row[key]['high']:.3f})" for key in there.values()]
        own = likely[name]
        cells += [f"{own['target']:.3f}", f"{own['hypothesis']:.3f}", f"{own['lead']:.1f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "Gradient of eq. 1's two terms at the start, mean norm over pairs:", ""]
    lines += ["| score | first | second | second / first |", "|---|---|---|---|"]
    for kind in KINDS:
        norms = found["norms"][kind]
        share = norms["second"] / norms["first"] if norms["first"] else 0.0
        lines.append(f"| {kind} | {norms['first']:.3g} | {norms['second']:.3g} | {share:.3g} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", required=True, help="the fine-tuned model to start from: a folder")
    parser.add_argument("--dataset", required=True, help="what to align on: a JSONL data set")
    parser.add_argument("--test", required=True, help="what to measure on: a JSONL data set")
    parser.add_argument("--prose", type=Path, help="ordinary text, for forgetting; none leaves that out")
    parser.add_argument("--output", required=True, type=Path, help="the folder of the results")
    parser.add_argument("--recipe", action="append", choices=["nce", "task"], help="whose scores (default: nce)")
    parser.add_argument("--config", type=Path, help="settings of the recipes, YAML")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the recipes")
    parser.add_argument("--pairs", type=int, default=100, help="pairs of the test set to measure on")
    parser.add_argument("--windows", type=int, default=0, help="windows of the prose; 0 for all of it")
    options = parser.parse_args()
    try:
        test = [example for example in read_examples(options.test) if example.candidates][: options.pairs]
        models = {"start": Path(options.model)}
        for recipe in options.recipe or ["nce"]:
            models |= {f"{recipe} {kind}": trained(recipe, kind, options) for kind in KINDS}
        first = options.output / "runs" / f"{(options.recipe or ['nce'])[0]}-{KINDS[0]}"
        lines = (first / "hypotheses.jsonl").read_text(encoding="utf-8").splitlines()
        own = {entry["id"]: entry["answers"][0] for entry in map(json.loads, lines)}
        aligned = [one for one in read_examples(options.dataset) if one.candidates][: options.pairs]
        config = load_config("nce", options.config, options.set)
        assert isinstance(config, AlignConfig)
        found = gradients(Path(options.model), aligned[:32], own, config)
        likely = likelihoods(models, aligned, own, config.longest_text)
        rows = measured(models, test, options)
    except EvenhandError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    figure(found, options.output / "score_kinds.png")
    text = table(rows, likely, found)
    (options.output / "score_kinds.md").write_text(text, encoding="utf-8")
    whole = {"measured": rows, "likelihoods": likely, "gradients": found}
    (options.output / "score_kinds.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

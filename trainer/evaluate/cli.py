"""`evenhand evaluate`: measure models as the paper does, and print the tables."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Only light imports here: `evenhand --help` must not wait for what it does not need.
from mediator.cli_output import DONE, EXIT_STATUS, add_action, add_encoder, add_output, print_json, say
from mediator.durations import time_left
from mediator.errors import InputError
from mediator.settings import default_encoder, user_path
from trainer.progress import Phase, Silent

if TYPE_CHECKING:
    from trainer.dataset.data import Example
    from trainer.evaluate.answers import MeasuredModel
    from trainer.evaluate.measure import Measurement, MeasureSettings

_NOTES = """\
Answers are written once for each (model, prompt, settings) and kept in the cache folder: a second measurement, or the
same one after Ctrl-C, takes them from there."""
_EXIT_STATUS = f"{EXIT_STATUS}; 130 stopped with Ctrl-C"

NEUTRALITY_PAIRS = 100
"""The pairs of the paper's Figure 4."""


def add_evaluate(commands: Any) -> None:
    """Add ``evaluate`` with its measurements to a parser's sub-commands; each sets ``handler``."""
    parser = commands.add_parser(
        "evaluate",
        help="measure models: ROUGE, neutrality, forgetting; tables and figures",
        description="Measure models as the paper does. Models stand side by side, in the order given.",
        epilog=f"{_NOTES}\n\n{_EXIT_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    subjects = parser.add_subparsers(title="measurements", metavar="WHAT", required=True)
    rouge = _subject(subjects, "rouge", "compare answers with the candidates of a data set (Table 2)", _rouge)
    neutrality = _subject(subjects, "neutrality", "how far answers lean to one side (Figure 4)", _neutrality)
    demographics = _subject(subjects, "demographics", "ROUGE with and without demographics (Table 3)", _demographics)
    forgetting = _subject(subjects, "forgetting", "how likely a model finds ordinary prose (Table 4)", _forgetting)
    table = _subject(
        subjects,
        "table",
        "all of them, as Markdown and PNG",
        _table,
        "evenhand evaluate table --dataset test.jsonl --text wikitext2/test.txt --model base=base "
        "--model SFT=sft/model --model +NCE=nce/model --output tables",
    )
    for one in (rouge, neutrality, demographics, table):
        _add_pairs(one)
    for one in (rouge, table):
        _add_best_of(one)
    for one in (neutrality, table):
        add_encoder(one)
    _add_text(forgetting, required=True)
    _add_text(table, required=False)


def _subject(
    subjects: Any, name: str, what: str, measure: Callable[..., "list[Measurement]"], example: str = ""
) -> argparse.ArgumentParser:
    parser = add_action(subjects, name, what, notes=_NOTES, example=example, exit_status=_EXIT_STATUS)
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        required=True,
        help="a model and its name in the table: a folder, or a name on the Hugging Face hub; give one for each row. "
        "NAME ends at the first =, FOLDER may hold more of them",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of drawing and of the intervals (default: 0)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="write tables, figures and all values there")
    add_output(parser)
    parser.set_defaults(handler=evaluate_command, measure=measure, subject=name)
    return parser


def _add_pairs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True, metavar="FILE", help="the pairs to answer: a JSONL data set")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N pairs")
    parser.add_argument("--tokens", type=int, default=160, metavar="N", help="the longest answer (default: 160)")
    parser.add_argument(
        "--longest-text", type=int, default=512, metavar="N", help="tokens of prompt and answer, as in training (512)"
    )
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="answers written at once (default: 16)")
    parser.add_argument("--stemmer", action="store_true", help="ROUGE compares stems (default: words as they are)")


def _add_best_of(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--best-of", type=int, default=5, metavar="N", help="draw N answers, keep the best; 1: none (default: 5)"
    )
    parser.add_argument("--best-of-model", default="", metavar="NAME", help="whose answers (default: the first model)")


def _add_text(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument(
        "--text",
        type=Path,
        required=required,
        metavar="FILE",
        help="ordinary prose: WikiText-2's test.txt" + ("" if required else "; without it, forgetting is left out"),
    )
    parser.add_argument("--window", type=int, default=512, metavar="N", help="tokens read at once (default: 512)")
    parser.add_argument(
        "--windows", type=int, default=0, metavar="N", help="at most N windows, evenly spaced (default: all)"
    )


def evaluate_command(arguments: argparse.Namespace) -> int:
    """Run ``evenhand evaluate WHAT``."""
    _check(arguments)
    from trainer.evaluate.answers import models_of
    from trainer.evaluate.figures import draw
    from trainer.evaluate.tables import page_of

    examples = _examples(arguments)
    models = models_of(arguments.model, device=arguments.device)
    output = user_path(arguments.output) if arguments.output else None
    measurements: list[Measurement] = arguments.measure(arguments, models, examples, _settings(arguments))
    page = page_of(measurements, examples, arguments.seed, composition=arguments.subject == "table")
    if output:
        for measurement in measurements:
            measurement.save(output / f"{measurement.subject}.json")
            draw(measurement, output)
        (output / "tables.md").write_text(page, encoding="utf-8")
        say(f"Tables, figures and values are in {output}.")
    if arguments.json:
        print_json({one.subject: _without_values(one) for one in measurements})
    else:
        sys.stdout.write(page)
    return DONE


def _check(arguments: argparse.Namespace) -> None:
    for name in ("limit", "tokens", "batch", "best_of", "longest_text"):
        value = getattr(arguments, name, None)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} is {value}.", "It must be at least 1.")
    if getattr(arguments, "window", 512) < 8:
        raise InputError(f"--window is {arguments.window}.", "It must be at least 8.")
    if getattr(arguments, "windows", 0) < 0:
        raise InputError(f"--windows is {arguments.windows}.", "It must be 0 (all) or more.")
    if not 0 <= arguments.seed < 2**31:
        raise InputError(f"--seed is {arguments.seed}.", "It must lie between 0 and 2147483647.")


def _examples(arguments: argparse.Namespace) -> "list[Example]":
    if not hasattr(arguments, "dataset"):
        return []
    from trainer.dataset.data import read_examples

    return read_examples(arguments.dataset)[: arguments.limit]


def _settings(arguments: argparse.Namespace) -> "MeasureSettings":
    from trainer.evaluate.answers import AnswerSettings
    from trainer.evaluate.measure import MeasureSettings

    standard = MeasureSettings()
    return MeasureSettings(
        answers=AnswerSettings(
            tokens=getattr(arguments, "tokens", standard.answers.tokens),
            batch=getattr(arguments, "batch", standard.answers.batch),
            seed=arguments.seed,
            longest_text=getattr(arguments, "longest_text", standard.answers.longest_text),
        ),
        seed=arguments.seed,
        best_of=getattr(arguments, "best_of", 1),
        best_of_model=getattr(arguments, "best_of_model", ""),
        stemmer=getattr(arguments, "stemmer", False),
        window=getattr(arguments, "window", standard.window),
        windows=getattr(arguments, "windows", 0),
    )


def _rouge(
    _: argparse.Namespace, models: "list[MeasuredModel]", examples: "list[Example]", settings: "MeasureSettings"
) -> "list[Measurement]":
    from trainer.evaluate.measure import measure_rouge

    return [measure_rouge(models, examples, settings, Progress)]


def _neutrality(
    arguments: argparse.Namespace,
    models: "list[MeasuredModel]",
    examples: "list[Example]",
    settings: "MeasureSettings",
) -> "list[Measurement]":
    from mediator.empathy import EmpathyModel
    from trainer.evaluate.measure import measure_neutrality

    scorer = EmpathyModel.load(arguments.encoder or default_encoder())
    try:
        chosen = examples if arguments.limit else examples[:NEUTRALITY_PAIRS]
        return [measure_neutrality(models, chosen, scorer, settings, Progress)]
    finally:
        scorer.close()


def _demographics(
    _: argparse.Namespace, models: "list[MeasuredModel]", examples: "list[Example]", settings: "MeasureSettings"
) -> "list[Measurement]":
    from trainer.evaluate.measure import measure_demographics

    return [measure_demographics(models, examples, settings, Progress)]


def _forgetting(
    arguments: argparse.Namespace, models: "list[MeasuredModel]", _: "list[Example]", settings: "MeasureSettings"
) -> "list[Measurement]":
    from trainer.evaluate.forgetting import read_prose
    from trainer.evaluate.measure import measure_forgetting

    return [measure_forgetting(models, read_prose(user_path(arguments.text)), settings, Progress)]


def _table(
    arguments: argparse.Namespace,
    models: "list[MeasuredModel]",
    examples: "list[Example]",
    settings: "MeasureSettings",
) -> "list[Measurement]":
    measurements = _rouge(arguments, models, examples, settings)
    measurements += _neutrality(arguments, models, examples, settings)
    measurements += _demographics(arguments, models, examples, settings)
    if arguments.text:
        measurements += _forgetting(arguments, models, examples, settings)
    else:
        say("Forgetting is left out: give --text WikiText-2's test.txt.")
    return measurements


def _without_values(measurement: "Measurement") -> dict[str, Any]:
    whole = measurement.model_dump(exclude={"rows"})
    whole["rows"] = {
        row: {
            name: {"mean": one.mean, "low": one.low, "high": one.high, "n": one.counted} for name, one in row_of.items()
        }
        for row, row_of in measurement.rows.items()
    }
    return whole


class Progress(Silent):
    """A reporter that writes a line on stderr: at once, at the end, and every few seconds between."""

    SECONDS = 5.0

    def __init__(self, name: str) -> None:
        """Report on the work of this name."""
        self._name = name
        self._phase, self._said, self._started, self._first = "", 0.0, 0.0, 0

    def phase(self, name: Phase, done: int = 0, total: int = 0) -> None:
        """Say how much is done, and how long the rest may take."""
        now = time.monotonic()
        if name != self._phase:
            self._phase, self._said, self._started, self._first = name, 0.0, now, done
        if done and done < total and now - self._said < self.SECONDS:
            return
        self._said = now
        left = time_left(now - self._started, done - self._first, total - self._first)
        work = self._name if name == "measuring" else f"{self._name}, {name}"
        say(f"{work}: {done} of {total}{left}" if total else work)

"""The whole paper end to end, at the size a machine allows: split, SFT, hypotheses, NCE, task, DPO, all measurements.

    python -m trainer.pretraining.pretrain --text prose.txt.xz --output base --minutes 60
    evenhand dataset build pairs.jsonl --output candidates.jsonl
    python benchmarks/reproduce_paper.py --base base --dataset candidates.jsonl --text wikitext2/test.txt --output paper

Every stage leaves its result in the output folder and is passed over where that is there: the same command goes on
after Ctrl-C or a kill, and a longer one (more --also) adds to it. At the end there are tables.md (our figures beside
the paper's, with a row for every run that the folder holds finished), PNG figures, and results.json with every value.
"""

import argparse
import json
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

from reproduction_page import write_page
from reproduction_plan import ALWAYS, RUNS, Plan, Recorder
from workers import end_with_parent

from mediator.errors import EvenhandError, InputError
from trainer.alignment.config import make_config
from trainer.dataset.data import Example, read_examples, write_examples
from trainer.evaluate.cli import Progress
from trainer.evaluate.measure import Measurement

# -- the stages -----------------------------------------------------------------------------------------------------


def divide(plan: Plan) -> tuple[list[Example], list[Example]]:
    """Split the data set (75/5/20, no view in two parts); return the pairs to align on and those to measure on."""
    from trainer.dataset.splits import split

    folder = plan.output / "data"
    options = plan.options
    asked = [options.dataset, options.seed, options.train_pairs, options.align_pairs, options.test_pairs]
    if (folder / "done").is_file():
        if json.loads((folder / "done").read_text(encoding="utf-8"))["asked"] != asked:
            raise InputError(f"{folder} holds other pairs than these.", "Choose another --output, or delete it.")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        examples = [example for example in read_examples(plan.options.dataset) if example.candidates]
        found = split(examples, seed=options.seed)
        parts = found.parts()
        parts["train"] = parts["train"][: options.train_pairs or None]
        parts["test"] = parts["test"][: options.test_pairs or None]
        parts["align"] = parts["train"][: options.align_pairs or None]
        for name, part in parts.items():
            write_examples(folder / f"{name}.jsonl", part)
        sizes = {name: len(part) for name, part in parts.items()}
        facts = {"pairs": len(examples), **sizes, "left_out": len(found.left_out), "asked": asked}
        (folder / "done").write_text(json.dumps(facts), encoding="utf-8")
    return read_examples(folder / "align.jsonl"), read_examples(folder / "test.jsonl")


def train(plan: Plan, name: str, threads: int) -> float:
    """Work through one run; return the seconds it took, of earlier sessions too."""
    folder = plan.folder(name)
    recipe, settings = plan.settings(name)
    facts = folder / "stage.json"
    begun = facts.is_file()
    known = json.loads(facts.read_text(encoding="utf-8")) if begun else {"settings": settings, "seconds": 0.0}
    if known["settings"] != settings:
        changed = sorted(key for key in settings if settings[key] != known["settings"].get(key))
        raise InputError(
            f"{folder} holds a run with other settings ({', '.join(changed)}).",
            "Choose another --output, or delete it.",
        )
    if known.get("done"):
        return float(known["seconds"])
    from trainer.recipes import train as train_recipe

    use_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    facts.write_text(json.dumps(known, indent=1), encoding="utf-8")
    started = time.monotonic()
    try:
        train_recipe(recipe, make_config(recipe, settings), folder, Recorder(name, folder), resume=True)
        known["done"] = True
    finally:
        known["seconds"] = known["seconds"] + time.monotonic() - started
        facts.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return float(known["seconds"])


def write_hypotheses(plan: Plan, examples: Sequence[Example]) -> list[str]:
    """Have the fine-tuned model answer every training pair once; all alignments learn from the same answers."""
    from trainer.alignment.align import read_hypotheses
    from trainer.alignment.align import write_hypotheses as write
    from trainer.evaluate.answers import MeasuredModel
    from trainer.evaluate.measure import prompts_of

    path = plan.output / "data" / "hypotheses.jsonl"
    if not path.is_file():
        model = MeasuredModel("SFT", str(plan.model("SFT")), plan.output / "answers", device=plan.options.device)
        answers = model.answers(prompts_of(examples), answer_settings(plan), Progress("hypotheses"))
        write(path, examples, answers)
    return [texts[0] for texts in read_hypotheses(path, examples, 1)]


def side_by_side(plan: Plan, work: Callable[[Plan, str, int], float], names: Sequence[str]) -> dict[str, float]:
    """Do the work for each name, as many at a time as --jobs says; return what it returns."""
    threads = plan.options.threads
    if plan.options.jobs == 1:
        return {name: work(plan, name, threads) for name in names}
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads in an unknown state
    with ProcessPoolExecutor(plan.options.jobs, mp_context=spawn, initializer=end_with_parent) as pool:
        waiting = {pool.submit(work, plan, name, threads): name for name in names}
        return {waiting[one]: one.result() for one in as_completed(waiting)}


def answer(plan: Plan, name: str, threads: int) -> float:
    """Write the answers of one model to test and validation pairs, so that measuring finds them; return the seconds."""
    from trainer.evaluate.answers import MeasuredModel
    from trainer.evaluate.measure import best_of_settings, prompts_of

    use_threads(threads)
    started = time.monotonic()
    prompts = prompts_of(read_examples(plan.output / "data" / "test.jsonl"))
    settings = measure_settings(plan)
    model = MeasuredModel(name, str(plan.model(name)), plan.output / "answers", device=plan.options.device)
    validation = prompts_of(read_examples(plan.output / "data" / "validation.jsonl"))
    model.answers([*prompts, *validation], settings.answers, Progress(f"answers of {name}"))
    if name == "base":
        model.answers(prompts, best_of_settings(settings), Progress(f"{settings.best_of} answers each of {name}"))
    return time.monotonic() - started


def answer_settings(plan: Plan) -> Any:
    """How answers are written everywhere."""
    from trainer.evaluate.answers import AnswerSettings

    options = plan.options
    return AnswerSettings(
        tokens=options.tokens, seed=options.seed, batch=options.answer_batch, longest_text=options.longest_text
    )


def measure_settings(plan: Plan) -> Any:
    """How everything is measured."""
    from trainer.evaluate.measure import MeasureSettings

    options = plan.options
    return MeasureSettings(
        answers=answer_settings(plan),
        seed=options.seed,
        best_of_temperature=options.temperature,
        window=options.longest_text,
        windows=options.windows,
    )


def measure(plan: Plan, examples: Sequence[Example], names: Sequence[str]) -> list[Measurement]:
    """ROUGE, neutrality and forgetting of the base and of all that was trained from it."""
    from mediator.empathy import EmpathyModel
    from trainer.evaluate.answers import MeasuredModel
    from trainer.evaluate.forgetting import read_prose
    from trainer.evaluate.measure import measure_demographics, measure_forgetting, measure_neutrality, measure_rouge

    options = plan.options
    kept = plan.output / "answers"
    models = [MeasuredModel(name, str(plan.model(name)), kept, device=options.device) for name in names]
    settings = measure_settings(plan)
    found = [measure_rouge(models, examples, settings, Progress)]
    scorer = EmpathyModel.load()
    try:
        found.append(measure_neutrality(models, examples[:100], scorer, settings, Progress))
    finally:
        scorer.close()
    found.append(measure_demographics(models, examples, settings, Progress))
    if options.text:
        found.append(measure_forgetting(models, read_prose(options.text), settings, Progress))
    for one in found:
        one.save(plan.output / f"{one.subject}.json")
    return found


def measure_on_validation(plan: Plan, names: Sequence[str]) -> Measurement | None:
    """ROUGE once more, on the pairs that are neither learned from nor in the tables; None where there are none."""
    from trainer.evaluate.answers import MeasuredModel
    from trainer.evaluate.measure import measure_rouge

    examples = read_examples(plan.output / "data" / "validation.jsonl")
    if not examples:
        return None
    kept = plan.output / "answers"
    models = [MeasuredModel(name, str(plan.model(name)), kept, device=plan.options.device) for name in names]
    found = measure_rouge(models, examples, replace(measure_settings(plan), best_of=1), Progress)
    found.save(plan.output / "rouge-validation.json")
    return found


def second_term(plan: Plan, examples: Sequence[Example], answers: Sequence[str]) -> dict[str, list[float]]:
    """Weigh the gradient of eq. 1's second term: sigma(s_hypothesis) at the start, for each kind of score.

    d/ds of -log sigma(-s) is sigma(s): the factor by which the hypothesis's gradient is multiplied.
    """
    import torch

    from trainer.alignment.watching import batch_of, encode_answer
    from trainer.losses import score
    from trainer.models.likelihood import response_log_probabilities
    from trainer.models.pretrained import load
    from trainer.models.prompting import prompt_of

    path = plan.output / "second_term.json"
    if path.is_file():
        known: dict[str, list[float]] = json.loads(path.read_text(encoding="utf-8"))
        return known
    model, tokenizer = load(str(plan.model("SFT")), device=plan.options.device)
    found: dict[str, list[float]] = {"sum": [], "mean": [], "log_ratio": [], "log_probability": []}
    for example, answer in zip(examples[:64], answers, strict=False):
        text = encode_answer(tokenizer, prompt_of(example), answer, plan.options.longest_text)
        batch = batch_of([text], model.device)
        with torch.inference_mode():
            logits = model(input_ids=batch["tokens"]).logits
            sums, counts = response_log_probabilities(logits, batch["tokens"], batch["response"])
            found["log_probability"].append(float(sums))
            for kind in ("sum", "mean", "log_ratio"):
                found[kind].append(float(torch.sigmoid(score(sums, counts, kind, sums).double())))
    path.write_text(json.dumps(found), encoding="utf-8")
    return found


def use_threads(threads: int) -> None:
    """Keep processes that run side by side from fighting for the same cores."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    logging.getLogger().setLevel(logging.WARNING)


def run(options: argparse.Namespace) -> Path:
    """Do all of it; return the page."""
    plan = Plan(options, Path(options.output))
    use_threads(options.threads_alone)
    seconds: dict[str, float] = {}

    def timed(name: str, work: Any, *given: Any) -> Any:
        started = time.monotonic()
        result = work(*given)
        seconds[name] = time.monotonic() - started
        sys.stderr.write(f"-- {name}: {seconds[name]:.0f} s\n")
        return result

    learned, tested = timed("split", divide, plan)
    timed("SFT", train, plan, "SFT", options.threads_alone)
    answers = timed("hypotheses", write_hypotheses, plan, learned)
    weights = timed("second term", second_term, plan, learned, answers)
    spent = timed("alignments", side_by_side, plan, train, plan.runs)
    names = ["base", "SFT", *plan.runs]
    timed("answers", side_by_side, plan, answer, names)
    measurements = timed("measurement", measure, plan, tested, names)
    validation = timed("validation", measure_on_validation, plan, names)
    facts = {
        "options": {name: str(value) for name, value in sorted(vars(options).items())},
        "data": json.loads((plan.output / "data" / "done").read_text(encoding="utf-8")),
        "base": _facts_of_base(Path(options.base)),
        "seconds_this_time": seconds,
        "seconds_of_runs": {name: spent[name] for name in plan.runs},
    }
    results = {**facts, **{one.subject: one.model_dump() for one in measurements}, "second_term": weights}
    results["rouge_validation"] = validation.model_dump() if validation else None
    (plan.output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    curves = {name: plan.folder(name) / "metrics.jsonl" for name in ALWAYS}
    examples = read_examples(options.dataset)
    return write_page(plan.output, facts, examples, measurements, weights, curves, options.seed, validation)


def _facts_of_base(folder: Path) -> dict[str, Any]:
    path = folder / "pretraining.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--base", required=True, help="the folder of the model to start from")
    add("--dataset", required=True, help="a data set with candidates")
    add("--text", type=Path, help="WikiText-2's test.txt, for Table 4")
    add("--output", required=True, type=Path)
    add("--also", action="append", default=[], choices=[name for name in RUNS if name not in ALWAYS])
    add("--train-pairs", type=int, default=0, help="at most so many pairs to learn from; 0: all")
    add("--align-pairs", type=int, default=120, help="at most so many of them for the alignments; 0: all")
    add("--test-pairs", type=int, default=80, help="at most so many pairs to measure on; 0: all")
    add("--sft-epochs", type=float, default=1.0, help="the paper: 1")
    add("--nce-epochs", type=float, default=8.0, help="of NCE, DPO and NCA; the paper: 8")
    add("--task-epochs", type=float, default=12.0, help="the paper: 12")
    add("--sft-rate", type=float, default=1e-3, help="learning rate; the paper's 3e-5 is for 8B weights")
    add("--rate", type=float, default=3e-4, help="learning rate of the alignments")
    add("--layers", type=int, default=3, help="how many of the last layers are aligned; the paper: 3")
    add("--batch", type=int, default=4)
    add("--accumulation", type=int, default=1)
    add("--longest-text", type=int, default=512)
    add("--tokens", type=int, default=120, help="the longest answer")
    add("--answer-batch", type=int, default=20)
    add("--temperature", type=float, default=1.0, help="at which the best of 5 are drawn")
    add("--windows", type=int, default=128, help="windows of the prose, evenly spaced; 0: all")
    add("--checkpoint-every", type=int, default=200)
    add("--jobs", type=int, default=2, help="alignments, or models that answer, at the same time")
    add("--threads", type=int, default=1, help="of each of these")
    add("--threads-alone", type=int, default=1, help="of what runs alone; more pays only where the cores are free")
    add("--seed", type=int, default=0)
    add("--device", default="auto", choices=("auto", "cpu", "cuda"))
    options = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        print(run(options).read_text(encoding="utf-8"))
    except EvenhandError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

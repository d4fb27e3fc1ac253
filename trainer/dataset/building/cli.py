"""`evenhand dataset build`: writes candidates for many disputes, after saying what that will take."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Only light imports here: `evenhand --help` must not wait for what it does not need.
from mediator.cancellation import Cancellation
from mediator.cli_output import DONE, FAILED, INTERRUPTED, add_encoder, add_output, print_json, say
from mediator.ctrl_c import ctrl_c_calls
from mediator.durations import duration
from mediator.errors import InputError
from mediator.settings import MODEL_VARIABLE, default_encoder, default_model, user_path

if TYPE_CHECKING:
    from mediator.empathy import EmpathyModel
    from mediator.models import ModelChoice
    from trainer.dataset.building.crew import Crew
    from trainer.dataset.building.synthesis import BuildOptions, BuildReport
    from trainer.dataset.data import Example


def add_build(actions: Any) -> None:
    """Add ``build`` to the actions of `evenhand dataset`."""
    parser = actions.add_parser(
        "build",
        help="write candidates for many disputes, with any writer and strategy",
        description="Write candidates for many disputes, with any writer and strategy.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="""\
SOURCE is a JSONL file: lines of a data set without candidates, or rated pairs {"view_a", "view_b", "empathy"}.

Each dispute is saved as it is done. Call the same command again to go on after Ctrl-C, a kill or a failure: what is
in FILE is not done again, and what failed is tried again.

examples:
  evenhand dataset build pairs.jsonl --output candidates.jsonl --workers 2
  evenhand dataset build pairs.jsonl --output claude.jsonl --model claude --batch-api --limit 200
  evenhand dataset build pairs.jsonl --output mine.jsonl --model openai:qwen3@http://localhost:8080/v1 --workers 8

exit status: 0 done; 1 the work failed for some disputes, or all; 2 bad usage or bad input; 130 stopped with Ctrl-C""",
    )
    parser.add_argument("source", metavar="SOURCE", help="the disputes, a JSONL file")
    parser.add_argument("--output", required=True, metavar="FILE", help="the data set to write, or to go on with")
    parser.add_argument(
        "--model", metavar="M", help=f"who writes, as in `evenhand propose` (default: ${MODEL_VARIABLE} or drafter)"
    )
    parser.add_argument(
        "--strategy",
        metavar="S",
        default="all",
        help="single, cot, cot-self-score, cot-feedback, or all: the best of what the four wrote (default: all)",
    )
    parser.add_argument(
        "-n", "--count", type=int, default=4, metavar="N", help="candidates written at a time, and kept (default: 4)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="at most so many rounds of cot-feedback (default: 3)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed repeats what can be repeated (default: 0)"
    )
    add_encoder(parser)
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="disputes at the same time: processes of the drafter (default: 1), requests to a server (default: 4)",
    )
    parser.add_argument(
        "--batch-api",
        action="store_true",
        help="ask Claude through Anthropic's Message Batches API: at half the price, answered within 24 hours",
    )
    parser.add_argument(
        "--price-input", type=float, metavar="DOLLARS", help="for a million tokens that the model reads"
    )
    parser.add_argument("--price-output", type=float, metavar="DOLLARS", help="for a million tokens that it writes")
    parser.add_argument("--yes", action="store_true", help="do not ask before a remote model is paid")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th dispute of SOURCE")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N disputes")
    add_output(parser)
    parser.set_defaults(handler=build_command)


def build_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand dataset build`: check everything, load, say what it will take, write, report."""
    from mediator.cli import cancelled_by_interrupt
    from mediator.empathy import EmpathyModel
    from mediator.models import parse_model
    from trainer.dataset.building.meter import Meter
    from trainer.dataset.building.synthesis import BuildOptions, build, choose, settings_of, workers_for
    from trainer.dataset.data import read_disputes

    options = BuildOptions(arguments.strategy, arguments.count, arguments.rounds, arguments.seed, arguments.workers)
    options.mediation()
    model = parse_model(arguments.model or default_model())
    if arguments.batch_api and model.kind != "claude":
        raise InputError(f"--batch-api is for Claude, and --model is {model}.", "Leave it out, or give --model claude.")
    workers_for(model, options.workers)
    encoder = arguments.encoder or default_encoder()
    output = user_path(arguments.output)
    everything, repeated = read_disputes(arguments.source)
    disputes = choose(everything, arguments.every, arguments.limit)
    if repeated:
        say(f"{repeated:,} lines repeat the views of an earlier one and are left out.")
    scorer = EmpathyModel.load(encoder)
    cancel = Cancellation()
    try:
        with Meter(sys.stderr) as meter, _writing(arguments, options, model, scorer, output, meter.tell) as writing:
            say(f"{len(disputes):,} disputes, written by {writing.name} into {output}.")
            with cancelled_by_interrupt(cancel):
                report = build(
                    disputes,
                    output,
                    settings_of(writing.name, scorer, options),
                    writing.crew,
                    cancel,
                    meter.show,
                    lambda left: _agreed(left, writing, options, arguments),
                )
            if report.present + report.written == report.total:
                writing.tidy()
    finally:
        scorer.close()
    return _report(report, output, arguments)


@dataclass
class _Writing:
    """Who writes: the crew, the model, where the text goes (None: it stays here), what is tidied up in the end."""

    crew: "Crew"
    name: str
    destination: str | None
    tidy: Callable[[], None] = lambda: None


@contextmanager
def _writing(
    arguments: argparse.Namespace,
    options: "BuildOptions",
    model: "ModelChoice",
    scorer: "EmpathyModel",
    output: Path,
    tell: Callable[[str], None],
) -> Iterator[_Writing]:
    """Load who writes, and free it in the end."""
    if arguments.batch_api:
        from trainer.dataset.building.batch_api import BatchClient
        from trainer.dataset.building.batch_crew import BatchCrew
        from trainer.dataset.building.batch_journal import BatchJournal

        client = BatchClient(model.model)
        try:
            journal = BatchJournal(output.with_name(output.name + ".batches"))
            crew = BatchCrew(client, journal, scorer, options.mediation(), tell)
            yield _Writing(crew, f"claude:{client.model}", client.destination, journal.remove)
        finally:
            client.close()
        return
    from mediator.models import load_writer
    from trainer.dataset.building.synthesis import crew_for

    writer = load_writer(model, scorer)
    try:
        crew_of_threads = crew_for(model, writer, scorer, arguments.encoder or default_encoder(), options)
        yield _Writing(crew_of_threads, writer.name, writer.destination)
    finally:
        writer.close()


def _agreed(
    left: "Sequence[Example]", writing: _Writing, options: "BuildOptions", arguments: argparse.Namespace
) -> bool:
    """Say what a remote model will be asked and what that costs, and ask whether to begin. What stays here is free."""
    from trainer.dataset.building.cost import cost_words, estimate, price_of

    given = (arguments.price_input, arguments.price_output)
    if writing.destination is None and given == (None, None):
        return True
    model = writing.name.partition(":")[2]
    thinks = writing.name.startswith("claude:")
    price = price_of(model, given, arguments.batch_api)
    say(f"The texts of {len(left):,} disputes go to {writing.destination or 'this computer'}.")
    say(cost_words(estimate(left, options.mediation(), thinks, price), model))
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise InputError("Nobody can be asked here whether to begin.", "Give --yes.")
    say("Begin? [y/N]")
    # Elsewhere here Ctrl-C only cancels what has not begun; while an answer is awaited, it ends the program.
    with ctrl_c_calls(signal.default_int_handler):
        return sys.stdin.readline().strip().lower() in ("y", "yes")


def _report(report: "BuildReport", output: Path, arguments: argparse.Namespace) -> int:
    if report.declined:
        say("Not begun.")
        return DONE
    for outcome in report.partly:
        say(f"{outcome.id}: drafted without one of the strategies. {outcome.problem}")
    for outcome in report.failed:
        say(f"{outcome.id} failed: {outcome.problem}")
    left = report.total - report.present - report.written
    say(
        f"{report.written:,} {'dispute' if report.written == 1 else 'disputes'} drafted in {duration(report.seconds)}"
        + (f", {report.present:,} were there before" if report.present else "")
        + (f", {left:,} are left" if left else "")
        + "."
    )
    if report.mended:
        say(f"A last line torn by a kill was cut off ({report.mended:,} bytes).")
    if report.given_up is not None:
        say(f"Given up: {report.given_up}")
    if left:
        say("Call the same command again to go on.")
    if arguments.json:
        print_json(
            {
                "output": str(output),
                "disputes": report.total,
                "present": report.present,
                "written": report.written,
                "failed": [{"id": outcome.id, "problem": outcome.problem} for outcome in report.failed],
                "partly": [{"id": outcome.id, "problem": outcome.problem} for outcome in report.partly],
                "left": left,
                "cancelled": report.cancelled,
                "given_up": str(report.given_up) if report.given_up else None,
                "seconds": round(report.seconds, 1),
            }
        )
    if report.cancelled:
        return INTERRUPTED
    return FAILED if left else DONE

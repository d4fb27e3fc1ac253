"""The sub-commands of the main job: propose, score, models, sessions. ui/cli.py makes them part of `evenhand`."""

import argparse
import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType
from typing import IO, TYPE_CHECKING, Any, TypeVar

# Only light imports here: `evenhand --help` and a mistyped option must not wait for what they do not need.
from mediator.cancellation import Cancellation, Cancelled
from mediator.cli_output import (
    BAD_INPUT,
    DONE,
    FAILED,
    INTERRUPTED,
    Handler,
    add_encoder,
    add_output,
    clean,
    picture,
    print_json,
    say,
)
from mediator.ctrl_c import ctrl_c_calls
from mediator.errors import EvenhandError, InputError
from mediator.models_cli import add_models
from mediator.sessions_cli import add_sessions
from mediator.settings import MODEL_VARIABLE, default_encoder, default_model

if TYPE_CHECKING:
    from mediator.mediation import Event, MediationDone
    from mediator.models import ModelChoice
    from mediator.schema import Dispute, Scores
    from mediator.writers.base import Writer

__all__ = ["BAD_INPUT", "DONE", "FAILED", "INTERRUPTED", "Handler", "add_commands", "run_guarded", "say"]

Item = TypeVar("Item")

_MODELS = """\
models (--model):
  drafter                  the default: hand-written measures and a search; no language model
  bundled                  a language model that ships with Evenhand (not in this version)
  claude[:MODEL]           Claude, over the network; needs ANTHROPIC_API_KEY, or a key entered in the Models tab
  gguf:PATH                a language model in a GGUF file, run by llama.cpp; or gguf:NAME, a downloaded one
  hf:PATH_OR_ID[+ADAPTER]  a Hugging Face model, with a PEFT adapter if you like
  openai:MODEL@URL         any server that speaks the OpenAI protocol; sends OPENAI_API_KEY if set
"""

_DISPUTE_HELP = "a YAML or JSON file, the name of a bundled example, or - for standard input"


def add_commands(commands: Any) -> None:
    """Add propose, score, models and sessions to a parser's sub-commands; each sets ``handler`` to a `Handler`."""
    _add_propose(commands)
    _add_score(commands)
    add_models(commands)
    add_sessions(commands)


def run_guarded(handler: Handler, arguments: argparse.Namespace) -> int:
    """Run a sub-command and return what to exit with. A failure is one sentence on stderr; its traceback is logged."""
    from mediator.log import log_error, log_file, start_logging

    start_logging(bool(getattr(arguments, "verbose", False)))
    try:
        status = handler(arguments)
        sys.stdout.flush()
        return status
    except EvenhandError as error:
        log_error(error)
        say(str(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more when it flushes at exit.
        _redirect_to_nowhere(sys.stdout)
        return DONE
    except (KeyboardInterrupt, Cancelled):
        say("Stopped.")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last resort: no traceback on the screen
        log_error(error)
        say(f"Something went wrong inside Evenhand ({type(error).__name__}). The details are in {log_file()}.")
        return FAILED


def _add_propose(commands: Any) -> None:
    parser = commands.add_parser(
        "propose",
        help="draft compromises for a dispute, with their closeness to both sides",
        description="Draft compromises for a dispute and show how close each comes to both sides.",
        epilog=_MODELS
        + """
strategies (--strategy), after the paper:
  single          one request
  cot             first what the two suggestions share, then compromises
  cot-self-score  the model rates its own closeness to each view and improves
  cot-feedback    the default: the scores go back to the model, up to --rounds times
  all             the four of them, and the best of all they wrote

examples:
  evenhand propose library-hours
  evenhand propose dispute.yaml --strategy all --json
  evenhand propose --view-a "Dogs need to run." --view-b "Dogs must be on a leash." --comment "no fences"

exit status: 0 done; 1 the work failed, or failed half-way (what was finished is printed); 2 bad usage or bad input;
130 stopped with Ctrl-C (what was finished is printed)""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_dispute(parser)
    parser.add_argument("--model", metavar="M", help=f"who writes; see below (default: ${MODEL_VARIABLE} or drafter)")
    parser.add_argument(
        "--strategy", metavar="S", default="cot-feedback", help="how it is asked; see below (default: cot-feedback)"
    )
    parser.add_argument("-n", "--count", type=int, default=4, metavar="N", help="how many compromises (default: 4)")
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="at most so many rounds of cot-feedback (default: 3)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed repeats what can be repeated (default: 0)"
    )
    parser.add_argument(
        "--comment",
        action="append",
        default=[],
        metavar="TEXT",
        help='the mediator\'s own wish, such as "no cameras" or "cheaper"; may be given several times',
    )
    _add_common(parser)
    parser.set_defaults(handler=propose_command)


def _add_score(commands: Any) -> None:
    parser = commands.add_parser(
        "score",
        help="score texts against both views of a dispute",
        description="Score texts against both views of a dispute. With --json: a list in the order given.",
        epilog="""\
example:
  evenhand score library-hours --text "Quiet until three, lively afterwards." --text "Close the library."

exit status: 0 done; 1 the work failed; 2 bad usage or bad input""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_dispute(parser)
    parser.add_argument(
        "--text",
        action="append",
        required=True,
        metavar="TEXT",
        help="a text to score, such as a compromise; may be given several times",
    )
    _add_common(parser)
    parser.set_defaults(handler=score_command)


def _add_dispute(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dispute", nargs="?", metavar="DISPUTE", help=_DISPUTE_HELP)
    parser.add_argument("--view-a", metavar="TEXT", help="the first view, instead of DISPUTE")
    parser.add_argument("--view-b", metavar="TEXT", help="the second view, instead of DISPUTE")


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_encoder(parser)
    add_output(parser)


def propose_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand propose`: check everything, load, announce where the text goes, write, print."""
    from mediator.mediation import MediationOptions, propose
    from mediator.models import hears_feedback, parse_model

    options = MediationOptions(
        strategy=arguments.strategy,
        count=arguments.count,
        rounds=arguments.rounds,
        seed=arguments.seed,
        comments=tuple(clean(comment) for comment in arguments.comment),
    )
    choice = parse_model(arguments.model or default_model())
    dispute = _dispute(arguments)
    scorer, writer = _load(choice, arguments.encoder or default_encoder())
    try:
        if writer.destination is not None:
            say(f"The text of the views goes to {writer.destination} (model {writer.name}).")
        if not hears_feedback(choice):
            say(f"{writer.name} was trained on the two views alone: it hears neither comments nor scores.")
        cancel = Cancellation()
        events = propose(dispute, writer, scorer, options, cancel)
        with cancelled_by_interrupt(cancel):
            done = _watch(_in_background(events, cancel))
    finally:
        writer.close()
        scorer.close()
    if arguments.json:
        print_json(
            {
                "dispute": dispute.model_dump(mode="json"),
                "model": writer.name,
                "strategy": options.strategy,
                "seed": options.seed,
                "candidates": [_candidate_as_json(candidate) for candidate in done.candidates],
                "timings": {name: round(seconds, 4) for name, seconds in done.timings.items()},
            }
        )
    else:
        _print_result(dispute, writer, done, options.count, options.strategy)
    sys.stdout.flush()
    if done.cancelled:
        say("Stopped; this is what was finished." if done.candidates else "Stopped before anything was finished.")
        return INTERRUPTED
    if done.problem:
        say(done.problem)
        return FAILED
    return DONE


def score_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand score`."""
    from mediator.empathy import EmpathyModel
    from mediator.mediation import LONGEST_VIEW, check_length

    texts = [clean(text) for text in arguments.text]
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise InputError(f"Text {number} is empty: there is nothing to score.", "Give --text at least one word.")
        if len(text) > LONGEST_VIEW:
            raise InputError(f"Text {number} has {len(text):,} characters.", f"Shorten it to {LONGEST_VIEW:,}.")
    dispute = _dispute(arguments)
    check_length(dispute)
    scorer = EmpathyModel.load(arguments.encoder or default_encoder())
    try:
        scored = list(zip(texts, scorer.score(dispute, texts), strict=True))
    finally:
        scorer.close()
    if arguments.json:
        print_json([{"text": text, **_scores_as_json(scores)} for text, scores in scored])
        return DONE
    from mediator.terminal import ONLY_ENGLISH

    shown = picture(sys.stdout)
    shown.dispute(dispute)
    for number, (text, scores) in enumerate(scored, start=1):
        shown.scored(number, text, scores)
    if any(not scores.measured for _, scores in scored):
        shown.line(ONLY_ENGLISH)
    return DONE


def _dispute(arguments: argparse.Namespace) -> "Dispute":
    from mediator.disputes import example_names, read_dispute
    from mediator.schema import Dispute, View

    given = (arguments.view_a is not None, arguments.view_b is not None)
    if arguments.dispute is not None:
        if any(given):
            raise InputError("Both DISPUTE and a view are given.", "Give DISPUTE, or --view-a and --view-b.")
        return read_dispute(arguments.dispute)
    if not any(given):
        raise InputError(
            "No dispute is given.",
            f"Name a file or an example ({', '.join(example_names())}), or give --view-a and --view-b.",
        )
    if not all(given):
        raise InputError(f"--view-{'b' if given[0] else 'a'} is missing.", "Give both views.")
    views = [clean(arguments.view_a), clean(arguments.view_b)]
    for option, text in zip(("--view-a", "--view-b"), views, strict=True):
        if not text.strip():
            raise InputError(f"{option} is empty.", "Say what this side wants, and why.")
    return Dispute(view_a=View(text=views[0]), view_b=View(text=views[1]))


def _load(choice: "ModelChoice", encoder: str) -> "tuple[Any, Writer]":
    from mediator.empathy import EmpathyModel
    from mediator.models import load_writer

    scorer = EmpathyModel.load(encoder)
    try:
        return scorer, load_writer(choice, scorer)
    except BaseException:
        scorer.close()
        raise


def _candidate_as_json(candidate: Any) -> dict[str, Any]:
    from mediator.neutrality import scores_of

    scores = scores_of(candidate)
    return {
        "text": candidate.text,
        "strategy": str(candidate.strategy),
        "round": candidate.round,
        **_scores_as_json(scores),
    }


def _scores_as_json(scores: "Scores") -> dict[str, float | bool]:
    """Return scores in the order of docs/data-formats.md; how sure they are only where that is known.

    ``measured`` is false for what is not in English: the figures beside it say nothing.
    """
    names = ("score_a", "score_b", "raw_a", "raw_b", "gap", "tilt", "warmth")
    unsure = ("score_error_a", "score_error_b", "tilt_low", "tilt_high")
    known = [name for name in unsure if getattr(scores, name) is not None]
    return {name: getattr(scores, name) for name in (*names, *known, "measured")}


def _print_result(dispute: "Dispute", writer: "Writer", done: "MediationDone", count: int, strategy: str) -> None:
    from mediator.terminal import READY_MADE, destination_words, timing_words

    shown = picture(sys.stdout)
    shown.dispute(dispute)
    shown.result(done)
    shown.notes(done, count, strategy)
    if writer.name == "drafter" and done.candidates:
        shown.line(READY_MADE)
    shown.line(f"{destination_words(writer.destination, writer.name)} {timing_words(done.timings)}")


def _watch(events: "Iterator[Event]") -> "MediationDone":
    """Show progress on stderr when it is a terminal; return the last event."""
    from mediator.mediation import MediationDone

    live = progress = None
    if sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown"):
        from rich.live import Live

        from mediator.terminal import Progress

        shown = picture(sys.stderr)
        progress = Progress(shown)
        live = Live(
            get_renderable=progress.picture,
            console=shown.console,
            transient=True,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )
    done: MediationDone | None = None
    with live or nullcontext():
        for event in events:
            if isinstance(event, MediationDone):
                done = event
            elif progress is not None:
                progress.see(event)
    if done is None:
        raise RuntimeError("a mediation ended without its last event")
    return done


def _in_background(items: Iterator[Item], cancel: Cancellation) -> Iterator[Item]:
    """Iterate in another thread, so that Ctrl-C is heard also while native code or a silent network has this one.

    Python runs signal handlers in the main thread only, between two of its own instructions.
    """
    arrived: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def work() -> None:
        try:
            for item in items:
                arrived.put(("item", item))
            arrived.put(("end", None))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that listens
            arrived.put(("error", error))

    worker = threading.Thread(target=work, name="mediation", daemon=True)
    worker.start()
    try:
        while True:
            try:
                # With a limit, because without one Windows does not wake up for Ctrl-C.
                kind, value = arrived.get(timeout=0.5)
            except queue.Empty:
                continue
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        cancel.cancel()
        worker.join(timeout=5.0)


@contextmanager
def cancelled_by_interrupt(cancel: Cancellation) -> Iterator[None]:
    """While the block runs, Ctrl-C cancels; a second one ends the program at once."""

    def interrupted(number: int, frame: FrameType | None) -> None:
        if cancel.cancelled:
            if sys.stderr.isatty():
                sys.stderr.write("\x1b[?25h")  # the progress display has hidden the cursor
            say("Stopped at once.")
            os._exit(INTERRUPTED)
        # In a thread of its own: this handler may have interrupted a function that holds the lock that cancel() takes.
        threading.Thread(target=cancel.cancel, daemon=True).start()

    with ctrl_c_calls(interrupted):
        yield


def _redirect_to_nowhere(stream: IO[str]) -> None:
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)

"""`evenhand runs`: list, show, stop, resume and delete the runs of training on this computer."""

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

# Only light imports here: `evenhand --help` must not wait for what it does not need.
from mediator.cli_output import DONE, EXIT_STATUS, FAILED, add_action, add_output, clean, picture, print_json, say
from mediator.errors import InputError
from trainer.train_cli import add_launching

if TYPE_CHECKING:
    from mediator.terminal import Picture
    from trainer.runs.runs import Run

_ID_HELP = "the run's id, or at least four characters of its beginning or end"
_PLOTTED = ("loss", "validation_loss", "target_log_likelihood", "hypothesis_log_likelihood", "rougeL", "gap", "warmth")
_SHOWN = (*_PLOTTED, "rouge1", "learning_rate", "samples_per_second", "tokens_per_second")


def add_runs(commands: Any) -> None:
    """Add ``runs`` with its actions to a parser's sub-commands; each sets ``handler``."""
    parser = commands.add_parser(
        "runs",
        help="list, show, stop, resume and delete runs of training",
        description="List, show, stop, resume and delete the runs of training on this computer.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = _action(actions, "list", "list the runs, the newest first")
    listing.set_defaults(handler=list_command)
    show = _action(actions, "show", "show a run: state, settings, curves, the end of its log")
    show.add_argument("id", metavar="ID", help=_ID_HELP)
    show.add_argument("--lines", type=int, default=15, metavar="N", help="lines of the log (default: 15)")
    show.set_defaults(handler=show_command)
    stop = _action(actions, "stop", "stop a run after its present step; it keeps a checkpoint and can be resumed")
    stop.add_argument("id", metavar="ID", help=_ID_HELP)
    stop.add_argument("--now", action="store_true", help="end its processes at once; the last checkpoint is kept")
    stop.set_defaults(handler=stop_command)
    resume = _action(actions, "resume", "go on with a run that was stopped or failed, from its last checkpoint")
    resume.add_argument("id", metavar="ID", help=_ID_HELP)
    add_launching(resume)
    resume.set_defaults(handler=resume_command)
    delete = _action(actions, "delete", "delete a run with its checkpoints and its model for good")
    delete.add_argument("id", metavar="ID", help=_ID_HELP)
    delete.add_argument("--yes", action="store_true", help="do not ask")
    delete.set_defaults(handler=delete_command)


def _action(actions: Any, name: str, what: str) -> argparse.ArgumentParser:
    interrupted = "; 130 stopped with Ctrl-C" if name == "resume" else ""
    parser = add_action(actions, name, what, exit_status=EXIT_STATUS + interrupted)
    add_output(parser)
    return parser


def list_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand runs list`."""
    from trainer.runs import runs
    from trainer.train_cli import run_as_json

    found = runs.list_runs()
    if arguments.json:
        print_json([run_as_json(run) for run in found])
        return DONE
    shown = picture(sys.stdout)
    if not found:
        shown.line("There are no runs yet. Launch one with: evenhand train sft --help")
    for run in found:
        _print_whole(shown, f"{run.id}  {_state_words(run)}")
    return DONE


def show_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand runs show`."""
    from trainer.runs import runs
    from trainer.train_cli import run_as_json

    run = runs.find(clean(arguments.id))
    if arguments.json:
        about = {"settings": run.settings, "processes": run.processes, "created": run.created}
        log = runs.log_tail(run, arguments.lines)
        print_json({**run_as_json(run), **about, "history": runs.metrics(run), "log": log})
        return DONE
    shown = picture(sys.stdout)
    _print_whole(shown, f"{run.id}  {_state_words(run)}")
    for sentence in filter(None, (run.message, run.hint)):
        shown.line(sentence)
    _print_whole(shown, f"launched {time.strftime('%Y-%m-%d %H:%M', time.localtime(run.created))}, in {run.folder}")
    _print_whole(shown, _command(run))
    _show_metrics(shown, run)
    if tail := runs.log_tail(run, arguments.lines):
        shown.line("The end of the log:")
        for line in tail.split("\n"):
            _print_whole(shown, f"  {line}")
    return DONE


def stop_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand runs stop`: returns when the run has ended."""
    from trainer.runs import runs
    from trainer.train_cli import run_as_json

    run = runs.find(clean(arguments.id))
    was_active = run.active
    if was_active:
        say(f"Stopping {run.id}." if arguments.now else f"Stopping {run.id}: a checkpoint is written first.")
    run = runs.stop(run, 0.0) if arguments.now else runs.stop(run)
    if arguments.json:
        print_json(run_as_json(run))
    else:
        shown = picture(sys.stdout)
        shown.line(run.message if was_active and run.message else f"The run {run.id} does not work: {run.state}.")
        if run.resumable:
            shown.line(f"Go on with: evenhand runs resume {run.id}")
    return DONE


def resume_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand runs resume`."""
    from trainer.runs import runs
    from trainer.train_cli import resume_and_follow

    return resume_and_follow(runs.find(clean(arguments.id)), arguments)


def delete_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand runs delete`."""
    from trainer.runs import runs

    run = runs.find(clean(arguments.id))
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise InputError("Nobody can be asked whether to delete it.", "Say so with --yes.")
        sys.stderr.write(f"Delete {run.id} with its checkpoints and its model for good? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            say("Nothing was deleted.")
            return FAILED
    runs.delete(run)
    if arguments.json:
        print_json({"run": run.id, "deleted": True})
    else:
        picture(sys.stdout).line(f"{run.id} has been deleted.")
    return DONE


def _state_words(run: "Run") -> str:
    from trainer.runs.watch import progress_words

    if run.active:
        return progress_words(run, {})
    return f"{run.state} at step {run.step} of {run.steps}" if run.steps and run.state != "done" else run.state


def _command(run: "Run") -> str:
    """The command line of a run; empty for a recipe that this version does not know."""
    from trainer.config import ConfigError
    from trainer.runs import runs

    try:
        return runs.command_of(run.recipe, run.settings)
    except ConfigError:
        return ""


def _print_whole(shown: "Picture", text: str) -> None:
    """Print a line as it is, not broken at the width: to be copied, or in columns."""
    from rich.text import Text

    from mediator.terminal import safe

    shown.print(Text(shown.written(safe(text))))


def _show_metrics(shown: "Picture", run: "Run") -> None:
    from trainer.runs import runs
    from trainer.runs.watch import sparkline

    history = runs.metrics(run)
    for name in _PLOTTED:
        values = [line[name] for line in history if isinstance(line.get(name), int | float)]
        if len(values) > 1:
            curve = sparkline(values, max(10, min(60, shown.width - 45)), shown.unicode)
            _print_whole(shown, f"{name:26} {curve}  {values[0]:.4g} -> {values[-1]:.4g}")
    last = runs.latest(run)
    for name in _SHOWN:
        if name in last and sum(name in line for line in history) < 2:
            _print_whole(shown, f"{name:26} {last[name]:.4g}")

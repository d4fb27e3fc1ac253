"""`evenhand train`: one recipe of training, followed in the terminal or left to work by itself."""

import argparse
import shlex
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Only light imports here: `evenhand --help` must not wait for what it does not need.
from mediator.cli_output import DONE, FAILED, INTERRUPTED, add_output, clean, picture, print_json, say
from mediator.errors import EvenhandError, InputError
from mediator.settings import user_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.runs.runs import Run

_RECIPES = {
    "sft": "fine-tune a model on the candidates of a data set (template -> candidate)",
    "nce": "align a fine-tuned model with the paper's noise-contrastive loss, eq. (1)",
    "task": "align a fine-tuned model with the paper's task-based loss, eq. (2)",
    "dpo": "align with direct preference optimisation, a comparator",
    "nca": "align with noise contrastive alignment, a comparator",
    "calibrate": "align by calibration: ranked candidates of the model's own, the better ones likelier",
}

_FOLLOWED = """\
The run is followed until it ends. Ctrl-C, or closing the terminal, stops it and
keeps a checkpoint; with --detach it goes on by itself."""

_EXIT_STATUS = """\
exit status: 0 done; 1 the work failed, or somebody else stopped it; 2 bad usage or bad input; 130 stopped with Ctrl-C
(a checkpoint is kept)"""


class RunFailed(EvenhandError):
    """A run ended before it was done."""

    def __init__(self, run: "Run") -> None:
        super().__init__(run.message or f"The run {run.id} failed.", run.hint)
        self.exit_code = run.exit_code or FAILED


class _RecipeParser(argparse.ArgumentParser):
    """Lists the settings of a recipe in its help; they are read only when somebody asks."""

    recipe = ""

    def format_help(self) -> str:
        """Return the help with all settings of the recipe."""
        if self.recipe:
            self.epilog = f"{settings_words(self.recipe)}\n\n{_example(self.recipe)}\n\n{_EXIT_STATUS}"
        return super().format_help()


def add_train(commands: Any) -> None:
    """Add ``train`` with its recipes to a parser's sub-commands; each sets ``handler``."""
    parser = commands.add_parser(
        "train",
        help="train a model: fine-tuning, the paper's losses and their comparators, the encoder, the preference model",
        description="Train a model with one of the recipes. It works in a process of its own with a folder of its own; "
        "`evenhand runs` and the Train tab show it.",
        epilog="Each recipe has its settings: `evenhand train nce --help`.",
        allow_abbrev=False,
    )
    recipes = parser.add_subparsers(title="recipes", metavar="RECIPE", required=True, parser_class=_RecipeParser)
    for recipe, what in _RECIPES.items():
        _add_recipe(recipes, recipe, what)
    _add_attended(
        recipes,
        "preference",
        "learn from votes how widely acceptable a statement is (d-PM and its baselines)",
        "A head is measured on the conversations of each host, left out, and saved for `train calibrate --set "
        "ranking=preference`; a prefix (learns = prefix) is neither.",
        preference_command,
    )
    _add_attended(
        recipes,
        "empathy",
        "train, measure and export the encoder that scores (sentence-transformers)",
        "It is measured on raters and stories that it has not seen, before and after.",
        empathy_command,
    )


def _add_recipe(recipes: Any, recipe: str, what: str) -> None:
    parser = recipes.add_parser(
        recipe,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.\n\n{_FOLLOWED}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.recipe = recipe
    _add_settings(parser)
    add_launching(parser)
    parser.add_argument("--resume", metavar="ID", help="go on with a run that was stopped or failed")
    parser.add_argument(
        "--processes", type=int, metavar="N", help="how many work together, one for each GPU (default: 1)"
    )
    add_output(parser)
    parser.set_defaults(handler=train_command, recipe=recipe)


def add_launching(parser: argparse.ArgumentParser) -> None:
    """Add what launching and resuming a run share: --detach and --force."""
    parser.add_argument(
        "--detach", action="store_true", help="return at once with the run's id; the run goes on by itself"
    )
    parser.add_argument("--force", action="store_true", help="start also what the check of memory and disk refuses")


def _add_attended(
    recipes: Any, recipe: str, what: str, measured: str, handler: Callable[[argparse.Namespace], int]
) -> None:
    """Add a recipe that works in this process: it is over before one would look for its run."""
    parser = recipes.add_parser(
        recipe,
        help=f"{what}; works in this process",
        description=f"{what[0].upper()}{what[1:]}. {measured}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.recipe = recipe
    _add_settings(parser)
    add_output(parser)
    parser.set_defaults(handler=handler)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="settings, as YAML or JSON; without it, the defaults below")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="changes",
        help="a setting; may be given several times, and counts more than the file",
    )


def settings_words(recipe: str) -> str:
    """Return a recipe's settings for its help: name, what it takes, default, description."""
    from trainer.alignment.config import CONFIGS
    from trainer.empathy.config import EmpathyConfig
    from trainer.preference.config import PreferenceConfig

    others = {"preference": PreferenceConfig.model_fields, "empathy": EmpathyConfig.model_fields}
    lines = ["settings (--set NAME=VALUE, or NAME: VALUE in the file):"]
    kinds = {str(name): kind.model_fields for name, kind in CONFIGS.items()}
    for name, field in (kinds | others)[recipe].items():
        lines.append(f"  {name}  [{_kind(field.annotation)}; default: {_written(field.default)}]")
        lines += textwrap.wrap(field.description or "", 96, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def train_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand train RECIPE`: check, launch, follow, tell the result."""
    from trainer.alignment.config import load_config
    from trainer.runs import runs

    changes = [clean(change) for change in arguments.changes]
    if arguments.resume is not None:
        if changes or arguments.config or arguments.processes:
            raise InputError("A run is resumed with the settings it has.", "Leave --config, --set and --processes out.")
        run = runs.find(clean(arguments.resume))
        if run.recipe != arguments.recipe:
            raise InputError(
                f"The run {run.id} is one of {run.recipe}.", f"Resume it with: evenhand runs resume {run.id}"
            )
        return resume_and_follow(run, arguments)
    config = load_config(arguments.recipe, *_settings_of(arguments))
    processes = 1 if arguments.processes is None else arguments.processes
    if not arguments.force:
        from trainer.preflight.check import check

        estimate = check(arguments.recipe, config, processes=processes)
        for note in (*estimate.notes, estimate.sentence()):
            say(note)
    attached = not arguments.detach
    return follow(
        lambda: runs.launch(config, arguments.recipe, processes=processes, force=True, attached=attached), arguments
    )


def resume_and_follow(run: "Run", arguments: argparse.Namespace) -> int:
    """Go on with a run, and follow it unless ``--detach`` says not to."""
    from trainer.runs import runs

    return follow(lambda: runs.resume(run, force=arguments.force, attached=not arguments.detach), arguments)


def follow(launch: "Callable[[], Run]", arguments: argparse.Namespace) -> int:
    """Launch a run, follow it until it ends, and tell the result; with ``--detach``, only name it."""
    if arguments.detach:
        run = launch()
        if arguments.json:
            print_json(run_as_json(run))
        else:
            print(run.id, flush=True)
            say(f"The run works by itself. Watch it with: evenhand runs show {run.id}")
        return DONE
    from trainer.runs.watch import interrupts_kept, watch

    with interrupts_kept() as early:
        run = launch()
        say(f"The run {run.id} lies in {run.folder}")
        run, interrupted = watch(run, early)
    if arguments.json:
        print_json(run_as_json(run))
    if run.state == "failed":
        if run.folder.joinpath("checkpoints").is_dir():
            say(f"After mending it, go on with: evenhand runs resume {run.id}")
        raise RunFailed(run)
    if run.state == "stopped":
        say(f"{run.message} Go on with: evenhand runs resume {run.id}")
        return INTERRUPTED if interrupted else FAILED
    if not arguments.json:
        _print_result(run)
    return DONE


def run_as_json(run: "Run") -> dict[str, Any]:
    """Return what ``--json`` prints of a run: its state, where it lies, its model, and the last of each metric."""
    from trainer.runs import runs

    return {
        "run": run.id,
        "folder": str(run.folder),
        "recipe": run.recipe,
        "state": run.state,
        "phase": run.phase,
        "step": run.step,
        "steps": run.steps,
        "model": str(run.model) if run.model else None,
        "metrics": runs.latest(run),
        "message": run.message,
        "hint": run.hint,
    }


def _settings_of(arguments: argparse.Namespace) -> tuple[Path | None, list[str]]:
    """The file of settings, and the changes to it, that a command line names."""
    changes = [clean(change) for change in arguments.changes]
    return user_path(arguments.config) if arguments.config else None, changes


def empathy_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand train empathy`: train, tell how it follows human ratings before and after."""
    from trainer.config import load_settings
    from trainer.empathy.config import EmpathyConfig
    from trainer.empathy.recipe import run

    facts = run(load_settings(EmpathyConfig, "empathy", *_settings_of(arguments)), say)
    if arguments.json:
        print_json(facts)
        return DONE
    shown = picture(sys.stdout)
    print(f"The encoder is trained: {facts['output'] or 'it was not kept, for `output` is empty'}")
    for when, figures in facts["spearman"].items():
        for name, estimate in figures.items():
            shown.line(f"Spearman {when}, {name}: {estimate}")
    return DONE


def preference_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand train preference`: train, measure, tell what it is worth."""
    from trainer.config import load_settings
    from trainer.preference.config import PreferenceConfig
    from trainer.preference.recipe import train

    facts = train(load_settings(PreferenceConfig, "preference", *_settings_of(arguments)), say)
    if arguments.json:
        print_json(facts)
        return DONE
    shown = picture(sys.stdout)
    measured = facts["measured"]
    print(f"The preference model is trained: {user_path(facts['settings']['output'])}")
    for name in ("log_loss", "log_loss_gain", "brier", "rank", "groups") if measured else ():
        one = measured[name]
        shown.line(f"{name} {one['value']} [{one['low']}, {one['high']}]")
    if measured:
        better = (measured["log_loss_gain"]["low"] or 0) > 0
        print("It is better than a constant on conversations of hosts that it has not seen." if better else
              "It is not surely better than a constant on conversations of hosts that it has not seen.")  # fmt: skip
    return DONE


def _print_result(run: "Run") -> None:
    from trainer.runs import runs

    shown = picture(sys.stdout)
    print(f"The model is trained: {run.model}")
    for name, value in runs.latest(run).items():
        if name in ("loss", "validation_loss", "rouge1", "rougeL", "gap", "warmth"):
            shown.line(f"{name} {value:.4g}")
    print(f"Use it with: evenhand propose library-hours --model {shlex.quote(f'hf:{run.model}')}")


def _example(recipe: str) -> str:
    if recipe == "preference":
        return "example:\n  evenhand train preference --set votes=FOLDER --set output=FOLDER --set objective=r_q"
    if recipe == "empathy":
        return (
            "example:\n  evenhand train empathy --config assets/recipes/empathy.yaml --set base=MODEL_FOLDER "
            "--set ratings=pairs.jsonl --set output=FOLDER"
        )
    start = "MODEL_FOLDER" if recipe == "sft" else "the fine-tuned model, such as data/runs/SFT_RUN/model"
    return (
        f"example:\n  evenhand train {recipe} --set model=FOLDER --set dataset=candidates.jsonl --set epochs=2\n\n"
        f"`model` is {start}; paths are relative to the folder in which the command is called."
    )


def _kind(annotation: Any) -> str:
    from typing import get_args

    if annotation == list[str]:
        return "texts, as [one, other]"
    choices = get_args(annotation)
    if choices:
        return " | ".join(map(str, choices))
    return {int: "whole number", float: "number", bool: "true | false", str: "text"}.get(annotation, "text")


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value not in ("", []) else "empty"

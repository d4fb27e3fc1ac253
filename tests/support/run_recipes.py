"""Recipes without torch for the tests of runs: process, folder and launcher are real, what is learned is not.

`recipe_folder` makes a folder whose ``sitecustomize`` puts them in the place of trainer/recipes.py in every process
that has the folder on its PYTHONPATH. Which one runs is named by the ``model`` setting.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from mediator.errors import InputError
from trainer.progress import Stopped


def train(recipe: str, config: Any, folder: Path, reporter: Any, resume: bool) -> Path:
    """Do what the model's name says."""
    RECIPES[config.model](config, folder, reporter, resume)
    (folder / "model").mkdir(exist_ok=True)
    return folder / "model"


def count(config: Any, folder: Path, reporter: Any, resume: bool) -> None:
    """Count to `epochs` with a checkpoint at each step, and go on from the newest."""
    steps = int(config.epochs)
    done = max((int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoints/checkpoint-*")), default=0)
    reporter.phase("loading")
    for step in range(done + 1 if resume else 1, steps + 1):
        reporter.phase("training", step, steps)
        reporter.metrics(step, steps, step / steps, {"loss": 1 / step, "learning_rate": 1e-3})
        (folder / "checkpoints" / f"checkpoint-{step}").mkdir(parents=True)
        reporter.sample(step, "d1", f"text {step}", 0.5, None)
        if reporter.should_stop():
            raise Stopped
        time.sleep(config.learning_rate)


def deaf(config: Any, folder: Path, reporter: Any, resume: bool) -> None:
    """Work in a phase that never looks, in Python; starts a child that sleeps."""
    reporter.phase("loading")
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    while True:
        time.sleep(0.05)


def obstinate(config: Any, folder: Path, reporter: Any, resume: bool) -> None:
    """As `deaf`, and does not hear SIGTERM either."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    deaf(config, folder, reporter, resume)


def saving(config: Any, folder: Path, reporter: Any, resume: bool) -> None:
    """Hear that it shall stop, and write the last checkpoint without ever being done."""
    reporter.phase("loading")
    while not reporter.should_stop():
        time.sleep(0.05)
    time.sleep(600)


def out_of_memory(config: Any, folder: Path, reporter: Any, resume: bool) -> None:
    """Ask for more than any computer has."""
    bytearray(1 << 60)


def crash(config: Any, folder: Path, reporter: Any, resume: bool) -> None:
    """End as a native library does that reads where it must not."""
    reporter.phase("loading")
    import ctypes

    ctypes.string_at(0)


def bad_row(config: Any, folder: Path, reporter: Any, resume: bool) -> None:
    """Meet a bad line."""
    from trainer.dataset.data import read_examples

    read_examples(config.dataset)


def shout(config: Any, folder: Path, reporter: Any, resume: bool) -> None:
    """Write more on stderr and stdout than any pipe holds."""
    for number in range(20_000):
        print(f"line {number} " + "x" * 80, file=sys.stderr if number % 2 else sys.stdout)
    count(config, folder, reporter, resume)


def not_a_number(config: Any, folder: Path, reporter: Any, resume: bool) -> None:
    """Report a loss that is none, then go on."""
    reporter.metrics(1, 2, 0.5, {"loss": float("nan"), "gap": 0.25})
    while not reporter.should_stop():
        time.sleep(0.05)
    raise Stopped


def vanish(config: Any, folder: Path, reporter: Any, resume: bool) -> None:
    """End without a word."""
    reporter.phase("training", 1, 2)
    os.kill(os.getpid(), signal.SIGKILL)


def together(config: Any, folder: Path, reporter: Any, resume: bool) -> None:
    """Note who works, and wait for the end; all report."""
    rank = os.environ["RANK"]
    (folder / f"rank-{rank}").write_text(str(os.getpid()))
    reporter.phase("training", 1, 9)
    reporter.metrics(1, 9, 0.1, {"loss": float(rank)})
    while not reporter.should_stop():
        time.sleep(0.05)
    raise Stopped


def second_fails(config: Any, folder: Path, reporter: Any, resume: bool) -> None:
    """Have the second process fail while the first one works."""
    if os.environ["RANK"] == "1":
        raise InputError("The second one cannot.", "Mend it.")
    together(config, folder, reporter, resume)


_ALL = (
    *(count, deaf, obstinate, saving, out_of_memory, crash, bad_row, shout, not_a_number, vanish, together),
    second_fails,
)

RECIPES: dict[str, Callable[..., None]] = {function.__name__: function for function in _ALL}


def install() -> None:
    """Take the place of trainer/recipes.py in this process."""
    module = ModuleType("trainer.recipes")
    module.train = train  # type: ignore[attr-defined]
    sys.modules["trainer.recipes"] = module


def recipe_folder(parent: Path) -> Path:
    """Make the folder for PYTHONPATH."""
    folder = parent / "recipes"
    folder.mkdir()
    tests, source = Path(__file__).resolve().parents[1], Path(__file__).resolve().parents[2]
    # Only where the training is to run: importing it in every Python process would make each of them wait.
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'trainer.runs.process' in sys.orig_argv:\n"
        f"    sys.path += [{str(source)!r}, {str(tests)!r}]\n"
        "    from support.run_recipes import install\n"
        "    install()\n"
    )
    return folder

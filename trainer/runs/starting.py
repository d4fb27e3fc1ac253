"""Starting the process of a run, so that it outlives the one that starts it."""

import os
import secrets
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from mediator.settings import user_path
from trainer.alignment.config import RecipeConfig, make_config
from trainer.runs import processes
from trainer.runs.failures import memory_kills
from trainer.runs.folder import Launch, RunFolder, Status, write_json
from trainer.runs.process import PARENT_VARIABLE

RUN_VARIABLE = "EVENHAND_RUN"
"""Marks the environment of all processes of a run with its folder."""


def make_folder(parent: Path, recipe: str) -> RunFolder:
    """Make the folder of a new run: the recipe, the local time and a random end. Raises `OSError`."""
    parent.mkdir(parents=True, exist_ok=True)
    for _ in range(100):
        name = f"{recipe}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        with suppress(FileExistsError):
            (parent / name).mkdir()
            return RunFolder(parent / name)
    raise FileExistsError(f"{parent} gives no free name")


def start(folder: RunFolder, count: int, resumed: bool, attached: bool, program: str = "trainer.runs.process") -> None:
    """Start the process of a run and note which one it is. Raises `OSError`.

    Args:
        folder: of the run.
        count: how many processes work together.
        resumed: whether it goes on from its last checkpoint.
        attached: whether it ends with this process.
        program: the module that works in it.
    """
    for old in (folder.stop, folder.failure, folder.launch):
        old.unlink(missing_ok=True)
    before = folder.read_status()
    now = time.time()
    folder.write_status(Status(state="starting", updated=now, step=before.step, steps=before.steps))
    with open(os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        start = log.seek(0, os.SEEK_END)
        log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {'resumed' if resumed else 'launched'}\n".encode())
        log.flush()
        kills = memory_kills()
        # To a file, because a pipe that nobody reads stops the process when it is full.
        process = subprocess.Popen(  # noqa: S603 - this interpreter, with our own program
            _program(folder, count, resumed, program),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder.path.parent,
            env=_environment(folder, attached),
            **processes.detached(),
        )
    # Whoever ends is waited for, or its number would stay taken as long as this process lives.
    threading.Thread(target=process.wait, name=f"run {folder.path.name}", daemon=True).start()
    name = processes.name_of(process.pid)
    write_json(folder.launch, Launch(**name.model_dump(), at=now, log_start=start, memory_kills=kills).model_dump())


def _program(folder: RunFolder, count: int, resumed: bool, program: str) -> list[str]:
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)] if count > 1 else []
    return [
        *(sys.executable, *several, "-m", program, str(folder.path)),
        *(["--resume"] if resumed else []),
    ]


def _environment(folder: RunFolder, attached: bool) -> dict[str, str]:
    environment = dict(os.environ)
    # The process must find these packages also where they are not installed, and nothing else in its folder.
    source = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (environment.get("PYTHONPATH"), source)))
    environment |= {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", RUN_VARIABLE: str(folder.path)}
    environment.pop(PARENT_VARIABLE, None)
    if attached:
        environment[PARENT_VARIABLE] = processes.name_of().model_dump_json()
    return environment


def with_absolute_paths(config: RecipeConfig, recipe: str) -> RecipeConfig:
    """Return the settings with full paths: the process, and who resumes it, work in other folders."""
    changes: dict[str, str] = {}
    for name in ("model", "dataset", "validation", "hypotheses"):
        given = getattr(config, name, "")
        if given and (name != "model" or os.path.exists(user_path(given))):
            changes[name] = os.path.abspath(user_path(given))
    return make_config(recipe, {**config.model_dump(), **changes})

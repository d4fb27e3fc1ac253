"""Runs of training: launch one in a process of its own, find it again, watch, stop, resume and delete it.

A run is a folder; whoever looks into it knows all there is to know, also after the app was closed and opened again. The
process outlives the one that launched it. Nothing here needs torch.
"""

import os
import secrets
import shlex
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from mediator.errors import EvenhandError, InputError
from mediator.file_lock import Locked, locked
from mediator.settings import data_folder, user_path
from trainer.alignment.config import CONFIGS, Recipe, RecipeConfig, make_config
from trainer.runs import processes
from trainer.runs.failures import disk_full
from trainer.runs.folder import LIVE, RunFolder, Status, write_json
from trainer.runs.folder import read_lines as read_lines  # who shows a run reads its metrics with it
from trainer.runs.reading import Run as Run  # whoever uses runs has it from here
from trainer.runs.reading import ended, folders, read_run
from trainer.runs.starting import RUN_VARIABLE, make_folder, start, with_absolute_paths

_SAVING = 900.0  # seconds for the last checkpoint of a run that has heard that it shall stop
_AFTER_ASKING = 6.0  # seconds between SIGTERM and SIGKILL
_RECENT = 256 << 10  # bytes of metrics in which the last values are looked for
_PLACES = ("step", "steps", "epoch", "time")  # what of a line of metrics says when, and is no metric
_SHORTEST = 4  # characters of an id that name a run


class RunNotFound(InputError):
    """No run has this id, or several begin or end with it."""


class RunIsActive(EvenhandError):
    """The run works: it can be neither resumed nor deleted."""


class RunIsDone(EvenhandError):
    """The run is finished: there is nothing to resume."""


class CannotLaunch(EvenhandError):
    """The process or the folder of a run cannot be made."""


def runs_folder() -> Path:
    """The folder in which the folders of runs lie. Not created here."""
    return data_folder() / "runs"


def launch(
    config: RecipeConfig,
    recipe: Recipe | str,
    folder: Path | None = None,
    processes: int = 1,
    force: bool = False,
    attached: bool = False,
) -> Run:
    """Start a run in a process of its own and return it at once.

    Args:
        config: the settings of the recipe. Relative paths in it mean this process's working directory.
        recipe: one of `trainer.config.CONFIGS`.
        folder: in which the run's own folder is made; `runs_folder` by default.
        processes: how many work together, through torchrun; one for each GPU.
        force: launch also what the check before it refuses.
        attached: stop the run when this process ends; otherwise it goes on.

    Raises:
        InputError, ModelFileError, MissingExtraError, NotEnoughMemory, NotEnoughDisk: see
            `trainer.preflight.check.check`.
        CannotLaunch: the folder cannot be made or the process not be started.
    """
    if processes < 1:
        raise InputError(f"A run cannot have {processes} processes.", "Give 1, or the number of GPUs.")
    config = with_absolute_paths(config, str(recipe))
    parent = (folder or runs_folder()).absolute()
    if not force:
        from trainer.preflight.check import check

        check(recipe, config, folder=parent, processes=processes)
    try:
        made = make_folder(parent, str(recipe))
    except OSError as error:
        raise _cannot(error, parent) from error
    try:
        made.path.chmod(0o700)
        with locked(made.launch_lock):
            made.write_status(Status(updated=time.time()))
            values = {
                "recipe": recipe,
                "settings": config.model_dump(mode="json"),
                "created": time.time(),
                "gpus": processes,
            }
            write_json(made.config, values, synced=True)  # with this file, it is a run
            start(made, processes, resumed=False, attached=attached)
    except (OSError, Locked) as error:
        shutil.rmtree(made.path, ignore_errors=True)
        raise _cannot(error, parent) from error
    return find(str(made.path))


def find(named: str, folder: Path | None = None) -> Run:
    """Return a run by its id, by a beginning or end of it (four characters or more) that no other has, or its folder.

    Raises `RunNotFound`.
    """
    text = named.strip()
    if text and (os.sep in text or "/" in text) and (run := read_run(user_path(text).absolute())) is not None:
        return run
    parent = folder or runs_folder()
    names = [path.name for path in folders(parent)]
    if text in names and (run := read_run(parent / text)) is not None:
        return run
    close = [name for name in names if name.startswith(text) or name.endswith(text)] if len(text) >= _SHORTEST else []
    if len(close) == 1 and (run := read_run(parent / close[0])) is not None:
        return run
    if len(close) > 1:
        raise RunNotFound(f"{len(close)} runs are called like {named!r}.", "Give more of the id.")
    raise RunNotFound(f"There is no run {named!r}.", "List them with: evenhand runs list")


def list_runs(folder: Path | None = None) -> list[Run]:
    """Return all runs, the newest first. Folders that hold none are passed over."""
    found = [run for path in folders(folder or runs_folder()) if (run := read_run(path)) is not None]
    return sorted(found, key=lambda run: (run.created, run.id), reverse=True)


def refreshed(run: Run) -> Run:
    """Return the run as it is now. Raises `RunNotFound` when its folder is gone."""
    found = read_run(run.folder)
    if found is None:
        raise RunNotFound(f"The run {run.id} was deleted.", "List the others with: evenhand runs list")
    return found


def ask_to_stop(run: Run) -> None:
    """Ask a run to stop at its next step and to keep a checkpoint; returns at once. Of one that has ended: nothing."""
    if refreshed(run).active:
        try:
            RunFolder(run.folder).stop.touch()
        except FileNotFoundError as error:
            raise RunNotFound(f"The run {run.id} was deleted.", "List the others: evenhand runs list") from error
        except OSError as error:
            if error.errno and not RunFolder(run.folder).stop.exists():
                _end_processes(run)  # a full or closed disk: then without asking
                _note_end(RunFolder(run.folder), "Its processes were ended.")


def stop(run: Run, patience: float = 20.0) -> Run:
    """Stop a run and wait until it has: by asking it, then by SIGTERM, then by ending all its processes.

    Args:
        run: it may also not yet have begun.
        patience: seconds in which it should hear, or three steps of its training, if they take longer. One that has
            heard has 15 minutes to write its checkpoint. With 0 it is ended at once.

    Returns:
        The run, stopped; or as it was where it had ended before.

    Raises:
        RunIsActive: it works on another computer, and does not hear.
        RunNotFound: its folder was deleted.
    """
    ask_to_stop(run)
    now = _wait(run, max(patience, _three_steps(run)) if patience > 0 else 0.0)
    if now.active and now.state == "stopping" and _has_heard(run) and patience > 0:
        now = _wait(run, _SAVING)
    host = RunFolder(run.folder).read_launch()
    if now.active and host.elsewhere:
        raise RunIsActive(f"The run {run.id} works on the computer {host.host} and has not ended yet.", "End it there.")
    if now.active:
        processes.terminate(_processes_of(run))
        now = _wait(run, _AFTER_ASKING)
    if now.active:
        _end_processes(run)
        message = "It did not hear that it shall stop, and was ended; what its checkpoints hold is kept."
        _note_end(RunFolder(run.folder), message)
    else:
        _end_processes(run, _AFTER_ASKING)  # of several processes, one may wait for another that has ended
    return refreshed(run)


def resume(run: Run, force: bool = False, attached: bool = False) -> Run:
    """Go on with a run that was stopped or failed, from its last checkpoint, in a new process; returns at once.

    Raises:
        RunIsActive: it works, or another window has just resumed it.
        RunIsDone: there is nothing left to do.
        ConfigError: its settings are none that this version knows.
        EvenhandError: see `launch`.
    """
    folder = RunFolder(run.folder)
    try:
        with locked(folder.launch_lock, wait=2.0):
            now = refreshed(run)
            if now.active:
                raise RunIsActive(f"The run {run.id} works already.", f"Watch it with: evenhand runs show {run.id}")
            if now.state == "done":
                raise RunIsDone(f"The run {run.id} is finished.", "Launch a new one, with its model as the start.")
            config = make_config(now.recipe, now.settings, str(folder.config))
            if not force:
                from trainer.preflight.check import check

                check(now.recipe, config, folder=run.folder, processes=now.processes)
            _end_processes(now, 1.0)  # one that outlived the others would work on the same files
            before = folder.read_status()
            try:
                start(folder, now.processes, resumed=True, attached=attached)
            except OSError:
                with suppress(OSError):
                    folder.write_status(before)
                raise
    except Locked as error:
        raise RunIsActive(f"The run {run.id} is being resumed already.", "Wait a moment.") from error
    except OSError as error:
        raise _cannot(error, run.folder) from error
    return refreshed(run)


def delete(run: Run) -> None:
    """Delete a run with its checkpoints and its model.

    Raises:
        RunIsActive: it works.
        CannotLaunch: a file cannot be deleted, perhaps because it is in use.
    """
    now = read_run(run.folder)
    if now is None:
        return
    if now.active:
        raise RunIsActive(f"The run {run.id} works.", f"Stop it first: evenhand runs stop {run.id}")
    hidden = run.folder.with_name(f".deleted-{run.id}-{secrets.token_hex(2)}")
    try:
        run.folder.rename(hidden)  # at once, so that no reader meets half a run
        shutil.rmtree(hidden)
    except OSError as error:
        raise CannotLaunch(
            f"{run.folder} cannot be deleted: {error.strerror or error}.", "Close whatever uses it, and try again."
        ) from error


def metrics(run: Run, after: int = 0) -> list[dict[str, Any]]:
    """Return what was measured at the steps beyond ``after``, in their order.

    Each has ``step``, ``steps``, ``epoch``, ``time`` (seconds since 1970) and what `trainer.progress.Reporter` names.
    Several may have the same step. Steps that a resumed run repeated are there once.
    """
    return [line for line in read_lines(RunFolder(run.folder).metrics) if line["step"] > after]


def latest(run: Run) -> dict[str, float]:
    """Return the last value of each metric; what was not measured for very long is absent."""
    found: dict[str, float] = {}
    for line in read_lines(RunFolder(run.folder).metrics, largest=_RECENT):
        found |= {name: value for name, value in line.items() if name not in _PLACES and isinstance(value, int | float)}
    return found


def samples(run: Run) -> list[dict[str, Any]]:
    """Return the compromises written on the way: ``step``, ``dispute_id``, ``text``, ``score_a``, ``score_b``."""
    return read_lines(RunFolder(run.folder).samples)


def log_tail(run: Run, lines: int = 40) -> str:
    """Return the last lines of the log; empty where there is none."""
    return RunFolder(run.folder).log_tail(lines)


def command_of(recipe: Recipe | str, settings: dict[str, Any]) -> str:
    """Return the command line that launches a run of these settings, quoted for a POSIX shell; defaults are left out.

    Raises `ConfigError` for an unknown recipe.
    """
    from trainer.config import ConfigError

    if recipe not in CONFIGS:
        raise ConfigError(f"There is no recipe {recipe!r}.", f"Choose one of: {', '.join(CONFIGS)}.")
    fields = CONFIGS[recipe].model_fields
    words = ["evenhand", "train", recipe]
    for name, value in settings.items():
        if name not in fields or value != fields[name].default:
            words += ["--set", f"{name}={_as_yaml(value)}"]
    return shlex.join(words)


def _as_yaml(value: object) -> str:
    """Write a value so that YAML reads the same one."""
    import json

    import yaml

    if not isinstance(value, str):
        return json.dumps(value)
    try:
        return value if yaml.safe_load(value) == value else json.dumps(value)
    except yaml.YAMLError:
        return json.dumps(value)


# -- ending ------------------------------------------------------------------------------------------------------------


def _processes_of(run: Run) -> list[Any]:
    """All processes of a run on this computer."""
    folder = RunFolder(run.folder)
    return processes.family((folder.read_launch(), folder.read_status()), f"{RUN_VARIABLE}={run.folder}")


def _end_processes(run: Run, patience: float = 0.0) -> None:
    """End all processes of a run that do not end by themselves within so many seconds."""
    found = _processes_of(run)
    if processes.wait_for_end(found, patience):
        return
    processes.kill(found)
    processes.wait_for_end(found, 10.0)


def _note_end(folder: RunFolder, message: str) -> None:
    status = folder.read_status()
    if status.state in LIVE:
        with suppress(OSError):
            folder.write_status(ended(status, "stopped", message, ""), last=True)


def _three_steps(run: Run) -> float:
    """Seconds that three steps of a run's training take; 0 where it does not train or nothing is known."""
    status = RunFolder(run.folder).read_status()
    lines = read_lines(RunFolder(run.folder).metrics, largest=16 << 10)[-20:]
    if status.phase != "training" or len(lines) < 2:
        return 0.0
    steps, seconds = lines[-1]["step"] - lines[0]["step"], lines[-1].get("time", 0) - lines[0].get("time", 0)
    return min(3 * float(seconds) / steps, _SAVING) if steps > 0 and seconds > 0 else 0.0


def _has_heard(run: Run) -> bool:
    return RunFolder(run.folder).read_status().state == "stopping"


def _wait(run: Run, seconds: float) -> Run:
    until = time.monotonic() + seconds
    while (now := refreshed(run)).active and time.monotonic() < until:
        time.sleep(0.1)
    return now


def _cannot(error: Exception, folder: Path) -> EvenhandError:
    import errno

    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        failure = disk_full(folder)
        return CannotLaunch(failure.message, failure.hint)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return CannotLaunch(f"The run cannot be started in {folder}: {reason}.", "Check the folder and its rights.")

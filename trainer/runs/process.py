"""The program of a run's own process: ``python -m trainer.runs.process FOLDER [--resume]``.

It reads the run's settings, works through the recipe and writes how far it is, and how it ended, into the folder.
Started through torchrun, several of them work together, and the first one writes.
"""

import argparse
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from mediator.file_lock import Locked, locked
from trainer.progress import Stopped
from trainer.runs.failures import TRAINING, Failure, RunFolderGone, Work, of_error
from trainer.runs.folder import RunFolder, read_json
from trainer.runs.processes import lives, name_from
from trainer.runs.reporter import FolderReporter

PARENT_VARIABLE = "EVENHAND_RUN_PARENT"
"""Names the process that watches a run in the foreground (a `ProcessName` as JSON): with it, the run ends."""

_DONE, _FAILED, _INTERRUPTED = 0, 1, 130
_LOCK_PATIENCE = 15.0  # seconds: an earlier process of the run that is being ended holds the lock until it is dead
_PATIENCE = 20.0  # seconds in which a recipe should hear that it shall stop
_LOOK = 0.5  # seconds between two looks of the watching thread


def main(arguments: Sequence[str] | None = None) -> int:
    """Work through a run. Returns 0 done, 1 failed or another process works on it, 130 stopped."""
    parser = argparse.ArgumentParser(prog="python -m trainer.runs.process", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="the run's folder")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    options = parser.parse_args(arguments)
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    return work(RunFolder(options.folder.absolute()), options.resume)


@dataclass(frozen=True)
class Task:
    """What a process of a run does.

    Attributes:
        do: gets config.json, the folder, the reporter and whether to go on from a checkpoint; returns when it is done.
        stopped: says of a folder, in a sentence, what became of work that was stopped.
        words: for a failure.
    """

    do: Callable[[dict[str, Any], Path, FolderReporter, bool], None]
    stopped: Callable[[RunFolder], str]
    words: Work


def work(folder: RunFolder, resume: bool, task: Task | None = None) -> int:
    """Do what the folder's config.json says, by default to train, once the folder is ours alone; see `main`."""
    task = task or Task(_train, _stopped_words, TRAINING)
    rank = int(os.environ.get("RANK", "0") or 0)
    with ExitStack() as stack:
        if rank == 0:
            try:
                stack.enter_context(locked(folder.lock, wait=_LOCK_PATIENCE))
            except Locked as error:
                _log(f"Process {error.process} works on this run already; nothing was done.")
                return _FAILED
            folder.keep_reserve()
        reporter = FolderReporter(folder, writes=rank == 0, attempt=folder.read_launch().at)
        config = read_json(folder.config)
        settings = config.get("settings", {})
        ended = threading.Event()
        try:
            reporter.start()
            _obey_signals(folder, reporter)
            threading.Thread(target=_watch, args=(folder, reporter, ended), daemon=True).start()
            if reporter.should_stop():
                raise Stopped
            task.do(config, folder.path, reporter, resume)
        except (Stopped, KeyboardInterrupt):
            ended.set()
            if (reason := _first_reason(folder)) is not None:  # torchrun stops the others when one has failed
                return _end(reporter, "failed", reason, _FAILED)
            return _end(reporter, "stopped", Failure(task.stopped(folder)), _INTERRUPTED)
        except BaseException as error:  # noqa: BLE001 - whatever ended it is told in the status
            ended.set()
            _log(traceback.format_exc())
            failure = of_error(error, settings, folder.path, task.words)
            return _end(reporter, "failed", _first_reason(folder) or failure, _FAILED)
        ended.set()
        return _end(reporter, "done", Failure("", exit_code=0), _DONE)


def _train(config: dict[str, Any], folder: Path, reporter: FolderReporter, resume: bool) -> None:
    from trainer.alignment.config import make_config

    recipe = str(config.get("recipe", ""))
    checked = make_config(recipe, dict(config.get("settings") or {}), str(folder / "config.json"))
    from trainer.recipes import train

    train(recipe, checked, folder, reporter, resume)


def _end(reporter: FolderReporter, state: Any, reason: Failure, status: int) -> int:
    """Write the last status, and return what to exit with."""
    for kind in (signal.SIGTERM, signal.SIGINT):  # from here on it ends by itself
        with suppress(ValueError, OSError):
            signal.signal(kind, signal.SIG_IGN)
    try:
        reporter.end(state, reason.message, reason.hint, reason.exit_code if state == "failed" else 0)
    except OSError as error:
        _log(f"The last status cannot be written: {error.strerror or error}. {reason.message} {reason.hint}")
    if reason.message and (state == "failed" or os.environ.get("RANK", "0") == "0"):
        _log(f"{reason.message} {reason.hint}".strip())
    # torchrun takes another exit than 0 for a crash, and would say so at length below our sentence.
    return _DONE if state == "stopped" and "TORCHELASTIC_RUN_ID" in os.environ else status


def _obey_signals(folder: RunFolder, reporter: FolderReporter) -> None:
    """Have SIGTERM (and Ctrl-C, where there is a terminal) stop the run as `stop` does; a second time, at once."""

    def hear(number: int, frame: FrameType | None) -> None:
        if reporter.stopping or not folder.path.is_dir():
            raise Stopped
        reporter.ask_to_stop()

    if threading.current_thread() is threading.main_thread():
        for kind in (signal.SIGTERM, signal.SIGINT):
            signal.signal(kind, hear)


def _watch(folder: RunFolder, reporter: FolderReporter, ended: threading.Event) -> None:
    """In a thread of its own: show that the process lives, and notice that nobody wants its work any more."""
    parent = name_from(os.environ.get(PARENT_VARIABLE, ""))
    alone_since: float | None = None
    while not ended.wait(_LOOK):
        with suppress(OSError, RunFolderGone):
            reporter.beat()
        if parent and alone_since is None and not lives(parent):
            alone_since = time.monotonic()
            reporter.ask_to_stop()
        unheard = alone_since is not None and time.monotonic() - alone_since > _PATIENCE
        if not folder.path.is_dir() or (unheard and reporter.status.state == "running"):
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _stopped_words(folder: RunFolder) -> str:
    if any(folder.checkpoints.glob("checkpoint-*")):
        return "Stopped; it can be resumed from its last checkpoint."
    return "Stopped before the first checkpoint; resuming it starts from the beginning."


def _first_reason(folder: RunFolder) -> Failure | None:
    """What another process of the run has failed of: ours only follows from it."""
    said = read_json(folder.failure)
    if not isinstance(said.get("message"), str):
        return None
    return Failure(said["message"], str(said.get("hint", "")), int(said.get("exit_code", 1)))


def _log(text: str) -> None:
    """Write to the log, which stderr is; a full disk is no reason to fail once more."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

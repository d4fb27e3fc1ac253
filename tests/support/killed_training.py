"""Trainings in processes of their own that are killed (SIGKILL) at a given place: a phase and how much of it is done.

    python killed_training.py FOLDER RECIPE SETTINGS.json    one training, to its end
    python killed_training.py --serve                        one training in a fork for each line of its input, the
                                                             arguments of `work` as JSON; prints how each ended

The libraries take seconds to import; a fork has them already, and is a process like any other.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from trainer.progress import Silent


class Deadly(Silent):
    """A reporter that kills its process, as kill -9 does, when a phase has got as far as it was told."""

    def __init__(self, phase: str, done: int) -> None:
        self._phase, self._done = phase, done

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        if name == self._phase and done >= self._done:
            os.kill(os.getpid(), signal.SIGKILL)


def work(
    folder: str,
    recipe: str,
    settings: dict[str, Any],
    phase: str = "",
    done: int = 0,
    resume: bool = False,
    cache: str = "",
) -> None:
    """Train, with ``cache`` as the cache folder, until ``done`` of a phase."""
    if cache:
        os.environ["EVENHAND_CACHE_FOLDER"] = cache
    from trainer.alignment.config import make_config
    from trainer.recipes import train

    train(recipe, make_config(recipe, settings), Path(folder), Deadly(phase, done), resume)


def serve() -> None:
    import torch

    import trainer.alignment.align
    import trainer.alignment.sft  # noqa: F401 - imported once, for all forks

    torch.set_num_threads(1)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            try:
                work(**json.loads(line))
            except BaseException as error:  # noqa: BLE001 - told by the exit status
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        work(sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text(encoding="utf-8")))

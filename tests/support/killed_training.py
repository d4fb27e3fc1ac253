"""A training in a process of its own that is killed (SIGKILL) at a given place: a phase and how much of it is done.

python killed_training.py FOLDER RECIPE SETTINGS.json PHASE DONE [--resume]
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any


class Deadly:
    """A reporter that kills its process, as kill -9 does, when a phase has got as far as it was told."""

    def __init__(self, phase: str, done: int) -> None:
        self._phase, self._done = phase, done

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        print(f"{name} {done}", flush=True)
        if name == self._phase and done >= self._done:
            os.kill(os.getpid(), signal.SIGKILL)

    def metrics(self, step: int, steps: int, epoch: float, values: Any) -> None:
        """Say nothing."""

    def sample(self, step: int, dispute_id: str, text: str, score_a: float | None, score_b: float | None) -> None:
        """Say nothing."""

    def should_stop(self) -> bool:
        return False


def main() -> None:
    from trainer.config import make_config
    from trainer.recipes import train

    folder, recipe, settings, phase, done = sys.argv[1:6]
    config = make_config(recipe, json.loads(Path(settings).read_text(encoding="utf-8")))
    train(recipe, config, Path(folder), Deadly(phase, int(done)), resume="--resume" in sys.argv)


if __name__ == "__main__":
    main()

"""The recipes by their names: one entry to each of them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.alignment.config import CONFIGS, Recipe, RecipeConfig
from trainer.config import ConfigError
from trainer.progress import Reporter

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when transformers is imported, which is later


def _sft(config: Any, folder: Path, reporter: Reporter, resume: bool) -> Path:
    from trainer.alignment import sft

    return sft.train(config, folder, reporter, resume)


def _aligning(recipe: Recipe) -> Callable[[Any, Path, Reporter, bool], Path]:
    def run(config: Any, folder: Path, reporter: Reporter, resume: bool) -> Path:
        from trainer.alignment import align

        return align.train(recipe, config, folder, reporter, resume)

    return run


def _calibrate(config: Any, folder: Path, reporter: Reporter, resume: bool) -> Path:
    from trainer.alignment import calibrate

    return calibrate.train(config, folder, reporter, resume)


RECIPES: dict[Recipe, Callable[[Any, Path, Reporter, bool], Path]] = {
    "sft": _sft,
    "nce": _aligning("nce"),
    "task": _aligning("task"),
    "dpo": _aligning("dpo"),
    "nca": _aligning("nca"),
    "calibrate": _calibrate,
}


def train(recipe: str, config: RecipeConfig, folder: Path, reporter: Reporter, resume: bool = False) -> Path:
    """Work through a recipe.

    Args:
        recipe: one of `RECIPES`.
        config: its settings, of the class `CONFIGS` names for it.
        folder: of the run; it gets ``checkpoints`` and ``model``.
        reporter: is told how far the work is, and asked whether to stop.
        resume: go on from the newest whole checkpoint, or begin where there is none.

    Returns:
        the folder of the trained model.

    Raises:
        ConfigError: an unknown recipe, or settings of another.
        MissingExtraError: a package of the train extra is missing.
        Stopped: the reporter said so.
        EvenhandError: see `trainer.alignment.sft.train` and `trainer.alignment.align.train`.
    """
    run = {str(name): work for name, work in RECIPES.items()}.get(recipe)
    if run is None:
        raise ConfigError(f"There is no recipe {recipe!r}.", f"Choose one of: {', '.join(RECIPES)}.")
    wanted = {str(name): kind for name, kind in CONFIGS.items()}[recipe]
    if type(config) is not wanted:
        raise ConfigError(f"The settings are those of {type(config).__name__}, and {recipe} takes {wanted.__name__}.")
    from trainer.models.pretrained import require

    require("torch", "transformers", "accelerate", "safetensors", "rouge_score")
    return run(config, folder, reporter, resume)

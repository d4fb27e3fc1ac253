"""What every recipe does before and after it trains: read the data, load the model, save the result with its story."""

import logging
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from mediator.alignment_prompt import PROMPT_NAME
from trainer.alignment import checkpoints, ranks, training
from trainer.alignment.config import RecipeConfig
from trainer.alignment.material import Material
from trainer.alignment.watching import Watch
from trainer.dataset.data import DatasetError, Example, read_examples
from trainer.models import pretrained, trainable
from trainer.models.decoder_parts import Top
from trainer.models.network import Network
from trainer.progress import Reporter, Stopped
from trainer.trunk.cache import model_key

_log = logging.getLogger(__name__)

# What a run may change when it is resumed: none of these touches the weights.
_FREE = {
    "model", "dataset", "validation", "hypotheses", "hypothesis_batch", "hypothesis_tokens", "hypothesis_temperature",
    "cache_memory", "log_every", "checkpoint_every", "keep_checkpoints", "evaluate_every", "sample_disputes",
    "validation_pairs", "device",
}  # fmt: skip


@dataclass
class Workshop:
    """One run of one recipe: its settings, data and model.

    Attributes:
        key: the hash of the weights that the run starts from (`trainer.trunk.cache.model_key`).
    """

    recipe: str
    config: RecipeConfig
    folder: Path
    reporter: Reporter
    resume: bool
    examples: list[Example]
    validation: list[Example]
    learner: trainable.Learner
    settings: Any
    key: str

    @property
    def cache(self) -> Path:
        """The folder of what can be computed again, while the run works."""
        return self.folder / "cache"

    def finish(self, material: Material, made_with: dict[str, Any], top: Top | None = None) -> Path:
        """Train on the material and save the result.

        Args:
            material: what to learn from.
            made_with: what the weights depend on beside the settings, the data set and the base.
            top: the last layers, where the material brings the activations below them.

        Returns:
            the folder of the trained model.

        Raises: what `training.fit` raises.
        """
        config, learner = self.config, self.learner
        network = Network(learner.model, top)
        samples = (self.validation or self.examples)[: config.sample_disputes]
        measured = bool(self.validation or samples)
        watch = Watch(learner, network, config, self.validation, samples, self.reporter) if measured else None
        settings = {name: value for name, value in config.model_dump(mode="json").items() if name not in _FREE}
        dataset = checkpoints.file_hash(config.dataset)
        depends = {
            "recipe": self.recipe, "model": self.key, "dataset": dataset, "processes": ranks.size(),
            "precision": learner.precision, **{name: value for name, value in settings.items() if name != "precision"},
            **made_with,
        }  # fmt: skip
        steps = training.fit(network, material, self.settings, config, self.reporter, watch, depends, self.resume)
        self.reporter.phase("saving", 0, 1)
        result = self.folder / "model"
        if ranks.rank() == 0:
            facts = {
                "prompt": PROMPT_NAME,
                "demographics": config.demographics,
                "starts_with_bos": learner.tokenizer.bos_token_id is not None,
                "recipe": self.recipe,
                "settings": config.model_dump(mode="json"),
                "base": config.model,
                "base_hash": self.key,
                "dataset_sha256": dataset,
                "pairs": len(self.examples),
                "steps": steps,
                "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "versions": versions(),
            }
            trainable.save(learner, config, self.folder, facts)
            shutil.rmtree(self.cache, ignore_errors=True)
        ranks.any_of(False, self.settings.device)
        self.reporter.phase("saving", 1, 1)
        return result


def open_workshop(recipe: str, config: RecipeConfig, folder: Path, reporter: Reporter, resume: bool) -> Workshop:
    """Read the data and load the model of a run.

    Raises:
        FolderTaken: the folder holds another run, and this one does not resume it.
        DatasetError: a data set cannot be read, or has no candidates.
        ModelFileError, NoSuchDevice, MissingExtraError: see `pretrained.load`.
    """
    reporter.phase("loading", 0, 2)
    if not resume:
        checkpoints.require_fresh(folder)
    examples = _with_candidates(config.dataset)
    validation = _with_candidates(config.validation) if config.validation else []
    reporter.phase("loading", 1, 2)
    device = pretrained.torch_device(config.device)
    precision = "bf16" if config.trainable == "qlora" else pretrained.resolved(config.precision, device)
    settings = training.arguments(config, folder, device, precision)
    learner = trainable.load(config)
    key = model_key(learner.model)
    reporter.phase("loading", 2, 2)
    return Workshop(recipe, config, folder, reporter, resume, examples, validation, learner, settings, key)


def finished(folder: Path, resume: bool) -> Path | None:
    """Return the result of a run that is resumed although it was done, or None."""
    return folder / "model" if resume and (folder / "model" / pretrained.RECIPE_FILE).is_file() else None


def first_then_others(work: Callable[[], Any], device: torch.device) -> Any:
    """Do work in the first process, then in the others, which find its results on the disk. Raises `Stopped` in all."""
    is_first = ranks.rank() == 0
    result = all_at_once(work if is_first else lambda: None, device)
    return result if is_first else work()


def all_at_once(work: Callable[[], Any], device: torch.device) -> Any:
    """Do work in all processes and wait for each other. Raises `Stopped` in all when one was stopped."""
    result, stopped = None, False
    try:
        result = work()
    except Stopped:
        stopped = True
    if ranks.any_of(stopped, device):
        raise Stopped
    return result


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on."""
    found = {"python": sys.version.split()[0]}
    for name in ("evenhand", "torch", "transformers", "accelerate", "peft"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _with_candidates(path: str) -> list[Example]:
    if not path:
        raise DatasetError("No data set is named.", "Set `dataset` to a JSONL file of disputes with candidates.")
    examples: Sequence[Example] = read_examples(path)
    filled = [example for example in examples if example.candidates]
    if len(filled) < len(examples):
        _log.info("%s: %d disputes without candidates are left out", path, len(examples) - len(filled))
    if not filled:
        raise DatasetError(
            f"{path}: none of its {len(examples)} disputes has candidates, so there is nothing to learn.",
            "Fill them in with `evenhand dataset build`.",
        )
    return filled

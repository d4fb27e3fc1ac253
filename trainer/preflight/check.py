"""The check before a run: memory, disk, model, data. Refuses what cannot work, says what would. Needs no torch."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mediator.acceptance import Acceptance
from mediator.errors import EvenhandError, InputError, MissingExtraError
from mediator.memory import SKIP_VARIABLE, NotEnoughMemory, available, gigabytes
from mediator.settings import data_folder, user_path
from trainer.alignment.config import AlignConfig, CalibrateConfig, Recipe, RecipeConfig
from trainer.dataset.data import DatasetError, Example, read_examples
from trainer.models.shape import ModelShape, read_shape
from trainer.preflight.gpus import gpu_memory
from trainer.preflight.memory_need import Need, Texts, need, steps

__all__ = [
    "DoesNotFit",
    "Estimate",
    "NoSuitableDevice",
    "NotEnoughDisk",
    "NotEnoughMemory",
    "UnusableData",
    "check",
]


_CUT = ("llama", "mistral", "qwen2", "qwen3")
"""Kinds of models whose layers `trainer.models.decoder_parts` can run apart."""


class NotEnoughDisk(EvenhandError):
    """A run would write more than the disk has room for."""


class UnusableData(InputError):
    """A data set has nothing that a recipe could learn from."""


class DoesNotFit(InputError):
    """A setting does not go with the model."""


class NoSuitableDevice(InputError):
    """The settings ask for a GPU, and there is none."""


@dataclass(frozen=True)
class Estimate:
    """What a run will need and what there is, in bytes; `trainer.preflight.memory_need.need` says how.

    Attributes:
        device: ``cpu`` or ``cuda``.
        parameters: weights of the model; 0 where it must be downloaded first.
        trainable: weights that learn.
        memory_bytes: at the peak, on the device.
        memory_free: on the device.
        host_bytes: of the computer's own memory; the same as ``memory_bytes`` on the CPU.
        disk_bytes: of checkpoints, the result, and the trunk cache where it is larger than the memory it may use.
        disk_free: where the run will lie.
        parts: what the memory is made of.
        examples: disputes to learn from.
        steps: of the optimiser, about.
        notes: sentences that the user should read before the run starts.
    """

    device: str
    parameters: int
    trainable: int
    memory_bytes: int
    memory_free: int
    host_bytes: int
    disk_bytes: int
    disk_free: int
    parts: dict[str, int]
    examples: int
    steps: int
    notes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """Say it in one line."""
        where = "GPU memory" if self.device == "cuda" else "memory"
        if not self.parameters:
            return f"{self.examples} disputes; the model is not on this computer yet, so its needs are unknown."
        return (
            f"About {gigabytes(self.memory_bytes)} of {where} ({gigabytes(self.memory_free)} are free) and "
            f"{gigabytes(self.disk_bytes)} of disk ({gigabytes(self.disk_free)} are free); {self.examples} disputes, "
            f"about {self.steps} steps; {_millions(self.trainable)} of {_millions(self.parameters)} weights learn."
        )


def check(recipe: Recipe | str, config: RecipeConfig, folder: Path | None = None, processes: int = 1) -> Estimate:
    """Check whether a run can work, before it starts.

    Args:
        recipe: its name.
        config: its settings.
        folder: where the run will lie; the data folder by default.
        processes: how many will work together.

    Returns:
        What it will need. EVENHAND_SKIP_MEMORY_CHECK=1 lets too little memory pass.

    Raises:
        MissingExtraError: packages for training are not installed.
        ModelFileError: the model is missing or none that can be trained.
        DoesNotFit: a setting does not go with the model.
        DatasetError: a data set cannot be read; names the first bad line and how many there are.
        UnusableData: a data set holds nothing for this recipe.
        NoSuitableDevice: a GPU is asked for, and there is none.
        NotEnoughMemory, NotEnoughDisk: with the settings that would work, where some would.
    """
    _check_packages(config)
    shape = read_shape(config.model)
    if shape is not None:
        _check_fit(config, shape)
    texts = _check_data(config)
    gpus = gpu_memory() if config.device != "cpu" else ()
    gpu = _check_device(config, gpus, processes)
    place = folder or data_folder() / "runs"
    notes: list[str] = []
    free = gpus[0] if gpu else available()
    disk_free = shutil.disk_usage(_existing(place)).free
    count = steps(config, texts, processes)
    if shape is None:
        notes.append(f"{config.model} is not on this computer: it is downloaded first, and its size is unknown.")
        return Estimate(
            device="cuda" if gpu else "cpu",
            parameters=0,
            trainable=0,
            memory_bytes=0,
            memory_free=free,
            host_bytes=0,
            disk_bytes=0,
            disk_free=disk_free,
            parts={},
            examples=texts.examples,
            steps=count,
            notes=tuple(notes),
        )
    if shape.context and config.longest_text > shape.context:
        notes.append(
            f"longest_text is {config.longest_text}, and the model was made for {shape.context} tokens: "
            "longer texts would teach it nothing good."
        )
    needed = need(config, shape, texts, gpu, processes)
    if os.environ.get(SKIP_VARIABLE, "").strip() in ("", "0"):
        _check_memory(config, shape, texts, gpu, processes, needed, free)
    if needed.disk > disk_free:
        raise _not_enough_disk(config, shape, texts, gpu, needed, place, disk_free)
    return Estimate(
        device="cuda" if gpu else "cpu",
        parameters=shape.parameters,
        trainable=needed.trainable,
        memory_bytes=needed.memory,
        memory_free=free,
        host_bytes=needed.host,
        disk_bytes=needed.disk,
        disk_free=disk_free,
        parts=needed.parts,
        examples=texts.examples,
        steps=count,
        notes=tuple(notes),
    )


def _check_packages(config: RecipeConfig) -> None:
    wanted = ["torch", "transformers", "accelerate", "safetensors"]
    if config.trainable in ("lora", "qlora"):
        wanted.append("peft")
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"Training needs {' and '.join(missing)}, which this install does not have.",
            "Install it with: pip install 'evenhand[train]'",
        )


def _check_fit(config: RecipeConfig, shape: ModelShape) -> None:
    """Refuse settings that this model cannot follow; the recipes would find out after loading it."""
    if config.trainable == "last_layers" and config.layers > len(shape.layers):
        raise DoesNotFit(
            f"layers is {config.layers}, and the model has {len(shape.layers)} decoder layers.",
            f"Set layers to at most {len(shape.layers)}, or trainable = all.",
        )
    if config.trainable == "last_layers" and config.train_head and not shape.head:
        raise DoesNotFit(
            "train_head: the output head of this model is one matrix with its embeddings, below the frozen layers.",
            "Set train_head = false, or trainable = all.",
        )
    if isinstance(config, AlignConfig) and config.trunk_cache and shape.kind not in _CUT:
        raise DoesNotFit(
            f"trunk_cache: the activations of a model of the kind {shape.kind} cannot be kept; this is known to be "
            f"right for {', '.join(_CUT)} only.",
            "Set trunk_cache = false.",
        )


def _check_data(config: RecipeConfig) -> Texts:
    if not config.dataset.strip():
        raise UnusableData("No data set is named.", "Set `dataset` to a JSONL file of disputes with candidates.")
    texts = _texts_of(config.dataset)
    if config.validation:
        _texts_of(config.validation)
    hypotheses = getattr(config, "hypotheses", "")
    if hypotheses and not os.path.isfile(user_path(hypotheses)):
        raise DatasetError(f"There is no file {hypotheses}.", "Leave `hypotheses` empty to have the model write them.")
    if isinstance(config, CalibrateConfig) and config.ranking == "preference":
        Acceptance.load(config.preference_model)
    return texts


def _texts_of(named: str) -> Texts:
    path = user_path(named)
    try:
        about = path.stat()
    except OSError:
        read_examples(path)  # which says what is wrong
        raise
    return _read(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=8)
def _read(path: Path, changed: int, size: int) -> Texts:
    """Read a data set once, until it changes: the page checks at each key."""
    examples = read_examples(path)
    usable = [example for example in examples if example.candidates]
    if not usable:
        raise UnusableData(
            f"{path}: none of its {len(examples)} disputes has candidates, so there is nothing to learn.",
            "Fill them in with `evenhand dataset build`.",
        )
    return _measure(usable)


def _measure(examples: list[Example]) -> Texts:
    prompts = [len(example.view_a.as_text()) + len(example.view_b.as_text()) + 300 for example in examples]
    answers = [[len(candidate.text) for candidate in example.candidates] for example in examples]
    return Texts(
        examples=len(examples),
        candidates=sum(map(len, answers)),
        letters=sum(prompts),
        answer_letters=sum(map(sum, answers)),
        longest=max(prompt + max(lengths) for prompt, lengths in zip(prompts, answers, strict=True)),
    )


def _check_device(config: RecipeConfig, gpus: tuple[int, ...], processes: int) -> bool:
    """Return whether a GPU computes."""
    asked = config.device == "cuda" or config.trainable == "qlora"
    if asked and not gpus:
        what = "device is cuda" if config.device == "cuda" else "trainable = qlora needs an NVIDIA GPU"
        instead = "Set device = auto or cpu." if config.device == "cuda" else "Set trainable = lora."
        raise NoSuitableDevice(f"{what}, and there is none that torch can use.", instead)
    if gpus and processes > len(gpus):
        raise NoSuitableDevice(
            f"{processes} processes need {processes} GPUs, and there are {len(gpus)}.", f"Set --processes {len(gpus)}."
        )
    if config.trainable == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError("trainable = qlora needs bitsandbytes.", "Install it with: pip install bitsandbytes")
    return bool(gpus)


def _check_memory(
    config: RecipeConfig, shape: ModelShape, texts: Texts, gpu: bool, processes: int, needed: Need, free: int
) -> None:
    if needed.memory <= free:
        if gpu and needed.host > available():
            raise NotEnoughMemory(
                f"Loading the model needs about {gigabytes(needed.host)} of the computer's memory, "
                f"{gigabytes(available())} are free.",
                "Close other programs or choose a smaller model.",
            )
        return
    where = "GPU memory" if gpu else "memory"
    message = f"This run needs about {gigabytes(needed.memory)} of {where}, {gigabytes(free)} are free."
    smallest: tuple[str, int] | None = None
    for words, changed in _smaller(config, shape, gpu):
        size = need(changed, shape, texts, gpu, processes).memory
        if size <= free:
            raise NotEnoughMemory(message, f"It would work with {words}: about {gigabytes(size)}.")
        if smallest is None or size < smallest[1]:
            smallest = (words, size)
    least = f"Even {smallest[0]} would need {gigabytes(smallest[1])}: c" if smallest else "C"
    raise NotEnoughMemory(message, f"{least}hoose a smaller model, or a computer with more {where}.")


def _smaller(config: RecipeConfig, shape: ModelShape, gpu: bool) -> Iterator[tuple[str, RecipeConfig]]:
    """Yield settings that need less and less, with the words for what was changed; the least harmful first.

    Fewer pairs at once with as many more passes, and computing activations twice, change nothing about the result but
    its time; bf16, fewer weights that learn and shorter texts do.
    """
    changes: dict[str, Any] = {}
    pairs = config.batch_size * config.gradient_accumulation

    def changed() -> tuple[str, RecipeConfig]:
        words = [
            f"{name} {str(value).lower() if isinstance(value, bool) else value}" for name, value in changes.items()
        ]
        return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words), config.model_copy(
            update=changes
        )

    batch = config.batch_size
    while batch > 1:
        batch //= 2
        changes |= {"batch_size": batch, "gradient_accumulation": max(1, round(pairs / batch))}
        yield changed()
    if isinstance(config, AlignConfig) and config.hypothesis_batch > 1:
        changes["hypothesis_batch"] = min(4, config.hypothesis_batch)
        yield changed()
    if not config.gradient_checkpointing:
        changes["gradient_checkpointing"] = True
        yield changed()
    if config.precision == "fp32" or (config.precision == "auto" and not gpu):
        changes["precision"] = "bf16"
        yield changed()
    if config.trainable == "all":
        layers = min(config.layers, len(shape.layers))
        changes |= {"trainable": "last_layers", "layers": layers}
        yield changed()
    if config.trainable in ("all", "last_layers") and min(config.layers, len(shape.layers)) > 1:
        changes["layers"] = 1
        yield changed()
    if config.longest_text > 256:
        changes["longest_text"] = 256
        yield changed()


def _not_enough_disk(
    config: RecipeConfig, shape: ModelShape, texts: Texts, gpu: bool, needed: Need, place: Path, free: int
) -> NotEnoughDisk:
    fewer = config.model_copy(update={"keep_checkpoints": 1})
    size = need(fewer, shape, texts, gpu).disk
    hint = "Make room, for example with `evenhand runs delete`"
    if config.keep_checkpoints > 1 and size <= free:
        hint += f"; or set keep_checkpoints=1, which needs {gigabytes(size)}"
    return NotEnoughDisk(
        f"This run writes about {gigabytes(needed.disk)} to {place}, {gigabytes(free)} are free.", f"{hint}."
    )


def _existing(path: Path) -> Path:
    """The nearest folder above that is there."""
    path = path.absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def _millions(count: int) -> str:
    return f"{count / 1e9:.1f} billion" if count >= 1e9 else f"{count / 1e6:.1f} million"

"""What an export needs: the precision of the file on the way, the sizes, and whether the disk has room for them."""

import shutil
from pathlib import Path
from typing import Literal

from mediator.memory import gigabytes
from mediator.schema import Record
from trainer.export.base import Checkpoint, Output, Precision, written_bytes
from trainer.export.quantise import Kind
from trainer.export.self_check import count_weights
from trainer.export.self_check_texts import longest_prompt, shipped_prompts
from trainer.preflight.check import NotEnoughDisk

_DIRECT: tuple[Kind, ...] = ("f16", "q8_0")
"""Kinds that are written at once: bit for bit what llama.cpp's quantiser would make of them."""

_METADATA = 256 << 10  # bytes of what is not tensors, but for the vocabulary, which comes on top

# Bits of a weight, about, where blocks of 256 divide a row, and where they do not and llama.cpp takes blocks of 32.
_BITS = {"q6_k": (6.5625, 8.5), "q5_k_m": (5.8, 7.0), "q4_k_m": (5.0, 6.5)}
_HEADS = ("token_embd.weight", "output.weight")  # llama.cpp gives these 6 bits in every kind


class Plan(Record):
    """What an export will do and needs, told before it starts.

    Attributes:
        checkpoint: the folder.
        model_type: the family, as config.json calls it.
        parameters: weights.
        kind: how the file will be quantised.
        output: the file.
        intermediate: the precision of the file that llama.cpp's quantiser reads; empty where none is needed.
        file_bytes: of the file, about.
        disk_bytes: that are written at most at one time, about.
        disk_free: where the file will lie.
    """

    checkpoint: str
    model_type: str
    parameters: int
    kind: Kind
    output: str
    intermediate: Precision | Literal[""]
    file_bytes: int
    disk_bytes: int
    disk_free: int

    def sentence(self) -> str:
        """Say it in one line."""
        return (
            f"{self.output} will have about {gigabytes(self.file_bytes)}; on the way {gigabytes(self.disk_bytes)} of "
            f"disk are needed, {gigabytes(self.disk_free)} are free."
        )


def plan(
    checkpoint: Checkpoint, outputs: list[Output], kind: Kind, target: Path, *, adapted: bool, checked: bool
) -> Plan:
    """Work out what an export will write.

    Args:
        checkpoint: to be exported.
        outputs: the tensors of the file.
        kind: how it will be quantised.
        target: the file.
        adapted: whether an adapter is merged into the checkpoint.
        checked: whether the file will be checked.

    Raises `NotEnoughDisk`.
    """
    intermediate: Precision | Literal[""] = "" if kind in _DIRECT else _lossless(checkpoint, adapted)
    extra = _METADATA + _size(checkpoint.path("tokenizer.json")) + _size(checkpoint.path("tokenizer.model"))
    file_bytes = extra + _file_bytes(outputs, kind)
    disk_bytes = file_bytes
    if intermediate:
        disk_bytes += extra + written_bytes(outputs, intermediate)
    if checked:
        disk_bytes += _logits_bytes(checkpoint) * (3 if intermediate else 2)
    free = shutil.disk_usage(_existing(target.parent)).free
    if disk_bytes > free:
        raise NotEnoughDisk(
            f"This export writes about {gigabytes(disk_bytes)} to {target.parent}, {gigabytes(free)} are free.",
            "Make room, or name a file on another disk with --output.",
        )
    return Plan(
        checkpoint=str(checkpoint.directory),
        model_type=checkpoint.model_type,
        parameters=count_weights(checkpoint),
        kind=kind,
        output=str(target),
        intermediate=intermediate,
        file_bytes=file_bytes,
        disk_bytes=disk_bytes,
        disk_free=free,
    )


def _lossless(checkpoint: Checkpoint, adapted: bool) -> Precision:
    """The smallest precision in which the weights lose nothing on their way to the quantiser.

    A merged adapter makes weights that need float32, whatever the base is stored in.
    """
    kinds = {tensor.stored_as for tensor in checkpoint.tensors.values() if tensor.is_floating}
    if not adapted and kinds == {"BF16"}:
        return "bf16"
    return "f16" if not adapted and kinds == {"F16"} else "f32"


def _file_bytes(outputs: list[Output], kind: Kind) -> int:
    """Bytes of the tensors in a file of a kind; of those that llama.cpp's quantiser writes, about."""
    if kind == "f16" or kind == "q8_0":
        return written_bytes(outputs, kind)
    total = 0.0
    for output in outputs:
        exact = written_bytes([output], "f16")
        if output.stored_as("f16") == "f32":
            total += exact
            continue
        row = output.tensor.shape[-1]
        whole, odd = _BITS["q6_k" if output.name in _HEADS else kind]
        total += exact * (whole if row % 256 == 0 else odd if row % 32 == 0 else 16) / 16
    return int(total)


def _logits_bytes(checkpoint: Checkpoint) -> int:
    """Bytes that each side of the check writes."""
    prompts, vocabulary = len(shipped_prompts()), checkpoint.number("vocab_size")
    return 4 * prompts * vocabulary * longest_prompt(prompts, vocabulary, checkpoint.number("max_position_embeddings"))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _existing(path: Path) -> Path:
    """The nearest folder above that is there."""
    path = path.absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path

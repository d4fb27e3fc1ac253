"""Which file exports which family of models: finds the family, and hands the checkpoint to that family's file."""

from pathlib import Path
from typing import Protocol

from mediator.errors import ModelFileError
from trainer.export import bert, llama, mistral, qwen2, qwen3
from trainer.export.adapter import AdaptedCheckpoint
from trainer.export.base import PRECISIONS, Advance, Checkpoint, Output, Precision
from trainer.export.metadata import Details

__all__ = [
    "PRECISIONS", "AdaptedCheckpoint", "Checkpoint", "Details", "Family", "Precision", "export_gguf", "family_of",
    "open_checkpoint",
]  # fmt: skip


class Family(Protocol):
    """What the file of each model family offers."""

    @property
    def MODEL_TYPES(self) -> tuple[str, ...]:  # noqa: N802 - a constant of the module
        """As config.json names the family."""

    def list_outputs(self, checkpoint: Checkpoint) -> list[Output]:
        """The tensors of the GGUF file, in its order."""

    def export(
        self,
        checkpoint: Checkpoint,
        target: Path,
        precision: Precision,
        *,
        details: Details,
        advance: Advance | None = None,
    ) -> None:
        """Write the file."""


FAMILIES: tuple[Family, ...] = (llama, mistral, qwen2, qwen3, bert)


def open_checkpoint(directory: Path | str, adapter: Path | str | None = None) -> Checkpoint:
    """Open a checkpoint directory, with a LoRA adapter merged into it where one is given."""
    checkpoint = Checkpoint(directory)
    return checkpoint if adapter is None else AdaptedCheckpoint(checkpoint, adapter)


def family_of(checkpoint: Checkpoint) -> Family:
    """Return the file that exports this checkpoint's family.

    Raises:
        ModelFileError: there is none; the message lists those that there are.
    """
    for family in FAMILIES:
        if checkpoint.model_type in family.MODEL_TYPES:
            return family
    known = ", ".join(model_type for family in FAMILIES for model_type in family.MODEL_TYPES)
    raise ModelFileError(
        f"{checkpoint.directory} is a {checkpoint.model_type or 'nameless'} model; there is no export for it.",
        f"Families that can be exported: {known}.",
    )


def export_gguf(
    directory: Path | str,
    target: Path | str,
    precision: Precision = "q8_0",
    *,
    name: str = "",
    licence: str = "",
    adapter: Path | str | None = None,
    details: Details | None = None,
    advance: Advance | None = None,
) -> Path:
    """Write a checkpoint directory as one GGUF file that llama.cpp runs.

    Args:
        directory: what ``save_pretrained`` of transformers or ``save`` of sentence-transformers wrote.
        target: the file to write; it appears only when it is whole.
        precision: one of `PRECISIONS`.
        name: the model's name in the metadata; the directory's name by default.
        licence: SPDX identifier for the metadata.
        adapter: the folder of a LoRA adapter trained on this checkpoint, which is merged into it.
        details: all that the metadata say about the model, instead of ``name`` and ``licence``.
        advance: told after each block how many bytes of tensors are written, of how many; what it raises cancels the
            export, which then leaves nothing behind.

    Returns:
        The written file.

    Raises:
        ModelFileError: an unknown family, or a damaged or unsuitable checkpoint or adapter.
        InputError: an unknown precision.
        MissingExtraError: the ``gguf`` package is not installed.
    """
    checkpoint = open_checkpoint(directory, adapter)
    if details is None:
        details = Details(name=name, licence=licence)
    family_of(checkpoint).export(checkpoint, Path(target), precision, details=details, advance=advance)
    return Path(target)

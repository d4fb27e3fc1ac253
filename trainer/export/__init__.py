"""Hugging Face checkpoint -> GGUF: finds the model family and hands the checkpoint to that family's file."""

from pathlib import Path

from mediator.errors import ModelFileError
from trainer.export import bert
from trainer.export.base import PRECISIONS, Checkpoint, Precision

__all__ = ["PRECISIONS", "Checkpoint", "Precision", "export_gguf"]

_FAMILIES = (bert,)


def export_gguf(
    directory: Path | str, target: Path | str, precision: Precision = "q8_0", *, name: str = "", licence: str = ""
) -> Path:
    """Write a checkpoint directory as one GGUF file that llama.cpp runs.

    Args:
        directory: what ``save_pretrained`` of transformers or ``save`` of sentence-transformers wrote.
        target: the file to write; it appears only when it is whole.
        precision: one of `PRECISIONS`.
        name: the model's name in the metadata; the directory's name by default.
        licence: SPDX identifier for the metadata.

    Returns:
        The written file.

    Raises:
        ModelFileError: an unknown family, or a damaged or unsuitable checkpoint.
        InputError: an unknown precision.
        MissingExtraError: the ``gguf`` package is not installed.
    """
    checkpoint = Checkpoint(directory)
    for family in _FAMILIES:
        if checkpoint.model_type in family.MODEL_TYPES:
            family.export(checkpoint, Path(target), precision, name=name, licence=licence)
            return Path(target)
    known = ", ".join(model_type for family in _FAMILIES for model_type in family.MODEL_TYPES)
    raise ModelFileError(
        f"{checkpoint.directory} is a {checkpoint.model_type or 'nameless'} model; there is no export for it.",
        f"Families that can be exported: {known}.",
    )

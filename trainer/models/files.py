"""The files of a model: what must be in its folder, and what is wrong with it, without loading it and without torch."""

import json
import os
from pathlib import Path

from mediator.errors import ModelFileError
from mediator.settings import user_path

OLD_TOKENIZER = "tokenizer.model"
"""SentencePiece's file, which exporters want and transformers 5 drops on saving."""


def check_folder(name: str, kind: bool = True) -> None:
    """Raise `ModelFileError` for a folder that cannot be loaded; a name that may be one on the hub passes.

    ``kind`` also checks that transformers knows this kind of model, and imports it, which takes seconds.
    """
    if not name.strip():
        raise ModelFileError("No model is named.", "Set `model` to a folder or a name on the Hugging Face hub.")
    folder = user_path(name)
    if os.path.isfile(folder):
        raise ModelFileError(
            f"{name} is a file, and a model to train is a folder.",
            "A GGUF file cannot be trained; name the checkpoint it was made from."
            if name.lower().endswith(".gguf")
            else "Name the folder it lies in.",
        )
    if not os.path.isdir(folder):
        if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
            raise ModelFileError(f"There is no folder {name}.", "Check the path of the model.")
        return
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelFileError(
                f"{name} holds an adapter, not a model.", "Name the model that was trained with it, or merge the two."
            )
        raise ModelFileError(f"{name} holds no model: config.json is missing.", "Choose a folder of transformers.")
    if kind:
        _check_config(folder / "config.json")
    for file in weight_files(folder):
        _check_safetensors(file)
    if not any((folder / file).is_file() for file in ("tokenizer.json", OLD_TOKENIZER, "vocab.json", "vocab.txt")):
        raise ModelFileError(
            f"{name} holds no tokenizer: there is no tokenizer.json.", "Copy it from where the model came from."
        )


def _check_config(file: Path) -> None:
    try:
        good = isinstance(json.loads(file.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        good = False
    if not good:
        raise ModelFileError(f"{file} is damaged: it is not JSON.", "Fetch it again.")


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model's folder. Raises `ModelFileError` where one is missing."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelFileError(f"{index} is damaged.", "Fetch the model again.") from error
        for name in names:
            if not (folder / name).is_file():
                raise ModelFileError(f"{folder} lacks {name}, which holds a part of the weights.", "Fetch it again.")
        return [folder / name for name in names]
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        raise ModelFileError(
            f"{folder} holds its weights as a pickle only, which can run any code when it is opened.",
            "Choose a version with safetensors weights, or convert it where you trust it.",
        )
    raise ModelFileError(f"{folder} holds no weights: model.safetensors is missing.", "Fetch the model again.")


def _check_safetensors(file: Path) -> None:
    """Compare a file's length with what its header says."""
    size = file.stat().st_size
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if not 2 <= length <= min(size, 100_000_000):
                raise ValueError("no header")
            header = json.loads(opened.read(length))
        end = max((part["data_offsets"][1] for name, part in header.items() if name != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{file} is damaged: it has no header of safetensors.", "Fetch it again.") from error
    if size < 8 + length + end:
        raise ModelFileError(
            f"{file} is cut off: {size} of {8 + length + end} bytes are there.", "Fetch it again, to the end."
        )

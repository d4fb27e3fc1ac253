"""How large a checkpoint is and what it is made of, from config.json and the headers of its weights, without torch."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mediator.errors import ModelFileError
from mediator.settings import user_path
from trainer.models.files import check_folder, weight_files

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


@dataclass(frozen=True)
class ModelShape:
    """What a decoder is made of. All numbers are counts of numbers (weights), not bytes.

    Attributes:
        layers: weights of each decoder layer, from the first.
        embeddings: weights of the token embeddings.
        norm: weights of the norm after the last layer.
        head: weights of the output head; 0 where it is the embeddings.
        adapters: for each unit of rank, what LoRA adds to all linear layers: the sum of their inputs and outputs.
        hidden: width of what goes from layer to layer.
        queries: width of all heads' queries together.
        keys: width of all heads' keys together; the values' width is the same.
        inner: width inside the feed-forward network.
        vocabulary: tokens.
        context: tokens that the model was made for; 0 for unknown.
        stored: bytes of the weight files; 0 where they are not on this computer.
        kind: what config.json calls it, such as ``llama``.
    """

    layers: tuple[int, ...]
    embeddings: int
    norm: int
    head: int
    adapters: int
    hidden: int
    queries: int
    keys: int
    inner: int
    vocabulary: int
    context: int
    stored: int
    kind: str = ""

    @property
    def parameters(self) -> int:
        """All weights."""
        return sum(self.layers) + self.embeddings + self.norm + self.head


def read_shape(name: str) -> ModelShape | None:
    """Return the shape of a model: a folder, or a name on the hub that was downloaded before.

    Returns:
        None for a name on the hub that is not on this computer: nothing is known of it before it is downloaded.

    Raises `ModelFileError` for a folder that holds no model to train.
    """
    check_folder(name, kind=False)
    folder = user_path(name) if os.path.isdir(user_path(name)) else _downloaded(name)
    if folder is None:
        return None
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return _shape(folder, config.get("text_config", config))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise ModelFileError(
            f"{folder / 'config.json'} describes no language model that can be trained ({type(error).__name__}).",
            "Choose a model of the Llama, Mistral or Qwen family.",
        ) from error


def _downloaded(name: str) -> Path | None:
    """The folder of a model in the hub's cache on this computer."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    try:
        found = try_to_load_from_cache(name, "config.json")
    except ValueError as error:  # no name that the hub could have
        raise ModelFileError(f"There is no folder {name}, and no model is called so.", "Check its name.") from error
    return Path(found).parent if isinstance(found, str) else None


def _shape(folder: Path, config: dict[str, Any]) -> ModelShape:
    hidden, count = int(config["hidden_size"]), int(config["num_hidden_layers"])
    heads = int(config["num_attention_heads"])
    width = int(config.get("head_dim") or hidden // heads)
    keys = int(config.get("num_key_value_heads") or heads) * width
    queries, inner, vocabulary = heads * width, int(config["intermediate_size"]), int(config["vocab_size"])
    context = int(config.get("max_position_embeddings") or 0)
    sizes: dict[str, list[int]] = {}
    try:
        files = weight_files(folder)
        for file in files:
            sizes |= _header(file)
        stored = sum(file.stat().st_size for file in files)
    except ModelFileError:  # of a model of the hub, perhaps only the description has come
        sizes, stored = {}, 0
    parts: list[int] = [0] * count
    embeddings = norm = head = adapters = 0
    for name, shape in sizes.items():
        size = _product(shape)
        if (found := _LAYER.search(name)) is not None:
            parts[int(found[1])] += size
            adapters += sum(shape) if len(shape) == 2 else 0
        elif "embed_tokens" in name:
            embeddings += size
        elif "lm_head" in name:
            head += size
        else:
            norm += size
    if not sizes:
        linear = ((hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden), *((hidden, inner),) * 3)
        parts = [sum(a * b for a, b in linear) + 2 * hidden] * count
        adapters = count * sum(a + b for a, b in linear)
        embeddings, norm = vocabulary * hidden, hidden
        head = 0 if config.get("tie_word_embeddings") else embeddings
    elif config.get("tie_word_embeddings"):
        head = 0
    return ModelShape(
        layers=tuple(parts),
        embeddings=embeddings,
        norm=norm,
        head=head,
        adapters=adapters,
        hidden=hidden,
        queries=queries,
        keys=keys,
        inner=inner,
        vocabulary=vocabulary,
        context=context,
        stored=stored,
        kind=str(config.get("model_type", "")),
    )


def _header(file: Path) -> dict[str, list[int]]:
    """The shape of each tensor of a safetensors file."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    return {name: list(part["shape"]) for name, part in header.items() if name != "__metadata__"}


def _product(shape: list[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size

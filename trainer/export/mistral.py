"""Mistral to GGUF: for llama.cpp a Llama; its sliding window bounds the context up to which the two agree."""

from typing import Any

from trainer.export.base import Checkpoint
from trainer.export.decoder import Family

MODEL_TYPES = ("mistral",)


def _window(checkpoint: Checkpoint) -> Any:
    # transformers takes 4096 where an old config.json does not say; null means none.
    return checkpoint.config.get("sliding_window", 4096)


FAMILY = Family("Mistral", "llama", ("linear", "yarn", "llama3"), rotates_pairs=True, window=_window)

list_outputs = FAMILY.list_outputs
export = FAMILY.export

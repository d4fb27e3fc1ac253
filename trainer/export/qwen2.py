"""Qwen2 and Qwen2.5 to GGUF: biases on Q, K and V, and rows in their own order, as llama.cpp rotates halves here."""

from typing import Any

from trainer.export.base import Checkpoint
from trainer.export.decoder import Family

MODEL_TYPES = ("qwen2",)


def sliding_window(checkpoint: Checkpoint) -> Any:
    """Tokens that the layers with a window see, or None where no layer has one."""
    config = checkpoint.config
    if not config.get("use_sliding_window"):
        return None
    types = config.get("layer_types")
    if types is None:
        full = config.get("max_window_layers", 28)
        windowed = not isinstance(full, int) or full < checkpoint.number("num_hidden_layers")
    else:
        windowed = "sliding_attention" in types
    return config.get("sliding_window", 4096) if windowed else None


FAMILY = Family(
    "Qwen2",
    "qwen2",
    ("linear", "yarn"),
    free_head_size=False,
    biases=lambda config: ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    window=sliding_window,
)

list_outputs = FAMILY.list_outputs
export = FAMILY.export

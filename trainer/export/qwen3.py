"""Qwen3 (dense) to GGUF: queries and keys normalised in each head, and a head size of its own."""

from trainer.export.decoder import Family
from trainer.export.qwen2 import sliding_window

MODEL_TYPES = ("qwen3",)

FAMILY = Family("Qwen3", "qwen3", ("linear", "yarn"), head_norms=True, default_head_size=128, window=sliding_window)

list_outputs = FAMILY.list_outputs
export = FAMILY.export

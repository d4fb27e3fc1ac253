"""Llama 1 to 3.x to GGUF: the rows of Q and K interleaved, and Llama 3's rotary frequency factors as a tensor."""

from collections.abc import Mapping
from typing import Any

from trainer.export.decoder import Family

MODEL_TYPES = ("llama",)


def _biases(config: Mapping[str, Any]) -> tuple[str, ...]:
    attention = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
    feed_forward = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    return (attention if config.get("attention_bias") else ()) + (feed_forward if config.get("mlp_bias") else ())


FAMILY = Family("Llama", "llama", ("linear", "yarn", "llama3"), rotates_pairs=True, biases=_biases)

list_outputs = FAMILY.list_outputs
export = FAMILY.export

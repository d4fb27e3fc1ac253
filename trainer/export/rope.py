"""Rotary positions: what a decoder's config.json says about them, and how llama.cpp is told the same.

Sources: Su et al. 2021 (RoPE); Peng et al. 2023, arXiv 2309.00071 (YaRN); Grattafiori et al. 2024, arXiv 2407.21783 and
the reference code of Llama 3.1 (frequency factors).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mediator.errors import ModelFileError
from trainer.export.base import Checkpoint, positive_number

if TYPE_CHECKING:
    from gguf import GGUFWriter

# llama.cpp reads these from a file only for other families, and uses YaRN's defaults for ours.
_YARN_BETAS = {"beta_fast": 32.0, "beta_slow": 1.0}


@dataclass(frozen=True)
class Rope:
    """Rotary positions of a decoder.

    Attributes:
        theta: the base; dimension pair i of d turns by theta^(-2i / d) per position.
        kind: ``default``, ``linear``, ``yarn`` or ``llama3``.
        factor: how much longer a context the scaling is for; 1 for ``default``.
        trained_context: tokens before scaling; 0 where the kind does not ask.
        attention_factor: of YaRN, on queries and keys; 1 otherwise.
        low_frequency: of ``llama3``: wavelengths above ``trained_context / low_frequency`` are scaled in full.
        high_frequency: of ``llama3``: wavelengths below ``trained_context / high_frequency`` are left as they are.
    """

    theta: float
    kind: str = "default"
    factor: float = 1.0
    trained_context: int = 0
    attention_factor: float = 1.0
    low_frequency: float = 1.0
    high_frequency: float = 4.0

    def describe(self, writer: "GGUFWriter") -> None:
        """Add base and scaling to the metadata; the factors of ``llama3`` are a tensor, see `frequency_factors`."""
        import gguf

        writer.add_rope_freq_base(self.theta)
        if self.kind in ("linear", "yarn"):
            writer.add_rope_scaling_type(getattr(gguf.RopeScalingType, self.kind.upper()))
            writer.add_rope_scaling_factor(self.factor)
        if self.kind == "yarn":
            writer.add_rope_scaling_orig_ctx_len(self.trained_context)
            # llama.cpp multiplies by YaRN's own attention factor, so only what differs from it is written.
            extra = self.attention_factor / _yarn_attention(self.factor)
            if not math.isclose(extra, 1.0, rel_tol=1e-6):
                writer.add_rope_scaling_attn_factors(extra)

    def frequency_factors(self, head_dim: int) -> NDArray[np.float32] | None:
        """Divisors of the ``head_dim / 2`` frequencies, the tensor ``rope_freqs.weight``; None unless ``llama3``."""
        if self.kind != "llama3":
            return None
        wavelengths = 2 * math.pi * np.power(self.theta, np.arange(0, head_dim, 2) / head_dim)
        smooth = (self.trained_context / wavelengths - self.low_frequency) / (self.high_frequency - self.low_frequency)
        between = 1 / ((1 - smooth) / self.factor + smooth)
        factors = np.where(wavelengths > self.trained_context / self.low_frequency, self.factor, between)
        factors = np.where(wavelengths < self.trained_context / self.high_frequency, 1.0, factors)
        return factors.astype(np.float32)


def read_rope(checkpoint: Checkpoint, kinds: tuple[str, ...]) -> Rope:
    """Read the positions of config.json, in the form of transformers 5 (``rope_parameters``) or before it.

    Args:
        checkpoint: the model.
        kinds: the scalings that llama.cpp computes for this family, besides ``default``.

    Raises:
        ModelFileError: a scaling, or a setting of one, that llama.cpp would compute differently or not at all.
    """
    where, config = checkpoint.path("config.json"), checkpoint.config
    stated = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(stated, dict) or any(isinstance(value, dict) for value in stated.values()):
        raise ModelFileError(f"{where}: the rotary positions differ between layers.", "llama.cpp has no place for it.")
    partial = stated.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    if partial not in (None, 1, 1.0):
        raise ModelFileError(
            f"{where}: only {partial} of each head is rotated (`partial_rotary_factor`).", "Use another model."
        )
    kind = stated.get("rope_type", stated.get("type")) or "default"
    theta = positive_number(where, "rope_theta", stated.get("rope_theta", config.get("rope_theta", 10_000.0)))
    if kind == "default":
        return Rope(theta)
    if kind not in kinds:
        raise ModelFileError(
            f"{where}: rotary scaling {kind!r} cannot be exported for this family.",
            f"llama.cpp computes {', '.join(kinds)}.",
        )
    key = "original_max_position_embeddings"
    context = config.get(key) or stated.get(key) or checkpoint.number("max_position_embeddings")
    trained = int(positive_number(where, key, context))
    factor = stated.get("factor")
    if factor is None and kind == "yarn":
        factor = checkpoint.number("max_position_embeddings") / trained
    factor = positive_number(where, "factor", factor)
    if factor < 1:
        raise ModelFileError(f"{where}: the rotary scaling `factor` is {factor}, below 1.", "Use another model.")
    if kind == "linear":
        return Rope(theta, kind, factor)
    if kind == "llama3":
        low, high = (positive_number(where, key, stated.get(key)) for key in ("low_freq_factor", "high_freq_factor"))
        if low >= high:
            raise ModelFileError(
                f"{where}: `low_freq_factor` {low} is not below `high_freq_factor` {high}.", "Fetch it again."
            )
        return Rope(theta, kind, factor, trained, low_frequency=low, high_frequency=high)
    for key, value in (*_YARN_BETAS.items(), ("truncate", True)):
        if (stated.get(key) if stated.get(key) is not None else value) != value:
            raise ModelFileError(
                f"{where}: YaRN's `{key}` is {stated[key]}; llama.cpp computes this family with {value}.",
                "Use another model.",
            )
    return Rope(theta, kind, factor, trained, _attention_factor(where, stated, factor))


def _attention_factor(where: Path, stated: dict[str, Any], factor: float) -> float:
    """As transformers infers it: given, or from ``mscale`` and ``mscale_all_dim``, or YaRN's own (eq. 22)."""
    if stated.get("attention_factor") is not None:
        return positive_number(where, "attention_factor", stated["attention_factor"])
    if stated.get("mscale") and stated.get("mscale_all_dim"):
        above, below = (positive_number(where, key, stated[key]) for key in ("mscale", "mscale_all_dim"))
        return _yarn_attention(factor, above) / _yarn_attention(factor, below)
    return _yarn_attention(factor)


def _yarn_attention(factor: float, scale: float = 1.0) -> float:
    return 0.1 * scale * math.log(factor) + 1.0

"""A LoRA adapter merged into its base on the fly: a checkpoint whose tensors add scale * B @ A as they are read.

Source: Hu et al. 2021, arXiv 2106.09685, eq. 3; rank-stabilised scale: Kalajdzievski 2023, arXiv 2312.03732. The folder
is what peft's ``save_pretrained`` writes.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mediator.errors import ModelFileError
from trainer.export.base import (
    EMBEDDING,
    HEAD,
    Checkpoint,
    Tensor,
    positive_number,
    read_json_object,
    read_safetensors_index,
)

_PREFIX = "base_model.model."
_LOW_RANK = re.compile(r"^(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<part>[AB])(?:\.weight)?$")
# What adapter_config.json says that changes nothing here, or is minded below. A setting that is not named here and is
# switched on (DoRA, trained tokens, ...) computes something else than W + scale * B @ A.
_KNOWN = frozenset({
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying",
    "eva_config", "exclude_modules", "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform",
    "loftq_config", "lora_alpha", "lora_dropout", "lora_ga_config", "megatron_core", "modules_to_save", "peft_type",
    "peft_version", "qalora_group_size", "r", "rank_pattern", "revision", "runtime_config", "target_modules",
    "task_type", "use_rslora",
})  # fmt: skip
# These leave the base's weights as they are; PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA start by changing them.
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
# A file of this name in the adapter's folder is the one that was trained with.
_OVERRIDDEN = (
    "evenhand.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "generation_config.json",
)  # fmt: skip


@dataclass(frozen=True)
class AdaptedTensor(Tensor):
    """A weight of the base plus a product of low rank.

    Attributes:
        down: A, (rank, inputs); of an embedding (rank, rows).
        up: B, (outputs, rank); of an embedding (columns, rank).
        scale: what the product is multiplied by.
        embedding: whether the product is added transposed.
    """

    down: Tensor
    up: Tensor
    scale: float
    embedding: bool

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Rows ``start`` to ``stop`` of the merged weight, computed in float32; only these rows exist in memory."""
        if self.embedding:
            product = self.down.rows()[:, start:stop].T @ self.up.rows().T
        else:
            product = self.up.rows(start, stop) @ self.down.rows()
        merged: NDArray[np.float32] = super().rows(start, stop) + product * np.float32(self.scale)
        return merged


class AdaptedCheckpoint(Checkpoint):
    """A checkpoint with an adapter merged into it; nothing is written, each tensor is merged as its rows are read.

    Where the base shares one matrix between embedding and head, and the adapter changes one of them, the head becomes
    a tensor of its own: that is what was trained.

    Args:
        checkpoint: the base.
        adapter: the folder of the adapter.

    Raises:
        ModelFileError: no LoRA adapter, one of another base, or one that does more than W + scale * B @ A.
    """

    def __init__(self, checkpoint: Checkpoint, adapter: Path | str) -> None:
        self.directory = checkpoint.directory
        self.config = checkpoint.config
        self.adapter = Path(adapter)
        self.settings = self._read_settings()
        self.tensors = self._merge(checkpoint.tensors)

    def path(self, *name: str) -> Path:
        """Where a file lies: a tokenizer file or ``evenhand.json`` with the adapter if it is there, else the base."""
        beside = self.adapter.joinpath(*name)
        return beside if name[0] in _OVERRIDDEN and beside.is_file() else super().path(*name)

    def _read_settings(self) -> dict[str, Any]:
        where = self.adapter / "adapter_config.json"
        if not where.is_file():
            raise ModelFileError(
                f"{self.adapter} holds no adapter: adapter_config.json is missing.",
                "Name the folder that save_pretrained() of peft wrote.",
            )
        settings = read_json_object(where)
        if settings.get("peft_type") != "LORA":
            raise ModelFileError(
                f"{where}: the adapter is of the type {settings.get('peft_type')}, and only LORA can be merged here.",
                "Merge it with peft, and export the merged model.",
            )
        if settings.get("use_dora"):
            raise ModelFileError(
                f"{where}: the adapter uses DoRA, which rescales the rows of the base.",
                "Merge it with peft (merge_and_unload), and export the merged model.",
            )
        if settings.get("init_lora_weights") not in _STARTS:
            raise ModelFileError(
                f"{where}: the adapter began as {settings['init_lora_weights']!r}, which also changes the base.",
                "Merge it with peft in the place where it was trained, and export the merged model.",
            )
        for key, value in settings.items():
            if key not in _KNOWN and value:
                raise ModelFileError(
                    f"{where}: the setting `{key}` does more than plain LoRA.",
                    "Merge it with peft (merge_and_unload), and export the merged model.",
                )
        return settings

    def _merge(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        weights = self.adapter / "adapter_model.safetensors"
        if not weights.is_file():
            raise ModelFileError(f"{weights} is missing.", "Save the adapter with peft, which writes safetensors.")
        merged, factors = dict(tensors), dict[str, dict[str, Tensor]]()
        added = {tensor.name.removeprefix(_PREFIX): tensor for tensor in read_safetensors_index(weights)}
        self._untie(merged, added)
        # Whole tensors first: a saved embedding may be the base of a product.
        for name, tensor in added.items():
            product = _LOW_RANK.match(name)
            if product:
                kind = "embedding_" if product["embedding"] else ""
                factors.setdefault(f"{product['module']}.weight", {})[kind + product["part"]] = tensor
                continue
            name = name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")
            if name not in merged:
                raise ModelFileError(f"{tensor.where} has no place in {self.directory}.", self._hint())
            if tensor.shape != merged[name].shape:
                raise self._misfit(tensor, merged[name])
            merged[name] = tensor
        if not factors and not added:
            raise ModelFileError(f"{weights} holds no tensors.", "Save the adapter again.")
        for name, parts in factors.items():
            merged[name] = self._product(name, parts, merged)
        return merged

    def _untie(self, merged: dict[str, Tensor], added: Mapping[str, Tensor]) -> None:
        """Give the head a tensor of its own where the base has one for both, and the adapter changes one of them."""
        stems = (EMBEDDING.removesuffix("weight"), HEAD.removesuffix("weight"))
        if HEAD in merged or EMBEDDING not in merged or not any(name.startswith(stems) for name in added):
            return
        if self.settings.get("ensure_weight_tying"):
            raise ModelFileError(
                f"{self.adapter / 'adapter_config.json'}: `ensure_weight_tying` on an adapted embedding.",
                "Merge it with peft (merge_and_unload), and export the merged model.",
            )
        merged[HEAD] = replace(merged[EMBEDDING], name=HEAD)

    def _product(self, name: str, parts: Mapping[str, Tensor], merged: Mapping[str, Tensor]) -> AdaptedTensor:
        one = next(iter(parts.values()))
        if name not in merged:
            raise ModelFileError(f"{one.where} has no place in {self.directory}: there is no {name}.", self._hint())
        base = merged[name]
        embedding = "embedding_A" in parts or "embedding_B" in parts
        kind = "embedding_" if embedding else ""
        down, up = parts.get(f"{kind}A"), parts.get(f"{kind}B")
        if down is None or up is None or len(parts) != 2:
            raise ModelFileError(f"{one.where} has no counterpart: A and B come in pairs.", "Save the adapter again.")
        expected = base.shape[::-1] if embedding else base.shape
        if len(down.shape) != 2 or len(up.shape) != 2 or len(base.shape) != 2:
            raise self._misfit(one, base)
        if (up.shape[0], down.shape[1]) != expected or up.shape[1] != down.shape[0]:
            raise self._misfit(up if up.shape[0] != expected[0] else down, base)
        values = {field.name: getattr(base, field.name) for field in fields(Tensor)}
        scale = self._scale(name.removesuffix(".weight"), down)
        return AdaptedTensor(**values, down=down, up=up, scale=scale, embedding=embedding)

    def _scale(self, module: str, down: Tensor) -> float:
        """alpha / rank, or alpha / sqrt(rank) with rsLoRA; both may be set for single modules by a pattern."""
        rank = self._of(module, "rank_pattern", "r")
        alpha = self._of(module, "alpha_pattern", "lora_alpha")
        if rank != down.shape[0]:
            raise ModelFileError(
                f"{down.where} has the rank {down.shape[0]}, adapter_config.json says {rank}.",
                "The weights and the settings are of different adapters.",
            )
        return alpha / (math.sqrt(rank) if self.settings.get("use_rslora") else rank)

    def _of(self, module: str, patterns: str, key: str) -> float:
        where, value = self.adapter / "adapter_config.json", self.settings.get(key)
        try:
            for pattern, special in (self.settings.get(patterns) or {}).items():
                if re.match(rf"(.*\.)?({pattern})$", module):
                    value = special
                    break
        except (re.error, AttributeError) as error:
            raise ModelFileError(
                f"{where}: `{patterns}` cannot be read: {error}.", "Save the adapter again."
            ) from error
        return positive_number(where, key, value)

    def _misfit(self, tensor: Tensor, base: Tensor) -> ModelFileError:
        return ModelFileError(
            f"{tensor.where} has the shape {tensor.shape}, which does not fit {base.name} of the base, {base.shape}.",
            self._hint(),
        )

    def _hint(self) -> str:
        trained_on = self.settings.get("base_model_name_or_path") or "another model"
        return f"The adapter was trained on {trained_on}; name that checkpoint."

"""What learns: all weights, the last decoder layers, or adapters beside the weights; and what of them is saved.

Weights that learn are kept in float32 and computed with in the run's precision: a bfloat16 weight of 0.02 cannot take a
step of 3e-5. Frozen weights are kept in the run's precision.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from mediator.errors import InputError
from trainer.alignment.config import RecipeConfig
from trainer.config import ConfigError
from trainer.models import pretrained

ADAPTER_FOLDER = "adapter"
"""Beside the merged model in a run's folder: the adapter alone, for ``hf:BASE+ADAPTER``."""


class TooManyLayers(InputError):
    """More decoder layers shall learn than the model has."""


@dataclass
class Learner:
    """A model with what learns in it.

    Attributes:
        model: the causal language model itself, with its adapters in it, if any.
        tokenizer: goes with it.
        adapter: peft's wrapper around it, or None.
        stored: the dtype of the weights in the file it came from.
        precision: what is computed in.
    """

    model: Any
    tokenizer: Any
    adapter: Any
    stored: torch.dtype
    precision: Literal["bf16", "fp32"]
    device: torch.device

    def computing(self) -> torch.autocast:
        """Return the context in which the model computes in the run's precision, whatever its weights are kept in."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def load(config: RecipeConfig) -> Learner:
    """Load the model of a recipe as it is stored; nothing learns yet.

    Raises: what `pretrained.load` and `pretrained.load_quantised` raise.
    """
    quantised = config.trainable == "qlora"
    if config.trainable in ("lora", "qlora"):
        pretrained.require("peft")
    model, tokenizer = (
        pretrained.load_quantised(config.model, config.device)
        if quantised
        else pretrained.load(config.model, device=config.device, as_stored=True)
    )
    device = model.get_input_embeddings().weight.device
    precision = pretrained.resolved("bf16" if quantised else config.precision, device)
    stored = torch.bfloat16 if quantised else model.get_input_embeddings().weight.dtype
    return Learner(model, tokenizer, None, stored, precision, device)


def choose(learner: Learner, config: RecipeConfig) -> None:
    """Decide by the settings what learns, in place.

    Raises:
        TooManyLayers: see there.
        ConfigError: the head shall learn and is one matrix with the embeddings, while the layers between are frozen.
    """
    model = learner.model
    if config.trainable in ("lora", "qlora"):
        _add_adapters(learner, config)
    else:
        model.requires_grad_(config.trainable == "all")
        if config.trainable == "last_layers":
            _free_last_layers(model, config)
    frozen = pretrained.dtype_of(learner.precision)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
        elif parameter.is_floating_point() and config.trainable != "qlora":
            parameter.data = parameter.data.to(frozen)
    if config.gradient_checkpointing:
        _recompute(model)
        if learner.adapter is not None:
            model.enable_input_require_grads()


def _recompute(model: Any) -> None:
    settings = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):  # its name since transformers 5.20
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=settings)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)


def _free_last_layers(model: Any, config: RecipeConfig) -> None:
    decoder = model.get_decoder()
    layers = decoder.layers
    if config.layers > len(layers):
        raise TooManyLayers(
            f"layers is {config.layers}, and the model has {len(layers)} decoder layers.",
            f"Set layers to at most {len(layers)}, or trainable = all.",
        )
    for layer in layers[-config.layers :]:
        layer.requires_grad_(True)
    if config.train_final_norm:
        decoder.norm.requires_grad_(True)
    if config.train_head:
        head = model.get_output_embeddings()
        if head.weight is model.get_input_embeddings().weight:
            raise ConfigError(
                "train_head: the output head of this model is one matrix with its embeddings, below the frozen layers.",
                "Set train_head = false, or trainable = all.",
            )
        head.requires_grad_(True)


def _add_adapters(learner: Learner, config: RecipeConfig) -> None:
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    settings = LoraConfig(
        task_type="CAUSAL_LM",
        r=config.adapter_rank,
        lora_alpha=config.adapter_scale,
        lora_dropout=0.0,
        target_modules="all-linear",
    )
    model = learner.model
    if config.trainable == "qlora":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    with torch.random.fork_rng(devices=[learner.device] if learner.device.type == "cuda" else []):
        torch.manual_seed(config.seed)  # the same adapters at the start, whatever was drawn before
        learner.adapter = get_peft_model(model, settings)
    learner.model = learner.adapter.get_base_model()


def save(learner: Learner, config: RecipeConfig, folder: Path, facts: dict[str, Any]) -> Path:
    """Save the result in ``folder / "model"``, adapters merged into it, and an adapter by itself beside it.

    QLoRA's adapter is merged into the weights as the base stores them, not into the 4-bit ones, which are coarser.
    The learner cannot go on learning afterwards.
    """
    model = learner.model
    if learner.adapter is not None:
        beside = folder / ADAPTER_FOLDER
        with pretrained.quiet():
            learner.adapter.save_pretrained(beside)
        pretrained.write_story(beside, facts)
        if config.trainable == "qlora":
            from peft import PeftModel

            plain, _ = pretrained.load(config.model, device="cpu", as_stored=True)
            learner.adapter = PeftModel.from_pretrained(plain, beside, use_safetensors=True)
        model = learner.adapter.merge_and_unload()
    # A float32 base whose frozen weights were computed with in bf16 has nothing to lose any more.
    kind = torch.bfloat16 if learner.precision == "bf16" else learner.stored
    return pretrained.save(model, learner.tokenizer, folder / "model", config.model, facts, kind)

"""A decoder cut in two: the frozen layers below, and above them the last layers, the norm and the head, which learn.

Both parts are the model's own decoder class with fewer layers, so that masks, rotary embeddings, sliding windows and
the attention's implementation are those of the model, and they share its parameters: training a part trains the model.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from mediator.errors import InputError
from trainer.models.likelihood import head_log_probabilities

# In these, a layer's input is all that the layers below hand up. Others scale the embeddings on the way in (Gemma),
# share keys between layers, or have more than one stream, and must be looked at before they are added.
_KNOWN = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}


class CannotCutModel(InputError):
    """The model is of an architecture, or is wrapped in a way, that is not known to be cut safely between layers."""


class TrunkNotFrozen(InputError):
    """Something below the cut learns, so what it computes changes from step to step and cannot be kept."""


def split_point(model: Any, layers: int) -> int:
    """Return how many decoder layers lie below the last ``layers``: the index of the first layer that learns.

    Args:
        model: a Llama, Mistral, Qwen2 or Qwen3 for causal language modelling, not wrapped.
        layers: how many of the last decoder layers learn, 1 up to all of them.

    Raises:
        CannotCutModel: another architecture, a wrapped model, or more layers than there are.
    """
    kind = str(getattr(getattr(model, "config", None), "model_type", "unknown"))
    if _KNOWN.get(kind) != type(model).__name__:
        raise CannotCutModel(
            f"The activations of a {type(model).__name__} (model type {kind}) cannot be kept: this is known to be "
            f"right for {', '.join(_KNOWN.values())} only.",
            "Set trunk_cache = false.",
        )
    count = len(model.model.layers)
    if not 1 <= layers <= count:
        raise CannotCutModel(f"layers is {layers}, and the model has {count} of them.", f"Choose 1 to {count}.")
    return count - layers


def require_frozen(model: Any, layers: int) -> None:
    """Check that nothing below the last ``layers`` learns.

    Raises:
        TrunkNotFrozen: the embeddings or a lower layer have a parameter with ``requires_grad``.
        CannotCutModel: see `split_point`.
    """
    split = split_point(model, layers)
    embedding = model.model.embed_tokens.weight
    if embedding.requires_grad and embedding is model.lm_head.weight:
        raise TrunkNotFrozen(
            "The output head learns and is one matrix with the embeddings, so every activation changes with it.",
            "Set train_head = false or trunk_cache = false.",
        )
    for name, parameter in model.model.named_parameters():
        below = name.startswith("embed_tokens.") or (
            name.startswith("layers.") and int(name.split(".")[1]) < split  # "layers.7.mlp.up_proj.weight"
        )
        if below and parameter.requires_grad:
            raise TrunkNotFrozen(
                f"model.{name} learns, and it lies below the last {layers} layers.",
                "Freeze it, or set trunk_cache = false.",
            )


class Top(nn.Module):  # type: ignore[misc]
    """The last layers, the norm and the head of a model, sharing its parameters. Made by `top`."""

    def __init__(self, model: Any, layers: int) -> None:
        super().__init__()
        split = split_point(model, layers)
        self._source = [model.model.config]  # in a list, so that it stays the model's own
        self.decoder = _part(model.model, split, len(model.model.layers))
        self.head = model.lm_head

    def hidden(self, states: Tensor, attention_mask: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """Return (B, T, H) what goes into the head. The arguments are those of `forward`."""
        # The layers look at the model's config for this, and the masks must be made for the same implementation.
        self.decoder.config._attn_implementation = self._source[0]._attn_implementation
        output = self.decoder(
            inputs_embeds=states, attention_mask=attention_mask, position_ids=positions, use_cache=False
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def forward(
        self,
        states: Tensor,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        tokens: Tensor | None = None,
        response: Tensor | None = None,
    ) -> Any:
        """Continue from the states of the layer below.

        Args:
            states: (B, T, H) what enters the first of the last layers.
            attention_mask: (B, T) true at tokens, false at padding on the right; None for no padding.
            positions: (B, T) place of each token in its text; None for 0, 1, 2...
            tokens: (B, T) the tokens; with ``response``, to get log-probabilities instead of logits.
            response: (B, T) bool, true at the tokens of the response.

        Returns:
            Logits (B, T, V). With ``tokens`` and ``response``: sums (B,) and counts (B,) of
            `trainer.models.likelihood.head_log_probabilities`, which projects only the positions of the response.
        """
        return _headed(self.hidden(states, attention_mask, positions), self.head, tokens, response)


class Whole(nn.Module):  # type: ignore[misc]
    """A whole model, with the same saving at the head as `Top`, and to be called in the same way."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        response: Tensor | None = None,
    ) -> Any:
        """Run the model on tokens (B, T).

        Returns:
            Logits (B, T, V); with ``response``, sums (B,) and counts (B,), as of `Top.forward`.
        """
        model = self.model
        if response is None:
            return model(
                input_ids=tokens, attention_mask=attention_mask, position_ids=positions, use_cache=False
            ).logits
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # peft puts adapters into it
        output = inner.base_model(
            input_ids=tokens, attention_mask=attention_mask, position_ids=positions, use_cache=False
        )
        return _headed(output.last_hidden_state, inner.get_output_embeddings(), tokens, response)


def top(model: Any, layers: int) -> Top:
    """Return the last ``layers`` decoder layers with the norm and the head, as a module of its own.

    Raises:
        CannotCutModel: see `split_point`.
    """
    return Top(model, layers)


def trunk_states(
    model: Any, layers: int, tokens: Tensor, attention_mask: Any = None, positions: Tensor | None = None
) -> Tensor:
    """Compute what enters the first of the last ``layers`` layers: (B, T, H), without gradient.

    Args:
        model: the model, in the mode (train or eval) in which it shall run.
        layers: how many of the last layers learn.
        tokens: (B, T), padded on the right.
        attention_mask: (B, T), true at tokens; or what `trainer.trunk.rows.shared_mask` gives.
        positions: (B, T) place of each token in its text; None for 0, 1, 2...

    Raises:
        CannotCutModel: see `split_point`.
    """
    split = split_point(model, layers)
    with torch.no_grad():
        if split == 0:
            embedded: Tensor = model.model.embed_tokens(tokens)
            return embedded
        states: Tensor = _part(model.model, 0, split)(
            input_ids=tokens, attention_mask=attention_mask, position_ids=positions, use_cache=False
        ).last_hidden_state
        return states


def _headed(hidden: Tensor, head: nn.Module, tokens: Tensor | None, response: Tensor | None) -> Any:
    if response is None:
        return head(hidden)
    if tokens is None:
        raise ValueError("The log-probabilities of a response need its tokens")
    return head_log_probabilities(hidden, head, tokens, response)


def _part(decoder: Any, start: int, end: int) -> Any:
    """The decoder's class with its layers ``start`` up to ``end``, all of them and all else shared."""
    config = copy.deepcopy(decoder.config)
    config.num_hidden_layers = end - start
    if getattr(config, "layer_types", None):  # Qwen names for each layer whether its attention slides
        config.layer_types = list(decoder.config.layer_types[start:end])
    config._attn_implementation = decoder.config._attn_implementation
    with torch.device("meta"):  # nothing is allocated: every parameter is replaced by the model's own
        part = type(decoder)(config)
    part.layers = nn.ModuleList(decoder.layers[start:end])
    part.rotary_emb = decoder.rotary_emb
    part.embed_tokens = decoder.embed_tokens if start == 0 else None
    part.norm = decoder.norm if end == len(decoder.layers) else nn.Identity()
    part.train(decoder.training)
    return part

"""The part of a sentence encoder that learns, over a frozen part that runs once per text and is remembered."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mediator.errors import InputError
from trainer.empathy.config import EmpathyConfig

if TYPE_CHECKING:
    import torch

_CHUNK = 16  # texts run together; small, because the texts of a chunk are padded to its longest


def upper_layers(model: Any, frozen: int) -> Any:
    """The layers of a BERT-like `SentenceTransformer` above the frozen ones. Raises `InputError` where none is left."""
    layers = model[0].auto_model.encoder.layer
    if frozen >= len(layers):
        raise InputError(f"frozen_layers is {frozen}; the encoder has {len(layers)}, one must learn.")
    return layers[frozen:]


class NormTower:
    """Learns only the last layer norm: one factor and one offset per dimension of the embedding.

    Pooling is linear, so both act on the pooled vector directly, and each text passes through the encoder once in the
    whole run. A thousand ratings carry little more than these few numbers can hold.
    """

    def __init__(self, model: Any, config: EmpathyConfig) -> None:
        import torch

        self.model, self.max_tokens = model, config.max_tokens
        self._norm = model[0].auto_model.encoder.layer[-1].output.LayerNorm
        self._factor = torch.nn.Parameter(torch.ones_like(self._norm.weight))
        self._offset = torch.nn.Parameter(torch.zeros_like(self._norm.bias))
        self._pooled: dict[str, torch.Tensor] = {}

    def parameters(self) -> list["torch.nn.Parameter"]:
        """The weights that learn."""
        return [self._factor, self._offset]

    def embed(self, texts: Sequence[str]) -> "torch.Tensor":
        """Unit vectors with gradients, shape ``(len(texts), dimensions)``."""
        import torch

        missing = sorted({text for text in texts if text not in self._pooled}, key=lambda text: (len(text), text))
        with torch.no_grad():
            for start in range(0, len(missing), _CHUNK):
                chunk = missing[start : start + _CHUNK]
                tokens = _tokenize(self.model, chunk, self.max_tokens)
                states = self.model[0].auto_model(**tokens).last_hidden_state
                self._pooled.update(zip(chunk, _pool(self.model, states, tokens["attention_mask"]), strict=True))
        pooled = torch.stack([self._pooled[text] for text in texts])
        return torch.nn.functional.normalize(pooled * self._factor + self._offset, dim=-1)

    def keep(self) -> None:
        """Write what was learnt into the model."""
        import torch

        with torch.no_grad():
            self._norm.weight.mul_(self._factor)
            self._norm.bias.mul_(self._factor).add_(self._offset)


class LayersTower:
    """Learns the uppermost layers, over a frozen trunk that is run once per text and remembered."""

    def __init__(self, model: Any, config: EmpathyConfig) -> None:
        self.model, self.max_tokens, self.frozen = model, config.max_tokens, config.frozen_layers
        self.layers = upper_layers(model, self.frozen)
        self._trunk: dict[str, torch.Tensor] = {}
        model.train()

    def parameters(self) -> list["torch.nn.Parameter"]:
        """The weights that learn."""
        return [weight for layer in self.layers for weight in layer.parameters()]

    def _run_trunk(self, texts: Sequence[str]) -> None:
        import torch

        learning = self.model.training
        self.model.eval()
        with torch.no_grad():
            for start in range(0, len(texts), _CHUNK):
                chunk = list(texts[start : start + _CHUNK])
                tokens = _tokenize(self.model, chunk, self.max_tokens)
                states = self.model[0].auto_model(**tokens, output_hidden_states=True).hidden_states[self.frozen]
                for text, state, mask in zip(chunk, states, tokens["attention_mask"], strict=True):
                    self._trunk[text] = state[: int(mask.sum())].clone()
        self.model.train(learning)

    def embed(self, texts: Sequence[str]) -> "torch.Tensor":
        """Unit vectors with gradients, shape ``(len(texts), dimensions)``; each text is run once per call."""
        import torch

        unique = sorted(dict.fromkeys(texts), key=len)  # like lengths together: less padding
        self._run_trunk([text for text in unique if text not in self._trunk])
        rows = []
        for start in range(0, len(unique), _CHUNK):
            states = [self._trunk[text] for text in unique[start : start + _CHUNK]]
            hidden = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
            lengths = torch.tensor([len(state) for state in states])
            mask = (torch.arange(hidden.shape[1]) < lengths[:, None]).long()
            blocked = (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
            for layer in self.layers:
                hidden = layer(hidden, blocked)
                hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            rows.append(torch.nn.functional.normalize(_pool(self.model, hidden, mask), dim=-1))
        position = {text: i for i, text in enumerate(unique)}
        return torch.cat(rows)[[position[text] for text in texts]]

    def keep(self) -> None:
        """Leave dropout; the layers themselves were trained in place."""
        self.model.eval()


def _tokenize(model: Any, texts: Sequence[str], max_tokens: int) -> Any:
    return model.tokenizer(list(texts), padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")


def _pool(model: Any, states: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
    """Pooled vectors by the model's own pooling, before its normalisation."""
    features = {"token_embeddings": states, "attention_mask": mask}
    for module in list(model)[1:]:
        if type(module).__name__ != "Normalize":
            features = module(features)
    return features["sentence_embedding"]

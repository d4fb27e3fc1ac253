"""A model as the losses need it: batches of texts in, the log-probabilities of their responses out."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainer.models.decoder_parts import Top, Whole
from trainer.models.likelihood import response_log_probabilities
from trainer.models.prompting import Encoded, encode, prompt_tokens

Batch = dict[str, Tensor]


class Network(nn.Module):  # type: ignore[misc]
    """A model as the losses need it: it returns how likely it finds the responses, never the logits of whole texts.

    Attributes:
        whole: the model.
        top: its last layers, where the activations below them are kept; shares the model's parameters.
    """

    def __init__(self, model: Any, top: Top | None = None) -> None:
        super().__init__()
        self.whole, self.top = Whole(model), top
        # Gemma, Cohere and Granite do something to the logits after the head.
        names = ("final_logit_softcapping", "logit_scale", "logits_scaling")
        self._plain_head = all(getattr(model.config, name, None) in (None, 1, 1.0) for name in names)

    def forward(
        self,
        tokens: Tensor,
        response: Tensor,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        states: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return sums (B,) of the log-probabilities of the response tokens, nats, and their counts (B,).

        Args:
            tokens: (B, T), padded on the right.
            response: (B, T) bool, true at the tokens of the response.
            attention_mask: (B, T) bool, true at tokens; None for rows that `positions` divides.
            positions: (B, T); where they restart, another text begins, which does not see the ones before it.
            states: (B, T, H) what enters the top; with it, the layers below are not run.
        """
        if states is not None:
            if self.top is None:
                raise ValueError("The activations below the top were given to a network without a top")
            found: tuple[Tensor, Tensor] = self.top(states, attention_mask, positions, tokens, response)
        elif self._plain_head:
            found = self.whole(tokens, attention_mask, positions, response)
        else:
            logits = self.whole(tokens, attention_mask, positions)
            found = response_log_probabilities(logits, tokens, response)
        return found


def batch_of(texts: Sequence[Encoded], device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """Return texts as what `Network.forward` takes: tokens, response and attention mask, padded on the right."""
    rows = [list(text.tokens) for text in texts]
    tokens = padded(rows)
    places = torch.arange(tokens.shape[1])[None, :]
    lengths = torch.tensor([[len(row)] for row in rows])
    starts = torch.tensor([[text.response_start] for text in texts])
    mask = places < lengths
    batch = {"tokens": tokens, "response": mask & (places >= starts), "attention_mask": mask}
    return {name: value.to(device) for name, value in batch.items()}


def padded(rows: list[list[int]], fill: int = 0) -> Tensor:
    """Return lists of whole numbers as one tensor (B, T), filled up on the right."""
    longest = max(map(len, rows))
    return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])


def prompt_room(longest_text: int, tokens: int) -> int:
    """Return how long a prompt may be where an answer of ``tokens`` shall follow, as `encode` has it in training."""
    return max(longest_text - tokens - 1, longest_text // 2)


def encode_answer(tokenizer: Any, prompt: str, answer: str, longest: int) -> Encoded:
    """Encode a model's own answer, which may be empty: then it is the end-of-text token alone."""
    if answer:
        return encode(tokenizer, prompt, answer, longest)
    asked = prompt_tokens(tokenizer, prompt, longest - 1)
    return Encoded([*asked, int(tokenizer.eos_token_id)], len(asked))

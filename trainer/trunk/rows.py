"""Rows for the frozen layers to read: texts that begin with the same prompt share it, so it is computed and kept once.

A row is a prompt and behind it the responses to it, each of which sees the prompt and itself. To the layers each text
is as if it were alone: its tokens have the places that they have in the text, and attention does not reach into other
responses.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Spans = list[list[int]]
"""Where the tokens of a text are: [first row, number of rows], one or two of them."""

_PADDING = -1


class SharedRow(NamedTuple):
    """One prompt with its responses; all three lists have the same length.

    Attributes:
        tokens: the prompt, then each response.
        positions: the place of each token in its text.
        segments: 0 for the prompt, 1, 2... for the responses.
        texts: how many texts the row holds.
    """

    tokens: list[int]
    positions: list[int]
    segments: list[int]
    texts: int


def plan(texts: Mapping[str, tuple[Sequence[int], int]], share: bool) -> tuple[list[SharedRow], dict[str, Spans]]:
    """Lay texts out in rows, the longest rows first. The order of the texts makes no difference.

    Args:
        texts: by key, the tokens and where the response starts; 0 for a text that shares nothing.
        share: whether texts may share a row at all; the attention must then obey `shared_mask`.

    Returns:
        The rows, and for each key its tokens' places in the rows laid end to end.
    """
    longest = max((len(tokens) for tokens, _ in texts.values()), default=0)
    prompts: dict[tuple[int, ...], list[str]] = {}
    for key in sorted(texts):
        tokens, start = texts[key]
        alone = not share or not 0 < start < len(tokens)
        prompts.setdefault(tuple(tokens if alone else tokens[:start]), []).append(key)
    laid: list[tuple[SharedRow, dict[str, Spans]]] = []
    for prompt, keys in prompts.items():
        row = _begin(prompt)
        places: dict[str, Spans] = {}
        for key in keys:
            response = list(texts[key][0][len(prompt) :])
            if row.texts and len(row.tokens) + len(response) > 2 * longest:
                laid.append((row, places))
                row, places = _begin(prompt), {}
            places[key] = [[0, len(prompt)]] + ([[len(row.tokens), len(response)]] if response else [])
            row = SharedRow(
                row.tokens + response,
                row.positions + list(range(len(prompt), len(prompt) + len(response))),
                row.segments + [row.texts + 1] * len(response),
                row.texts + 1,
            )
        laid.append((row, places))
    laid.sort(key=lambda entry: (-len(entry[0].tokens), min(entry[1])))
    spans: dict[str, Spans] = {}
    offset = 0
    for row, places in laid:
        for key, found in places.items():
            spans[key] = [[offset + start, length] for start, length in found]
        offset += len(row.tokens)
    return [row for row, _ in laid], spans


def batches(rows: Sequence[SharedRow], tokens: int) -> Iterator[list[SharedRow]]:
    """Divide rows, longest first, into batches of at most ``tokens`` tokens with padding, or of one row."""
    begin = 0
    while begin < len(rows):
        count = max(1, tokens // len(rows[begin].tokens))
        yield list(rows[begin : begin + count])
        begin += count


def inputs(rows: Sequence[SharedRow], model: Any) -> tuple[Tensor, Any, Tensor]:
    """Make what the layers are given for a batch of rows.

    Returns:
        tokens (B, T), padded on the right; what says which token sees which, for the decoder's ``attention_mask``;
        positions (B, T).
    """
    longest = max(len(row.tokens) for row in rows)
    device = model.model.embed_tokens.weight.device

    def padded(lists: list[list[int]], value: int) -> Tensor:
        return torch.tensor([some + [value] * (longest - len(some)) for some in lists], device=device)

    tokens, positions = padded([row.tokens for row in rows], 0), padded([row.positions for row in rows], 0)
    segments = padded([row.segments for row in rows], _PADDING)
    if all(row.texts == 1 for row in rows):
        # As the model is always given it: the attention may then choose a faster way than through a mask of pairs.
        return tokens, segments != _PADDING, torch.arange(longest, device=device).expand_as(tokens)
    return tokens, shared_mask(model, segments, positions), positions


def can_share(model: Any) -> bool:
    """Whether the model's attention takes a mask of pairs of tokens; flash attention does not."""
    return model.config._attn_implementation in ("sdpa", "eager")


def shared_mask(model: Any, segments: Tensor, positions: Tensor) -> Any:
    """Say which token sees which: those of the prompt and of its own segment that stand before it, and itself.

    Args:
        model: its window, where it has one, is kept to; counted in places of the text, not of the row.
        segments: (B, T), see `SharedRow`.
        positions: (B, T), see `SharedRow`.

    Returns:
        (B, 1, T, T), bool or, for eager attention, what is added to the scores; a dict of two where some of the layers
        have a window.
    """
    config = model.config
    seen = segments[:, None, :]
    allowed = ((seen == segments[:, :, None]) | (seen == 0)).tril()
    window = getattr(config, "sliding_window", None)
    near = allowed if window is None else allowed & (positions[:, :, None] - positions[:, None, :] < window)

    def shaped(pairs: Tensor) -> Tensor:
        pairs = pairs[:, None]
        if config._attn_implementation != "eager":
            return pairs
        kind = model.model.embed_tokens.weight.dtype
        return torch.zeros(pairs.shape, dtype=kind, device=pairs.device).masked_fill(~pairs, torch.finfo(kind).min)

    if getattr(config, "layer_types", None):
        return {"full_attention": shaped(allowed), "sliding_attention": shaped(near)}
    return shaped(near)


def _begin(prompt: Sequence[int]) -> SharedRow:
    return SharedRow(list(prompt), list(range(len(prompt))), [0] * len(prompt), 0)

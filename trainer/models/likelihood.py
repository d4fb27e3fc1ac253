"""How likely a model finds a response: log-probabilities of its tokens, without a float32 copy of the whole logits.

At a vocabulary of 128,000 the logits of 16 texts of 512 tokens are 2 GiB in bfloat16, and a float32 log-softmax with
what autograd keeps of it is 8 GiB more. So only the positions that predict a response are soft-maxed, a few rows at a
time, and the backward pass recomputes what it needs from the logits (`response_log_probabilities`) or from the hidden
states (`head_log_probabilities`, which never holds more logits than one chunk).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_CHUNK_BYTES = 256 * 2**20  # float32 logits held at once; a larger chunk is not measurably faster


def response_log_probabilities(
    logits: Tensor, tokens: Tensor, mask: Tensor, chunk_rows: int | None = None
) -> tuple[Tensor, Tensor]:
    """Sum the log-probabilities of the response tokens of each text.

    The shift is made here: the logits at position t - 1 predict token t. A masked first token has nothing that
    predicts it and does not count.

    Args:
        logits: (B, T, V) of any floating type, the model's output for ``tokens``.
        tokens: (B, T) integers; what stands at padding does not matter.
        mask: (B, T) bool, True at the tokens of the response (the end token included).
        chunk_rows: positions soft-maxed at once; by default as many as fit 256 MiB.

    Returns:
        sums: (B,) float32 (float64 for float64 logits), nats, <= 0; 0 for a text without response tokens.
        counts: (B,) int64, the tokens that were summed.

    Raises:
        ValueError: the shapes do not go together, or the mask is not bool.
    """
    _check(logits.shape, tokens, mask)
    wanted = mask[:, 1:]
    texts, places = wanted.nonzero(as_tuple=True)
    rows = chunk_rows or _rows_in_a_chunk(logits.shape[-1])
    found: Tensor = _Gathered.apply(logits, texts, places, tokens[:, 1:][wanted], rows)
    return _sum_by_text(found, texts, wanted)


def head_log_probabilities(
    hidden: Tensor, head: nn.Module, tokens: Tensor, mask: Tensor, chunk_rows: int | None = None
) -> tuple[Tensor, Tensor]:
    """Sum the log-probabilities of the response tokens of each text, projecting only the positions that predict one.

    Equal to ``response_log_probabilities(head(hidden), tokens, mask)`` to rounding.

    Args:
        hidden: (B, T, H) the states that go into the output head (after the last norm).
        head: maps (N, H) to (N, V). A frozen ``nn.Linear`` gets its gradient with respect to ``hidden`` in the same
            pass; any other head (one that learns, one with an adapter) is computed a second time in the backward pass.
        tokens: (B, T) integers.
        mask: (B, T) bool, True at the tokens of the response.
        chunk_rows: positions projected at once; by default as many as fit 256 MiB.

    Returns:
        sums (B,) and counts (B,), as of `response_log_probabilities`.

    Raises:
        ValueError: the shapes do not go together, or the mask is not bool.
    """
    _check(hidden.shape, tokens, mask)
    wanted = mask[:, 1:]
    texts, places = wanted.nonzero(as_tuple=True)
    rows, targets = hidden[texts, places], tokens[:, 1:][wanted]
    weight = getattr(head, "weight", None)
    size = chunk_rows or _rows_in_a_chunk(weight.shape[0] if isinstance(weight, Tensor) else 2**17)
    learns = any(parameter.requires_grad for parameter in head.parameters())
    if type(head) is nn.Linear and not learns:
        found: Tensor = _Projected.apply(rows, head.weight, head.bias, targets, size)
    else:

        def project(chunk: Tensor, chosen: Tensor) -> Tensor:
            return _of_rows(head(chunk), chosen)

        again = torch.is_grad_enabled()
        pieces = [
            checkpoint(project, chunk, chosen, use_reentrant=False) if again else project(chunk, chosen)
            for chunk, chosen in zip(rows.split(size), targets.split(size), strict=True)
        ]
        found = torch.cat(pieces)
    return _sum_by_text(found, texts, wanted)


class _Gathered(torch.autograd.Function):  # type: ignore[misc]
    """(N,) log-probabilities of chosen tokens at chosen rows of the logits; keeps the logits and no softmax of them."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, texts: Tensor, places: Tensor, targets: Tensor, size: int) -> Tensor:
        found = [
            _of_rows(logits[text, place], chosen)
            for text, place, chosen in zip(texts.split(size), places.split(size), targets.split(size), strict=True)
        ]
        ctx.save_for_backward(logits, texts, places, targets)
        ctx.size = size
        return torch.cat(found)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits, texts, places, targets = ctx.saved_tensors
        whole = torch.zeros_like(logits)
        for text, place, chosen, scale in zip(
            *(part.split(ctx.size) for part in (texts, places, targets, gradient)), strict=True
        ):
            slope = _value_and_slope(logits[text, place], chosen)[1].mul_(scale[:, None])
            whole[text, place] = slope.to(whole.dtype)
        return whole, None, None, None, None


class _Projected(torch.autograd.Function):  # type: ignore[misc]
    """(N,) log-probabilities of chosen tokens from hidden rows and a frozen head; keeps (N, H), not (N, V).

    A row's log-probability depends on that row alone, so its gradient can be made while the logits are there, and only
    be scaled by what comes back.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, size: int) -> Tensor:
        found = []
        slopes = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
        for start in range(0, max(1, len(rows)), size):
            part = slice(start, start + size)
            logits = nn.functional.linear(rows[part], weight, bias)
            if slopes is None:
                found.append(_of_rows(logits, targets[part]))
            else:
                value, slope = _value_and_slope(logits, targets[part])
                found.append(value)
                slopes[part] = slope.to(weight.dtype) @ weight
        ctx.save_for_backward(*(() if slopes is None else (slopes,)))
        return torch.cat(found)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return (slopes * gradient[:, None]).to(slopes.dtype), None, None, None, None


def _of_rows(logits: Tensor, targets: Tensor) -> Tensor:
    """(N,) log-softmax of (N, V) logits at the targets, in float32 or wider."""
    wide = _wide(logits)
    return wide.gather(1, targets[:, None]).squeeze(1) - wide.logsumexp(dim=1)


def _value_and_slope(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """What `_of_rows` gives, and its gradient with respect to the logits, which are overwritten if already wide.

    The gradient is one at the target, minus the softmax: (N, V).
    """
    wide = _wide(logits)
    total = wide.logsumexp(dim=1, keepdim=True)
    value = wide.gather(1, targets[:, None]) - total
    slope = wide.sub_(total).exp_().neg_()
    slope.scatter_add_(1, targets[:, None], slope.new_ones(len(targets), 1))
    return value.squeeze(1), slope


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _rows_in_a_chunk(vocabulary: int) -> int:
    return max(1, _CHUNK_BYTES // (4 * vocabulary))


def _sum_by_text(found: Tensor, texts: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    sums = found.new_zeros(len(wanted)).index_add(0, texts, found)
    return sums, wanted.sum(dim=1)


def _check(shape: torch.Size, tokens: Tensor, mask: Tensor) -> None:
    if mask.dtype != torch.bool:
        raise ValueError(f"The mask of response tokens must be bool, and it is {mask.dtype}")
    if len(shape) != 3 or tokens.shape != shape[:2] or mask.shape != shape[:2]:
        raise ValueError(
            f"The shapes do not go together: {tuple(shape)} for the model's output, which must be (B, T, width), "
            f"{tuple(tokens.shape)} for the tokens and {tuple(mask.shape)} for the mask, which must be (B, T)"
        )

"""Diverse beam search: several different answers to one prompt, each shunning the words of those before it."""

import torch
from torch import Tensor


class DiverseBeams:
    """Diverse beam search with one beam in each group, as a logits processor for greedy decoding.

    Of Vijayakumar et al. 2016, arXiv 1610.02424, with the Hamming diversity and as many groups as beams, as the d-PM
    paper's code has it: at each place the groups of a prompt choose in turn, and a token loses ``penalty`` nats for
    each earlier group that took it there. The first group is the greedy answer. transformers has no group beam search
    of its own any more (since 5.0), and one beam a group needs none.

    A group whose answer has ended is asked no more and takes no token from the others.
    """

    def __init__(self, groups: int, penalty: float, width: int, ends: frozenset[int]) -> None:
        """Take what does not change while one batch is written.

        Args:
            groups: K, the answers to each prompt; row ``prompt * K + group`` of the batch is one of them.
            penalty: nats, >= 0; 0 makes all groups the same.
            width: tokens of the padded prompts, which the answers follow.
            ends: tokens that end an answer.
        """
        self._groups, self._penalty, self._width = groups, penalty, width
        self._ends = torch.tensor(sorted(ends), dtype=torch.long)

    def __call__(self, tokens: Tensor, logits: Tensor) -> Tensor:
        """Take the tokens (prompts * K, T) and logits (prompts * K, V), return logits whose largest is the choice."""
        shape = (-1, self._groups)
        written = tokens[:, self._width :]
        ended = torch.isin(written, self._ends.to(tokens.device)).any(dim=1).view(shape)
        scores = torch.log_softmax(logits.float(), dim=-1).view(*shape, logits.shape[-1])
        taken = torch.zeros_like(scores[:, 0])
        chosen = torch.empty_like(ended, dtype=torch.long)
        for group in range(self._groups):
            chosen[:, group] = (scores[:, group] - self._penalty * taken).argmax(dim=-1)
            going = (~ended[:, group, None]).to(taken.dtype)
            taken = taken.scatter_add(1, chosen[:, group, None], going)
        return torch.full_like(logits, float("-inf")).scatter(1, chosen.view(-1, 1), 0.0)

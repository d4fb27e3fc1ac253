"""Pairs to align on: for each, a target drawn from its pool and the model's own answers, with what the losses need.

In each epoch the target of a pair is drawn anew (as in the paper), by the seed, the epoch and the pair's id only.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer import losses
from trainer.alignment.config import AlignConfig, CalibrateConfig, DpoConfig, NcaConfig, NceConfig, TaskConfig
from trainer.alignment.material import Material, Tally
from trainer.models.network import Batch, batch_of
from trainer.models.prompting import Encoded
from trainer.trunk.cache import TrunkCache


@dataclass(frozen=True)
class Pair:
    """One pair of views, its texts by their numbers in the table of all texts.

    Attributes:
        id: of the dispute.
        targets: its candidates, at least one.
        hypotheses: the model's own answers.
        overlaps: for each target, the ROUGE (0..1) of each hypothesis against it.
    """

    id: str
    targets: tuple[int, ...]
    hypotheses: tuple[int, ...]
    overlaps: tuple[tuple[float, ...], ...]


def drawn(seed: int, epoch: int, pair: str, count: int) -> int:
    """Return which of ``count`` candidates is the target of a pair in an epoch: 0..count - 1, each as likely."""
    name = f"{seed}\0{epoch}\0{pair}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") % count


@dataclass(frozen=True)
class Compared:
    """A batch as the losses see it: B pairs of K texts, the target first.

    Attributes:
        sums: (B, K) log-probabilities, nats.
        counts: (B, K) tokens.
        start: (B, K) the log-probabilities before training; zeros where the loss needs none.
        overlaps: (B, K - 1) ROUGE of each hypothesis against the target, 0..1.
    """

    sums: Tensor
    counts: Tensor
    start: Tensor
    overlaps: Tensor

    def score(self, kind: losses.ScoreKind) -> tuple[Tensor, Tensor]:
        """Return the scores of the targets and of the first hypotheses, (B,) each."""
        sums, counts, start = (values[:, :2].flatten() for values in (self.sums, self.counts, self.start))
        found = losses.score(sums, counts, kind, start)
        target, hypothesis = found.view(-1, 2).unbind(1)
        return target, hypothesis

    @property
    def ratios(self) -> Tensor:
        """(B, K) log-probabilities minus those before training."""
        return self.sums - self.start


def _nce(config: Any, batch: Compared) -> Tensor:
    return losses.nce(*batch.score(config.score))


def _task(config: Any, batch: Compared) -> Tensor:
    target, hypothesis = batch.score(config.score)
    overlap = batch.overlaps[:, 0]
    # The target is one of the references, so its own ROUGE is 1.
    return losses.task_margin(target, hypothesis, torch.ones_like(overlap), overlap, config.margin_weight)


def _dpo(config: Any, batch: Compared) -> Tensor:
    return losses.dpo(batch.ratios[:, 0], batch.ratios[:, 1], config.beta)


def _nca(config: Any, batch: Compared) -> Tensor:
    if config.answers == 2:
        return losses.nca_pair(batch.ratios[:, 0], batch.ratios[:, 1], config.beta)
    rewards = torch.cat([torch.ones_like(batch.overlaps[:, :1]), batch.overlaps], dim=1)
    return losses.nca(batch.ratios, rewards, config.beta, config.reward_temperature)


def _calibrate(config: Any, batch: Compared) -> Tensor:
    means = losses.score(batch.sums.flatten(), batch.counts.flatten(), "mean").view_as(batch.sums)
    # The reference comes first, the candidates after it, the best first (d-PM, eq. 9).
    return losses.calibration(means[:, 1:], config.margin) - config.likelihood_weight * means[:, 0].mean()


LOSSES: dict[type[AlignConfig], Callable[[Any, Compared], Tensor]] = {
    NceConfig: _nce,
    TaskConfig: _task,
    DpoConfig: _dpo,
    NcaConfig: _nca,
    CalibrateConfig: _calibrate,
}
"""The loss of each recipe, the mean over a batch."""


def needs_start(config: AlignConfig) -> bool:
    """Return whether a recipe compares with the model before training."""
    return isinstance(config, DpoConfig | NcaConfig) or getattr(config, "score", "") == "log_ratio"


class Pairs(Material):
    """The pairs of a data set as what an alignment learns from."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        texts: Sequence[Encoded],
        config: AlignConfig,
        start: Sequence[float] | None = None,
        trunk: tuple[TrunkCache, Sequence[str]] | None = None,
    ) -> None:
        """Take what was prepared.

        Args:
            pairs: numbers into ``texts``.
            texts: targets and hypotheses with their prompts.
            config: of the recipe; its class says which loss.
            start: the log-probability of each text before training; None where the loss needs none.
            trunk: kept activations and the key of each text in them; None to run the whole model.
        """
        self._pairs, self._texts, self._config, self._start, self._trunk = pairs, texts, config, start, trunk
        self._loss = LOSSES[type(config)]

    def __len__(self) -> int:
        """How many pairs there are."""
        return len(self._pairs)

    def item(self, epoch: int, index: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Return the numbers of the texts, the target first, and the overlaps of the hypotheses with the target."""
        pair = self._pairs[index]
        chosen = drawn(self._config.seed, epoch, pair.id, len(pair.targets))
        return (pair.targets[chosen], *pair.hypotheses), pair.overlaps[chosen]

    def collate(self, items: list[Any]) -> Batch:
        """Put the texts of pairs one below the other: pair by pair, the target first."""
        numbers = [number for texts, _ in items for number in texts]
        batch = batch_of([self._texts[number] for number in numbers])
        batch["overlaps"] = torch.tensor([overlaps for _, overlaps in items], dtype=torch.float32)
        start = [self._start[number] if self._start else 0.0 for number in numbers]
        batch["start"] = torch.tensor(start, dtype=torch.float32)
        if self._trunk:
            cache, keys = self._trunk
            batch["states"], _ = cache.states([keys[number] for number in numbers])
        return batch

    def weight(self, batch: Batch) -> Tensor:
        """Return the number of pairs."""
        return torch.tensor(len(batch["overlaps"]))

    def loss(self, sums: Tensor, counts: Tensor, batch: Batch) -> tuple[Tensor, Tally]:
        """Return the recipe's loss, summed over the pairs."""
        size = len(batch["overlaps"])
        shape = (size, len(sums) // size)
        sums, counts = sums.view(shape), counts.view(shape)
        compared = Compared(sums, counts, batch["start"].view(shape), batch["overlaps"])
        tally = {
            "target_log_likelihood": (sums[:, 0].sum(), counts[:, 0].sum()),
            "hypothesis_log_likelihood": (sums[:, 1:].sum(), counts[:, 1:].sum()),
        }
        return self._loss(self._config, compared) * size, tally

    def examples(self, batch: Batch) -> Tensor:
        """Return the number of pairs."""
        return self.weight(batch)

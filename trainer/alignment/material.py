"""What a recipe learns from: items drawn by epoch and number, batches of them, and the loss of a batch."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from trainer.models.network import Batch

Tally = dict[str, tuple[Tensor, Tensor]]
"""Metrics as (sum, count), to be added up over passes and processes; the metric is sum / count."""


class Material(ABC):
    """What a recipe learns from, and its loss.

    An item is drawn by epoch and number, and by nothing else: order, batch, resuming and the number of processes do not
    change it.
    """

    @abstractmethod
    def __len__(self) -> int:
        """How many items an epoch has."""

    @abstractmethod
    def item(self, epoch: int, index: int) -> Any:
        """Return the item of this number, 0..len - 1, in an epoch, counted from 0."""

    @abstractmethod
    def collate(self, items: list[Any]) -> Batch:
        """Make a batch for `Network.forward`; entries that it does not know are for the loss only."""

    @abstractmethod
    def weight(self, batch: Batch) -> Tensor:
        """Return what the loss of a batch is divided by: its items, or its tokens; a scalar."""

    @abstractmethod
    def loss(self, sums: Tensor, counts: Tensor, batch: Batch) -> tuple[Tensor, Tally]:
        """Return the loss summed (not averaged) over what `weight` counts, and the metrics of the batch."""

    @abstractmethod
    def examples(self, batch: Batch) -> Tensor:
        """Return how many examples of the data set a batch holds, for the speed; a scalar."""

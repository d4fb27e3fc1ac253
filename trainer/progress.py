"""What a recipe tells while it works, and how it learns that it shall stop: the recipes' only tie to a run."""

from collections.abc import Mapping
from typing import Literal, Protocol

Phase = Literal[
    "loading", "hypotheses", "caching", "training", "measuring", "saving",  # of training
    "writing", "quantising", "checking",  # of an export
]  # fmt: skip


class Stopped(Exception):
    """The run was asked to stop; everything up to the last checkpoint is kept."""


class Reporter(Protocol):
    """Where a recipe tells what it does. A run writes it to its folder; a test keeps it in lists.

    Metrics, each absent where it was not measured: ``loss``, ``learning_rate``, ``gradient_norm``,
    ``samples_per_second``, ``tokens_per_second``, ``memory_bytes`` (resident), ``gpu_memory_bytes`` (allocated, its
    peak), ``target_log_likelihood`` and ``hypothesis_log_likelihood`` (nats for each token), ``validation_loss``,
    ``rouge1``, ``rougeL`` (F, 0..1), ``gap``, ``warmth`` (means over the sample disputes, 0..1).
    """

    def phase(self, name: Phase, done: int = 0, total: int = 0) -> None:
        """Tell what is being done, and how much of it: ``done`` of ``total`` texts, steps or files; 0 for unknown."""

    def metrics(self, step: int, steps: int, epoch: float, values: Mapping[str, float]) -> None:
        """Tell what was measured at an optimiser step (1..steps)."""

    def sample(self, step: int, dispute_id: str, text: str, score_a: float | None, score_b: float | None) -> None:
        """Show a compromise that the model wrote on the way, with its scores (0..1) where there is a scorer."""

    def should_stop(self) -> bool:
        """Whether somebody asked the run to stop; cheap enough to be called at every step."""


class Silent:
    """A `Reporter` that tells nobody and never stops."""

    def phase(self, name: Phase, done: int = 0, total: int = 0) -> None:
        """Tell nobody."""

    def metrics(self, step: int, steps: int, epoch: float, values: Mapping[str, float]) -> None:
        """Tell nobody."""

    def sample(self, step: int, dispute_id: str, text: str, score_a: float | None, score_b: float | None) -> None:
        """Tell nobody."""

    def should_stop(self) -> bool:
        """Return False."""
        return False

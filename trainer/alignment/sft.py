"""Supervised fine-tuning: the model learns to write each candidate for its pair of views (template -> candidate)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.alignment.config import SftConfig
from trainer.alignment.material import Material, Tally
from trainer.alignment.workshop import finished, open_workshop
from trainer.models import trainable
from trainer.models.network import Batch, padded
from trainer.models.prompting import NO_LABEL, Row, encode, pack, prompt_of, row_of
from trainer.progress import Reporter


def train(config: SftConfig, folder: Path, reporter: Reporter, resume: bool = False) -> Path:
    """Fine-tune a model; all candidates of all pairs are seen once in an epoch.

    Args:
        config: the settings.
        folder: of the run: checkpoints in ``checkpoints``, the result in ``model``.
        reporter: is told of each step, and asked whether to stop.
        resume: go on from the newest whole checkpoint, or begin where there is none.

    Returns:
        the folder of the trained model: safetensors, tokenizer, and ``evenhand.json`` with its story.

    Raises:
        Stopped: the reporter said so; there is a checkpoint.
        EvenhandError: see `workshop.open_workshop` and `training.fit`.
    """
    if result := finished(folder, resume):
        return result
    work = open_workshop("sft", config, folder, reporter, resume)
    texts = [
        encode(work.learner.tokenizer, prompt_of(example, config.demographics), candidate.text, config.longest_text)
        for example in work.examples
        for candidate in example.candidates
    ]
    trainable.choose(work.learner, config)
    rows = pack(texts, config.longest_text) if config.packing else [row_of(text) for text in texts]
    return work.finish(Rows(rows), {})


class Rows(Material):
    """Rows of one or several examples; the loss is the mean over response tokens of a whole step."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def item(self, epoch: int, index: int) -> Row:
        """Return a row; it is the same in every epoch."""
        return self._rows[index]

    def collate(self, items: list[Any]) -> Batch:
        """Pad rows on the right. Positions restart at the padding, so that it is a text of its own, seen by nobody."""
        tokens = padded([list(row.tokens) for row in items])
        labels = padded([list(row.labels) for row in items], NO_LABEL)
        longest = tokens.shape[1]
        positions = torch.tensor([[*row.positions, *range(longest - len(row.positions))] for row in items])
        lengths = torch.tensor([[len(row.tokens)] for row in items])
        return {
            "tokens": tokens,
            "response": labels != NO_LABEL,
            "positions": positions,
            "kept": torch.arange(longest)[None, :] < lengths,
        }

    def weight(self, batch: Batch) -> Tensor:
        """Return the tokens that are learned."""
        return batch["response"][:, 1:].sum()

    def loss(self, sums: Tensor, counts: Tensor, batch: Batch) -> tuple[Tensor, Tally]:
        """Return the negative log-likelihood of the responses, nats, summed."""
        total = -sums.sum()
        return total, {"target_log_likelihood": (sums.sum(), counts.sum())}

    def examples(self, batch: Batch) -> Tensor:
        """Return how many texts begin in the rows of a batch."""
        return ((batch["positions"] == 0) & batch["kept"]).sum()

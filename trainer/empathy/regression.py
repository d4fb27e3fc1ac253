"""The compromise paper's way to train its empathy encoder: the cosine of two views shall be the human rating."""

import copy
import logging
import math
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from trainer.empathy.best_epoch import BestEpoch, followed
from trainer.empathy.config import EmpathyConfig
from trainer.empathy.data import RatedPair, raters_left_out, split_by_rater
from trainer.empathy.figures import remembering, scores_of_ratings
from trainer.empathy.towers import upper_layers

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

Parts = tuple[list[RatedPair], list[RatedPair], list[RatedPair]]


def divide(pairs: Sequence[RatedPair], config: EmpathyConfig) -> Parts:
    """Divide into (training, validation, held out), by rater or by pair as the configuration says.

    The division depends on the pairs and the seed alone, so that it is the same whatever is left out; the raters of
    left-out rows then go from training and validation.

    Raises:
        InputError: a file of ``left_out`` is missing or damaged.
    """
    hidden = raters_left_out(pairs, config.left_out)
    groups: list[list[RatedPair]]
    if config.split_by == "rater":
        rest, held_out = split_by_rater(pairs, config.held_out, config.split_seed)
        count = round((len(rest) + len(held_out)) * config.validation)
        groups, kept = rest, held_out
    else:
        groups = [[pair] for pair in pairs]
        random.Random(config.split_seed).shuffle(groups)  # noqa: S311  (no secret: a reproducible shuffle)
        last = round(len(groups) * config.held_out)
        count = round(len(groups) * config.validation)
        groups, kept = groups[last:], groups[:last]
    return (
        [pair for group in groups[count:] for pair in group if pair.rater not in hidden],
        [pair for group in groups[:count] for pair in group if pair.rater not in hidden],
        [pair for group in kept for pair in group],
    )


def regress(
    model: Any,
    training: Sequence[RatedPair],
    validation: Sequence[RatedPair],
    config: EmpathyConfig,
    tell: Callable[[str], None] = _log.info,
) -> list[float]:
    """Fit a `SentenceTransformer` in place: the mean of (cosine - rating)^2, ratings 0..1.

    Source: Reimers and Gurevych, "Sentence-BERT", 2019, the regression objective, by sentence-transformers' own
    `CosineSimilarityLoss`; the compromise paper, section 3.1.

    Args:
        model: the model to change.
        training: pairs to learn from.
        validation: pairs whose Spearman chooses the epoch (`trainer.empathy.best_epoch`); none takes the last.
        config: see `EmpathyConfig`.
        tell: is told how far the work is, in a sentence.

    Returns:
        The mean loss of each epoch.

    Raises:
        InputError: no layer is left to learn.
    """
    import torch
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

    torch.manual_seed(config.seed)
    chance = random.Random(config.seed)  # noqa: S311  (no secret: a reproducible shuffle)
    loss_of = CosineSimilarityLoss(model)
    learning = _choose_weights(model, config)
    optimizer = torch.optim.AdamW(learning, lr=config.learning_rate, weight_decay=0.0)
    steps = config.epochs * math.ceil(len(training) / config.batch_size)
    warm_up = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))
    )
    length, model.max_seq_length = model.max_seq_length, config.max_tokens
    best: BestEpoch[dict[str, Any]] = BestEpoch()
    history = []
    for epoch in range(config.epochs):
        model.train()
        losses = []
        order = chance.sample(list(training), len(training))
        for start in range(0, len(order), config.batch_size):
            batch = order[start : start + config.batch_size]
            sides = [
                _on_device(model, model.preprocess([config.prefix + text for text in texts]))
                for texts in ([pair.view_a.as_text() for pair in batch], [pair.view_b.as_text() for pair in batch])
            ]
            loss = loss_of(sides, torch.tensor([pair.rating for pair in batch], device=model.device))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        history.append(sum(losses) / len(losses))
        model.eval()
        words = f"epoch {epoch + 1} of {config.epochs}: loss {history[-1]:.4f}"
        if validation:
            reached = followed(scores_of_ratings(remembering(model, config.prefix), [validation]), within=False)
            words += f", Spearman on the validation pairs {reached:.3f}"
            best.offer(reached, lambda: copy.deepcopy(model.state_dict()))
        tell(words)
    best.tell_collapsed(tell)
    if best.kept is not None:
        model.load_state_dict(best.kept)
    model.max_seq_length = length
    return history


def _choose_weights(model: Any, config: EmpathyConfig) -> list["torch.nn.Parameter"]:
    """The weights that learn, the others frozen; with ``frozen_layers = 0`` all of them, embeddings included."""
    if config.learns == "norm":
        chosen = [upper_layers(model, 0)[-1].output.LayerNorm]
    else:
        chosen = list(upper_layers(model, config.frozen_layers)) if config.frozen_layers else [model]
    model.requires_grad_(False)
    for module in chosen:
        module.requires_grad_(True)
    return [weight for weight in model.parameters() if weight.requires_grad]


def _on_device(model: Any, features: dict[str, Any]) -> dict[str, Any]:
    return {name: value.to(model.device) if hasattr(value, "to") else value for name, value in features.items()}

"""The preference model: which share of people would agree with a statement, learned from few votes on each.

Features of an encoder, a small head, and the d-PM paper's free-energy objective or one of its three baselines
(`trainer.losses`). The head is measured on hosts' conversations that it has not seen (`trainer.preference.figures`),
and saved as numbers that `mediator.acceptance` reads without torch. With ``learns = prefix`` nothing is measured, and
the result is read by `trainer.preference.prefix.load` only.

    evenhand train preference --set votes=FOLDER --set output=FOLDER
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mediator.acceptance import FORMAT, HEAD_FILE, Acceptance
from mediator.errors import InputError
from mediator.settings import cache_folder, user_path
from trainer.config import ConfigError
from trainer.preference.config import PreferenceConfig
from trainer.preference.data import ANSWERS, Counts, Statement, counts_of, drawn_raters, load_votes

if TYPE_CHECKING:
    import torch

Features = NDArray[np.float64]

_log = logging.getLogger(__name__)

_ITERATIONS = 100


def objective(config: PreferenceConfig) -> "Callable[[torch.Tensor, torch.Tensor], torch.Tensor]":
    """Return the loss of the settings: of logits (B, C) and votes (B, C), the mean over B."""
    from trainer import losses

    if config.objective == "major":
        return losses.major
    if config.objective == "no_aggregation":
        return losses.no_aggregation
    if config.objective == "soft":
        return lambda logits, votes: losses.soft(logits, losses.vote_prior(votes, config.smoothing))
    direction = config.objective
    return lambda logits, votes: losses.dpm(logits, losses.vote_prior(votes, config.smoothing), direction)


def fit(features: Features, counts: Counts, config: PreferenceConfig) -> tuple[Any, ...]:
    """Fit a head on frozen features.

    Args:
        features: (B, dimensions), such as unit vectors of an encoder.
        counts: (B, C) votes; rows without any are left out.
        config: the settings; a penalty of 0 is none here (see `trainer.preference.figures.chosen`).

    Returns:
        the layers: weights (inputs, outputs) and biases (outputs,), as `Acceptance.layers`.

    Raises:
        InputError: no statement has votes.
    """
    import torch

    voted = counts.sum(axis=1) > 0
    if not voted.any():
        raise InputError("None of the statements has votes.", "Name a file in which people agreed or disagreed.")
    features, counts = features[voted], counts[voted]
    # Centred and about as long as there are numbers, so that one learning rate suits every encoder.
    middle = features.mean(axis=0)
    scale = 1 / max(float((features - middle).std()), 1e-9)
    inputs = torch.tensor((features - middle) * scale, dtype=torch.float32)
    votes = torch.tensor(counts, dtype=torch.float32)
    head = head_of(inputs.shape[1], votes.shape[1], config, votes)
    loss_of = objective(config)
    weights = [value for name, value in head.named_parameters() if not name.endswith("bias")]
    # All statements at once: the sums over the batch in d-PM's target are then those over all statements.
    optimiser = torch.optim.LBFGS(
        head.parameters(), max_iter=_ITERATIONS, tolerance_change=1e-6, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = loss_of(head(inputs), votes) + config.penalty / 2 * sum(weight.square().sum() for weight in weights)
        loss.backward()
        return loss

    optimiser.step(closure)
    linear = [module for module in head if isinstance(module, torch.nn.Linear)]
    layers = [
        (one.weight.detach().double().numpy().T.copy(), one.bias.detach().double().numpy().copy()) for one in linear
    ]
    weight, bias = layers[0]
    layers[0] = (weight * scale, bias - middle @ weight * scale)
    return tuple(layers)


def head_of(width: int, answers: int, config: PreferenceConfig, votes: "torch.Tensor") -> Any:
    """Return a head that at first says about the mean share to everything: linear, or with a hidden layer of tanh."""
    import torch

    chance = torch.Generator().manual_seed(config.seed)
    last = torch.nn.Linear(config.hidden or width, answers)
    torch.nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(((votes.sum(dim=0) + 1) / (votes.sum() + answers)).log())
    if not config.hidden:
        return torch.nn.Sequential(last)
    first = torch.nn.Linear(width, config.hidden)
    with torch.no_grad():
        # From zero nothing moves: where the last weights are 0, so are the gradients of the first ones.
        first.weight.copy_(torch.randn(first.weight.shape, generator=chance) / width**0.5)
        first.bias.copy_(torch.randn(first.bias.shape, generator=chance))
        last.weight.copy_(0.1 * torch.randn(last.weight.shape, generator=chance) / config.hidden**0.5)
    return torch.nn.Sequential(first, torch.nn.Tanh(), last)


def train(config: PreferenceConfig, tell: Callable[[str], None] = _log.info) -> dict[str, Any]:
    """Train a preference model, measure a head on hosts' conversations that it has not seen, and save it.

    Args:
        config: the settings.
        tell: is told what is being done.

    Returns:
        what ``evenhand.json`` in the folder says: settings, data, and the figures as ``measured``; empty figures where
        the votes are of fewer than three hosts, or ``learns`` is ``prefix``.

    Raises:
        ConfigError: ``votes`` or ``output`` is missing, or the settings do not go together.
        InputError: the votes cannot be read, or the folder is taken.
        ModelFileError: the encoder cannot be loaded.
        MissingExtraError: a package of the train extra is missing.
    """
    from trainer.models.pretrained import require
    from trainer.preference.figures import chosen, measure, names_of

    require("torch", *(["transformers", "peft", "safetensors"] if config.learns == "prefix" else []))
    if not config.votes:
        raise ConfigError("No votes are named.", "Set `votes` to a folder of JSONL files, one conversation each.")
    if not config.output:
        raise ConfigError("No folder is named for the result.", "Set `output` to a folder that is not there yet.")
    folder = user_path(config.output)
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty.", "Name a folder that is not there yet.")
    statements = load_votes(config.votes)
    tell(f"{len(statements)} statements of {len({one.conversation for one in statements})} conversations")
    counts = drawn_raters(counts_of(statements, config.count_pass), config.raters, config.seed)
    facts: dict[str, Any] = {
        "recipe": "preference",
        "settings": config.model_dump(mode="json"),
        "statements": len(statements),
        "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    if config.learns == "prefix":
        from trainer.preference import prefix

        facts["measured"] = {}
        tell("A prefix is not measured on what it has not seen; only a head is")
        folder.mkdir(parents=True, exist_ok=True)
        prefix.train(config, [one.text for one in statements], counts, folder, tell)
    else:
        features, encoder = encoded(config.encoder, statements, tell)
        tell("Measuring on the conversations of each host, left out")
        figures = measure(statements, features, counts, config)
        facts["measured"] = figures.as_json() if figures else {}
        settled = chosen(names_of(statements), features, counts, config)
        facts["penalty"] = settled.penalty
        head = Acceptance(
            layers=fit(features, counts, settled),
            answers=ANSWERS[: counts.shape[1]],
            encoder=encoder,
            quantiles=figures.quantiles if figures else np.zeros(0),
            measured=facts["measured"],
        )
        folder.mkdir(parents=True, exist_ok=True)
        save_head(head, folder / HEAD_FILE)
    (folder / "evenhand.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return facts


def encoded(
    encoder: str, statements: Sequence[Statement], tell: Callable[[str], None] = _log.info
) -> tuple[Features, str]:
    """Return the vectors of statements (B, dimensions) and the encoder's fingerprint; computed once and kept.

    The vectors lie in the cache folder under digests, apart from those that the app reads; the texts do not.

    Raises:
        ModelFileError, MissingExtraError: see `mediator.encoders.load_encoder`.
    """
    from mediator.embedding_store import EmbeddingStore
    from mediator.encoders import load_encoder

    model = load_encoder(encoder)
    try:
        tell(f"Encoding with {model.name}")
        store = EmbeddingStore(model.fingerprint, cache_folder() / "preference")
        vectors = store.get([one.text for one in statements], model)
        return np.asarray(vectors, dtype=np.float64), model.fingerprint
    finally:
        model.close()


def save_head(head: Acceptance, path: Path) -> None:
    """Write a head as `Acceptance.load` reads it: JSON, weights with six significant digits. Raises OSError."""
    data = {
        "format": FORMAT,
        "answers": list(head.answers),
        "encoder": head.encoder,
        "layers": [{"weight": _short(weight), "bias": _short(bias)} for weight, bias in head.layers],
        "quantiles": _short(head.quantiles),
        "measured": head.measured,
    }
    path.write_text(json.dumps(data) + "\n", encoding="utf-8")


def _short(values: NDArray[np.float64]) -> Any:
    if values.ndim > 1:
        return [_short(row) for row in values]
    return [float(f"{value:.6g}") for value in values.tolist()]

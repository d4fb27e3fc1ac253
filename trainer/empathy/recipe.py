"""The recipe of the empathy encoder: fine-tunes a sentence encoder on human empathy ratings, measures and exports it.

Ratings: for one rater, a view rated higher should lie closer than one rated lower; comparisons stay within a rater,
because most of the variance of the raw numbers is who rates, not what is rated. Pairs of stories are ranked likewise.
Sides: what a view says of its place should lie closer to its own suggestion than to the other side's, and a perspective
closer to one of its own stance than to an opposing one; this is what the shown tilt measures. Only the upper layers
learn, and the result may be blended with the untouched weights.

    evenhand train empathy --config assets/recipes/empathy.yaml --set base=MODEL_FOLDER --set ratings=pairs.jsonl
"""

import json
import logging
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mediator.encoder_prefix import prefix_of_prompts
from mediator.errors import EvenhandError, InputError, MissingExtraError, ModelFileError
from mediator.settings import user_path
from trainer.empathy.best_epoch import BestEpoch, check_ratings, followed
from trainer.empathy.config import EmpathyConfig
from trainer.empathy.data import (
    Contrast,
    RatedPair,
    StoryPair,
    TrainingData,
    contrasts_of_claims,
    contrasts_of_views,
    load_ratings,
    load_stories,
    raters_left_out,
    split_by_rater,
)
from trainer.empathy.figures import (
    Estimate,
    measure,
    remembering,
    scores_of_ratings,
    scores_of_stories,
)
from trainer.empathy.losses import correlation_loss, ranking_loss, side_loss
from trainer.empathy.regression import divide, regress
from trainer.empathy.towers import LayersTower, NormTower
from trainer.export.families import export_gguf
from trainer.models.pretrained import Device, torch_device

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

Tell = Callable[[str], None]


class WeightsNotFiniteError(EvenhandError):
    """Training has ended with weights that are no numbers: there is nothing to save."""


def load_training_data(config: EmpathyConfig) -> TrainingData:
    """Read what the configuration names, without held-out raters and the raters of left-out rows.

    Raises:
        InputError: a file is missing or damaged.
    """
    pairs = load_ratings(config.ratings)
    hidden = raters_left_out(pairs, config.left_out)
    rest, held_out = split_by_rater(pairs, config.held_out, config.split_seed)
    count = round((len(rest) + len(held_out)) * config.validation)
    validation, raters = (
        [rater for rater in part if rater[0].rater not in hidden] for part in (rest[:count], rest[count:])
    )
    return TrainingData(
        raters=raters,
        validation=validation,
        sides=contrasts_of_views([pair for rater in raters for pair in rater]),
        stances=contrasts_of_claims(config.opposing, config.seed) if config.opposing else [],
        stories=load_stories(Path(config.stories) / "dev.jsonl") if config.stories else [],
    )


def _batches(items: Sequence[Any], size: int, chance: random.Random) -> Iterator[list[Any]]:
    """Endless shuffled batches of one list; an epoch's short end is filled from the next epoch."""
    queue: list[Any] = []
    while items:
        while len(queue) < size:
            queue += chance.sample(list(items), len(items))
        yield queue[:size]
        queue = queue[size:]


@dataclass(frozen=True)
class _Source:
    """One signal of the training: its weight, its loss for a batch, and its endless batches."""

    name: str
    weight: float
    loss: Callable[[Any], "torch.Tensor"]
    batches: Iterator[list[Any]]


def _sources(tower: NormTower | LayersTower, data: TrainingData, config: EmpathyConfig) -> list[_Source]:
    import torch

    def cosines(pairs: list[tuple[str, str]]) -> torch.Tensor:
        vectors = tower.embed([one for one, _ in pairs] + [other for _, other in pairs])
        return (vectors[: len(pairs)] * vectors[len(pairs) :]).sum(-1)

    def ratings(raters: list[list[RatedPair]]) -> torch.Tensor:
        pairs = [(group, pair) for group, rater in enumerate(raters) for pair in rater]
        found = cosines([(pair.view_a.as_text(), pair.view_b.as_text()) for _, pair in pairs])
        rated = torch.tensor([pair.rating for _, pair in pairs])
        groups = torch.tensor([group for group, _ in pairs])
        if config.rating_loss == "correlation":
            return correlation_loss(found, rated, groups)
        return ranking_loss(found, rated, groups, config.ranking_scale)

    def stories(pairs: list[StoryPair]) -> torch.Tensor:
        return ranking_loss(
            cosines([(pair.story_a, pair.story_b) for pair in pairs]),
            torch.tensor([pair.empathy for pair in pairs]),
            torch.zeros(len(pairs), dtype=torch.long),
            config.ranking_scale,
        )

    def sides(contrasts: list[Contrast]) -> torch.Tensor:
        anchors = [text for contrast in contrasts for text in contrast.anchors]
        answers = [text for contrast in contrasts for text in contrast.answers]
        vectors = tower.embed(anchors + answers)
        count = len(anchors)
        same = [
            [i != j and (anchors[i] == anchors[j] or answers[i] == answers[j]) for j in range(count)]
            for i in range(count)
        ]
        return side_loss(vectors[:count], vectors[count:], torch.tensor(same), config.temperature)

    several = [rater for rater in data.raters if len(rater) > 1]  # one rating says nothing about order
    offered: list[tuple[str, float, Callable[[Any], torch.Tensor], Sequence[Any]]] = [
        ("rating", config.rating_weight, ratings, several),
        ("side", config.side_weight, sides, data.sides),
        ("stance", config.stance_weight, sides, data.stances),
        ("story", config.story_weight, stories, data.stories),
    ]
    chosen = []
    for number, (name, weight, loss, items) in enumerate(offered):
        if weight > 0 and items:
            chance = random.Random(config.seed * 10 + number)  # noqa: S311  (no secret: a reproducible shuffle)
            size = min(config.batch_raters, len(items))
            chosen.append(_Source(name, weight, loss, _batches(items, size, chance)))
    if not chosen:
        raise InputError("There is nothing to train on.", "Name data, and give at least one of its weights.")
    return chosen


def train(model: Any, data: TrainingData, config: EmpathyConfig, tell: Tell = _log.info) -> list[dict[str, float]]:
    """Fine-tune a `SentenceTransformer` in place, then blend it with its own start.

    Where there are raters to validate on, the weights are those of the epoch that followed their ratings best.
    Deterministic for a seed on one machine and number of threads.

    Args:
        model: the model to change: a BERT-family encoder, on the CPU, in float32.
        data: what to learn from.
        config: see `EmpathyConfig`.
        tell: is told how far the work is, in a sentence.

    Returns:
        One dictionary per step: the weighted loss of each signal.

    Raises:
        InputError: no data with a weight above zero, or no layer left to learn.
    """
    import torch

    torch.manual_seed(config.seed)
    start = {name: value.detach().clone() for name, value in model.state_dict().items()}
    tower: NormTower | LayersTower = (
        LayersTower(model.eval(), config) if config.learns == "layers" else NormTower(model.eval(), config)
    )
    sources = _sources(tower, data, config)
    in_an_epoch = math.ceil(max(len(data.raters), 1) / config.batch_raters)
    steps = config.epochs * in_an_epoch
    optimizer = torch.optim.AdamW(tower.parameters(), lr=config.learning_rate, weight_decay=0.0)
    warm_up = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))
    )
    history: list[dict[str, float]] = []
    best: BestEpoch[list[torch.Tensor]] = BestEpoch()
    for step in range(steps):
        optimizer.zero_grad()
        losses = {}
        for source in sources:  # each differentiated at once: only one signal's activations are held
            loss = source.weight * source.loss(next(source.batches))
            if loss.requires_grad:
                loss.backward()
            losses[source.name] = float(loss.detach())
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        history.append(losses)
        if (step + 1) % 10 == 0 or step + 1 == steps:
            recent = history[-10:]
            means = {name: sum(entry[name] for entry in recent) / len(recent) for name in losses}
            tell(f"step {step + 1} of {steps}: " + ", ".join(f"{name} {mean:.3f}" for name, mean in means.items()))
        if data.validation and (step + 1) % in_an_epoch == 0:
            reached = _validated(tower, data.validation)
            epoch = (step + 1) // in_an_epoch
            tell(f"epoch {epoch} of {config.epochs}: Spearman of the validation raters {reached:.3f}")
            best.offer(reached, lambda: [weight.detach().clone() for weight in tower.parameters()])
    best.tell_collapsed(tell)
    with torch.no_grad():
        for weight, value in zip(tower.parameters(), best.kept or [], strict=False):  # none without validation
            weight.copy_(value)
    tower.keep()
    blend_weights(model, start, config.blend)
    return history


def _validated(tower: NormTower | LayersTower, raters: Sequence[Sequence[RatedPair]]) -> float:
    """Spearman of cosines and ratings within raters, -1..1 or NaN, as the tower is now: see `followed`."""
    import torch

    learning = tower.model.training
    tower.model.eval()
    with torch.no_grad():
        reached = followed(scores_of_ratings(lambda texts: tower.embed(texts).numpy(), raters), within=True)
    tower.model.train(learning)
    return reached


def blend_weights(model: Any, start: dict[str, "torch.Tensor"], share: float) -> None:
    """Set every weight to ``share`` of the model's and ``1 - share`` of ``start``'s.

    Source: Wortsman et al., "Robust fine-tuning of zero-shot models", 2022.
    """
    state = model.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            value.copy_(start[name] + share * (value - start[name]))


def run(config: EmpathyConfig, tell: Tell = _log.info) -> dict[str, Any]:
    """Train -> measure before and after -> save -> export; ``tell`` is told how far the work is, in sentences.

    Returns:
        ``{"spearman": {"before" | "after" | "gain": {figure: "value [low, high]"}}, "output": ..., "gguf": ...}``.

    Raises:
        InputError: data are missing or damaged, there is nothing to learn from, or nothing to choose an epoch by.
        WeightsNotFiniteError: what was learned is no numbers; nothing is saved.
        MissingExtraError, ModelFileError, NoSuchDevice: see `load_base`.
    """
    for name in ("base", "ratings"):
        if not getattr(config, name):
            raise InputError(f"`{name}` is empty.", f"Name it: --set {name}=PATH")
    paths = {name: str(user_path(path)) for name in _PATHS if (path := getattr(config, name))}
    left_out = [str(user_path(path)) for path in config.left_out]
    config = config.model_copy(update={**paths, "left_out": left_out})
    stories = load_stories(Path(config.stories) / "test.jsonl") if config.stories else []
    if config.objective == "cosine":
        figures, model = _run_cosine(config, stories, tell)
    else:
        figures, model = _run_ranking(config, stories, tell)
    if config.output:
        _declare_prefix(model, config)
        model.save(config.output, create_model_card=False)  # it would be the base's card, with the base's licence
        settings = json.dumps(config.model_dump(), indent=2)
        Path(config.output, "recipe.json").write_text(settings + "\n", encoding="utf-8")
    if config.gguf:
        name = "Evenhand empathy encoder"
        export_gguf(config.output, config.gguf, config.precision, name=name, licence=config.licence)
    report = {when: {name: str(value) for name, value in entry.items()} for when, entry in figures.items()}
    return {"spearman": report, "output": config.output, "gguf": config.gguf}


_PATHS = ("base", "ratings", "stories", "opposing", "output", "gguf")

Figures = dict[str, dict[str, Estimate]]


def _run_ranking(config: EmpathyConfig, stories: list[StoryPair], tell: Tell) -> tuple[Figures, Any]:
    data = load_training_data(config)
    check_ratings(data.validation, True, config.ratings)
    model = load_base(config.base, config.threads)
    _, held_out = split_by_rater(load_ratings(config.ratings), config.held_out, config.split_seed)
    before = remembering(model)
    scores_of_ratings(before, held_out)  # the untouched model meets the texts before it changes
    if stories:
        scores_of_stories(before, stories)
    train(model, data, config, tell)
    _require_finite(model)
    return measure(before, remembering(model), held_out, stories), model


def _run_cosine(config: EmpathyConfig, stories: list[StoryPair], tell: Tell) -> tuple[Figures, Any]:
    pairs = load_ratings(config.ratings)
    training, validation, kept = divide(pairs, config)
    if not training or not kept:
        raise InputError(
            f"Of the {len(pairs)} pairs in {config.ratings} {len(training)} would be learned from, and {len(kept)} "
            "measured on.",
            "Give more pairs, or change `held_out`, `validation` or `left_out`.",
        )
    check_ratings([validation] if validation else [], False, config.ratings)
    held_out: dict[str, list[RatedPair]] = {}
    for pair in kept:
        held_out.setdefault(pair.rater, []).append(pair)
    groups = list(held_out.values())
    model = load_base(config.base, config.threads, config.device)
    before = remembering(model, config.prefix)
    scores_of_ratings(before, groups)
    if stories:
        scores_of_stories(before, stories)
    start = {} if config.blend == 1 else {name: value.detach().clone() for name, value in model.state_dict().items()}
    regress(model, training, validation, config, tell)
    if start:
        blend_weights(model, start, config.blend)
    _require_finite(model)
    return measure(before, remembering(model, config.prefix), groups, stories), model


def _require_finite(model: Any) -> None:
    for value in model.state_dict().values():
        if not value.isfinite().all():
            raise WeightsNotFiniteError(
                "The training ended with weights that are no finite numbers, and nothing was saved.",
                "Lower `learning_rate`.",
            )


def _declare_prefix(model: Any, config: EmpathyConfig) -> None:
    """Make the prefix the model's default prompt: whoever loads the folder, or exports it, finds it there."""
    if config.prefix or prefix_of_prompts(model.prompts, model.default_prompt_name, config.output):
        model.prompts = {**model.prompts, "query": config.prefix}
        model.default_prompt_name = "query"


def load_base(folder: str, threads: int = 0, device: Device = "cpu") -> Any:
    """Load a sentence-transformers model, by folder or name, in float32; ``auto`` is the GPU where there is one.

    Raises:
        NoSuchDevice: ``device`` is cuda, and there is no GPU.
        MissingExtraError: sentence-transformers is not installed.
        ModelFileError: the folder is missing or holds no such model.
    """
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError(
            "Training needs sentence-transformers.", "Install it with: pip install 'evenhand[train]'"
        ) from error
    if threads:
        torch.set_num_threads(threads)
    place = str(torch_device(device))
    try:
        return SentenceTransformer(
            folder, device=place, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        ).float()
    except (OSError, ValueError, KeyError) as error:
        raise ModelFileError(
            f"{folder} holds no model.", "Give the folder of a sentence-transformers model, or its name and a network."
        ) from error

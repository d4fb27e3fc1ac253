"""The recipe of the empathy encoder: fine-tunes a sentence encoder on human empathy ratings, measures and exports it.

Ratings: for one rater, a view rated higher should lie closer than one rated lower; comparisons stay within a rater,
because most of the variance of the raw numbers is who rates, not what is rated. Pairs of stories are ranked likewise.
Sides: what a view says of its place should lie closer to its own suggestion than to the other side's, and a perspective
closer to one of its own stance than to an opposing one; this is what the shown tilt measures. Only the upper layers
learn, and the result may be blended with the untouched weights.

    python -m trainer.empathy --ratings pairs.jsonl --stories empathic_stories --opposing perspectrum.jsonl \\
        --base MODEL_FOLDER --output runs/empathy --gguf assets/models/empathy-minilm-q8_0.gguf
"""

import argparse
import json
import logging
import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mediator.errors import EvenhandError, InputError, MissingExtraError, ModelFileError
from trainer.empathy_data import (
    Contrast,
    RatedPair,
    StoryPair,
    TrainingData,
    contrasts_of_claims,
    contrasts_of_views,
    load_ratings,
    load_stories,
    numbered_lines,
    split_by_rater,
)
from trainer.empathy_figures import measure, remembering, scores_of_ratings, scores_of_stories
from trainer.export import PRECISIONS, export_gguf

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

_CHUNK = 16  # texts run together; small, because the texts of a chunk are padded to its longest


@dataclass(frozen=True)
class EmpathyConfig:
    """What one run of the recipe does. The defaults are those of the bundled encoder."""

    base: str = ""
    """Folder of the sentence-transformers model to start from."""
    ratings: str = ""
    """JSONL of ``{view_a, view_b, empathy}``; empathy is 0-100, how A's author feels for B."""
    stories: str = ""
    """Folder with ``dev.jsonl`` (trained on) and ``test.jsonl`` (measured on) of rated story pairs; empty for none."""
    opposing: str = ""
    """JSONL of ``{claim, support, undermine}``; empty for none."""
    left_out: str = ""
    """JSONL whose ``row`` numbers are lines of ``ratings`` (from 0) that must not be trained on; empty for none."""
    output: str = ""
    """Folder for the tuned model."""
    seed: int = 0
    """Of the order of batches and of every random choice."""
    split_seed: int = 0
    """Of the division of raters; the same for every run that is to be compared."""
    held_out: float = 0.2
    """Share of raters kept for measuring, 0..1."""
    epochs: int = 2
    """Passes over the raters."""
    batch_raters: int = 16
    """Raters per step."""
    learns: str = "layers"
    """What is trained: ``norm``, the last layer norm alone, or ``layers``, all layers above the frozen ones."""
    frozen_layers: int = 5
    """With ``layers``: layers from the bottom that stay as they are, embeddings included."""
    learning_rate: float = 5e-5
    """Peak; linear warm-up over a tenth of the steps, then linear decay to zero. For ``norm`` about 1e-2."""
    rating_weight: float = 1.0
    """Weight of the within-rater ranking of ratings."""
    side_weight: float = 3.0
    """Weight of own suggestion against the other side's."""
    stance_weight: float = 1.0
    """Weight of perspectives of one stance against the opposite stance (needs ``opposing``)."""
    story_weight: float = 1.0
    """Weight of the ranking of story pairs (needs ``stories``)."""
    ranking_scale: float = 20.0
    """Cosine differences are multiplied by this before the logistic function; CoSENT's value."""
    temperature: float = 0.05
    """Cosines are divided by this in the contrast of sides."""
    blend: float = 1.0
    """Share of the tuned weights in the result, 0 (untouched) to 1 (all tuned)."""
    max_tokens: int = 112
    """Texts are cut here in training only."""

    def __post_init__(self) -> None:
        if self.learns not in ("norm", "layers"):
            raise InputError(f"--learns is {self.learns!r}; it must be `norm` or `layers`.")
        for name in ("held_out", "blend"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must lie between 0 and 1.")
        for name in ("epochs", "batch_raters", "max_tokens", "learning_rate", "ranking_scale", "temperature"):
            if getattr(self, name) <= 0:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be above 0.")
        for name in ("rating_weight", "side_weight", "stance_weight", "story_weight", "frozen_layers"):
            if getattr(self, name) < 0:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must not be negative.")


def load_training_data(config: EmpathyConfig) -> TrainingData:
    """Read what the configuration names, without held-out raters and left-out rows."""
    left_out = {int(line["row"]) for _, line in numbered_lines(Path(config.left_out))} if config.left_out else set()
    pairs = load_ratings(config.ratings)
    hidden = {pair.view_a.as_text() for pair in pairs if pair.row in left_out}
    training, _ = split_by_rater(pairs, config.held_out, config.split_seed)
    raters = [kept for rater in training if (kept := [p for p in rater if p.rater not in hidden])]
    return TrainingData(
        raters=raters,
        sides=contrasts_of_views([pair for rater in raters for pair in rater]),
        stances=contrasts_of_claims(config.opposing, config.seed) if config.opposing else [],
        stories=load_stories(Path(config.stories) / "dev.jsonl") if config.stories else [],
    )


def ranking_loss(
    cosines: "torch.Tensor", ratings: "torch.Tensor", groups: "torch.Tensor", scale: float
) -> "torch.Tensor":
    """CoSENT within groups: log(1 + sum exp(scale * (cos_low - cos_high))) over pairs of one group rated low and high.

    Args:
        cosines: shape ``(n,)``, -1..1.
        ratings: shape ``(n,)``, any scale.
        groups: shape ``(n,)``, integers; only items of the same group (rater) are compared.
        scale: inverse temperature.

    Returns:
        A scalar >= 0; exactly 0 where no two items of a group differ in rating.

    Source: J. Su, "CoSENT", 2022, restricted to pairs of one group.
    """
    import torch

    difference = scale * (cosines[:, None] - cosines[None, :])  # [low, high]
    compared = (groups[:, None] == groups[None, :]) & (ratings[:, None] < ratings[None, :])
    terms = torch.cat([cosines.new_zeros(1), difference[compared]])
    return torch.logsumexp(terms, dim=0)


def side_loss(
    anchors: "torch.Tensor", answers: "torch.Tensor", same: "torch.Tensor", temperature: float
) -> "torch.Tensor":
    """Cross-entropy of each anchor's own answer among all answers of the batch, and of each answer's own anchor.

    Both sides of a dispute are in the batch, so the other side's answer is always among the wrong ones.

    Args:
        anchors: unit vectors, shape ``(n, dimensions)``.
        answers: unit vectors, shape ``(n, dimensions)``; row i belongs to anchor i.
        same: booleans, shape ``(n, n)``; true off the diagonal where answer j is as right for anchor i as its own
            (a text that recurs in the batch), which is then not counted as wrong.
        temperature: > 0.

    Returns:
        A scalar >= 0, in nats.

    Source: van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018, both directions.
    """
    import torch

    logits = (anchors @ answers.T / temperature).masked_fill(same, -torch.inf)
    own = torch.arange(len(anchors))
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2


def _batches(items: Sequence[Any], size: int, chance: random.Random) -> Iterator[list[Any]]:
    """Endless shuffled batches of one list; an epoch's short end is filled from the next epoch."""
    queue: list[Any] = []
    while items:
        while len(queue) < size:
            queue += chance.sample(list(items), len(items))
        yield queue[:size]
        queue = queue[size:]


class _Norm:
    """Learns only the last layer norm: one factor and one offset per dimension of the embedding.

    Pooling is linear, so both act on the pooled vector directly, and each text passes through the encoder once in the
    whole run. A thousand ratings carry little more than these few numbers can hold.
    """

    def __init__(self, model: Any, config: EmpathyConfig) -> None:
        import torch

        self.model, self.max_tokens = model, config.max_tokens
        self._norm = model[0].auto_model.encoder.layer[-1].output.LayerNorm
        self._factor = torch.nn.Parameter(torch.ones_like(self._norm.weight))
        self._offset = torch.nn.Parameter(torch.zeros_like(self._norm.bias))
        self._pooled: dict[str, torch.Tensor] = {}

    def parameters(self) -> list["torch.nn.Parameter"]:
        """The weights that learn."""
        return [self._factor, self._offset]

    def embed(self, texts: Sequence[str]) -> "torch.Tensor":
        """Unit vectors with gradients, shape ``(len(texts), dimensions)``."""
        import torch

        missing = sorted({text for text in texts if text not in self._pooled}, key=lambda text: (len(text), text))
        with torch.no_grad():
            for start in range(0, len(missing), _CHUNK):
                chunk = missing[start : start + _CHUNK]
                tokens = _tokenize(self.model, chunk, self.max_tokens)
                states = self.model[0].auto_model(**tokens).last_hidden_state
                self._pooled.update(zip(chunk, _pool(self.model, states, tokens["attention_mask"]), strict=True))
        pooled = torch.stack([self._pooled[text] for text in texts])
        return torch.nn.functional.normalize(pooled * self._factor + self._offset, dim=-1)

    def keep(self) -> None:
        """Write what was learnt into the model."""
        import torch

        with torch.no_grad():
            self._norm.weight.mul_(self._factor)
            self._norm.bias.mul_(self._factor).add_(self._offset)


class _Layers:
    """Learns the uppermost layers, over a frozen trunk that is run once per text and remembered."""

    def __init__(self, model: Any, config: EmpathyConfig) -> None:
        self.model, self.max_tokens, self.frozen = model, config.max_tokens, config.frozen_layers
        self.layers = model[0].auto_model.encoder.layer
        if self.frozen >= len(self.layers):
            raise InputError(f"--frozen-layers is {self.frozen}; the encoder has {len(self.layers)}, one must learn.")
        self._trunk: dict[str, torch.Tensor] = {}
        model.train()

    def parameters(self) -> list["torch.nn.Parameter"]:
        """The weights that learn."""
        return [weight for layer in self.layers[self.frozen :] for weight in layer.parameters()]

    def _run_trunk(self, texts: Sequence[str]) -> None:
        import torch

        learning = self.model.training
        self.model.eval()
        with torch.no_grad():
            for start in range(0, len(texts), _CHUNK):
                chunk = list(texts[start : start + _CHUNK])
                tokens = _tokenize(self.model, chunk, self.max_tokens)
                states = self.model[0].auto_model(**tokens, output_hidden_states=True).hidden_states[self.frozen]
                for text, state, mask in zip(chunk, states, tokens["attention_mask"], strict=True):
                    self._trunk[text] = state[: int(mask.sum())].clone()
        self.model.train(learning)

    def embed(self, texts: Sequence[str]) -> "torch.Tensor":
        """Unit vectors with gradients, shape ``(len(texts), dimensions)``; each text is run once per call."""
        import torch

        unique = sorted(dict.fromkeys(texts), key=len)  # like lengths together: less padding
        self._run_trunk([text for text in unique if text not in self._trunk])
        rows = []
        for start in range(0, len(unique), _CHUNK):
            states = [self._trunk[text] for text in unique[start : start + _CHUNK]]
            hidden = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
            lengths = torch.tensor([len(state) for state in states])
            mask = (torch.arange(hidden.shape[1]) < lengths[:, None]).long()
            blocked = (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
            for layer in self.layers[self.frozen :]:
                hidden = layer(hidden, blocked)
                hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            rows.append(torch.nn.functional.normalize(_pool(self.model, hidden, mask), dim=-1))
        position = {text: i for i, text in enumerate(unique)}
        return torch.cat(rows)[[position[text] for text in texts]]

    def keep(self) -> None:
        """Leave dropout; the layers themselves were trained in place."""
        self.model.eval()


def _tokenize(model: Any, texts: Sequence[str], max_tokens: int) -> Any:
    return model.tokenizer(list(texts), padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")


def _pool(model: Any, states: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
    """Pooled vectors by the model's own pooling, before its normalisation."""
    features = {"token_embeddings": states, "attention_mask": mask}
    for module in list(model)[1:]:
        if type(module).__name__ != "Normalize":
            features = module(features)
    return features["sentence_embedding"]


@dataclass(frozen=True)
class _Source:
    """One signal of the training: its weight, its loss for a batch, and its endless batches."""

    name: str
    weight: float
    loss: Callable[[Any], "torch.Tensor"]
    batches: Iterator[list[Any]]


def _sources(tower: _Norm | _Layers, data: TrainingData, config: EmpathyConfig) -> list[_Source]:
    import torch

    def cosines(pairs: list[tuple[str, str]]) -> torch.Tensor:
        vectors = tower.embed([one for one, _ in pairs] + [other for _, other in pairs])
        return (vectors[: len(pairs)] * vectors[len(pairs) :]).sum(-1)

    def ratings(raters: list[list[RatedPair]]) -> torch.Tensor:
        pairs = [(group, pair) for group, rater in enumerate(raters) for pair in rater]
        return ranking_loss(
            cosines([(pair.view_a.as_text(), pair.view_b.as_text()) for _, pair in pairs]),
            torch.tensor([pair.rating for _, pair in pairs]),
            torch.tensor([group for group, _ in pairs]),
            config.ranking_scale,
        )

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


def train(model: Any, data: TrainingData, config: EmpathyConfig) -> list[dict[str, float]]:
    """Fine-tune a `SentenceTransformer` in place, then blend it with its own start.

    Deterministic for a seed on one machine and number of threads.

    Args:
        model: the model to change: a BERT-family encoder, on the CPU, in float32.
        data: what to learn from.
        config: see `EmpathyConfig`.

    Returns:
        One dictionary per step: the weighted loss of each signal.

    Raises:
        InputError: no data with a weight above zero, or no layer left to learn.
    """
    import torch

    torch.manual_seed(config.seed)
    start = {name: value.detach().clone() for name, value in model.state_dict().items()}
    tower: _Norm | _Layers = _Layers(model.eval(), config) if config.learns == "layers" else _Norm(model.eval(), config)
    sources = _sources(tower, data, config)
    steps = max(1, config.epochs * math.ceil(max(len(data.raters), 1) / config.batch_raters))
    optimizer = torch.optim.AdamW(tower.parameters(), lr=config.learning_rate, weight_decay=0.0)
    warm_up = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))
    )
    history: list[dict[str, float]] = []
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
            _log.info("step %d of %d: %s", step + 1, steps, ", ".join(f"{k} {v:.3f}" for k, v in means.items()))
    tower.keep()
    blend_weights(model, start, config.blend)
    return history


def blend_weights(model: Any, start: dict[str, "torch.Tensor"], share: float) -> None:
    """Set every weight to ``share`` of the model's and ``1 - share`` of ``start``'s.

    Source: Wortsman et al., "Robust fine-tuning of zero-shot models", 2022.
    """
    state = model.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            value.copy_(start[name] + share * (value - start[name]))


def _option_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.empathy", description="Train, measure and export the empathy encoder."
    )
    for option in fields(EmpathyConfig):
        kind = type(option.default)
        flag = "--" + option.name.replace("_", "-")
        parser.add_argument(flag, type=kind, default=option.default, required=option.name in ("base", "ratings"))
    parser.add_argument("--gguf", default="", help="also export to this GGUF file")
    parser.add_argument("--precision", default="q8_0", choices=PRECISIONS)
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 leaves its default")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Train -> measure before and after -> save -> export. Prints one JSON object; the log goes to stderr."""
    options = vars(_option_parser().parse_args(arguments))
    gguf, precision, threads = options.pop("gguf"), options.pop("precision"), options.pop("threads")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    try:
        config = EmpathyConfig(**options)
        if gguf and not config.output:
            raise InputError("--gguf needs --output.", "Name the folder that the tuned model is saved to.")
        data = load_training_data(config)
        model = load_base(config.base, threads)
        _, held_out = split_by_rater(load_ratings(config.ratings), config.held_out, config.split_seed)
        stories = load_stories(Path(config.stories) / "test.jsonl") if config.stories else []
        before = remembering(model)
        scores_of_ratings(before, held_out)  # the untouched model meets the texts before it changes
        if stories:
            scores_of_stories(before, stories)
        train(model, data, config)
        figures = measure(before, remembering(model), held_out, stories)
        if config.output:
            model.save(config.output)
            Path(config.output, "recipe.json").write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
        if gguf:
            export_gguf(config.output, gguf, precision, name="Evenhand empathy encoder", licence="apache-2.0")
    except EvenhandError as error:
        _log.error("%s", error)
        return error.exit_code
    report = {when: {name: str(value) for name, value in entry.items()} for when, entry in figures.items()}
    print(json.dumps({"spearman": report, "output": config.output, "gguf": gguf}, indent=2))
    return 0


def load_base(folder: str, threads: int = 0) -> Any:
    """Load a sentence-transformers folder on the CPU in float32.

    Raises:
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
    if not Path(folder, "config.json").is_file():
        raise ModelFileError(f"{folder} holds no model.", "Give the folder of a sentence-transformers model.")
    return SentenceTransformer(folder, device="cpu").float()


if __name__ == "__main__":
    sys.exit(main())

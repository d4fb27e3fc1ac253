"""What each recipe that trains a writer can be told: a documented class for each, the papers' values as defaults."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from mediator.schema import Record
from trainer.config import ConfigError, Decay, Positive, Share, checked_settings, load_settings

Recipe = Literal["sft", "nce", "task", "dpo", "nca", "calibrate"]
"""The recipes that train a writer: fine-tuning, the paper's losses, two comparators, and calibration by contrast."""


class RecipeConfig(Record):
    """What all recipes share. Every field is explained by its description, on the command line and on the page."""

    model: str = Field(default="", description="The model to start from: a folder, or a name on the Hugging Face hub.")
    dataset: str = Field(
        default="", description="The data set to learn from: a JSONL file of disputes with candidates."
    )
    validation: str = Field(
        default="", description="A second data set to measure on while training; empty measures nothing."
    )
    epochs: Positive = Field(default=1.0, description="How often each pair of views is seen.")
    learning_rate: Positive = Field(default=3e-5, description="The highest learning rate (the paper: 3e-5).")
    warmup_share: Share = Field(
        default=0.03, description="The share of the steps in which the learning rate rises linearly; then a cosine."
    )
    adam_beta1: Decay = Field(default=0.90, description="Adam's decay of the mean gradient (the paper: 0.90).")
    adam_beta2: Decay = Field(default=0.99, description="Adam's decay of the squared gradient (the paper: 0.99).")
    weight_decay: float = Field(default=0.0, ge=0, description="Decay of the weights, as in AdamW.")
    largest_gradient: Positive = Field(default=1.0, description="Longer gradients are shortened to this norm.")
    batch_size: int = Field(default=4, ge=1, description="Pairs in one forward pass on one device.")
    gradient_accumulation: int = Field(default=4, ge=1, description="Forward passes in one step of the optimiser.")
    demographics: bool = Field(
        default=True, description="Whether the prompt tells who wrote a view, where the data set knows."
    )
    longest_text: int = Field(default=512, ge=16, description="Tokens of view, template and response; more is cut off.")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        default="auto", description="bf16 halves the memory; auto takes it where the device computes in it."
    )
    trainable: Literal["all", "last_layers", "lora", "qlora"] = Field(
        default="all", description="What learns: all weights, the last decoder layers, or adapters beside the weights."
    )
    layers: int = Field(default=3, ge=1, description="How many of the last decoder layers learn (the paper: 3).")
    train_final_norm: bool = Field(default=False, description="Whether the norm after the last layer learns too.")
    train_head: bool = Field(default=False, description="Whether the output head learns too.")
    adapter_rank: int = Field(default=16, ge=1, description="The rank of LoRA's matrices.")
    adapter_scale: Positive = Field(default=32.0, description="LoRA's alpha.")
    gradient_checkpointing: bool = Field(default=False, description="Compute activations twice to save memory.")
    log_every: int = Field(default=1, ge=1, description="Steps between two lines of metrics.")
    checkpoint_every: int = Field(default=50, ge=1, description="Steps between two checkpoints.")
    keep_checkpoints: int = Field(default=2, ge=1, description="Older checkpoints are deleted.")
    evaluate_every: int = Field(default=50, ge=1, description="Steps between two measurements on the validation set.")
    validation_pairs: int = Field(
        default=32, ge=1, description="Disputes of the validation set that are measured on, from its beginning."
    )
    sample_disputes: int = Field(
        default=2, ge=0, description="Disputes for which a compromise is written and scored at each measurement."
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="The same seed repeats the run on the same machine.")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where to compute.")


class SftConfig(RecipeConfig):
    """Supervised fine-tuning: template -> candidate, for one epoch."""

    packing: bool = Field(
        default=True, description="Put several examples into one row, without their seeing each other."
    )


class AlignConfig(RecipeConfig):
    """Alignment of a fine-tuned model on its own output: what NCE, the task-based loss, DPO and NCA share."""

    epochs: Positive = Field(default=8.0, description="How often each pair of views is seen (the paper: 8).")
    trainable: Literal["all", "last_layers", "lora", "qlora"] = Field(
        default="last_layers", description="What learns: the paper trains the last three decoder layers."
    )
    trunk_cache: bool = Field(
        default=True,
        description="Compute what the frozen layers say of each text once and keep it; needs last_layers.",
    )
    cache_memory: Positive = Field(
        default=4.0, description="GiB of activations kept in memory; larger caches are mapped from the disk."
    )
    hypotheses: str = Field(
        default="", description="A JSONL of the model's own answers; empty has the model write them once, at the start."
    )
    hypothesis_batch: int = Field(default=16, ge=1, description="Answers written at once.")
    hypothesis_tokens: int = Field(default=160, ge=1, description="The longest answer, in tokens.")
    hypothesis_temperature: float = Field(
        default=0.0, ge=0, description="0 takes the likeliest token each time; above, answers are sampled."
    )

    @model_validator(mode="after")
    def _cache_needs_frozen_layers(self) -> Self:
        if self.trunk_cache and self.trainable != "last_layers":
            raise ValueError(
                f"trunk_cache needs trainable = last_layers, and it is {self.trainable}: set trunk_cache = false, "
                "because where earlier layers learn, what they say changes with every step"
            )
        return self


class NceConfig(AlignConfig):
    """The paper's noise-contrastive loss, eq. (1)."""

    score: Literal["sum", "mean", "log_ratio"] = Field(
        default="log_ratio",
        description="What stands for a text's score: its log-probability (sum, as the paper prints), that for each "
        "token (mean), or its change since the start (log_ratio).",
    )


class TaskConfig(AlignConfig):
    """The paper's task-based loss, eq. (2)."""

    epochs: Positive = Field(default=12.0, description="How often each pair of views is seen (the paper: 12).")
    score: Literal["sum", "mean", "log_ratio"] = Field(
        default="log_ratio", description="What stands for a text's score; see the noise-contrastive loss."
    )
    margin_weight: Positive = Field(
        default=10.0, description="How many units of score one unit of ROUGE is worth (the paper's w: 10)."
    )
    rouge: Literal["rouge1", "rougeL"] = Field(default="rougeL", description="The overlap that the margin measures.")


class DpoConfig(AlignConfig):
    """Direct preference optimisation, the comparator of the paper's Table 4."""

    beta: Positive = Field(default=0.1, description="How strongly the start holds the model back.")


class NcaConfig(AlignConfig):
    """Pairwise or K-way noise contrastive alignment."""

    beta: Positive = Field(default=0.1, description="How strongly the start holds the model back.")
    answers: int = Field(default=2, ge=2, description="K: one target and K - 1 answers of the model's own.")
    reward_temperature: float = Field(
        default=0.1,
        ge=0,
        description="With K above 2, the texts' rewards (a target's is 1, an answer's its ROUGE-L with the target) are "
        "divided by this before their softmax; 0 gives all weight to the target.",
    )

    @model_validator(mode="after")
    def _answers_must_differ(self) -> Self:
        if self.answers > 2 and not self.hypotheses and self.hypothesis_temperature == 0:
            raise ValueError(
                f"answers is {self.answers}, and the likeliest answer is always the same: set hypothesis_temperature "
                "above 0, such as 1.0"
            )
        return self


class CalibrateConfig(AlignConfig):
    """Calibration by contrast (the d-PM paper, eq. 7 to 9): ranked candidates of the model's own, and the reference."""

    candidates: int = Field(
        default=10, ge=2, le=64, description="K: candidates of the model's own (the d-PM paper: 5, 10, 15 or 20)."
    )
    ranking: Literal["neutrality", "preference"] = Field(
        default="neutrality",
        description="What makes a candidate better: a small gap between its scores for the two sides, or how widely "
        "acceptable the preference model finds it.",
    )
    preference_model: str = Field(
        default="",
        description="With ranking = preference: the folder of a trained preference model; empty takes the bundled one.",
    )
    diversity: float = Field(
        default=4.0,
        ge=0,
        description="Diverse beam search: nats that a token loses for each earlier candidate that took it at the same "
        "place (the d-PM paper's code: 4).",
    )
    margin: float = Field(
        default=0.001,
        ge=0,
        description="The lead, in nats for each token, that a candidate shall have for each rank (the d-PM paper's "
        "code: 0.001).",
    )
    likelihood_weight: float = Field(
        default=1.0, ge=0, description="What the reference's negative log-likelihood for each token counts beside it."
    )
    batch_size: int = Field(
        default=1, ge=1, description="Pairs in one forward pass on one device; each has K + 1 texts."
    )
    gradient_accumulation: int = Field(default=16, ge=1, description="Forward passes in one step of the optimiser.")


CONFIGS: dict[Recipe, type[RecipeConfig]] = {
    "sft": SftConfig,
    "nce": NceConfig,
    "task": TaskConfig,
    "dpo": DpoConfig,
    "nca": NcaConfig,
    "calibrate": CalibrateConfig,
}


def make_config(recipe: str, values: dict[str, Any], source: str = "the settings") -> RecipeConfig:
    """Return the checked settings of a recipe.

    Args:
        recipe: one of `CONFIGS`.
        values: the settings that differ from the defaults.
        source: where they come from, for the message: a file's name.

    Raises:
        ConfigError: the recipe or a setting is unknown, or a value does not fit; the message names the first of them.
    """
    return checked_settings(_class_of(recipe), recipe, values, source)


def load_config(recipe: str, path: Path | None, changes: list[str] | None = None) -> RecipeConfig:
    """Read the settings of a recipe from a YAML or JSON file, then apply ``key=value`` changes.

    Args:
        recipe: one of `CONFIGS`.
        path: the file; None for the defaults of the paper.
        changes: settings as the command line gives them, ``epochs=2``; the value is read as YAML.

    Raises:
        ConfigError: the file cannot be read, or a setting does not fit.
    """
    return load_settings(_class_of(recipe), recipe, path, changes)


def _class_of(recipe: str) -> type[RecipeConfig]:
    kind = {str(name): kind for name, kind in CONFIGS.items()}.get(recipe)
    if kind is None:
        raise ConfigError(f"There is no recipe {recipe!r}.", f"Choose one of: {', '.join(CONFIGS)}.")
    return kind

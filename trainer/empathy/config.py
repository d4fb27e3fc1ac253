"""What the recipe of the empathy encoder can be told; the defaults are those of the bundled encoder."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from mediator.schema import Record
from trainer.config import Positive, Share, Weight


class EmpathyConfig(Record):
    """Settings of `trainer.empathy.recipe`. assets/recipes/empathy-paper.yaml has those of the compromise paper."""

    base: str = Field(
        default="", description="The sentence-transformers model to start from: a folder, or a name on the hub."
    )
    ratings: str = Field(
        default="",
        description="JSONL of {view_a, view_b, empathy}; empathy is 0 to 100, how A's author feels for B's.",
    )
    stories: str = Field(
        default="",
        description="Folder with dev.jsonl (learned from) and test.jsonl (measured on) of rated pairs of stories; "
        "empty for none.",
    )
    opposing: str = Field(default="", description="JSONL of {claim, support, undermine}; empty for none.")
    left_out: list[str] = Field(
        default=[],
        description="JSONL files, or one, whose `row` numbers are lines of `ratings`, from 0: nothing of their raters "
        "is learned from, nor chooses an epoch; empty for none.",
    )
    output: str = Field(default="", description="The folder of the tuned model; empty keeps nothing but the figures.")
    gguf: str = Field(default="", description="Also export to this GGUF file (needs `output`); empty for none.")
    precision: Literal["f32", "f16", "q8_0"] = Field(default="q8_0", description="Of the GGUF file.")
    licence: str = Field(
        default="",
        description="The SPDX identifier that the GGUF file states, such as apache-2.0; the base's and the data's "
        "decide which. Empty states none.",
    )
    objective: Literal["ranking", "cosine"] = Field(
        default="ranking",
        description="ranking: within a rater, the view rated higher shall lie closer, together with the other signals. "
        "cosine: the cosine shall be the rating (the compromise paper, section 3.1); nothing else is learned from.",
    )
    split_by: Literal["rater", "pair"] = Field(
        default="rater",
        description="What is kept apart: raters, or pairs. With pairs, raters are on both sides, and their level, "
        "which is half of what varies, can be learned by heart: the figure flatters.",
    )
    held_out: Share = Field(default=0.2, description="The share that is measured on and not learned from.")
    validation: Share = Field(
        default=0.0,
        description="The share that chooses the epoch (the paper: 0.05), by the Spearman correlation with its ratings: "
        "over all pairs with objective = cosine, within raters with ranking. 0 takes the last.",
    )
    split_seed: int = Field(default=0, ge=0, description="Of the division; the same for all runs to be compared.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Of the order of batches and every random choice.")
    epochs: int = Field(default=2, ge=1, description="How often each rater, or each pair, is seen.")
    batch_raters: int = Field(default=16, ge=1, description="With objective = ranking: raters in a step.")
    batch_size: int = Field(default=16, ge=1, description="With objective = cosine: pairs in a step.")
    learns: Literal["norm", "layers"] = Field(
        default="layers", description="norm: the last layer norm alone. layers: all layers above the frozen ones."
    )
    frozen_layers: int = Field(
        default=5, ge=0, description="With learns = layers: layers from the bottom that stay, embeddings included."
    )
    learning_rate: Positive = Field(
        default=5e-5,
        description="The highest; it rises over a tenth of the steps and falls to zero. For the norm about 1e-2.",
    )
    rating_loss: Literal["ranking", "correlation"] = Field(
        default="ranking",
        description="With objective = ranking, how ratings within a rater are learned from: ranking compares each two "
        "(CoSENT); correlation is 1 - Pearson's correlation of cosines and ratings, raters' means taken off.",
    )
    rating_weight: Weight = Field(default=1.0, description="Weight of the ratings within a rater.")
    side_weight: Weight = Field(default=3.0, description="Weight of a view's own suggestion against the other side's.")
    stance_weight: Weight = Field(
        default=1.0, description="Weight of perspectives of one stance against the other (needs `opposing`)."
    )
    story_weight: Weight = Field(default=1.0, description="Weight of the ranking of stories (needs `stories`).")
    ranking_scale: Positive = Field(
        default=20.0, description="Cosine differences are multiplied by this before the logistic (CoSENT's value: 20)."
    )
    temperature: Positive = Field(default=0.05, description="Cosines are divided by this in the contrast of sides.")
    blend: Share = Field(default=1.0, description="The share of the tuned weights in the result; 0 is untouched.")
    prefix: str = Field(
        default="",
        description="Put before every text, and stored with the tuned model; e5 models want `query: `. Empty for none.",
    )
    max_tokens: int = Field(default=112, ge=8, description="Texts are cut here, in training only.")
    threads: int = Field(default=0, ge=0, description="Threads of torch; 0 leaves its default.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="Where to compute with objective = cosine; auto takes the GPU where there is one. The ranking "
        "computes on the CPU.",
    )

    @field_validator("left_out", mode="before")
    @classmethod
    def _one_file_may_stand_alone(cls, value: Any) -> Any:
        return ([value] if value else []) if isinstance(value, str | None) else value

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.gguf and not self.output:
            raise ValueError("gguf needs output: name the folder that the tuned model is saved to")
        if self.held_out + self.validation >= 1:
            raise ValueError(f"held_out and validation are {self.held_out} and {self.validation}: nothing is left")
        if self.split_by == "pair" and self.objective != "cosine":
            raise ValueError("split_by = pair goes with objective = cosine: the ranking compares within raters")
        if self.prefix and self.objective != "cosine":
            raise ValueError("prefix goes with objective = cosine")
        if self.device == "cuda" and self.objective != "cosine":
            raise ValueError("device = cuda goes with objective = cosine: the ranking computes on the CPU")
        if self.opposing and self.objective != "ranking":
            raise ValueError("opposing goes with objective = ranking: the cosine learns from ratings alone")
        return self

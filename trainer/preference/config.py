"""What the recipe of the preference model can be told; docs/preference.md has what was measured of each choice."""

from typing import Literal

from pydantic import Field

from mediator.schema import Record
from trainer.config import Positive


class PreferenceConfig(Record):
    """A model of how many agree with a statement: features of an encoder, a small head, an objective for few votes."""

    votes: str = Field(
        default="", description="What to learn from: a folder of JSONL files, one conversation each, or one such file."
    )
    output: str = Field(default="", description="The folder of the trained model; it must be empty or not there.")
    objective: Literal["r_q", "q_r", "soft", "major", "no_aggregation"] = Field(
        default="soft",
        description="d-PM in the direction of its code, KL(r || q), or of its eq. 6, KL(q || r); or one of its "
        "baselines: smoothed vote shares, the majority's vote, each vote by itself.",
    )
    count_pass: bool = Field(
        default=False, description="Whether passing is a third answer beside agreeing and disagreeing; else it is none."
    )
    raters: int = Field(
        default=0,
        ge=0,
        description="Votes that are drawn for each statement, to learn from few; 0 takes all there are.",
    )
    smoothing: Positive = Field(default=0.1, description="Added to each count of votes (the d-PM paper's code: 0.1).")
    learns: Literal["head", "prefix"] = Field(
        default="head",
        description="head: the encoder's vectors are computed once, and a head learns. prefix: vectors before each "
        "layer's keys and values learn too (prefix-tuning), which needs a folder of safetensors; the result is not "
        "measured, and `train calibrate` and the app cannot read it.",
    )
    encoder: str = Field(
        default="bundled",
        description="The encoder of the text: bundled, a GGUF file, or the folder of a sentence-transformers model.",
    )
    hidden: int = Field(default=0, ge=0, description="Width of the head's hidden layer; 0 is a linear head.")
    prefix_tokens: int = Field(default=16, ge=1, description="With learns = prefix: vectors before each layer.")
    prefix_width: int = Field(
        default=64, ge=0, description="With learns = prefix: width of the network that makes them; 0 is none."
    )
    longest_text: int = Field(default=128, ge=8, description="With learns = prefix: tokens of a text; more is cut off.")
    penalty: float = Field(
        default=0.0,
        ge=0,
        description="Half of this times the squared weights of the head is added to the loss; 0 chooses it by leaving "
        "hosts out (the part of a conversation's file name before the first dot).",
    )
    epochs: int = Field(default=10, ge=1, description="With learns = prefix: how often each statement is seen.")
    batch_size: int = Field(
        default=32,
        ge=2,
        description="With learns = prefix: statements in a step; a head alone sees all of them at once.",
    )
    learning_rate: Positive = Field(
        default=1e-3, description="With learns = prefix: the highest learning rate; it falls along a cosine."
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Of the votes drawn, the order and the first weights.")

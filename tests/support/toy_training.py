"""Toy pieces for training tests: a tiny model with its own tokenizer, and a data set of invented disputes."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

PLACES = (
    "harbour", "mill", "orchard", "skate hall", "reading room", "market hall", "rowing club", "night bus",
    "chapel yard", "tram stop", "toy library", "city pool", "rose garden", "film house", "bike shed", "school roof",
)  # fmt: skip

QUARRELS = (
    ("it closes before people leave work", "open it until ten", "the noise keeps the street awake", "close it at six"),
    ("nobody greets a newcomer there", "pay two hosts", "the club has no money left", "ask only for volunteers"),
    ("the path is dark after dinner", "put up tall lamps", "bright lamps scare the owls", "leave the path dark"),
    ("dogs run between the children", "ban all dogs", "my dog has nowhere else to run", "let dogs run free"),
    ("the entrance has five steps", "build a ramp this year", "the old steps are protected", "keep the steps"),
    ("the prices are too high for students", "make it free", "somebody has to pay the heating", "raise the price"),
    ("loud music hurts my ears", "stop the music", "the band is why we come", "play every night"),
    ("cars park on the lawn", "fence the lawn", "my father cannot walk far", "allow cars for all"),
)
"""Why A is unhappy, what A wants, why B is unhappy, what B wants."""

COMPROMISES = (
    "Try both for a month at the {place}: {a} on weekdays, and {b} on weekends.",
    "At the {place}, {a} in one half and {b} in the other, then let all neighbours vote.",
    "Let a small group from both sides plan the {place}: first {a}, but {b} when it is quiet.",
    "Share the cost of the {place}, so that those who want to {a} can, and {b} stays possible.",
)
"""What each of the four strategies wrote, in the order of the paper."""

STRATEGIES = ("single", "cot", "cot-self-score", "cot-feedback")


def toy_disputes(count: int = 12) -> list[dict[str, Any]]:
    """Return ``count`` (at most 128) lines of a data set; no view occurs twice."""
    if count > len(PLACES) * len(QUARRELS):
        raise ValueError(f"there are {len(PLACES) * len(QUARRELS)} toy disputes, not {count}")
    lines = []
    for number in range(count):
        # Neighbouring numbers differ in both the place and the quarrel.
        place = PLACES[number % len(PLACES)]
        reason_a, wish_a, reason_b, wish_b = QUARRELS[(number + number // len(PLACES)) % len(QUARRELS)]
        candidates = [
            {
                "text": form.format(place=place, a=wish_a, b=wish_b),
                "strategy": strategy,
                "score_a": round(0.5 + 0.05 * index, 2),
                "score_b": round(0.6 - 0.05 * index, 2),
            }
            for index, (form, strategy) in enumerate(zip(COMPROMISES, STRATEGIES, strict=True))
        ]
        lines.append(
            {
                "id": f"toy-{number:03}",
                "title": f"The {place}",
                "category": ("safe", "welcome", "other")[number % 3],
                "view_a": {"place": place, "reason": reason_a, "suggestion": wish_a},
                "view_b": {"place": place, "reason": reason_b, "suggestion": wish_b},
                "candidates": candidates,
            }
        )
    return lines


def toy_dataset(path: Path, count: int = 12, first: int = 0) -> Path:
    """Write a valid data set of ``count`` invented disputes with four candidates each; return ``path``.

    ``first`` is the number of the first one: data sets whose numbers differ have no view in common.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = toy_disputes(first + count)[first:]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@lru_cache(maxsize=1)
def _bpe() -> str:
    """A byte-level BPE tokenizer trained on the toy disputes, as JSON."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    texts = [json.dumps(line) for line in toy_disputes(len(PLACES) * len(QUARRELS))]
    texts += ["### Instruction:\n", "### Input:\n", "### Response:\n", "View A:", "View B:", "Write a compromise."] * 50
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    # Like Llama's: a text opens with <s>, and nothing closes it.
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return str(bpe.to_str())


def toy_tokenizer() -> Any:
    """Return the tokenizer of the toy models: byte-level BPE, ``<s>`` and ``</s>``, and no padding token."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(_bpe()), bos_token="<s>", eos_token="</s>")


def toy_model(
    folder: Path,
    architecture: Literal["llama", "mistral", "qwen3"] = "llama",
    *,
    width: int = 48,
    layers: int = 4,
    heads: int = 4,
    tied: bool = False,
    seed: int = 0,
) -> Path:
    """Save a model with random weights (safetensors) and its tokenizer into a folder; return the folder.

    Args:
        folder: made if it is not there.
        architecture: of the three, Qwen3 also has norms on queries and keys.
        width: of the residual stream.
        layers: decoder layers.
        heads: of attention; half as many for keys and values.
        tied: whether the head is the embedding's matrix.
        seed: of the weights; torch's own random numbers are left where they were.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = toy_tokenizer()
    config = AutoConfig.for_model(
        architecture,
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        head_dim=width // heads,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        tie_word_embeddings=tied,
        initializer_range=0.08,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Recorder:
    """A `trainer.progress.Reporter` that keeps what it is told, and stops where it was asked to."""

    def __init__(self, stop_at: int | None = None) -> None:
        """Make it stop at an optimiser step; None for never."""
        self.phases: list[tuple[str, int, int]] = []
        self.lines: list[dict[str, float]] = []
        self.samples: list[tuple[int, str, str, float | None, float | None]] = []
        self._stop_at = stop_at

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        self.phases.append((name, done, total))

    def metrics(self, step: int, steps: int, epoch: float, values: Any) -> None:
        self.lines.append({"step": step, "steps": steps, "epoch": epoch, **values})

    def sample(self, step: int, dispute_id: str, text: str, score_a: float | None, score_b: float | None) -> None:
        self.samples.append((step, dispute_id, text, score_a, score_b))

    def should_stop(self) -> bool:
        at = self.phases[-1] if self.phases else ("", 0, 0)
        return self._stop_at is not None and at[0] == "training" and at[1] >= self._stop_at

    def values(self, name: str) -> list[float]:
        """Return a metric over the steps at which it was told."""
        return [line[name] for line in self.lines if name in line]


def fine_tuned_toy(folder: Path, layers: int, epochs: int) -> Path:
    """A toy model that has learned to write something like the candidates, from other disputes; returns its folder."""
    from trainer.alignment import sft
    from trainer.alignment.config import SftConfig

    config = SftConfig(
        model=str(toy_model(folder / "base", layers=layers, width=32)),
        dataset=str(toy_dataset(folder / "other.jsonl", 4, first=40)),
        epochs=epochs,
        learning_rate=1e-2,
        batch_size=2,
        gradient_accumulation=1,
        longest_text=640,
        sample_disputes=0,
        device="cpu",
    )
    return sft.train(config, folder / "sft", Recorder())

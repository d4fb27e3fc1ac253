"""Prefix-tuning of an encoder for the preference model: learned vectors before each layer's keys and values (peft).

As in the d-PM paper's code the encoder's own weights stay as they are; a small network makes the prefix, the tokens'
last states are averaged, and a head answers. The result is a folder for peft and a head; it needs torch.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mediator.errors import ModelFileError
from mediator.settings import user_path
from trainer.config import ConfigError
from trainer.models.pretrained import explained, quiet
from trainer.preference.config import PreferenceConfig
from trainer.preference.data import Counts
from trainer.preference.recipe import head_of, objective

PREFIX_FOLDER = "prefix"
"""In the folder of the result: what peft saves. ``head.safetensors`` lies beside it."""

_HEAD_FILE = "head.safetensors"
_FACTS_FILE = "prefix.json"


class PrefixModel(torch.nn.Module):  # type: ignore[misc]
    """An encoder with a prefix, and a head on the mean of the tokens' last states.

    Attributes:
        encoder: peft's model; only its prefix learns.
        head: of `trainer.preference.recipe.head_of`.
    """

    def __init__(self, encoder: Any, tokenizer: Any, head: Any, longest: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self._tokenizer, self._longest = tokenizer, longest

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        """Return logits (B, C) for texts."""
        found = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._longest, return_tensors="pt"
        )
        kept = found["attention_mask"]
        states = self.encoder(input_ids=found["input_ids"], attention_mask=kept).last_hidden_state
        weights = kept[:, :, None].to(states.dtype)
        logits: torch.Tensor = self.head((states * weights).sum(dim=1) / weights.sum(dim=1))
        return logits

    def probabilities(self, texts: Sequence[str], at_once: int = 32) -> NDArray[np.float64]:
        """Return (B, C) probabilities of the answers."""
        self.eval()
        with torch.no_grad():
            parts = [self(texts[start : start + at_once]) for start in range(0, len(texts), at_once)]
        found: NDArray[np.float64] = torch.cat(parts).double().softmax(dim=1).numpy()
        return found


def train(
    config: PreferenceConfig, texts: Sequence[str], counts: Counts, folder: Path, tell: Callable[[str], None]
) -> PrefixModel:
    """Train a prefix and a head, and save them.

    Args:
        config: the settings; ``encoder`` is a folder of transformers.
        texts: B statements.
        counts: (B, C) their votes.
        folder: gets ``prefix``, ``head.safetensors`` and ``prefix.json``.
        tell: is told after each epoch.

    Returns:
        the trained model.

    Raises:
        ConfigError: ``encoder`` names no folder.
        ModelFileError: the encoder cannot be loaded, or takes no prefix.
    """
    from peft import PrefixTuningConfig, TaskType, get_peft_model
    from safetensors.torch import save_file

    voted = [at for at, row in enumerate(counts) if row.sum() > 0]
    votes = torch.tensor(counts[voted], dtype=torch.float32)
    encoder, tokenizer = _base(config.encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        made = get_peft_model(
            encoder,
            PrefixTuningConfig(
                task_type=TaskType.FEATURE_EXTRACTION,
                num_virtual_tokens=config.prefix_tokens,
                prefix_projection=config.prefix_width > 0,
                encoder_hidden_size=config.prefix_width or None,
            ),
        )
    model = PrefixModel(
        made, tokenizer, head_of(encoder.config.hidden_size, votes.shape[1], config, votes), _room(encoder, config)
    )
    chance = torch.Generator().manual_seed(config.seed)
    loss_of = objective(config)
    steps = config.epochs * -(-len(votes) // config.batch_size)
    optimiser = torch.optim.AdamW(
        [value for value in model.parameters() if value.requires_grad], lr=config.learning_rate, weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    weights = [value for name, value in model.head.named_parameters() if not name.endswith("bias")]
    model.train()
    for epoch in range(config.epochs):
        total = 0.0
        for chosen in torch.randperm(len(votes), generator=chance).split(config.batch_size):
            optimiser.zero_grad()
            loss = loss_of(model([texts[voted[at]] for at in chosen.tolist()]), votes[chosen])
            (loss + config.penalty / 2 * sum(weight.square().sum() for weight in weights)).backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
        tell(f"epoch {epoch + 1} of {config.epochs}: loss {total / len(votes):.4f}")
    with quiet():
        made.save_pretrained(str(folder / PREFIX_FOLDER), safe_serialization=True)
    save_file(dict(model.head.state_dict()), folder / _HEAD_FILE)
    facts = {"encoder": str(user_path(config.encoder)), "settings": config.model_dump(mode="json")}
    facts["answers"] = votes.shape[1]
    (folder / _FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return model


def load(folder: Path) -> PrefixModel:
    """Load what `train` saved. Raises `ModelFileError`."""
    from peft import PeftModel
    from safetensors.torch import load_file

    try:
        facts = json.loads((folder / _FACTS_FILE).read_text(encoding="utf-8"))
        config, answers = PreferenceConfig.model_validate(facts["settings"]), int(facts["answers"])
        weights = load_file(folder / _HEAD_FILE)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{folder} holds no preference model with a prefix.", "Train it again.") from error
    encoder, tokenizer = _base(str(facts["encoder"]))
    with explained(str(folder)), quiet():
        made = PeftModel.from_pretrained(encoder, str(folder / PREFIX_FOLDER))
    head = head_of(encoder.config.hidden_size, answers, config, torch.ones(1, answers))
    head.load_state_dict(weights)
    model = PrefixModel(made, tokenizer, head, _room(encoder, config))
    model.eval()
    return model


def _base(name: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    if not user_path(name).is_dir():
        raise ConfigError(
            f"learns = prefix needs the encoder's weights, and `encoder` is {name!r}.",
            "Set `encoder` to the folder of a transformers or sentence-transformers model.",
        )
    folder = str(user_path(name))
    with explained(folder), quiet():
        encoder = AutoModel.from_pretrained(folder, use_safetensors=True, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return encoder, tokenizer


def _room(encoder: Any, config: PreferenceConfig) -> int:
    """Tokens of a text; the prefix takes places of its own where the encoder counts positions."""
    context = int(getattr(encoder.config, "max_position_embeddings", 0) or 2**31)
    return max(8, min(config.longest_text, context - config.prefix_tokens))

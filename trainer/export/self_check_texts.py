"""The texts of the self-check, and where its two processes leave for each other what they made of them."""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mediator.resources import asset, read_yaml

LONGEST_PROMPT = 96
"""Tokens of a prompt whose logits are compared."""

WINDOW = 512
"""Tokens that are read at once for the perplexity."""

MOST_LOGITS = 192 << 20
"""Bytes of float32 logits that each side writes: of a vocabulary of 128,000, some 390 positions."""


@cache
def shipped_strings() -> tuple[str, ...]:
    """The strings whose tokens are compared; the model's own control markers come as one more."""
    texts = read_yaml(asset("self_check", "texts.yaml"))
    return (*texts["strings"], *texts["strings_beyond_wordpiece"])


@cache
def beyond_wordpiece() -> frozenset[str]:
    """The strings that llama.cpp's WordPiece is known to read differently from every BERT tokenizer."""
    return frozenset(read_yaml(asset("self_check", "texts.yaml"))["strings_beyond_wordpiece"])


@cache
def shipped_prompts() -> tuple[str, ...]:
    """The texts on which logits are compared."""
    return tuple(read_yaml(asset("self_check", "texts.yaml"))["prompts"])


def shipped_prose() -> Path:
    """The text of the perplexity where none is given: 60 sentences of English prose."""
    return asset("self_check", "prose.txt")


def string_with(markers: list[str]) -> str:
    """The string that holds a model's own control markers, as text around them would be written."""
    chosen = markers[:8]
    return "Before " + " between\n".join(chosen) + " after." + "".join(chosen[:2]) if chosen else "No markers at all."


def longest_prompt(prompts: int, vocabulary: int, context: int) -> int:
    """Tokens of a prompt such that the logits of all prompts fit into `MOST_LOGITS`; at least 8."""
    return max(8, min(LONGEST_PROMPT, context, MOST_LOGITS // (4 * prompts * max(vocabulary, 1))))


class Texts(NamedTuple):
    """What the checkpoint's tokenizer made of the texts.

    Attributes:
        strings: each text with its tokens, those that open and close a text included.
        prompts: tokens of each prompt, cut to what is compared; of an encoder, the text itself stands in `sentences`.
        sentences: of an encoder, the texts whose vectors are compared.
        windows: of the perplexity, each window's tokens and which of them count.
    """

    strings: list[tuple[str, list[int]]]
    prompts: list[list[int]]
    sentences: list[str]
    windows: list[tuple[list[int], list[bool]]]

    def save(self, folder: Path) -> None:
        """Leave it for the other process."""
        (folder / "texts.json").write_text(json.dumps(self._asdict()), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Texts":
        """Read what `save` wrote."""
        whole: dict[str, Any] = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
        return cls(
            strings=[(text, tokens) for text, tokens in whole["strings"]],
            prompts=whole["prompts"],
            sentences=whole["sentences"],
            windows=[(tokens, counted) for tokens, counted in whole["windows"]],
        )


EXPECTED, FOUND, EXACT = "expected.npy", "found.npy", "exact.npy"
"""Logits after each token of the prompts (positions, vocabulary), or a vector of each sentence, float32: of the
checkpoint, of the file, and of the file that was quantised into it."""

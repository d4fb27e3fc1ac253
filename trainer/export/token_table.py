"""A vocabulary in llama.cpp's form: what both kinds of tokenizer are turned into, and how it goes into a file."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mediator.errors import ModelFileError

if TYPE_CHECKING:
    from gguf import GGUFWriter

SPACE = "\u2581"
"""SentencePiece's character for a space."""

# llama.cpp takes a token with one of these texts for the end of a text without being told.
STOPPING = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>",
    "<eos>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~[",
)  # fmt: skip
# Of these and of the former it makes control tokens, whatever the file says.
_MADE_CONTROL = (
    *STOPPING, "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>",
    "<|code_prefix|>", "<|prefix|>", "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>",
    "▁<SUF>", "<|code_suffix|>", "<|suffix|>", "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>",
    "<MID>", "▁<MID>", "<|code_middle|>", "<|middle|>", "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]",
    "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>",
)  # fmt: skip
# llama.cpp's token types.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


class UnsupportedTokenizer(ModelFileError):
    """The checkpoint's tokenizer does something that llama.cpp would do differently."""


@dataclass(frozen=True)
class Vocabulary:
    """Everything that llama.cpp needs to turn text into the token ids of the checkpoint.

    Attributes:
        model: ``gpt2`` (byte-level byte-pair encoding) or ``llama`` (SentencePiece).
        pre: llama.cpp's name of the pre-tokenizer.
        tokens: by id; as many as the embedding table has rows.
        types: llama.cpp's type of each.
        merges: of ``gpt2``, first to last, as ``left right``.
        scores: of ``llama``, by id; pairs with the highest score are merged first.
        special: ``bos``, ``eos``, ``eot``, ``eom``, ``unk`` and ``pad`` as far as the tokenizer has them -> id.
        add_bos: whether a text begins with the ``bos`` token.
        add_eos: whether it ends with the ``eos`` token.
        add_space_prefix: whether a text gets a space in front.
        normalizer: what the tokenizer does to a text first and llama.cpp does not: ``NFC``, or empty. It makes a
            difference for decomposed accents only; the file says it under ``evenhand.normalizer``, so that whoever
            hands texts to llama.cpp can compose them.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    special: Mapping[str, int] = field(default_factory=dict)
    add_bos: bool = False
    add_eos: bool = False
    add_space_prefix: bool = False
    normalizer: str = ""

    def describe(self, writer: "GGUFWriter") -> None:
        """Add the vocabulary to a file's metadata."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.model == "gpt2":
            writer.add_token_merges(self.merges)
        else:
            writer.add_token_scores(self.scores)
            writer.add_add_space_prefix(self.add_space_prefix)
        for role, token_id in self.special.items():
            getattr(writer, f"add_{role}_token_id")(token_id)
        writer.add_add_bos_token(self.add_bos)
        writer.add_add_eos_token(self.add_eos)
        if self.normalizer:
            writer.add_string("evenhand.normalizer", self.normalizer)

    def may_differ_on(self, text: str) -> str:
        """Why llama.cpp may read a text as other tokens than the checkpoint's tokenizer does; empty where it may not.

        Three things no file can tell llama.cpp. It composes no decomposed accents. Before a text, and after each mark
        in it, SentencePiece puts a space, and so does llama.cpp; tokenizers of transformers leave it out where there is
        one already, and some after marks. And some tokens are marks to llama.cpp by their text alone.
        """
        if self.normalizer and unicodedata.normalize("NFC", text) != text:
            return "it holds decomposed accents, which llama.cpp does not compose"
        if self.add_space_prefix:
            if text.startswith((" ", SPACE)):
                return "it begins with a space, and llama.cpp puts another one before it"
            if any(kind in (CONTROL, UNKNOWN) and token in text for token, kind in self._marks):
                return "it holds a mark, and llama.cpp puts a space behind it"
        if any(kind in (NORMAL, USER_DEFINED) and token in text for token, kind in self._marks):
            return "it holds a token that llama.cpp takes for a mark by its text"
        return ""

    @cached_property
    def _marks(self) -> list[tuple[str, int]]:
        """The control tokens, and those that llama.cpp takes for some."""
        pairs = zip(self.tokens, self.types, strict=True)
        return [(token, kind) for token, kind in pairs if kind in (CONTROL, UNKNOWN) or token in _MADE_CONTROL]


def check_distinct(tokens: list[str], where: Path) -> None:
    """Raise `UnsupportedTokenizer` where two ids have one text: llama.cpp dies of such a file."""
    ids: dict[str, int] = {}
    for token_id, token in enumerate(tokens):
        if ids.setdefault(token, token_id) != token_id:
            raise UnsupportedTokenizer(
                f"{where}: the tokens {ids[token]} and {token_id} are both {token!r}; llama.cpp mixes them up.",
                "Fetch the tokenizer again, or give one of them another text.",
            )

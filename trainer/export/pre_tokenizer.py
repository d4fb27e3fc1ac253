"""Which of llama.cpp's pre-tokenizers splits texts as a byte-level tokenizer does: looked up, never guessed.

A byte-level tokenizer first splits a text by regular expressions and then merges bytes inside each piece. llama.cpp has
these expressions compiled in, under the names of the models that brought them (``llama-vocab.cpp``), and some are only
approximations. Here are those that split every text alike; a test compares each with `tokenizers`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mediator.errors import ModelFileError
from trainer.export.tokenizer_files import flat_steps

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = QWEN2.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
DIGIT = r"\p{N}"
DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", DIGIT)
DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)


@dataclass(frozen=True)
class PreTokenizer:
    """One of llama.cpp's pre-tokenizers.

    Attributes:
        name: in the file, ``tokenizer.ggml.pre``.
        expressions: split by one after the other; each match and each rest becomes a piece.
        ignore_merges: whether a piece that is a token as a whole is taken without merging.
    """

    name: str
    expressions: tuple[str, ...]
    ignore_merges: bool = False


KNOWN = (
    PreTokenizer("gpt-2", (GPT2,)),
    PreTokenizer("llama-bpe", (LLAMA3,), ignore_merges=True),
    PreTokenizer("smaug-bpe", (LLAMA3,)),  # Llama 3's expression without its shortcut
    PreTokenizer("qwen2", (QWEN2,)),
    PreTokenizer("smollm", (DIGIT, GPT2)),
    PreTokenizer("qwen35", (QWEN35,)),
    PreTokenizer("deepseek-coder", DEEPSEEK_CODER),
    PreTokenizer("deepseek-v3", DEEPSEEK_V3),
)
# Their expressions leave no character out, so that keeping only the matches is the same as splitting at them.
_COVERING = (GPT2, LLAMA3, QWEN2)


class UnknownPreTokenizer(ModelFileError):
    """A byte-level tokenizer splits texts by a rule that llama.cpp does not have, or has only approximately."""


def identify(pre_tokenizer: dict[str, Any], ignore_merges: bool, where: Path) -> str:
    """Return llama.cpp's name of a pre-tokenizer.

    Args:
        pre_tokenizer: as ``tokenizer.json`` describes it.
        ignore_merges: of the tokenizer's model.
        where: that file, for the message.

    Raises:
        UnknownPreTokenizer: there is none that splits every text alike; the message shows what was found.
    """
    expressions = _expressions(pre_tokenizer)
    for known in KNOWN:
        if known.expressions == expressions and known.ignore_merges == ignore_merges:
            return known.name
    found = json.dumps(pre_tokenizer, ensure_ascii=False) if pre_tokenizer else "no pre-tokenizer"
    if len(found) > 600:
        found = found[:600] + " ..."
    shortcut = ", with ignore_merges" if ignore_merges else ""
    raise UnknownPreTokenizer(
        f"{where}: llama.cpp has no pre-tokenizer that splits texts exactly like this one: {found}{shortcut}.",
        f"Those that can be exported split like {', '.join(known.name for known in KNOWN)}.",
    )


def _expressions(pre_tokenizer: dict[str, Any]) -> tuple[str, ...] | None:
    """The regular expressions that a description stands for, or None where it is no plain list of them."""
    steps = flat_steps(pre_tokenizer, "pretokenizers")
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space", True):
        return None
    expressions = []
    for step in steps[:-1]:
        kind = step.get("type")
        if kind == "Split":
            expression = _normal((step.get("pattern") or {}).get("Regex"))
            how, inverted = step.get("behavior"), bool(step.get("invert"))
            kept_matches = how == "Removed" and inverted and expression in _COVERING
            if expression is None or not (how == "Isolated" or kept_matches):
                return None
            expressions.append(expression)
        elif kind == "Digits" and step.get("individual_digits"):
            expressions.append(DIGIT)
        else:
            return None
    if steps[-1].get("use_regex", True):
        expressions.append(GPT2)
    return tuple(expressions)


def _normal(expression: Any) -> str | None:
    """Write line ends in an expression as escapes: some files have them as they are."""
    if not isinstance(expression, str):
        return None
    return expression.replace("\r", r"\r").replace("\n", r"\n")

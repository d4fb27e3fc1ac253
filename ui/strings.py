"""The words and figures of the page, in each language: one catalogue for Gradio's components and for our own HTML.

The texts are in assets/strings/<language>/<part>.yaml: a file of each part of the page, with the same keys in each
language. A key is named ``part.name``.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from mediator.memory import gigabytes
from mediator.resources import asset

if TYPE_CHECKING:
    import gradio

LANGUAGES = ("en", "de")
"""English first: what a browser gets that asks for a language we do not have."""

_POINT = re.compile(r"(?<=\d)\.(?=\d)")


def say(language: str, key: str, **values: object) -> str:
    """Return a text of the catalogue with its ``{places}`` filled in. Plain text: escape it where it becomes HTML.

    With a value ``count``, a text may have the two forms ``key.one`` and ``key.other``.

    Raises:
        KeyError: there is no such text, or a place has no value.

    Example:
        >>> say("en", "common.proposals", count=1)
        '1 proposal'
    """
    texts = catalogue(language)
    if "count" in values and key not in texts:
        key = f"{key}.one" if values["count"] == 1 else f"{key}.other"
    return texts[key].format(**values) if values else texts[key]


def figure(language: str, value: float, digits: int = 2, *, signed: bool = False) -> str:
    """Write a number for a reader, with so many decimals: ``0.45``, in German ``0,45``. Plain text.

    Not for machines: attributes such as ``aria-valuenow``, data and CSS have points in every language.
    """
    value = round(value, digits) + 0.0  # which makes 0 of -0
    return decimal(language, f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}")


def decimal(language: str, text: str) -> str:
    """Put numbers that are written already, and the words around them, into a language's sign for decimals."""
    return _POINT.sub(",", text) if language == "de" else text


def size_words(language: str, size: float) -> str:
    """Write bytes for a reader: ``5.4 GB``, in German ``5,4 GB``."""
    return decimal(language, gigabytes(int(size)))


def catalogue(language: str) -> Mapping[str, str]:
    """Return all texts of a language by key; those of English for a language we do not have."""
    return _texts(language if language in LANGUAGES else LANGUAGES[0])


@cache
def _texts(language: str) -> Mapping[str, str]:
    texts: dict[str, str] = {}
    for path in sorted(asset("strings", language).glob("*.yaml")):
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        texts |= {f"{path.stem}.{key}": text for key, text in entries.items()}
    return texts


@cache
def translator() -> "gradio.I18n":
    """Return Gradio's translator: ``translator()("mediate.propose")`` as the label of a component."""
    import gradio as gr

    return gr.I18n(**{language: dict(catalogue(language)) for language in LANGUAGES})


def language_of(request: Any) -> str:
    """Return the language of the browser that asks (`gradio.Request`): the rule by which Gradio's components choose."""
    wanted = str(request.headers.get("accept-language", "")) if request is not None else ""
    first = wanted.split(",")[0].split(";")[0].strip().lower()
    return next((language for language in LANGUAGES if first.partition("-")[0] == language), LANGUAGES[0])

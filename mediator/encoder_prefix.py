"""The words that an encoder was trained to see before every text, such as e5's ``query: ``, and where they are said.

A sentence-transformers folder says it by its default prompt, a GGUF file under a key of its own. Where neither does,
the name decides: e5 models get ``query: ``, which their card asks for where two texts are compared as equals.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GGUF_KEY = "evenhand.encoder.prefix"


def prefix_of_name(name: str) -> str | None:
    """Return the prefix that the name of a model, a file or a folder lets expect; None where it says nothing."""
    return "query: " if re.search(r"(^|-)e5-", Path(name).name.lower()) else None


def prefix_of_prompts(prompts: object, default: object, name: str) -> str | None:
    """Return the prefix of a sentence-transformers model; None where nothing is said, empty for none.

    Args:
        prompts: its prompts by their names, ``prompts`` in config_sentence_transformers.json.
        default: the name of the one that stands before every text, ``default_prompt_name`` there; None for none.
        name: how the model is called, which counts only where no default is named.
    """
    if isinstance(prompts, Mapping) and isinstance(default, str) and isinstance(prompts.get(default), str):
        return str(prompts[default])
    return prefix_of_name(name)


def prefix_of_metadata(metadata: Mapping[str, Any], name: str) -> str | None:
    """Return the prefix of a GGUF file by its metadata, else by its name; None where nothing is said."""
    said = metadata.get(GGUF_KEY)
    return said if isinstance(said, str) else prefix_of_name(name)


def fingerprint_with(prefix: str, fingerprint: str) -> str:
    """Return the fingerprint of weights behind a prefix: it changes every vector, and so belongs to the key of a cache.

    Without a prefix it is that of the weights.
    """
    return hashlib.sha256(f"{prefix}\0{fingerprint}".encode()).hexdigest()[:16] if prefix else fingerprint

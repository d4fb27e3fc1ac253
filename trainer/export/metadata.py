"""What a GGUF file says about itself: names, licence, chat template, and the training that made the checkpoint."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from mediator.errors import ModelFileError
from mediator.writers.aligned import STORY_FILE
from trainer.export.base import Checkpoint

if TYPE_CHECKING:
    from gguf import GGUFWriter

PREFIX = "evenhand."
_CARD = "README.md"
_MORE_TEMPLATES = "additional_chat_templates"
# The words of model cards that say nothing: the licence's own name stands beside them.
_UNNAMED_LICENCES = ("other", "unknown")


@dataclass(frozen=True)
class Details:
    """What is said about a model beyond what its files say; what is empty here is taken from there.

    Attributes:
        name: for people; the checkpoint's folder by default.
        licence: SPDX identifier; by default what the front matter of the model card says.
        description: a sentence or two.
        run: how it was trained, as `STORY_FILE` holds it; its keys win over those of that file.
    """

    name: str = ""
    licence: str = ""
    description: str = ""
    run: Mapping[str, Any] | None = None


def describe(writer: "GGUFWriter", checkpoint: Checkpoint, details: Details) -> None:
    """Add names, licence, chat template and the story of the training to a file's metadata.

    The story goes under ``evenhand.*``, one key each, so that whoever opens the file finds how to ask the model: text,
    numbers and truth values as they are, everything else as JSON. Folders of the computer that trained it stay out: of
    a path only the last part is kept.

    Raises:
        ModelFileError: the story, the tokenizer's configuration or a chat template is damaged.
    """
    from gguf.utility import size_label

    card = read_front_matter(checkpoint)
    writer.add_type("model")
    writer.add_name(details.name or checkpoint.directory.resolve().name)
    weights = sum(math.prod(tensor.shape) for tensor in checkpoint.tensors.values() if tensor.is_floating)
    writer.add_size_label(size_label(weights, 0, 0, 0))
    if details.description:
        writer.add_description(details.description)
    licence = details.licence or card.get("license", "")
    named = card.get("license_name", "") if not details.licence else ""
    if licence in _UNNAMED_LICENCES and named:
        licence, named = named, ""
    if licence:
        writer.add_license(licence)
    if named:
        writer.add_license_name(named)
    template = read_chat_template(checkpoint)
    if template:
        writer.add_chat_template(template)
    for key, value in story_of(checkpoint, details).items():
        if isinstance(value, bool):
            writer.add_bool(PREFIX + key, value)
        elif isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
            writer.add_int64(PREFIX + key, value)
        elif isinstance(value, float):
            writer.add_float64(PREFIX + key, value)
        elif isinstance(value, str):
            writer.add_string(PREFIX + key, value)
        else:
            writer.add_string(PREFIX + key, json.dumps(value, ensure_ascii=False))


def story_of(checkpoint: Checkpoint, details: Details) -> dict[str, Any]:
    """How the checkpoint was trained: what its `STORY_FILE` and ``details.run`` say, without paths and empty values.

    Raises:
        ModelFileError: the file is damaged.
    """
    told = {**(checkpoint.json(STORY_FILE) if checkpoint.has(STORY_FILE) else {}), **(details.run or {})}
    settings = told.get("settings")
    if isinstance(settings, Mapping) and "demographics" in settings:
        # Whoever asks the model needs it, and reads the keys of a GGUF file one by one.
        told.setdefault("demographics", settings["demographics"])
    return {str(key): _without_folders(value) for key, value in told.items() if value is not None}


def _without_folders(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(inner) for inner in value]
    if isinstance(value, PurePath):
        value = str(value)
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            path = kind(value)
            if path.is_absolute() or value.startswith(("~", "./", "../")):
                return path.name
    return value


def read_front_matter(checkpoint: Checkpoint) -> dict[str, str]:
    """The plain texts in the front matter of the model card (``license: apache-2.0``); empty where there is no card.

    A card is prose by people: what cannot be read in it is left out and fails nothing.
    """
    import yaml

    if not checkpoint.has(_CARD):
        return {}
    text = checkpoint.path(_CARD).read_text(encoding="utf-8", errors="replace")
    if not text.startswith("---"):
        return {}
    try:
        front = yaml.safe_load(text[3:].partition("\n---")[0])
    except yaml.YAMLError:
        return {}
    if not isinstance(front, dict):
        return {}
    return {str(key): value.strip() for key, value in front.items() if isinstance(value, str)}


def read_chat_template(checkpoint: Checkpoint) -> str | list[dict[str, str]]:
    """The Jinja source of the chat template, or several with their names; empty where there is none.

    Templates in files of their own win over those in ``tokenizer_config.json``, as they do in transformers.

    Raises:
        ModelFileError: the configuration or a template is damaged.
    """
    named: dict[str, str] = {}
    if checkpoint.has("tokenizer_config.json"):
        found = checkpoint.json("tokenizer_config.json").get("chat_template")
        if isinstance(found, str):
            named["default"] = found
        elif isinstance(found, list):
            for entry in found:
                if not isinstance(entry, dict) or not all(isinstance(entry.get(k), str) for k in ("name", "template")):
                    raise ModelFileError(
                        f"{checkpoint.path('tokenizer_config.json')}: `chat_template` holds an entry that is no "
                        "template with a name.",
                        "Save the tokenizer again with save_pretrained().",
                    )
                named[entry["name"]] = entry["template"]
        elif found is not None:
            raise ModelFileError(
                f"{checkpoint.path('tokenizer_config.json')}: `chat_template` is no text.",
                "Save the tokenizer again with save_pretrained().",
            )
    files = {"default": checkpoint.path("chat_template.jinja")}
    files.update((path.stem, path) for path in sorted(checkpoint.path(_MORE_TEMPLATES).glob("*.jinja")))
    files = {name: path for name, path in files.items() if path.is_file()}
    if files:
        named = {}
    for name, path in files.items():
        try:
            named[name] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ModelFileError(f"{path} is no UTF-8 text.", "Fetch the file again.") from error
    if list(named) == ["default"]:
        return named["default"]
    return [{"name": name, "template": template} for name, template in named.items()]

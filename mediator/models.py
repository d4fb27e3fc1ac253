"""The models that can write compromises: what a `--model` option means, where the text goes, and loading one."""

import difflib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import urlsplit

from mediator.addresses import split_address
from mediator.catalogue import NO_BUNDLED_MODEL, claude_host, downloadables
from mediator.catalogue import CatalogueEntry as CatalogueEntry
from mediator.catalogue import catalogue as catalogue
from mediator.errors import EvenhandError, ModelFileError, UnknownModelError
from mediator.settings import user_path
from mediator.writers.remote import is_this_computer

if TYPE_CHECKING:
    from mediator.empathy import EmpathyModel
    from mediator.writers.aligned import Alignment
    from mediator.writers.base import LanguageModel, Writer

Kind = Literal["drafter", "bundled", "claude", "gguf", "hf", "openai"]

FORMS = "drafter, bundled, claude[:MODEL], gguf:PATH, hf:PATH_OR_ID[+ADAPTER] or openai:MODEL@URL"
"""How a model is named, for help texts and messages."""


@dataclass(frozen=True)
class ModelChoice:
    """What a `--model` option names; nothing is loaded and nothing is looked up.

    Attributes:
        kind: which writer.
        model: the name of a Claude or server model, the path of a GGUF file, the folder or hub name of a Hugging Face
            model; empty for the writer's own default.
        adapter: folder or hub name of a PEFT adapter (``hf`` only).
        url: the address of an OpenAI-compatible server (``openai`` only).
    """

    kind: Kind
    model: str = ""
    adapter: str | None = None
    url: str | None = None

    @property
    def destination(self) -> str | None:
        """Where the text of the views goes: None for "stays on this computer", else the host's name."""
        if self.kind == "claude":
            return claude_host()
        host = urlsplit(self.url).hostname if self.url else None
        return None if host is None or is_this_computer(host) else host

    def __str__(self) -> str:
        text = f"{self.kind}:{self.model}" if self.model else self.kind
        if self.adapter:
            text += f"+{self.adapter}"
        return f"{text}@{self.url}" if self.url else text


def parse_model(spec: str) -> ModelChoice:
    """Read a model's name as in the `--model` option.

    Raises:
        UnknownModelError: it does not fit one of the forms of `FORMS`.

    Example:
        >>> parse_model("openai:qwen3@http://localhost:8080/v1")
        ModelChoice(kind='openai', model='qwen3', adapter=None, url='http://localhost:8080/v1')
    """
    spec = spec.strip()
    kind, colon, rest = spec.partition(":")
    rest = rest.strip()
    if kind not in get_args(Kind):
        raise UnknownModelError(f"There is no model {spec!r}.", _hint_for(spec, kind))
    if colon and not rest:
        raise UnknownModelError(f"{spec!r} ends with the colon.", f"Write {_form_of(kind)}.")
    if kind in ("drafter", "bundled"):
        if colon:
            raise UnknownModelError(f"{kind!r} takes nothing after it, but got {rest!r}.", f"Write {kind}.")
        return ModelChoice("drafter" if kind == "drafter" else "bundled")
    if kind == "claude":
        return ModelChoice("claude", rest)
    if not rest:
        raise UnknownModelError(f"{spec!r} does not say which model.", f"Write {_form_of(kind)}.")
    if kind == "gguf":
        return ModelChoice("gguf", rest)
    if kind == "hf":
        model, adapter = _split_adapter(rest)
        return ModelChoice("hf", model, adapter)
    return _server(rest)


def load_writer(model: str | ModelChoice, scorer: "EmpathyModel") -> "Writer":
    """Make the writer that a model name stands for. The drafter searches with ``scorer``; the others do not use it.

    Raises:
        UnknownModelError: the name fits no form.
        ModelFileError: a file is missing or cannot be used; also for ``bundled``, which does not exist yet.
        MissingExtraError: the writer needs an optional install.
        WriterError: for example a missing key.
    """
    choice = parse_model(model) if isinstance(model, str) else model
    if choice.kind == "drafter":
        from mediator.writers.drafter import Drafter

        return Drafter(scorer)
    from mediator.writers.aligned import AlignedWriter
    from mediator.writers.language_model import LanguageModelWriter

    language_model = _load_language_model(choice)
    alignment: Alignment | None = getattr(language_model, "alignment", None)
    return AlignedWriter(language_model, alignment) if alignment is not None else LanguageModelWriter(language_model)


def hears_feedback(model: str | ModelChoice) -> bool:
    """Whether a writer can be told anything but the two views: False for a model that trainer/ trained.

    Quick enough to be asked while somebody types; True where nothing can be told.
    """
    try:
        choice = parse_model(model) if isinstance(model, str) else model
        if choice.kind == "gguf":
            path = user_path(model_file(choice.model))
            found = path.stat()
            return not _is_aligned_file(path, found.st_size, found.st_mtime_ns)
        if choice.kind == "hf":
            from mediator.writers.aligned import alignment_of_folder

            parts = filter(None, (choice.model, choice.adapter))
            return not any(alignment_of_folder(user_path(part)) is not None for part in parts)
    except (EvenhandError, OSError, ValueError):
        pass  # what is wrong with it is said when it is used
    return True


@lru_cache(maxsize=64)
def _is_aligned_file(path: Path, size: int, changed: int) -> bool:
    """Read a file's header once: it holds a whole vocabulary."""
    from mediator.writers.aligned import alignment_of_metadata
    from mediator.writers.gguf_file import check_gguf_file

    return alignment_of_metadata(check_gguf_file(path).metadata, str(path)) is not None


def _load_language_model(choice: ModelChoice) -> "LanguageModel":
    """Each import stands where it is used: torch and the providers' libraries are slow to import."""
    match choice.kind:
        case "claude":
            from mediator.writers.claude import ClaudeModel

            return ClaudeModel(choice.model) if choice.model else ClaudeModel()
        case "gguf":
            from mediator.writers.gguf import GGUFModel

            return GGUFModel(model_file(choice.model))
        case "hf":
            from mediator.memory import check_checkpoint
            from mediator.writers.huggingface import HuggingFaceModel

            check_checkpoint(user_path(choice.model))
            return HuggingFaceModel(choice.model, adapter=choice.adapter)
        case "openai":
            from mediator.writers.openai_compatible import OpenAICompatibleModel

            return OpenAICompatibleModel(choice.model, str(choice.url))
        case _:
            raise ModelFileError(NO_BUNDLED_MODEL, "Use drafter, or gguf:PATH with a model file of your own.")


def model_file(named: str) -> str:
    """Return the path of a GGUF file: itself, or that of the downloaded model of this name.

    Raises `ModelFileError` for a name of the catalogue that is not downloaded.
    """
    entry = next((entry for entry in downloadables() if entry.name == named), None)
    if entry is None or _exists(named):
        return named
    path = entry.path()
    if not path.is_file():
        raise ModelFileError(
            f"{entry.title} is not downloaded.",
            f"Download it in the Models tab, or with `evenhand models download {named}`.",
        )
    return str(path)


def _form_of(kind: str) -> str:
    return {
        "claude": "claude or claude:MODEL",
        "gguf": "gguf:PATH",
        "hf": "hf:PATH_OR_ID or hf:PATH_OR_ID+ADAPTER",
        "openai": "openai:MODEL@URL, for example openai:qwen3@http://localhost:8080/v1",
    }.get(kind, kind)


def _hint_for(spec: str, kind: str) -> str:
    if kind.lower() in get_args(Kind):
        return f"Write {kind.lower()} in small letters."
    if spec.lower().endswith(".gguf"):
        return f"For a model file write gguf:{spec}."
    if near := difflib.get_close_matches(kind.lower(), get_args(Kind), n=1):
        return f"Did you mean {near[0]}?"
    return f"Choose {FORMS}."


def _split_adapter(rest: str) -> tuple[str, str | None]:
    """Split at a plus sign, but not at one inside the name of a folder that is there."""
    if "+" not in rest or _exists(rest):
        return rest, None
    places = [match.start() for match in re.finditer(r"\+", rest)]
    at = next((place for place in places if _exists(rest[:place])), places[0])
    model, adapter = rest[:at].strip(), rest[at + 1 :].strip()
    if not model or not adapter:
        missing = "model before" if not model else "adapter after"
        raise UnknownModelError(f"'hf:{rest}' names no {missing} the plus sign.", f"Write {_form_of('hf')}.")
    return model, adapter


def _exists(path: str) -> bool:
    try:
        return user_path(path).exists()
    except (OSError, ValueError):
        return False


def _server(rest: str) -> ModelChoice:
    """Read ``MODEL@URL``. The address is not repeated in messages as long as it may hold a password."""
    found = re.fullmatch(r"(?P<model>.*?)@(?P<url>[a-z]+://.*)", rest, re.IGNORECASE)
    if found is None or not found["model"].strip():
        raise UnknownModelError(
            f"openai:{rest.partition('@')[0]} does not say both the model and the server's address.",
            f"Write {_form_of('openai')}.",
        )
    url = found["url"].rstrip("/")
    parts = split_address(url)
    if parts is None:
        raise UnknownModelError(
            "The server's address is not one of http:// or https://.", "Write it like http://localhost:8080/v1."
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise UnknownModelError(
            "The server's address holds more than host, port and path.", "Put a key in OPENAI_API_KEY instead."
        )
    return ModelChoice("openai", found["model"].strip(), url=url)

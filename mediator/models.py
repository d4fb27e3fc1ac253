"""The models that can write compromises: what a `--model` option means, what is installed, where the text goes."""

import difflib
import importlib.util
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from mediator.errors import ModelFileError, UnknownModelError
from mediator.resources import asset
from mediator.settings import api_key, user_path
from mediator.writers.remote import is_this_computer

if TYPE_CHECKING:
    from mediator.empathy import EmpathyModel
    from mediator.writers.base import LanguageModel, Writer

Kind = Literal["drafter", "bundled", "claude", "gguf", "hf", "openai"]

FORMS = "drafter, bundled, claude[:MODEL], gguf:PATH, hf:PATH_OR_ID[+ADAPTER] or openai:MODEL@URL"
"""How a model is named, for help texts and messages."""

NO_BUNDLED_MODEL = "No language model ships with this version of Evenhand."


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
            return _anthropic_host()
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
    from mediator.writers.language_model import LanguageModelWriter

    return LanguageModelWriter(_load_language_model(choice))


def _load_language_model(choice: ModelChoice) -> "LanguageModel":
    """Each import stands where it is used: torch and the providers' libraries are slow to import."""
    match choice.kind:
        case "claude":
            from mediator.writers.claude import ClaudeModel

            return ClaudeModel(choice.model) if choice.model else ClaudeModel()
        case "gguf":
            from mediator.writers.gguf import GGUFModel

            return GGUFModel(choice.model)
        case "hf":
            from mediator.writers.huggingface import HuggingFaceModel

            return HuggingFaceModel(choice.model, adapter=choice.adapter)
        case "openai":
            from mediator.writers.openai_compatible import OpenAICompatibleModel

            return OpenAICompatibleModel(choice.model, str(choice.url))
        case _:
            raise ModelFileError(NO_BUNDLED_MODEL, "Use drafter, or gguf:PATH with a model file of your own.")


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
    parts = _split_url(url)
    if parts is None:
        raise UnknownModelError(
            "The server's address is not one of http:// or https://.", "Write it like http://localhost:8080/v1."
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise UnknownModelError(
            "The server's address holds more than host, port and path.", "Put a key in OPENAI_API_KEY instead."
        )
    return ModelChoice("openai", found["model"].strip(), url=url)


def _split_url(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.hostname else None


@dataclass(frozen=True)
class CatalogueEntry:
    """One line of `evenhand models list`.

    Attributes:
        name: as in the `--model` option (`--encoder` for an encoder).
        kind: ``writer`` writes compromises, ``encoder`` scores them.
        about: what it is.
        installed: whether it can be used now.
        why_not: why it cannot, and what to do; empty when it can.
        size: bytes on disk; None when that is the user's own file or on a server.
        licence: SPDX identifier, or words where it is the user's own choice.
        destination: None when the text stays on this computer, else where it goes.
    """

    name: str
    kind: Literal["writer", "encoder"]
    about: str
    installed: bool
    why_not: str
    size: int | None
    licence: str
    destination: str | None


def catalogue() -> list[CatalogueEntry]:
    """What there is, the default first. Loads nothing and asks no network."""
    return [_drafter(), _bundled(), _claude(), _gguf(), _hugging_face(), _openai(), _encoder()]


def _drafter() -> CatalogueEntry:
    sizes = [path.stat().st_size for path in asset("measures").glob("*.yaml")]
    return CatalogueEntry(
        name="drafter",
        kind="writer",
        about="The default: combines hand-written measures into proposals, guided by the scorer; no language model.",
        installed=bool(sizes),
        why_not="" if sizes else "The files of measures are missing: install Evenhand again.",
        size=sum(sizes),
        licence="Apache-2.0",
        destination=None,
    )


def _bundled() -> CatalogueEntry:
    return CatalogueEntry(
        name="bundled",
        kind="writer",
        about="A small language model that ships with Evenhand.",
        installed=False,
        why_not=NO_BUNDLED_MODEL,
        size=None,
        licence="none yet",
        destination=None,
    )


def _claude() -> CatalogueEntry:
    missing = _missing("anthropic")
    why_not = f"Install it: pip install {missing}" if missing else ""
    if not missing and api_key("ANTHROPIC_API_KEY") is None:
        why_not = "Set the environment variable ANTHROPIC_API_KEY."
    return CatalogueEntry(
        name="claude[:MODEL]",
        kind="writer",
        about="A Claude model of Anthropic, over the network.",
        installed=not why_not,
        why_not=why_not,
        size=None,
        licence="Anthropic's terms of service",
        destination=_anthropic_host(),
    )


def _anthropic_host() -> str | None:
    """The host that the SDK will ask, which obeys ANTHROPIC_BASE_URL; None for this computer."""
    parts = _split_url(os.environ.get("ANTHROPIC_BASE_URL", "").strip())
    host = (parts.hostname if parts else None) or "api.anthropic.com"
    return None if is_this_computer(host) else host


def _gguf() -> CatalogueEntry:
    missing = _missing("llama_cpp")
    return CatalogueEntry(
        name="gguf:PATH",
        kind="writer",
        about="A language model in a GGUF file of your own, run by llama.cpp.",
        installed=not missing,
        why_not="Install it: pip install llama-cpp-python" if missing else "",
        size=None,
        licence="the file's own",
        destination=None,
    )


def _hugging_face() -> CatalogueEntry:
    missing = _missing("torch", "transformers", "peft")
    return CatalogueEntry(
        name="hf:PATH_OR_ID[+ADAPTER]",
        kind="writer",
        about="A Hugging Face model by folder or hub name, with a PEFT adapter if you like, run by transformers.",
        installed=not missing,
        why_not=f"{missing} is not there; install the extra: pip install 'evenhand[hf]'" if missing else "",
        size=None,
        licence="the model's own",
        destination=None,
    )


def _openai() -> CatalogueEntry:
    missing = _missing("openai")
    return CatalogueEntry(
        name="openai:MODEL@URL",
        kind="writer",
        about="Any server that speaks the OpenAI protocol: llama.cpp, vLLM, Ollama, or a provider's.",
        installed=not missing,
        why_not="Install it: pip install openai" if missing else "",
        size=None,
        licence="the model's own",
        destination="the host in URL",
    )


def _encoder() -> CatalogueEntry:
    files = sorted(asset("models").glob("empathy-*.gguf"))
    missing = _missing("llama_cpp")
    why_not = "Install it: pip install llama-cpp-python" if missing else ""
    if not files:
        why_not = "The encoder's file is missing: install Evenhand again."
    return CatalogueEntry(
        name="bundled",
        kind="encoder",
        about="The empathy encoder that scores how close a text comes to a view, run by llama.cpp.",
        installed=not why_not,
        why_not=why_not,
        size=files[0].stat().st_size if files else None,
        licence="Apache-2.0",
        destination=None,
    )


def _missing(*packages: str) -> str:
    """The first package that is not installed, or an empty string. Looks for it without importing it."""
    return next((name for name in packages if importlib.util.find_spec(name) is None), "")

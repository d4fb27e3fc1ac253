"""What there is to write and to score with: built in, on a server, to download; and what is missing for each."""

import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from mediator.addresses import claude_origin
from mediator.errors import InputError
from mediator.keys import key_for_claude
from mediator.resources import asset, read_yaml
from mediator.settings import models_folder

NO_BUNDLED_MODEL = "No language model ships with this version of Evenhand."


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


@dataclass(frozen=True)
class Downloadable:
    """A writer that can be downloaded: one GGUF file on the Hugging Face Hub.

    Attributes:
        name: short, as in ``gguf:NAME`` and `evenhand models download NAME`.
        title: for people.
        repository: ``owner/name`` on the Hub.
        file: its path in the repository; ends in ``.gguf``.
        revision: branch, tag or commit.
        licence: SPDX identifier, or the licence's name.
        licence_url: where the licence is to be read.
        size: bytes, about; the Hub says the exact number before the download.
        memory: bytes of memory needed with a context of 8192 tokens, about (`mediator.memory` says it for a file).
        recommended_from: bytes of this computer's memory from which it is a good choice.
        quality: by language, one sentence on what to expect. By its reputation: not measured by us.
        sha256: 64 hexadecimal digits to insist on; empty to take the Hub's word for it.
    """

    name: str
    title: str
    repository: str
    file: str
    revision: str
    licence: str
    licence_url: str
    size: int
    memory: int
    recommended_from: int
    quality: dict[str, str]
    sha256: str = ""

    def __post_init__(self) -> None:
        """Refuse what could name a place outside the folder of models, or another address than the Hub's."""
        path = PurePosixPath(self.file)
        fits = (
            re.fullmatch(r"[a-z0-9][a-z0-9._-]*", self.name)
            and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", self.repository, re.ASCII)
            and re.fullmatch(r"[\w-][\w.-]*", self.revision, re.ASCII)
            and all(re.fullmatch(r"[\w-][\w.-]*", part, re.ASCII) for part in self.file.split("/"))
            and path.suffix == ".gguf"
            and re.fullmatch(r"([0-9a-f]{64})?", self.sha256)
        )
        if not fits:
            raise InputError(f"The catalogue's model {self.name!r} names no file of the Hub.", "Correct its entry.")

    @property
    def file_name(self) -> str:
        """The file's name on this computer: the last part of its path on the Hub."""
        return PurePosixPath(self.file).name

    def path(self, folder: Path | None = None) -> Path:
        """Where the file lies, or would lie, once it is downloaded."""
        return (folder or models_folder()) / self.file_name

    def said(self, language: str) -> str:
        """The sentence on its quality; in English for a language that it is not written in."""
        return self.quality.get(language) or self.quality["en"]


@cache
def downloadables() -> tuple[Downloadable, ...]:
    """Return what can be downloaded, the smallest first."""
    entries = read_yaml(asset("models", "catalogue.yaml"))
    return tuple(sorted((Downloadable(**entry) for entry in entries), key=lambda entry: entry.size))


def downloadable(name: str) -> Downloadable:
    """Return the entry of a name. Raises `InputError` for an unknown one."""
    found = next((entry for entry in downloadables() if entry.name == name), None)
    if found is None:
        names = ", ".join(entry.name for entry in downloadables())
        raise InputError(f"There is no model {name!r} to download.", f"Choose {names}.")
    return found


def recommended(memory: int) -> Downloadable | None:
    """Return the best choice for a computer with so many bytes of memory in all, or None: the drafter alone fits."""
    fitting = [entry for entry in downloadables() if entry.recommended_from <= memory]
    return max(fitting, key=lambda entry: entry.recommended_from, default=None)


def catalogue() -> list[CatalogueEntry]:
    """What there is, the default first. Loads nothing and asks no network."""
    return [_drafter(), _bundled(), _claude(), _gguf(), *map(_download, downloadables()), *_rest()]


def _rest() -> list[CatalogueEntry]:
    return [_hugging_face(), _openai(), _encoder()]


def _download(entry: Downloadable) -> CatalogueEntry:
    path = entry.path()
    installed = path.is_file()
    return CatalogueEntry(
        name=f"gguf:{entry.name}",
        kind="writer",
        about=f"{entry.title}. {entry.said('en')}",
        installed=installed,
        why_not="" if installed else f"Download it: evenhand models download {entry.name}",
        size=path.stat().st_size if installed else entry.size,
        licence=entry.licence,
        destination=None,
    )


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
    if not missing and key_for_claude() is None:
        why_not = "Enter a key in the Models tab, or set the environment variable ANTHROPIC_API_KEY."
    return CatalogueEntry(
        name="claude[:MODEL]",
        kind="writer",
        about="A Claude model of Anthropic, over the network.",
        installed=not why_not,
        why_not=why_not,
        size=None,
        licence="Anthropic's terms of service",
        destination=claude_host(),
    )


def claude_host() -> str | None:
    """The host that Claude's SDK will ask, which obeys ANTHROPIC_BASE_URL; None for this computer."""
    from mediator.writers.remote import is_this_computer

    host = urlsplit(claude_origin()).hostname or ""
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

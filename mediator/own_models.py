"""The models that a user added: GGUF files by path and servers by address; and all writers there are to choose from."""

import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mediator.addresses import origin, split_address
from mediator.atomic_file import write_whole
from mediator.catalogue import claude_host, downloadables
from mediator.errors import EvenhandError, UnknownModelError
from mediator.file_lock import Locked, locked
from mediator.models import ModelChoice, parse_model
from mediator.settings import data_folder, default_model, user_path

FILE_NAME = "own-models.json"
_VERSION = 1
_lock = threading.Lock()


class OwnModelsError(EvenhandError):
    """The list of the user's own models cannot be read or written."""


@dataclass(frozen=True)
class OwnModels:
    """What a user added, in that order.

    Attributes:
        files: absolute paths of GGUF files. They may have gone since.
        servers: as in the ``--model`` option: ``openai:MODEL@URL``. Never with a key.
        notice: what went wrong with the list itself, as a sentence; empty if nothing did.
    """

    files: tuple[Path, ...] = ()
    servers: tuple[str, ...] = ()
    notice: str = ""


@dataclass(frozen=True)
class WriterChoice:
    """A writer to choose.

    Attributes:
        name: as in the ``--model`` option.
        title: for people, in English.
        destination: where the text of the views goes: None for "stays on this computer", else the host's name.
        key: of the title in the catalogue of strings; empty where the title is a name that is the same everywhere.
    """

    name: str
    title: str
    destination: str | None
    key: str = ""


def writer_choices() -> list[WriterChoice]:
    """Return the writers that can be chosen now, the default first. Loads nothing and asks no network."""
    choices = [WriterChoice("drafter", "Drafter (built in, no language model)", None, "models.drafter_choice")]
    choices += [
        WriterChoice(f"gguf:{entry.path()}", entry.title, None) for entry in downloadables() if entry.path().is_file()
    ]
    try:
        own = load()
    except OwnModelsError:  # where models are added, it is said; what else there is can be chosen all the same
        own = OwnModels()
    choices += [WriterChoice(f"gguf:{path}", path.name, None) for path in own.files if path.is_file()]
    for spec in own.servers:
        choice = parse_model(spec)
        choices.append(WriterChoice(spec, server_title(choice), choice.destination))
    choices.append(WriterChoice("claude", "Claude (over the network)", claude_host(), "models.claude_choice"))
    named = default_model()
    if all(choice.name != named for choice in choices):
        choices.append(WriterChoice(named, named, _destination(named)))
    return choices


def server_title(choice: ModelChoice) -> str:
    """Name a model of a server for people: ``qwen3 (localhost:8080)``."""
    host = (origin(choice.url or "") or "").partition("://")[2]
    return f"{choice.model} ({host})"


def load() -> OwnModels:
    """Return what the user added. A damaged list is set aside, and `OwnModels.notice` says so.

    Raises `OwnModelsError` when the list cannot be read.
    """
    path = data_folder() / FILE_NAME
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return OwnModels()
    except OSError as error:
        raise OwnModelsError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    try:
        return _read(data)
    except (ValueError, TypeError, KeyError, RecursionError, EvenhandError):
        aside = path.with_name(f"{path.stem}.damaged{path.suffix}")
        with suppress(OSError):
            os.replace(path, aside)
        return OwnModels(notice=f"The list of your own models was damaged. It is kept as {aside}; add them again.")


def add_file(named: str) -> WriterChoice:
    """Check a GGUF file and add it.

    Raises:
        ModelFileError: it is missing, damaged, or cannot write.
        OwnModelsError: the list cannot be written.
    """
    from mediator.writers.gguf import check_writer_file

    path = user_path(named.strip().strip('"'))
    check_writer_file(path)
    path = path.resolve()
    _change(lambda own: OwnModels((*own.files, path), own.servers) if path not in own.files else own)
    return WriterChoice(f"gguf:{path}", path.name, None)


def add_server(model: str, url: str) -> WriterChoice:
    """Add a model of an OpenAI-compatible server. Nothing is sent. ``url`` may leave out the http:// of this computer.

    Raises:
        UnknownModelError: the address is none, or holds more than host, port and path.
        OwnModelsError: the list cannot be written.
    """
    choice = parse_model(f"openai:{model.strip()}@{_with_scheme(url.strip())}")
    spec = str(choice)
    _change(lambda own: OwnModels(own.files, (*own.servers, spec)) if spec not in own.servers else own)
    return WriterChoice(spec, server_title(choice), choice.destination)


def _with_scheme(url: str) -> str:
    """Begin an address of this computer with http://; of another one, only the user can say which scheme it has."""
    from mediator.writers.remote import is_this_computer

    if "://" in url:
        return url
    parts = split_address(f"http://{url}")
    if parts is None or not is_this_computer(parts.hostname or ""):
        raise UnknownModelError(
            "The server's address does not say whether it is http:// or https://.",
            "Write https:// before it, or http:// where the connection is not encrypted.",
        )
    return f"http://{url}"


def remove(name: str) -> bool:
    """Take a model off the list; returns whether it was on it. The file itself stays: it is the user's."""
    found = False

    def without(own: OwnModels) -> OwnModels:
        nonlocal found
        files = tuple(path for path in own.files if f"gguf:{path}" != name)
        servers = tuple(spec for spec in own.servers if spec != name)
        found = (files, servers) != (own.files, own.servers)
        return OwnModels(files, servers)

    _change(without)
    return found


def _destination(spec: str) -> str | None:
    try:
        return parse_model(spec).destination
    except EvenhandError:
        return None


def _read(data: bytes) -> OwnModels:
    content = json.loads(data)
    if content["version"] != _VERSION:
        raise ValueError("another version")
    files = tuple(Path(path) for path in content["files"])
    servers = tuple(str(parse_model(spec)) for spec in content["servers"])
    if not all(path.is_absolute() for path in files) or not all(spec.startswith("openai:") for spec in servers):
        raise ValueError("not what was written")
    return OwnModels(files, servers)


def _change(change: Callable[[OwnModels], OwnModels]) -> None:
    folder = data_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock, locked(folder / f"{FILE_NAME}.lock", wait=10.0):
            before = load()
            after = change(before)
            if after != before:
                _write(folder / FILE_NAME, after)
    except Locked as error:
        raise OwnModelsError("The list of your own models is being changed elsewhere.", "Try again.") from error
    except OSError as error:
        raise OwnModelsError(
            f"The list of your own models cannot be written: {error.strerror}.", f"Check the folder {folder}."
        ) from error


def _write(path: Path, own: OwnModels) -> None:
    """Replace the list at once: a crash leaves the old one or the new one."""
    content = {"version": _VERSION, "files": [str(file) for file in own.files], "servers": list(own.servers)}
    write_whole(path, json.dumps(content, indent=1), private=True)  # in ASCII: a path may be no valid Unicode

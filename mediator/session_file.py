"""A session as a JSON file: written whole, read back exactly, and for everything that can be wrong one sentence."""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from pydantic import ValidationError

from mediator.errors import InputError
from mediator.interruption import as_interrupted
from mediator.older_scores import judged
from mediator.session import Session

LARGEST_FILE = 20_000_000
"""Bytes of a session's file: some thousand rounds."""

VERSION = 1
"""Of the file's shape. A file says its version in the field `MARKER`."""

MARKER = "evenhand_session"

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_SHAPE = "Choose a JSON file that Evenhand exported."


class SessionFileError(InputError):
    """A file holds no session that can be read; the message names the file and, where known, the line or the field."""


def as_json(session: Session) -> str:
    """Write a session as the JSON text that `from_json` reads: every field as it is, ``evenhand_session`` first."""
    content = {MARKER: VERSION, **session.model_dump(mode="json", round_trip=True)}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def from_json(text: str, source: str) -> Session:
    """Read a session from the text of a file; ``source`` is what messages call that file.

    Nothing in it is trusted: a round that was running when it was written is interrupted, halves of surrogate pairs are
    replaced, scores of other languages say nothing (`mediator.older_scores`), and its ids are only good for telling its
    parts apart (`Store.add` gives new ones).

    Raises:
        SessionFileError: the text is larger than `LARGEST_FILE`, is no JSON, is of a newer version, or its content is
            no session.
    """
    if len(text) > LARGEST_FILE or len(text.encode("utf-8", "surrogatepass")) > LARGEST_FILE:
        raise SessionFileError(f"{source} is larger than {LARGEST_FILE // 1_000_000} MB.", _SHAPE)
    data = _parsed(text.removeprefix("\ufeff"), source)
    if not isinstance(data, Mapping) or MARKER not in data:
        raise SessionFileError(f"{source} holds no session of Evenhand.", _SHAPE)
    version = data[MARKER]
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise SessionFileError(f"{source}: {MARKER} is {_quoted(version)}, not a version.", _SHAPE)
    if version > VERSION:
        raise SessionFileError(
            f"{source} was written by a newer version of Evenhand (its sessions have version {version}).",
            "Update Evenhand, then import it again.",
        )
    try:
        session = Session.model_validate({name: value for name, value in data.items() if name != MARKER})
    except ValidationError as error:
        _raise_first(error, source)
    _check_ids(session, source)
    read = map(judged, session.rounds)
    rounds = tuple(as_interrupted(entry) if entry.state == "running" else entry for entry in read)
    return session if rounds == session.rounds else session.model_copy(update={"rounds": rounds})


def _parsed(text: str, source: str) -> object:
    if not text.strip():
        raise SessionFileError(f"{source} is empty.", _SHAPE)

    def number(written: str) -> float:
        value = float(written)
        if value - value != 0:  # infinite, or none
            raise _NoNumberError(written)
        return value

    try:
        return _whole(json.loads(text, parse_float=number, parse_constant=number))
    except json.JSONDecodeError as error:
        problem = error.msg[:1].lower() + error.msg[1:]
        raise SessionFileError(
            f"{source}, line {error.lineno}, column {error.colno}: this is not valid JSON ({problem}).", _SHAPE
        ) from error
    except RecursionError as error:
        raise SessionFileError(f"{source} is nested too deeply.", _SHAPE) from error
    except _NoNumberError as error:
        raise SessionFileError(f"{source} holds {_quoted(str(error))}, which is no number.", _SHAPE) from error
    except ValueError as error:  # Python makes no number of more than 4300 digits
        raise SessionFileError(f"{source} holds a number that is too long.", _SHAPE) from error


class _NoNumberError(Exception):
    pass


def _whole(value: Any) -> Any:
    """Replace halves of surrogate pairs, which JSON can escape and nothing can write."""
    if isinstance(value, str):
        return _HALF_CHARACTER.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_whole(name): _whole(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_whole(entry) for entry in value]
    return value


def _raise_first(error: ValidationError, source: str) -> NoReturn:
    first = error.errors(include_url=False, include_input=False)[0]
    where = _field(first["loc"])
    known = {"missing": "is missing", "extra_forbidden": "is not known"}
    problem = known.get(first["type"]) or f"is wrong ({_sentence_part(first['msg'])})"
    others = error.error_count() - 1
    more = f" {others} more {'field is' if others == 1 else 'fields are'} wrong." if others else ""
    raise SessionFileError(f"{source}: the field {where} {problem}.{more}", _SHAPE) from None


def _field(location: tuple[int | str, ...]) -> str:
    """Name a field as one would write it in a program: ``rounds[0].proposals[3].candidate.text``."""
    name = ""
    for part in location:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            name += f".{_short(part)}" if name else _short(part)
    return name or "of the session"


def _sentence_part(message: str) -> str:
    message = message.removeprefix("Value error, ").rstrip(".")
    return message[:1].lower() + message[1:]


def _check_ids(session: Session, source: str) -> None:
    seen: set[str] = set()
    for index, entry in enumerate(session.rounds):
        places = [(entry.id, f"rounds[{index}].id")]
        places += [(item.id, f"rounds[{index}].proposals[{at}].id") for at, item in enumerate(entry.proposals)]
        for identity, where in places:
            if identity in seen:
                raise SessionFileError(f"{source}: the field {where} is there a second time.", _SHAPE)
            seen.add(identity)
    known = {entry.id for entry in session.rounds}
    for index, audit in enumerate(session.audits):
        if audit.round_id is not None and audit.round_id not in known:
            raise SessionFileError(f"{source}: the field audits[{index}].round_id names no round.", _SHAPE)


def _quoted(value: object) -> str:
    return repr(_short(value)) if isinstance(value, str) else _short(repr(value))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"

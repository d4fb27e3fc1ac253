"""The fields of a dispute file: each one checked by itself, in one sentence with its line, and put into a `Dispute`."""

import difflib
from collections.abc import Mapping
from functools import cache
from typing import Any, NoReturn, cast, get_args

from pydantic import TypeAdapter

from mediator.errors import DisputeFileError
from mediator.schema import LONGEST_LABEL, Category, Dispute, Text, View

_DISPUTE_FIELDS = ("title", "category", "summary", "view_a", "view_b")
_VIEW_TEXTS = ("place", "reason", "suggestion", "text")
_VIEW_FIELDS = ("label", *_VIEW_TEXTS, "demographics")

SHAPE = "A dispute has the fields title, category, view_a and view_b."
"""What to do about a file that is no dispute at all."""

_VIEW_SHAPE = "Give it {place, reason, suggestion} or {text}."

Field = tuple[str, ...]
"""The names that lead to a field: ``("view_a", "text")``."""


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a yes/no value"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, str):
        return "text"
    if value is None:
        return "nothing"
    return f"a {type(value).__name__}"  # a date, from YAML


class FieldChecker:
    """Checks the content of one file field by field, in the order of the file, and builds the dispute."""

    def __init__(self, source: str, lines: dict[Field, int]) -> None:
        self._source = source
        self._lines = lines

    def dispute(self, data: object) -> Dispute:
        """Build the dispute. Raises `DisputeFileError` for the first field that cannot be used."""
        if not isinstance(data, Mapping):
            raise DisputeFileError(f"{self._source} holds {_kind(data)}, not a mapping.", SHAPE)
        self._known(data, (), _DISPUTE_FIELDS)
        for side in ("view_a", "view_b"):
            if side not in data:
                raise DisputeFileError(f"{self._source} has no {side}.", _VIEW_SHAPE)
        return Dispute(
            title=self._text(data.get("title"), ("title",)),
            category=self._category(data.get("category")),
            summary=self._text(data.get("summary"), ("summary",)),
            view_a=self._view(data["view_a"], ("view_a",)),
            view_b=self._view(data["view_b"], ("view_b",)),
        )

    def _category(self, value: object) -> Category:
        named = self._text(value, ("category",)).strip() or "other"
        for category in get_args(Category):
            if named == category:
                return cast("Category", category)
        self._fail(("category",), f"is {_quoted(named)}", f"Choose one of: {', '.join(get_args(Category))}.")

    def _view(self, data: object, path: Field) -> View:
        if data is None:
            self._fail(path, "is empty", _VIEW_SHAPE)
        if not isinstance(data, Mapping):
            self._fail(path, f"is {_kind(data)}, not a mapping", f"Write {path[0]}: {{text: ...}}, or name its parts.")
        self._known(data, path, _VIEW_FIELDS)
        texts = {name: self._text(data.get(name), (*path, name)) for name in _VIEW_TEXTS}
        if not any(text.strip() for text in texts.values()):
            self._fail(path, "is empty", _VIEW_SHAPE)
        if texts["text"].strip() and any(texts[name].strip() for name in ("place", "reason", "suggestion")):
            self._fail((*path, "text"), "stands beside place, reason or suggestion", "Use one form or the other.")
        demographics = self._demographics(data.get("demographics"), (*path, "demographics"))
        return View(**texts, label=self._label(data.get("label"), (*path, "label")), demographics=demographics)

    def _label(self, value: object, path: Field) -> str:
        label = _stripped().validate_python(self._text(value, path))
        if len(label) > LONGEST_LABEL:
            self._fail(path, f"has {len(label)} characters", f"Shorten it to {LONGEST_LABEL}.")
        return label

    def _demographics(self, data: object, path: Field) -> dict[str, str]:
        if data is None:
            return {}
        if not isinstance(data, Mapping):
            self._fail(path, f"is {_kind(data)}, not a mapping", "Write it like {age: 41, profession: nurse}.")
        result: dict[str, str] = {}
        for key, value in data.items():
            if not isinstance(key, str):
                self._fail(path, f"has {_kind(key)} for a name", "Put the name in quotes.")
            self._encodable(key, path)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            text = str(value) if number else self._text(value, (*path, key))
            if text.strip():
                result[key] = text
        return result

    def _text(self, value: object, path: Field) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            hint = "Write it as one text." if isinstance(value, list | Mapping) else "Put it in quotes."
            self._fail(path, f"is {_kind(value)}, not text", hint)
        self._encodable(value, path)
        return value  # the models strip it, by a rule of their own for what is space

    def _encodable(self, text: str, path: Field) -> None:
        """JSON can escape one half of a surrogate pair, which is no character and can be written nowhere."""
        if any("\ud800" <= character <= "\udfff" for character in text):
            self._fail(path, "holds half of a surrogate pair", "Remove the broken character.")

    def _known(self, data: Mapping[Any, Any], path: Field, known: tuple[str, ...]) -> None:
        for key in data:
            if key in known:
                continue
            near = difflib.get_close_matches(str(key).lower(), known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known fields: {', '.join(known)}."
            within = f" of {'.'.join(path)}" if path else ""
            self._raise_at((*path, str(key)), f"the field {_quoted(str(key))}{within} is not known.", hint)

    def _fail(self, path: Field, what: str, hint: str = "") -> NoReturn:
        self._raise_at(path, f"{'.'.join(path)} {what}.", hint)

    def _raise_at(self, path: Field, message: str, hint: str = "") -> NoReturn:
        line = next((self._lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self._lines), None)
        where = self._source if line is None else f"{self._source}, line {line}"
        raise DisputeFileError(f"{where}: {message}", hint)


@cache
def _stripped() -> TypeAdapter[str]:
    """What the models make of a text: they have a rule of their own for what is space."""
    return TypeAdapter(Text)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")

"""What can be wrong with a line of a data set, in words: the problem, and how pydantic's errors become one."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """What is wrong with a line of a data set.

    Attributes:
        line: its number, from 1; 0 for the file as a whole.
        field: which field, such as ``candidates.2.text``; empty where the line as a whole is bad.
        message: what is wrong, in a clause that follows the field's name.
    """

    line: int
    field: str
    message: str

    def __str__(self) -> str:
        field = f"`{self.field}` " if self.field else ""
        return f"line {self.line}: {field}{self.message}" if self.line else f"{field}{self.message}"


def words_of(error: Any, known: Callable[[tuple[str | int, ...]], list[str]]) -> tuple[str, str]:
    """Return the field of one of pydantic's errors, and its message in our words.

    ``known`` names the fields that may stand where a field stands that may not.
    """
    field = ".".join(str(part) for part in error["loc"])
    kind, given = error["type"], error["input"]
    if kind == "missing":
        return field, "is missing"
    if kind == "extra_forbidden":
        names = known(error["loc"])
        near = difflib.get_close_matches(str(error["loc"][-1]).lower(), names, n=1)
        return field, f"is not known; {f'did you mean {near[0]}?' if near else 'there are: ' + ', '.join(names)}"
    if kind in ("string_type", "float_type", "tuple_type", "list_type", "model_type", "dict_type"):
        wanted = {"string": "text", "float": "a number", "tuple": "a list", "list": "a list"}
        return field, f"is {kind_of(given)}, not {wanted.get(kind.removesuffix('_type'), 'an object in braces')}"
    if kind == "string_too_short":
        return field, "is empty"
    if kind in ("greater_than_equal", "less_than_equal", "finite_number"):
        return field, f"is {given}; it must lie between 0 and 1"
    message = str(error["msg"]).removeprefix("Value error, ")
    if kind in ("enum", "literal_error"):
        return field, f"is {given!r}; {message[:1].lower()}{message[1:]}"
    return field, f": {message[:1].lower()}{message[1:]}" if field else message


def broken_texts(value: object, field: str) -> Iterator[str]:
    """Yield the fields with half a surrogate pair: JSON can escape it, and no file can hold it."""
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            yield field
        return
    parts: Iterable[tuple[object, object]] = ()
    if isinstance(value, Mapping):
        parts = value.items()
        yield from (
            f"{field}.{name}".lstrip(".") for name in value if "\ud800" <= max(str(name), default="") <= "\udfff"
        )
    elif isinstance(value, list):
        parts = enumerate(value)
    for name, part in parts:
        yield from broken_texts(part, f"{field}.{name}".lstrip("."))


def kind_of(value: object) -> str:
    """Say what kind of value of JSON something is."""
    if value is None:
        return "nothing"
    for kind, name in ((bool, "a yes/no value"), (str, "text"), (list, "a list"), (dict, "an object")):
        if isinstance(value, kind):
            return name
    return "a number"

"""Data sets of disputes with candidates: one JSON object a line, every bad line named, nothing lost while writing."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError

from mediator.atomic_file import sync_folder, whole_file
from mediator.errors import EvenhandError, InputError
from mediator.json_keys import read_json_noting_repeats
from mediator.schema import Dispute, Record, Strategy, View
from mediator.settings import user_path
from trainer.dataset.problems import Problem as Problem
from trainer.dataset.problems import broken_texts, kind_of, words_of

_ROW_OF_PAIRS = frozenset({"view_a", "view_b", "empathy"})
"""The fields of a rated pair of views, the other kind of line that `read_disputes` takes."""

FilledText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class DataCandidate(Record):
    """One compromise of a data set: its text, which strategy wrote it, and its calibrated scores (0..1), if known."""

    text: FilledText
    strategy: Strategy | None = None
    score_a: Score | None = None
    score_b: Score | None = None


class Example(Dispute):
    """One line of a data set: a dispute with a name of its own and the compromises written for it."""

    id: FilledText
    candidates: tuple[DataCandidate, ...] = ()


class DatasetError(InputError):
    """A data set cannot be read, or a line of it is bad; the message names the file, the line and the field.

    Attributes:
        problems: every bad line of the file; empty where it is not about lines.
    """

    def __init__(self, message: str, hint: str = "", problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message, hint)
        self.problems = problems


class DatasetWriteError(EvenhandError):
    """A data set cannot be written: its folder is missing or closed to us, or the disk is full."""


def read_examples(path: Path | str) -> list[Example]:
    """Read a data set; ids are unique in it.

    Raises:
        DatasetError: the file cannot be read, or a line is bad. The message names file, line and field of the first
            bad line and says how many there are; `DatasetError.problems` has them all.
    """
    return _all_good(path, _lines(path, _example))


def read_disputes(path: Path | str) -> tuple[list[Example], int]:
    """Read disputes to be given candidates: lines of a data set, or rated pairs ``{view_a, view_b, empathy}``.

    A line without an ``id`` gets the one of `text_id`; a line without one that repeats the texts of an earlier line is
    left out. Candidates that are there already are kept.

    Returns:
        the disputes in the order of the file, and how many repeated lines were left out.

    Raises:
        DatasetError: as `read_examples`.
    """
    repeated = 0
    named: set[str] = set()

    def kept() -> Iterator[tuple[int, Example | list[Problem]]]:
        nonlocal repeated
        for line, found in _lines(path, _dispute):
            if isinstance(found, Example) and found.id == text_id(found):
                if found.id in named:
                    repeated += 1
                    continue
                named.add(found.id)
            yield line, found

    return _all_good(path, kept()), repeated


def problems(path: Path | str) -> list[Problem]:
    """Return everything that is wrong with a data set, line by line; nothing for a good one.

    Raises `DatasetError` when the file cannot be read at all.
    """
    return _divide(_lines(path, _example))[1]


def text_id(dispute: Dispute) -> str:
    """Return the id of a dispute that has none: 16 hexadecimal digits of a hash of its two texts."""
    texts = "\0".join((dispute.view_a.as_text(), dispute.view_b.as_text()))
    return hashlib.sha256(texts.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def line_of(example: Example) -> str:
    """Write an example as its line, without the line's end. Empty fields are left out."""
    whole: dict[str, Any] = {"id": example.id}
    whole.update({name: getattr(example, name) for name in ("title", "category", "summary")})
    whole.update({"view_a": _filled(example.view_a), "view_b": _filled(example.view_b)})
    whole["candidates"] = [candidate.model_dump(mode="json") for candidate in example.candidates]
    return json.dumps({name: value for name, value in whole.items() if value != ""}, ensure_ascii=False)


def write_examples(path: Path | str, examples: Iterable[Example]) -> None:
    """Write a whole data set at once: afterwards the file holds either all of it or what it held before.

    Raises `DatasetWriteError`.
    """
    path = user_path(path)
    try:
        with whole_file(path) as file:
            file.writelines((line_of(example) + "\n").encode("utf-8") for example in examples)
    except OSError as error:
        raise _not_written(path, error) from error


def append_example(path: Path | str, example: Example) -> None:
    """Append one line to a data set; when this returns, the line is on the disk and outlives a kill or a power cut.

    A line that could not be written whole is taken back. Raises `DatasetWriteError`.
    """
    append_lines(user_path(path), [line_of(example)])


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Append lines to a file, as `append_example` does: all of them or none, unless the power fails in between."""
    try:
        fresh = not path.exists()
        with path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            data = memoryview("".join(line + "\n" for line in lines).encode("utf-8"))
            try:
                while data:
                    data = data[file.write(data) :]
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(before)
                raise
        if fresh:
            sync_folder(path.parent)
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> DatasetWriteError:
    return DatasetWriteError(
        f"{path} cannot be written ({error.strerror or error}).", "Check its folder and the space on the disk."
    )


def _filled(view: View) -> dict[str, Any]:
    return {name: value for name, value in view.model_dump(mode="json").items() if value}


# -- reading --------------------------------------------------------------------------------------------------------


def _all_good(path: Path | str, lines: Iterator[tuple[int, Example | list[Problem]]]) -> list[Example]:
    good, bad = _divide(lines)
    if bad:
        count = len({problem.line for problem in bad})
        more = f" {count - 1} more {'line is' if count == 2 else 'lines are'} bad." if count > 1 else ""
        raise DatasetError(
            f"{path}, {bad[0]}.{more}", f"`evenhand dataset validate {path}` lists every bad line.", tuple(bad)
        )
    if not good:
        raise DatasetError(f"{path} holds no dispute.", "Write one JSON object a line, with id, view_a and view_b.")
    return good


def _divide(lines: Iterator[tuple[int, Example | list[Problem]]]) -> tuple[list[Example], list[Problem]]:
    good: list[Example] = []
    bad: list[Problem] = []
    line_of_id: dict[str, int] = {}
    for line, found in lines:
        if isinstance(found, list):
            bad += found
        elif found.id in line_of_id:
            bad.append(Problem(line, "id", f"is {found.id!r}, as on line {line_of_id[found.id]}; ids are unique"))
        else:
            line_of_id[found.id] = line
            good.append(found)
    return good, bad


def _lines(path: Path | str, make: Any) -> Iterator[tuple[int, Example | list[Problem]]]:
    """Yield each line's number, from 1, with what ``make`` made of it or what is wrong with it. Empty lines count not.

    Raises `DatasetError` when the file cannot be read.
    """
    path = user_path(path)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _line(number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, make)
    except FileNotFoundError as error:
        raise DatasetError(f"There is no file {path}.", "Name a JSONL file: one dispute a line.") from error
    except IsADirectoryError as error:
        raise DatasetError(f"{path} is a folder.", "Name the JSONL file in it.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name cannot be one of a file"
        raise DatasetError(f"{str(path)!r} cannot be read ({reason}).", "Name a JSONL file.") from error


def _line(number: int, line: bytes, make: Any) -> Example | list[Problem]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return [Problem(number, "", f"byte {error.start + 1} (0x{line[error.start]:02x}) is not UTF-8 text")]
    try:
        value, twice = read_json_noting_repeats(text)
    except json.JSONDecodeError as error:
        return [
            Problem(number, "", f"is not valid JSON at column {error.colno} ({error.msg[:1].lower()}{error.msg[1:]})")
        ]
    except (RecursionError, ValueError):
        return [Problem(number, "", "is not JSON of a dispute: it is nested too deeply, or a number is too long")]
    if not isinstance(value, dict):
        return [Problem(number, "", f"is {kind_of(value)}, not an object in braces")]
    if twice:
        return [Problem(number, name, "is there a second time") for name in dict.fromkeys(twice)]
    if broken := list(broken_texts(value, "")):
        return [Problem(number, field, "holds half of a surrogate pair, which is no character") for field in broken]
    try:
        made: Example = make(value)
    except ValidationError as error:
        return [Problem(number, *words_of(one, _known)) for one in error.errors(include_url=False)]
    return made


def _example(value: dict[str, Any]) -> Example:
    return Example.model_validate(value)


def _dispute(value: dict[str, Any]) -> Example:
    """Make an example of a line that may lack the id, or be a rated pair."""
    given = {name: part for name, part in value.items() if name != "empathy" or value.keys() != _ROW_OF_PAIRS}
    if "id" in given:
        return Example.model_validate(given)
    unnamed = Example.model_validate({**given, "id": "-"})
    return unnamed.model_copy(update={"id": text_id(unnamed)})


def _known(place: tuple[str | int, ...]) -> list[str]:
    shape: type[Record] = Example
    if len(place) > 1:
        shape = DataCandidate if place[0] == "candidates" else View
    return list(shape.model_fields)

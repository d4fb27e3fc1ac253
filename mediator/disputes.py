"""Dispute files: YAML or JSON in, a `Dispute` out, and for everything that can be wrong one clear sentence."""

import codecs
import difflib
import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import yaml

from mediator.dispute_fields import SHAPE, Field, FieldChecker
from mediator.errors import DisputeFileError
from mediator.json_keys import read_json_noting_repeats
from mediator.resources import asset
from mediator.schema import Dispute, View
from mediator.settings import user_path

LARGEST_FILE = 1_000_000
"""Bytes of a dispute file. Two views fit many times over; more is some other kind of file."""

# libyaml reads a file of the largest size in a tenth of a second; the pure Python parser takes many seconds.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_LONG_LINE = 80
"""Characters from which a text is set on lines of its own in a file we write."""

_OTHER_LINE_ENDS = re.compile("[\r\x85\u2028\u2029\ufeff]")  # YAML turns them into plain ones, or drops them

_DEEPEST = 20
"""Levels of nesting at which reading ends; a dispute has three."""


def read_dispute(source: str | Path) -> Dispute:
    """Read a dispute from a file, from a bundled example by its name (see `example_names`), or from stdin (``-``).

    A file of the same name goes before an example.

    Raises:
        DisputeFileError: it cannot be read or is no dispute; the message names the file, the line and the field.
    """
    if str(source) == "-":
        return parse_dispute(_read_stdin(), "standard input")
    path = user_path(source)
    if str(source) in example_names() and not _is_a_file(path):
        return example(str(source))
    return parse_dispute(_read(path), str(source))


def example_names() -> tuple[str, ...]:
    """The names of the bundled example disputes, in alphabetical order."""
    return tuple(sorted(path.stem for path in asset("disputes").glob("*.yaml")))


def example(name: str) -> Dispute:
    """Read a bundled example. Raises `DisputeFileError` for a name that is not one of `example_names`."""
    if name not in example_names():
        raise DisputeFileError(f"There is no bundled example {name!r}.", _example_hint(name))
    path = asset("disputes", f"{name}.yaml")
    return parse_dispute(_read(path), path.name)


def examples() -> dict[str, Dispute]:
    """All bundled example disputes by name, in alphabetical order."""
    return {name: example(name) for name in example_names()}


def parse_dispute(content: bytes | str, source: str) -> Dispute:
    """Make a dispute of the content of a file; ``source`` is what messages call that file.

    YAML (one document) or JSON; bytes are UTF-8, or UTF-16 with a byte order mark. A field left blank counts as absent,
    and numbers under ``demographics`` count as text.

    Raises:
        DisputeFileError: as `read_dispute`.
    """
    text = _decode(content, source) if isinstance(content, bytes) else content
    if not text.strip():
        raise DisputeFileError(f"{source} is empty.", SHAPE)
    data, lines = _parse(text, source)
    return FieldChecker(source, lines).dispute(data)


def dispute_as_yaml(dispute: Dispute) -> str:
    """Write a dispute as the YAML of a dispute file: `parse_dispute` reads exactly the same dispute from it.

    Fields that are empty are left out, and so are demographics without a value. Texts of several lines stand on lines
    of their own, so that the file can be read and edited by hand.
    """
    everything = {
        "title": dispute.title,
        "category": dispute.category,
        "summary": dispute.summary,
        "view_a": _view_as_mapping(dispute.view_a),
        "view_b": _view_as_mapping(dispute.view_b),
    }
    filled = {name: value for name, value in everything.items() if value}
    text: str = yaml.dump(filled, Dumper=_writer(), allow_unicode=True, sort_keys=False, width=100)
    return text


def _view_as_mapping(view: View) -> dict[str, Any]:
    texts = {name: getattr(view, name) for name in ("label", "place", "reason", "suggestion", "text")}
    about = {key: value for key, value in view.demographics.items() if value.strip()}
    return {name: value for name, value in (*texts.items(), ("demographics", about)) if value}


@cache
def _writer() -> type[yaml.SafeDumper]:
    """A dumper that sets long texts and texts of several lines below their field."""

    class Writer(yaml.SafeDumper):
        """PyYAML falls back to quotes by itself for what cannot stand in a block."""

    def represent(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        block = "|" if "\n" in value else ">" if len(value) > _LONG_LINE else None
        style = '"' if _OTHER_LINE_ENDS.search(value) else block
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Writer.add_representer(str, represent)
    return Writer


def _is_a_file(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):
        return False


def _read(path: Path) -> bytes:
    """Read a file, or whatever can be read like one (a pipe), up to the largest size."""
    try:
        if path.is_dir():
            raise DisputeFileError(f"{path} is a folder.", "Name the dispute file in it.")
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError as error:
        raise DisputeFileError(f"There is no file {path}.", _example_hint(str(path))) from error
    except PermissionError as error:
        raise DisputeFileError(f"{path} may not be read by you.", "Change its permissions, or copy it.") from error
    except OSError as error:
        raise DisputeFileError(f"{path} cannot be read: {error.strerror or 'input/output error'}.") from error
    except ValueError as error:  # a NUL in the name
        raise DisputeFileError(f"{str(path)!r} cannot be the name of a file.", _example_hint("")) from error
    return _limited(content, str(path))


def _read_stdin() -> bytes:
    return _limited(sys.stdin.buffer.read(LARGEST_FILE + 1), "Standard input")


def _limited(content: bytes, source: str) -> bytes:
    if len(content) > LARGEST_FILE:
        raise DisputeFileError(
            f"{source} is larger than {LARGEST_FILE // 1_000_000} MB.", "A dispute file holds two short views."
        )
    return content


def _example_hint(name: str) -> str:
    if near := difflib.get_close_matches(name, example_names(), n=1):
        return f"Did you mean the bundled example {near[0]}?"
    return f"Bundled examples: {', '.join(example_names())}."


def _decode(content: bytes, source: str) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding, name = "utf-16", "UTF-16"
    else:
        encoding, name = "utf-8-sig", "UTF-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DisputeFileError(
            f"{source}, line {line}: byte 0x{content[error.start]:02x} is not {name} text.",
            "Save the file with the encoding UTF-8.",
        ) from error
    if "\0" in text:
        raise DisputeFileError(f"{source} is not a text file.", "A dispute file is YAML or JSON.")
    return text


def _parse(text: str, source: str) -> tuple[object, dict[Field, int]]:
    """Return the content and the line of each field. A file that starts like JSON is read as JSON."""
    if Path(source).suffix.lower() == ".json" or text.lstrip().startswith(("{", "[")):
        try:
            return _parse_json(text, source)
        except json.JSONDecodeError as error:
            # A flow mapping such as {view_a: ...} also starts like JSON, and is YAML.
            if Path(source).suffix.lower() == ".json" or _looks_like_json(text):
                raise _json_problem(error, source) from error
    return _parse_yaml(text, source)


def _looks_like_json(text: str) -> bool:
    return re.match(r'\s*(?:\{\s*(?:"|\})|\[)', text) is not None


def _json_problem(error: json.JSONDecodeError, source: str) -> DisputeFileError:
    if error.msg == "Extra data":
        return DisputeFileError(
            f"{source}, line {error.lineno}: something follows the dispute.", "A dispute file holds one dispute."
        )
    return DisputeFileError(
        f"{source}, line {error.lineno}, column {error.colno}: this is not valid JSON ({_lower_first(error.msg)})."
    )


def _parse_json(text: str, source: str) -> tuple[object, dict[Field, int]]:
    try:
        data, repeated = read_json_noting_repeats(text)
    except RecursionError as error:
        raise _too_deep(source) from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # Python makes no number of more than 4300 digits
        raise DisputeFileError(f"{source} holds a number that is too long.", "Put it in quotes.") from error
    # JSON is nearly YAML, whose parser knows the lines. A tab can only stand between JSON's tokens.
    lines: dict[Field, int] = {}
    try:
        spaced = text.replace("\t", " ")
        _check_depth(spaced, source)
        lines = _lines(yaml.compose(spaced, Loader=_Loader), source)
    except yaml.YAMLError:
        pass
    if repeated:
        _raise_repeated(source, repeated[0], None)
    return data, lines


def _parse_yaml(text: str, source: str) -> tuple[object, dict[Field, int]]:
    try:
        _check_depth(text, source)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise DisputeFileError(f"{source} is empty.", SHAPE)
            lines = _lines(node, source)
            return loader.construct_document(node), lines
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _yaml_problem(error, text, source) from error
    except RecursionError as error:
        raise _too_deep(source) from error
    except ValueError as error:  # such as a date that does not exist, 2024-13-45, or a number of 5000 digits
        raise DisputeFileError(
            f"{source}: a value looks like a date or a number but is none.", "Put it in quotes."
        ) from error


def _check_depth(text: str, source: str) -> None:
    """Raise for absurd nesting before libyaml's composer, which calls itself for each level, runs out of stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise _too_deep(source)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _too_deep(source: str) -> DisputeFileError:
    return DisputeFileError(f"{source} is nested too deeply.", SHAPE)


def _yaml_problem(error: yaml.YAMLError, text: str, source: str) -> DisputeFileError:
    if isinstance(error, yaml.reader.ReaderError):
        found = re.search(r"[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
        if found:
            line = text.count("\n", 0, found.start()) + 1
            return DisputeFileError(
                f"{source}, line {line}: YAML does not allow the character U+{ord(found.group()):04X}.", "Remove it."
            )
        return DisputeFileError(f"{source}: YAML does not allow one of its characters.", "Remove it.")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = str(getattr(error, "problem", None) or "it cannot be read")
    if mark is None:
        return DisputeFileError(f"{source} is not valid YAML ({problem}).")
    where = f"{source}, line {mark.line + 1}"
    context = str(getattr(error, "context", "") or "")
    if "single document" in context:
        return DisputeFileError(f"{where}: a second document starts.", "A dispute file holds one dispute.")
    here = [*text.split("\n"), ""][mark.line]
    if "\t" in here[: mark.column + 1].partition("#")[0] or "'\\t'" in problem:
        return DisputeFileError(f"{where}: a tab is used to indent.", "YAML wants spaces.")
    if "mapping values are not allowed" in problem:
        return DisputeFileError(
            f"{where}: a colon inside a text, or a wrong indentation.",
            "Put a text that holds a colon in quotes, or after `>-` on lines of its own.",
        )
    if "unhashable" in problem:
        return DisputeFileError(f"{where}: a list or a mapping stands where the name of a field belongs.", SHAPE)
    if isinstance(error, yaml.constructor.ConstructorError):
        return DisputeFileError(f"{where}: YAML tags are not allowed here.", "Write plain text.")
    return DisputeFileError(f"{where}, column {mark.column + 1}: this is not valid YAML ({problem}).")


def _lines(root: yaml.Node | None, source: str) -> dict[Field, int]:
    """Return the line, from 1, of each field down to those of a view. Raises for a field that stands there twice."""
    found: dict[Field, int] = {}

    def visit(node: yaml.Node | None, path: Field) -> None:
        if not isinstance(node, yaml.MappingNode) or len(path) > 2:
            return
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name = str(key.value)
            if (*path, name) in found:
                _raise_repeated(source, name, key.start_mark.line + 1)
            found[*path, name] = key.start_mark.line + 1
            visit(value, (*path, name))

    visit(root, ())
    return found


def _raise_repeated(source: str, field: str, line: int | None) -> NoReturn:
    where = source if line is None else f"{source}, line {line}"
    raise DisputeFileError(f"{where}: the field {field!r} is there a second time.", "Keep one of the two.")


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]

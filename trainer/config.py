"""Settings of a recipe: read from a file, changed by ``key=value``, checked, with a sentence for what does not fit."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from mediator.errors import InputError
from mediator.schema import Record

Settings = TypeVar("Settings", bound=Record)

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class ConfigError(InputError):
    """A setting of a recipe is unknown, has the wrong kind of value, or does not go with another."""


def checked_settings(kind: type[Settings], recipe: str, values: dict[str, Any], source: str) -> Settings:
    """Return settings of a class, checked.

    Args:
        kind: the class.
        recipe: its name, for the message.
        values: the settings that differ from the defaults.
        source: where they come from, for the message: a file's name.

    Raises:
        ConfigError: a setting is unknown, or a value does not fit; the message names the first of them.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(kind.model_fields)
            raise ConfigError(f"{source}: {recipe} has no setting {name!r}.", f"It has: {known}.") from error
        text = str(first["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"{source}: {f'`{name}`: ' if name else ''}{text}.") from error


def load_settings(kind: type[Settings], recipe: str, path: Path | None, changes: list[str] | None = None) -> Settings:
    """Read settings from a YAML or JSON file, then apply ``key=value`` changes.

    Args:
        kind: the class of the settings.
        recipe: its name, for the message.
        path: the file; None for the defaults.
        changes: settings as the command line gives them, ``epochs=2``; the value is read as YAML, and of a setting that
            is text, what YAML takes for something else (nothing, a number) is the text as it stands.

    Raises:
        ConfigError: the file cannot be read, or a setting does not fit.
    """
    import yaml

    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror or error}.", "Check its name.") from error
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            where = getattr(error, "problem_mark", None)
            line = f", line {where.line + 1}" if where else ""
            raise ConfigError(f"{path}{line}: not valid YAML.", "A setting is a line such as `epochs: 2`.") from error
        if not isinstance(loaded or {}, dict):
            raise ConfigError(f"{path} holds no settings.", "A setting is a line such as `epochs: 2`.")
        values = dict(loaded or {})
    for change in changes or []:
        name, sign, text = change.partition("=")
        if not sign or not name.strip():
            raise ConfigError(f"--set {change!r} is not a setting.", "Write it as --set epochs=2.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {change!r}: the value cannot be read.", "Write it as --set epochs=2.") from error
        if _is_text(kind, name.strip()) and not isinstance(value, str):
            value = text if text.strip() else ""
        values[name.strip()] = value
    source = str(path) if path else "--set" if changes else "the defaults"
    return checked_settings(kind, recipe, _as_meant(kind, values), source)


def _is_text(kind: type[Record], name: str) -> bool:
    return name in kind.model_fields and kind.model_fields[name].annotation is str


def _as_meant(kind: type[Record], values: dict[str, Any]) -> dict[str, Any]:
    """YAML 1.1 reads 3e-5 as text; it is a number to everybody else. A text left empty is the empty text."""
    fields = kind.model_fields
    found = dict(values)
    for name, value in values.items():
        if value is None and _is_text(kind, name):
            found[name] = ""
        if isinstance(value, str) and name in fields and fields[name].annotation is float:
            try:
                found[name] = float(value)
            except ValueError:
                continue
    return found

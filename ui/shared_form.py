"""One form in several windows: what each of them changed since it last saw the form, put together field by field."""

from typing import TypeVar

from mediator.schema import Record
from mediator.session import Form, SideForm

_SIDES = ("side_a", "side_b")

Kind = TypeVar("Kind", Form, SideForm)


def merged(mine: Form, known: Form, stored: Form) -> Form:
    """Return what is to be kept when a window saves its form.

    Args:
        mine: what the window shows.
        known: what it showed when it last took part: what it did not change since is not its own word.
        stored: what is kept now, with the changes of other windows. Where both changed a field, ``mine`` holds.
    """
    sides = {name: _merged(getattr(mine, name), getattr(known, name), getattr(stored, name)) for name in _SIDES}
    return _merged(mine, known, stored).model_copy(update=sides)


def differences(one: Form, other: Form) -> set[tuple[str, str]]:
    """Return the fields in which two forms differ, as (``side_a``, ``side_b`` or empty, name of the field)."""
    found = {("", name) for name in _differing(one, other) if name not in _SIDES}
    return found | {(side, name) for side in _SIDES for name in _differing(getattr(one, side), getattr(other, side))}


def _differing(one: Record, other: Record) -> list[str]:
    return [name for name in type(one).model_fields if getattr(one, name) != getattr(other, name)]


def _merged(mine: Kind, known: Kind, stored: Kind) -> Kind:
    return stored.model_copy(update={name: getattr(mine, name) for name in _differing(mine, known)})

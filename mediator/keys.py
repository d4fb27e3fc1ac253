"""Keys of providers: from the environment, for this session only, or in the system's keyring; never in a file of ours.

A key belongs to an origin (``https://api.example.org``) and is handed out for that origin alone. Only the keys of the
environment go further, as the providers' own programs let them: ANTHROPIC_API_KEY to wherever Claude is asked, and
OPENAI_API_KEY to a server that has no key of its own.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from mediator.addresses import ANTHROPIC, claude_origin, origin
from mediator.errors import InputError

Value = TypeVar("Value")
KeyVariable = Literal["ANTHROPIC_API_KEY", "OPENAI_API_KEY"]
KEY_VARIABLES: tuple[KeyVariable, ...] = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY")
Place = Literal["environment", "session", "keyring"]
"""Where a key is kept: an environment variable, the memory of this process, or the system's keyring."""

SERVICE = "evenhand"
"""The name under which keys stand in the system's keyring; the user's name there is the origin."""

_SHORTEST, _LONGEST = 8, 4096  # characters of a key
_PATIENCE = 30.0  # seconds for a keyring that may be asking its owner for a password


class UnusableKey(InputError):
    """What was entered cannot be a key."""


class Key:
    """A key that does not show itself: not in a log, not in a traceback, not on the screen."""

    __slots__ = ("_text", "place")

    def __init__(self, text: str, place: Place) -> None:
        self._text = text
        self.place: Place = place

    def reveal(self) -> str:
        """Return the key itself: for the request that needs it and nothing else."""
        return self._text

    @property
    def tail(self) -> str:
        """The last four characters, by which its owner knows it; empty for a key too short to spare them."""
        return self._text[-4:] if len(self._text) >= 2 * _SHORTEST else ""

    def __repr__(self) -> str:
        return f"Key(…{self.tail}, {self.place})"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        raise TypeError("a key is not to be copied into a file")


@dataclass(frozen=True)
class KeySource:
    """Where the key of an origin comes from, without the key.

    Attributes:
        place: see `Place`.
        tail: the last four characters, or empty.
        variable: the environment variable, if it is there.
    """

    place: Place
    tail: str
    variable: KeyVariable | None = None


@dataclass(frozen=True)
class Kept:
    """What became of a key that was entered.

    Attributes:
        place: ``keyring`` or ``session``.
        why_session: why it is kept until Evenhand ends only, as a sentence; empty where that was asked for.
    """

    place: Place
    why_session: str = ""


_lock = threading.Lock()
_session: dict[str, Key] = {}
_from_keyring: dict[str, Key | None] = {}  # what the keyring answered: it may ask its owner each time


def from_environment(variable: KeyVariable) -> str | None:
    """Return a provider's key from the environment, or None. It is kept nowhere: never log, show or write it."""
    return os.environ.get(variable, "").strip() or None


def key_for_claude(url: str = "") -> Key | None:
    """Return the key for Claude: of the environment, of this session, or of the system's keyring.

    ``url`` is where Claude is asked; by default ANTHROPIC_BASE_URL or Anthropic's own API.
    """
    named = from_environment("ANTHROPIC_API_KEY")
    return Key(named, "environment") if named else _own_key(origin(url) or claude_origin())


def key_for_server(url: str) -> Key | None:
    """Return the key for an OpenAI-compatible server: its own, else OPENAI_API_KEY.

    Its own comes first, because the one of the environment is for some provider and this one was entered for this
    address. OPENAI_API_KEY goes to this computer or over https only.
    """
    where = origin(url)
    if where is None:
        return None
    if own := _own_key(where):
        return own
    named = from_environment("OPENAI_API_KEY")
    if named is None or (where.startswith("http://") and not _this_computer(where)):
        return None
    return Key(named, "environment")


def keep(where: str, text: str, in_keyring: bool) -> Kept:
    """Keep a key that was entered, in place of an earlier one for the same origin.

    Args:
        where: ``anthropic``, or an address of the server that it is for.
        text: the key.
        in_keyring: whether to keep it in the system's keyring; else it is forgotten when this process ends.

    Raises:
        UnusableKey: it is empty, too short, or holds what no key holds.
        InputError: ``where`` is no address.
    """
    place, text = _place_of(where), text.strip()
    if not text:
        raise UnusableKey("The key is empty.", "Paste the key that the provider gave you.")
    if not _SHORTEST <= len(text) <= _LONGEST or not text.isascii() or not text.isprintable() or " " in text:
        raise UnusableKey(
            "This cannot be a key.", f"A key is {_SHORTEST} or more letters, digits and signs without blanks."
        )
    why = ""
    if in_keyring:
        why = _write_to_keyring(place, text)
        if not why:
            with _lock:
                _session.pop(place, None)
                _from_keyring[place] = Key(text, "keyring")
            return Kept("keyring")
    with _lock:
        _session[place] = Key(text, "session")
    return Kept("session", why)


def forget(where: str) -> bool:
    """Forget the key of an origin, here and in the system's keyring; returns whether there was one.

    A key of the environment stays: it is not ours to take away.
    """
    place = _place_of(where)
    with _lock:
        found = _session.pop(place, None) is not None
        found = _from_keyring.pop(place, None) is not None or found
    return _delete_from_keyring(place) or found


def where_from(where: str) -> KeySource | None:
    """Say where the key comes from that would be used for ``anthropic`` or a server's address; None: there is none."""
    key = key_for_claude() if _place_of(where) == claude_origin() else key_for_server(where)
    if key is None:
        return None
    variable: KeyVariable = "ANTHROPIC_API_KEY" if _place_of(where) == claude_origin() else "OPENAI_API_KEY"
    return KeySource(key.place, key.tail, variable if key.place == "environment" else None)


def without_keys(text: str) -> str:
    """Return the text with every key that this process knows struck out: for all that is logged or shown."""
    for variable in KEY_VARIABLES:
        if named := from_environment(variable):
            text = text.replace(named, f"[{variable}]")
    with _lock:
        known = [key for key in (*_session.values(), *_from_keyring.values()) if key is not None]
    for key in known:
        text = text.replace(key.reveal(), "[key]")
    return text


def _place_of(where: str) -> str:
    place = claude_origin() if where in ("anthropic", ANTHROPIC) else origin(where)
    if place is None:
        raise InputError("A key needs the address of its server.", "Write it like https://api.example.org/v1.")
    return place


def _own_key(place: str) -> Key | None:
    with _lock:
        if place in _session:
            return _session[place]
        if place in _from_keyring:
            return _from_keyring[place]
    backend = _keyring()
    text = None if backend is None else _patiently(lambda: backend.get_password(SERVICE, place))
    key = Key(text, "keyring") if isinstance(text, str) and text else None
    with _lock:
        return _from_keyring.setdefault(place, key)


def _write_to_keyring(place: str, text: str) -> str:
    """Return an empty string, or why it is not kept there."""
    backend = _keyring()
    if backend is None:
        return "There is no system keyring here: the key is kept until Evenhand ends."

    def write() -> bool:
        backend.set_password(SERVICE, place, text)
        return bool(backend.get_password(SERVICE, place) == text)

    if _patiently(write):
        return ""
    return "The system keyring did not take the key: it is kept until Evenhand ends."


def _delete_from_keyring(place: str) -> bool:
    backend = _keyring()
    if backend is None or not _patiently(lambda: backend.get_password(SERVICE, place)):
        return False

    def delete() -> bool:
        backend.delete_password(SERVICE, place)
        return True

    return bool(_patiently(delete))


def _keyring() -> Any:
    """Return a keyring of the system, or None. Imported here: it looks for its backends for a while."""
    try:
        import keyring
        from keyring.backends import chainer
    except ImportError:
        return None
    backend = _patiently(keyring.get_keyring)
    several = list(backend.backends) if isinstance(backend, chainer.ChainerBackend) else [backend]
    return next((one for one in several if one is not None and _is_real(one)), None)


def _is_real(backend: Any) -> bool:
    """Whether a backend keeps secrets as the system does: nothing that fails, forgets, or writes a file of its own."""
    names = [f"{kind.__module__}.{kind.__qualname__}".lower() for kind in type(backend).__mro__]
    refused = ("keyring.backends.fail.", "keyring.backends.null.", "keyrings.", "keyring.backends.chainer.")
    if any(name.startswith(refused) or "plaintext" in name for name in names):
        return False
    if getattr(backend, "file_path", None) or getattr(backend, "filename", None):
        return False
    try:
        return float(backend.priority) > 0
    except Exception:  # noqa: BLE001 - a backend raises whatever it likes where it cannot work
        return False


def _patiently(ask: Callable[[], Value]) -> Value | None:
    """Return what the keyring answers; None when it fails or takes too long. Its errors may quote what was given."""
    answers: list[Value] = []

    def work() -> None:
        try:
            answers.append(ask())
        except Exception:  # noqa: BLE001 - see above: neither shown nor logged
            return

    thread = threading.Thread(target=work, name="keyring", daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return answers[0] if answers else None


def _this_computer(where: str) -> bool:
    from mediator.writers.remote import is_this_computer  # asyncio, which the log does not need

    host = where.partition("://")[2]
    return is_this_computer(host if host.endswith("]") else host.rpartition(":")[0] or host)

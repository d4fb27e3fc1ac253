"""Where the app listens: an address and a port of this computer, and whether other computers can reach it there."""

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass

from mediator.errors import InputError
from ui.http_guard import host_name

FIRST_PORT, PORTS = 7860, 100
"""Tried in turn when no port is named."""


@dataclass(frozen=True)
class Place:
    """An address to listen at. ``name`` is how the user wrote it."""

    name: str
    address: str

    @property
    def loopback(self) -> bool:
        """Whether only this computer reaches it."""
        return ipaddress.ip_address(self.address).is_loopback

    @property
    def everywhere(self) -> bool:
        """Whether it stands for all addresses of this computer."""
        return ipaddress.ip_address(self.address).is_unspecified

    def url(self, port: int, encrypted: bool) -> str:
        """Return the address of the page as this computer opens it."""
        host = self.name
        if self.everywhere:
            host = "127.0.0.1" if "." in self.address else "::1"
        elif host.lower() == "localhost":
            host = self.address
        return f"http{'s' if encrypted else ''}://{f'[{host}]' if ':' in host else host}:{port}/"


def find_place(host: str) -> Place:
    """Return where a host given by a user is: an address, ``localhost``, or a name of this computer.

    Raises:
        InputError: it is no address, or a name that is not known.
    """
    name = host.strip()
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    if name.lower() == "localhost":
        return Place(name, "127.0.0.1")
    try:
        return Place(name, str(ipaddress.ip_address(name)))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM) if name else []
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise InputError(f"Evenhand cannot be served at {host!r}: no computer is known by it.", "Use 127.0.0.1.")
    return Place(name, str(found[0][4][0]))


def listen(place: Place, port: int | None) -> socket.socket:
    """Open the socket that the app listens with; ``port`` is 1..65535, None for the first free one.

    Raises:
        InputError: the port is none, is taken or not allowed, or the address is not one of this computer.
    """
    if port is not None and not 1 <= port <= 65535:
        raise InputError(f"{port} is no port.", "Choose one from 1 to 65535.")
    for number in [port] if port is not None else range(FIRST_PORT, FIRST_PORT + PORTS):
        try:
            return _bound(place.address, number)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port is None:
                continue
            raise _refused(place, number, error) from error
    raise InputError(f"The ports from {FIRST_PORT} on are all taken.", "Choose another one with --port.")


def _bound(address: str, port: int) -> socket.socket:
    six = ":" in address
    # With its protocol named: only then does asyncio send small answers at once (TCP_NODELAY), not 40 ms later.
    listener = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            # A port that has just been left can be had again at once. On Windows this would share it with others.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if six:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address == "::" else 1)
        listener.bind((address, port))
        listener.listen(128)
        return listener
    except BaseException:
        listener.close()
        raise


def _refused(place: Place, port: int, error: OSError) -> InputError:
    if error.errno == errno.EADDRINUSE:
        return InputError(f"Port {port} is taken.", "Choose another one with --port.")
    if error.errno == errno.EACCES:
        return InputError(f"Port {port} is not allowed to you.", "Choose one from 1024 on with --port.")
    if error.errno == errno.EADDRNOTAVAIL:
        return InputError(f"{place.name} is not an address of this computer.", "Use 127.0.0.1, or one of its own.")
    return InputError(f"Evenhand cannot be served at {place.name}: {error.strerror}.", "Use 127.0.0.1.")


def allowed_name(name: str) -> str:
    """Return a name under which browsers may reach the page, as the guard compares it: ``evenhand.example``.

    Raises:
        InputError: it is no name of a computer, or has a scheme, a port or a path.
    """
    lower = name.strip().lower().removesuffix(".")
    found = host_name(f"[{lower}]" if lower.count(":") > 1 and not lower.startswith("[") else lower)
    # Without a port: it is a name that is allowed, whichever port it is reached at.
    if found is None or lower.count(":") == 1 or "]:" in lower:
        raise InputError(f"{name!r} is no name that --allow-host can allow.", "Give a name alone: evenhand.example.")
    return found

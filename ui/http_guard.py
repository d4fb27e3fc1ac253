"""The door of the web server: who may ask, for what, and what a browser is told about the answers."""

import ipaddress
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ui.content_policy import guarded_headers
from ui.page_routes import status_of
from ui.refusal import refuse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OWN_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
"""The names under which this computer reaches itself. Any other name in the Host header is a web site that had its
name point here to read what people typed (DNS rebinding)."""

ARRIVED = "arrived"
"""Where the state of a request (``scope["state"]``) says when it came, in seconds of `time.monotonic`."""

_HOST = re.compile(
    r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?))(?::(?P<port>[0-9]{1,5}))?"
)

# What a proxy would say about the sender. There is none in front of us, and Gradio would believe it.
_HEARSAY = re.compile(rb"forwarded|x-forwarded-.*|x-real-ip|x-gradio-.*|x-ip-token|x-original-.*|x-rewrite-.*")


def host_name(header: str) -> str | None:
    """Return the name in a Host header (``[::1]:7860`` gives ``::1``), None for what no browser would send."""
    match = _HOST.fullmatch(header)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        return None
    if match["six"] is None:
        return match["name"]
    try:
        return str(ipaddress.IPv6Address(match["six"]))
    except ValueError:
        return None


class PageGuard:
    """ASGI middleware: refuses whatever the page itself would not send, and guards what is answered."""

    def __init__(self, app: "ASGIApp", names: Iterable[str] = (), with_login: bool = False) -> None:
        """Stand in front of ``app``.

        Args:
            app: what is served to those who may ask.
            names: names beside `OWN_NAMES` under which browsers reach us.
            with_login: whether there is a password, and so a way to log in.
        """
        self._app = app
        self._names = frozenset(name.lower() for name in names)
        self._with_login = with_login

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page opens no WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_guarded(message: "Message") -> None:
            if message["type"] == "http.response.start":
                message["headers"] = guarded_headers(message.get("headers", ()), scope["path"])
            await send(message)

        headers = [(name.lower(), value) for name, value in scope["headers"]]
        status = self._status(scope, headers)
        if status != 200:
            await refuse(send_guarded, status)
            return
        scope["headers"] = [(name, value) for name, value in headers if not _HEARSAY.fullmatch(name)]
        scope.setdefault("state", {})[ARRIVED] = time.monotonic()
        await self._app(scope, receive, send_guarded)

    def _status(self, scope: "Scope", headers: list[tuple[bytes, bytes]]) -> int:
        """Return 200 for a request that the page could have sent, else with what it is refused."""
        given = dict(headers)
        hosts = [host_name(value.decode("latin-1").lower()) for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._is_ours(hosts[0], scope):
            return 421
        if not self._is_from_our_page(scope, given):
            return 421 if b"origin" in given else 403
        method = scope["method"]
        raw_path = scope.get("raw_path", scope["path"].encode())
        status = status_of(method, scope["path"], raw_path, scope.get("query_string", b""), self._with_login)
        if status != 200:
            return status
        # What says twice how long it is could be read in two ways; a question has no body.
        lengths = sum(name in (b"content-length", b"transfer-encoding") for name, _ in headers)
        if lengths > 1 or (method != "POST" and lengths and given.get(b"content-length") != b"0"):
            return 400
        if method != "POST":
            return 200
        # No form of another site can send JSON, and nothing that comes so makes Gradio write a file.
        kind = given.get(b"content-type", b"").partition(b";")[0].strip().lower()
        return 200 if kind == b"application/json" or not scope["path"].startswith("/gradio_api/") else 415

    def _is_ours(self, name: str | None, scope: "Scope") -> bool:
        # A site can have its name point here, but not an address be its name: the address it was reached at is ours.
        return name is not None and (
            name in OWN_NAMES | self._names or name == _plain((scope.get("server") or ("",))[0])
        )

    def _is_from_our_page(self, scope: "Scope", headers: dict[bytes, bytes]) -> bool:
        """Whether no browser says that another site asks. Such a site could not read our answers, but make us work."""
        host = headers[b"host"].decode("latin-1").lower()
        if b"origin" in headers:
            schemes = {scope.get("scheme", "http")}
            if host_name(host) in self._names:
                schemes.add("https")  # a proxy that encrypts may stand in front; nobody else has this name
            return headers[b"origin"].decode("latin-1").lower() in {f"{scheme}://{host}" for scheme in schemes}
        site = headers.get(b"sec-fetch-site", b"none")
        if site in (b"none", b"same-origin"):
            return True
        # From elsewhere, only a link to the page: its address shown in the bar, not a picture, frame or script of it.
        opened = (headers.get(b"sec-fetch-mode"), headers.get(b"sec-fetch-dest"), scope["path"])
        return scope["method"] == "GET" and opened == (b"navigate", b"document", "/")


def _plain(address: str) -> str:
    """Return an address as a Host header names it: that of an IPv4 client on an IPv6 socket is the IPv4 one."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address.lower()
    mapped = getattr(known, "ipv4_mapped", None)
    return str(mapped or known)

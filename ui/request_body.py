"""The body of a request: read whole before the app sees it, no larger and no slower than the page ever sends one."""

import asyncio
from typing import TYPE_CHECKING

from ui.file_claims import claims_file
from ui.refusal import refuse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 25_000_000
"""Bytes of a body; the texts and the files of a mediation are far below."""

PATIENCE = 15.0
"""Seconds that a body may take; each 100 kB give it one more."""

_SLOWEST = 100_000.0  # bytes per second, after PATIENCE


class RefusedBodyError(Exception):
    """The body is not served. ``status`` is what to answer: 400, 408 or 413."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


async def read_body(receive: "Receive", headers: dict[bytes, bytes], largest: int, patience: float = PATIENCE) -> bytes:
    """Read a body, with or without a Content-Length.

    Raises:
        RefusedBodyError: it is larger than ``largest`` bytes (413), comes too slowly (408), or its length makes no
            sense or whoever sends it has left (400).
    """
    declared = headers.get(b"content-length")
    if declared is not None:
        if not declared.isdigit():
            raise RefusedBodyError(400)
        if int(declared[:20]) > largest:
            raise RefusedBodyError(413)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    parts: list[bytes] = []
    size = 0
    while True:
        left = begun + patience + size / _SLOWEST - loop.time()
        try:
            message = await asyncio.wait_for(receive(), max(0.0, left))
        except TimeoutError:
            raise RefusedBodyError(408) from None
        if message["type"] != "http.request":
            raise RefusedBodyError(400)
        part = message.get("body", b"")
        size += len(part)
        if size > largest:
            raise RefusedBodyError(413)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def replayed(body: bytes, receive: "Receive") -> "Receive":
    """Return a receive that gives the body at once, and then what ``receive`` gives: that the browser has left."""
    given = False

    async def again() -> "Message":
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


class BodyLimit:
    """ASGI middleware: the app gets the body of a POST whole, or not at all, and none that claims to be a file."""

    def __init__(self, app: "ASGIApp", patience: float = PATIENCE) -> None:
        """Stand in front of ``app``; for ``patience`` see `read_body`."""
        self._app = app
        self._patience = patience

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            try:
                body = await read_body(receive, dict(scope["headers"]), LARGEST, self._patience)
            except RefusedBodyError as refusal:
                await refuse(send, refusal.status)
                return
            if claims_file(body):
                await refuse(send, 400)
                return
            receive = replayed(body, receive)
        await self._app(scope, receive, send)

"""A look that costs next to nothing: whether anything has changed in the session that a page shows."""

import logging
from collections.abc import Callable
from secrets import token_hex
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from mediator.errors import EvenhandError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/pulse"
"""The address that a page asks every few seconds, see assets/pulse.js."""

LONGEST_ID = 64

_log = logging.getLogger(__name__)


class Pulse:
    """ASGI middleware: answers for `PATH` with a few characters that change whenever a page should look.

    A listener of Gradio's that finds nothing new has all components of the page computed anew: with one for each look
    an open page that nobody touches takes a tenth of a processor's core.
    """

    def __init__(self, app: "ASGIApp", state: Callable[[str], str]) -> None:
        """Answer with what ``state`` returns for a session's id, also for one that is not there; it may read the disk.

        A failure is logged and ends as an empty answer: the page looks again when there is another one.
        """
        self._app, self._state = app, state
        self._start = token_hex(4)  # a page outlives the app, and finds so that another one answers

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        from anyio import to_thread

        asked = parse_qs(scope["query_string"].decode("latin-1")).get("session", [""])[-1][:LONGEST_ID]
        try:
            body = f"{self._start} {await to_thread.run_sync(self._state, asked)}".encode()
        except EvenhandError as error:
            _log.info("a page could not be told whether anything has changed", exc_info=error)
            body = b""  # that the sessions cannot be read is said when something is to be saved
        except Exception:  # noqa: BLE001 - the log has the traceback, and the page looks
            _log.exception("a page could not be told whether anything has changed")
            body = b""
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

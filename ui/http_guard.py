"""The door of the web server: who may ask, and what the page may load."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OWN_NAMES = frozenset({"127.0.0.1", "localhost"})
"""The names under which this computer reaches itself. Any other name in the Host header is a web site that had its
name point here to read what people typed (DNS rebinding)."""

# Gradio evaluates templates and writes styles in the page, hence the two 'unsafe-'; all else comes from this server, so
# that the page cannot send anything elsewhere, whatever a model writes into it.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)

_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class PageGuard:
    """ASGI middleware: answers 421 to strangers and adds the headers that keep the page to itself."""

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition("@")[2].partition(":")[0]
        # A browser names the page that asks. Another site cannot read our answers, but it could make us work.
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if name not in OWN_NAMES or origin not in ("", f"http://{host}"):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await send({"type": "http.response.start", "status": 421, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"Evenhand answers this computer only.\n"})
            return

        async def send_with_headers(message: "Message") -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)

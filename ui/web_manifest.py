"""What makes the page installable as an app: its manifest and its icons."""

import json
from functools import cache
from typing import TYPE_CHECKING

from mediator.resources import asset
from ui.strings import language_of, say

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_ICONS = {
    "/icons/icon-192.png": ("icon-192.png", "192x192", "any"),
    "/icons/icon-512.png": ("icon-512.png", "512x512", "any"),
    "/icons/icon-maskable-512.png": ("icon-maskable-512.png", "512x512", "maskable"),
}
_VECTOR = ("/icons/icon.svg", "/favicon.ico")

HEAD = (
    '<meta name="theme-color" media="(prefers-color-scheme: light)" content="#f8fafc">'
    '<meta name="theme-color" media="(prefers-color-scheme: dark)" content="#020617">'
    '<link rel="apple-touch-icon" href="/icons/icon-192.png">'
)
"""What the page's head says about it; Gradio's own names the manifest already."""


@cache
def manifest(language: str = "en") -> bytes:
    """Return the web app manifest as JSON, in a language of the page."""
    icons = [
        {"src": path, "sizes": sizes, "type": "image/png", "purpose": purpose}
        for path, (_, sizes, purpose) in _ICONS.items()
    ]
    icons.append({"src": "/icons/icon.svg", "sizes": "any", "type": "image/svg+xml", "purpose": "any"})
    content = {
        "id": "/",
        "name": "Evenhand",
        "short_name": "Evenhand",
        "lang": language,
        "description": say(language, "common.manifest"),
        "start_url": "/",
        "scope": "/",
        "display": "standalone",
        "theme_color": "#334155",
        "background_color": "#f8fafc",
        "icons": icons,
    }
    return json.dumps(content, indent=1).encode()


class WebManifest:
    """ASGI middleware: answers for the manifest and the icons, in place of Gradio's."""

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request."""
        found = _content(scope["path"], _language(scope)) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        kind, body = found
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"vary", b"accept-language")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _language(scope: "Scope") -> str:
    from starlette.requests import Request

    return language_of(Request(scope))


def _content(path: str, language: str) -> tuple[bytes, bytes] | None:
    if path == "/manifest.json":
        return b"application/manifest+json", manifest(language)
    if path in _VECTOR:
        return b"image/svg+xml", _read("icon.svg")
    if path in _ICONS:
        return b"image/png", _read(_ICONS[path][0])
    return None


@cache
def _read(name: str) -> bytes:
    return asset(name).read_bytes()

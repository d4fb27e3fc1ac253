"""What a browser is told about our answers: what the page may load and run, who may frame it, what it may keep."""

import base64
import hashlib
import re
from typing import TYPE_CHECKING

from ui.page_routes import UNCHANGING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

# Gradio makes functions of text (templates, scripts of components), hence 'unsafe-eval', and sets styles in the page,
# hence 'unsafe-inline' for styles. Scripts in the page run only if they are those that the server wrote into it: a text
# that became HTML by a mistake of ours would still run nothing, and could send nothing anywhere.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'{hashes}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; manifest-src 'self'; worker-src 'none'; "
    "object-src 'none'; frame-src 'none'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)

_ALWAYS: tuple[Header, ...] = (
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-permitted-cross-domain-policies", b"none"),
    (
        b"permissions-policy",
        b"accelerometer=(), autoplay=(), camera=(), display-capture=(), encrypted-media=(), geolocation=(), "
        b"gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), publickey-credentials-get=(), "
        b"screen-wake-lock=(), usb=(), xr-spatial-tracking=(), clipboard-read=(), clipboard-write=(self)",
    ),
)

# Nobody is told what serves, and no other site is let in.
_DROPPED = re.compile(rb"server|x-powered-by|via|access-control-.*")

_INLINE_SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)


def policy(hashes: "Iterable[str]" = ()) -> bytes:
    """Return the Content-Security-Policy that lets inline scripts with these hashes run, and no other."""
    return _POLICY.format(hashes="".join(f" '{one}'" for one in hashes)).encode()


def script_hashes(html: bytes) -> list[str]:
    """Return the hashes of the inline scripts of a page, as a policy names them."""
    # Of the text that a browser makes of it: with one kind of line end.
    read = html.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return [hash_of(script) for script in _INLINE_SCRIPT.findall(read)]


def hash_of(content: bytes) -> str:
    """Return the name of an inline script or style in a policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content).digest()).decode()


def guarded_headers(headers: "Iterable[Header]", path: str) -> list[Header]:
    """Return the headers of an answer with ours in place of any of the same name."""
    ours = list(_ALWAYS)
    given = [(name.lower(), value) for name, value in headers]
    if not any(name == b"content-security-policy" for name, _ in given):
        ours.append((b"content-security-policy", policy()))
    if not UNCHANGING.fullmatch(path):
        ours.append((b"cache-control", b"no-store"))
    replaced = {name for name, _ in ours}
    return [(name, value) for name, value in given if name not in replaced and not _DROPPED.fullmatch(name)] + ours


class PagePolicy:
    """ASGI middleware: gives the page itself a policy that names the inline scripts the server wrote into it."""

    def __init__(self, app: "ASGIApp", head: str = "") -> None:
        """Stand in front of ``app``; ``head`` is our HTML for the head of the page."""
        self._app = app
        self._head = head.encode()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] != "/":
            await self._app(scope, receive, send)
            return
        # The page is read here, so it must come as it is.
        plain = dict(scope, headers=[(name, value) for name, value in scope["headers"] if name != b"accept-encoding"])
        start: Message | None = None
        parts: list[bytes] = []

        async def collect(message: "Message") -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            parts.append(message.get("body", b""))
            if message.get("more_body", False) or start is None:
                return
            body = b"".join(parts).replace(b"</head>", self._head + b"</head>", 1)
            replaced = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
            replaced.append((b"content-length", str(len(body)).encode()))
            start["headers"] = [*replaced, (b"content-security-policy", policy(script_hashes(body)))]
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self._app(plain, receive, collect)

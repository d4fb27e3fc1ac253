"""The login: whoever has not typed the password gets a page that asks for it, and nothing else."""

import asyncio
import hashlib
import math
import re
import secrets
import time
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from ui.login_limits import LoginLimits
from ui.login_page import login_page, login_policy
from ui.page_routes import PUBLIC
from ui.pulse import PATH as PULSE
from ui.refusal import refuse
from ui.request_body import RefusedBodyError, read_body

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ui.password import Password

LARGEST_FORM = 16_384
"""Bytes of the form in which a password is sent."""

IDLE = 12 * 3600.0
"""Seconds without a request after which a login ends."""

MOST_LOGINS = 256
"""Logins at one time; the one that was used longest ago makes room."""

SLOWNESS = 1.0
"""Seconds before a wrong password is answered."""

_SESSION = re.compile(r"session=[A-Za-z0-9_-]{1,64}")


class LoginGate:
    """ASGI middleware: lets nobody past who has not typed the password."""

    def __init__(self, app: "ASGIApp", password: "Password", port: int, secure: bool) -> None:
        """Stand in front of ``app``.

        Args:
            app: what is served after login.
            password: what must be typed.
            port: the port served at: a browser sends a cookie to every port of a computer, so its name tells them
                apart.
            secure: whether the connection is encrypted; then the cookie never leaves it.
        """
        self._app = app
        self._password = password
        self._secure = secure
        self._cookie = f"__Host-evenhand-{port}" if secure else f"evenhand-{port}"
        self._limits = LoginLimits()
        self._logins: OrderedDict[str, float] = OrderedDict()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, reading = scope["path"], scope["method"] in ("GET", "HEAD")
        token = self._token(scope)
        if path == "/logout":
            self._logins.pop(_digest(token), None)
            await self._to_page(scope, send, token="", age=0)
        elif path == "/login" and not reading:
            await self._log_in(scope, receive, send)
        elif self._is_known(token, renew=path != PULSE):  # which a page asks that nobody uses
            if path == "/login":
                await self._to_page(scope, send)
            else:
                await self._app(scope, receive, send)
        elif path in ("/", "/login") and reading:
            await self._ask(scope, send, 401)
        elif PUBLIC.fullmatch(path):
            await self._app(scope, receive, send)
        else:
            await refuse(send, 401)

    async def _log_in(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/x-www-form-urlencoded":
            await refuse(send, 415)
            return
        try:
            body = await read_body(receive, headers, LARGEST_FORM)
            typed = parse_qs(body.decode("ascii"), max_num_fields=4, errors="strict").get("password", [""])[0]
        except RefusedBodyError as refusal:
            await refuse(send, refusal.status)
            return
        except ValueError:
            await refuse(send, 400)
            return
        address = (scope.get("client") or ("",))[0]
        # Nothing waits between the look at the limit and the note of the failure: many guesses sent at once count too.
        if left := self._limits.wait(address):
            await self._ask(scope, send, 429, left)
            return
        if not self._password.matches(typed):
            self._limits.failed(address)
            await asyncio.sleep(SLOWNESS)
            left = self._limits.wait(address)
            await self._ask(scope, send, 429 if left else 403, left)
            return
        self._limits.succeeded(address)
        token = secrets.token_urlsafe(32)
        self._logins[_digest(token)] = time.monotonic()
        while len(self._logins) > MOST_LOGINS:
            self._logins.popitem(last=False)
        await self._to_page(scope, send, token)

    def _token(self, scope: "Scope") -> str:
        """Return what the browser shows as the proof of its login; empty when nothing."""
        text = "; ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie")
        try:
            found = SimpleCookie(text).get(self._cookie)
        except CookieError:
            return ""
        return found.value if found else ""

    def _is_known(self, token: str, renew: bool) -> bool:
        # Looked up by its digest: how long that takes tells nothing about the tokens there are.
        digest, now = _digest(token), time.monotonic()
        used = self._logins.get(digest)
        if used is None:
            return False
        if now - used > IDLE:
            del self._logins[digest]
            return False
        if renew:
            self._logins[digest] = now
            self._logins.move_to_end(digest)
        return True

    async def _to_page(self, scope: "Scope", send: "Send", token: str | None = None, age: int | None = None) -> None:
        headers = [(b"location", f"/{_session(scope)}".encode()), (b"content-length", b"0")]
        if token is not None:
            # Strict: no other site can make a browser send it, not even by a link.
            parts = [f"{self._cookie}={token}", "Path=/", "HttpOnly", "SameSite=Strict"]
            parts += ["Secure"] if self._secure else []
            parts += [f"Max-Age={age}"] if age is not None else []
            headers.append((b"set-cookie", "; ".join(parts).encode()))
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _ask(self, scope: "Scope", send: "Send", status: int, wait: float = 0.0) -> None:
        seconds = math.ceil(wait)
        language = next((value for name, value in scope["headers"] if name == b"accept-language"), b"")
        wrong = status == 403
        page = login_page(language.decode("latin-1"), f"/login{_session(scope)}", wrong, seconds, self._secure)
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", str(len(page)).encode()),
            (b"content-security-policy", login_policy()),
        ]
        if seconds:
            headers.append((b"retry-after", str(seconds).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else page})


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _session(scope: "Scope") -> str:
    """Return the part of the address that names a session, and nothing else of it: it ends up in a header."""
    found = _SESSION.search(scope.get("query_string", b"").decode("latin-1"))
    return f"?{found.group()}" if found else ""

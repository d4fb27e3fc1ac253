"""The web server: puts the page behind its defences, starts and stops it."""

import asyncio
import contextlib
import logging
import ssl
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mediator.errors import EvenhandError, InputError
from mediator.resources import asset
from ui.content_policy import PagePolicy
from ui.http_guard import PageGuard
from ui.listening import find_place, listen
from ui.login import LoginGate
from ui.pulse import Pulse
from ui.request_body import BodyLimit
from ui.web_manifest import HEAD, WebManifest

if TYPE_CHECKING:
    import gradio
    from starlette.types import ASGIApp

    from ui.password import Password

MOST_CONNECTIONS = 512
"""Open connections; a browser that shows the page holds two, more while it loads. Beyond it, the answer is 503."""

MOST_WINDOWS = 64
"""Windows of which Gradio keeps the present state in memory, for an hour after they were closed too. Beyond it, the one
that was quiet for longest goes first: everything but a question that was pending is saved."""

STOPPING = 4.0
"""Seconds that answers which are being sent may take when the app stops."""

_STARTING = 30.0  # seconds
_IDLE = 0.02  # seconds


class ServerError(EvenhandError):
    """The web server could not be started."""


@dataclass(frozen=True)
class Access:
    """How the page can be reached.

    Attributes:
        host: an address or a name of this computer.
        port: 1..65535; None for the first free one from `ui.listening.FIRST_PORT`.
        names: further names under which browsers reach it.
        password: what must be typed first; None where only this computer reaches the page.
        certificate: the file of the certificate, for an encrypted connection.
        key: the file of its key; None when it is in the same file.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    names: tuple[str, ...] = ()
    password: "Password | None" = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def encrypted(self) -> bool:
        """Whether there is a certificate."""
        return self.certificate is not None


class Server:
    """A page that is being served, by a thread of its own. Close it."""

    def __init__(self, make_page: "Callable[[], gradio.Blocks]", access: Access, javascript: str = "") -> None:
        """Serve a page; returns when browsers can reach it.

        Args:
            make_page: makes the page, when it is known that it can be served.
            access: how it can be reached.
            javascript: a function that the page runs when it has loaded.

        Raises:
            InputError: it cannot be served there, the certificate cannot be used, or others could reach it without a
                password.
            ServerError: the server does not start.
        """
        place = find_place(access.host)
        if not place.loopback and access.password is None:
            raise InputError(
                f"Other computers can reach Evenhand at {place.name}, so it needs a password.",
                "Give one, or use 127.0.0.1.",
            )
        encryption = _encryption(access)
        self._socket = listen(place, access.port)
        try:
            page = make_page()
            port = int(self._socket.getsockname()[1])
            self.address = place.url(port, access.encrypted)
            """Where this computer opens the page."""
            names = access.names if place.everywhere else (*access.names, place.name)
            self._page = page
            self._gradio = _gradio_app(page, javascript)
            state = getattr(page, "session_state", lambda _: "")  # a page without sessions has none
            self._server = _uvicorn(_defended(Pulse(self._gradio, state), access, names, port), encryption)
            self._failure: BaseException | None = None
            self._loop: asyncio.AbstractEventLoop | None = None
            self._thread = threading.Thread(target=self._run, name="web server", daemon=True)
            self._thread.start()
            self._wait_for_start()
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Stop serving: ends open connections, frees the port. Safe to call again."""
        self._page.is_running = False  # ends the streams of what is being written
        with contextlib.suppress(AttributeError):
            self._page._queue.close()
        if self._loop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has just ended by itself
                # Gradio's heartbeats wait for this; each tells its page's listeners that the browser has left.
                self._loop.call_soon_threadsafe(self._page.app.stop_event.set)
        self._server.should_exit = True
        self._thread.join(STOPPING + 4.0)

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self._socket])

        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - uvicorn leaves by SystemExit; the thread that waits reports it
            self._failure = error

    def _wait_for_start(self) -> None:
        waited = 0.0
        while not self._server.started:
            self._thread.join(0.01)
            waited += 0.01
            if not self._thread.is_alive() or waited > _STARTING:
                self._server.should_exit = True
                raise ServerError("The web server did not start.", "Its log says why.") from self._failure


def announcement(address: str, access: Access) -> list[str]:
    """Return what to tell the user about a page that is served: where, to whom, and whether others can read along."""
    if find_place(access.host).loopback:
        return [f"Evenhand is open at {address} (this computer only). Stop it with Ctrl+C."]
    lines = [f"Evenhand is open at {address} to every computer that reaches it and gives the password. Stop: Ctrl+C."]
    if not access.encrypted:
        lines.append(
            "The traffic is not encrypted: who shares the network can read the password and all that is written. "
            "Give --certificate and --key to encrypt it."
        )
    return lines


def _gradio_app(page: "gradio.Blocks", javascript: str) -> "ASGIApp":
    """Return Gradio's server of the page, told to publish, record and fetch nothing."""
    import gradio as gr
    from fastapi import FastAPI

    from ui.strings import translator
    from ui.theme import theme

    page.state_session_capacity = MOST_WINDOWS
    # The drafter computes in threads of this process: the event loop shall not wait Python's 5 ms for each turn.
    # Measured with eight clients on two busy cores, both values by turns in one run, twice: 99 % of trivial questions
    # answered within 227 and 208 ms instead of 315 and 261; the median (12 to 14 ms) and the number of proposals (66 to
    # 70 together) do not tell them apart.
    sys.setswitchinterval(0.001)
    # Gradio's queue asks every millisecond whether anything is in it: 6 % of a core, all day, on a page nobody touches.
    page._queue.sleep_when_free = _IDLE
    page._queue.progress_update_sleep_when_free = 5 * _IDLE
    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        outer,
        page,
        path="/",
        root_path="",
        run_history=False,
        show_error=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        footer_links=[],
        allowed_paths=[],
        favicon_path=str(asset("icon.svg")),
        i18n=translator(),
        theme=theme(),
        js=javascript or None,
        css=asset("app.css").read_text(encoding="utf-8"),
    )
    page.app = page.server_app = outer.routes[-1].app  # type: ignore[attr-defined]
    return outer


def _defended(app: "ASGIApp", access: Access, names: tuple[str, ...], port: int) -> "ASGIApp":
    """Put the defences in front of the page, the first to look at a request last."""
    rest = asset("rest.js").read_text(encoding="utf-8")
    app = BodyLimit(PagePolicy(WebManifest(app), f"{HEAD}<script>{rest}</script>"))
    if access.password is not None:
        app = LoginGate(app, access.password, port, access.encrypted)
    return PageGuard(app, names, with_login=access.password is not None)


def _encryption(access: Access) -> dict[str, Any]:
    """Return what the server is told about the certificate. Raises `InputError` when it cannot be used."""
    if access.certificate is None:
        if access.key is not None:
            raise InputError("There is a key and no certificate.", "Give --certificate too.")
        return {}
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(access.certificate, access.key)
    except FileNotFoundError as error:
        raise InputError("The certificate or its key is not there.", "Check --certificate and --key.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise InputError(
            f"The certificate {access.certificate} cannot be used: {reason}.",
            "Both files are in the PEM format, and the key belongs to the certificate.",
        ) from error
    return {"ssl_certfile": access.certificate, "ssl_keyfile": access.key}


def _uvicorn(app: "ASGIApp", encryption: dict[str, Any]) -> Any:
    import uvicorn

    from ui.http_protocol import PatientOnlyOnce

    # What goes wrong in the server is ours to log, where there is a log, without what people typed.
    faults, own = logging.getLogger("uvicorn.error"), logging.getLogger("ui")
    if own.handlers:
        faults.handlers, faults.propagate = own.handlers, False
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=PatientOnlyOnce,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=int(STOPPING),
            **encryption,
        )
    )

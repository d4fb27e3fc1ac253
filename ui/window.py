"""The page in a window of its own, through the web view of the system (pywebview, the extra ``window``)."""

import contextlib
import logging
import os
import sys
import threading
from typing import Any

from mediator.errors import EvenhandError, MissingExtraError

SIZE, SMALLEST = (1200, 900), (360, 480)
"""Width and height in pixels: at first, and at least."""


class WindowError(EvenhandError):
    """There is no way to show a window here."""


def web_view() -> Any:
    """Return the module that shows windows; call it before there is anything to show.

    Raises:
        MissingExtraError: it is not installed.
        WindowError: there is no screen.
    """
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        # Qt would end the whole process.
        raise WindowError("There is no screen to open a window on.", "Leave out --window to use a browser.")
    try:
        import webview
    except ImportError as error:
        raise MissingExtraError(
            "A window of its own needs pywebview.",
            "Install it with pip install 'evenhand[window]', or leave out --window to use the browser.",
        ) from error
    return webview


def show_window(address: str, stopped: threading.Event) -> None:
    """Show the page until the window is closed or ``stopped`` is set; call it in the main thread.

    Raises:
        MissingExtraError: see `web_view`.
        WindowError: there is no screen, or no web view that pywebview can use.
    """
    webview = web_view()
    webview.settings["ALLOW_DOWNLOADS"] = True  # exports are files that the page makes
    # It prints a traceback for each kind of web view that is not there before it finds one that is.
    logging.getLogger("pywebview").setLevel(logging.CRITICAL)
    window = webview.create_window("Evenhand", address, width=SIZE[0], height=SIZE[1], min_size=SMALLEST)
    closed = threading.Event()
    window.events.closed += closed.set

    def close_when_stopped() -> None:
        stopped.wait()
        if not closed.is_set():
            window.destroy()

    watching = threading.Thread(target=close_when_stopped, name="window", daemon=True)
    try:
        # Private: the web view keeps no cookie, no cache and nothing that was typed.
        webview.start(func=watching.start, private_mode=True)
    except webview.errors.WebViewException as error:
        raise WindowError(
            "This system has no web view that can be shown.",
            "Install pip install 'pywebview[qt]', or leave out --window to use the browser.",
        ) from error
    finally:
        closed.set()
        stopped.set()
        with contextlib.suppress(RuntimeError):  # it was never started
            watching.join(2.0)

"""The addresses that the page needs. All others of Gradio's are shut: what nobody can ask cannot be abused."""

import re
from urllib.parse import parse_qsl

_NAME = r"[A-Za-z0-9_-]+"
_FILE = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"

_READ = re.compile(
    rf"""
    /                                                   # the page
    | /theme\.css | /config
    | /assets(?:/{_NAME})*/{_FILE}                      # Gradio's own scripts and styles
    | /static/(?:js|img|fonts)(?:/{_NAME})*/{_FILE}
    | /manifest\.json | /favicon\.ico | /icons/{_FILE}  # ours, see ui/web_manifest.py
    | /pulse                                            # ours too, see ui/pulse.py
    | /gradio_api/(?:info/?|app_id)
    | /gradio_api/heartbeat/{_NAME}                     # open as long as the page is: its end stops what runs
    | /gradio_api/queue/data                            # what a mediation has written, as it comes
    """,
    re.VERBOSE,
)
_WRITE = re.compile(
    r"""
    /gradio_api/(?:run/predict | queue/join             # a button was pressed, a field has changed
    | component_server/?                                # a script of the page calls one of our functions
    | cancel | reset)/?
    """,
    re.VERBOSE,
)
_LOGIN_READ = re.compile(r"/login")
_LOGIN_WRITE = re.compile(r"/login|/logout")

PUBLIC = re.compile(r"/manifest\.json|/favicon\.ico|/icons/.*|/login")
"""What a browser may fetch before login: it asks for the icon and the manifest without the cookie."""

UNCHANGING = re.compile(r"/(?:assets|static|icons)/.*|/theme\.css|/favicon\.ico")
"""What a browser may keep on its disk; nothing else that is served goes there."""


def status_of(method: str, path: str, raw_path: bytes, query: bytes, with_login: bool) -> int:
    """Return 200 when the page needs this address, else with what it is refused: 404 or 405.

    Args:
        method: the method of the request.
        path: its path with escapes resolved.
        raw_path: the path as it was sent. No address of the page needs an escape, so a path with one is refused: that
            which checks and that which serves could read it differently.
        query: what comes after the question mark, as it was sent.
        with_login: whether there is a password, and so the addresses to log in and out.
    """
    if raw_path != path.encode("utf-8", "replace") or _names_deep_link(query):
        return 404
    readable = _READ.fullmatch(path) or (with_login and _LOGIN_READ.fullmatch(path))
    writable = _WRITE.fullmatch(path) or (with_login and _LOGIN_WRITE.fullmatch(path))
    if method in ("GET", "HEAD"):
        return 200 if readable else 405 if writable else 404
    if method == "POST":
        return 200 if writable else 405 if readable else 404
    return 405


def _names_deep_link(query: bytes) -> bool:
    """Whether Gradio is asked to read a file whose name is in the address; the page makes no such links."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return any(name.strip() == "deep_link" for name, _ in pairs)

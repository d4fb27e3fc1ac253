"""A hub of one file on this computer, as the Hugging Face Hub answers, and as badly as a hub and a network can."""

import hashlib
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.patience import PATIENCE

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server does; everything may be changed while it runs.

    Attributes:
        data: the file.
        sha256: what it says about the file, or empty for nothing.
        size: what it says about the file; None for the truth.
        tag: the ETag of the bytes.
        statuses: of the next answers for the file's address, HEAD or GET, before 302 again.
        byte_statuses: of the next answers with bytes, before 200 or 206 again.
        breaks: after how many bytes each next answer breaks off; None for never.
        always_breaks: the same for all answers after those; None for never.
        stalls: hold the connection open, for as long as `PATIENCE`, instead of breaking it at once.
        ranges: whether it honours Range.
        pause: seconds between two pieces of 64 KiB.
        redirect: where the file's address leads; empty for the bytes on this server.
        requests: method, path and Range header of everything asked so far.
        left: how many listeners went away before the end.
    """

    data: bytes
    url: str = ""
    sha256: str = ""
    size: int | None = None
    tag: str = '"one"'
    statuses: list[int] = field(default_factory=list)
    byte_statuses: list[int] = field(default_factory=list)
    breaks: list[int | None] = field(default_factory=list)
    always_breaks: int | None = None
    stalls: bool = False
    ranges: bool = True
    pause: float = 0.0
    redirect: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    left: int = 0

    def ranges_asked(self) -> list[str]:
        """The Range headers of the requests for bytes, in order; empty for the whole."""
        return [asked for method, path, asked in self.requests if path.startswith("/bytes/") and method == "GET"]


@contextmanager
def hub_server(data: bytes) -> Iterator[Hub]:
    """Serve ``data`` as every file of every repository."""
    hub = Hub(data, sha256=hashlib.sha256(data).hexdigest())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            hub.requests.append((self.command, self.path, self.headers.get("Range", "")))
            if self.path.startswith("/bytes/"):
                self._bytes()
            elif hub.statuses and (status := hub.statuses.pop(0)) != 302:
                self._short(status)
            else:
                self.send_response(302)
                self.send_header("Location", hub.redirect or "/bytes/file")
                if hub.sha256:
                    self.send_header("X-Linked-Etag", f'"{hub.sha256}"')
                self.send_header("X-Linked-Size", str(len(hub.data) if hub.size is None else hub.size))
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _short(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _bytes(self) -> None:
            if hub.byte_statuses:
                self._short(hub.byte_statuses.pop(0))
                return
            start, data = 0, hub.data
            asked = self.headers.get("Range", "")
            if asked and hub.ranges and self.headers.get("If-Range", hub.tag) == hub.tag:
                start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= len(data) > 0 and asked:
                self._short(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.send_header("ETag", hub.tag)
            self.end_headers()
            last = hub.breaks.pop(0) if hub.breaks else hub.always_breaks
            end = len(data) if last is None else min(start + last, len(data))
            try:
                for at in range(start, end, 65536):
                    self.wfile.write(data[at : min(at + 65536, end)])
                    if hub.pause and self._gone(hub.pause):
                        return
                if end < len(data):
                    self.close_connection = True
                    if hub.stalls:
                        self._gone(PATIENCE)
            except OSError:
                hub.left += 1

        def _gone(self, seconds: float) -> bool:
            readable, _, _ = select.select([self.connection], [], [], seconds)
            if readable and self.connection.recv(1) == b"":
                hub.left += 1
                self.close_connection = True
                return True
            return False

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    httpd = Server(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        httpd.shutdown()
        httpd.server_close()

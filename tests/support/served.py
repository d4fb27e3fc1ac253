"""The real app in a process of its own, as a user starts it, and a client that can ask it anything."""

import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

REPOSITORY = Path(__file__).resolve().parents[2]

PASSWORD = "a good long password"
JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "application/x-www-form-urlencoded")


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


@dataclass
class Served:
    """An app that runs."""

    process: subprocess.Popen[bytes]
    url: str
    folder: Path
    log: Path
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def port(self) -> int:
        return int(urlsplit(self.url).port or 0)

    def ask(
        self,
        path: str = "/",
        method: str = "GET",
        body: bytes | None = None,
        headers: Sequence[tuple[str, str]] = (),
        host: str | None = None,
        address: str | None = None,
    ) -> Answer:
        """Send one request as it is written: the path is not tidied, ``host`` is what the Host header says."""
        target = urlsplit(self.url)
        where = address or str(target.hostname)
        connection: http.client.HTTPConnection
        if target.scheme == "https":
            anyone = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(where, self.port, timeout=60, context=anyone)
        else:
            connection = http.client.HTTPConnection(where, self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", self.host if host is None else host)
            if self.cookies:
                connection.putheader("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
            for name, value in headers:
                connection.putheader(name, value)
            if body is not None and not any(name.lower() == "content-length" for name, _ in headers):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            found: dict[str, str] = {}
            for name, value in response.getheaders():
                found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def is_alive(self) -> bool:
        """Whether it still runs and answers."""
        return self.process.poll() is None and self.ask().status in (200, 401)

    def log_in(self, password: str) -> Answer:
        """Send the form with the password, and keep the cookie that comes."""
        answer = self.ask("/login", "POST", urlencode({"password": password}).encode(), [FORM])
        if cookie := answer.headers.get("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies = {name: value}
        return answer


@contextmanager
def serving(
    *options: str, environment: dict[str, str] | None = None, program: Sequence[str] = ("-m", "ui.cli", "ui")
) -> Iterator[Served]:
    """Start `evenhand ui` with these options on a free port; stop it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="evenhand-"))
    log = folder / "output.txt"
    surroundings = os.environ | {
        "EVENHAND_DATA_FOLDER": str(folder / "data"),
        "EVENHAND_LOG_FOLDER": str(folder / "log"),
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
    }
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "EVENHAND_MODEL", "EVENHAND_ENCODER", "EVENHAND_PASSWORD"):
        surroundings.pop(name, None)
    surroundings |= environment or {}
    begun = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *program, "--no-browser", *options],
            cwd=REPOSITORY,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        while not (found := re.search(r"open at (\S+)", log.read_text(encoding="utf-8"))):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() - begun < 60, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        yield Served(process, found[1].rstrip("/"), folder, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
        shutil.rmtree(folder, ignore_errors=True)


def password_file(folder: Path) -> Path:
    """Write a file with the password that only its owner may read."""
    path = folder / "password.txt"
    path.touch(mode=0o600)
    path.write_text(PASSWORD + "\n")
    return path


def raw(served: Served, *parts: bytes | float, seconds: float = 60) -> tuple[bytes, float]:
    """Send bytes as they are, with pauses; return what comes back until the other side closes, and after how long."""
    begun = time.monotonic()
    received = b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=seconds) as connection:
        try:
            for part in parts:
                if isinstance(part, float):
                    time.sleep(part)
                else:
                    connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            while part := connection.recv(65536):
                received += part
        except (TimeoutError, ConnectionResetError):
            pass
    return received, time.monotonic() - begun

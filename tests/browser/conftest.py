"""What the browser tests run against: the real app in a process of its own, Chromium, and a slow chat server."""

import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mediator.store import Store
from tests.browser.driving import cards, choose_example, open_page, propose_and_wait
from tests.support.patience import PATIENCE, until

BROWSER_PATIENCE = 3 * PATIENCE
"""Seconds that a page may take for what is waited for: a browser is the first to be slow on a busy machine."""

REPOSITORY = Path(__file__).resolve().parents[2]
# What nobody looks at here: a process kept ready for the next page, and pages that Chromium draws around ours. The last
# list of features counts, so those that Playwright turns off are named again.
_UNUSED_FEATURES = (
    "AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades", "LensOverlay",
    "HttpsFirstBalancedModeAutoEnable", "MediaRouter", "PaintHolding", "ThirdPartyStoragePartitioning",
    "OptimizationHints", "NetworkTimeServiceQuerying", "AimEnabled", "PreconnectToSearch",
    "SpareRendererForSitePerProcess", "PreloadTopChromeWebUI", "WebUIOmniboxPopup",
)  # fmt: skip
# Debian's start script hands the browser its flags; these keep it headless and off the network.
CHROMIUM_FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    f"--disable-features={','.join(_UNUSED_FEATURES)}",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser(headless_chromium):
    """Chromium, or a skip that says why not.

    One for each file, not one for the run: while Playwright is open its event loop counts as running, and the tests of
    other files that the same process takes up could not start one of their own.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=headless_chromium, args=CHROMIUM_FLAGS)
        new_context = launched.new_context

        def patient(**options):
            context = new_context(**options)
            context.set_default_timeout(1000 * BROWSER_PATIENCE)
            return context

        launched.new_context = patient
        yield launched
        launched.close()


@dataclass
class RunningApp:
    """The app under test."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for_answer(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a page is served; fails with what the process has logged when it ends before."""

    def answers() -> bool:
        try:
            urllib.request.urlopen(url, timeout=PATIENCE).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            return False
        return True

    until(answers, f"nothing is served at {url}")


@contextmanager
def running_app(folder: Path, port: int | None = None, **variables: str) -> Iterator[RunningApp]:
    """Run the real app, its scorer and its drafter included, in a process of its own, as a user starts it.

    ``variables`` of the environment are set besides; started again on the same folder, it finds what it saved there.
    """
    port = port or free_port()
    environment = os.environ | {
        "EVENHAND_DATA_FOLDER": str(folder / "data"),
        "EVENHAND_LOG_FOLDER": str(folder / "log"),
        "EVENHAND_CACHE_FOLDER": str(folder / "cache"),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
    }
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "EVENHAND_MODEL", "EVENHAND_ENCODER"):
        environment.pop(name, None)
    log = folder / "log.txt"
    url = f"http://127.0.0.1:{port}"
    code = f"from ui.app import launch; launch(port={port}, open_browser=False)"
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=REPOSITORY,
            env=environment | variables,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for_answer(url, process, log)
            yield RunningApp(url, log, process)
        finally:
            process.terminate()
            process.wait(timeout=60)


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """One app for all tests that leave it as it is."""
    with running_app(tmp_path_factory.mktemp("app")) as running:
        yield running


@pytest.fixture
def fresh_page(browser, app):
    """A page that shows nothing yet, as if for a new user; fails the test on a script error or a request elsewhere."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    page.on(
        "request",
        lambda request: request.url.startswith((app.url, "data:", "blob:")) or faults.append(f"asked {request.url}"),
    )
    yield page
    context.close()
    assert faults == []


@pytest.fixture
def page(fresh_page, app):
    """A `fresh_page` of the app."""
    return open_page(fresh_page, app.url)


@pytest.fixture(scope="module")
def library_session(browser, app):
    """The id of a session with one round on the library, as the page made it; tests open copies of it."""
    context = browser.new_context()
    page = open_page(context.new_page(), app.url)
    choose_example(page, "library")
    propose_and_wait(page)
    session_id = page.evaluate("() => new URL(location.href).searchParams.get('session')")
    context.close()
    return session_id


@pytest.fixture
def proposed_address(library_session, app):
    """The address of a session of its own with four proposals on the library."""
    store = Store(app.log.parent / "data" / "sessions.sqlite3")
    try:
        return f"{app.url}/?session={store.duplicate(library_session).id}"
    finally:
        store.close()


@pytest.fixture
def proposed(fresh_page, proposed_address):
    """A `fresh_page` with four proposals on the library."""
    page = open_page(fresh_page, proposed_address)
    page.wait_for_selector("#eh-cards .eh-card")
    assert len(cards(page)) == 4
    return page


@dataclass
class SlowServer:
    """A chat server that streams a few words a second, and notices when nobody listens any more.

    The model's name says what it answers:
        ``slow``: four proposals, a word every 30 ms; each names the word that starts with MARK in the prompt.
        ``endless``: one proposal and a second one that goes on for minutes.
        ``silent``: one proposal and the beginning of a second one, then nothing.
        ``html``: four proposals full of HTML, at once.
    """

    url: str
    prompts: list[str] = field(default_factory=list)
    hung_up: list[str] = field(default_factory=list)
    """The models whose listeners left before the end."""

    def spec(self, model: str) -> str:
        return f"openai:{model}@{self.url}"


HOSTILE = '<img src=x onerror="window.hurt=1"><script>window.hurt=2</script>${window.hurt=3}{{value}}</p></article>'


_PLAIN = (
    "In {mark} both sides share the morning: one half stays quiet for those who read, the other is for children who "
    "play, and after a trial of three months everybody looks at it again together.",
    "A calm corner of {mark} is furnished with soft chairs and lamps, while homework, board games and talking move to "
    "the large tables near the door, where two volunteers greet whoever comes in.",
    "Every afternoon from three to five {mark} belongs to families; before and after, the rule is silence, and a sign "
    "in plain words at the entrance tells visitors which hour it is.",
    "The readers and the parents of {mark} choose two speakers each, who meet once a month, listen to complaints, and "
    "settle small things such as noise, chairs and opening times among themselves.",
)


def _answer(model: str, prompt: str) -> tuple[list[str], float, bool]:
    """Return the pieces, the seconds between them, and whether the answer comes to an end."""
    mark = match.group() if (match := re.search(r"MARK\w+", prompt)) else "the hall"
    plain = [f"{number}. {text.format(mark=mark)}\n" for number, text in enumerate(_PLAIN, 1)]
    head = "The two suggestions share a wish for calm.\n\nCOMPROMISES:\n"
    if model == "html":
        return [head] + [f"{number}. Rule {number}: {HOSTILE} in {mark}.\n" for number in range(1, 5)], 0.0, True
    words = re.findall(r"\S+\s+", "".join(plain))
    if model == "endless":
        return [head, *re.findall(r"\S+\s+", plain[0] + "2. " + plain[1].removeprefix("2. ").strip() + " "),
                *(f"in {mark} as well, " for _ in range(4000))], 0.03, True  # fmt: skip
    if model == "silent":
        return [head, *words[: len(plain[0].split()) + 8]], 0.01, False
    return [head, *words], 0.03, True


@pytest.fixture(scope="session")
def slow_server() -> Iterator[SlowServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = "\n".join(message["content"] for message in body["messages"])
            server.prompts.append(prompt)
            model = body["model"]
            pieces, pause, ends = _answer(model, prompt)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            try:
                for piece in pieces:
                    self._send({"content": piece}, None)
                    if self._left(model, pause):
                        return
                if not ends and self._left(model, 2 * PATIENCE):
                    return
                self._send({}, "stop")
                self.wfile.write(b"data: [DONE]\n\n")
            except OSError:
                server.hung_up.append(model)

        def _left(self, model: str, pause: float) -> bool:
            readable, _, _ = select.select([self.connection], [], [], pause)
            if readable and self.connection.recv(1) == b"":
                server.hung_up.append(model)
                return True
            return False

        def _send(self, delta: dict[str, str], finish: str | None) -> None:
            chunk = {
                "id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            }  # fmt: skip
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server = SlowServer(f"http://127.0.0.1:{httpd.server_address[1]}/v1")
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield server
    httpd.shutdown()
    httpd.server_close()

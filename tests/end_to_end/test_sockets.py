"""Nothing leaves the computer: every connection that the app and its page try is written down while they work."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.browser.driving import cards, choose_example, open_page, propose_and_wait
from tests.support.served import REPOSITORY, serving

# Runs before anything else in the process that is watched, and sees every attempt, also one that fails.
RECORDER = """
import os, sys

_output = os.open(os.environ["EVENHAND_TEST_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_events = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto",
           "socket.sendmsg", "subprocess.Popen", "os.posix_spawn", "os.exec", "webbrowser.open", "urllib.Request"}

def _record(event, arguments):
    if event in _events:
        said = [argument for argument in arguments if not hasattr(argument, "fileno")]
        os.write(_output, f"{event} {said!r}\\n".encode())

sys.addaudithook(_record)
"""


@pytest.fixture
def record(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """The file that is written to, and the environment that makes a Python process write to it."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(RECORDER)
    path = tmp_path / "record.txt"
    return path, {"EVENHAND_TEST_RECORD": str(path), "PYTHONPATH": f"{site}{os.pathsep}{REPOSITORY}"}


def attempts(path: Path) -> list[str]:
    """What was tried and is not this computer talking to itself."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    local = ("'127.0.0.1'", "'localhost'", "'::1'")
    return [line for line in lines if not (line.startswith("socket.") and any(name in line for name in local))]


@contextmanager
def watched(process_id: int) -> Iterator[set[str]]:
    """Look at the connections of a process and its children, twenty times a second; gives those to elsewhere."""
    found: set[str] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.05):
            try:
                family = [psutil.Process(process_id)]
                family += family[0].children(recursive=True)
                for one in family:
                    for connection in one.net_connections("all"):
                        address = getattr(connection.raddr, "ip", None)
                        if address and not address.startswith("127.") and address not in ("::1", "::ffff:127.0.0.1"):
                            found.add(f"{one.name()} {address}")
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join(5)


def test_the_recorder_sees_an_attempt(record):
    path, environment = record
    code = (
        "import socket\n"
        "for address in (('192.0.2.1', 9), ('127.0.0.1', 9)):\n"
        "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(address)\n"
        "try: socket.getaddrinfo('nowhere.invalid', 80)\n"
        "except OSError: pass\n"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ | environment, check=True)
    tried = attempts(path)
    assert len(tried) == 2
    assert "192.0.2.1" in tried[0]
    assert "nowhere.invalid" in tried[1]


def mediate(chromium: str, url: str) -> tuple[list[str], list[str]]:
    """Go through a mediation with the drafter; returns what the page asked for, and what the browser forbade it."""
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    forbidden: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--headless=new", "--no-sandbox"])
        page = browser.new_context().new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.on("console", lambda line: forbidden.append(line.text) if "Policy" in line.text else None)
        open_page(page, url)
        choose_example(page, "library")
        propose_and_wait(page)
        assert len(cards(page)) >= 3
        for tab in page.get_by_role("tab").all():
            tab.click()
            page.wait_for_timeout(500)
        browser.close()
    return asked, forbidden


@pytest.mark.browser
def test_a_mediation_with_the_drafter_stays_on_this_computer(record, chromium):
    pytest.importorskip("playwright", reason="playwright is not installed")
    path, environment = record
    with serving(environment=environment) as served, watched(served.process.pid) as elsewhere:
        # In a thread of its own: another test's Playwright keeps an event loop running in this one.
        with ThreadPoolExecutor(1) as pool:
            asked, forbidden = pool.submit(mediate, chromium, served.url).result()
        assert path.exists()
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))} == {served.host}
    assert forbidden == []
    assert elsewhere == set()
    assert attempts(path) == []


def test_proposing_on_the_command_line_stays_on_this_computer(record, tmp_path):
    path, environment = record
    environment |= {"EVENHAND_LOG_FOLDER": str(tmp_path / "log"), "EVENHAND_CACHE_FOLDER": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "ui.cli", "propose", "library-hours", "--json", "-n", "2"]
    with (
        subprocess.Popen(
            command, cwd=REPOSITORY, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
        watched(process.pid) as elsewhere,
    ):
        output, problems = process.communicate(timeout=120)
    assert process.returncode == 0, problems.decode()
    assert len(json.loads(output)["candidates"]) == 2
    assert elsewhere == set()
    assert attempts(path) == []

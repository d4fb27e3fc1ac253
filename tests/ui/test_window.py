"""ui/window.py: a sentence where there is no window to be had, and a real window where there is."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.served import REPOSITORY, serving

WITHOUT_PYWEBVIEW = """
import sys
sys.modules["webview"] = None  # as where it is not installed
from ui.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    surroundings = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=REPOSITORY, env=surroundings | environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [["--window"], ["ui", "--window"], ["--port=7999", "--window"]])
def test_without_pywebview_it_says_how_to_get_it(arguments, tmp_path):
    done = run(WITHOUT_PYWEBVIEW, *arguments, DISPLAY=":7", EVENHAND_LOG_FOLDER=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        "evenhand: A window of its own needs pywebview. Install it with pip install 'evenhand[window]', or leave out "
        "--window to use the browser.\n"
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only here a screen can be missing")
def test_without_a_screen_it_says_so(tmp_path):
    done = run(WITHOUT_PYWEBVIEW, "--window", EVENHAND_LOG_FOLDER=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("evenhand: There is no screen")


@pytest.fixture
def screen() -> Iterator[str]:
    """A screen that nobody sees, or a skip that says what is missing."""
    if importlib.util.find_spec("webview") is None:
        pytest.skip("pywebview is not installed (pip install 'pywebview[qt]')")
    xvfb = shutil.which("Xvfb")
    if xvfb is None:
        pytest.skip("there is no Xvfb")
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [xvfb, "-screen", "0", "1280x1000x24", "-displayfd", str(writer)], pass_fds=[writer], stderr=subprocess.DEVNULL
    )
    os.close(writer)
    try:
        yield f":{os.read(reader, 16).decode().strip()}"
    finally:
        process.terminate()
        process.wait(60)
        os.close(reader)


def viewers(port: int, app: int) -> int:
    """How many connections other processes have to the app."""
    found = 0
    for process in [psutil.Process(app), *psutil.Process(app).children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            found += sum(bool(one.raddr) and one.raddr.port == port for one in process.net_connections("tcp"))
    return found


def test_a_window_shows_the_page_and_a_signal_closes_it(screen, tmp_path: Path):
    environment = {
        "DISPLAY": screen, "QTWEBENGINE_DISABLE_SANDBOX": "1", "QTWEBENGINE_CHROMIUM_FLAGS": "--disable-gpu",
        "LIBGL_ALWAYS_SOFTWARE": "1",
    }  # fmt: skip
    with serving("--window", environment=environment, program=("-m", "ui.cli")) as served:
        begun = time.monotonic()
        while not viewers(served.port, served.process.pid):
            assert served.process.poll() is None, served.log.read_text()
            assert time.monotonic() - begun < 60, served.log.read_text()
            time.sleep(0.2)
        assert served.ask().status == 200
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0, served.log.read_text()

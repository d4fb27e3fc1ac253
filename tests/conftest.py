"""What all tests share: nobody's own folders and keys are touched, and what is not there is skipped with a reason."""

import gc
import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background has them ignore Ctrl-C; programs that a test starts shall not.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Two llama.cpp or torch pools that fight for the same cores take twice the work. Said before a test imports either.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("EVENHAND_DATA") or REPOSITORY.parent / "shared" / "data")

# Read before the home folder is changed: Playwright looks for its browsers below it.
_BROWSERS = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")

_FOREIGN = ("EVENHAND_", "ANTHROPIC_", "OPENAI_", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@pytest.fixture(scope="session", autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the whole run a home folder of its own and take the developer's keys and settings away.

    One for the run, not one per test: the scorer keeps the embeddings of the reference proposals in the cache folder.
    """
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(_FOREIGN):
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("USERPROFILE", str(home))
        for name, folder in (("DATA", "data"), ("CACHE", "cache"), ("STATE", "state"), ("CONFIG", "config")):
            patch.setenv(f"XDG_{name}_HOME", str(home / folder))
        patch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(_BROWSERS))
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        # Nobody's own keyring is asked. A test that wants one sets it.
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
        yield


@pytest.fixture(autouse=True)
def _own_log_handlers() -> Iterator[None]:
    """Take away the handlers that a command of a test set up: their stream is closed when the next test logs."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the public data sets, which are not part of this repository."""
    if not DATA.is_dir():
        pytest.skip(f"there are no data sets at {DATA}; set EVENHAND_DATA to their folder")
    return DATA


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium to drive."""
    found = _chromium()
    if found is None:
        pytest.skip(_NO_CHROMIUM)
    return found


@pytest.fixture(scope="session")
def headless_chromium(chromium: str) -> str:
    """The path of the Chromium without windows, where it is installed: half the work. Otherwise of the whole one."""
    downloaded = sorted(path for name in _SHELLS for path in _BROWSERS.glob(f"chromium_headless_shell*/*/{name}"))
    return shutil.which("chromium-headless-shell") or (str(downloaded[-1]) if downloaded else chromium)


_NO_CHROMIUM = "there is no Chromium: install it, or run `playwright install chromium`"


_SHELLS = ("chrome-headless-shell", "headless_shell")
_PROGRAMS = ("chrome", "chrome.exe", *_SHELLS)


def _chromium() -> str | None:
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if path := shutil.which(name):
            return path
    downloaded = sorted(_BROWSERS.glob("chromium*/chrome-*/*"))
    return next((str(path) for path in downloaded if path.name in _PROGRAMS), None)


def _cuda_is_there() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def pytest_collection_finish() -> None:
    """Leave what the tests' imports made out of garbage collections, of which each training asks for several."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, each with its reason, and give the browser tests a second try.

    torch is imported only if a test asks for a GPU.
    """
    for marker, is_there, reason in (
        ("cuda", _cuda_is_there, "there is no NVIDIA GPU that torch can use"),
        ("browser", lambda: _chromium() is not None, _NO_CHROMIUM),
    ):
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked and not is_there():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))
    for item in items:
        # Chromium has deadlines of its own, which a busy machine misses. What fails twice is a fault, and the summary
        # counts what was run again.
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))

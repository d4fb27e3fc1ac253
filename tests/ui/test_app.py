"""ui/app.py and what it stands on: who is served, where, and how fast the page's parts are made."""

import asyncio
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mediator.errors import InputError
from ui.app import launch
from ui.http_guard import PageGuard


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", ""])
def test_it_serves_this_computer_only(host):
    with pytest.raises(InputError, match="this computer only"):
        launch(host=host, open_browser=False, wait=False)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_impossible_port_is_a_sentence(port):
    with pytest.raises(InputError, match="1 to 65535"):
        launch(port=port, open_browser=False, wait=False)


def test_a_taken_port_is_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"Port {port} is taken"):
            launch(port=port, open_browser=False, wait=False)


def answer(host, origin=None):
    """Send one request through the guard; return the status, the headers, and whether the app was reached."""
    reached, sent = [], []

    async def served(scope, receive, send):
        reached.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"private"})

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    given = ((b"host", host), (b"origin", origin))
    headers = [(name, value.encode()) for name, value in given if value is not None]
    serving = PageGuard(served)({"type": "http", "path": "/", "headers": headers}, receive, send)
    # In a thread of its own: Playwright, once started by another test, keeps an event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, serving).result()
    return sent[0]["status"], dict(sent[0]["headers"]), bool(reached)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "127.0.0.1"])
def test_this_computer_gets_in(host):
    status, headers, reached = answer(host)
    assert (status, reached) == (200, True)
    assert b"connect-src 'self'" in headers[b"content-security-policy"]


@pytest.mark.parametrize("host", [None, "", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7860"])
def test_a_name_that_was_pointed_here_does_not(host):
    status, _, reached = answer(host)
    assert (status, reached) == (421, False)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000", "https://localhost:7860"])
def test_a_page_from_elsewhere_cannot_make_it_work(origin):
    assert answer("localhost:7860", origin)[::2] == (421, False)
    assert answer("localhost:7860", "http://localhost:7860")[::2] == (200, True)


def test_gradio_is_imported_without_analytics_and_without_writing_stubs():
    code = (
        "import ui, os, sys; from ui.gradio_loading import load_gradio; import inspect; before = inspect.getfile\n"
        "import pathlib; written = []; pathlib.Path.write_text = lambda self, *_, **__: written.append(str(self))\n"
        "load_gradio(); import gradio\n"
        "assert inspect.getfile is before\n"
        "assert gradio.Textbox(label='x').label == 'x'\n"
        "assert os.environ['GRADIO_ANALYTICS_ENABLED'] == 'False' and not gradio.Blocks().analytics_enabled\n"
        "assert not [path for path in written if path.endswith('.pyi')], written\n"
        "assert 'torch' not in sys.modules and 'llama_cpp' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

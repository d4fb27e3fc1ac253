"""ui/app.py and ui/cli.py: how the app is launched and ended, and what is said when it cannot be."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from mediator.errors import InputError
from tests.support.served import REPOSITORY, serving
from ui.app import launch
from ui.password import PasswordError


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_where_others_get_in_there_must_be_a_password(host):
    with pytest.raises(InputError, match="needs a password"):
        launch(host=host, open_browser=False, wait=False)


@pytest.mark.parametrize("host", ["", "no-such-computer.invalid"])
def test_a_host_that_is_none_is_a_sentence(host):
    with pytest.raises(InputError, match="no computer is known by it"):
        launch(host=host, open_browser=False, wait=False)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_impossible_port_is_a_sentence(port):
    with pytest.raises(InputError, match="1 to 65535"):
        launch(port=port, open_browser=False, wait=False)


def test_a_taken_port_is_a_sentence_before_the_page_is_made(monkeypatch):
    monkeypatch.setattr("ui.app.build", lambda *_: pytest.fail("the page was made"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"Port {port} is taken"):
            launch(port=port, open_browser=False, wait=False)


def test_a_name_that_cannot_be_allowed_is_a_sentence():
    with pytest.raises(InputError, match="--allow-host"):
        launch(allow_hosts=["https://x.example/"], open_browser=False, wait=False)


def evenhand(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ui.cli", *arguments],
        cwd=REPOSITORY, env=os.environ | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_on_the_command_line_too_there_must_be_a_password(tmp_path):
    done = evenhand("ui", "--host", "0.0.0.0", EVENHAND_LOG_FOLDER=str(tmp_path))
    assert done.returncode == PasswordError.exit_code == 2
    assert done.stderr.startswith("evenhand: Other computers can reach Evenhand at this address")
    assert len(done.stderr.splitlines()) == 1
    short = evenhand("--host", "0.0.0.0", EVENHAND_LOG_FOLDER=str(tmp_path), EVENHAND_PASSWORD="short")
    assert short.returncode == 2
    assert "fewer than 12" in short.stderr
    assert "short" not in short.stderr


def test_no_option_takes_the_password_itself():
    listed = evenhand("ui", "--help").stdout
    assert "--password-file" in listed
    assert evenhand("ui", "--password", "x").returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number):
    with serving() as served, socket.create_connection(("127.0.0.1", served.port)) as stream:
        stream.sendall(f"GET /gradio_api/heartbeat/abc HTTP/1.1\r\nHost: {served.host}\r\n\r\n".encode())
        while b"ALIVE" not in stream.recv(65536):
            pass
        served.process.send_signal(number)
        assert served.process.wait(timeout=60) == 0
        assert len(served.log.read_text().splitlines()) == 1  # its address, and no traceback
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", served.port)).close()


def test_a_path_of_options_without_the_word_ui_opens_the_app():
    with serving(program=("-m", "ui.cli")) as served:
        assert served.ask().status == 200


def test_gradio_is_imported_and_the_page_made_without_analytics_stubs_or_models():
    code = (
        "import ui, os, sys; from ui.gradio_loading import load_gradio; import inspect; before = inspect.getfile\n"
        "import pathlib; written = []; pathlib.Path.write_text = lambda self, *_, **__: written.append(str(self))\n"
        "load_gradio(); import gradio\n"
        "assert inspect.getfile is before\n"
        "assert gradio.Textbox(label='x').label == 'x'\n"
        "assert os.environ['GRADIO_ANALYTICS_ENABLED'] == 'False' and not gradio.Blocks().analytics_enabled\n"
        "assert not [path for path in written if path.endswith('.pyi')], written\n"
        "from ui.app import build; build()  # the page is made and opened without any model\n"
        "assert 'torch' not in sys.modules and 'llama_cpp' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

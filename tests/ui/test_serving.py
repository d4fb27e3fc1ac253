"""ui/serving.py: the server in this process: what is open, encryption, starting, stopping."""

import re
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.patience import PATIENCE

from mediator.errors import InputError
from ui import serving
from ui.app import build
from ui.password import Password
from ui.serving import Access, Server, announcement

WORDS = "a good long password"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def status(url: str, method: str = "GET", context: ssl.SSLContext | None = None) -> int:
    body, headers = (b"{}", {"Content-Type": "application/json"}) if method == "POST" else (None, {})
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        # A stream that stays open says its status and then nothing.
        with urllib.request.urlopen(request, timeout=PATIENCE, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def page():
    return build()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    files = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", files[0], "-keyout", files[1]]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    return files


def addresses_of(router) -> list[tuple[str, str]]:
    """Every method and address that Gradio serves, with something in the place of what varies."""
    found = []
    for route in router.routes:
        if inner := getattr(route, "original_router", None):
            found += addresses_of(inner)
        else:
            path = re.sub(r"\{[^}]*\}", "x", route.path)
            found += [(method, path or "/") for method in sorted(route.methods or {"GET"})]
    return found


_API = "/gradio_api"
OPEN = {
    *(("GET", "/"), ("HEAD", "/"), ("GET", "/config"), ("GET", "/theme.css")),
    *(("GET", "/favicon.ico"), ("GET", "/manifest.json"), ("GET", "/assets/x"), ("GET", "/static/x")),
    *(("GET", f"{_API}/info"), ("GET", f"{_API}/info/"), ("GET", f"{_API}/app_id"), ("GET", f"{_API}/queue/data")),
    *(("GET", f"{_API}/heartbeat/x"), ("POST", f"{_API}/queue/join"), ("POST", f"{_API}/cancel")),
    *(("POST", f"{_API}/component_server"), ("POST", f"{_API}/component_server/")),
    *(("POST", f"{_API}/reset"), ("POST", f"{_API}/reset/")),
}


def test_of_all_addresses_of_gradio_only_those_are_open_that_the_page_needs(page):
    server = Server(lambda: page, Access(port=free_port()))
    try:
        everything = addresses_of(page.app)
        assert len(everything) > 60
        refused = {asked for asked in everything if status(server.address[:-1] + asked[1], asked[0]) in (404, 405)}
        assert set(everything) - refused <= OPEN
    finally:
        server.close()


def test_before_login_every_address_is_shut_but_the_icon_and_the_manifest(page):
    server = Server(lambda: page, Access(port=free_port(), password=Password(WORDS)))
    try:
        found = {asked: status(server.address[:-1] + asked[1], asked[0]) for asked in addresses_of(page.app)}
        assert {asked for asked, code in found.items() if code not in (401, 404, 405)} == {
            ("GET", "/favicon.ico"),
            ("GET", "/manifest.json"),
            ("POST", "/login"),  # Gradio's own; it is ours that answers: not JSON
        }
        assert found["POST", "/login"] == 415
        assert found["GET", "/"] == found["GET", "/config"] == found["POST", "/gradio_api/queue/join"] == 401
    finally:
        server.close()


def test_a_place_that_others_reach_needs_a_password(page):
    for host in ("0.0.0.0", "::", "192.0.2.77"):
        with pytest.raises(InputError, match="needs a password"):
            Server(lambda: page, Access(host, free_port()))


def test_the_page_is_not_made_when_the_port_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        def make_page():
            raise AssertionError("it was made")

        with pytest.raises(InputError, match=f"Port {port} is taken"):
            Server(make_page, Access(port=port))


def test_closing_ends_open_streams_and_frees_the_port(page, monkeypatch):
    monkeypatch.setattr(serving, "STOPPING", 2 * PATIENCE)  # what does not end by itself holds the closing up
    port = free_port()
    for _ in range(3):
        server = Server(lambda: page, Access(port=port))
        assert status(server.address) == 200
        stream = urllib.request.urlopen(f"{server.address}gradio_api/heartbeat/abc", timeout=PATIENCE)
        assert stream.readline() == b"data: ALIVE\n"
        closing = threading.Thread(target=server.close, daemon=True)
        closing.start()
        closing.join(PATIENCE)
        assert not closing.is_alive(), "it waited for a stream that does not end"
        stream.read()  # ends
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(server.address, timeout=PATIENCE)
        server.close()


def test_it_can_be_encrypted(page, certificate):
    server = Server(lambda: page, Access("localhost", free_port(), certificate=certificate[0], key=certificate[1]))
    try:
        assert server.address.startswith("https://127.0.0.1:")
        assert status(server.address, context=ssl.create_default_context(cafile=certificate[0])) == 200
        plain = server.address.replace("https", "http")
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            urllib.request.urlopen(plain, timeout=PATIENCE)
    finally:
        server.close()


def test_a_certificate_that_cannot_be_used_is_a_sentence(page, certificate, tmp_path):
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nothing")
    for pair, words in (
        ((tmp_path / "none.pem", certificate[1]), "not there"),
        ((nonsense, certificate[1]), "cannot be used"),
        ((certificate[0], nonsense), "cannot be used"),
        ((certificate[0], None), "cannot be used"),
        ((None, certificate[1]), "no certificate"),
    ):
        with pytest.raises(InputError, match=words):
            Server(lambda: page, Access(port=free_port(), certificate=pair[0], key=pair[1]))


def test_what_is_said_names_who_can_get_in_and_that_others_read_along():
    assert announcement("http://127.0.0.1:7860/", Access()) == [
        "Evenhand is open at http://127.0.0.1:7860/ (this computer only). Stop it with Ctrl+C."
    ]
    away = Access("192.0.2.9", password=Password(WORDS))
    lines = announcement("http://192.0.2.9:7860/", away)
    assert "not encrypted" in lines[1]
    assert WORDS not in "".join(lines)
    encrypted = Access("192.0.2.9", password=Password(WORDS), certificate=Path("cert.pem"))
    assert len(announcement("https://192.0.2.9:7860/", encrypted)) == 1

"""The attacks of docs/security.md by other sites and by whoever can ask, on the real app in a process of its own."""

import contextlib
import json
import os
import re
import secrets
import socket
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pytest

from tests.support.served import FORM, JSON, PASSWORD, Answer, Served, raw

SECRET = f"secret-{secrets.token_hex(8)}"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text(SECRET)
    return path


def predict(served: Served, function: int, data: object, headers: tuple[tuple[str, str], ...] = (JSON,)) -> Answer:
    body = {"data": data, "fn_index": function, "session_hash": secrets.token_hex(6), "trigger_id": None}
    return served.ask("/gradio_api/run/predict", "POST", json.dumps(body).encode(), headers)


def functions(served: Served) -> list[tuple[int, int]]:
    """The number of each function of the page, and how many inputs it has."""
    config = json.loads(served.ask("/config").body)
    return [(one["id"], len(one["inputs"])) for one in config["dependencies"]]


@pytest.mark.parametrize(
    "name", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "[::ffff:7f00:2]"]
)
def test_dns_rebinding(app, name):
    for path in ("/", "/config", "/assets/x.js", "/gradio_api/queue/data?session_hash=x", "/nothing"):
        answer = app.ask(path, host=f"{name}:{app.port}")
        assert (answer.status, answer.text) == (421, "Evenhand does not answer under this name.\n")


def test_dns_rebinding_where_other_computers_get_in(shared):
    assert shared.ask(host="evil.example").status == 421
    assert shared.ask(host="mediation.example").status == 401
    own = own_address()
    assert shared.ask(host=f"{own}:{shared.port}", address=own).status == 401
    assert shared.ask(host=f"{own}:{shared.port}", address="127.0.0.1").status == 421


def own_address() -> str:
    """An address of this computer that is not loopback."""
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family == socket.AF_INET and not one.address.startswith("127."):
                return str(one.address)
    pytest.skip("this computer has no address but loopback")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1"])
def test_a_page_of_another_site_makes_it_do_nothing(app, origin):
    assert predict(app, 0, [], (JSON, ("Origin", origin))).status == 421
    assert app.ask("/config", headers=[("Origin", origin)]).status == 421
    answer = app.ask(
        "/gradio_api/queue/join", "OPTIONS", headers=[("Origin", origin), ("Access-Control-Request-Method", "POST")]
    )
    assert answer.status == 421
    assert "access-control-allow-origin" not in answer.headers
    assert app.ask("/gradio_api/heartbeat/x", headers=[("Sec-Fetch-Site", "cross-site")]).status == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_form_of_another_site_is_not_read(app, kind):
    assert predict(app, 0, [], (("Content-Type", kind),)).status == 415


@pytest.mark.parametrize("origin", ["https://evil.example", None])
def test_a_websocket_is_not_opened(app, origin):
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    upgrade += [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("Origin", origin or app.url)]
    for path in ("/", "/queue/join", "/gradio_api/queue/join"):
        assert app.ask(path, headers=upgrade).status == (
            421 if origin else 405 if "api" in path else 404 if path != "/" else 200
        )


def test_clickjacking_and_what_else_a_browser_is_told(app, shared):
    for answer in (app.ask(), shared.ask(), app.ask("/nothing"), app.ask("/config"), app.ask(host="evil.example")):
        headers = answer.headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]
        assert headers["cache-control"] == "no-store"
        assert not {"server", "x-powered-by", "access-control-allow-origin"} & set(headers)
        assert "uvicorn" not in answer.text.lower()
    assert (
        "'unsafe-inline'"
        not in app.ask().headers["content-security-policy"].partition("script-src")[2].partition(";")[0]
    )


def test_no_file_of_the_computer_is_served(app, secret):
    uploads = app.folder / "uploads"
    uploads.mkdir(exist_ok=True)
    link = uploads / "innocent.txt"
    link.symlink_to(secret)
    targets = [
        str(secret),
        str(link),
        "/etc/passwd",
        "/proc/self/environ",
        str(app.folder / "data" / "sessions.sqlite3"),
    ]
    for target in targets:
        inner = target.lstrip("/")
        for path in (
            *(f"/gradio_api/file={target}", f"/gradio_api/file/{inner}", f"/file={target}", f"/file/{inner}"),
            *(f"/gradio_api/file=/{inner}", f"/gradio_api/proxy=file:///{inner}", f"/gradio_api/stream/{inner}"),
            *(
                f"/assets/../../../../../../../..{target}",
                f"/static/../../../../../../../..{target}",
                f"/assets/{target}",
            ),
            *(
                f"/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e{target}",
                f"/assets/..%2f..%2f..%2f..%2f{inner}",
            ),
            *(f"/assets/..%252f..%252f{inner}", f"/static/..%5c..%5c{inner}", f"/static/....//....//{inner}", target),
            *(f"/svelte/../../../../../..{target}", f"/gradio_api/custom_component/a/client/component/..%2f{inner}"),
            *(f"/static/img/logo.svg%00{inner}", f"/assets//{inner}", f"/icons/../../..{target}", f"/icons/{inner}"),
            *(f"/?deep_link=../../../..{target}", f"/config?deep_link=..%2f..{target}", f"/gradio_api/file%3D{target}"),
        ):
            answer = app.ask(path)
            assert answer.status in (404, 405), (path, answer.status)
            assert SECRET not in answer.text
            assert "root:" not in answer.text


def test_nothing_can_be_uploaded(app):
    uploads = app.folder / "uploads"
    before = set(uploads.rglob("*"))
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="../../a.html"\r\n\r\n<script>1</script>\r\n'
        b'--x\r\nContent-Disposition: form-data; name="component_id"\r\n\r\n1\r\n'
        b'--x\r\nContent-Disposition: form-data; name="session_hash"\r\n\r\na\r\n'
        b'--x\r\nContent-Disposition: form-data; name="fn_name"\r\n\r\nf\r\n--x--\r\n'
    )
    parts = ("Content-Type", "multipart/form-data; boundary=x")
    for path in ("/gradio_api/upload", "/upload", "/gradio_api/upload?upload_id=1", "/gradio_api/process_recording"):
        assert app.ask(path, "POST", body, [parts]).status == 404
    for path in ("/gradio_api/component_server", "/gradio_api/component_server/", "/gradio_api/run/predict"):
        assert app.ask(path, "POST", body, [parts]).status == 415
    assert set(uploads.rglob("*")) == before


def test_a_value_that_says_it_is_a_file_or_an_address_makes_it_read_neither(app, secret):
    asked = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.5)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        for function, count in functions(app):
            for path in (str(secret), address):
                value = {"path": path, "url": path, "orig_name": "x.txt", "meta": {"_type": "gradio.FileData"}}
                for data in ([value] * count, [[value]] * count, value):
                    answer = predict(app, function, data)
                    assert SECRET not in answer.text
        with contextlib.suppress(TimeoutError):
            asked.append(listener.accept())
    assert asked == []
    copies = [path for path in (app.folder / "uploads").rglob("*") if path.is_file() and not path.is_symlink()]
    assert copies == []
    assert app.is_alive()


def test_scripts_of_the_page_can_call_our_functions_alone(app):
    config = json.loads(app.ask("/config").body)
    for component in config["components"]:
        for name in ("__init__", "preprocess", "postprocess", "get_config", "as_example", "_is_server_fn", "__class__"):
            body = {"data": [], "component_id": component["id"], "session_hash": "a", "fn_name": name}
            answer = app.ask("/gradio_api/component_server", "POST", json.dumps(body).encode(), [JSON])
            assert answer.status >= 400, (component["type"], name, answer.text)


def test_guessing_what_a_browser_tab_is_called_gives_nothing(app):
    for guess in ("a", "kf0ydeie3nm", "00000000000", "../x", ""):
        with socket.create_connection(("127.0.0.1", app.port), timeout=3) as connection:
            request = f"GET /gradio_api/queue/data?session_hash={guess} HTTP/1.1\r\nHost: {app.host}\r\n\r\n"
            connection.sendall(request.encode())
            received = b""
            try:
                while part := connection.recv(65536):
                    received += part
            except TimeoutError:
                pass
        messages = [json.loads(line[6:]) for line in received.splitlines() if line.startswith(b"data: {")]
        assert all(message["msg"] in ("heartbeat", "close_stream", "unexpected_error") for message in messages), (
            received
        )


def test_guessing_the_id_of_a_session_gives_the_page_and_nothing_of_it(app):
    plain = app.ask("/").body
    for guess in (
        "a",
        "0" * 32,
        "f" * 32,
        "../../etc/passwd",
        "1%27%20OR%201=1--",
        "<script>alert(1)</script>".replace("<", "%3C"),
    ):
        answer = app.ask(f"/?session={guess}")
        assert answer.status == 200
        assert b"alert(1)" not in answer.body
        assert b"root:" not in answer.body
        assert abs(len(answer.body) - len(plain)) < 2000


@pytest.mark.parametrize(
    "header", ["X-Forwarded-Host", "Forwarded", "X-Forwarded-Server", "X-Gradio-Server", "X-Original-Host"]
)
def test_nobody_else_can_be_named_as_the_server(app, header):
    for value in ("evil.example", "host=evil.example"):
        answer = app.ask(headers=[(header, value), ("X-Forwarded-Proto", "https")])
        assert answer.status == 200
        assert b"evil.example" not in answer.body
        assert b"https://127" not in answer.body


def test_the_host_header_cannot_carry_anything(app):
    for host in (
        f"{app.host}@evil.example",
        f"evil.example#{app.host}",
        f"{app.host}/evil",
        f"{app.host}\tx",
        f'{app.host}"><b>',
    ):
        answer = app.ask(host=host)
        assert answer.status in (400, 421), host
        assert b"evil" not in answer.body
    received, _ = raw(app, f"GET http://evil.example/ HTTP/1.1\r\nHost: {app.host}\r\n\r\n".encode(), seconds=5)
    assert received.startswith(b"HTTP/1.1 404 ")
    received, _ = raw(app, b"GET / HTTP/1.0\r\n\r\n", seconds=5)
    assert re.match(rb"HTTP/1.[01] 421 ", received)


def test_a_login_leads_nowhere_else(shared):
    body = urlencode({"password": PASSWORD}).encode()
    for query in (
        "?next=https://evil.example",
        "?session=//evil.example",
        "?session=a%0d%0aSet-Cookie:%20x=y",
        "?//evil.example",
    ):
        answer = shared.ask(f"/login{query}", "POST", body, [FORM])
        assert answer.status == 303
        assert answer.headers["location"] in ("/", "/?session=a")
        assert answer.headers["set-cookie"].count("=") == 3  # the token, Path, SameSite


def test_what_serves_does_not_say_more_than_it_must(app):
    assert json.loads(app.ask("/gradio_api/info").body) == {"named_endpoints": {}, "unnamed_endpoints": {}}
    for path in (
        "/monitoring",
        "/monitoring/summary",
        "/gradio_api/queue/status",
        "/gradio_api/openapi.json",
        "/openapi.json",
    ):
        assert app.ask(path).status == 404
    for path in (
        "/docs",
        "/redoc",
        "/gradio_api/mcp",
        "/gradio_api/mcp/sse",
        "/gradio_api/runs",
        "/robots.txt",
        "/.env",
    ):
        assert app.ask(path).status == 404
    text = app.ask("/config").text
    assert str(Path.home()) not in text
    assert str(Path(__file__).resolve().parents[2]) not in text
    assert os.environ.get("USER") in (None, "", "root") or os.environ["USER"] not in text

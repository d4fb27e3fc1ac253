"""ui/http_guard.py and ui/page_routes.py: who may ask, for what, and what a browser is told about the answer."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.asgi import Reached, ask
from ui.content_policy import PagePolicy, hash_of
from ui.http_guard import ARRIVED, PageGuard, host_name
from ui.page_routes import status_of
from ui.request_body import BodyLimit


def answer(host, origin=None, names=(), server=("127.0.0.1", 7860), **more):
    app = Reached()
    given = [("host", host), ("origin", origin), *more.get("headers", ())]
    headers = [(name, value) for name, value in given if value is not None]
    status, sent, _ = ask(PageGuard(app, names), headers=headers, server=server)
    return status, sent, bool(app.scopes)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "127.0.0.1", "[::1]:7860", "[::1]"])
def test_this_computer_gets_in(host):
    status, headers, reached = answer(host)
    assert (status, reached) == (200, True)
    assert b"connect-src 'self'" in headers[b"content-security-policy"]


STRANGERS = [
    *(None, "", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7860", "127.0.0.1@evil.example"),
    *("evil.example@127.0.0.1", "127.0.0.1:7860@evil", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:0", "127.0.0.1:x"),
    *(
        "localhost.",
        "[::1",
        "::1",
        "[::2]",
        "[127.0.0.1]",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "127.0.0.1/",
        "-",
    ),
    *("127.0.0.1 evil.example", "127.0.0.1,evil.example", "localhost\tx", "lócalhost", "192.168.1.5:7860"),
]


@pytest.mark.parametrize("host", STRANGERS)
def test_a_name_that_was_pointed_here_does_not(host):
    status, _, reached = answer(host)
    assert (status, reached) == (421, False)


def test_two_host_headers_are_one_too_many():
    assert answer("localhost:7860", headers=[("host", "evil.example")])[::2] == (421, False)
    assert answer("localhost:7860", headers=[("host", "localhost:7860")])[::2] == (421, False)


def test_the_address_that_was_reached_is_a_name_of_ours_and_no_other():
    assert answer("192.168.1.5:7860", server=("192.168.1.5", 7860))[0] == 200
    assert answer("192.168.1.5:7860", server=("::ffff:192.168.1.5", 7860))[0] == 200
    assert answer("[fd00::5]:7860", server=("fd00::5", 7860))[0] == 200
    assert answer("[fd00:0:0::0005]:7860", server=("fd00::5", 7860))[0] == 200
    assert answer("192.168.1.6:7860", server=("192.168.1.5", 7860))[0] == 421
    assert answer("evil.example:7860", server=("192.168.1.5", 7860))[0] == 421


def test_names_can_be_allowed():
    assert answer("Mediation.example:443", names=["mediation.EXAMPLE"])[0] == 200
    assert answer("x.mediation.example", names=["mediation.example"])[0] == 421
    assert answer("mediation.example")[0] == 421


@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil.example", "null", "http://localhost:3000", "http://localhost", "https://localhost:7860", ""),
        *("http://localhost:7860.evil.example", "http://localhost:7860@evil", "ftp://localhost:7860", "file://"),
    ],
)
def test_a_page_from_elsewhere_cannot_make_it_work(origin):
    assert answer("localhost:7860", origin)[::2] == (421, False)
    assert answer("localhost:7860", "http://localhost:7860")[::2] == (200, True)


def test_behind_an_allowed_name_the_page_may_have_come_encrypted():
    assert answer("mediation.example", "https://mediation.example", names=["mediation.example"])[0] == 200
    assert answer("mediation.example", "https://evil.example", names=["mediation.example"])[0] == 421


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_picture_or_a_frame_of_another_site_is_not_served_and_a_link_is(site):
    here = ("host", "localhost:7860")

    def status(mode, destination, path="/"):
        headers = [here, ("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", destination)]
        return ask(PageGuard(Reached()), path, headers=headers)[0]

    assert status("no-cors", "image", "/favicon.ico") == 403
    assert status("navigate", "iframe") == 403
    assert status("cors", "empty", "/config") == 403
    assert status("navigate", "document", "/config") == 403
    assert status("navigate", "document") == 200


@pytest.mark.parametrize(
    ("header", "name"),
    [("[::1]:7860", "::1"), ("[0:0::1]", "::1"), ("a-b.c_d:1", "a-b.c_d"), ("x:65536", None), ("[zz]", None)],
)
def test_the_name_in_a_host_header(header, name):
    assert host_name(header) == name


def test_what_a_proxy_would_say_is_not_passed_on():
    app = Reached()
    told = [
        ("x-forwarded-host", "evil"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("cookie", "a"),
    ]
    ask(PageGuard(app), headers=[("host", "localhost:7860"), *told])
    assert app.scopes[0]["headers"] == [(b"host", b"localhost:7860"), (b"cookie", b"a")]


def test_it_is_noted_when_a_request_came():
    app = Reached()
    before = time.monotonic()
    ask(PageGuard(app), headers=[("host", "127.0.0.1")])
    assert before <= app.scopes[0]["state"][ARRIVED] <= time.monotonic()


def test_the_answer_is_guarded_whatever_the_app_says():
    given = [
        (b"Server", b"uvicorn"),
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Cache-Control", b"public"),
        (b"x", b"y"),
    ]
    given += [(b"X-Powered-By", b"me"), (b"X-Frame-Options", b"ALLOWALL")]
    _, headers, _ = ask(PageGuard(Reached(given)), headers=[("host", "localhost:7860")])
    assert headers[b"x"] == b"y"
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-frame-options"] == b"DENY"
    assert headers[b"cross-origin-opener-policy"] == headers[b"cross-origin-resource-policy"] == b"same-origin"
    assert b"camera=()" in headers[b"permissions-policy"]
    assert not {b"server", b"x-powered-by", b"access-control-allow-origin"} & set(headers)
    rules = headers[b"content-security-policy"].split(b"; ")
    assert {b"default-src 'none'", b"frame-ancestors 'none'", b"script-src 'self' 'unsafe-eval'"} <= set(rules)
    _, headers, _ = ask(PageGuard(Reached()), "/assets/index-1.js", headers=[("host", "localhost:7860")])
    assert b"cache-control" not in headers


def test_refusals_are_guarded_too():
    _, headers, body = ask(PageGuard(Reached()), headers=[("host", "evil.example")])
    assert headers[b"x-frame-options"] == b"DENY"
    assert b"evil" not in body


def test_a_websocket_is_not_opened():
    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost:7860"), (b"origin", b"http://localhost:7860")]
    serving = PageGuard(Reached())({"type": "websocket", "path": "/", "headers": headers}, None, send)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, serving).result()
    assert sent == [{"type": "websocket.close", "code": 1008}]


JSON = [("host", "localhost:7860"), ("content-type", "application/json")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", "/"), ("HEAD", "/"), ("GET", "/theme.css"), ("GET", "/config"), ("GET", "/manifest.json")),
        *(("GET", "/assets/index-DphvyggB.js"), ("GET", "/static/js/iframeResizer.contentWindow.min.js")),
        *(("GET", "/gradio_api/heartbeat/kf0ydeie3nm"), ("GET", "/gradio_api/queue/data"), ("GET", "/favicon.ico")),
        *(("POST", "/gradio_api/run/predict"), ("POST", "/gradio_api/queue/join"), ("POST", "/gradio_api/cancel")),
        ("POST", "/gradio_api/component_server/"),
    ],
)
def test_the_page_gets_what_it_needs(method, path):
    app = Reached()
    assert ask(PageGuard(app), path, method, JSON)[0] == 200
    assert app.scopes


@pytest.mark.parametrize(
    "path",
    [
        *("/gradio_api/file=/etc/passwd", "/gradio_api/file/etc/passwd", "/file=/etc/passwd", "/gradio_api/upload"),
        *("/gradio_api/proxy=http://127.0.0.1:1/", "/gradio_api/runs", "/gradio_api/deep_link", "/monitoring/summary"),
        *(
            "/assets/../../etc/passwd",
            "/assets/..",
            "/assets/.env",
            "/assets//etc/passwd",
            "/assets/a/../b.js",
            "/docs",
        ),
        *("/static/..\\..\\x", "/static/img/../../x", "/gradio_api/run/lambda", "/login", "/logout", "//", "/svelte/x"),
        *(
            "http://127.0.0.1/",
            "*",
            "",
            "/\x00",
            "/theme.css\n",
            "/gradio_api/openapi.json",
            "/gradio_api/startup-events",
        ),
    ],
)
def test_everything_else_is_shut(path):
    for method in ("GET", "POST"):
        app = Reached()
        assert ask(PageGuard(app), path, method, JSON)[0] in (404, 405)
        assert not app.scopes


def test_an_escaped_path_is_not_read():
    assert status_of("GET", "/theme.css", b"/%74heme.css", b"", False) == 404
    assert status_of("GET", "/assets/../x", b"/assets/%2e%2e/x", b"", False) == 404


@pytest.mark.parametrize(
    "query", [b"deep_link=x", b"a=1&deep_link=..", b"d%65ep_link=x", b"deep%5flink=", b"deep_link"]
)
def test_a_deep_link_is_not_followed(query):
    assert status_of("GET", "/", b"/", query, False) == 404
    assert status_of("GET", "/", b"/", b"session=0123&__theme=dark", False) == 200


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "get"])
def test_other_methods_are_not_served(method):
    assert ask(PageGuard(Reached()), "/", method, JSON)[0] == 405


def test_only_json_is_read():
    for kind in ("multipart/form-data; boundary=x", "text/plain", "application/x-www-form-urlencoded", ""):
        headers = [("host", "localhost:7860"), ("content-type", kind)]
        assert ask(PageGuard(Reached()), "/gradio_api/component_server", "POST", headers)[0] == 415
    assert ask(PageGuard(Reached()), "/gradio_api/queue/join", "POST", [("host", "localhost:7860")])[0] == 415


def test_a_question_has_no_body():
    assert ask(PageGuard(Reached()), headers=[("host", "localhost:7860"), ("content-length", "5")])[0] == 400
    assert ask(PageGuard(Reached()), headers=[("host", "localhost:7860"), ("transfer-encoding", "chunked")])[0] == 400


def post(app, body, length=None, patience=15.0):
    headers = [] if length is None else [("content-length", length)]
    return ask(BodyLimit(app, patience), "/gradio_api/run/predict", "POST", headers, body=body)[0]


def test_a_body_arrives_whole_or_not_at_all():
    app = Reached()
    assert post(app, [b"ab", b"", b"cd"]) == 200
    assert app.bodies == [b"abcd"]
    refused = Reached()
    assert post(refused, [b"x"], "25000001") == 413
    assert post(refused, [b"x"], "9" * 5000) == 413
    assert post(refused, [b"x"], "-1") == post(refused, [b"x"], "1e9") == 400
    assert post(refused, [bytes(1_000_000)] * 26) == 413
    assert post(refused, [0.2] * 50, patience=0.5) == 408
    assert not refused.scopes


def test_a_body_may_be_as_large_as_the_limit():
    app = Reached()
    assert post(app, [b"1" * 1_000_000] * 25) == 200
    assert len(app.bodies[0]) == 25_000_000


def test_the_page_may_run_the_scripts_that_the_server_wrote_and_no_others():
    html = b'<script>one()</script><SCRIPT type="x">\ntwo()\r\n</SCRIPT><script src="/a"></script><p onclick="three()">'
    _, headers, body = ask(PagePolicy(Reached(html=html)), headers=[("accept-encoding", "br")])
    assert body == html
    rules = headers[b"content-security-policy"].decode()
    first, second = hash_of(b"one()"), hash_of(b"\ntwo()\n")
    assert f"'{first}' '{second}'" in rules
    assert rules.count("sha256-") == 2
    assert "'unsafe-inline'" not in rules.partition("script-src")[2].partition(";")[0]
    page = Reached([(b"Content-Length", b"13")], b"<head></head>")
    _, headers, body = ask(PagePolicy(page, "<meta>"))
    assert body == b"<head><meta></head>"
    assert headers[b"content-length"] == b"19"
    app = Reached(html=html)
    _, headers, _ = ask(PagePolicy(app, "<meta>"), "/theme.css", headers=[("accept-encoding", "br")])
    assert headers == {}
    assert app.scopes[0]["headers"] == [(b"accept-encoding", b"br")]

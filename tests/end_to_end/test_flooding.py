"""The attacks of docs/security.md by too much, by too slowly, and by what could be read in two ways."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import psutil
import pytest

from tests.support.served import FORM, JSON, Served, raw


def head(served: Served, *lines: str, path: str = "/gradio_api/run/predict") -> bytes:
    given = [f"POST {path} HTTP/1.1", f"Host: {served.host}", "Content-Type: application/json", *lines]
    return "\r\n".join([*given, "", ""]).encode()


def memory(served: Served) -> int:
    return int(psutil.Process(served.process.pid).memory_info().rss)


def test_a_large_body_is_refused_before_it_is_read(app):
    received, seconds = raw(app, head(app, "Content-Length: 25000001"), b"x" * 1000)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert seconds < 5


def test_a_large_body_without_a_length_is_not_kept(app):
    app.ask()
    before = memory(app)
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"  # 1 MiB

    def attack() -> bytes:
        return raw(app, head(app, "Transfer-Encoding: chunked"), *[chunk] * 60)[0]

    for _ in range(6):
        received = attack()
        assert received.startswith(b"HTTP/1.1 413 ") or received == b""  # cut off while still sending
    assert memory(app) - before < 120e6
    assert app.is_alive()


def test_before_login_not_even_a_small_part_is_read(shared):
    received, _ = raw(shared, head(shared, "Content-Length: 20000000").replace(b"run/predict", b"queue/join"))
    assert received.startswith(b"HTTP/1.1 401 ")
    body = urlencode({"password": "x" * 20_000}).encode()
    assert shared.ask("/login", "POST", body, [FORM]).status == 413


def test_slow_senders_are_hung_up_on_and_hold_nobody_up(app, shared):
    drip = [piece for _ in range(80) for piece in (b"x", 0.5)]
    attacks = {
        "nothing at all": (),
        "a slow head": (b"GET / HTTP/1.1\r\nHost: ", *drip),
        "a slow second head": (f"HEAD / HTTP/1.1\r\nHost: {app.host}\r\n\r\n".encode(), 1.0, b"G", *drip),
        "a slow body": (head(app, "Content-Length: 100000"), *drip),
        "a slow body in pieces": (head(app, "Transfer-Encoding: chunked"), *[b"1\r\nx\r\n", 0.5] * 80),
        "a body that stops": (head(app, "Content-Length: 100000"), b"{"),
    }
    form = head(shared, path="/login").replace(b"application/json", FORM[1].encode())
    with ThreadPoolExecutor(40) as pool:
        running = {name: pool.submit(raw, app, *parts) for name, parts in attacks.items()}
        running["a slow login"] = pool.submit(
            raw, shared, form.replace(b"\r\n\r\n", b"\r\nContent-Length: 100\r\n\r\n"), *drip
        )
        crowd = [pool.submit(raw, app, *attacks["a slow head"]) for _ in range(30)]
        time.sleep(3)
        begun = time.monotonic()
        assert app.ask().status == 200
        assert time.monotonic() - begun < 2
        ended = {name: one.result() for name, one in running.items()}
        assert all(one.result()[1] < 50 for one in crowd)
    for name in ("a slow body", "a slow body in pieces", "a body that stops", "a slow login"):
        assert ended[name][0].startswith(b"HTTP/1.1 408 "), (name, ended[name])
    for name in ("nothing at all", "a body that stops"):  # the others notice only when they have dripped it all
        assert ended[name][1] < 20, (name, ended[name])
    assert ended["a slow head"][0] == b""
    assert ended["a slow second head"][0].startswith(b"HTTP/1.1 200 ")


def test_json_that_is_nested_without_end_breaks_nothing(app):
    for body in (b"[" * 200_000, b'{"data":' * 100_000, b"\xff\xfe", b"", b"null", b"1e999999", b"{}"):
        assert app.ask("/gradio_api/run/predict", "POST", body, [JSON]).status >= 400
    assert app.is_alive()


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Transfer-Encoding: xchunked",),
        ("Content-Length: +5",),
        ("Host: evil.example",),
        ("X: a\x00b",),
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_not_read(app, lines):
    smuggled = f"0\r\n\r\nGET /config HTTP/1.1\r\nHost: {app.host}\r\n\r\n".encode()
    received, _ = raw(app, head(app, *lines), smuggled, seconds=20)
    assert re.match(rb"HTTP/1.1 (400|421|415|501) ", received), received[:200]
    assert received.count(b"HTTP/1.1") == 1


def test_a_head_without_end_is_not_kept(app):
    received, seconds = raw(app, b"GET / HTTP/1.1\r\nX: " + b"a" * 2_000_000, seconds=20)
    assert received == b"" or received.startswith(b"HTTP/1.1 400 ")
    assert seconds < 15


def test_many_at_once_are_served_or_told_to_wait(app):
    found: list[int] = []
    lock = threading.Lock()

    def ask() -> None:
        status = app.ask("/theme.css").status
        with lock:
            found.append(status)

    with ThreadPoolExecutor(100) as pool:
        for _ in range(300):
            pool.submit(ask)
    assert len(found) == 300
    assert set(found) <= {200, 503}
    assert app.is_alive()

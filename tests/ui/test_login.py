"""ui/login.py and ui/login_limits.py: who gets past, how often one may guess, and what the login page is."""

import re
from urllib.parse import quote_plus

import pytest

from tests.support.asgi import Reached, ask
from ui import login
from ui.login import LoginGate
from ui.login_limits import FREE_FAILURES, LONGEST_WAIT, MOST_ADDRESSES, LoginLimits, network_of
from ui.login_page import login_page, login_policy
from ui.password import Password
from ui.pulse import PATH

WORDS = "a good long password"
FORM = ("content-type", "application/x-www-form-urlencoded")


@pytest.fixture
def gate(monkeypatch):
    monkeypatch.setattr(login, "SLOWNESS", 0.0)
    return LoginGate(Reached(), Password(WORDS), 7860, secure=False)


def log_in(gate, password=WORDS, query=b"", headers=(FORM,)):
    body = [f"password={quote_plus(password)}".encode()]
    return ask(gate, "/login", "POST", headers, query=query, body=body)


def cookie_of(headers):
    return headers[b"set-cookie"].decode().partition(";")[0]


def test_without_the_password_there_is_only_the_login_page(gate):
    status, headers, body = ask(gate)
    assert status == 401
    assert b'type="password"' in body
    assert headers[b"content-security-policy"] == login_policy()
    assert b"script" not in body
    for path in ("/config", "/theme.css", "/assets/x.js", "/gradio_api/queue/data", "/gradio_api/info"):
        assert ask(gate, path)[0] == 401
    for path in ("/gradio_api/run/predict", "/gradio_api/queue/join", "/gradio_api/component_server"):
        assert ask(gate, path, "POST")[0] == 401
    assert not gate._app.scopes


def test_with_it_there_is_the_app(gate):
    status, headers, _ = log_in(gate)
    assert (status, headers[b"location"]) == (303, b"/")
    assert ask(gate, headers=[("cookie", cookie_of(headers))])[::2] == (200, b"private")
    assert ask(gate, "/login", headers=[("cookie", cookie_of(headers))])[0] == 303


def test_the_cookie_is_for_this_server_alone(gate):
    flags = log_in(gate)[1][b"set-cookie"].decode().split("; ")
    assert re.fullmatch(r"evenhand-7860=[A-Za-z0-9_-]{43}", flags[0])
    assert flags[1:] == ["Path=/", "HttpOnly", "SameSite=Strict"]
    secure = LoginGate(Reached(), Password(WORDS), 443, secure=True)
    flags = log_in(secure)[1][b"set-cookie"].decode().split("; ")
    assert flags[0].startswith("__Host-evenhand-443=")
    assert flags[1:] == ["Path=/", "HttpOnly", "SameSite=Strict", "Secure"]


@pytest.mark.parametrize("cookie", ["", "evenhand-7860=", "evenhand-7860=x", "=; evenhand-7861=z", '"\\', "a" * 9000])
def test_a_made_up_cookie_is_none(gate, cookie):
    log_in(gate)
    assert ask(gate, headers=[("cookie", cookie)])[0] == 401


def test_each_login_has_a_token_of_its_own_and_logging_out_ends_it(gate):
    first, second = cookie_of(log_in(gate)[1]), cookie_of(log_in(gate)[1])
    assert first != second
    status, headers, _ = ask(gate, "/logout", "POST", [("cookie", first)])
    assert status == 303
    assert b"Max-Age=0" in headers[b"set-cookie"]
    assert ask(gate, headers=[("cookie", first)])[0] == 401
    assert ask(gate, headers=[("cookie", second)])[0] == 200


def test_a_login_ends_when_it_is_not_used(gate, monkeypatch):
    cookie = cookie_of(log_in(gate)[1])
    now = login.time.monotonic()
    monkeypatch.setattr(login.time, "monotonic", lambda: now + login.IDLE - 60)
    assert ask(gate, headers=[("cookie", cookie)])[0] == 200
    monkeypatch.setattr(login.time, "monotonic", lambda: now + 2 * login.IDLE - 120)
    assert ask(gate, headers=[("cookie", cookie)])[0] == 200
    # What an open page asks by itself, whether anything has changed, is no use.
    monkeypatch.setattr(login.time, "monotonic", lambda: now + 3 * login.IDLE - 180)
    assert ask(gate, PATH, headers=[("cookie", cookie)])[0] == 200
    monkeypatch.setattr(login.time, "monotonic", lambda: now + 4 * login.IDLE - 240)
    assert ask(gate, headers=[("cookie", cookie)])[0] == 401


def test_logins_are_bounded(gate):
    first = cookie_of(log_in(gate)[1])
    for _ in range(login.MOST_LOGINS):
        last = cookie_of(log_in(gate)[1])
    assert len(gate._logins) == login.MOST_LOGINS
    assert ask(gate, headers=[("cookie", first)])[0] == 401
    assert ask(gate, headers=[("cookie", last)])[0] == 200


def test_guessing_is_ended_even_with_the_right_password(gate):
    for _ in range(FREE_FAILURES - 1):
        assert log_in(gate, "a wrong password!")[0] == 403
    status, headers, body = log_in(gate, "a wrong password!")
    assert status == 429
    assert headers[b"retry-after"] == b"30"
    assert b"30 seconds" in body
    assert log_in(gate)[0] == 429


def test_slips_before_the_right_one_are_forgiven(gate):
    for _ in range(3):
        for _ in range(FREE_FAILURES - 1):
            assert log_in(gate, "a wrong password!")[0] == 403
        assert log_in(gate)[0] == 303


def test_what_is_no_form_is_not_read(gate):
    assert log_in(gate, headers=[("content-type", "application/json")])[0] == 415
    assert ask(gate, "/login", "POST", [FORM], body=[b"x" * 20_000])[0] == 413
    assert ask(gate, "/login", "POST", [FORM], body=["password=é".encode()])[0] == 400
    assert ask(gate, "/login", "POST", [FORM], body=[b"a=1&" * 50])[0] == 400
    assert ask(gate, "/login", "POST", [FORM], body=[b""])[0] == 403


@pytest.mark.parametrize(
    ("query", "location"),
    [
        (b"session=0123abcd", b"/?session=0123abcd"),
        (b"session=a%0d%0aSet-Cookie:x", b"/?session=a"),
        (b"session=a\r\nX: y", b"/?session=a"),
        (b"next=//evil.example", b"/"),
        (b"//evil.example", b"/"),
    ],
)
def test_after_login_one_is_where_one_wanted_to_be_and_nowhere_else(gate, query, location):
    assert log_in(gate, query=query)[1][b"location"] == location


def test_the_page_speaks_the_browsers_language_and_escapes_what_it_is_given():
    page = login_page("de-AT,de;q=0.9", '/login?"><script>', wrong=True, seconds=0, secure=True).decode()
    assert '<html lang="de">' in page
    assert "Das ist nicht das Passwort." in page
    assert "<script>" not in page
    assert "nicht verschlüsselt" not in page
    assert "not encrypted" in login_page("", "/login", wrong=False, seconds=0, secure=False).decode()


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_the_wait_doubles_up_to_an_hour_and_is_over_in_time():
    clock = Clock()
    limits = LoginLimits(clock)
    for _ in range(FREE_FAILURES - 1):
        limits.failed("192.0.2.1")
        assert limits.wait("192.0.2.1") == 0
    waits = []
    for _ in range(10):
        limits.failed("192.0.2.1")
        waits.append(limits.wait("192.0.2.1"))
        clock.now += waits[-1]
        assert limits.wait("192.0.2.1") == 0
    assert waits == [30, 60, 120, 240, 480, 960, 1920, LONGEST_WAIT, LONGEST_WAIT, LONGEST_WAIT]
    assert limits.wait("192.0.2.2") == 0
    clock.now += 90_000
    limits.failed("192.0.2.1")
    assert limits.wait("192.0.2.1") == 0


def test_what_is_remembered_is_bounded():
    limits = LoginLimits(Clock())
    for number in range(3 * MOST_ADDRESSES):
        limits.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(limits._records) == MOST_ADDRESSES


def test_one_network_of_ipv6_is_one_guesser():
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1:2:3") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("") == "unknown"

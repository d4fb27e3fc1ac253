"""The attacks of docs/security.md on the login: guessing, forged cookies, other ways in, where the password shows."""

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import psutil

from tests.support.served import FORM, JSON, PASSWORD, password_file, serving

WRONG = "quite another password"


def test_guessing_the_password(tmp_path):
    with serving("--password-file", str(password_file(tmp_path))) as served:
        begun = time.monotonic()
        with ThreadPoolExecutor(20) as pool:  # all at once, each as if from elsewhere
            guesses = [
                pool.submit(
                    served.ask, "/login", "POST", urlencode({"password": f"{WRONG} {number}"}).encode(),
                    [FORM, ("X-Forwarded-For", f"10.0.0.{number}"), ("X-Real-IP", f"10.0.0.{number}")],
                )
                for number in range(20)
            ]  # fmt: skip
            answers = [guess.result() for guess in guesses]
        assert time.monotonic() - begun >= 1.0  # a wrong one takes a second
        statuses = [answer.status for answer in answers]
        assert set(statuses) <= {403, 429}
        assert statuses.count(429) >= 16  # four wrong ones are told so, at most
        closed = served.log_in(PASSWORD)
        assert closed.status == 429  # the right one comes too late
        assert 20 <= int(closed.headers["retry-after"]) <= 30
        assert "set-cookie" not in closed.headers
        assert served.ask("/config").status == 401


def test_the_cookie_of_a_login(shared):
    before = shared.ask()
    assert "set-cookie" not in before.headers
    shared.cookies = {f"evenhand-{shared.port}": "chosen-by-the-attacker"}
    try:
        answer = shared.log_in(PASSWORD)
        assert answer.status == 303
        flags = answer.headers["set-cookie"].split("; ")
        assert "chosen" not in flags[0]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} == set(flags[1:])
        assert shared.ask("/config").status == 200
        assert shared.ask("/config", headers=[("Origin", "http://evil.example")]).status == 421
        kept = dict(shared.cookies)
        assert shared.ask("/logout", "POST", b"", [FORM]).status == 303
        shared.cookies = kept
        assert shared.ask("/config").status == 401
        shared.cookies = {"access-token-x": next(iter(kept.values())), "access-token-unsecure-x": "1"}
        assert shared.ask("/config").status == 401
    finally:
        shared.cookies = {}


def test_login_by_another_site_or_by_another_way(shared):
    body = urlencode({"username": "x", "password": PASSWORD}).encode()
    assert shared.ask("/login", "POST", body, [FORM, ("Origin", "https://evil.example")]).status == 421
    assert shared.ask("/login/", "POST", body, [FORM]).status == 404  # Gradio's own
    assert shared.ask("/gradio_api/login", "POST", body, [FORM]).status == 404
    basic = ("Authorization", "Basic eDphIGdvb2QgbG9uZyBwYXNzd29yZA==")
    assert shared.ask("/config", headers=[basic]).status == 401
    assert shared.ask(f"/config?password={PASSWORD.replace(' ', '+')}").status == 401


def test_the_password_is_nowhere_to_be_seen(tmp_path):
    own = secrets.token_urlsafe(16)
    with serving("--host", "0.0.0.0", environment={"EVENHAND_PASSWORD": own}) as served:
        served.log_in(WRONG)
        assert served.log_in(own).status == 303
        served.ask("/gradio_api/run/predict", "POST", b"broken", [JSON])
        arguments = " ".join(psutil.Process(served.process.pid).cmdline())
        everything = arguments + served.ask().text + served.ask("/config").text
        written = [path for path in served.folder.rglob("*") if path.is_file()]
        everything += "".join(path.read_text(encoding="utf-8", errors="replace") for path in written)
        assert own not in everything
        assert WRONG not in everything
        assert "not encrypted" in served.log.read_text(encoding="utf-8")

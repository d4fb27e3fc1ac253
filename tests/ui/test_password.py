"""ui/password.py: where the password comes from, and what is refused."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from ui.password import LONGEST, SHORTEST, VARIABLE, Password, PasswordError, find_password

GOOD = "a good long password"


def test_it_matches_itself_and_nothing_else():
    password = Password(GOOD)
    assert password.matches(GOOD)
    for other in ("", "a", GOOD[:-1], GOOD + " ", GOOD.upper(), "\udc80" * 20):
        assert not password.matches(other)
    assert Password("e\u0301" * 12).matches("\u00e9" * 12)


def test_it_cannot_be_read_out():
    password = Password(GOOD)
    assert GOOD not in repr(password) + str(vars(password))


@pytest.mark.parametrize("text", ["", "x" * (SHORTEST - 1), "x" * (LONGEST + 1)])
def test_a_short_or_endless_one_is_a_sentence_that_does_not_quote_it(text):
    with pytest.raises(PasswordError, match="characters") as caught:
        Password(text)
    assert not text or text not in str(caught.value)


def written(tmp_path: Path, content: bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "password.txt"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\nsecond line\n"])
def test_the_first_line_of_a_file_is_the_password(tmp_path, end):
    password = find_password(written(tmp_path, GOOD.encode() + end), needed=True)
    assert password is not None
    assert password.matches(GOOD)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602, 0o601])
def test_a_file_that_others_have_a_right_to_is_refused(tmp_path, mode):
    with pytest.raises(PasswordError, match="chmod 600"):
        find_password(written(tmp_path, GOOD.encode(), mode), needed=False)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"\nsecond\n", "empty"), (b"\xff\xfe\x00", "UTF-8"), (b"short\n", "fewer than 12")],
)
def test_a_file_without_a_password_is_a_sentence(tmp_path, content, words):
    with pytest.raises(PasswordError, match=words):
        find_password(written(tmp_path, content), needed=True)


def test_a_file_that_is_not_there_or_a_folder_is_a_sentence(tmp_path):
    with pytest.raises(PasswordError, match="cannot be read"):
        find_password(tmp_path / "nothing", needed=True)
    with pytest.raises(PasswordError, match="folder"):
        find_password(tmp_path, needed=True)


def test_a_file_through_a_pipe_is_read(tmp_path):
    reader, writer = os.pipe()
    os.write(writer, GOOD.encode())
    os.close(writer)
    password = find_password(Path(f"/dev/fd/{reader}"), needed=True)
    os.close(reader)
    assert password is not None
    assert password.matches(GOOD)


def test_that_of_the_environment_is_taken_out_of_it(monkeypatch):
    monkeypatch.setenv(VARIABLE, GOOD)
    password = find_password(None, needed=False)
    assert password is not None
    assert password.matches(GOOD)
    assert VARIABLE not in os.environ
    assert find_password(None, needed=False) is None


def test_where_one_is_needed_and_nobody_can_be_asked_it_is_a_sentence(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(PasswordError, match="--password-file"):
        find_password(None, needed=True)


ASKING = """
import sys
from ui.password import find_password, PasswordError
try:
    print("MATCHES", find_password(None, True).matches(sys.argv[1]))
except PasswordError as error:
    print("ERROR", error)
"""


def typed(*lines: str) -> str:
    """Answer the questions on a real terminal; return all that was to be seen on it."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ASKING, GOOD], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    seen = b""
    questions = 0
    waiting = list(lines)
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # the program has ended
            break
        if not part:
            break
        seen += part
        asked = seen.count(b"characters): ") + seen.count(b"Once more: ")
        while questions < asked and waiting:
            questions += 1
            os.write(master, waiting.pop(0).encode() + b"\n")
    os.close(master)
    process.wait(timeout=60)
    return seen.decode()


def test_it_is_asked_for_twice_and_never_shown():
    seen = typed(GOOD, GOOD)
    assert "MATCHES True" in seen
    assert GOOD not in seen


def test_a_slip_is_asked_again_and_three_are_enough():
    seen = typed("short", GOOD, "another long password", GOOD, GOOD)
    assert "fewer than 12" in seen
    assert "differ" in seen
    assert "MATCHES True" in seen
    seen = typed("short", "short", "short")
    assert "ERROR No password was set." in seen
    assert "short" not in seen.replace("shorter", "")

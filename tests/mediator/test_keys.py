"""Keys: where they come from, where they go, and that nothing of ours ever shows or writes one."""

import logging
import pickle
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import chainer, fail, null
from support.messages_server import scripted_server

from mediator import keys, log
from mediator.cancellation import Cancellation
from mediator.errors import InputError
from mediator.keys import Kept, Key, UnusableKey
from mediator.writers.base import AuthenticationFailed, Message, Prompt, Sampling
from mediator.writers.openai_compatible import OpenAICompatibleModel

KEY, OTHER = "sk-first-0123456789-ABCD", "sk-other-9876543210-WXYZ"
HERE, THERE = "https://api.example.org/v1", "https://api.example.com/v1"


class MemoryKeyring(KeyringBackend):
    """A keyring that keeps its secrets in this process."""

    priority = 5  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[tuple[str, str], str] = {}
        self.broken = False
        self.asked = 0

    def get_password(self, service: str, username: str) -> str | None:
        self.asked += 1
        if self.broken:
            raise RuntimeError(f"locked, and this quotes {self.secrets}")
        return self.secrets.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.broken:
            raise RuntimeError(f"cannot keep {password}")
        self.secrets[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.secrets[service, username]


class PlaintextKeyring(MemoryKeyring):
    """What `keyrings.alt` has: a file that anybody may read."""


class FileKeyring(MemoryKeyring):
    file_path = "/home/somebody/keyring.cfg"


class UnusableKeyring(MemoryKeyring):
    priority = 0  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def _no_keys_left() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())
    yield
    keyring.set_keyring(before)
    keys._session.clear()
    keys._from_keyring.clear()


@pytest.fixture
def system() -> MemoryKeyring:
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    return backend


def revealed(key: Key | None) -> str | None:
    return None if key is None else key.reveal()


def test_a_key_is_read_from_the_environment_and_a_blank_one_is_none(monkeypatch):
    assert keys.from_environment("ANTHROPIC_API_KEY") is None
    monkeypatch.setenv("ANTHROPIC_API_KEY", "  ")
    assert keys.key_for_claude() is None
    assert keys.without_keys("a  b") == "a  b"
    monkeypatch.setenv("ANTHROPIC_API_KEY", f" {KEY}\n")
    assert revealed(keys.key_for_claude()) == KEY
    assert keys.without_keys(f"x-api-key: {KEY}, again {KEY}.") == (
        "x-api-key: [ANTHROPIC_API_KEY], again [ANTHROPIC_API_KEY]."
    )


def test_a_key_of_this_session_is_forgotten_on_demand():
    assert keys.keep("anthropic", f" {KEY} ", in_keyring=False) == Kept("session")
    assert revealed(keys.key_for_claude()) == KEY
    assert keys.where_from("anthropic") == keys.KeySource("session", "ABCD")
    keys.keep("anthropic", OTHER, in_keyring=False)
    assert revealed(keys.key_for_claude()) == OTHER
    assert keys.forget("anthropic")
    assert not keys.forget("anthropic")
    assert keys.where_from("anthropic") is None


def test_the_systems_keyring_keeps_a_key_for_the_next_process(system):
    assert keys.keep("anthropic", KEY, in_keyring=True) == Kept("keyring")
    assert system.secrets == {("evenhand", "https://api.anthropic.com"): KEY}
    keys._from_keyring.clear()  # as a new process
    assert revealed(keys.key_for_claude()) == KEY
    asked = system.asked
    keys.key_for_claude()
    assert system.asked == asked  # it may ask its owner for a password each time
    assert keys.where_from("anthropic") == keys.KeySource("keyring", "ABCD")
    assert keys.forget("anthropic")
    assert system.secrets == {}
    assert keys.key_for_claude() is None


def test_a_key_entered_for_this_session_wins_over_the_keyrings_and_both_are_forgotten(system):
    keys.keep(HERE, KEY, in_keyring=True)
    keys.keep(HERE, OTHER, in_keyring=False)
    assert revealed(keys.key_for_server(HERE)) == OTHER
    assert keys.forget(HERE)
    assert system.secrets == {}
    assert keys.key_for_server(HERE) is None


@pytest.mark.parametrize(
    "backend", [fail.Keyring, null.Keyring, PlaintextKeyring, FileKeyring, UnusableKeyring, chainer.ChainerBackend]
)
def test_no_real_keyring_means_this_session_and_says_so(backend, monkeypatch):
    monkeypatch.setattr(chainer.ChainerBackend, "backends", [PlaintextKeyring()])
    keyring.set_keyring(backend())
    kept = keys.keep("anthropic", KEY, in_keyring=True)
    assert kept == Kept("session", "There is no system keyring here: the key is kept until Evenhand ends.")
    assert not getattr(keyring.get_keyring(), "secrets", None)
    assert revealed(keys.key_for_claude()) == KEY


def test_of_several_keyrings_the_first_real_one_is_taken(monkeypatch):
    real = MemoryKeyring()
    monkeypatch.setattr(chainer.ChainerBackend, "backends", [PlaintextKeyring(), real])
    keyring.set_keyring(chainer.ChainerBackend())
    assert keys.keep("anthropic", KEY, in_keyring=True) == Kept("keyring")
    assert list(real.secrets.values()) == [KEY]


def test_a_keyring_that_fails_or_says_nothing_is_none(system, monkeypatch):
    system.broken = True
    kept = keys.keep("anthropic", KEY, in_keyring=True)
    assert kept.place == "session"
    assert kept.why_session.startswith("The system keyring did not take the key")
    keys.forget("anthropic")
    assert keys.key_for_claude() is None

    keys._from_keyring.clear()
    monkeypatch.setattr(keys, "_PATIENCE", 0.1)
    monkeypatch.setattr(system, "get_password", lambda *_: __import__("time").sleep(1.0) or KEY)
    assert keys.key_for_claude() is None


def test_a_key_is_never_for_another_host(system):
    keys.keep(HERE, KEY, in_keyring=False)
    keys.keep("http://localhost:8080/v1", OTHER, in_keyring=True)
    assert revealed(keys.key_for_server("https://API.example.org:443/other")) == KEY
    assert revealed(keys.key_for_server("http://localhost:8080")) == OTHER
    for url in (
        THERE, "http://api.example.org/v1", "https://api.example.org:8443/v1", "https://api.example.org.evil.test/v1",
        "https://api.example.org@evil.test/v1", "http://localhost:8081/v1", "https://localhost:8080/v1", "nonsense",
    ):  # fmt: skip
        assert keys.key_for_server(url) is None, url
    assert keys.key_for_claude() is None


def test_the_key_for_claude_is_for_the_place_where_claude_is_asked(monkeypatch):
    keys.keep("anthropic", KEY, in_keyring=False)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://gateway.example/anthropic")
    assert keys.key_for_claude() is None
    keys.keep("anthropic", OTHER, in_keyring=False)
    assert revealed(keys.key_for_claude()) == OTHER
    monkeypatch.delenv("ANTHROPIC_BASE_URL")
    assert revealed(keys.key_for_claude()) == KEY


def test_the_key_of_the_environment_is_for_servers_without_their_own(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", OTHER)
    assert keys.where_from(THERE) == keys.KeySource("environment", "WXYZ", "OPENAI_API_KEY")
    assert revealed(keys.key_for_server("http://127.0.0.1:9/v1")) == OTHER
    assert revealed(keys.key_for_server("http://[::1]:9/v1")) == OTHER
    assert keys.key_for_server("http://api.example.com/v1") is None  # it never travels unencrypted
    keys.keep(HERE, KEY, in_keyring=False)
    assert revealed(keys.key_for_server(HERE)) == KEY


def test_the_environment_comes_first_for_claude(monkeypatch):
    keys.keep("anthropic", KEY, in_keyring=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", OTHER)
    assert revealed(keys.key_for_claude()) == OTHER
    keys.forget("anthropic")
    assert keys.where_from("anthropic") == keys.KeySource("environment", "WXYZ", "ANTHROPIC_API_KEY")


@pytest.mark.parametrize("text", ["", "  ", "short", "with a blank", "line\nbreak-in-it", "ключ-ключ-ключ", "x" * 5000])
def test_what_cannot_be_a_key_is_refused_without_repeating_it(text):
    with pytest.raises(UnusableKey) as caught:
        keys.keep("anthropic", text, in_keyring=False)
    assert not text.strip() or text not in str(caught.value)
    assert keys.key_for_claude() is None


def test_a_key_needs_an_address():
    with pytest.raises(InputError, match="needs the address"):
        keys.keep("nowhere", KEY, in_keyring=False)


def test_a_key_does_not_show_itself():
    key = Key(KEY, "session")
    for shown in (repr(key), str(key), f"{key}", f"{[key]}", str(vars(keys))):
        assert KEY not in shown
    assert "ABCD" in repr(key)
    assert Key("short-ab", "session").tail == ""
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_every_known_key_is_struck_out(system, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment-1")
    keys.keep(HERE, KEY, in_keyring=False)
    keys.keep(THERE, OTHER, in_keyring=True)
    text = keys.without_keys(f"{KEY} {OTHER} sk-environment-1")
    assert text == "[key] [key] [OPENAI_API_KEY]"


def test_no_file_of_ours_holds_a_key(system, tmp_path, monkeypatch):
    for name in ("DATA", "CACHE", "LOG"):
        monkeypatch.setenv(f"EVENHAND_{name}_FOLDER", str(tmp_path / name))
    from mediator import own_models

    log.start_logging(verbose=True)
    try:
        choice = own_models.add_server("m", HERE)
        keys.keep(HERE, KEY, in_keyring=False)
        keys.keep(THERE, OTHER, in_keyring=True)
        logging.getLogger("mediator").warning("a key in the log: %s %s", KEY, OTHER)
        try:
            raise RuntimeError(KEY)
        except RuntimeError as error:
            log.log_error(error)
        assert KEY not in repr(own_models.load()) + repr(choice)
    finally:
        for name in ("mediator", "trainer", "ui"):
            for handler in logging.getLogger(name).handlers:
                handler.close()
            logging.getLogger(name).handlers, logging.getLogger(name).propagate = [], True
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"own-models.json", "evenhand.log"}
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path
        assert OTHER.encode() not in path.read_bytes(), path


def test_a_writer_takes_the_key_as_it_is_at_each_request():
    prompt = Prompt("", (Message("user", "Hello"),))

    def refused(answer) -> None:
        answer.json(401, {"error": {"message": "no", "type": "authentication_error"}})

    with scripted_server(refused, refused, refused) as server:
        model = OpenAICompatibleModel("m", f"{server.url}/v1")
        sent = []
        for change in (
            lambda: None,
            lambda: keys.keep(server.url, KEY, in_keyring=False),
            lambda: keys.forget(server.url),
        ):
            change()
            with pytest.raises(AuthenticationFailed) as caught:
                list(model.stream(prompt, Sampling(), Cancellation()))
            assert KEY not in "".join(traceback.format_exception(caught.value))
            sent.append(server.requests[-1].headers.get("authorization", ""))
        model.close()
    assert sent == ["Bearer none", f"Bearer {KEY}", "Bearer none"]


def test_importing_keys_imports_no_keyring():
    code = "import sys, mediator.keys; sys.exit('keyring' in sys.modules or 'asyncio' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0

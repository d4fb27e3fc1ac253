"""The user's own models: checked when they are added, kept in a small file that survives a crash, and never a key."""

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.tiny_models import tiny_llama_gguf

from mediator import own_models
from mediator.catalogue import downloadables
from mediator.errors import ModelFileError, UnknownModelError
from mediator.own_models import OwnModelsError, WriterChoice
from mediator.resources import asset

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tiny_llama_gguf(tmp_path / "mine.gguf")


def names() -> list[str]:
    return [choice.name for choice in own_models.writer_choices()]


def test_without_anything_added_there_are_the_drafter_and_claude(monkeypatch, data):
    assert own_models.writer_choices() == [
        WriterChoice("drafter", "Drafter (built in, no language model)", None, "models.drafter_choice"),
        WriterChoice("claude", "Claude (over the network)", "api.anthropic.com", "models.claude_choice"),
    ]
    assert not data.exists()
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://localhost:9")
    assert own_models.writer_choices()[-1].destination is None


def test_files_and_servers_are_added_once_kept_and_taken_off(mine, data, monkeypatch):
    monkeypatch.chdir(mine.parent)
    for named in ("mine.gguf", f' "{mine}" '):
        assert own_models.add_file(named) == WriterChoice(f"gguf:{mine}", "mine.gguf", None)
    here = own_models.add_server(" qwen3 ", " http://localhost:8080/v1/ ")
    assert here == WriterChoice("openai:qwen3@http://localhost:8080/v1", "qwen3 (localhost:8080)", None)
    there = own_models.add_server("qwen3", "https://api.example.org/v1")
    assert (there.title, there.destination) == ("qwen3 (api.example.org)", "api.example.org")
    assert names() == ["drafter", f"gguf:{mine}", here.name, there.name, "claude"]
    assert stat.S_IMODE((data / "own-models.json").stat().st_mode) == 0o600
    assert {path.name for path in data.iterdir()} == {"own-models.json"}

    assert own_models.remove(here.name)
    assert not own_models.remove(here.name)
    assert own_models.remove(f"gguf:{mine}")
    assert names() == ["drafter", there.name, "claude"]
    assert mine.exists()


@pytest.mark.parametrize(
    ("typed", "url"),
    [("127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"), ("localhost:8080", "http://localhost:8080"),
     ("[::1]:8080/v1/", "http://[::1]:8080/v1")],
)  # fmt: skip
def test_the_scheme_of_an_address_of_this_computer_may_be_left_out(typed, url):
    added = own_models.add_server("qwen3", typed)
    assert (added.name, added.destination) == (f"openai:qwen3@{url}", None)


@pytest.mark.parametrize("typed", ["api.example.org/v1", "192.168.0.7:8080", "somebody:secret@example.org", "a b"])
def test_that_of_another_computer_is_asked_for_without_repeating_the_address(typed):
    with pytest.raises(UnknownModelError, match="Write https:// before it") as caught:
        own_models.add_server("qwen3", typed)
    assert typed not in str(caught.value)
    assert "openai" not in str(caught.value)


def test_a_file_that_has_gone_is_not_offered(mine):
    own_models.add_file(str(mine))
    mine.unlink()
    assert names() == ["drafter", "claude"]
    assert own_models.load().files == (mine,)


def test_a_downloaded_model_is_offered_by_its_title():
    entry = downloadables()[0]
    entry.path().parent.mkdir(parents=True)
    entry.path().write_bytes(b"GGUF")
    assert WriterChoice(f"gguf:{entry.path()}", entry.title, None) in own_models.writer_choices()


def test_the_model_of_the_environment_is_offered_too(monkeypatch):
    monkeypatch.setenv("EVENHAND_MODEL", "openai:m@https://api.example.org/v1")
    assert own_models.writer_choices()[-1].destination == "api.example.org"
    monkeypatch.setenv("EVENHAND_MODEL", "claude")
    assert names() == ["drafter", "claude"]
    monkeypatch.setenv("EVENHAND_MODEL", "nonsense")
    assert names()[-1] == "nonsense"  # what is wrong with it is said when it is used


def test_what_cannot_write_is_not_added(tmp_path, mine):
    with pytest.raises(ModelFileError, match=r"There is no file .*none\.gguf"):
        own_models.add_file(str(tmp_path / "none.gguf"))
    short = tmp_path / "short.gguf"
    short.write_bytes(mine.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="is damaged"):
        own_models.add_file(str(short))
    with pytest.raises(ModelFileError, match="is a text encoder: it cannot write"):
        own_models.add_file(str(next(asset("models").glob("empathy-*.gguf"))))
    with pytest.raises(ModelFileError):
        own_models.add_file("a\0b")
    with pytest.raises(UnknownModelError):
        own_models.add_server("", "http://localhost/v1")
    with pytest.raises(UnknownModelError) as caught:
        own_models.add_server("m", "https://user:secret-of-mine@example.org/v1")
    assert "secret-of-mine" not in str(caught.value)
    assert own_models.load() == own_models.OwnModels()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe", b'{"version": 2, "files": [], "servers": []}',
        b'{"version": 1, "files": ["relative.gguf"], "servers": []}', b'{"version": 1, "files": 5, "servers": []}',
        b'{"version": 1, "files": [], "servers": ["drafter"]}', b'{"version": 1, "files": [], "servers": ["x"]}',
        b'{"version": 1, "files": [null], "servers": []}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_list_is_set_aside_and_said(content, data, mine):
    data.mkdir()
    (data / "own-models.json").write_bytes(content)
    own = own_models.load()
    aside = data / "own-models.damaged.json"
    assert own.notice == f"The list of your own models was damaged. It is kept as {aside}; add them again."
    assert aside.read_bytes() == content
    assert own_models.load().notice == ""
    own_models.add_file(str(mine))
    assert own_models.load().files == (mine,)


def test_a_path_that_is_no_valid_unicode_is_kept(tmp_path, mine):
    try:
        strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.gguf"))
        mine.rename(strange)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    own_models.add_file(str(strange))
    assert own_models.load().files == (strange,)


@pytest.mark.skipif(not Path("/proc").exists(), reason="no folder here that nobody can write to")
def test_a_list_that_cannot_be_written_is_a_sentence(mine, monkeypatch):
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", "/proc/nowhere")
    with pytest.raises(OwnModelsError, match=r"cannot be written: .*Check the folder /proc/nowhere"):
        own_models.add_file(str(mine))


def test_two_processes_and_many_threads_lose_nothing(data):
    code = "import sys; from mediator.own_models import add_server\n"
    code += "for n in range(10): add_server(f'{sys.argv[1]}-{n}', 'http://localhost:1/v1')"
    others = [
        subprocess.Popen([sys.executable, "-c", code, name], cwd=ROOT, env=os.environ | {}) for name in ("one", "two")
    ]
    threads = [
        threading.Thread(target=own_models.add_server, args=(f"t-{n}", "http://localhost:1/v1")) for n in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait(timeout=60) for other in others] == [0, 0]
    assert len(own_models.load().servers) == 30
    assert len(json.loads((data / "own-models.json").read_text())["servers"]) == 30

"""`evenhand models`: list, download and remove, as a user types them, against a local hub."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hub_server import Hub, hub_server
from support.patience import PATIENCE, until
from support.tiny_models import FOUR_COMPROMISES, tiny_llama_gguf

from ui.cli import main

ROOT = Path(__file__).resolve().parents[2]
NAME, FILE = "qwen2.5-1.5b", "qwen2.5-1.5b-instruct-q4_k_m.gguf"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "data"))
    monkeypatch.setenv("EVENHAND_LOG_FOLDER", str(tmp_path / "log"))
    data = tiny_llama_gguf(tmp_path / "tiny.gguf", recital=FOUR_COMPROMISES, vocabulary=3000).read_bytes()
    with hub_server(data) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_a_model_is_downloaded_listed_used_and_removed(hub, tmp_path, capsys):
    path = tmp_path / "data" / "models" / FILE
    assert main(["models", "download", NAME]) == 0
    out = capsys.readouterr().out
    assert f"Qwen2.5 1.5B Instruct (Q4_K_M) is installed: {path}" in out
    assert f"SHA-256 {hub.sha256}; commit 0123456789abcdef" in out
    assert path.read_bytes() == hub.data
    assert main(["models", "download", f"gguf:{NAME}", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["path"], about["sha256"], about["size"]) == (str(path), hub.sha256, len(hub.data))
    assert main(["models", "list", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert listed[f"gguf:{NAME}"]["installed"]
    assert main(["propose", "library-hours", "--model", f"gguf:{NAME}", "--strategy", "single", "--json"]) == 0
    assert "Open the park until nine" in capsys.readouterr().out
    assert main(["models", "remove", NAME]) == 0
    assert "has been removed" in capsys.readouterr().out
    assert not path.exists()
    assert main(["models", "remove", NAME, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": f"gguf:{NAME}", "removed": False}
    assert main(["propose", "library-hours", "--model", f"gguf:{NAME}"]) == 1
    assert "evenhand models download qwen2.5-1.5b" in capsys.readouterr().err


def test_what_goes_wrong_is_one_sentence_and_an_exit_code(hub, capsys):
    assert main(["models", "download", "nonsense"]) == 2
    assert capsys.readouterr().err.startswith("evenhand: There is no model 'nonsense' to download. Choose ")
    hub.statuses = [404]
    assert main(["models", "download", NAME]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert "has no file" in errors[-1]
    assert all(line.startswith("evenhand: ") for line in errors)


def test_ctrl_c_keeps_what_has_come_and_the_next_download_goes_on(hub, tmp_path):
    hub.pause = 0.1
    command = [sys.executable, "-m", "ui.cli", "models", "download", NAME]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    part = tmp_path / "data" / "models" / f"{FILE}.part"
    until(lambda: part.exists() and part.stat().st_size > 200_000)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, "")
    assert errors.splitlines()[-1] == "evenhand: Stopped."
    kept = part.stat().st_size
    hub.pause = 0.0
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "is installed" in done.stdout
    assert hub.ranges_asked()[-1] == f"bytes={kept}-"


@pytest.mark.parametrize("command", [["models", "download"], ["models", "remove"]])
def test_the_help_reads_well(command, capsys):
    assert main([*command, "--help"]) == 0
    assert "NAME" in capsys.readouterr().out
    assert main(command) == 2

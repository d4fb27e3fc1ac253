"""`evenhand export gguf`: what it prints, its exit codes, Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the hf extra")

from support.tiny_models import tiny_checkpoint

from trainer.export.cli import Progress, as_text
from trainer.export.exporting import Result
from trainer.export.quantise import Quantised
from trainer.export.self_check_result import Finding, SelfCheck
from ui.cli import main

SOURCE = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENHAND_LOG_FOLDER", str(tmp_path / "log"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("toy") / "toy")


def test_a_file_is_written_and_described(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "toy.gguf"
    command = ["export", "gguf", str(checkpoint), "--output", str(target), "--quant", "q6_k", "--no-check"]
    assert main([*command, "--json"]) == 0
    output = capsys.readouterr()
    result = Result.model_validate(json.loads(output.out))
    assert (result.file, result.size, result.check) == (str(target), target.stat().st_size, None)
    assert "will have about" in output.err
    assert "Quantising ..." in output.err

    assert main(command) == 2
    assert "is there already" in capsys.readouterr().err

    assert main([*command, "--force"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^Tensors: 5 f32, 16 q8_0\.$", text, re.MULTILINE)
    assert "Not checked" in text
    assert f"--model gguf:{target}" in text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--windows", "-1"], "--windows is -1"),
        (["--quant", "q3"], "invalid choice: 'q3'"),
        (["--text", "nowhere.txt"], "nowhere.txt cannot be read"),
    ],
)
def test_bad_usage_exits_2(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(["export", "gguf", str(checkpoint), "--output", str(tmp_path / "x.gguf"), *more]) == 2
    assert message in capsys.readouterr().err
    assert main(["export", "gguf", str(tmp_path / "nowhere")]) == 1
    assert "There is no checkpoint directory" in capsys.readouterr().err


def a_result(**changes: Any) -> Result:
    findings = (
        Finding(what="tokens", found="20 of 20 strings the same", limit="20", passed=True),
        Finding(what="logits", found="largest difference 0.3", passed=None),
        Finding(what="perplexity", found="a ratio of 1.2000", limit="1.12", passed=False),
    )
    check = SelfCheck(kind="q4_k_m", reference="fp32", findings=findings, why=("It understands prose less well.",))
    made = Quantised(tensors=21, types={"f32": 5, "q5_0": 16}, fallbacks=15)
    whole = {"file": "/a/toy.failed.gguf", "model": "", "kind": "q4_k_m", "size": 2_200_000, "checkpoint": "/a/toy"}
    return Result.model_validate(whole | {"quantised": made, "check": check, "passed": False} | changes)


def test_a_failed_check_is_a_table_its_reasons_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], checkpoint: Path, tmp_path: Path
) -> None:
    """How such a result comes about is tested with the export; here, what is made of it."""
    monkeypatch.setattr("trainer.export.exporting.Export.run", lambda *_: a_result())
    assert main(["export", "gguf", str(checkpoint), "--output", str(tmp_path / "toy.gguf")]) == 1
    output = capsys.readouterr()
    assert output.out == as_text(a_result())
    assert output.out.splitlines() == [
        "/a/toy.failed.gguf  q4_k_m, 2.2 MB",
        "Tensors: 5 f32, 16 q5_0.",
        "15 of them have rows that blocks of 256 do not divide; llama.cpp took blocks of 32 for these.",
        "",
        "check       found                      limit",
        "tokens      20 of 20 strings the same  20     passed",
        "logits      largest difference 0.3            -",
        "perplexity  a ratio of 1.2000          1.12   FAILED",
        "The checkpoint was computed in float32.",
        "The file did NOT pass its check.",
    ]
    assert "It understands prose less well." in output.err
    assert "is kept as /a/toy.failed.gguf" in output.err


def test_progress_is_told_now_and_then_with_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    told = Progress()
    for done in range(0, 101, 10):
        told.phase("writing", done, 100)
    assert capsys.readouterr().err.count("\n") == 1
    told.SECONDS = 0.0
    told.phase("writing", 50, 100)
    told.phase("checking")
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"evenhand: Writing the weights: 50%, about \d+ s left", lines[0])
    assert lines[1:] == ["evenhand: Checking ..."]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_leaves_nothing_behind(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "toy.gguf"
    program = [sys.executable, "-m", "ui.cli", "export", "gguf", str(checkpoint), "--output", str(target)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Checking ..." in line:
                assert list(target.parent.iterdir())  # the parts are there
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "Stopped." in rest
    assert list(target.parent.iterdir()) == []

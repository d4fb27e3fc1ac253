"""An export from beginning to end: what it needs, what it leaves behind, and what becomes of a file that fails."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the hf extra")

from support.tiny_models import FOUR_COMPROMISES, tiny_checkpoint

from mediator.errors import ModelFileError
from mediator.writers.gguf import check_writer_file
from trainer.evaluate.forgetting import TooShortError
from trainer.export import planning
from trainer.export.exporting import Export, NotEnoughDisk, OutputExists, OutputInUse, OutputUnwritable, Result, Stage
from trainer.export.self_check_limits import LIMITS
from trainer.progress import Stopped

SOURCE = Path(__file__).resolve().parents[3]


class Heard:
    """Keeps what an export tells, and stops it at a stage."""

    def __init__(self, stop_at: Stage | None = None) -> None:
        self.stages: list[str] = []
        self.shares: dict[str, list[float]] = {}
        self._stop_at, self._stop = stop_at, False

    def phase(self, name: Stage, done: int = 0, total: int = 0) -> None:
        if name not in self.stages:
            self.stages.append(name)
        if total:
            self.shares.setdefault(name, []).append(done / total)
        self._stop = self._stop or name == self._stop_at

    def should_stop(self) -> bool:
        return self._stop


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("toy") / "toy", recital=FOUR_COMPROMISES)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checked_export_appears_whole_with_its_figures(checkpoint: Path, tmp_path: Path) -> None:
    target, heard = tmp_path / "toy.gguf", Heard()
    (tmp_path / "toy.gguf.f32.part").write_bytes(b"left by an export that was killed")
    export = Export(checkpoint=checkpoint, quant="q4_k_m", output=target, name="Toy", windows=2)
    plan = export.plan()
    result = export.run(heard)
    assert names(tmp_path) == ["toy.gguf"]
    assert result.passed
    assert result.check is not None
    assert result.check.why == ()
    assert [one.what for one in result.check.findings] == [
        "tokens",
        "numbers",
        "before",
        "logits",
        "top1",
        "perplexity",
    ]
    assert (result.file, result.model, result.size) == (str(target), f"gguf:{target}", target.stat().st_size)
    assert result.quantised is not None
    assert result.quantised.fallbacks > 0
    assert plan.intermediate == "f32"
    assert target.stat().st_size < plan.file_bytes < 2 * target.stat().st_size + (1 << 19)
    assert plan.file_bytes < plan.disk_bytes < plan.disk_free
    assert heard.stages == ["writing", "quantising", "checking"] == list(result.seconds)
    assert all(shares == sorted(shares) and shares[-1] == 1 for shares in heard.shares.values())
    assert check_writer_file(target).metadata["general.name"] == "Toy"
    assert Result.model_validate_json(result.model_dump_json()) == result


def test_a_file_that_fails_is_kept_aside_and_the_older_one_stays(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LIMITS, "q8_0", LIMITS["q8_0"]._replace(difference=0.0))  # type: ignore[arg-type]
    (tmp_path / "toy.gguf").write_bytes(b"an older export")
    result = Export(checkpoint=checkpoint, quant="q8_0", output=tmp_path / "toy.gguf", windows=1, force=True).run(
        Heard()
    )
    assert not result.passed
    assert result.check is not None
    assert "something else than the checkpoint" in result.check.why[0]
    assert (result.file, result.model) == (str(tmp_path / "toy.failed.gguf"), "")
    assert names(tmp_path) == ["toy.failed.gguf", "toy.gguf"]
    assert (tmp_path / "toy.gguf").read_bytes() == b"an older export"


@pytest.mark.parametrize("stage", ["writing", "quantising", "checking"])
def test_stopping_leaves_nothing_behind(checkpoint: Path, tmp_path: Path, stage: Stage) -> None:
    heard = Heard(stop_at=stage)
    with pytest.raises(Stopped):
        Export(checkpoint=checkpoint, quant="q6_k", output=tmp_path / "toy.gguf").run(heard)
    assert heard.stages[-1] == stage
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_killed_export_leaves_parts_only_which_the_next_one_replaces(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "toy.gguf"
    dying = (
        "import os, sys\nfrom trainer.export.exporting import Export\n"
        "class Dies:\n"
        "    def phase(self, name, done=0, total=0):\n"
        "        if name == 'quantising' and done: os.kill(os.getpid(), 9)\n"
        "    def should_stop(self): return False\n"
        "Export(checkpoint=sys.argv[1], quant='q6_k', output=sys.argv[2], check=False).run(Dies())"
    )
    died = subprocess.run(
        [sys.executable, "-c", dying, str(checkpoint), str(target)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    assert names(tmp_path)
    assert all(name.endswith(".part") for name in names(tmp_path))
    result = Export(checkpoint=checkpoint, quant="q6_k", output=target, check=False).run(Heard())
    assert names(tmp_path) == ["toy.gguf"]
    assert (result.passed, result.check) == (True, None)


def test_only_one_export_writes_a_file(checkpoint: Path, tmp_path: Path) -> None:
    export = Export(checkpoint=checkpoint, quant="f16", output=tmp_path / "toy.gguf", check=False)

    class Second(Heard):
        def phase(self, name: Stage, done: int = 0, total: int = 0) -> None:
            with pytest.raises(OutputInUse, match=r"toy\.gguf is being written by another export"):
                export.run(Heard())
            super().phase(name, done, total)

    second = Second()
    export.run(second)
    assert second.stages == ["writing"]
    assert names(tmp_path) == ["toy.gguf"]


def no_room(checkpoint: Path, tmp_path: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(planning.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 9, 9))  # type: ignore[attr-defined]
    return {}


def in_the_way(checkpoint: Path, tmp_path: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "toy.gguf").write_bytes(b"an older export")
    return {}


def below_a_file(checkpoint: Path, tmp_path: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"output": checkpoint / "config.json" / "toy.gguf"}


def foreign(checkpoint: Path, tmp_path: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    shutil.copytree(checkpoint, tmp_path / "foreign")
    config = (tmp_path / "foreign" / "config.json").read_text(encoding="utf-8")
    (tmp_path / "foreign" / "config.json").write_text(config.replace('"llama"', '"mamba"'), encoding="utf-8")
    return {"checkpoint": tmp_path / "foreign"}


@pytest.mark.parametrize(
    ("cause", "error", "message"),
    [
        (no_room, NotEnoughDisk, r"writes about .* 0\.0 MB are free\. Make room"),
        (in_the_way, OutputExists, r"toy\.gguf is there already\. .*--force"),
        (
            foreign,
            ModelFileError,
            r"is a mamba model; there is no export for it\. .*llama, mistral, qwen2, qwen3, bert",
        ),
        (lambda *_: {"output": Path(os.sep)}, OutputUnwritable, "is a folder"),
        (below_a_file, OutputUnwritable, r"config\.json is a file"),
        (lambda *_: {"text": Path("nowhere.txt")}, TooShortError, r"nowhere\.txt cannot be read"),
        (lambda *_: {"adapter": Path("nowhere")}, ModelFileError, "nowhere"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cause: Callable[[Path, Path, pytest.MonkeyPatch], dict[str, Any]],
    error: type[Exception],
    message: str,
) -> None:
    given = {"checkpoint": checkpoint, "output": tmp_path / "toy.gguf"} | cause(checkpoint, tmp_path, monkeypatch)
    before = names(tmp_path)
    for work in (lambda: Export(**given).plan(), lambda: Export(**given).run(Heard())):
        with pytest.raises(error, match=message):
            work()
    assert names(tmp_path) == before


def test_a_disk_that_becomes_full_is_a_sentence(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(NotEnoughDisk, match="became full"):
        Export(checkpoint=checkpoint, quant="f16", output=tmp_path / "toy.gguf", check=False).run(Heard())
    assert names(tmp_path) == []


def test_by_default_the_file_lies_beside_what_it_was_made_from(tmp_path: Path) -> None:
    assert Export(checkpoint=tmp_path / "run" / "model").target == tmp_path / "run" / "model-q4_k_m.gguf"
    adapted = Export(checkpoint=tmp_path / "base", adapter=tmp_path / "run" / "adapter", quant="f16")
    assert adapted.target == tmp_path / "run" / "adapter-f16.gguf"
    assert adapted.failed_target.name == "adapter-f16.failed.gguf"

"""Kill -9 and resume: the final weights are those of a run that was never killed, bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.killed_training import train_together, train_until_killed
from support.toy_training import Recorder, toy_dataset, toy_model

from trainer.alignment.checkpoints import CannotResume, newest, seal, tidy
from trainer.alignment.config import make_config
from trainer.recipes import train


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("EVENHAND_CACHE_FOLDER", str(tmp_path / "cache"))
    return {
        "model": str(toy_model(tmp_path / "base", layers=3, width=32)),
        "dataset": str(toy_dataset(tmp_path / "toy.jsonl", 5)),
        "learning_rate": 3e-3,
        "batch_size": 2,
        "gradient_accumulation": 2,
        "longest_text": 640,
        "sample_disputes": 0,
        "checkpoint_every": 3,
        "device": "cpu",
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


def same(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_fine_tuning_killed_in_the_middle(settings: dict[str, Any], tmp_path: Path) -> None:
    settings |= {"epochs": 2.5, "packing": False}  # 20 texts in 5 steps an epoch
    folder = tmp_path / "killed"
    train_until_killed("sft", settings, folder, phase="training", done=8)
    found = newest(folder / "checkpoints")
    assert found is not None
    assert found.step == 6  # in the middle of the second epoch
    # Killed while it wrote the next one: it looks nearly whole, and is not.
    torn = folder / "checkpoints" / "checkpoint-9"
    torn.mkdir()
    for file in found.folder.iterdir():
        if file.name != "complete.json":
            (torn / file.name).write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    recorder = Recorder()
    resumed = train("sft", make_config("sft", settings), folder, recorder, resume=True)
    assert [line["step"] for line in recorder.lines] == list(range(7, 14))

    whole = train("sft", make_config("sft", settings), tmp_path / "whole", Recorder())
    assert same(whole, resumed)
    assert not same(Path(settings["model"]), resumed)


def test_alignment_killed_twice(settings: dict[str, Any], tmp_path: Path) -> None:
    """Killed while it writes hypotheses, then in mid-training: both are gone on with, and nothing is made twice."""
    settings |= {
        "epochs": 4,
        "gradient_accumulation": 1,
        "layers": 2,
        "score": "log_ratio",
        "hypothesis_tokens": 10,
        "hypothesis_batch": 2,
        "hypothesis_temperature": 1.0,
        "cache_memory": 1e-9,  # so that the activations are in a file
    }
    folder = tmp_path / "killed"
    train_until_killed("nce", settings, folder, phase="hypotheses", done=2)
    answers = next((tmp_path / "cache" / "hypotheses").glob("*.jsonl"))
    assert len(answers.read_text().splitlines()) == 2
    first_lines = answers.read_text()

    train_until_killed("nce", settings, folder, phase="training", done=8, resume=True)
    assert answers.read_text().startswith(first_lines)
    assert len(answers.read_text().splitlines()) == 5
    found = newest(folder / "checkpoints")
    assert found is not None
    assert found.step == 6
    kept = [answers, folder / "cache" / "start.json", *(folder / "cache").glob("*.trunk")]
    assert len(kept) == 3
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in kept}

    class Looking(Recorder):
        def metrics(self, *told: Any) -> None:
            if not self.lines:
                assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in kept} == before
            super().metrics(*told)

    recorder = Looking()
    resumed = train("nce", make_config("nce", settings), folder, recorder, resume=True)
    assert [line["step"] for line in recorder.lines] == list(range(7, 13))
    assert {done for name, done, _ in recorder.phases if name == "hypotheses"} == {5}
    assert {done for name, done, _ in recorder.phases if name == "caching"} <= {0}

    whole = train("nce", make_config("nce", settings), tmp_path / "whole", Recorder())
    assert same(whole, resumed)
    assert not same(Path(settings["model"]), resumed)


def test_several_processes_learn_what_one_learns(settings: dict[str, Any], tmp_path: Path) -> None:
    """Two processes with half a batch each take the steps of one process, to rounding."""
    settings |= {
        "epochs": 1,
        "dataset": str(toy_dataset(tmp_path / "four.jsonl", 4)),
        "gradient_accumulation": 1,
        "layers": 2,
        "hypothesis_tokens": 6,
        "score": "log_ratio",
        "warmup_share": 0.0,
    }
    one = train("nce", make_config("nce", settings), tmp_path / "one", Recorder())
    train_together("nce", settings | {"batch_size": 1}, tmp_path / "two", tmp_path / "cache of two", processes=2)
    first, second = weights(one), weights(tmp_path / "two" / "model")
    base = weights(Path(settings["model"]))
    moved = max(float((first[name] - base[name]).abs().max()) for name in first)
    apart = max(float((first[name] - second[name]).abs().max()) for name in first)
    assert moved > 3e-3
    assert apart < moved / 20
    # Each wrote a part of the answers.
    assert len(list((tmp_path / "cache of two" / "hypotheses").glob("*.jsonl"))) == 2


def test_other_settings_do_not_resume(settings: dict[str, Any], tmp_path: Path) -> None:
    from trainer.progress import Stopped

    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        train("sft", make_config("sft", settings), folder, Recorder(stop_at=1))
    changed = settings | {"learning_rate": 1e-4}
    with pytest.raises(CannotResume, match=r"step 1 was made with learning_rate = 0.003, and now it is 0.0001"):
        train("sft", make_config("sft", changed), folder, Recorder(), resume=True)
    with open(settings["dataset"], "a") as file:
        file.write("\n")
    with pytest.raises(CannotResume, match="made with dataset"):
        train("sft", make_config("sft", settings), folder, Recorder(), resume=True)
    # What does not touch the weights may change.
    text = Path(settings["dataset"]).read_text()
    Path(settings["dataset"]).write_text(text.removesuffix("\n"))
    again = settings | {"log_every": 2, "checkpoint_every": 100}
    assert train("sft", make_config("sft", again), folder, Recorder(), resume=True).is_dir()


# -- which checkpoints are whole ------------------------------------------------------------------------------------


def checkpoint(folder: Path, step: int, sealed: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "learned.safetensors").write_bytes(b"x" * 100)
    (path / "optimizer.pt").write_bytes(b"y" * 50)
    if sealed:
        seal(path, step, {"seed": 0})
    return path


def test_the_newest_whole_checkpoint_is_found(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    checkpoint(tmp_path, 9)
    checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 100, sealed=False)
    found = newest(tmp_path)
    assert found is not None
    assert (found.step, found.made_with) == (10, {"seed": 0})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: (path / "optimizer.pt").unlink(),
        lambda path: (path / "optimizer.pt").write_bytes(b"y" * 49),
        lambda path: (path / "complete.json").write_bytes(b'{"step": 2, "fil'),
        lambda path: (path / "complete.json").write_bytes(b"[]"),
        lambda path: (path / "complete.json").unlink(),
    ],
)
def test_a_spoiled_checkpoint_is_passed_over(tmp_path: Path, spoil: Any) -> None:
    checkpoint(tmp_path, 1)
    spoil(checkpoint(tmp_path, 2))
    found = newest(tmp_path)
    assert found is not None
    assert found.step == 1
    tidy(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_older_checkpoints_go(tmp_path: Path) -> None:
    for step in (5, 50, 500, 6):
        checkpoint(tmp_path, step)
    tidy(tmp_path, keep=2)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-50", "checkpoint-500"}

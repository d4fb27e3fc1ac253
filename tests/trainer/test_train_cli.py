"""`evenhand train`: help, checks, following a run in the terminal, Ctrl-C, exit codes and JSON."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.patience import PATIENCE, until
from support.run_recipes import recipe_folder
from support.runs_of_a_test import own_runs
from support.toy_training import toy_dataset, toy_model

from trainer.alignment.config import CONFIGS
from trainer.runs import runs
from trainer.runs.folder import RunFolder
from trainer.runs.watch import progress_words, sparkline
from trainer.train_cli import _RECIPES
from ui.cli import main

SOURCE = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with own_runs(tmp_path, monkeypatch):
        yield


@pytest.fixture
def light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes that need no torch; see support.run_recipes."""
    monkeypatch.setenv("PYTHONPATH", str(recipe_folder(tmp_path)))


def train(what: str, *more: str, steps: float = 3, seconds: float = 0.01) -> list[str]:
    settings = {"model": what, "epochs": steps, "learning_rate": seconds}
    return ["train", "sft", "--force", *(f"--set={name}={value}" for name, value in settings.items()), *more]


def start(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}{os.pathsep}{SOURCE}"}
    environment["TERM"] = options.pop("terminal", "dumb")
    program = [sys.executable, "-m", "ui.cli", *arguments]
    return subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True, cwd=SOURCE, **options)


def the_run(phase: str = "") -> runs.Run:
    """The only run, once it is in a phase."""
    [found] = until(
        lambda: [run for run in runs.list_runs() if not phase or run.phase == phase], "it does not get there"
    )
    return found


def test_each_recipe_explains_each_of_its_settings(capsys):
    assert set(_RECIPES) == set(CONFIGS)
    for recipe, kind in CONFIGS.items():
        assert main(["train", recipe, "--help"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        for name, field in kind.model_fields.items():
            assert field.description, name
            assert f"{name} [" in shown
            assert " ".join(field.description.split()) in shown
    assert "[auto | bf16 | fp32; default: auto]" in shown
    assert "learning_rate [number; default: 3e-05]" in shown


def test_the_encoders_recipe_names_what_it_lacks(capsys, tmp_path):
    assert main(["train", "empathy", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "usage: evenhand train empathy" in shown
    assert "objective  [ranking | cosine; default: ranking]" in shown
    assert main(["train", "empathy", "--set", "base=nowhere"]) == 2
    assert "`ratings` is empty" in capsys.readouterr().err
    assert main(["train", "empathy", "--set", "base=nowhere", "--set", f"ratings={tmp_path / 'none.jsonl'}"]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "sft"], "No model is named"),
        (["train", "sft", "--set", "epochs"], "--set epochs=2"),
        (["train", "sft", "--set", "epoks=2"], "no setting 'epoks'"),
        (["train", "nce", "--set", "trainable=all"], "trunk_cache"),
        (["train", "sft", "--config", "none.yaml"], "none.yaml cannot be read"),
        (["train", "sft", "--resume", "sft-nothing"], "There is no run"),
        (["train", "sft", "--resume", "x", "--set", "epochs=2"], "settings it has"),
        (["train", "sft", "--force", "--processes", "0"], "0 processes"),
        (["train", "nothing"], "invalid choice"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_made(arguments, words, capsys, tmp_path):
    assert main(arguments) in (1, 2)
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "data").exists()


@pytest.mark.usefixtures("light")
def test_a_run_is_followed_to_its_end(capsys, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("model: count\nepochs: 5\nlearning_rate: 1e-2\n")
    assert main(["train", "sft", "--config", str(settings), "--set", "epochs=2", "--force"]) == 0
    out, err = capsys.readouterr()
    run = the_run()
    assert out.splitlines()[0] == f"The model is trained: {run.folder / 'model'}"
    assert "loss 0.5" in out
    assert f"--model hf:{run.folder / 'model'}" in out
    assert f"{run.id}: starting" in err
    assert run.settings["epochs"] == 2


@pytest.mark.usefixtures("light")
def test_json_is_one_object_also_of_a_run_that_fails(capsys):
    assert main(train("count", "--json")) == 0
    out = capsys.readouterr().out
    done = json.loads(out)
    assert (done["state"], done["step"], done["recipe"]) == ("done", 3, "sft")
    assert done["model"] == str(Path(done["folder"]) / "model")
    assert done["metrics"]["loss"] == 1 / 3
    assert main(train("out_of_memory", "--json")) == 1
    out, err = capsys.readouterr()
    failed = json.loads(out)
    assert (failed["state"], failed["model"]) == ("failed", None)
    assert "ran out of memory" in failed["message"]
    assert "set batch_size=2" in err
    assert "Traceback" not in err


@pytest.mark.usefixtures("light")
def test_bad_input_inside_the_run_exits_with_2(capsys, tmp_path):
    (tmp_path / "bad.jsonl").write_text("nonsense\n")
    assert main([*train("bad_row"), "--set", f"dataset={tmp_path / 'bad.jsonl'}"]) == 2
    assert "bad.jsonl, line 1" in capsys.readouterr().err


@pytest.mark.usefixtures("light")
def test_detached_returns_at_once_with_the_id_and_the_run_goes_on(capsys):
    assert main(train("count", "--detach", steps=300, seconds=0.02)) == 0
    out, err = capsys.readouterr()
    run = runs.find(out.strip())
    assert out == f"{run.id}\n"
    assert f"evenhand runs show {run.id}" in err
    the_run("training")
    assert runs.stop(run).state == "stopped"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C otherwise")
@pytest.mark.usefixtures("light")
def test_control_c_keeps_a_checkpoint_and_says_how_to_go_on(capsys):
    with start(*train("count", steps=500, seconds=0.05), stderr=subprocess.PIPE) as process:
        run = the_run("training")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "a checkpoint is written first" in err
    assert f"evenhand runs resume {run.id}" in err
    stopped = runs.refreshed(run)
    assert stopped.state == "stopped"
    assert (run.folder / "checkpoints" / f"checkpoint-{stopped.step}").is_dir()
    (run.folder / "config.json").write_text((run.folder / "config.json").read_text().replace("0.05", "0.0001"))
    assert main(["train", "sft", "--resume", run.id, "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 500
    assert main(["train", "nce", "--resume", run.id]) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C otherwise")
@pytest.mark.usefixtures("light")
def test_a_second_control_c_ends_it_at_once():
    # What has heard the first one has a quarter of an hour for its last checkpoint; it would need all of that.
    with start(*train("saving"), stderr=subprocess.PIPE) as process:
        run = the_run("loading")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        for line in process.stderr:
            if "Stopping" in line:
                break
        until(lambda: RunFolder(run.folder).read_status().state == "stopping")
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 130
    assert runs.refreshed(run).state == "stopped"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")
@pytest.mark.usefixtures("light")
def test_on_a_terminal_one_line_follows_the_run():
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with start(*train("count", steps=20, seconds=0.1), stderr=theirs, terminal="xterm") as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        os.close(ours)
        assert process.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"training: step \d+ of 20, loss 0\.\d+, \d+ s left", text)
    assert text.count("\n") < 15  # it is drawn over, not written anew each time
    assert shown.rstrip().endswith(b"\x1b[?25h") or b"\x1b[?25h" in shown[-200:]  # the cursor is shown again


def test_a_real_model_learns(tmp_path, capsys):
    model, dataset = toy_model(tmp_path / "base", layers=2), toy_dataset(tmp_path / "data.jsonl", 8)
    values = {
        "model": model,
        "dataset": dataset,
        "epochs": 4,
        "batch_size": 4,
        "gradient_accumulation": 1,
        "learning_rate": 3e-3,
        "longest_text": 256,
        "sample_disputes": 0,
        "device": "cpu",
    }
    assert main(["train", "sft", "--json", *(f"--set={name}={value}" for name, value in values.items())]) == 0
    out, err = capsys.readouterr()
    done = json.loads(out)
    assert "8 disputes, about" in err
    curve = [line["loss"] for line in runs.metrics(runs.find(done["run"])) if "loss" in line]
    assert curve[-1] < curve[0] - 1
    assert (Path(done["model"]) / "model.safetensors").is_file()


def test_the_words_for_how_far_a_run_is():
    run = runs.Run(id="a", folder=Path("a"), recipe="sft", settings={}, created=0)
    assert progress_words(run, {}) == "starting"
    values = {"loss": 1.23456}
    training = run.model_copy(
        update={"state": "running", "phase": "training", "step": 3, "steps": 9, "seconds_left": 7200}
    )
    assert progress_words(training, values) == "training: step 3 of 9, loss 1.235, 2 h 0 min left"
    caching = run.model_copy(update={"state": "running", "phase": "caching", "done": 5, "total": 8})
    assert progress_words(caching, values) == "caching: 5 of 8"
    assert progress_words(training.model_copy(update={"state": "stopping"}), values).startswith("stopping: step 3")


def test_a_curve_in_one_line():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 20) == "▁▂▃▄▅▆▇█"
    assert sparkline([7, 7, 0, 0], 2) == "█▁"
    assert sparkline([5, 5, 5], 10) == "▁▁▁"
    assert sparkline([], 10) == ""
    assert sparkline([0, 1], 10, unicode=False) == "_#"
    assert len(sparkline(list(range(1000)), 60)) == 60

"""`evenhand runs`: list, show, stop, resume and delete, for people and as JSON."""

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.run_recipes import recipe_folder
from support.runs_of_a_test import own_runs

from trainer.alignment.config import make_config
from trainer.runs import runs
from trainer.runs.folder import RunFolder, append_line
from ui.cli import main


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PYTHONPATH", str(recipe_folder(tmp_path)))
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    with own_runs(tmp_path, monkeypatch):
        yield


def launch(what: str = "count", steps: float = 3, seconds: float = 0.01) -> runs.Run:
    config = make_config("sft", {"model": what, "epochs": steps, "learning_rate": seconds})
    return runs.launch(config, "sft", force=True)


def wait(run: runs.Run, phase: str = "") -> runs.Run:
    end = time.monotonic() + 60
    while (now := runs.refreshed(run)).active if not phase else (now := runs.refreshed(run)).phase != phase:
        assert time.monotonic() < end, now
        time.sleep(0.03)
    return now


def test_list_shows_the_newest_first(capsys):
    assert main(["runs", "list"]) == 0
    assert "There are no runs yet" in capsys.readouterr().out
    done, failed = wait(launch()), wait(launch("vanish"))
    assert main(["runs", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{failed.id}  failed at step 1 of 2", f"{done.id}  done"]
    assert main(["runs", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["run"], one["state"]) for one in found] == [(failed.id, "failed"), (done.id, "done")]
    assert found[1]["metrics"]["loss"] == 1 / 3


def test_show_tells_settings_curves_reason_and_log(capsys):
    run = wait(launch("shout", steps=30))
    append_line(RunFolder(run.folder).metrics, {"step": 30, "steps": 30, "epoch": 1, "time": 0, "rougeL": 0.25})
    assert main(["runs", "show", run.id[-4:], "--lines", "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{run.id}  done\n")
    assert "evenhand train sft --set model=shout --set epochs=30.0 --set learning_rate=0.01\n" in out
    curve = next(line for line in out.splitlines() if line.startswith("loss "))
    assert curve.split()[1][0] == "█"
    assert curve.endswith("1 -> 0.03333")
    assert "rougeL                     0.25" in out
    assert out.count("line 1999") == 2
    failed = wait(launch("vanish"))
    assert main(["runs", "show", failed.id]) == 0
    assert "without a word" in capsys.readouterr().out
    assert main(["runs", "show", run.id, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["settings"]["epochs"] == 30
    assert len(shown["history"]) == 31
    assert shown["log"].count("\n") == 14


def test_stop_resume_and_what_cannot_be(capsys):
    run = launch(steps=500, seconds=0.05)
    wait(run, "training")
    assert main(["runs", "delete", run.id, "--yes"]) == 1
    assert "Stop it first" in capsys.readouterr().err
    assert main(["runs", "stop", run.id]) == 0
    out = capsys.readouterr().out
    assert "Stopped; it can be resumed" in out
    assert f"evenhand runs resume {run.id}" in out
    assert main(["runs", "stop", run.id]) == 0
    assert "does not work: stopped" in capsys.readouterr().out
    assert main(["runs", "resume", run.id, "--force", "--detach", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] in ("starting", "running")
    wait(run, "training")
    assert main(["runs", "resume", run.id]) == 1
    assert "works already" in capsys.readouterr().err
    assert main(["runs", "stop", run.id, "--now", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "stopped"


def test_delete_asks_first(capsys, monkeypatch):
    run = wait(launch(steps=1))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["runs", "delete", run.id]) == 2
    assert "--yes" in capsys.readouterr().err
    terminal = io.StringIO("n\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", terminal)
    assert main(["runs", "delete", run.id]) == 1
    assert run.folder.is_dir()
    assert main(["runs", "delete", run.id, "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"run": run.id, "deleted": True}
    assert not run.folder.exists()


@pytest.mark.parametrize("action", ["show", "stop", "resume", "delete"])
def test_an_unknown_id_is_bad_input(action, capsys):
    assert main(["runs", action, "nothing-like-it"]) == 2
    assert "There is no run 'nothing-like-it'. List them with: evenhand runs list" in capsys.readouterr().err

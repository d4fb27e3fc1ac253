"""`evenhand evaluate`: all measurements on two small models, nothing written twice, and what bad usage says."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the hf extra")
pytest.importorskip("rouge_score", reason="needs the train extra")
pytest.importorskip("matplotlib", reason="needs the train extra")

from trainer.models import hypotheses
from ui.cli import main

PROSE = " \n = A Title = \n \n The park is open at night , and the <unk> share the cost . \n" * 20


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENHAND_CACHE_FOLDER", str(tmp_path / "cache"))


@pytest.fixture
def models(model_folders: dict[str, Path]) -> list[str]:
    return [f"--model={name}={folder}" for name, folder in model_folders.items()]


def test_table_measures_everything_and_a_second_time_writes_nothing(
    models: list[str],
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "prose.txt").write_text(PROSE, encoding="utf-8")
    shared = [*models, "--dataset", str(dataset), "--limit", "3", "--tokens", "6"]
    assert main(["evaluate", "rouge", *shared, "--best-of", "2"]) == 0
    said = capsys.readouterr()
    assert "base: 3 of 3" in said.err
    assert "best of 2" in said.out

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an answer was written twice")

    monkeypatch.setattr(hypotheses, "generate", refuse)
    output = tmp_path / "out"
    command = ["evaluate", "table", *shared, "--best-of", "2", "--text", str(tmp_path / "prose.txt")]
    assert main([*command, "--window", "64", "--output", str(output)]) == 0
    page = capsys.readouterr().out
    for words in ("Table 1", "| base ", "| tuned ", "best of 2", "candidates", "No view of this data set", "`<unk>`"):
        assert words in page
    assert (output / "tables.md").read_text(encoding="utf-8") == page
    assert {path.name for path in output.iterdir()} == {
        *("tables.md", "rouge.json", "neutrality.json", "demographics.json", "forgetting.json"),
        *("rouge.png", "neutrality.png", "forgetting.png"),
    }
    assert len(json.loads((output / "rouge.json").read_text())["rows"]["base"]["rougeL"]["values"]) == 3


def test_json_has_means_and_intervals_and_nothing_else_is_on_stdout(
    models: list[str], dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "neutrality", *models, "--dataset", str(dataset), "--limit", "2", "--tokens", "6", "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)["neutrality"]
    assert set(found["rows"]) == {"base", "tuned", "candidates"}
    gap = found["rows"]["candidates"]["gap"]
    assert gap["n"] == 2
    assert 0 < gap["low"] <= gap["mean"] <= gap["high"] < 1
    assert found["settings"]["tokens"] == 6


def test_forgetting_tells_models_apart(models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prose.txt").write_text(PROSE, encoding="utf-8")
    assert main(["evaluate", "forgetting", *models, "--text", str(tmp_path / "prose.txt"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["forgetting"]["rows"]
    base, tuned = (rows[name]["log_likelihood"]["mean"] for name in ("base", "tuned"))
    assert base != tuned
    assert -12 < base < -4  # random weights know nothing: ln(600) is 6.4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "folder", "--dataset", "DATASET"], "names no model"),
        (["--model", "a=/nowhere/at/all", "--dataset", "DATASET"], "/nowhere/at/all"),
        (["--model", "a=b", "--dataset", "/no/such.jsonl"], "such.jsonl"),
        (["--model", "a=b", "--dataset", "DATASET", "--limit", "0"], "--limit is 0"),
        (["--model", "a=b", "--dataset", "DATASET", "--best-of-model", "c"], "'c' is none of the models"),
    ],
)
def test_bad_usage_is_one_sentence(
    options: list[str], words: str, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [str(dataset) if option == "DATASET" else option for option in options]
    assert main(["evaluate", "rouge", *filled]) in (1, 2)
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert "Traceback" not in said.err

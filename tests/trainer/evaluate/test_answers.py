"""Answers of a model: written once and kept, by the model's weights and the settings; models named on the way in."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the hf extra")

from mediator.errors import ModelFileError
from trainer.evaluate.answers import AnswerSettings, MeasuredModel, ModelNameError, models_of

PROMPTS = ["Say something about the park.", "And now about the lights, please."]
SHORT = AnswerSettings(tokens=8)


def test_answers_are_written_once(model_folders: dict[str, Path], tmp_path: Path) -> None:
    model = MeasuredModel("base", str(model_folders["base"]), tmp_path)
    first = model.answers(PROMPTS, SHORT)
    assert [len(texts) for texts in first] == [1, 1]
    # The same weights elsewhere, in a folder that cannot be loaded any more: nothing needs to be.
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(model_folders["base"], elsewhere)
    (elsewhere / "tokenizer.json").write_text("{}")
    again = MeasuredModel("other name", str(elsewhere), tmp_path)
    assert again.answers(PROMPTS[::-1], SHORT) == first[::-1]
    with pytest.raises(ModelFileError):
        again.answers(["Something new."], SHORT)


def test_other_weights_and_other_settings_have_answers_of_their_own(
    model_folders: dict[str, Path], tmp_path: Path
) -> None:
    base, tuned = (MeasuredModel(name, str(folder), tmp_path) for name, folder in model_folders.items())
    assert base.key != tuned.key
    assert base.answers(PROMPTS, SHORT) != tuned.answers(PROMPTS, SHORT)
    drawn = base.answers(PROMPTS, AnswerSettings(tokens=8, temperature=1.0, answers=3))
    assert [len(set(texts)) for texts in drawn] == [3, 3]
    assert len(list(tmp_path.glob("*.jsonl"))) == 3


@pytest.mark.parametrize("bad", [["folder"], ["=folder"], ["a="], ["a=x", "a=y"]])
def test_a_model_needs_a_name_of_its_own(bad: list[str]) -> None:
    with pytest.raises(ModelNameError):
        models_of(bad)


def test_names_and_folders_are_read_in_order() -> None:
    assert [(m.name, m.source) for m in models_of(["+NCE=a=b", "base=c"])] == [("+NCE", "a=b"), ("base", "c")]


def test_what_the_first_sign_divides_in_the_wrong_place_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=3e-5" / "model").mkdir(parents=True)
    with pytest.raises(ModelNameError, match=r"is a folder and names no model\. Write it as --model SFT=lr=3e-5/model"):
        models_of(["lr=3e-5/model"])
    with pytest.raises(ModelNameError, match="the name of lr=3e-5/model holds a `=`"):
        models_of(["NCE, K=5=lr=3e-5/model"])
    assert [m.source for m in models_of(["NCE=lr=3e-5/model", "base=org/on-the-hub"])] == [
        *("lr=3e-5/model", "org/on-the-hub")
    ]


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="nowhere"):
        MeasuredModel("x", str(tmp_path / "nowhere"), tmp_path).answers(PROMPTS, SHORT)

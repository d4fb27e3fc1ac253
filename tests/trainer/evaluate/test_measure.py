"""The measurements on small models: rows in the order given, the ablation, what is kept of a likelihood."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the hf extra")
pytest.importorskip("rouge_score", reason="needs the train extra")

from mediator.empathy import EmpathyModel
from mediator.errors import InputError
from trainer.dataset.data import Example
from trainer.evaluate.answers import AnswerSettings, MeasuredModel
from trainer.evaluate.measure import (
    CANDIDATES,
    Figure,
    Measurement,
    MeasureSettings,
    NothingToMeasureError,
    measure_demographics,
    measure_forgetting,
    measure_neutrality,
    measure_rouge,
    prompts_of,
)
from trainer.evaluate.neutrality import leanings_of_candidates
from trainer.evaluate.rouge import NoReferencesError
from trainer.evaluate.shared_views import texts_of
from trainer.progress import Silent

SETTINGS = MeasureSettings(answers=AnswerSettings(tokens=6), best_of=2, window=64)


@pytest.fixture
def models(model_folders: dict[str, Path], tmp_path: Path) -> list[MeasuredModel]:
    return [MeasuredModel(name, str(folder), tmp_path) for name, folder in model_folders.items()]


def quiet(_: str) -> Silent:
    return Silent()


def test_rouge_has_a_row_for_each_model_and_the_best_of_several(
    models: list[MeasuredModel], examples: list[Example], tmp_path: Path
) -> None:
    found = measure_rouge(models, examples[:2], SETTINGS, quiet)
    assert list(found.rows) == ["base", "best of 2", "tuned"]
    assert found.pairs == ("pair-0", "pair-1")
    answers = {model.name: model.answers(prompts_of(examples[:2]), SETTINGS.answers) for model in models}
    different = {name: len({texts[0] for texts in each}) for name, each in answers.items()}
    assert f"Different answers to 2 pairs: base {different['base']}, best of 2 " in found.notes[-1]
    assert f", tuned {different['tuned']}." in found.notes[-1]
    drawn = AnswerSettings(tokens=6, temperature=1.0, answers=2)
    from trainer.evaluate.rouge import best_rouge, references_of

    for place, texts in enumerate(models[0].answers(prompts_of(examples[:2]), drawn)):
        each = [best_rouge(text, references_of(examples[place])) for text in texts]
        best = max(each, key=lambda one: one.together)
        assert found.rows["best of 2"]["rougeL"].values[place] == best.rougeL
    found.save(tmp_path / "rouge.json")
    assert Measurement.load(tmp_path / "rouge.json") == found
    with pytest.raises(InputError, match=r"none\.json is not a measurement"):
        Measurement.load(tmp_path / "none.json")


def test_what_cannot_be_measured_is_said_before_a_model_works(examples: list[Example], tmp_path: Path) -> None:
    nowhere = [MeasuredModel("x", str(tmp_path / "nowhere"), tmp_path)]
    with pytest.raises(NothingToMeasureError, match="No model"):
        measure_rouge([], examples, SETTINGS, quiet)
    with pytest.raises(NothingToMeasureError, match="no pair"):
        measure_rouge(nowhere, [], SETTINGS, quiet)
    bare = examples[0].model_copy(update={"candidates": ()})
    with pytest.raises(NoReferencesError, match="pair-0"):
        measure_rouge(nowhere, [bare], SETTINGS, quiet)


def test_demographics_change_the_prompt_of_those_who_have_them(
    models: list[MeasuredModel], examples: list[Example]
) -> None:
    none = measure_demographics(models[:1], examples, SETTINGS, quiet)
    assert none.rows == {}
    assert "No view of this data set" in none.notes[0]
    view = examples[0].view_a.model_copy(update={"demographics": {"age": "70", "work": "nurse"}})
    mixed = [examples[0].model_copy(update={"view_a": view}), examples[1]]
    found = measure_demographics(models[:1], mixed, SETTINGS, quiet)
    assert list(found.rows) == ["base, with", "base, without"]
    assert found.pairs == ("pair-0",)
    with_them, without = prompts_of(mixed[:1])[0], prompts_of(mixed[:1], False)[0]
    assert "nurse" in with_them
    assert "nurse" not in without
    assert without == prompts_of(examples[:1])[0]


def test_the_candidates_have_a_gap_and_a_warmth(models: list[MeasuredModel], examples: list[Example]) -> None:
    scorer = EmpathyModel.load()
    try:
        found = measure_neutrality(models[:1], examples[:2], scorer, SETTINGS, quiet)
        each = [leanings_of_candidates(example, scorer) for example in examples[:2]]
    finally:
        scorer.close()
    assert list(found.rows) == ["base", CANDIDATES]
    for name in ("gap", "warmth"):
        assert found.rows[CANDIDATES][name].values == pytest.approx(
            [sum(getattr(one, name) for one in pair) / len(pair) for pair in each]
        )


def test_pairs_that_share_views_make_the_intervals_wider(models: list[MeasuredModel], examples: list[Example]) -> None:
    """Each pair several times, under another name: as dependent as pairs can be."""
    aged = examples[1].view_a.model_copy(update={"demographics": {"age": "70"}})
    first = [examples[0], examples[1].model_copy(update={"view_a": aged})]
    several = [one.model_copy(update={"id": f"{one.id} {time}"}) for time in range(6) for one in first]
    views = [texts_of(one) for one in several]
    scorer = EmpathyModel.load()
    alone = replace(SETTINGS, best_of=1)
    try:
        found = [measure_neutrality(models[:1], several, scorer, alone, quiet)]
    finally:
        scorer.close()
    found.append(measure_rouge(models[:1], several, alone, quiet))
    for measurement in found:
        assert any("12 of the 12 pairs share a view with another one" in note for note in measurement.notes)
        for row in measurement.rows.values():
            for figure in row.values():
                assert figure == Figure.of(figure.values, views=views)
    gap = found[0].rows[CANDIDATES]["gap"]
    assert gap.high - gap.low > 1.4 * (Figure.of(gap.values).high - Figure.of(gap.values).low) > 0
    demographics = measure_demographics(models[:1], several, alone, quiet)
    assert "6 of the 6 pairs share a view with another one" in demographics.notes[1]
    assert "intervals are widened where this shows in the values, and stay somewhat" in demographics.notes[1]


def test_a_likelihood_is_read_once(
    models: list[MeasuredModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "The park opens at night, and the neighbours share the cost. " * 8
    first = measure_forgetting(models, text, SETTINGS, quiet)
    assert len(list(tmp_path.glob("likelihood-*.json"))) == 2
    figure = first.rows["base"]["log_likelihood"]
    assert figure.low < figure.mean < figure.high < 0

    def refuse(*_: object) -> None:
        raise AssertionError("the text was read twice")

    monkeypatch.setattr("trainer.evaluate.measure.likelihood", refuse)
    assert measure_forgetting(models, text, SETTINGS, quiet) == first
    with pytest.raises(AssertionError, match="read twice"):
        measure_forgetting(models, text + "More.", SETTINGS, quiet)

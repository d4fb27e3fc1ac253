"""The form of a new run: every setting explained in each language, what is typed becomes settings."""

import re
from typing import Literal, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.html import Reader, anything, stays_text

from trainer.alignment.config import CONFIGS, make_config
from trainer.config import ConfigError
from ui import train_draft, train_form
from ui.strings import LANGUAGES, catalogue
from ui.train_form import missing_extra, run_form
from ui.train_settings import (
    CHOICES,
    FOLDS,
    MOST_PROCESSES,
    NEEDS,
    OPEN,
    PATHS,
    RECIPES,
    Draft,
    choice_words,
    chosen_recipe,
    default_value,
    draft_of,
    explanation_of,
    fields_of,
    label_of,
    settings_of,
)

FIELDS = {name: about for config in CONFIGS.values() for name, about in config.model_fields.items()}
EVERY = [(recipe, name) for recipe, config in CONFIGS.items() for name in config.model_fields]


def form(draft=None, language="en", known=None, folded=False):
    return run_form(draft or Draft(), known or {}, language, folded=folded)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", FIELDS)
def test_each_setting_has_a_name_and_an_explanation(name, language):
    texts = catalogue(language)
    assert label_of(name, language) == texts[f"train.label.{name}"] != name
    assert explanation_of("sft", name, language) == texts[f"train.field.{name}"]
    assert len(texts[f"train.field.{name}"].split()) >= 4


def test_no_explanation_is_left_in_the_other_language():
    english, german = catalogue("en"), catalogue("de")
    same = [key for key in english if re.match(r"train\.field\.", key) and english[key] == german[key]]
    assert same == []


def test_a_setting_that_the_catalogue_does_not_know_keeps_its_own_description(monkeypatch):
    monkeypatch.delitem(catalogue("de"), "train.field.epochs")
    assert explanation_of("sft", "epochs", "de") == CONFIGS["sft"].model_fields["epochs"].description


def test_each_setting_stands_in_the_form_once():
    places = [*PATHS, *OPEN, *(name for names in FOLDS.values() for name in names)]
    assert sorted(places) == sorted(FIELDS)
    assert set(RECIPES) == set(CONFIGS)


def test_a_setting_that_nobody_has_placed_is_drawn_all_the_same(monkeypatch):
    monkeypatch.setattr(train_form, "PLACED", tuple(name for name in train_form.PLACED if name != "seed"))
    monkeypatch.setattr(train_form, "FOLDS", FOLDS | {"learning": ()})
    assert Reader(form()).one("input", name="seed")["value"] == "0"


def test_the_menus_are_those_of_the_settings():
    menus = {name: get_args(about.annotation) for name, about in FIELDS.items()
             if get_origin(about.annotation) is Literal}  # fmt: skip
    assert dict(CHOICES) == menus
    for language in LANGUAGES:
        assert all(choice_words(name, value, language) for name, values in menus.items() for value in values)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_each_field_of_a_recipe_is_drawn_with_its_label_its_explanation_and_a_place_for_what_is_wrong(recipe, language):
    html = Reader(form(Draft(recipe=recipe), language))
    assert html.balanced
    ids = [attributes["id"] for _, attributes in html.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for name in CONFIGS[recipe].model_fields:
        control = html.one(name=name)
        assert [attributes["for"] for attributes in html.all("label", for_=control["id"])] == [control["id"]]
        assert set(control["aria-describedby"].split()) <= set(ids)
        html.one(data_slot=f"field-{name}")
        assert label_of(name, language) in html.text
        assert explanation_of(recipe, name, language) in html.text
    other = set(FIELDS) - set(CONFIGS[recipe].model_fields)
    assert not [name for name in other if html.all(name=name)]
    assert html.one("input", type="radio", checked=True)["value"] == recipe


def test_the_form_is_folded_while_something_runs():
    assert "open" in Reader(form()).one("details", data_key="new")
    assert "open" not in Reader(form(folded=True)).one("details", data_key="new")


def test_a_draft_is_drawn_as_it_was_typed():
    draft = draft_of({"recipe": "nce", "processes": "2", "values": {
        "epochs": "3,5", "trunk_cache": False, "score": "sum", "model": "/a b/c", "train_head": True}})  # fmt: skip
    html = Reader(form(draft))
    assert html.one("input", name="epochs")["value"] == "3,5"
    assert html.one("input", name="model")["value"] == "/a b/c"
    assert html.one("input", name="processes")["value"] == "2"
    assert "checked" not in html.one("input", name="trunk_cache")
    assert "checked" in html.one("input", name="train_head")
    assert [one["value"] for one in html.all("option", selected=True)] == ["last_layers", "sum", "auto", "auto"]


def test_results_of_earlier_runs_are_offered_and_anything_else_can_be_typed():
    html = Reader(form(known={"model": [("/runs/sft/model", "Fine-tuning of tiny")]}))
    assert html.one("input", name="model")["list"] == html.one("datalist", id="eh-train-model-known")["id"]
    assert html.one("option", value="/runs/sft/model")["label"] == "Fine-tuning of tiny"


BUILDERS = {
    "path": lambda text: form(draft_of({"recipe": "nce", "values": {"model": text, "hypotheses": text}})),
    "number": lambda text: form(draft_of({"values": {"epochs": text, "learning_rate": text}})),
    "processes": lambda text: form(Draft(processes=text)),
    "offer": lambda text: form(known={"model": [(text, text)], "dataset": [(text, text)]}),
}


@pytest.mark.parametrize("name", BUILDERS)
@settings(deadline=None, max_examples=25)
@given(text=anything)
def test_text_stays_text(name, text):
    assert stays_text(BUILDERS[name], text)


# -- what is typed becomes settings


@pytest.mark.parametrize(("recipe", "name"), EVERY)
def test_a_default_that_is_sent_back_changes_nothing(recipe, name):
    default = default_value(CONFIGS[recipe].model_fields[name].default)
    draft = draft_of({"recipe": recipe, "values": {name: default}})
    assert draft.values == {}
    assert make_config(recipe, settings_of(draft, "en")[0]) == make_config(recipe, {})


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("epochs", " 2 ", 2),
        ("epochs", "0.5", 0.5),
        ("learning_rate", "1e-4", 1e-4),
        ("batch_size", "8", 8),
        ("model", " /a/model ", "/a/model"),
        ("train_head", True, True),
        ("packing", False, False),
        ("trainable", "lora", "lora"),
    ],
)
def test_what_is_typed_is_read(name, typed, value):
    found, problems = settings_of(draft_of({"values": {"trainable": "last_layers", name: typed}}), "en")
    assert (found[name], problems) == (value, {})
    assert make_config("sft", found).model_dump()[name] == value


@pytest.mark.parametrize(
    ("name", "typed", "words"),
    [
        ("epochs", "many", "no number"),
        ("epochs", "", "no number"),
        ("epochs", "nan", "no number"),
        ("epochs", "1e999", "no number"),
        ("epochs", "0", "More than 0"),
        ("epochs", "0,5", "no number"),
        ("warmup_share", "1.1", "Between 0 and 1"),
        ("weight_decay", "-1", "At least 0"),
        ("batch_size", "1.5", "no whole number"),
        ("batch_size", "0", "At least 1"),
        ("batch_size", "９", "no whole number"),
        ("longest_text", "3", "At least 16"),
        ("adam_beta1", "1", "At least 0 and less than 1"),
        ("seed", "9999999999", "Between 0 and 2147483647"),
        ("precision", "fp8", "auto, bf16, fp32"),
    ],
)
def test_what_cannot_be_read_is_said_at_its_field(name, typed, words):
    found, problems = settings_of(draft_of({"values": {name: typed}}), "en")
    assert name not in found
    assert list(problems) == [name]
    assert words in problems[name]


def test_german_numbers_may_have_a_comma():
    assert settings_of(draft_of({"values": {"epochs": "0,5"}}), "de") == ({"epochs": 0.5}, {})
    assert settings_of(draft_of({"values": {"learning_rate": "2,5e-5"}}), "de") == ({"learning_rate": 2.5e-5}, {})
    assert "keine Zahl" in settings_of(draft_of({"values": {"epochs": "1.000,5"}}), "de")[1]["epochs"]


@pytest.mark.parametrize("typed", ["0", "-1", "two", str(MOST_PROCESSES + 1), "1.5"])
def test_the_number_of_processes_is_checked(typed):
    assert "processes" in settings_of(draft_of({"processes": typed}), "en")[1]
    assert settings_of(draft_of({"processes": str(MOST_PROCESSES)}), "en")[1] == {}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("learns", CHOICES["trainable"])
def test_settings_that_do_nothing_with_what_learns_are_left_alone(recipe, learns):
    odd = {"layers": "7", "train_head": True, "adapter_rank": "3", "cache_memory": "9"}
    draft = draft_of({"recipe": recipe, "values": {**odd, "trainable": learns}})
    found, problems = settings_of(draft, "en")
    assert problems == {}
    expected = {name for name in odd if learns in NEEDS[name] and name in CONFIGS[recipe].model_fields}
    assert set(odd) & set(found) == expected
    config = make_config(recipe, found)  # the cache needs frozen layers: it is off where there are none
    assert config.trainable == learns
    if "trunk_cache" in CONFIGS[recipe].model_fields:
        assert config.trunk_cache == (learns == "last_layers")


def test_another_recipe_keeps_what_was_changed_and_takes_its_own_defaults_for_the_rest():
    first = draft_of({"recipe": "task", "values": {"model": "/m", "margin_weight": "3", "epochs": "12", "seed": "5"}})
    assert first.values == {"model": "/m", "margin_weight": "3", "seed": "5"}  # 12 epochs are this recipe's own
    second = chosen_recipe(first, "sft")
    assert settings_of(second, "en")[0] == {"model": "/m", "seed": 5}
    assert make_config("sft", settings_of(second, "en")[0]).epochs == 1.0
    # What the other recipe does not have is there again when somebody comes back.
    sent = draft_of({"recipe": "sft", "values": {"model": "/n", "seed": "5"}}, second)
    assert settings_of(chosen_recipe(sent, "task"), "en")[0] == {"model": "/n", "margin_weight": 3, "seed": 5}


@pytest.mark.parametrize("data", [None, [], "x", {}, {"recipe": 3, "values": 4, "processes": []},
                                  {"values": {"nothing": "1", "epochs": 3, "seed": None}}])  # fmt: skip
def test_what_does_not_fit_is_left_out(data):
    assert draft_of(data) == Draft()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), st.text(max_size=30) | st.booleans()), st.sampled_from(RECIPES))
def test_whatever_is_typed_becomes_settings_or_a_sentence(values, recipe):
    draft = draft_of({"recipe": recipe, "values": values})
    found, problems = settings_of(draft, "en")
    assert all(isinstance(text, str) and text for text in problems.values())
    assert not set(found) & set(problems)
    said = ""
    try:
        make_config(recipe, found)
    except ConfigError as error:
        said = str(error)
    assert not said.startswith("the settings: `")  # two settings may not go together; each of them is good


# -- the draft survives


def test_what_is_typed_is_kept_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "data"))
    assert train_draft.load() == Draft()
    values = {"model": "/modèle", "train_head": True, "packing": False, "epochs": " 3 "}
    draft = draft_of({"recipe": "nce", "processes": "2", "values": values})
    train_draft.save(draft)
    assert train_draft.load() == draft
    assert [path.name for path in (tmp_path / "data").iterdir()] == [train_draft.FILE_NAME]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"values": 3}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_draft_is_an_empty_one(tmp_path, monkeypatch, content):
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path))
    (tmp_path / train_draft.FILE_NAME).write_bytes(content)
    assert train_draft.load() == Draft()


def test_a_draft_that_cannot_be_kept_is_said_in_the_log_only(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "file" / "folder"))
    train_draft.save(draft_of({"values": {"seed": "3"}}))
    assert "cannot be kept" in caplog.text


# -- without the packages


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_the_packages_the_page_says_how_to_get_them(language):
    html = Reader(missing_extra(language))
    assert html.balanced
    assert "pip install 'evenhand[train]'" in html.text
    assert html.all("button", data_copy=True)


def test_the_order_of_the_form_has_all_settings():
    assert all(sorted(fields_of(config)) == sorted(config.model_fields) for config in CONFIGS.values())

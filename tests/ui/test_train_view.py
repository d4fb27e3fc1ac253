"""The runs as the page shows them: each state, what can be done, curves, samples with their bars, a comparison."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.html import Reader, anything, stays_text
from support.stored_runs import dead_process, stored_run
from support.toy_training import toy_disputes

from trainer.dataset.data import Example
from trainer.runs import runs
from ui import train_runs
from ui.strings import LANGUAGES, catalogue, say
from ui.train_compare import comparison, differing
from ui.train_detail import Shown
from ui.train_settings import RECIPES
from ui.train_state import ICONS, PHASES, model_name, progress_words
from ui.train_view import MOST_COMPARED, runs_page
from ui.train_words import duration, figure, moment, typed

STATES = ("starting", "running", "stopping", "stopped", "done", "failed")
SPEED = {"samples_per_second": 12.345, "tokens_per_second": 2934.0, "memory_bytes": 1.5e9, "gpu_memory_bytes": 2.5e9}
METRICS = [{"step": step, "loss": 4.0 / step, "learning_rate": 1e-5 * step, **SPEED} for step in (1, 2, 4)]
SAMPLES = [
    {"step": 2, "dispute_id": "toy-000", "text": "Share the harbour.", "score_a": 0.5, "score_b": 0.25},
    {"step": 4, "dispute_id": "toy-000", "text": "Open it until nine.", "score_a": 0.75, "score_b": 0.7},
    {"step": 4, "dispute_id": "gone", "text": "Plan it together.", "score_a": None, "score_b": None},
]


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture(scope="module")
def some_run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path_factory.mktemp("some")))
        return stored_run("nce-1", "nce", state="failed", step=3, steps=9, message="It broke.", hint="Mend it.")


def page(*runs, chosen=None, language="en", **shown):
    return runs_page(runs, Shown(chosen or runs[0], **shown), [], language)


def actions(html):
    return [(one["data-act"]) for one in Reader(html).all("button", data_act=True) if one["data-act"] != "show"]


# -- the list


def test_nothing_yet_is_said():
    html = Reader(runs_page([], None, [], "en"))
    assert "No run yet." in html.text
    assert html.balanced


def test_the_list_names_each_run_its_state_and_how_far_it_is():
    running = stored_run("nce-2", "nce", state="running", phase="training", step=3, steps=9, seconds_left=200.0)
    failed = stored_run("sft-1", state="failed", message="The disk is full.", hint="Make room.")
    html = Reader(page(running, failed))
    assert html.balanced
    first, second = html.all("button", data_act="show")
    assert (first["data-id"], first.get("aria-current")) == ("nce-2", "true")
    assert (second["data-id"], second.get("aria-current")) == ("sft-1", None)
    for words in ("NCE of tiny-llama", "Fine-tuning of tiny-llama", "Running", "Failed", "The disk is full."):
        assert words in html.text
    assert "Training, step 3 of 9, about 3 min left" in html.text


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_state_is_a_word_and_a_sign_not_only_a_colour(state, language):
    run = stored_run(f"sft-{state}", state=state)
    tags = re.findall(r'<span class="eh-tag eh-run-state".*?</span> (.*?)</span>', page(run, language=language))
    assert tags == [say(language, f"train.state_{state}")] * 2
    assert len(set(ICONS.values())) == len(STATES) == len({say(language, f"train.state_{one}") for one in STATES})


def test_a_change_of_state_is_read_aloud_and_no_number_is():
    run = stored_run("sft-1", state="running", phase="training", step=3, steps=9)
    spoken = re.findall(r'<p [^>]*role="status"[^>]*>(.*?)</p>', page(run, metrics=METRICS))
    assert spoken == ["Fine-tuning of tiny-llama: Running"]


@pytest.mark.parametrize(
    ("named", "short"),
    [("/a/b/Llama-3", "Llama-3"), ("/d/runs/sft-2026-ab12/model", "sft-2026-ab12"),
     ("meta/Llama-3.1-8B", "Llama-3.1-8B"), ("model", "model"), ("", "?")],
)  # fmt: skip
def test_the_name_of_a_model_is_short(named, short):
    assert model_name(named) == short


# -- the chosen run


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("starting", ["stop"]),
        ("running", ["stop"]),
        ("stopping", ["stop"]),
        ("stopped", ["resume", "delete"]),
        ("failed", ["resume", "delete"]),
        ("done", ["use", "export", "delete"]),
    ],
)
def test_what_can_be_done_depends_on_the_state(state, expected):
    run = stored_run("sft-1", state=state, result=state == "done")
    html = runs_page([run], train_runs.shown(run), [], "en")
    assert actions(html) == expected
    for button in Reader(html).all("button", data_act="stop"):
        assert button.get("aria-disabled") == ("true" if state == "stopping" else None)


def test_without_a_place_to_write_a_model_is_not_offered():
    run = stored_run("sft-1", result=True)
    assert actions(runs_page([run], train_runs.shown(run, with_writer=False), [], "en")) == ["export", "delete"]


def test_deleting_asks_first():
    html = page(stored_run("sft-1"))
    confirm = re.search(r'<details class="eh-confirm".*?</details>', html, re.DOTALL).group()
    assert 'data-act="delete"' in confirm
    assert html.count('data-act="delete"') == 1
    assert "open" not in Reader(confirm).one("details")


def test_a_dead_process_is_shown_as_failed_with_the_reason():
    run = stored_run("sft-1", state="running", step=3, steps=9, log="boom\nMemoryError\n", created=1e9,
                     **dead_process())  # fmt: skip
    html = Reader(page(run))
    assert run.state == "failed"
    assert "Failed" in html.text
    alert = html.one("p", role="alert")
    assert alert["class"] == "eh-problem"
    assert run.message in html.text
    assert run.hint in html.text


def test_the_reason_of_a_failure_is_said_in_the_language_of_the_page():
    said = {"message": "The GPU ran out of memory.", "hint": "To need less, lower longest_text."}
    run = stored_run("sft-1", state="failed", **said)
    shown = Reader(page(run, language="de")).texts
    assert "Der Grafikspeicher ist ausgegangen. Weniger braucht der Lauf so: longest_text senken." in shown
    assert "Der Grafikspeicher ist ausgegangen." in shown  # in the list


def test_a_warning_while_it_runs_is_no_failure():
    run = stored_run("sft-1", state="running", message="The loss is no number any more.", hint="Stop the run.")
    html = Reader(page(run))
    assert "The loss is no number any more. Stop the run." in html.text
    assert not html.all(role="alert")


def test_progress_can_be_seen_and_heard():
    run = stored_run("nce-1", "nce", state="running", phase="hypotheses", done=5, total=20, seconds_left=45.0)
    bar = Reader(page(run)).one(role="progressbar")
    assert bar["aria-valuenow"] == "25"
    assert bar["aria-valuetext"] == "The model writes its own answers, 5 of 20, about 45 s left"
    run = stored_run("nce-2", "nce", state="running", phase="training", done=1, total=2, step=30, steps=120)
    assert Reader(page(run)).one(role="progressbar")["aria-valuenow"] == "25"
    # A stopped run shows how far it came; a run that says nothing yet has no bar, and a finished one needs none.
    stopped = stored_run("nce-3", "nce", state="stopped", phase="saving", done=1, total=1, step=30, steps=120)
    assert Reader(page(stopped)).one(role="progressbar")["aria-valuenow"] == "25"
    for quiet in (stored_run("nce-4", state="starting"), stored_run("nce-5", state="done", step=9, steps=9)):
        assert not Reader(page(quiet)).all(role="progressbar")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_each_phase_has_words(phase, language):
    run = stored_run("nce-1", "nce", state="running", phase=phase)
    assert progress_words(run, language) == say(language, f"train.phase_{phase}")


def test_a_phase_and_a_recipe_that_the_page_does_not_know_do_no_harm():
    run = stored_run("nce-1", "nce", state="running", phase="dreaming").model_copy(update={"recipe": "empathy"})
    html = Reader(page(run))
    assert html.balanced
    assert "empathy of tiny-llama" in html.text


def test_the_figures_are_the_last_ones():
    html = Reader(page(stored_run("sft-1", settings={"epochs": 3}), metrics=[{**METRICS[0], "epoch": 2.5}]))
    values = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page(stored_run("sft-2"), metrics=METRICS))
    assert values == [("Samples per second", "12.3"), ("Tokens per second", "2934"), ("Memory", "1.5 GB"),
                      ("GPU memory", "2.5 GB")]  # fmt: skip
    assert "2.5 of 3" in html.text


def test_samples_have_their_bars_and_their_dispute():
    views = {line["id"]: Example.model_validate(line) for line in toy_disputes(1)}
    html = page(stored_run("sft-1"), samples=SAMPLES, views=views)
    front, behind = html.split("1 earlier sample")
    assert "Open it until nine." in front
    assert "Share the harbour." not in front
    assert "Share the harbour." in behind
    bars = Reader(front).all(role="meter")
    assert [bar["aria-valuenow"] for bar in bars] == ["75", "70", "0", "0"]
    assert bars[2]["aria-valuetext"] == "not measured yet"
    assert "The harbour, step 4" in front
    assert "gone, step 4" in front
    assert "open it until ten" in front  # what A wants


def test_settings_are_listed_with_what_was_changed():
    html = page(stored_run("nce-1", "nce", settings={"epochs": 3, "trunk_cache": False, "score": "sum"}))
    table = Reader(re.search(r'data-key="settings-nce-1".*?</details>', html, re.DOTALL).group())
    text = table.text
    assert "3 (default: 8)" in text
    assert "no (default: yes)" in text
    assert "sum (whole text) (default: log_ratio)" in text
    assert "learning_rate" in text
    assert "/data/train.jsonl" in text
    assert str(runs.runs_folder() / "nce-1") in text


def test_the_log_and_the_command_are_in_folds():
    html = page(stored_run("sft-1"), log="step 1\n<b>step 2</b>", command="evenhand train sft")
    for key, words in (("log", "<b>step 2</b>"), ("command", "evenhand train sft")):
        fold = re.search(rf'<details class="eh-others" data-key="{key}-sft-1">.*?</details>', html, re.DOTALL).group()
        assert words in Reader(fold).text


BUILDERS = {
    "message": lambda text: {"message": f"x{text}", "hint": text},  # a blank one has no line
    "id": lambda text: {"id": text},
    "model": lambda text: {"settings": {"model": text, "dataset": text, "odd": text}},
    "recipe": lambda text: {"recipe": text},
}


@pytest.mark.parametrize("name", BUILDERS)
@settings(deadline=None, max_examples=25)
@given(text=anything)
def test_text_of_a_run_stays_text(some_run, name, text):
    def build(value):
        run = some_run.model_copy(update=BUILDERS[name](value))
        return runs_page([run], Shown(run), [(run, METRICS), (run, METRICS)], "en")

    assert stays_text(build, text)


@settings(deadline=None, max_examples=25)
@given(text=anything)
def test_text_of_a_model_stays_text(some_run, text):
    def build(value):
        sample = {"step": 1, "dispute_id": value, "text": value, "score_a": 0.5, "score_b": 0.5}
        return page(some_run, samples=[sample], log=value, command=value)

    assert stays_text(build, text)


# -- a comparison


def test_runs_are_compared_from_two_on():
    first = stored_run("sft-1", settings={"epochs": 3, "seed": 1})
    second = stored_run("sft-2", settings={"epochs": 5, "seed": 1})
    assert comparison([], "en") == ""
    assert "Choose a second run" in comparison([("A", first, METRICS)], "en")
    html = comparison([("A", first, METRICS), ("B", second, METRICS)], "en")
    rows = [re.findall(r"<t[dh]\b[^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]
    table = {row[0]: row[1:] for row in rows if len(row) == 3}
    assert table["Epochs"] == ["3.0", "5.0"] or table["Epochs"] == ["3", "5"]
    assert table["Loss, last value"] == ["1", "1"]
    assert "Seed" not in table
    labels = re.search(r'<ul class="eh-chart-key">(.*?)</ul>', html).group()
    assert "① A" in labels
    assert "② B" in labels


def test_of_other_recipes_only_what_both_have_is_compared():
    assert differing([{"recipe": "sft", "a": 1, "b": 2}, {"recipe": "nce", "a": 1, "b": 3, "c": 4}]) == ["recipe", "b"]


def test_more_runs_than_can_be_told_apart_are_not_compared():
    runs = [stored_run(f"sft-{number}", created=1000.0 + number) for number in range(MOST_COMPARED + 2)]
    html, _ = train_runs.drawn("with=" + ",".join(run.id for run in runs), "en")
    boxes = Reader(html).all("input", data_compare=True)
    assert sum("checked" in box for box in boxes) == MOST_COMPARED
    assert ["disabled" in box for box in boxes] == ["checked" not in box for box in boxes]
    assert "disabled" not in Reader(train_runs.drawn("with=sft-1", "en")[0]).all("input", data_compare=True)[0]


# -- words


@pytest.mark.parametrize(
    ("value", "english", "german"),
    [(2.3149, "2.31", "2,31"), (3e-5, "3e-5", "3e-5"), (0.0001234, "0.000123", "0,000123"), (12345.6, "12346", "12346"),
     (0.0, "0", "0"), (-1.5, "-1.5", "-1,5"), (1e9, "1e9", "1e9"), (float("nan"), "nan", "nan")],
)  # fmt: skip
def test_figures(value, english, german):
    assert (figure(value, "en"), figure(value, "de")) == (english, german)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_typed_as_it_is_read(value):
    assert float(typed(value)) == value


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3540, "59 min"), (3600, "1 h 0 min"), (4 * 86400 + 7300, "4 d 2 h")],
)
def test_durations(seconds, words):
    assert duration(seconds, "en") == words


def test_moments_are_those_of_this_computer():
    import time

    now = time.mktime((2026, 11, 21, 14, 20, 0, 0, 0, -1))
    assert moment(now, "en") == "21 Nov 2026, 14:20"


def test_german_has_no_english_left():
    english, german = catalogue("en"), catalogue("de")
    same = {key for key in english if key.startswith("train.") and english[key] == german[key]}
    names = {"train.short_nce", "train.short_dpo", "train.short_nca", "train.label.beta", "train.bad_field"}
    names |= {key for key in same if key.startswith(("train.choice.", "train.example_", "train.metric_rouge"))}
    names |= {
        "train.curve_rouge",
        "train.phase_training",
        "train.seconds",
        "train.minutes",
        "train.hours",
        "train.aloud",
    }
    assert same - names == set()
    assert len(RECIPES) == 6

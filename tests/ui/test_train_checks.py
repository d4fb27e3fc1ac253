"""What the Train tab says of the form and reads of the runs: data sets, needs, the command, what is shown and done."""

import json
import os
import re
import shlex
import time
from itertools import pairwise

import pytest
from support.html import Reader
from support.stored_runs import stored_run
from support.toy_training import toy_dataset, toy_disputes

from mediator.errors import EvenhandError
from trainer.alignment.config import load_config
from trainer.runs import runs
from trainer.runs.folder import RunFolder, append_line
from ui import train_checks, train_draft, train_runs
from ui.train import TrainTab
from ui.train_checks import checked, config_of, extra_is_missing
from ui.train_settings import FILES, PATHS, draft_of

# fmt: off
LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 32, "num_hidden_layers": 4,
    "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 300, "max_position_embeddings": 512,
}
# fmt: on


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint of a small Llama: what is read of it before a run starts, weights included. Made without torch."""
    numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    from numpy import zeros

    folder = tmp_path_factory.mktemp("model") / "toy"
    folder.mkdir()
    shapes = {"self_attn.q_proj": (32, 32), "self_attn.k_proj": (32, 32), "self_attn.v_proj": (32, 32),
              "self_attn.o_proj": (32, 32), "mlp.gate_proj": (64, 32), "mlp.up_proj": (64, 32),
              "mlp.down_proj": (32, 64)}  # fmt: skip
    tensors = {f"model.layers.{layer}.{name}.weight": shape for layer in range(4) for name, shape in shapes.items()}
    tensors |= {"model.embed_tokens.weight": (300, 32), "lm_head.weight": (300, 32), "model.norm.weight": (32,)}
    numpy.save_file(
        {name: zeros(shape, "float32") for name, shape in tensors.items()}, str(folder / "model.safetensors")
    )
    (folder / "config.json").write_text(json.dumps(LLAMA))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def draft(recipe="sft", processes="1", **values):
    return draft_of({"recipe": recipe, "processes": processes, "values": {k: str(v) for k, v in values.items()}})


def text(html):
    return Reader(html).text


# -- the data


def test_a_data_set_is_counted_at_once(tmp_path):
    path = toy_dataset(tmp_path / "train.jsonl", 3)
    answer = checked(draft(dataset=path), "en")
    assert text(answer["slots"]["field-dataset"]) == "3 disputes with 12 candidates."
    assert text(checked(draft(dataset=path), "de")["slots"]["field-dataset"]) == "3 Konflikte mit 12 Vorschlägen."
    assert answer["bad"] == []


def test_a_changed_data_set_is_read_again(tmp_path):
    path = toy_dataset(tmp_path / "train.jsonl", 3)
    checked(draft(dataset=path), "en")
    toy_dataset(path, 5)
    assert "5 disputes" in checked(draft(dataset=path), "en")["slots"]["field-dataset"]


def test_disputes_without_candidates_are_told(tmp_path):
    lines = toy_disputes(3)
    lines[1]["candidates"] = []
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    said = text(checked(draft(dataset=path), "en")["slots"]["field-dataset"])
    assert said == "3 disputes with 8 candidates. 1 of them has none and is left out."


def test_the_first_bad_line_is_named(tmp_path):
    path = toy_dataset(tmp_path / "train.jsonl", 3)
    with path.open("a") as file:
        file.write('{"id": "x", "view_a": {"text": "only one side"}}\n{\n')
    answer = checked(draft(dataset=path), "en")
    said = text(answer["slots"]["field-dataset"])
    assert "line 4" in said
    assert "view_b" in said
    assert "1 more line is bad" in said
    assert answer["bad"] == ["dataset"]


@pytest.mark.parametrize("named", ["nothing.jsonl", ".", "a\0b"])
def test_what_is_no_file_is_a_sentence(tmp_path, named):
    answer = checked(draft(validation=os.path.join(tmp_path, named)), "en")
    assert answer["bad"] == ["validation"]
    assert "eh-field-error" in answer["slots"]["field-validation"]


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there are no device files here")
def test_a_device_is_not_read():
    assert "checked when the run starts" in checked(draft(dataset="/dev/zero"), "en")["slots"]["field-dataset"]


def test_a_large_file_is_left_for_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(train_checks, "LARGEST_DATA", 100)
    path = toy_dataset(tmp_path / "train.jsonl", 3)
    assert "checked when the run starts" in checked(draft(dataset=path), "en")["slots"]["field-dataset"]


# -- what the run needs


def test_what_is_missing_is_asked_for():
    assert text(checked(draft(), "en")["slots"]["estimate"]) == "Name the base model."
    assert text(checked(draft(model="/m"), "en")["slots"]["estimate"]) == "Name a data set."


def test_memory_disk_and_steps_are_estimated(tmp_path, model):
    path = toy_dataset(tmp_path / "train.jsonl", 8)
    answer = checked(draft(model=model, dataset=path, epochs=4), "en")
    said = text(answer["slots"]["estimate"])
    assert "of memory" in said
    assert "on the disk" in said
    assert "million weights learn" in said
    assert re.search(r"About \d+ steps\.", said)
    german = text(checked(draft(model=model, dataset=path, epochs=4), "de")["slots"]["estimate"])
    assert "Arbeitsspeicher" in german
    assert "Millionen Gewichten lernen" in german


def test_a_run_that_cannot_work_is_refused_with_what_would(tmp_path, model, monkeypatch):
    path = toy_dataset(tmp_path / "train.jsonl", 8)
    answer = checked(draft(model=tmp_path / "nothing", dataset=path), "en")
    assert "eh-field-error" in answer["slots"]["estimate"]
    answer = checked(draft("nce", model=model, dataset=path, layers=9), "en")
    assert "at most 4" in text(answer["slots"]["estimate"])
    answer = checked(draft("nca", model=model, dataset=path, answers=3), "en")
    assert "hypothesis_temperature" in text(answer["slots"]["estimate"])


def test_what_is_wrong_with_a_field_stands_there_and_not_twice(tmp_path):
    path = toy_dataset(tmp_path / "train.jsonl", 2)
    answer = checked(draft(model="/m", dataset=path, epochs="many"), "en")
    assert answer["bad"] == ["epochs"]
    assert text(answer["slots"]["field-epochs"]) == "This is no number."
    assert "when the fields are in order" in answer["slots"]["estimate"]


def test_a_changed_setting_shows_its_default():
    answer = checked(draft(learning_rate="1e-4", seed=3, log_every=2), "en")
    assert text(answer["slots"]["field-learning_rate"]) == "default: 3e-5"
    assert text(answer["slots"]["changed"]) == "(2 of them differ from their defaults)"


@pytest.mark.parametrize("recipe", ["sft", "nce", "task", "dpo", "nca"])
def test_the_command_says_the_same_as_the_form(recipe):
    form = draft(recipe, "2", model="/a model/it's", dataset="/d.jsonl", epochs=2, trainable="lora", adapter_rank=8)
    words = shlex.split(checked(form, "en")["command"])
    assert words[:3] == ["evenhand", "train", recipe]
    changes = [value for name, value in pairwise(words) if name == "--set"]
    assert load_config(recipe, None, changes) == config_of(form, "en")[0]
    assert words[-2:] == ["--processes", "2"]


@pytest.mark.parametrize(
    ("values", "words"),
    [({}, "Base model: Name the base model."), ({"model": "/m"}, "Data set: Name a data set."),
     ({"model": "/m", "dataset": "/d", "epochs": "x"}, "Epochs: This is no number."),
     ({"model": "/m", "dataset": "/d", "processes": "none"}, "Graphics cards: Between 1 and")],
)  # fmt: skip
def test_a_start_names_the_field_that_is_wrong(values, words):
    with pytest.raises(EvenhandError) as caught:
        config_of(draft(processes=values.pop("processes", "1"), **values), "en")
    assert words in str(caught.value)


def test_a_missing_package_is_noticed(monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert not extra_is_missing()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    assert extra_is_missing()


# -- what is shown


def shown_id(here=""):
    return Reader(train_runs.drawn(here, "en")[0]).one("div", data_chosen=True)["data-chosen"]


def test_the_run_of_the_address_is_shown_else_one_that_works_else_the_newest():
    assert shown_id() == ""
    stored_run("sft-1", created=100.0)
    stored_run("sft-2", created=300.0)
    assert shown_id() == "sft-2"
    assert shown_id("#run=sft-1") == "sft-1"
    assert shown_id("#tab=train&run=gone") == "sft-2"
    stored_run("sft-3", created=200.0, state="running")
    assert shown_id() == "sft-3"
    assert shown_id("run=sft-2&with=sft-1,sft-1,gone") == "sft-2"


@pytest.mark.parametrize("here", ["#", "&&&=", "run=" + "x" * 5000, "run=../../etc", "with=,,,", "run=%00"])
def test_a_strange_address_shows_the_newest(here):
    stored_run("sft-1")
    assert shown_id(here) == "sft-1"


def test_whoever_looks_is_told_whether_anything_works():
    stored_run("sft-1")
    assert train_runs.drawn("", "en")[1] is False
    stored_run("sft-2", state="running")
    assert train_runs.drawn("", "en")[1] is True


def test_metrics_are_read_again_when_there_are_more():
    run = stored_run("sft-1", metrics=[{"step": 1, "loss": 2.0}])
    assert [line["step"] for line in train_runs.metrics_of(run)] == [1]
    assert train_runs.metrics_of(run) is train_runs.metrics_of(run)
    append_line(RunFolder(run.folder).metrics, {"step": 2, "loss": 1.0})
    assert [line["step"] for line in train_runs.metrics_of(run)] == [1, 2]


def test_samples_are_shown_with_the_views_of_their_data_set(tmp_path):
    path = toy_dataset(tmp_path / "validation.jsonl", 2)
    sample = {"step": 1, "dispute_id": "toy-001", "text": "Together.", "score_a": 0.5, "score_b": 0.5}
    run = stored_run("sft-1", samples=[sample], settings={"validation": str(path)})
    assert list(train_runs.shown(run).views) == ["toy-001"]
    assert "nobody greets a newcomer there" in train_runs.drawn("", "en")[0]
    path.unlink()
    assert train_runs.shown(run).views == {}


def test_results_and_data_of_earlier_runs_are_offered():
    stored_run("sft-1", result=True, settings={"model": "/m", "dataset": "/d", "validation": "/v"})
    stored_run("sft-2", state="failed", settings={"model": "/other", "dataset": "/d"})
    known = train_runs.known_files("en")
    folder = str(runs.runs_folder() / "sft-1" / "model")
    assert sorted(value for value, _ in known["model"]) == sorted([folder, "/m", "/other"])
    assert dict(known["model"])[folder].startswith("Fine-tuning of m, ")
    assert [value for value, _ in known["dataset"]] == ["/d"]
    assert [value for value, _ in known["validation"]] == ["/v"]


def test_a_result_is_the_name_of_a_writer():
    assert train_runs.writer_of(stored_run("sft-1", state="running")) == ""
    assert train_runs.writer_of(stored_run("sft-2")) == ""  # its folder is gone
    done = stored_run("sft-3", result=True)
    assert train_runs.writer_of(done) == f"hf:{done.folder / 'model'}"
    adapter = stored_run("sft-4", settings={"model": "/base"})
    (adapter.folder / "model").mkdir()
    (adapter.folder / "model" / "adapter_config.json").write_text("{}")
    assert train_runs.writer_of(adapter) == f"hf:/base+{adapter.folder / 'model'}"


# -- what is done


def test_a_run_is_deleted():
    run = stored_run("sft-1")
    train_runs.act("delete", run.id)
    assert not run.folder.exists()
    with pytest.raises(runs.RunNotFound):
        train_runs.act("delete", run.id)


def test_what_works_cannot_be_deleted_and_what_is_done_not_resumed():
    with pytest.raises(runs.RunIsActive):
        train_runs.act("delete", stored_run("sft-1", state="running").id)
    with pytest.raises(runs.RunIsDone):
        train_runs.act("resume", stored_run("sft-2").id)


@pytest.mark.parametrize(("what", "named"), [("stop", "../sft-1"), ("delete", "sft-"), ("explode", "sft-1"), ("", "")])
def test_a_request_that_the_page_never_makes_does_nothing(what, named):
    run = stored_run("sft-1")
    with pytest.raises(EvenhandError):
        train_runs.act(what, named)
    assert run.folder.is_dir()


@pytest.mark.parametrize("named", ["", "/", "/tmp", "../runs/sft-1", "sft"])
def test_no_folder_and_no_beginning_of_an_id_names_a_run(named):
    run = stored_run("sft-1")
    with pytest.raises(EvenhandError):
        train_runs.act("delete", str(run.folder) if named == "/" else named)
    assert run.folder.is_dir()


# -- what the script of the page calls


@pytest.fixture
def tab():
    from ui.gradio_loading import load_gradio

    load_gradio()
    import gradio as gr

    with gr.Blocks(analytics_enabled=False):
        return TrainTab()


def test_what_is_typed_is_kept_and_answered(tab, tmp_path):
    path = toy_dataset(tmp_path / "train.jsonl", 2)
    typed = {"recipe": "nce", "processes": "1", "values": {"dataset": str(path), "epochs": "2", "beta": "9"}}
    answer = tab.look([json.dumps(typed), "de"])
    assert train_draft.load() == draft("nce", dataset=path, epochs=2, beta=9)
    assert "2 Konflikte" in answer["slots"]["field-dataset"]
    assert set(answer["known"]) == {*PATHS, *FILES}


@pytest.mark.parametrize("call", [["", "en"], ["[" * 10_000, "en"], [None, None], ['{"values": 3}', "xx"]])
def test_what_the_page_never_sends_is_an_empty_form(tab, call):
    assert tab.look(call)["command"] == "evenhand train sft"


def test_a_start_that_fails_says_why_and_makes_no_run(tab):
    answer = tab.start([json.dumps({"recipe": "sft", "values": {}}), "en"])
    assert answer["run"] == ""
    assert "Base model: Name the base model." in Reader(answer["said"]).text
    assert 'role="alert"' in answer["said"]
    assert runs.list_runs() == []


def test_a_fault_of_ours_is_a_sentence(tab, monkeypatch, caplog):
    def broken(*_args, **_more):
        raise ZeroDivisionError

    monkeypatch.setattr(runs, "launch", broken)
    answer = tab.start([json.dumps({"values": {"model": "/m", "dataset": "/d"}}), "en"])
    assert "Something went wrong inside Evenhand" in answer["said"]
    assert "ZeroDivisionError" in caplog.text


def test_the_page_is_drawn_quickly_with_many_runs():
    lines = [{"step": step, "loss": 1.0 / step, "rouge1": 0.5} for step in range(1, 2001)]
    stored_run("sft-long", metrics=lines)
    for number in range(30):
        stored_run(f"sft-{number}", created=time.time() - 1000)
    page, _ = train_runs.drawn("run=sft-long", "en")
    assert len(page) < 150_000

"""Model names: what each form means, one sentence for what fits none, and a catalogue that tells the truth."""

import importlib.util

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediator.catalogue import downloadables
from mediator.empathy import EmpathyModel
from mediator.errors import ModelFileError, UnknownModelError
from mediator.models import ModelChoice, catalogue, load_writer, parse_model
from mediator.writers.base import Writer


@pytest.mark.parametrize(
    ("spec", "choice"),
    [
        ("drafter", ModelChoice("drafter")),
        ("  bundled ", ModelChoice("bundled")),
        ("claude", ModelChoice("claude")),
        ("claude:claude-opus-5", ModelChoice("claude", "claude-opus-5")),
        ("gguf:models/a.gguf", ModelChoice("gguf", "models/a.gguf")),
        (r"gguf:C:\models\a.gguf", ModelChoice("gguf", r"C:\models\a.gguf")),
        ("hf:mistralai/Mistral-7B", ModelChoice("hf", "mistralai/Mistral-7B")),
        ("hf:org/model+org/adapter", ModelChoice("hf", "org/model", adapter="org/adapter")),
        ("openai:qwen3@http://localhost:8080/v1/", ModelChoice("openai", "qwen3", url="http://localhost:8080/v1")),
        ("openai:org/m:8b@HTTPS://host/v1", ModelChoice("openai", "org/m:8b", url="HTTPS://host/v1")),
        ("openai:user@team@http://[::1]:80", ModelChoice("openai", "user@team", url="http://[::1]:80")),
    ],
)
def test_the_forms_of_a_name(spec, choice):
    assert parse_model(spec) == choice
    assert parse_model(str(choice)) == choice


def test_a_plus_sign_inside_a_folders_name_is_no_adapter(tmp_path):
    model, adapter = tmp_path / "c++", tmp_path / "a+b"
    model.mkdir()
    adapter.mkdir()
    assert parse_model(f"hf:{model}") == ModelChoice("hf", str(model))
    assert parse_model(f"hf:{model}+{adapter}") == ModelChoice("hf", str(model), adapter=str(adapter))


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("", "There is no model ''. Choose drafter, bundled, claude[:MODEL], gguf:PATH,"),
        ("draftr", "There is no model 'draftr'. Did you mean drafter?"),
        ("Claude:x", "There is no model 'Claude:x'. Write claude in small letters."),
        ("models/a.gguf", "There is no model 'models/a.gguf'. For a model file write gguf:models/a.gguf."),
        ("drafter:fast", "'drafter' takes nothing after it, but got 'fast'. Write drafter."),
        ("claude:", "'claude:' ends with the colon. Write claude or claude:MODEL."),
        ("gguf", "'gguf' does not say which model. Write gguf:PATH."),
        ("hf:+adapter", "'hf:+adapter' names no model before the plus sign."),
        ("hf:model+", "'hf:model+' names no adapter after the plus sign."),
        ("openai:m", "openai:m does not say both the model and the server's address. Write openai:MODEL@URL,"),
        ("openai:@http://h/v1", "openai: does not say both the model and the server's address."),
        ("openai:m@localhost:80", "openai:m does not say both the model and the server's address."),
        ("openai:m@ftp://h/v1", "The server's address is not one of http:// or https://."),
        ("openai:m@http://", "The server's address is not one of http:// or https://."),
        ("openai:m@http://h:port/v1", "The server's address is not one of http:// or https://."),
        ("openai:m@http://me:hunter2@h/v1", "The server's address holds more than host, port and path."),
        ("openai:m@me:hunter2@h", "openai:m does not say both the model and the server's address."),
        ("openai:m@https://h/v1?key=hunter2", "The server's address holds more than host, port and path."),
    ],
)
def test_what_fits_no_form_gets_one_sentence_without_passwords(spec, sentence):
    with pytest.raises(UnknownModelError) as caught:
        parse_model(spec)
    assert str(caught.value).startswith(sentence)
    assert "hunter2" not in str(caught.value)
    assert caught.value.exit_code == 2


@given(st.text(alphabet="drafteclugbnhfopi:+@/.?#[] 1", max_size=40))
def test_any_text_is_a_choice_or_an_unknown_model(spec):
    try:
        choice = parse_model(spec)
    except UnknownModelError:
        return
    assert parse_model(str(choice)) == choice


@pytest.mark.parametrize(
    ("spec", "base_url", "destination"),
    [
        ("drafter", "", None),
        ("gguf:a.gguf", "", None),
        ("hf:org/model", "", None),
        ("claude", "", "api.anthropic.com"),
        ("claude", "https://gateway.example/anthropic", "gateway.example"),
        ("claude", "http://127.0.0.1:9", None),
        ("openai:m@http://localhost:8080/v1", "", None),
        ("openai:m@http://[::1]:8080/v1", "", None),
        ("openai:m@http://192.168.1.5:8080/v1", "", "192.168.1.5"),
        ("openai:m@https://localhost.example/v1", "", "localhost.example"),
    ],
)
def test_where_the_text_goes_is_known_before_anything_is_loaded_and_stays_so(spec, base_url, destination, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    if base_url:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", base_url)
    choice = parse_model(spec)
    assert choice.destination == destination
    if choice.kind in ("claude", "openai"):
        writer = load_writer(choice, scorer=None)  # type: ignore[arg-type]  # language models do not use it
        assert writer.destination == destination
        writer.close()


def test_there_is_no_bundled_language_model_yet():
    with pytest.raises(ModelFileError, match="No language model ships with this version of Evenhand"):
        load_writer("bundled", scorer=None)  # type: ignore[arg-type]
    entry = next(entry for entry in catalogue() if entry.name == "bundled" and entry.kind == "writer")
    assert not entry.installed
    assert entry.why_not
    assert entry.size is None


def test_the_drafter_is_loaded_with_the_scorer():
    scorer = EmpathyModel.load()
    writer = load_writer("drafter", scorer)
    assert isinstance(writer, Writer)
    assert (writer.name, writer.destination) == ("drafter", None)
    writer.close()
    scorer.close()


def test_a_gguf_file_that_is_not_there(tmp_path):
    with pytest.raises(ModelFileError, match=r"none\.gguf"):
        load_writer(f"gguf:{tmp_path / 'none.gguf'}", scorer=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["~nobody-of-this-name/m", "x" * 5000, "a\0b"])
@pytest.mark.parametrize("form", ["gguf:{}", "hf:./{}", "hf:{}+./adapter", "hf:./{}+adapter"])
def test_a_path_that_cannot_be_is_a_sentence(path, form):
    with pytest.raises(ModelFileError):
        load_writer(form.format(path), scorer=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["☃.com", "a" * 300 + "é"])
def test_a_host_that_cannot_be_is_a_sentence(host):
    with pytest.raises(UnknownModelError, match="cannot be the address of a server"):
        load_writer(f"openai:m@http://{host}/v1", scorer=None)  # type: ignore[arg-type]


def test_the_catalogue_tells_what_is_installed_and_what_is_missing(monkeypatch):
    entries = {(entry.kind, entry.name): entry for entry in catalogue()}
    assert next(iter(entries)) == ("writer", "drafter")
    for entry in entries.values():
        assert entry.installed == (not entry.why_not)
        assert entry.about
        assert entry.licence
    encoder = entries["encoder", "bundled"]
    assert encoder.installed
    assert encoder.size is not None
    assert 20e6 < encoder.size < 30e6

    # A key is all that the installed package lacks.
    claude = entries["writer", "claude[:MODEL]"]
    assert (claude.installed, claude.why_not) == (
        False,
        "Enter a key in the Models tab, or set the environment variable ANTHROPIC_API_KEY.",
    )
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    assert next(entry for entry in catalogue() if entry.name == claude.name).installed

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    missing = {entry.name: entry.why_not for entry in catalogue() if entry.kind == "writer"}
    assert "pip install 'evenhand[hf]'" in missing["hf:PATH_OR_ID[+ADAPTER]"]
    assert "pip install anthropic" in missing["claude[:MODEL]"]
    assert "pip install openai" in missing["openai:MODEL@URL"]
    assert "pip install llama-cpp-python" in missing["gguf:PATH"]


def test_every_form_of_the_help_text_is_in_the_catalogue():
    from mediator.models import FORMS

    forms = {form for part in FORMS.split(" or ") for form in part.split(", ")}
    downloads = {f"gguf:{entry.name}" for entry in downloadables()}
    assert forms == {entry.name for entry in catalogue() if entry.kind == "writer"} - downloads

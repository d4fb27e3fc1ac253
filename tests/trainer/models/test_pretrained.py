"""Loading and saving checkpoints: what loads, what is refused with which sentence, and what a saved model carries."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.toy_training import toy_model, toy_tokenizer

from mediator.errors import ModelFileError
from trainer.models import pretrained


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_model(tmp_path_factory.mktemp("models") / "toy", layers=2)


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


def test_loads_a_folder_and_borrows_a_padding_token(model: Path) -> None:
    network, tokenizer = pretrained.load(str(model), "fp32", "cpu")
    assert not network.training
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    # The toy tokenizer has neither a padding nor an unknown token, so the end-of-text token serves.
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert len(tokenizer) == network.get_input_embeddings().weight.shape[0] == 640


def test_precision_is_that_of_the_weights(model: Path) -> None:
    network, _ = pretrained.load(str(model), "bf16", "cpu")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.bfloat16}
    assert pretrained.resolved("auto", torch.device("cpu")) == "fp32"


def test_a_padding_token_of_its_own_stays(copy: Path) -> None:
    tokenizer = toy_tokenizer()
    tokenizer.pad_token = "<s>"
    tokenizer.save_pretrained(copy)
    assert pretrained.load_tokenizer(str(copy)).pad_token == "<s>"


def test_a_saved_model_is_the_same_and_says_what_it_is(copy: Path, tmp_path: Path) -> None:
    (copy / "tokenizer.model").write_bytes(b"what SentencePiece wrote")
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": "{{ messages }}"}))
    network, tokenizer = pretrained.load(str(copy), "fp32", "cpu")
    assert tokenizer.chat_template
    folder = pretrained.save(network, tokenizer, tmp_path / "out" / "model", str(copy), {"recipe": "sft"})

    names = {file.name for file in folder.iterdir()}
    assert names >= {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer.model"}
    assert (folder / "tokenizer.model").read_bytes() == b"what SentencePiece wrote"
    assert json.loads((folder / pretrained.RECIPE_FILE).read_text()) == {"recipe": "sft"}
    assert not list(folder.parent.glob("*.partial"))
    before, after = load_file(copy / "model.safetensors"), load_file(folder / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)

    _, again = pretrained.load(str(folder), "fp32", "cpu")
    assert again.chat_template is None  # it was trained with the plain template and must be served with it
    text = "Try both for a month at the mill."
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert "pad_token" not in json.loads((folder / "tokenizer_config.json").read_text())  # it was borrowed


def test_settings_of_generation_that_transformers_would_not_save(copy: Path, tmp_path: Path) -> None:
    network, tokenizer = pretrained.load(str(copy), "fp32", "cpu")
    network.generation_config.temperature = 0.6  # without sampling, as some published models have it
    with pytest.raises(ValueError, match="temperature"):
        network.generation_config.save_pretrained(tmp_path)
    folder = pretrained.save(network, tokenizer, tmp_path / "out", str(copy), {})
    saved = json.loads((folder / "generation_config.json").read_text())
    assert saved["eos_token_id"] == tokenizer.eos_token_id
    assert "temperature" not in saved


def test_saving_replaces_what_is_there(copy: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    network, tokenizer = pretrained.load(str(copy), "fp32", "cpu")
    pretrained.save(network, tokenizer, target, str(copy), {}, torch.bfloat16)
    assert not (target / "old").exists()
    assert {value.dtype for value in load_file(target / "model.safetensors").values()} == {torch.bfloat16}


def _without(name: str):
    def spoil(folder: Path) -> None:
        (folder / name).unlink()

    return spoil


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _headless(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(b"\xff" * 64 + file.read_bytes()[64:])


def _shard_missing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "of_its_own", "auto_map": {"AutoModelForCausalLM": "modeling.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling.py").write_text("raise SystemExit('this code was run')")


def _unknown_kind(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "of_its_own"}))


def _no_json(folder: Path) -> None:
    (folder / "config.json").write_text("model_type: llama")


def _adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def _endless(folder: Path) -> None:
    tokenizer = toy_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)


def _more_tokens(folder: Path) -> None:
    tokenizer = toy_tokenizer()
    tokenizer.add_tokens(["one", "more", "than the model knows"])
    tokenizer.save_pretrained(folder)


def _not_numbers(folder: Path) -> None:
    from safetensors.torch import save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][3, 3] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without("config.json"), "config.json is missing"),
        (_without("model.safetensors"), "holds no weights"),
        (_without("tokenizer.json"), "holds no tokenizer"),
        (_pickled, "as a pickle only"),
        (_cut, "is cut off"),
        (_headless, "no header of safetensors"),
        (_shard_missing, "lacks model-00001-of-00002.safetensors"),
        (_own_code, "code of its own"),
        (_unknown_kind, "does not know: of_its_own"),
        (_no_json, "it is not JSON"),
        (_adapter, "holds an adapter, not a model"),
        (_endless, "no end-of-text token"),
        (_more_tokens, "has 643 tokens and the model embeddings for 640 only"),
        (_not_numbers, "are damaged"),
    ],
)
def test_a_sentence_for_each_failure(copy: Path, spoil, words: str) -> None:
    spoil(copy)
    with pytest.raises(ModelFileError, match=words) as caught:
        pretrained.load(str(copy), "fp32", "cpu")
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "No model is named"),
        ("/no/such/folder", "There is no folder /no/such/folder"),
        ("./no-such-folder", "There is no folder"),
    ],
)
def test_names_that_are_no_folder(name: str, words: str) -> None:
    with pytest.raises(ModelFileError, match=words):
        pretrained.load(name, "fp32", "cpu")


def test_a_gguf_file_cannot_be_trained(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(ModelFileError, match="a model to train is a folder") as caught:
        pretrained.load(str(file), "fp32", "cpu")
    assert "GGUF" in caught.value.hint


@pytest.mark.parametrize(("name", "value"), [("HF_HUB_OFFLINE", True), ("ENDPOINT", "http://127.0.0.1:9")])
def test_without_the_hub(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    with pytest.raises(ModelFileError, match="the Hugging Face hub cannot be reached"):
        pretrained.load("nobody/no-such-model-of-evenhand", "fp32", "cpu")


def test_a_gpu_that_is_not_there(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(pretrained.NoSuchDevice, match="torch sees no GPU"):
        pretrained.load(str(model), "fp32", "cuda")
    with pytest.raises(pretrained.NoSuchDevice, match="qlora needs an NVIDIA GPU"):
        pretrained.load_quantised(str(model))


def test_a_model_downloaded_before_needs_no_hub(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's cache has the layout of huggingface_hub: snapshots of a commit, and which commit is `main`."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    kept = tmp_path / "models--evenhand--toy"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(model, kept / "snapshots" / commit)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    network, tokenizer = pretrained.load("evenhand/toy", "fp32", "cpu")
    assert network.config.num_hidden_layers == 2
    assert len(tokenizer) == 640

"""The check before a run: sizes against real models, sentences for what cannot work, and what would work instead."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.toy_training import toy_dataset, toy_model

from mediator.errors import InputError, MissingExtraError, ModelFileError
from trainer.alignment.config import make_config
from trainer.dataset.data import DatasetError
from trainer.models.shape import ModelShape, read_shape
from trainer.preflight import check as preflight
from trainer.preflight import gpus, memory_need
from trainer.preflight.check import DoesNotFit, NoSuitableDevice, NotEnoughDisk, NotEnoughMemory, UnusableData, check
from trainer.preflight.memory_need import Need, Texts, need, steps

GIB = 1 << 30


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    parent = tmp_path_factory.mktemp("models")
    return {
        "llama": toy_model(parent / "llama"),
        "tied": toy_model(parent / "tied", "qwen3", tied=True),
        "mistral": toy_model(parent / "mistral", "mistral", layers=2),
    }


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return toy_dataset(tmp_path / "data.jsonl", 12)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Say how many GB of memory and of disk are free."""

    def set_to(memory: float, disk: float = 1e6) -> None:
        monkeypatch.setattr(preflight, "available", lambda: int(memory * 1e9))
        usage = type("Usage", (), {"free": int(disk * 1e9)})
        monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage)

    set_to(1000)
    return set_to


LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the true shape of Llama-3.1-8B, in files without content: all that is read are their headers."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "config.json").write_text(json.dumps(LLAMA_8B))
    (folder / "tokenizer.json").write_text("{}")
    hidden, inner, keys = 4096, 14336, 1024
    layer = {
        "input_layernorm": [hidden],
        "post_attention_layernorm": [hidden],
        "self_attn.q_proj": [hidden, hidden],
        "self_attn.k_proj": [keys, hidden],
        "self_attn.v_proj": [keys, hidden],
        "self_attn.o_proj": [hidden, hidden],
        "mlp.gate_proj": [inner, hidden],
        "mlp.up_proj": [inner, hidden],
        "mlp.down_proj": [hidden, inner],
    }
    tensors = {f"model.layers.{n}.{name}.weight": shape for n in range(32) for name, shape in layer.items()}
    tensors |= {name: [128256, hidden] for name in ("model.embed_tokens.weight", "lm_head.weight")}
    tensors["model.norm.weight"] = [hidden]
    header, start = {}, 0
    for name, shape in tensors.items():
        size = 2 * shape[0] * (shape[1] if shape[1:] else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + start)  # a file with a hole: it takes no room
    return folder


def config(model: Path | str, dataset: Path | str, recipe: str = "sft", **more: Any) -> Any:
    return make_config(recipe, {"model": str(model), "dataset": str(dataset), **more})


@pytest.mark.parametrize("name", ["llama", "tied", "mistral"])
def test_the_shape_is_that_of_the_real_model(models, name):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(models[name])
    shape = read_shape(str(models[name]))
    assert shape is not None
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    layers = [sum(parameter.numel() for parameter in layer.parameters()) for layer in model.model.layers]
    assert list(shape.layers) == layers
    assert shape.norm == model.model.norm.weight.numel()
    assert shape.head == (0 if name == "tied" else model.lm_head.weight.numel())
    assert shape.vocabulary == model.config.vocab_size


def test_a_description_without_weights_gives_the_same_shape(models, tmp_path, large):
    for folder in (models["llama"], large):
        alone = tmp_path / folder.name
        alone.mkdir()
        (alone / "config.json").write_bytes((folder / "config.json").read_bytes())
        (alone / "tokenizer.json").write_text("{}")
        from trainer.models import shape as model_shape

        guessed = model_shape._shape(alone, json.loads((alone / "config.json").read_text()))
        whole = read_shape(str(folder))
        assert whole is not None
        assert guessed == ModelShape(**{**vars(whole), "stored": 0})


@pytest.mark.parametrize("trainable", ["all", "last_layers", "lora"])
def test_what_learns_is_counted_as_the_recipe_frees_it(models, dataset, trainable):
    from trainer.models import trainable as part

    given = config(models["llama"], dataset, "sft", trainable=trainable, layers=2, adapter_rank=4, device="cpu")
    learner = part.load(given)
    part.choose(learner, given)
    model = learner.adapter or learner.model
    real = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    shape = read_shape(str(models["llama"]))
    assert shape is not None
    assert need(given, shape, Texts(), gpu=False).trainable == real


def test_an_8b_model_needs_what_is_known_of_it(large, dataset):
    shape = read_shape(str(large))
    assert shape is not None
    assert shape.parameters == 8_030_261_248  # as its card says
    everything = need(config(large, dataset, trainable="all", precision="bf16"), shape, Texts(), gpu=True)
    # 4 bytes each for weight, gradient and two means, and the copy that is computed with.
    assert everything.memory > 18 * shape.parameters
    top = config(large, dataset, "nce", precision="bf16", batch_size=4, hypotheses="h.jsonl")
    three = need(top, shape, Texts(12, 48, 6000, 6000, 600), gpu=True)
    assert three.trainable == 3 * 218_112_000
    # The design's target for this shape is below 40 GiB; the frozen weights alone are 14.7.
    assert 20 * GIB < three.memory < 40 * GIB
    assert three.parts["optimiser"] == 8 * three.trainable
    assert three.disk >= 3 * 12 * three.trainable + 2 * shape.parameters


def test_each_setting_that_should_lower_the_need_does(large, dataset):
    shape = read_shape(str(large))
    assert shape is not None
    texts = Texts(100, 400, 60_000, 50_000, 4000)

    def of(**more: Any) -> Need:
        return need(config(large, dataset, "nce", hypotheses="h.jsonl", **more), shape, texts, gpu=False)

    base = of(batch_size=8)
    for changes in (
        {"batch_size": 4},
        {"batch_size": 8, "gradient_checkpointing": True},
        {"batch_size": 8, "precision": "bf16"},
        {"batch_size": 8, "layers": 1},
        {"batch_size": 8, "longest_text": 128},
        {"batch_size": 8, "trunk_cache": False},
    ):
        assert of(**changes).memory < base.memory, changes
    assert of(batch_size=8, keep_checkpoints=1).disk < base.disk
    # A cache that is larger than what it may have lies on the disk.
    assert of(batch_size=8, cache_memory=0.001).disk > base.disk
    assert need(config(large, dataset, "nce"), shape, texts, gpu=False, processes=2).memory > 1.9 * base.memory / 2


@pytest.mark.parametrize(
    ("recipe", "more", "expected"),
    [
        ("nce", {"epochs": 3, "batch_size": 4, "gradient_accumulation": 2}, 6),  # 12 pairs: 3 batches, 2 steps
        ("sft", {"epochs": 1, "batch_size": 4, "gradient_accumulation": 1, "packing": False}, 12),  # 48 candidates
    ],
)
def test_steps_are_counted_as_the_trainer_does(models, dataset, free, recipe, more, expected):
    found = check(recipe, config(models["llama"], dataset, recipe, **more))
    assert (found.steps, found.examples) == (expected, 12)
    assert found.notes == ()
    assert "12 disputes" in found.sentence()


def test_too_little_memory_names_what_would_work(large, dataset, free):
    free(100)
    with pytest.raises(NotEnoughMemory) as caught:
        check("sft", config(large, dataset, batch_size=8))
    assert re.search(r"needs about \d\d\d\.\d GB of memory, 100\.0 GB are free", caught.value.message)
    assert "trainable last_layers" in caught.value.hint
    assert re.search(r"It would work with batch_size 1, .*: about \d\d\.\d GB\.", caught.value.hint)
    advised = dict(re.findall(r"(\w+) ([\w.]+)(?=,| and|:)", caught.value.hint.removeprefix("It would work with ")))
    # What is advised does work.
    values = {name: value == "true" if value in ("true", "false") else value for name, value in advised.items()}
    assert check("sft", config(large, dataset, **values)).memory_bytes < 100e9


def test_fewer_pairs_at_once_come_first_and_keep_the_step_as_large(large, dataset, free):
    wide = config(
        large, dataset, "nce", batch_size=64, gradient_accumulation=1, hypotheses=str(dataset), precision="bf16"
    )
    shape = read_shape(str(large))
    assert shape is not None
    texts = preflight._texts_of(str(dataset))
    needed = need(wide, shape, texts, gpu=False).memory
    free(needed / 1e9 - 0.5)
    with pytest.raises(NotEnoughMemory, match="It would work with batch_size 32 and gradient_accumulation 2: about"):
        check("nce", wide)


def test_where_nothing_would_work_it_says_so(large, dataset, free, monkeypatch):
    free(2)
    with pytest.raises(NotEnoughMemory) as caught:
        check("sft", config(large, dataset))
    assert re.search(r"Even .* would need \d\d\.\d GB: choose a smaller model", caught.value.hint)
    monkeypatch.setenv("EVENHAND_SKIP_MEMORY_CHECK", "1")
    assert check("sft", config(large, dataset)).memory_bytes > 2e9


def test_too_little_disk_is_refused_before_anything_is_written(large, dataset, free, tmp_path):
    free(1000, 60)
    kept = config(large, dataset, "nce", keep_checkpoints=20)
    with pytest.raises(NotEnoughDisk, match=r"writes about 18\d\.\d GB to .*, 60\.0 GB are free") as caught:
        check("nce", kept, folder=tmp_path / "runs")
    assert "set keep_checkpoints=1, which needs 3" in caught.value.hint
    assert not (tmp_path / "runs").exists()


def test_bad_data_is_refused_with_its_first_line_and_how_many(models, dataset, tmp_path, free):
    with dataset.open("a") as file:
        file.write('{"id": "x"}\nnonsense\n')
    with pytest.raises(DatasetError, match=r"data\.jsonl, line 13") as caught:
        check("sft", config(models["llama"], dataset))
    assert len(caught.value.problems) >= 2
    for text, words in (
        (b"", "no"),
        (b'{"id": "1", "view_a": {"text": "a"}, "view_b": {"text": "b"}}\n', "candidates"),
    ):
        dataset.write_bytes(text)
        with pytest.raises(InputError, match=words):
            check("sft", config(models["llama"], dataset))
    for more in ({"dataset": ""}, {"dataset": str(tmp_path / "none.jsonl")}):
        with pytest.raises((UnusableData, DatasetError)):
            check("sft", make_config("sft", {"model": str(models["llama"]), **more}))
    good = toy_dataset(tmp_path / "good.jsonl", 4)
    for name in ("validation", "hypotheses"):
        with pytest.raises(DatasetError, match=re.escape("missing.jsonl")):
            check("nce", config(models["llama"], good, "nce", layers=2, **{name: str(tmp_path / "missing.jsonl")}))


def test_a_model_that_cannot_be_trained_is_refused(models, dataset, tmp_path, free):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in models["llama"].iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    no_decoder = tmp_path / "image"
    no_decoder.mkdir()
    for name, text in (("config.json", '{"model_type": "vit"}'), ("tokenizer.json", "{}")):
        (no_decoder / name).write_text(text)
    (no_decoder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    for model, words in (
        ("", "No model"),
        (tmp_path / "nowhere", "no folder"),
        (broken, "cut off"),
        (no_decoder, "no language model"),
        (dataset, "is a file"),
    ):
        with pytest.raises(ModelFileError, match=words):
            check("sft", config(model, dataset))


def test_settings_that_do_not_go_with_the_model_are_refused(models, dataset, tmp_path, free):
    from trainer.models.decoder_parts import _KNOWN

    assert set(preflight._CUT) == set(_KNOWN)
    for name, more, words in (
        ("llama", {"layers": 9}, "layers is 9, and the model has 4"),
        ("tied", {"train_head": True}, "train_head: the output head"),
    ):
        with pytest.raises(DoesNotFit, match=words):
            check("nce", config(models[name], dataset, "nce", **more))
    other = tmp_path / "other"
    shutil.copytree(models["llama"], other)
    about = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**about, "model_type": "olmo2"}))
    with pytest.raises(DoesNotFit, match="of the kind olmo2 cannot be kept"):
        check("nce", config(other, dataset, "nce"))
    assert check("nce", config(other, dataset, "nce", trunk_cache=False)).parameters > 0


def test_a_missing_package_is_named_with_how_to_get_it(models, dataset, monkeypatch, free):
    for package, more in (("accelerate", {}), ("peft", {"trainable": "lora"})):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(MissingExtraError, match=package) as caught:
                check("sft", config(models["llama"], dataset, **more))
        assert "evenhand[train]" in caught.value.hint


def test_a_model_that_must_be_downloaded_passes_with_a_note(dataset, free):
    found = check("sft", config("somebody/some-model", dataset))
    assert found.parameters == 0
    assert "downloaded" in found.notes[0]
    assert "unknown" in found.sentence()


def test_a_text_longer_than_the_model_can_read_is_noted(models, dataset, free):
    found = check("sft", config(models["llama"], dataset, longest_text=4096))
    assert "longest_text is 4096, and the model was made for 1024" in found.notes[0]


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for the driver's program is a shell script")
def test_gpus_are_found_by_the_drivers_own_program(models, large, dataset, tmp_path, monkeypatch, free):
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nprintf '81920\\n40960\\n'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(gpus, "_torch_has_cuda", lambda: True)

    def asked() -> tuple[int, ...]:
        gpus._ask_gpus.cache_clear()
        return gpus.gpu_memory()

    assert asked() == (80 * GIB, 40 * GIB)
    for visible, expected in (("1", (40 * GIB,)), ("", ()), ("GPU-abc", (80 * GIB,)), ("7", ())):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert asked() == expected
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    asked()
    found = check("nce", config(large, dataset, "nce"))
    assert (found.device, found.memory_free) == ("cuda", 80 * GIB)
    assert found.memory_bytes < 40 * GIB
    with pytest.raises(NoSuitableDevice, match="3 processes need 3 GPUs, and there are 2"):
        check("nce", config(large, dataset, "nce"), processes=3)
    assert check("nce", config(models["llama"], dataset, "nce", device="cpu"), processes=3).device == "cpu"
    with pytest.raises(NotEnoughMemory, match=r"of GPU memory, 85\.9 GB are free"):
        check("sft", config(large, dataset))
    free(5)
    with pytest.raises(NotEnoughMemory, match=r"Loading the model needs about .* of the computer's memory"):
        check("nce", config(large, dataset, "nce"))
    program.write_text("#!/bin/sh\nexit 9\n")
    assert asked() == ()
    for more in ({"device": "cuda"}, {"trainable": "qlora"}):
        with pytest.raises(NoSuitableDevice, match="none that torch can use"):
            check("sft", config(models["llama"], dataset, **more))


def test_a_check_needs_no_torch(models, dataset):
    program = (
        "import sys, ui.cli, trainer.runs.runs, trainer.runs.watch, trainer.runs.process\n"
        "from trainer.preflight.check import check; from trainer.alignment.config import make_config\n"
        f"check('nce', make_config('nce', {{'model': {str(models['llama'])!r}, 'dataset': {str(dataset)!r}}}))\n"
        "sys.exit(sorted({'torch', 'transformers', 'accelerate'} & set(sys.modules)) or 0)"
    )
    source = str(Path(__file__).resolve().parents[3])
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": source})


def test_packed_rows_are_fewer_than_candidates():
    texts = Texts(examples=100, candidates=400, letters=40_000, answer_letters=60_000, longest=900)
    packed = make_config("sft", {"batch_size": 1, "gradient_accumulation": 1, "longest_text": 512})
    # 400 prompts of 400 letters and 60,000 letters of answers: 62,857 tokens in rows of 512.
    assert steps(packed, texts) == 123
    assert steps(packed.model_copy(update={"packing": False}), texts) == 400
    assert steps(packed, texts, processes=2) == 62
    assert memory_need.steps(make_config("nce", {"epochs": 0.01}), texts) == 1

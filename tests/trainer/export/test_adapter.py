"""A LoRA adapter of peft, merged while it is exported, against peft's own merge; and what cannot be merged."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the hf extra")
gguf = pytest.importorskip("gguf", reason="needs the train extra")
peft = pytest.importorskip("peft", reason="needs the train extra")

from safetensors.torch import load_file, save_file  # noqa: E402
from support.toy_decoders import toy_decoder  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from mediator.errors import ModelFileError  # noqa: E402
from trainer.export.families import AdaptedCheckpoint, Checkpoint, export_gguf  # noqa: E402

# What is adapted, and how: each must come out as peft's own merge does.
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "all-linear": ("llama", {"target_modules": "all-linear"}),
    "patterns": (
        "llama",
        {
            "target_modules": ["q_proj", "k_proj", "down_proj"],
            "use_rslora": True,
            "rank_pattern": {r"layers\.1\.self_attn\.q_proj": 5},
            "alpha_pattern": {"down_proj": 3},
        },
    ),
    "embedding-and-head": ("llama", {"target_modules": ["embed_tokens", "lm_head", "v_proj"]}),
    "saved-modules": ("qwen2", {"target_modules": ["o_proj"], "modules_to_save": ["lm_head", "norm"]}),
    "biases": ("qwen2", {"target_modules": ["q_proj"], "bias": "all"}),
}


def adapted(base: Path, target: Path, **settings: Any) -> Any:
    """Save an adapter with random weights in every part of it; return peft's model."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    learner = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=6, **settings))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        for weight in learner.parameters():
            if weight.requires_grad:
                weight.normal_(0.0, 0.2)
    learner.save_pretrained(target)
    return learner


def tensors_of(file: Path) -> dict[str, np.ndarray]:
    return {tensor.name: tensor.data for tensor in gguf.GGUFReader(file).tensors}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {
        "llama": toy_decoder(folder / "llama", "llama"),
        "qwen2": toy_decoder(folder / "qwen2", "qwen2"),
        "tied": toy_decoder(folder / "tied", "qwen3", tie_word_embeddings=True),
    }


@pytest.fixture(scope="module")
def plain(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain adapter on the Llama."""
    folder = tmp_path_factory.mktemp("adapters") / "plain"
    adapted(bases["llama"], folder, target_modules=["q_proj", "up_proj"])
    return folder


@pytest.mark.parametrize("case", SETTINGS)
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_the_merge_is_that_of_peft(bases: dict[str, Path], tmp_path: Path, case: str) -> None:
    family, settings = SETTINGS[case]
    learner = adapted(bases[family], tmp_path / "adapter", **settings)
    merged = shutil.copytree(bases[family], tmp_path / "merged")
    learner.merge_and_unload().save_pretrained(merged)
    expected = tensors_of(export_gguf(merged, tmp_path / "merged.gguf", "f32"))
    ours = tensors_of(export_gguf(bases[family], tmp_path / "ours.gguf", "f32", adapter=tmp_path / "adapter"))
    before = tensors_of(export_gguf(bases[family], tmp_path / "base.gguf", "f32"))
    assert ours.keys() == expected.keys()
    changed = 0
    for name, values in expected.items():
        assert np.abs(ours[name] - values).max() < 1e-5, name
        changed += not np.allclose(before[name], values, atol=1e-3)
    assert changed >= 2


@pytest.mark.parametrize("module", ["lm_head", "embed_tokens"])
@pytest.mark.filterwarnings("ignore")  # peft warns of tied weights, which is what this is about
def test_an_adapter_on_one_end_of_a_tied_matrix_unties_the_two(
    bases: dict[str, Path], tmp_path: Path, module: str
) -> None:
    """peft computes with the adapter on one side only; a merge into the shared matrix would change both."""
    learner = adapted(bases["tied"], tmp_path / "adapter", target_modules=[module])
    tokens = torch.arange(3, 60)[None]
    with torch.no_grad():
        theirs = learner(tokens).logits[0].numpy()
    export_gguf(bases["tied"], tmp_path / "ours.gguf", "f32", adapter=tmp_path / "adapter")
    written = tensors_of(tmp_path / "ours.gguf")
    untied = AutoModelForCausalLM.from_pretrained(bases["tied"], dtype=torch.float32, tie_word_embeddings=False)
    with torch.no_grad():
        untied.model.embed_tokens.weight.copy_(torch.from_numpy(np.array(written["token_embd.weight"])))
        untied.lm_head.weight.copy_(torch.from_numpy(np.array(written["output.weight"])))
        ours = untied(tokens).logits[0].numpy()
    assert np.abs(ours - theirs).max() < 1e-3


def test_rows_are_merged_by_block(bases: dict[str, Path], plain: Path) -> None:
    checkpoint = AdaptedCheckpoint(Checkpoint(bases["llama"]), plain)
    tensor = checkpoint.tensors["model.layers.1.mlp.up_proj.weight"]
    assert np.allclose(tensor.rows(17, 40), tensor.rows()[17:40], atol=1e-6)


def test_a_tokenizer_beside_the_adapter_is_the_one_it_was_trained_with(
    bases: dict[str, Path], plain: Path, tmp_path: Path
) -> None:
    adapter = shutil.copytree(plain, tmp_path / "adapter")
    base = Checkpoint(bases["llama"])
    assert AdaptedCheckpoint(base, adapter).tokenizer == base.tokenizer
    (adapter / "tokenizer.json").write_text('{"model": {"type": "BPE"}}', encoding="utf-8")
    (adapter / "config.json").write_text("{}", encoding="utf-8")
    checkpoint = AdaptedCheckpoint(base, adapter)
    assert checkpoint.tokenizer == {"model": {"type": "BPE"}}
    assert checkpoint.config == base.config


REFUSED_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"use_dora": True}, "uses DoRA"),
    ({"peft_type": "IA3"}, "of the type IA3"),
    ({"init_lora_weights": "pissa"}, "began as 'pissa'"),
    ({"trainable_token_indices": [1, 2]}, "`trainable_token_indices`"),
    ({"lora_bias": True}, "`lora_bias`"),
    ({"invented_next_year": {"a": 1}}, "`invented_next_year`"),
    ({"r": 8}, "has the rank 4, adapter_config.json says 8"),
    ({"lora_alpha": "six"}, "`lora_alpha` is 'six'"),
    ({"rank_pattern": {"(": 4}}, "`rank_pattern` cannot be read"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED_SETTINGS, ids=[message for _, message in REFUSED_SETTINGS])
def test_an_adapter_that_does_more_than_lora_is_refused_by_name(
    bases: dict[str, Path], plain: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    adapter = shutil.copytree(plain, tmp_path / "adapter")
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **settings}), encoding="utf-8")
    with pytest.raises(ModelFileError, match=message):
        export_gguf(bases["llama"], tmp_path / "out.gguf", "f16", adapter=adapter)
    assert not list(tmp_path.glob("out.gguf*"))


Q, LOW_A = "base_model.model.model.layers.0.self_attn.q_proj", "lora_A.weight"


def test_an_adapter_that_does_not_fit_is_refused_by_name(bases: dict[str, Path], plain: Path, tmp_path: Path) -> None:
    adapter = shutil.copytree(plain, tmp_path / "adapter")
    weights = load_file(plain / "adapter_model.safetensors")
    without = {name: weight for name, weight in weights.items() if name != f"{Q}.{LOW_A}"}
    cases = [
        (weights, "qwen3-of-another-shape", r"up_proj\.lora_A.* does not fit model\.layers\.0\.mlp\.up_proj"),
        ({**weights, f"{Q}.{LOW_A}": weights[f"{Q}.{LOW_A}"][:, :32].contiguous()}, "llama", r"\(4, 32\)"),
        ({**weights, f"{Q[:-1]}x.{LOW_A}": torch.zeros(4, 64)}, "llama", r"q_prox\..* has no place"),
        ({**weights, f"{Q}.lora_magnitude_vector": torch.ones(64)}, "llama", "lora_magnitude_vector has no place"),
        (without, "llama", "A and B come in pairs"),
        ({}, "llama", "holds no tensors"),
    ]  # fmt: skip
    bases = {**bases, "qwen3-of-another-shape": toy_decoder(tmp_path / "wide", "qwen3", hidden_size=96)}
    for changed, base, message in cases:
        save_file(changed, adapter / "adapter_model.safetensors")
        with pytest.raises(ModelFileError, match=message):
            export_gguf(bases[base], tmp_path / "out.gguf", "f16", adapter=adapter)
    (adapter / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelFileError, match="damaged or cut short"):
        export_gguf(bases["llama"], tmp_path / "out.gguf", "f16", adapter=adapter)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"adapter_model\.safetensors is missing"):
        export_gguf(bases["llama"], tmp_path / "out.gguf", "f16", adapter=adapter)


def test_folders_in_each_others_place_are_told_apart(bases: dict[str, Path], plain: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=rf"holds an adapter, not a model.*{bases['llama'].name}"):
        export_gguf(plain, tmp_path / "out.gguf")
    with pytest.raises(ModelFileError, match="holds no adapter"):
        export_gguf(bases["llama"], tmp_path / "out.gguf", adapter=bases["llama"])
    quantised = shutil.copytree(bases["llama"], tmp_path / "quantised")
    settings = json.loads((quantised / "config.json").read_text(encoding="utf-8"))
    settings["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (quantised / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"quantised already \(bitsandbytes\)"):
        export_gguf(quantised, tmp_path / "out.gguf", adapter=plain)

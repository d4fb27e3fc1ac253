"""Each family of decoders, exported and run by llama.cpp, against transformers: the same logits at every position."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the hf extra")
gguf = pytest.importorskip("gguf", reason="needs the train extra")
pytest.importorskip("transformers", reason="needs the hf extra")

from llama_cpp import Llama  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from support.toy_decoders import toy_decoder  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from mediator.errors import ModelFileError  # noqa: E402
from trainer.export import llama  # noqa: E402
from trainer.export.base import Checkpoint  # noqa: E402
from trainer.export.families import export_gguf  # noqa: E402
from trainer.export.metadata import Details  # noqa: E402

TOKENS = [int(token) for token in np.random.default_rng(7).integers(3, 380, 120)]
LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0}
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 64}
PLAIN = {"rope_type": "default", "rope_theta": 500.0}

# Family, what differs from the toy's configuration, and a change of config.json that must show in the logits: what an
# export that passed over that setting would compute.
CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "llama-3": ("llama", {"rope_parameters": LLAMA_3}, {"rope_parameters": PLAIN}),
    "llama-tied-linear": (
        "llama",
        {"rope_parameters": LINEAR, "tie_word_embeddings": True, "head_dim": 24,
         "num_key_value_heads": 1},
        {"rope_parameters": PLAIN},
    ),
    "llama-biases-yarn": (
        "llama",
        {"rope_parameters": {**YARN, "attention_factor": 1.7}, "attention_bias": True, "mlp_bias": True},
        {"rope_parameters": YARN},
    ),
    "mistral": ("mistral", {"head_dim": 32, "rope_parameters": PLAIN}, {"rms_norm_eps": 1e-1}),
    "qwen2": ("qwen2", {"rope_parameters": YARN}, {"rope_parameters": PLAIN}),
    "qwen3-tied": ("qwen3", {"rope_parameters": YARN, "tie_word_embeddings": True}, {"rope_parameters": PLAIN}),
}  # fmt: skip


def reference(folder: Path, tokens: list[int] = TOKENS, **changes: Any) -> np.ndarray:
    """Logits by transformers, (positions, vocabulary), with other settings of config.json than it was saved with."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **changes).eval()
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].numpy()


def by_llama_cpp(file: Path, tokens: list[int] = TOKENS) -> tuple[np.ndarray, dict[str, str]]:
    """Logits by llama.cpp with a float32 cache, and the file's metadata."""
    model = Llama(
        str(file), n_ctx=256, n_batch=256, n_threads=1, n_threads_batch=1, logits_all=True, type_k=0, type_v=0,
        verbose=False,
    )  # fmt: skip
    model.eval(tokens)
    logits, metadata = model.scores[: len(tokens)].copy(), dict(model.metadata)
    model.close()
    return logits, metadata


def differences(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """The largest difference of a logit, and the share of positions with the same best token."""
    return float(np.abs(ours - theirs).max()), float((ours.argmax(1) == theirs.argmax(1)).mean())


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make the checkpoint of a case, once."""
    made: dict[str, Path] = {}

    def toy(case: str) -> Path:
        if case not in made:
            family, changes, _ = CASES[case]
            made[case] = toy_decoder(tmp_path_factory.mktemp("toys") / case, family, **changes)
        return made[case]

    return toy


@pytest.mark.parametrize("case", CASES)
def test_llama_cpp_computes_the_same_logits(toys: Any, tmp_path: Path, case: str) -> None:
    folder = toys(case)
    theirs = reference(folder)
    ours, metadata = by_llama_cpp(export_gguf(folder, tmp_path / "toy.gguf", "f32"))
    largest, agreement = differences(ours, theirs)
    assert largest < 5e-4
    assert agreement == 1.0
    # What the case is about must show in the logits, or their agreement would mean nothing.
    assert differences(reference(folder, **CASES[case][2]), theirs)[0] > 100 * 5e-4
    assert metadata[f"{metadata['general.architecture']}.context_length"] == "256"


@pytest.mark.parametrize(
    ("precision", "tolerance", "least"), [("f16", 0.05, 0.97), ("bf16", 0.3, 0.93), ("q8_0", 0.7, 0.85)]
)
def test_precisions_cost_what_they_should(
    toys: Any, tmp_path: Path, precision: Any, tolerance: float, least: float
) -> None:
    folder = toys("llama-3")
    ours, _ = by_llama_cpp(export_gguf(folder, tmp_path / "toy.gguf", precision))
    largest, agreement = differences(ours, reference(folder))
    assert largest < tolerance
    assert agreement >= least


def test_a_forgotten_permutation_is_noticed(toys: Any, tmp_path: Path) -> None:
    """A file with Q and K as they were loads without a word, and its logits are wrong."""
    folder = toys("llama-3")
    forgetful = replace(llama.FAMILY, rotates_pairs=False)
    forgetful.export(Checkpoint(folder), tmp_path / "wrong.gguf", "f32", details=Details(name="wrong"))
    largest, agreement = differences(by_llama_cpp(tmp_path / "wrong.gguf")[0], reference(folder))
    assert largest > 1.0
    assert agreement < 0.9


def edited(folder: Path, target: Path, **changes: Any) -> Path:
    """A copy of a checkpoint with other settings in its config.json; None takes a setting out."""
    shutil.copytree(folder, target)
    settings = {**json.loads((target / "config.json").read_text(encoding="utf-8")), **changes}
    settings = {key: value for key, value in settings.items() if value is not None}
    (target / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    return target


def tensors_of(file: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}


@pytest.mark.parametrize("family", ["mistral", "qwen2"])
def test_a_sliding_window_bounds_the_context(tmp_path: Path, family: Any) -> None:
    """llama.cpp computes full attention for these: the same up to the window, and something else beyond it."""
    window = {"sliding_window": 48, "use_sliding_window": True, "max_window_layers": 1}
    folder = toy_decoder(tmp_path / "toy", family, **window)
    ours, metadata = by_llama_cpp(export_gguf(folder, tmp_path / "toy.gguf", "f32"))
    theirs = reference(folder)
    assert metadata[f"{metadata['general.architecture']}.context_length"] == "48"
    assert differences(ours[:48], theirs[:48])[0] < 5e-4
    assert differences(ours[48:], theirs[48:])[0] > 0.05


def test_a_setting_of_before_transformers_5_is_the_same_setting(toys: Any, tmp_path: Path) -> None:
    export_gguf(toys("llama-3"), tmp_path / "new.gguf", "f16", name="toy")
    scaling = {key: value for key, value in LLAMA_3.items() if key not in ("rope_theta", "rope_type")}
    old = edited(
        toys("llama-3"), tmp_path / "old", rope_parameters=None, rope_theta=500.0, head_dim=None,
        rope_scaling={**scaling, "type": "llama3"},
    )  # fmt: skip
    export_gguf(old, tmp_path / "old.gguf", "f16", name="toy")
    assert (tmp_path / "old.gguf").read_bytes() == (tmp_path / "new.gguf").read_bytes()


def test_shards_of_an_earlier_save_are_passed_over(toys: Any, tmp_path: Path) -> None:
    """As transformers does: the whole file wins over an index beside it."""
    folder = edited(toys("qwen2"), tmp_path / "toy")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    export_gguf(folder, tmp_path / "both.gguf", "f16", name="toy")
    export_gguf(toys("qwen2"), tmp_path / "one.gguf", "f16", name="toy")
    assert (tmp_path / "both.gguf").read_bytes() == (tmp_path / "one.gguf").read_bytes()


def test_a_bfloat16_checkpoint_goes_into_bfloat16_bit_by_bit(tmp_path: Path) -> None:
    folder = toy_decoder(tmp_path / "toy", "qwen2", dtype="bfloat16")
    written = tensors_of(export_gguf(folder, tmp_path / "toy.gguf", "bf16"))
    stored = load_file(folder / "model.safetensors")
    for name, output in (("model.embed_tokens", "token_embd"), ("model.layers.1.mlp.down_proj", "blk.1.ffn_down")):
        expected = stored[f"{name}.weight"].view(torch.int16).numpy()
        assert np.array_equal(written[f"{output}.weight"].data.view(np.int16), expected)


@pytest.mark.parametrize("equal", [True, False])
def test_a_head_beside_a_tied_embedding(toys: Any, tmp_path: Path, equal: bool) -> None:
    """Old files repeat the table; where the two differ, transformers does not tie them, and neither do we."""
    folder = edited(toys("qwen3-tied"), tmp_path / "toy")
    weights = load_file(folder / "model.safetensors")
    table = weights["model.embed_tokens.weight"]
    weights["lm_head.weight"] = table.clone() if equal else table.flip(0).contiguous()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    file = export_gguf(folder, tmp_path / "toy.gguf", "f32")
    assert ("output.weight" in tensors_of(file)) is not equal
    largest, agreement = differences(by_llama_cpp(file)[0], reference(folder))
    assert largest < 5e-4
    assert agreement == 1.0


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("llama-3", {"model_type": "gpt2"}, r"is a gpt2 model.*llama, mistral, qwen2, qwen3, bert"),
    ("llama-3", {"quantization_config": {"quant_method": "gptq"}}, r"quantised already \(gptq\)"),
    ("llama-3", {"hidden_act": "gelu"}, "silu, not gelu"),
    ("llama-3", {"rope_parameters": {**LLAMA_3, "rope_type": "dynamic"}}, "scaling 'dynamic'"),
    ("llama-3", {"rope_parameters": {"full_attention": LLAMA_3}}, "differ between layers"),
    ("llama-3", {"rope_parameters": {**LLAMA_3, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
    ("llama-3", {"rope_parameters": {**LLAMA_3, "factor": "eight"}}, "`factor` is 'eight'"),
    ("llama-3", {"rope_parameters": {**YARN, "beta_fast": 16}}, "`beta_fast` is 16"),
    ("llama-3", {"num_hidden_layers": 3}, r"no tensor model\.layers\.2\."),
    ("llama-3", {"num_hidden_layers": 1}, r"model\.layers\.1\..* is not part of a Llama with 1 layers"),
    ("llama-3", {"num_key_value_heads": 4}, r"k_proj\.weight has the shape \(32, 64\)"),
    ("llama-3", {"num_key_value_heads": 3}, "do not fit together"),
    ("llama-3", {"vocab_size": 10**9}, r"embed_tokens\.weight has the shape \(384, 64\)"),
    ("llama-3", {"max_position_embeddings": 10**30}, "`max_position_embeddings` is 1000"),
    ("llama-3", {"rope_parameters": {**PLAIN, "rope_theta": 1e300}}, "`rope_theta` is 1e.300"),
    ("llama-3", {"intermediate_size": None}, "no `intermediate_size`"),
    ("llama-3", {"hidden_size": "64"}, "`hidden_size` is '64'"),
    ("llama-3", {"rms_norm_eps": "small"}, "`rms_norm_eps` is 'small'"),
    ("mistral", {"sliding_window": -1}, "`sliding_window` is -1"),
    ("qwen3-tied", {"tie_word_embeddings": False}, r"no lm_head\.weight"),
    ("qwen2", {"rope_parameters": LLAMA_3}, "scaling 'llama3'"),
    ("qwen2", {"head_dim": 32}, "are not the hidden size 64"),
    ("llama-biases-yarn", {"attention_bias": False}, r"k_proj\.bias is not part of a Llama"),
]


@pytest.mark.parametrize(("case", "changes", "message"), REFUSALS, ids=[message for _, _, message in REFUSALS])
def test_what_llama_cpp_would_compute_differently_is_refused(
    toys: Any, tmp_path: Path, case: str, changes: dict[str, Any], message: str
) -> None:
    folder = edited(toys(case), tmp_path / "toy", **changes)
    with pytest.raises(ModelFileError, match=message):
        export_gguf(folder, tmp_path / "out.gguf", "f16")
    assert not list(tmp_path.glob("out.gguf*"))


@pytest.mark.parametrize(
    ("value", "precision", "message"),
    [
        (float("nan"), "q8_0", "not numbers"),
        (float("inf"), "f32", "not numbers"),
        (1e5, "f16", "1e.05, which f16"),
    ],
)
def test_values_that_cannot_be_written_are_named(
    toys: Any, tmp_path: Path, value: float, precision: Any, message: str
) -> None:
    folder = edited(toys("qwen2"), tmp_path / "toy")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][5, 7] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelFileError, match=rf"layers\.1\.mlp\.up_proj\.weight holds .*{message}"):
        export_gguf(folder, tmp_path / "out.gguf", precision)
    assert not list(tmp_path.glob("out.gguf*"))


def test_a_truncated_checkpoint_leaves_the_older_file(toys: Any, tmp_path: Path) -> None:
    folder = edited(toys("mistral"), tmp_path / "toy")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (tmp_path / "out.gguf").write_bytes(b"an older export")
    with pytest.raises(ModelFileError, match=r"model\.safetensors is damaged or cut short: tensor"):
        export_gguf(folder, tmp_path / "out.gguf", "f16")
    assert (tmp_path / "out.gguf").read_bytes() == b"an older export"


def test_progress_counts_the_bytes_and_can_cancel(toys: Any, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    file = export_gguf(toys("llama-3"), tmp_path / "whole.gguf", "q8_0", advance=lambda *so_far: told.append(so_far))
    total = sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(file).tensors)
    assert told[-1] == (total, total)
    assert {whole for _, whole in told} == {total}
    assert [done for done, _ in told] == sorted({done for done, _ in told})

    class Cancelled(Exception):
        pass

    def cancel(done: int, total: int) -> None:
        if done > total / 2:
            assert (tmp_path / "half.gguf.part").stat().st_size
            raise Cancelled

    with pytest.raises(Cancelled):
        export_gguf(toys("llama-3"), tmp_path / "half.gguf", "q8_0", advance=cancel)
    assert not list(tmp_path.glob("half.gguf*"))


def test_memory_does_not_grow_with_the_largest_tensor(tmp_path: Path) -> None:
    """A tensor of 256 MiB: a whole copy of it in any form would show; the bound is far above what is measured."""
    pytest.importorskip("resource", reason="Windows counts memory elsewhere")
    rows, columns = 1 << 16, 1 << 10
    header = {"big": {"dtype": "F32", "shape": [rows, columns], "data_offsets": [0, rows * columns * 4]}}
    encoded = json.dumps(header).encode()
    path = tmp_path / "big.safetensors"
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        file.truncate(8 + len(encoded) + rows * columns * 4)  # zeros that take no room on the disk
    program = """
import resource, sys
from pathlib import Path
import gguf, numpy
from trainer.export.base import Output, read_safetensors_index, write_gguf
tensors = read_safetensors_index(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_gguf(Path(sys.argv[2]), "llama", "f16", lambda writer: None, [Output("big", tensors[0], head_rows=128)])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", program, str(path), str(tmp_path / "big.gguf")]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    grown *= 1 if sys.platform == "darwin" else 1024  # to bytes
    assert (tmp_path / "big.gguf").stat().st_size > rows * columns * 2
    assert grown < 120 << 20  # float16 of it all would be 128 MiB

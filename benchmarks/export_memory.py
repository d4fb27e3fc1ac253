"""Time and peak memory of an export at the shape of a 1B Llama, and of llama.cpp's own converter on the same file.

Run as ``python benchmarks/export_memory.py [LLAMA_CPP]``, with the folder of llama.cpp's sources for the comparison. It
writes a random checkpoint in bfloat16 (2.5 GB) and one GGUF file after another into a temporary folder (5.5 GB free at
least) and removes them. Each export is a process of its own, on one thread; memory is the largest resident set, which
counts the pages of mapped files too. Prints a table in Markdown.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "tests")]

from support.toy_decoders import toy_tokenizer  # noqa: E402 - the folders of the source tree come first

HIDDEN, INNER, LAYERS, HEADS, KEY_HEADS, HEAD, VOCABULARY = 2048, 8192, 16, 32, 8, 64, 128256
RANK = 16  # of the adapter
CONVERTER = "llama.cpp's converter"
_ROOM = 5_500_000_000  # bytes

_MEASURE = """
import json, resource, sys, time
kind, folder = sys.argv[1], sys.argv[2]
checkpoint, target, precision, adapter = sys.argv[3:7]
if kind == "ours":
    from trainer.export.families import export_gguf
    import gguf
else:
    sys.path[:0] = [folder + "/gguf-py", folder]
    import convert_hf_to_gguf, conversion.base, conversion.llama
    conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "llama-bpe"
    sys.argv = ["convert", checkpoint, "--outfile", target, "--outtype", precision]
before = resource.getrusage(resource.RUSAGE_SELF)
start = time.perf_counter()
if kind == "ours":
    export_gguf(checkpoint, target, precision, adapter=adapter or None)
else:
    convert_hf_to_gguf.main()
seconds = time.perf_counter() - start
unit = 1 if sys.platform == "darwin" else 1024
after = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "seconds": seconds, "processor": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    "peak": after.ru_maxrss * unit, "before": before.ru_maxrss * unit,
}))
"""


def shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of each tensor."""
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    for layer in range(LAYERS):
        stem = f"model.layers.{layer}."
        found |= {
            stem + "input_layernorm.weight": (HIDDEN,),
            stem + "post_attention_layernorm.weight": (HIDDEN,),
            stem + "self_attn.q_proj.weight": (HEADS * HEAD, HIDDEN),
            stem + "self_attn.k_proj.weight": (KEY_HEADS * HEAD, HIDDEN),
            stem + "self_attn.v_proj.weight": (KEY_HEADS * HEAD, HIDDEN),
            stem + "self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD),
            stem + "mlp.gate_proj.weight": (INNER, HIDDEN),
            stem + "mlp.up_proj.weight": (INNER, HIDDEN),
            stem + "mlp.down_proj.weight": (HIDDEN, INNER),
        }
    return found


def write_random(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    """Write a safetensors file of random bfloat16 values, a block at a time."""
    header, offset = {}, 0
    for name, shape in tensors.items():
        size = int(np.prod(shape)) * 2
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    values = np.random.default_rng(0).standard_normal(1 << 22, np.float32) * np.float32(0.02)
    block = (values.view(np.uint32) >> 16).astype("<u2")
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for number, shape in enumerate(tensors.values()):
            left, turned = int(np.prod(shape)), np.roll(block, 7919 * number)
            while left:
                file.write(turned[:left].data)
                left -= min(left, len(turned))


def make_checkpoint(folder: Path) -> Path:
    """Write the model, its tokenizer and its config.json."""
    folder.mkdir()
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "head_dim": HEAD,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    }
    toy_tokenizer("llama").save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    write_random(folder / "model.safetensors", shapes())
    return folder


def make_adapter(folder: Path) -> Path:
    """Write a LoRA adapter on every matrix of the layers."""
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "target_modules": "all-linear"}
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    factors: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes().items():
        if name.endswith("proj.weight"):
            stem = "base_model.model." + name.removesuffix("weight")
            factors[stem + "lora_A.weight"], factors[stem + "lora_B.weight"] = (RANK, shape[1]), (shape[0], RANK)
    write_random(folder / "adapter_model.safetensors", factors)
    return folder


def measure(*arguments: str) -> dict[str, float]:
    """Run one export in a process of its own."""
    source = Path(__file__).resolve().parent.parent
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURE, *arguments], check=True, stdout=subprocess.PIPE, text=True, cwd=source,
        env={**os.environ, **threads},
    )  # fmt: skip
    result: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return result


def main() -> int:
    """Make the checkpoint, export it in each way, and print the table."""
    llama_cpp = sys.argv[1] if len(sys.argv) > 1 else ""
    if llama_cpp and not (Path(llama_cpp) / "convert_hf_to_gguf.py").is_file():
        print(f"{llama_cpp} holds no convert_hf_to_gguf.py.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < _ROOM:
            print(f"{folder} has no {_ROOM / 1e9:.1f} GB free; set TMPDIR to a folder that has.", file=sys.stderr)
            return 1
        checkpoint, adapter = make_checkpoint(folder / "model"), make_adapter(folder / "adapter")
        largest = VOCABULARY * HIDDEN * 2
        print(f"Largest tensor: {largest / 2**20:.0f} MiB in bfloat16; limit: {2 * largest / 2**20 + 1024:.0f} MiB.\n")
        print("| export | seconds | of one processor | peak MiB | of it before it began | peak / largest tensor | "
              "file, GB |\n|---|---|---|---|---|---|---|")  # fmt: skip
        exports = [("f16", "ours", ""), ("f16", f"ours, an adapter of rank {RANK} merged", str(adapter)),
                   ("q8_0", "ours", "")]  # fmt: skip
        if llama_cpp:
            exports += [("f16", CONVERTER, ""), ("q8_0", CONVERTER, "")]
        for precision, title, merged in exports:
            target = folder / "out.gguf"
            kind = "theirs" if title == CONVERTER else "ours"
            found = measure(kind, llama_cpp, str(checkpoint), str(target), precision, merged)
            print(f"| {precision}, {title} | {found['seconds']:.0f} | {found['processor']:.0f} | "
                  f"{found['peak'] / 2**20:.0f} | {found['before'] / 2**20:.0f} | {found['peak'] / largest:.2f} | "
                  f"{target.stat().st_size / 1e9:.2f} |", flush=True)  # fmt: skip
            target.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())

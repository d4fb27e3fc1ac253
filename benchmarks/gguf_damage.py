"""Damaged and foreign GGUF files given to the app as ``gguf:PATH``: what each came to, counted in a table.

    python benchmarks/gguf_damage.py [--mutations 700] [--seed 1] [--workers 2] [FILE.gguf ...]

Without files, small models of every family are exported (unquantised, and to 8 and 4 bits) and damaged. Each damaged
file is loaded and asked for a proposal, those of encoders for a vector too, in processes of their own. A process that
dies or hangs is a failure, and so is an error that is not one sentence; the exit status is then 1.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.gguf_damage import Outcome, damaged, foreign, outcomes  # noqa: E402 - the folders of the source tree first

_FINE = ("ran", "ModelFileError", "PromptTooLong", "UnusableOutput", "NotEnoughMemory")
_AT_ONCE = 120  # files on the disk at a time


def toy_files(folder: Path) -> list[Path]:
    """Export small models of every family, with the mark of a trained model, as they leave the exporter."""
    from support.toy_decoders import toy_decoder

    from trainer.export.families import export_gguf
    from trainer.export.quantise import quantise

    story = {"prompt": "alignment", "demographics": True, "starts_with_bos": False, "recipe": "nce"}
    files = []
    for family in ("llama", "mistral", "qwen2", "qwen3"):
        checkpoint = toy_decoder(folder / family, family, max_position_embeddings=2048)  # type: ignore[arg-type]
        (checkpoint / "evenhand.json").write_text(json.dumps(story))
        files += [export_gguf(checkpoint, folder / f"{family}-f32.gguf", "f32")]
        quantise(files[-1], folder / f"{family}-q4_k_m.gguf", "q4_k_m")
        files += [folder / f"{family}-q4_k_m.gguf"]
    checkpoint = toy_bert(folder / "bert")
    files += [export_gguf(checkpoint, folder / f"bert-{kind}.gguf", kind) for kind in ("f32", "q8_0")]
    return files


def toy_bert(folder: Path) -> Path:
    """Save an encoder of two layers with a vocabulary of single letters."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz.", "the", "park"]
    words += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    config = BertConfig(
        vocab_size=len(words), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=128,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="whole GGUF files (default: small models of every family)")
    parser.add_argument("--mutations", type=int, default=700, help="damaged copies of all files together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes at a time")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        files = options.files or toy_files(folder)
        whole = outcomes(files, options.workers)
        for one in whole:
            print(f"whole    {one.path.name}: {one.kind} {one.said}")
        (folder / "foreign").mkdir()
        found = outcomes(foreign(folder / "foreign", files[0]), options.workers)
        each = -(-options.mutations // len(files))
        for file in files:
            place = folder / f"damaged-{file.stem}"
            for start in range(0, each, _AT_ONCE):
                place.mkdir()
                written = damaged(file, place, min(_AT_ONCE, each - start), f"{options.seed}:{file.stem}:{start}")
                found += outcomes(written, options.workers)
                for path in written:
                    path.unlink()
                place.rmdir()
            print(f"{file.name} done, {time.monotonic() - started:.0f} s", file=sys.stderr)
    table(found)
    bad = [one for one in found if one.kind not in _FINE]
    for one in bad:
        print(f"FAILED   {one.path.name}: {one.kind}: {one.said}")
    print(f"{len(found)} files, {len(bad)} failures, {time.monotonic() - started:.0f} s")
    return 1 if bad else 0


def table(found: list[Outcome]) -> None:
    """Print how many files of each family and damage came to what."""
    kinds = [kind for kind, _ in Counter(one.kind for one in found).most_common()]
    for title, place in (("file", 0), ("damage", -1)):
        counted = Counter((_named(one.path, place), one.kind) for one in found)
        names = sorted({name for name, _ in counted})
        print(f"\n| {title} | " + " | ".join(kinds) + " |\n|---" * 1 + "|---:" * len(kinds) + "|")
        for name in names:
            print(f"| {name} | " + " | ".join(str(counted[name, kind] or "") for kind in kinds) + " |")
    print()


def _named(path: Path, place: int) -> str:
    if path.stem.startswith("foreign") or path.parent == Path("/dev"):
        return "foreign"
    parts = path.stem.rsplit("-", 2)
    return parts[place]


if __name__ == "__main__":
    sys.exit(main())

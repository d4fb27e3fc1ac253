"""Decode speed of GGUFModel against bare llama.cpp on the same random model, alternating, in one run.

Run as ``python benchmarks/gguf_decode.py [tokens] [rounds]``. Prints the speeds, their ratio (median of the rounds),
the prompt tokens evaluated over four candidates that share a prefix, and how long a cancel takes in a long prompt.
Speeds are per second of processor time of the one thread that computes, so that other work on the machine counts for
neither side.
"""

import ctypes
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "tests")]

from support.tiny_models import tiny_llama_gguf  # noqa: E402 - the folders of the source tree come first

from mediator.cancellation import Cancellation, Cancelled  # noqa: E402
from mediator.writers.base import Message, Prompt, Sampling  # noqa: E402
from mediator.writers.gguf import GGUFModel  # noqa: E402
from mediator.writers.llama_library import llama_library  # noqa: E402

SHARED = "Side A wants quiet in the park, side B wants music there. " * 10


def prompt(tail: str) -> Prompt:
    return Prompt("You are a mediator.", (Message("user", SHARED), Message("user", tail)))


def ours(model: GGUFModel, tokens: int, round_number: int) -> float:
    """Tokens per second after the first piece, which contains the reading of the prompt."""
    sampling = Sampling(max_tokens=tokens, seed=round_number)
    stream = model.stream(prompt("Propose one compromise."), sampling, Cancellation())
    next(stream)
    before, start = model.drawn_tokens, time.thread_time()
    for _ in stream:
        pass
    return (model.drawn_tokens - before) / (time.thread_time() - start)


def bare(model: GGUFModel, tokens: int) -> float:
    """The same context, driven by nothing but llama_decode of one fixed token from the same position on."""
    llama, context = llama_library(), model._context
    start_at = model.count_tokens(prompt("Propose one compromise."))
    memory = llama.llama_get_memory(context)
    llama.llama_memory_seq_rm(memory, 0, start_at, -1)
    token = (ctypes.c_int32 * 1)(400)
    start = time.thread_time()
    for _ in range(tokens):
        if llama.llama_decode(context, llama.llama_batch_get_one(token, 1)):
            raise RuntimeError("llama_decode failed")
        llama.llama_synchronize(context)
    speed = tokens / (time.thread_time() - start)
    llama.llama_memory_seq_rm(memory, 0, start_at, -1)
    del model._held[start_at:]
    model._holder = None
    return speed


def main() -> None:
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 48
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as folder:
        path = tiny_llama_gguf(
            Path(folder) / "model.gguf", width=768, layers=8, vocabulary=32000, context=4096, half=True
        )
        model = GGUFModel(path, threads=1)
        ours(model, 8, 0)  # warm-up: load, page in
        pairs = []
        for number in range(rounds):
            # Alternating order, so that a machine that warms up or slows down favours neither.
            if number % 2:
                reference = bare(model, tokens)
                mine = ours(model, tokens, number)
            else:
                mine = ours(model, tokens, number)
                reference = bare(model, tokens)
            pairs.append((mine, reference))

        fresh = GGUFModel(path, threads=1)
        evaluated = []
        for tail in ("Propose one.", "Think first.", "Rate yourself.", "Improve this one."):
            before = fresh.evaluated_tokens
            for _ in fresh.stream(prompt(tail), Sampling(max_tokens=4), Cancellation()):
                pass
            evaluated.append((fresh.count_tokens(prompt(tail)), fresh.evaluated_tokens - before))

        cancel, pressed = Cancellation(), [0.0]

        def press() -> None:
            pressed[0] = time.perf_counter()
            cancel.cancel()

        threading.Timer(0.3, press).start()
        latency = float("nan")
        try:
            long_prompt = Prompt("", (Message("user", "Another park, another side. " * 200),))
            for _ in fresh.stream(long_prompt, Sampling(max_tokens=4), cancel):
                pass
        except Cancelled:
            latency = time.perf_counter() - pressed[0]
        model.close()
        fresh.close()
    print(
        json.dumps(
            {
                "model": "random Llama, 8 layers of 768, 32,000 tokens, f16, one thread",
                "ours_tokens_per_second": round(statistics.median(mine for mine, _ in pairs), 1),
                "bare_tokens_per_second": round(statistics.median(reference for _, reference in pairs), 1),
                "ratio": round(statistics.median(mine / reference for mine, reference in pairs), 3),
                "prompt_tokens_and_evaluated": evaluated,
                "cancel_in_prompt_milliseconds": round(latency * 1000, 1),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()

"""Alignment: samples/s and peak memory of NCE and the task loss with and without the trunk cache, and of TRL's DPO.

    python benchmarks/alignment.py --shape small --device cpu
    python benchmarks/alignment.py --shape llama-8b --device cuda --batch 4 --tokens 512 --output alignment.json

All variants see the same shapes in one run: pairs of a target and a hypothesis of equal length, of which the last
quarter is the response to one prompt; random weights, made on the device; the last three decoder layers learn, by
AdamW. Each runs in a process of its own, so that peaks do not mix. Figures:

- samples/s: pairs, of full steps (forward, backward, optimiser), the median of `--steps` after `--warm-up`. With the
  cache, also with the time of filling it, for all `--pool` targets of a pair and its hypothesis, spread over
  `--epochs`, in each of which a pair is seen with one of its targets. On the CPU, one thread and its own time.
- peak memory, from the making of the model on, filling the cache included: allocated on the GPU; on the CPU, resident,
  with what the process needed before.
- model FLOP/s: those that the mathematics needs, without what is computed twice, as a share of a ceiling: a matrix
  product of the same type, measured in the same run.

The alternatives: the same loss "without the cache" (the frozen layers run at each step, without keeping anything for a
backward pass; only the positions of the response are projected); "whole logits", the same with the logits of every
position and torch's own log-softmax, as it is usually written; and TRL's DPOTrainer: its own loss with its own fused
head, the reference's log-probabilities computed beforehand, and the same layers learning.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "model_type": "llama",
        "vocab_size": 600,
        "hidden_size": 64,
        "intermediate_size": 172,
        "num_hidden_layers": 12,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    },
    "small": {
        "model_type": "llama",
        "vocab_size": 8000,
        "hidden_size": 320,
        "intermediate_size": 1120,
        "num_hidden_layers": 24,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
    },
    "llama-8b": {  # Llama-3.1-8B
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
    "mistral-7b": {  # Mistral-7B-Instruct-v0.3
        "model_type": "mistral",
        "vocab_size": 32768,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-5,
        "sliding_window": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    },
}
LOSSES = {"nce": "NCE", "task": "task loss", "dpo": "DPO"}
VARIANTS = {
    "nce-cache": "NCE, trunk cache",
    "nce-plain": "NCE, without the cache",
    "nce-logits": "NCE, without, whole logits",
    "task-cache": "task loss, trunk cache",
    "task-plain": "task loss, without the cache",
    "dpo-cache": "DPO, trunk cache",
    "dpo-trl": "DPO, TRL's DPOTrainer",
}
AGAINST = {
    "nce-cache": ("nce-plain", "nce-logits", "dpo-trl"),
    "task-cache": ("task-plain", "dpo-trl"),
    "dpo-cache": ("dpo-trl",),
    "nce-plain": ("nce-logits",),
}


def resident() -> int:
    """The most that this process has had resident, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise SystemExit("peak resident memory is read from /proc, which is not here")


def now(device: str) -> float:
    """Seconds: of the clock, when the GPU is done; on the CPU of one thread, which others may hold up meanwhile."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    torch.set_num_threads(1)
    return time.process_time()


def ceiling(device: str) -> dict[str, float]:
    """FLOP/s of a large matrix product in the type that the layers compute in."""
    import torch

    size, kind = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    one, other = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    rates = []
    for _ in range(30):
        started = now(device)
        one @ other
        rates.append(2 * size**3 / (now(device) - started))
    return {"flops": statistics.median(sorted(rates)[-10:])}


def make_model(options: argparse.Namespace) -> Any:
    """Random weights in the type of the device; what learns is float32 on a GPU, as mixed precision needs it.

    In bfloat16 a step of 3e-5 is smaller than the distance of most weights to the next number, and is lost.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = dict(SHAPES[options.shape])
    config = AutoConfig.for_model(shape.pop("model_type"), **shape)
    kind = torch.bfloat16 if options.device == "cuda" else torch.float32
    with torch.device(options.device):
        model = AutoModelForCausalLM.from_config(config, dtype=kind)
    model.requires_grad_(False)
    for layer in model.model.layers[-options.layers :]:
        layer.float().requires_grad_(True)
    return model


def model_flops(config: Any, texts: int, tokens: int, response: int, layers: int, cached: bool) -> float:
    """FLOPs of one step: products with weights, and attention, of which a causal mask needs half."""
    width, head = config.hidden_size, config.hidden_size // config.num_attention_heads
    projections = width * head * (2 * config.num_attention_heads + 2 * config.num_key_value_heads)
    weights = projections + 3 * width * config.intermediate_size
    layer = texts * tokens * (2 * weights + 2 * tokens * head * config.num_attention_heads)
    below = 0 if cached else config.num_hidden_layers - layers
    projected = texts * response * 2 * width * config.vocab_size
    # Forward of all that runs; backward twice the forward where weights learn, once for the frozen head.
    return float(below * layer + 3 * layers * layer + 2 * projected)


def measure(variant: str, options: argparse.Namespace) -> dict[str, float]:
    import torch

    from trainer.losses import dpo, nce, score, task_margin
    from trainer.models.prompting import Encoded
    from trainer.trunk.cache import TrunkCache, Whole, top

    device, count, length = options.device, 2 * options.batch, options.tokens
    loss_name, way = variant.split("-")
    torch.manual_seed(0)
    before = resident()
    model = make_model(options)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=3e-5, betas=(0.90, 0.99), fused=device == "cuda")
    response_length = max(1, length // 4)
    begin = length - response_length
    pools = torch.randint(0, model.config.vocab_size, (options.batch, options.pool + 1, length))
    pools[:, :, :begin] = pools[:, :1, :begin]  # one prompt, and the hypothesis behind the targets
    tokens = torch.cat([pools[:, 0], pools[:, -1]])
    response = torch.zeros(count, length, dtype=torch.bool)
    response[:, begin:] = True
    computing = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")
    found: dict[str, float] = {}
    keys: list[str] = []
    texts = [Encoded(text, begin) for text in pools.flatten(0, 1).tolist()]
    tokens, response = tokens.to(device), response.to(device)
    mask = torch.ones_like(response)
    folder = tempfile.TemporaryDirectory()
    cache = TrunkCache(Path(folder.name), variant, 0 if options.mapped else 2**40, options.layers)
    upper, whole = top(model, options.layers), Whole(model)
    trl = trl_trainer(model, options, folder.name) if way == "trl" else None
    start: Any = None
    if way == "cache":
        with computing:
            cache.build(model, texts[:2], batch=2)  # not counted: kernels are chosen, memory is taken
            began = now(device)
            all_keys = cache.build(model, texts, batch=count)
        found["filling s"] = now(device) - began
        keys = all_keys[:: options.pool + 1] + all_keys[options.pool :: options.pool + 1]

    def scores() -> Any:
        if way == "cache":
            states, kept = cache.states(keys, device)
            return upper(states, kept, tokens=tokens, response=response)
        if way == "plain":
            return whole(tokens, mask, response=response)
        logits = whole(tokens, mask)
        found = torch.log_softmax(logits.float(), dim=-1)[:, :-1].gather(2, tokens[:, 1:, None])[..., 0]
        return (found * response[:, 1:]).sum(dim=1), response.sum(dim=1)

    def value() -> Any:
        if trl is not None:
            batch = {"input_ids": tokens, "attention_mask": mask.long(), "completion_mask": response.long()}
            references = {"ref_chosen_logps": start[: options.batch], "ref_rejected_logps": start[options.batch :]}
            return trl.compute_loss(trl.model, {**batch, **references})
        sums, counts = scores()
        if loss_name == "task":
            target, hypothesis = sums.chunk(2)
            ones = torch.ones_like(target)
            return task_margin(target, hypothesis, ones, ones * 0.2, 10.0)
        target, hypothesis = score(sums, counts, "log_ratio", start_sums=start).chunk(2)
        return nce(target, hypothesis) if loss_name == "nce" else dpo(target, hypothesis, 0.1)

    with torch.no_grad(), computing:
        start = (whole(tokens, mask, response=response) if trl is not None else scores())[0]
    times = []
    for step in range(options.warm_up + options.steps):
        began = now(device)
        with computing:
            loss = value()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        took = now(device) - began
        if step >= options.warm_up:
            times.append(took)
    step_time = statistics.median(times)
    found["samples/s"] = options.batch / step_time
    filled = found.get("filling s", 0.0)  # these pairs are seen once an epoch, in one step
    found["samples/s with filling"] = options.batch / (step_time + filled / options.epochs)
    flops = model_flops(model.config, count, length, response_length, options.layers, way == "cache")
    found["flops/s"] = flops / step_time
    found["peak bytes"] = float(torch.cuda.max_memory_allocated() if device == "cuda" else resident())
    found["bytes before"] = 0.0 if device == "cuda" else float(before)
    found["loss"] = float(loss)
    folder.cleanup()
    return found


def trl_trainer(model: Any, options: argparse.Namespace, folder: str) -> Any:
    """TRL's DPOTrainer around the model, made on one pair of words: only its loss is used, on our batches."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    words = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "a": 2, "b": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="<unk>",
        eos_token="</s>",
        pad_token="</s>",
    )
    arguments = DPOConfig(
        output_dir=folder,
        loss_type=["sigmoid"],
        beta=0.1,
        precompute_ref_log_probs=True,
        activation_checkpointing=False,
        bf16=options.device == "cuda",
        use_cpu=options.device == "cpu",
        per_device_train_batch_size=1,
        report_to=[],
    )
    pair = Dataset.from_list([{"prompt": "a", "chosen": " a", "rejected": " b"}])
    trainer = DPOTrainer(model=model, args=arguments, train_dataset=pair, processing_class=tokenizer)
    trainer.model = trainer.accelerator.prepare_model(trainer.model)
    learns = sum(parameter.requires_grad for parameter in trainer.model.parameters())
    assert learns == sum(p.requires_grad for layer in model.model.layers[-options.layers :] for p in layer.parameters())
    assert not any(getattr(layer, "gradient_checkpointing", False) for layer in model.model.layers)
    torch.manual_seed(0)
    return trainer


def table(results: dict[str, dict[str, float]], peak: float, options: argparse.Namespace) -> str:
    """The figures and the ratios as Markdown."""
    unit = {"cuda": "GPU memory GiB", "cpu": "resident GiB"}[options.device]
    lines = [
        f"| variant | samples/s | with filling, {options.epochs} epochs | {unit} | model TFLOP/s | of the ceiling |",
        "|---|---|---|---|---|---|",
    ]
    for variant, figures in results.items():
        lines.append(
            f"| {VARIANTS[variant]} | {figures['samples/s']:.3g} | {figures['samples/s with filling']:.3g} | "
            f"{figures['peak bytes'] / 2**30:.2f} | {figures['flops/s'] / 1e12:.3g} | {figures['flops/s'] / peak:.0%} |"
        )
    lines += ["", "| | against | samples/s | with filling | peak memory |", "|---|---|---|---|---|"]
    for variant, others in AGAINST.items():
        for other in others:
            if variant in results and other in results:
                one, two = results[variant], results[other]
                lines.append(
                    f"| {VARIANTS[variant]} | {VARIANTS[other]} | {one['samples/s'] / two['samples/s']:.2f}x | "
                    f"{one['samples/s with filling'] / two['samples/s with filling']:.2f}x | "
                    f"{one['peak bytes'] / two['peak bytes']:.2f}x |"
                )
    lines += ["", f"Ceiling: a matrix product, {peak / 1e12:.3g} TFLOP/s."]
    if options.device == "cpu":
        before = statistics.median(figures["bytes before"] for figures in results.values())
        lines.append(f"Resident before there was a model: {before / 2**30:.2f} GiB.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=2, help="pairs in a step; twice as many texts")
    parser.add_argument("--tokens", type=int, default=512, help="of prompt and response together")
    parser.add_argument("--layers", type=int, default=3, help="how many of the last layers learn")
    parser.add_argument("--steps", type=int, default=5, help="that are measured")
    parser.add_argument("--warm-up", type=int, default=2, help="steps that are not")
    parser.add_argument("--epochs", type=int, default=8, help="over which the time of filling the cache is spread")
    parser.add_argument("--pool", type=int, default=4, help="targets of a pair, of which each epoch draws one")
    parser.add_argument("--mapped", action="store_true", help="keep the cache in a file instead of in memory")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        found = ceiling(options.device) if options.one == "ceiling" else measure(options.one, options)
        print(json.dumps(found))
        return
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    environment.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    arguments = list(sys.argv[1:])
    results: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    for variant in ("ceiling", *options.variants):
        print(f"{variant} ...", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, *arguments, "--one", variant]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if run.returncode:
            failed[variant] = run.stderr[-2000:]
            print(f"{variant} failed:\n{failed[variant]}", file=sys.stderr, flush=True)
            if variant == "ceiling":
                raise SystemExit(1)
        else:
            results[variant] = json.loads(run.stdout.splitlines()[-1])
            print(f"  {results[variant]}", file=sys.stderr, flush=True)
        if options.output:  # after each, so that a run that is cut short is not lost
            told = {name: value for name, value in vars(options).items() if name not in ("one", "output")}
            whole = {"options": told, "results": results, "failed": failed}
            options.output.write_text(json.dumps(whole, indent=2), encoding="utf-8")
    peak = results.pop("ceiling")["flops"]
    print(f"{options.shape}, {options.device}, {options.batch} pairs of {options.tokens} tokens\n")
    print(table(results, peak, options))
    if failed:
        print(f"\nFailed: {', '.join(failed)}.")
        raise SystemExit(1)


if __name__ == "__main__":
    main()

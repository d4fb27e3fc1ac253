"""How much memory and disk a recipe needs with a model: a documented estimate, in bytes, made without torch."""

import math
from dataclasses import dataclass, field

from trainer.alignment.config import AlignConfig, CalibrateConfig, NcaConfig, RecipeConfig, SftConfig
from trainer.models.shape import ModelShape

_RUNTIME = 600 << 20  # bytes of Python, torch and transformers in each process
_CUDA_RUNTIME = 700 << 20  # bytes that CUDA's context and kernels take on the GPU
_FLOAT, _HALF = 4, 2  # bytes of one number
_QUANTISED = 0.56  # bytes of a weight in 4 bits, with its share of a scale
_LOGITS_CHUNK = 256 << 20  # bytes of float32 logits that `trainer.models.likelihood` holds at once
_LETTERS_PER_TOKEN = 3.5  # of English prose, on average
_FEWEST_LETTERS = 2.0  # for each token of a long text, to be on the safe side


@dataclass(frozen=True)
class Texts:
    """What is known of the texts to learn from.

    Attributes:
        examples: disputes.
        candidates: texts to learn, of all disputes.
        letters: characters of all prompts together.
        answer_letters: characters of all candidates together.
        longest: characters of the longest prompt with its longest candidate.
    """

    examples: int = 0
    candidates: int = 0
    letters: int = 0
    answer_letters: int = 0
    longest: int = 0


@dataclass(frozen=True)
class Need:
    """What a run needs, in bytes.

    Attributes:
        memory: at its peak, of the device that computes, of all processes on this computer together where that is the
            CPU, of each GPU where it is a GPU.
        host: of the computer's memory; the same as ``memory`` where the CPU computes.
        disk: of all that the run writes.
        parts: what the memory is made of, by name.
        trainable: weights that learn.
    """

    memory: int
    host: int
    disk: int
    trainable: int
    parts: dict[str, int] = field(default_factory=dict)


def need(config: RecipeConfig, shape: ModelShape, texts: Texts, gpu: bool, processes: int = 1) -> Need:
    """Estimate what a recipe needs.

    Memory is the largest of three: the weights as they are stored, while they are loaded; writing the model's own
    answers; and learning. Learning: the frozen weights in the run's precision; of each weight that learns, 4 bytes for
    itself, 4 for its gradient and 8 for Adam's two means, and 2 for its bfloat16 copy in a bf16 run; the activations
    that the backward pass reads; a chunk of logits. A layer keeps for each token, with b bytes a number (2 or 4) and H,
    Q, I the widths of the hidden state, the queries and the feed-forward network: b (2 H + 4 Q + 4 I) for the inputs of
    its products and of its attention, and 16 H for its two norms, which compute in float32. With gradient checkpointing
    b H, and the rest for one layer at a time. The backward pass has one more layer in hand, and a tenth is added for
    what the allocator holds. Frozen layers below keep nothing. A checkpoint holds 12 bytes of each weight that learns.
    Fitted to the resident memory measured on a CPU (42 million weights, fine-tuning with and without checkpointing,
    alignment of three layers), from which it differs by -4 to +7 %. No other measurement has tested it.

    Args:
        config: the settings.
        shape: of the model.
        texts: to learn from.
        gpu: whether a GPU computes.
        processes: how many work together on this computer.
    """
    half = config.precision == "bf16" or (config.precision == "auto" and gpu) or config.trainable == "qlora"
    number = _HALF if half else _FLOAT
    learning = _trainable(config, shape)
    adapters = config.trainable in ("lora", "qlora")
    frozen = (shape.parameters - (0 if adapters else learning)) * number
    if config.trainable == "qlora":  # 4 bits and their scales; what is no linear layer is kept in float32
        frozen = int(sum(shape.layers) * _QUANTISED) + (shape.parameters - sum(shape.layers)) * _FLOAT
    stored = shape.stored or shape.parameters * _HALF
    parts = {
        "weights": frozen + learning * _FLOAT,
        "gradients": learning * _FLOAT * (2 if processes > 1 else 1),  # several processes add them up in buckets
        "optimiser": learning * 2 * _FLOAT,
        "copies": learning * _HALF if half else 0,
    }
    tokens = _tokens(config, texts)
    rows = config.batch_size * _texts_at_once(config)
    layers = config.layers if config.trainable == "last_layers" else len(shape.layers)
    parts["activations"] = rows * tokens * _activations(config, shape, layers, number)
    parts["logits"] = 3 * min(rows * tokens * shape.vocabulary * _FLOAT, _LOGITS_CHUNK)
    cached = _cached(config, shape, texts, number)
    in_memory = cached if cached <= _cache_limit(config) and processes == 1 else 0  # several share a file
    parts["trunk cache"] = 0 if gpu else in_memory
    learn = sum(parts.values())
    write = parts["weights"] + _generation(config, shape, tokens, number)
    runtime = _CUDA_RUNTIME if gpu else _RUNTIME * processes
    load = 0 if config.trainable == "qlora" else stored
    if write > learn:
        parts = {"weights": parts["weights"], "the model's own answers": write - parts["weights"]}
    if load > max(learn, write):
        parts = {"loading": load}
    parts["reserve"] = sum(parts.values()) // 10
    memory = sum(parts.values()) * (1 if gpu else processes) + runtime
    parts["runtime"] = runtime
    # On the way to a GPU, the weights pass through the computer's memory.
    host = processes * (_RUNTIME + max(in_memory, stored)) if gpu else memory
    # The one that is being written comes before the oldest one goes.
    checkpoints = learning * 3 * _FLOAT * (config.keep_checkpoints + 1)
    disk = checkpoints + (shape.parameters * _HALF if half else stored) + (cached - in_memory)
    return Need(memory, host, disk, learning, parts)


def steps(config: RecipeConfig, texts: Texts, processes: int = 1) -> int:
    """Return about how many steps of the optimiser a run has; exact unless texts are packed into rows."""
    items = texts.examples
    if isinstance(config, SftConfig):
        items = texts.candidates
        if config.packing:
            prompt = texts.letters / max(texts.examples, 1)
            tokens = (texts.candidates * prompt + texts.answer_letters) / _LETTERS_PER_TOKEN
            items = min(items, math.ceil(tokens / config.longest_text))
    passes = math.ceil(items / (config.batch_size * processes))
    return max(1, math.ceil(config.epochs * math.ceil(passes / config.gradient_accumulation)))


def _trainable(config: RecipeConfig, shape: ModelShape) -> int:
    if config.trainable in ("lora", "qlora"):
        return config.adapter_rank * shape.adapters
    if config.trainable == "all":
        return shape.parameters
    learning = sum(shape.layers[-config.layers :])
    learning += shape.norm if config.train_final_norm else 0
    return learning + (shape.head if config.train_head else 0)


def _tokens(config: RecipeConfig, texts: Texts) -> int:
    """Tokens of the longest row of a batch."""
    if (isinstance(config, SftConfig) and config.packing) or not texts.longest:
        return config.longest_text
    return min(config.longest_text, math.ceil(texts.longest / _FEWEST_LETTERS))


def _texts_at_once(config: RecipeConfig) -> int:
    """Texts that one pair of views brings into a forward pass: the target, and the model's own answers beside it."""
    if isinstance(config, NcaConfig):
        return config.answers
    if isinstance(config, CalibrateConfig):
        return config.candidates + 1
    return 2 if isinstance(config, AlignConfig) else 1


def _activations(config: RecipeConfig, shape: ModelShape, layers: int, number: int) -> int:
    """Bytes for each token."""
    one = number * (2 * shape.hidden + 4 * shape.queries + 4 * shape.inner) + 4 * _FLOAT * shape.hidden
    if config.gradient_checkpointing:
        return layers * number * shape.hidden + 2 * one
    return (layers + 1) * one


def _cached(config: RecipeConfig, shape: ModelShape, texts: Texts, number: int) -> int:
    """Bytes of what the frozen layers say of every text."""
    if not isinstance(config, AlignConfig) or not config.trunk_cache:
        return 0
    answers = _texts_at_once(config) - 1
    prompt = texts.letters / max(texts.examples, 1) / _LETTERS_PER_TOKEN
    known = texts.candidates * prompt + texts.answer_letters / _LETTERS_PER_TOKEN
    own = texts.examples * answers * (prompt + config.hypothesis_tokens)
    most = (texts.candidates + texts.examples * answers) * config.longest_text
    return int(min(known + own, most)) * shape.hidden * number


def _cache_limit(config: RecipeConfig) -> int:
    return int(config.cache_memory * 2**30) if isinstance(config, AlignConfig) else 0


def _generation(config: RecipeConfig, shape: ModelShape, tokens: int, number: int) -> int:
    """Bytes that writing the model's own answers needs beside the weights."""
    if not isinstance(config, AlignConfig) or config.hypotheses:
        return 0
    # The answers to one pair are written together, also where they are more than a batch.
    rows = max(config.hypothesis_batch, config.candidates if isinstance(config, CalibrateConfig) else 1)
    length = tokens + config.hypothesis_tokens
    kept = rows * length * 2 * shape.keys * len(shape.layers) * number
    passing = rows * tokens * (3 * shape.inner + 4 * shape.hidden) * number
    return kept + passing + rows * shape.vocabulary * 2 * _FLOAT

"""The memory a model needs, told from its file before it is loaded, against what this computer has free."""

import os
from pathlib import Path

from mediator.errors import ModelFileError
from mediator.writers.gguf_file import GGUFHeader

SKIP_VARIABLE = "EVENHAND_SKIP_MEMORY_CHECK"

LARGEST_DEFAULT_CONTEXT = 8192
"""Tokens of context that nobody had to ask for: the cache of 128k tokens of an 8B model would take 16 GiB."""

_BATCH = 512  # tokens that `mediator.writers.gguf` evaluates at once
_CACHE_BYTES = 2  # of one number in the key-value cache: float16
_RUNTIME = 32 << 20  # bytes that llama.cpp takes whatever the model: threads, backend, tokenizer


class NotEnoughMemory(ModelFileError):
    """A model needs more memory than is free."""


def need(header: GGUFHeader, file_size: int, context: int = 0) -> int:
    """Return the bytes of memory that llama.cpp will need for a model.

    Its file (all of it is read at every token), the key-value cache of ``context`` tokens, and the buffers of the
    network. A layer with a sliding window is counted as if it had none. Against the resident memory that was measured,
    float16 models come out 4 to 7 % above, 4-bit ones up to 10 % below: of these llama.cpp makes a faster copy, and the
    file's own pages, which the system may drop, count as resident until it does.

    Args:
        header: of the GGUF file.
        file_size: bytes of the file.
        context: tokens of prompt and answer together; 0 for what `context_by_default` gives.
    """
    context = context or context_by_default(header)
    return file_size + _cache(header, context) + _buffers(header, context) + _RUNTIME


def context_by_default(header: GGUFHeader) -> int:
    """Tokens of context where nobody asks for a number: what the model was trained for, at most 8192."""
    trained = _number(header, "context_length")
    return min(trained, LARGEST_DEFAULT_CONTEXT) if trained else LARGEST_DEFAULT_CONTEXT


def available() -> int:
    """Return the bytes of memory that a new model may take: what is free, and what a container's limit leaves."""
    import psutil

    return min([int(psutil.virtual_memory().available), *_left_by_groups()])


def total() -> int:
    """Return the bytes of memory of this computer, or of the container this runs in."""
    import psutil

    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _groups())])


def check(name: str, needed: int) -> None:
    """Raise `NotEnoughMemory` when more is needed than is free. EVENHAND_SKIP_MEMORY_CHECK=1 lets everything pass.

    Args:
        name: of the model, for the sentence.
        needed: bytes.
    """
    if os.environ.get(SKIP_VARIABLE, "").strip() not in ("", "0"):
        return
    free = available()
    if needed > free:
        raise NotEnoughMemory(
            f"{name} needs about {gigabytes(needed)} of memory, {gigabytes(free)} are free.",
            "Close other programs or choose a smaller model.",
        )


def check_checkpoint(folder: Path) -> None:
    """Check a Hugging Face folder: its safetensors files, kept as float32 where there is no GPU.

    A name on the Hub is not a folder; nothing is known of it before it is downloaded, and nothing is checked. Neither
    is a model that a GPU will hold.
    """
    size = _weights(folder)
    if size:
        check(folder.name, size)


def gigabytes(size: int) -> str:
    """Write bytes for people: ``5.4 GB``, ``27 MB``, ``0.4 MB``."""
    if size >= 100_000_000:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 10_000_000 else f"{size / 1e6:.1f} MB"


def _cache(header: GGUFHeader, context: int) -> int:
    """Keys and values of all layers: their widths are read off the tensors that make them, layer by layer."""
    padded = -(-context // 256) * 256
    width = sum(_width(header, layer, part) for layer in _layers(header) for part in ("k", "v"))
    return padded * width * _CACHE_BYTES


def _width(header: GGUFHeader, layer: int, part: str) -> int:
    """Numbers per token in one half of a layer's cache."""
    shape = header.tensors.get(f"blk.{layer}.attn_{part}.weight")
    if shape is not None:
        return shape[-1]
    if f"blk.{layer}.attn_qkv.weight" not in header.tensors and f"blk.{layer}.attn_kv_b.weight" not in header.tensors:
        return 0  # a layer without attention
    heads = _number(header, "attention.head_count") or 1
    length = _number(header, "attention.key_length" if part == "k" else "attention.value_length")
    length = length or _number(header, "embedding_length") // heads
    return min(_number(header, "attention.head_count_kv") or heads, heads) * length


def _buffers(header: GGUFHeader, context: int) -> int:
    """What one batch needs on its way through a layer, and the logits of the last token.

    Attention runs without its table of scores (flash attention), except where a model limits them.
    """
    batch = min(_BATCH, context)
    vocabulary = int(header.metadata.get("tokenizer.ggml.tokens") or 0)
    numbers = 3 * _number(header, "feed_forward_length") + 8 * _number(header, "embedding_length")
    if f"{header.architecture}.attn_logit_softcapping" in header.metadata:
        numbers += _number(header, "attention.head_count") * context
    return 4 * (batch * numbers + vocabulary)


def _layers(header: GGUFHeader) -> range:
    return range(_number(header, "block_count"))


def _number(header: GGUFHeader, key: str) -> int:
    """A number of the header; 0 where it is missing. Of a list, one per layer, the header keeps only the length."""
    value = header.metadata.get(f"{header.architecture}.{key}")
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _weights(folder: Path) -> int:
    """Bytes that a checkpoint takes in memory on the CPU; 0 for no folder, or where a GPU holds it."""
    try:
        files = [path for path in folder.iterdir() if path.suffix == ".safetensors"]
        sizes = sum(path.stat().st_size for path in files)
    except (OSError, ValueError):
        return 0
    if not files or _has_gpu():
        return 0
    return sizes * (2 if _is_half(files[0]) else 1)


def _is_half(path: Path) -> bool:
    """Whether a safetensors file keeps its numbers in two bytes; on the CPU each takes four."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = file.read(min(size, 1 << 20))
    return header.count(b'"BF16"') + header.count(b'"F16"') > header.count(b'"F32"')


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def _left_by_groups() -> list[int]:
    """Bytes that each control group above this process still allows."""
    return [max(limit - used, 0) for limit, used in _groups()]


def _groups() -> list[tuple[int, int]]:
    """Limit and use, in bytes, of each control group of Linux above this process that has a limit on memory."""
    found = []
    for folder in _group_folders():
        for limit_name, use_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = _integer(folder / limit_name), _integer(folder / use_name)
            if limit is not None and used is not None and limit < 1 << 60:
                found.append((limit, used - _reclaimable(folder)))
    return found


def _group_folders() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    folders: list[Path] = [root, root / "memory"]  # inside a container, the root is the container's own
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return folders
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds in ("", "memory"):
            inside = (root / "memory" if kinds else root) / path.lstrip("/")
            while inside not in folders and inside.is_relative_to(root) and inside != root:
                folders.append(inside)
                inside = inside.parent
    return folders


def _reclaimable(folder: Path) -> int:
    """Bytes of cached files that the system gives back when memory is asked for."""
    try:
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return 0
    values = dict(line.split(" ", 1) for line in lines if " " in line)
    return int(values.get("inactive_file") or values.get("total_inactive_file") or 0)


def _integer(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None

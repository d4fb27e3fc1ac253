"""Quantising a GGUF file by llama.cpp's own function, in a process of its own that can be stopped at any moment."""

import ctypes
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from mediator.errors import EvenhandError, InputError, MissingExtraError
from mediator.schema import Record
from mediator.writers.gguf_file import check_gguf_file
from trainer.export.worker import Message, WorkerFailed, serve, threads, work

Kind = Literal["f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What a file can be quantised to, the most exact first."""

# The values of llama.cpp's `enum llama_ftype`, which are written into files and therefore never change.
_FILE_TYPES: Mapping[str, int] = {"f16": 1, "q8_0": 7, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18}

_BUFFER = 256 << 20  # bytes of a tensor that llama.cpp works on at once, instead of 8 GiB

# llama.cpp says "[  3/ 201] blk.0.attn_q.weight - [...], type = f32, converting to q4_K .. size = ..." in pieces.
_TENSOR = re.compile(r"\[\s*\d+/\s*\d+\] (\S+)\s+-.*type =\s*(\w+)")
_CONVERTED = re.compile(r"converting to (\w+)")
_FALLBACK = re.compile(r"WARNING: (\d+) of \d+ tensor\(s\) required fallback quantization")
_REASON = re.compile(r"failed to quantize: (.+)", re.DOTALL)


class QuantisingFailed(EvenhandError):
    """llama.cpp could not quantise a file."""


class Quantised(Record):
    """What the quantiser made of a file.

    Attributes:
        tensors: in the file.
        types: how many of them are stored as what, by llama.cpp's names, e.g. ``{"q4_K": 12, "q6_K": 3, "f32": 9}``.
        fallbacks: tensors whose rows the type's blocks of 256 do not divide; llama.cpp stored them in one with blocks
            of 32, a little larger and no less exact.
    """

    tensors: int
    types: dict[str, int]
    fallbacks: int


def quantise(
    source: Path,
    target: Path,
    kind: Kind,
    *,
    advance: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Quantised:
    """Write a quantised copy of a GGUF file.

    It is written as ``NAME.part`` and renamed when it is whole; a failure leaves an older ``target`` as it was, and
    nothing else.

    Args:
        source: a GGUF file in f32, f16 or bf16.
        target: the file to write.
        kind: one of `KINDS`.
        advance: is told (weights done, weights in all); may raise, which ends the work.
        should_stop: is asked ten times a second.

    Raises:
        InputError: an unknown kind.
        ModelFileError: the source is missing or damaged.
        QuantisingFailed: llama.cpp cannot do it, or crashed over it.
        Stopped: ``should_stop`` said so.
    """
    if kind not in KINDS:
        raise InputError(f"Unknown kind of quantisation {kind!r}.", f"Use one of {', '.join(KINDS)}.")
    sizes = {name: math.prod(shape) for name, shape in check_gguf_file(source).tensors.items()}
    part = target.with_name(target.name + ".part")
    begun: list[str] = []

    def hear(message: Message) -> None:
        done = sum(sizes.get(name, 0) for name in begun)
        begun.append(str(message["tensor"]))
        if advance is not None:
            advance(done, sum(sizes.values()))

    request = {"source": str(source), "target": str(part), "kind": kind, "threads": threads()}
    try:
        answer = work(__name__, request, what="llama.cpp's quantiser", hear=hear, should_stop=should_stop)
        check_gguf_file(part)
        if advance is not None:
            advance(sum(sizes.values()), sum(sizes.values()))
        os.replace(part, target)
    except WorkerFailed as error:
        raise QuantisingFailed(f"{source.name} cannot be made {kind}: {error.message}", error.hint) from error
    finally:
        part.unlink(missing_ok=True)
    return Quantised.model_validate(answer)


class _Listener:
    """Reads llama.cpp's log: how far it is, what became of each tensor, and why it failed."""

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self._tell = tell
        self._name = ""
        self.types: dict[str, str] = {}
        self.fallbacks = 0
        self.reason = ""

    def hear(self, line: str) -> None:
        """Take in one piece of the log."""
        if found := _TENSOR.search(line):
            self._name = found[1]
            self.types[self._name] = found[2]
            self._tell({"tensor": self._name})
        if found := _CONVERTED.search(line):
            self.types[self._name] = found[1]
        if found := _FALLBACK.search(line):
            self.fallbacks = int(found[1])
        if found := _REASON.search(line):
            self.reason = found[1].strip()


def _quantise_here(request: Message, tell: Callable[[Message], None]) -> Message:
    """Do what `quantise` asks for, in this process."""
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingExtraError(
            f"The library that quantises could not be loaded: {error}.", "Run `pip install llama-cpp-python`."
        ) from error
    listener = _Listener(tell)

    def receive(level: int, text: bytes, _data: object) -> None:
        listener.hear(text.decode("utf-8", "replace"))

    # Not mediator.writers.llama_library: its log is for people; this one is what we know of the progress.
    callback: Any = llama_cpp.llama_log_callback(receive)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = _FILE_TYPES[request["kind"]]
    parameters.nthread = int(request["threads"])
    if hasattr(parameters, "max_buf_size"):  # older ones read a whole tensor at once
        parameters.max_buf_size = _BUFFER
    source, target = os.fsencode(request["source"]), os.fsencode(request["target"])
    if llama_cpp.llama_model_quantize(source, target, ctypes.byref(parameters)) != 0:
        raise QuantisingFailed(f"llama.cpp says: {listener.reason or 'nothing'}.")
    counted = dict(sorted(Counter(listener.types.values()).items()))
    return {"tensors": len(listener.types), "types": counted, "fallbacks": listener.fallbacks}


if __name__ == "__main__":
    sys.exit(serve(_quantise_here))

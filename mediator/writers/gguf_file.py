"""Reading the header of a GGUF file, to refuse a damaged one in a sentence before llama.cpp dies of it."""

import math
import mmap
import re
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mediator.errors import ModelFileError

# Bytes per scalar and struct code, by GGUF value type (8 is a string, 9 an array).
_SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9

# (elements per block, bytes per block) by ggml tensor type, from ggml's type traits. A type that is not here belongs to
# a newer llama.cpp; its size is then not checked.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
_NO_WEIGHTS = frozenset((24, 25, 26, 27, 28))  # whole numbers, and doubles
_ADDED = re.compile(r"(norm\w*\.weight|\.bias)$")  # llama.cpp adds and multiplies these in float32 only
_WEIGHTS = re.compile(r"(attn|norm|embd|output|ffn_(gate|up|down))\w*\.(weight|bias)$")
# Least and most of the numbers that llama.cpp takes on trust, by key behind the architecture's name.
_RANGES = {
    "block_count": (1, 512),  # LLAMA_MAX_LAYERS
    "context_length": (1, 1 << 31),
    "embedding_length": (1, 1 << 20),
    "attention.head_count": (0, 1 << 12),  # models without attention state 0
}
# What llama.cpp asserts only when it computes, of these and their like: every number of a head is rotated.
_WHOLE_HEADS = frozenset(
    ("llama", "mistral3", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3vl", "smollm3", "granite", "olmo2")
)
_POOLINGS = range(5)  # none, mean, first, last, rank: llama.cpp knows no others
# Where WordPiece texts begin and end: the key, and what llama.cpp takes where it is absent.
_WORD_PIECE_ENDS = {"tokenizer.ggml.bos_token_id": 101, "tokenizer.ggml.seperator_token_id": 102}
_LONGEST_NAME = 64  # GGML_MAX_NAME
_MOST_DIMENSIONS = 4  # GGML_MAX_DIMS


@dataclass(frozen=True)
class GGUFHeader:
    """What a GGUF file says about itself.

    Attributes:
        metadata: the key-value pairs; an array is represented by its length.
        tensors: name -> shape, fastest dimension first, as stored.
    """

    metadata: dict[str, Any]
    tensors: dict[str, tuple[int, ...]]

    @property
    def architecture(self) -> str:
        """E.g. ``llama``, ``bert``; empty when the file does not say."""
        return str(self.metadata.get("general.architecture", ""))


class _Damaged(Exception):
    """Internal: why the bytes cannot be a whole GGUF file."""


def check_gguf_file(path: Path) -> GGUFHeader:
    """Read the whole header and compare its tensor table with the size of the file.

    Raises `ModelFileError`, one sentence and a hint, when the file is missing, no GGUF file, or damaged.
    """
    download = "Download it again, or choose another file."
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise ModelFileError(f"{path} is a folder, not a GGUF file.", "Name the .gguf file inside it.")
        if not stat.S_ISREG(kind):  # opening a pipe would wait for somebody to write into it
            raise ModelFileError(f"{path} is a device, a pipe or a socket.", "Name a .gguf file.")
        with path.open("rb") as file:
            start = file.read(4)
            if start != b"GGUF":
                raise ModelFileError(f"{path} is not a GGUF file.", _other_kind(start))
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(data).header()
    except FileNotFoundError:
        raise ModelFileError(f"There is no file {path}.", "Check the path.") from None
    except ValueError:
        raise ModelFileError(f"{str(path)!r} cannot be the name of a file.", "It holds a NUL character.") from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}.", "Check its permissions.") from error
    except _Damaged as reason:
        raise ModelFileError(f"{path} is damaged: {reason}.", download) from None


def _other_kind(start: bytes) -> str:
    if start == b"FUGG":
        return "It was written for a big-endian machine; convert it again on this one."
    if start in (b"lmgg", b"tjgg", b"fmgg", b"ggjt", b"ggml"):
        return "It is a model of an older llama.cpp; convert the original model again."
    if start[:2] == b"PK":
        return "It is a zip or PyTorch file; for a Hugging Face checkpoint use `hf:FOLDER`."
    return "Choose a file that ends in .gguf; for a Hugging Face checkpoint use `hf:FOLDER`."


class _Reader:
    """A cursor over the mapped file that never reads past its end."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._size = len(data)
        self._at = 4
        self._vocabulary = (0, 0)  # where its bytes start and end

    def header(self) -> GGUFHeader:
        version = self._scalar("I")
        if version not in (2, 3):
            raise _Damaged(f"it claims GGUF version {version}, and 2 and 3 are known")
        tensor_count, pair_count = self._scalar("Q"), self._scalar("Q")
        metadata: dict[str, Any] = {}
        for _ in range(pair_count):
            key = self._string("a metadata key")
            if key in metadata:
                raise _Damaged(f"the metadata key {key!r} comes twice")
            start = self._at
            metadata[key] = self._value(self._scalar("I"), key)
            if key == "tokenizer.ggml.tokens":
                self._vocabulary = (start, self._at)
        tensors, ends = self._tensor_table(tensor_count)
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise _Damaged(f"its alignment of {alignment} is no power of two")
        start = -(-self._at // alignment) * alignment
        for name, (offset, size) in ends.items():
            if offset % alignment:
                raise _Damaged(f"the tensor {name!r} is not aligned")
            if start + offset + size > self._size:
                missing = start + offset + size - self._size
                raise _Damaged(f"the tensor {name!r} ends {missing:,} bytes after the end of the file")
        _check_numbers(metadata, tensors)
        _check_heads(metadata, tensors)
        _check_vocabulary(metadata)
        self._check_tokens()
        self._check_bytes(metadata)
        return GGUFHeader(metadata, tensors)

    def _tensor_table(self, count: int) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, int]]]:
        shapes: dict[str, tuple[int, ...]] = {}
        places: dict[str, tuple[int, int]] = {}
        for _ in range(count):
            name = self._string("a tensor's name")
            dimensions = self._scalar("I")
            if len(name) >= _LONGEST_NAME or name in shapes or not 1 <= dimensions <= _MOST_DIMENSIONS:
                raise _Damaged("its table of tensors makes no sense")
            shape = tuple(self._scalar("Q") for _ in range(dimensions))
            kind, offset = self._scalar("I"), self._scalar("Q")
            elements = 1
            for length in shape:
                elements *= length
            if elements == 0 or elements >= 1 << 63:
                raise _Damaged(f"the tensor {name!r} has the impossible shape {shape}")
            block, size = _BLOCKS.get(kind, (1, 0))
            added = dimensions == 1 and _ADDED.search(name) and kind != 0 and kind in _BLOCKS
            if added or (dimensions == 1 and block > 1) or (kind in _NO_WEIGHTS and _WEIGHTS.search(name)):
                raise _Damaged(f"the tensor {name!r} is stored in a way that nothing can be computed with")
            if shape[0] % block:
                raise _Damaged(f"the rows of tensor {name!r} are no whole number of blocks")
            shapes[name], places[name] = shape, (offset, elements // block * size)
        return shapes, places

    def _check_tokens(self) -> None:
        """All tokens must differ, as far as C reads them (to the first NUL): llama.cpp ends the process otherwise."""
        start, end = self._vocabulary
        data, at, unpack = self._data, start + 16, struct.Struct("<Q").unpack_from
        seen: set[bytes] = set()
        number = 0
        while at < end:
            length = unpack(data, at)[0]
            token = data[at + 8 : at + 8 + length].partition(b"\0")[0]
            seen.add(token or b"[EMPTY_%d]" % number)  # as llama.cpp renames it
            at += 8 + length
            number += 1
        if len(seen) < number:
            raise _Damaged(f"{number - len(seen)} of the {number:,} tokens in its vocabulary are there twice")

    def _check_bytes(self, metadata: dict[str, Any]) -> None:
        """A SentencePiece vocabulary must spell every byte: llama.cpp ends the process over one that is missing."""
        if metadata.get("tokenizer.ggml.model") != "llama":
            return
        for byte in range(256):
            spellings = (f"<0x{byte:02X}>".encode(), bytes([byte]))
            if all(self._data.find(struct.pack("<Q", len(text)) + text, *self._vocabulary) < 0 for text in spellings):
                raise _Damaged(f"its vocabulary cannot spell the byte {byte}")

    def _scalar(self, code: str) -> Any:
        size = struct.calcsize("<" + code)
        return struct.unpack("<" + code, self._take(size))[0]

    def _take(self, size: int) -> bytes:
        if self._at + size > self._size:
            raise _Damaged("it ends in the middle of its header")
        self._at += size
        return self._data[self._at - size : self._at]

    def _string(self, what: str) -> str:
        try:
            return self._take(self._scalar("Q")).decode("utf-8")
        except UnicodeDecodeError:
            raise _Damaged(f"{what} is no text") from None

    def _value(self, kind: int, key: str) -> Any:
        if kind in _SCALARS:
            return self._scalar(_SCALARS[kind])
        if kind == _STRING:
            # Values may hold any bytes: a vocabulary of bytes does.
            return self._take(self._scalar("Q")).decode("utf-8", "replace")
        if kind == _ARRAY:
            return self._skip_array(key)
        raise _Damaged(f"the metadata {key!r} has the unknown type {kind}")

    def _skip_array(self, key: str) -> int:
        kind, count = self._scalar("I"), self._scalar("Q")
        if kind in _SCALARS:
            self._take_long(struct.calcsize("<" + _SCALARS[kind]) * count)
        elif kind == _STRING:
            # Vocabularies hold hundreds of thousands of strings: a plain loop over the map, nothing called per string
            # but one unpack.
            data, size, at, unpack = self._data, self._size, self._at, struct.Struct("<Q").unpack_from
            for _ in range(count):
                if at + 8 > size:
                    raise _Damaged("it ends in the middle of its header")
                at += 8 + unpack(data, at)[0]
            self._at = at
            self._take_long(0)
        else:
            raise _Damaged(f"the metadata {key!r} is an array of the unknown type {kind}")
        return int(count)

    def _take_long(self, size: int) -> None:
        self._at += size
        if self._at > self._size:
            raise _Damaged("it ends in the middle of its header")


def _check_heads(metadata: dict[str, Any], tensors: dict[str, tuple[int, ...]]) -> None:
    """Compare the sizes of the attention's heads with each other and with the tensors of the first layer."""
    architecture = metadata.get("general.architecture")
    pooling = metadata.get(f"{architecture}.pooling_type", 0)
    if pooling not in _POOLINGS:
        raise _Damaged(f"its pooling type is {pooling}")
    if architecture not in _WHOLE_HEADS:
        return
    width, heads = (metadata.get(f"{architecture}.{key}") for key in ("embedding_length", "attention.head_count"))
    shape = tensors.get("blk.0.attn_q.weight", ())
    # A model whose layers differ has arrays here.
    if not isinstance(width, int) or not isinstance(heads, int) or heads < 1:
        return
    size = metadata.get(f"{architecture}.attention.key_length", width // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        other = metadata.get(f"{architecture}.{key}", size)
        if other != size:
            raise _Damaged(
                f"its {key.replace('_', ' ').replace('.', ' ')} is {other} and its heads have {size} numbers"
            )
    if len(shape) == 2 and shape[1] != heads * size:
        raise _Damaged(f"its {heads} heads of {size} numbers do not fit the tensor 'blk.0.attn_q.weight' of {shape}")


def _check_vocabulary(metadata: dict[str, Any]) -> None:
    """Refuse a vocabulary that llama.cpp would read beyond its end, or assert something of in the middle of a text."""
    count = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(count, int):
        return
    if metadata.get("tokenizer.ggml.model") in ("none", "no_vocab"):
        raise _Damaged("it has tokens and no tokenizer")
    for key in ("scores", "token_type"):
        length = metadata.get(f"tokenizer.ggml.{key}", count)
        if isinstance(length, int) and length < count:
            raise _Damaged(f"it has {count:,} tokens and {key.replace('_', ' ')}s for {length:,}")
    if metadata.get("tokenizer.ggml.model") == "bert":
        for key, otherwise in _WORD_PIECE_ENDS.items():
            token = metadata.get(key, otherwise)
            if not isinstance(token, int) or not 0 <= token < count:
                raise _Damaged(f"its {key.rpartition('.')[2].replace('_', ' ')} is {token}, of {count:,} tokens")


def _check_numbers(metadata: dict[str, Any], tensors: dict[str, tuple[int, ...]]) -> None:
    """Refuse what llama.cpp would divide by, or index with, unchecked."""
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise _Damaged("it does not name its architecture")
    for key, (least, most) in _RANGES.items():
        value = metadata.get(f"{architecture}.{key}")
        if isinstance(value, int) and not least <= value <= most:
            raise _Damaged(f"its {key.replace('_', ' ').replace('.', ' ')} is {value}")
    for key, value in metadata.items():
        if isinstance(value, float) and not (math.isfinite(value) and ("epsilon" not in key or value >= 0)):
            raise _Damaged(f"its {key} is {value}")
    if not tensors and not metadata.get("split.count"):
        raise _Damaged("it holds no tensors")

"""What every model family's export shares: reading a Hugging Face checkpoint and writing a GGUF file, by tensor."""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mediator.errors import InputError, MissingExtraError, ModelFileError

if TYPE_CHECKING:
    from gguf import GGUFWriter

Precision = Literal["f32", "f16", "q8_0"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# bfloat16 has no numpy type: its 16 bits are read as integers and widened to float32 in `Tensor.rows`.
_STORED_TYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_FLOATING = ("F64", "F32", "F16", "BF16")
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format itself
_BLOCK_ELEMENTS = 1 << 22  # 16 MiB of float32 are converted at a time


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint, still on disk.

    Attributes:
        name: as the checkpoint calls it.
        shape: rows first; a scalar has the shape ``()``.
        stored_as: the safetensors type name, e.g. ``BF16``.
        path: the file that holds it.
        offset: where its bytes begin in that file.
    """

    name: str
    shape: tuple[int, ...]
    stored_as: str
    path: Path
    offset: int

    @property
    def is_floating(self) -> bool:
        """Whether this is a weight; integer tensors are buffers such as position ids."""
        return self.stored_as in _FLOATING

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Rows ``start`` to ``stop`` of the first dimension as float32; only those are read from disk."""
        stored = np.memmap(
            self.path, dtype=_STORED_TYPES[self.stored_as], mode="r", offset=self.offset, shape=self.shape or (1,)
        )
        block = stored[start:stop]
        if self.stored_as == "BF16":
            return (block.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(block, dtype=np.float32)


class Checkpoint:
    """A Hugging Face checkpoint directory: configuration, tokenizer files and memory-mapped safetensors.

    Nothing is loaded until it is asked for, so opening costs the same for 20 MB and for 16 GB. Every tensor's place is
    checked against the size of its file on opening, so that a truncated download fails here with its name.

    Raises:
        ModelFileError: the directory has no ``config.json`` or no safetensors, or a file is damaged or cut short.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        if not self.directory.is_dir():
            raise ModelFileError(
                f"There is no checkpoint directory {self.directory}.",
                "Give the folder that holds config.json and the safetensors files.",
            )
        self.config: dict[str, Any] = self.json("config.json")
        self.tensors: dict[str, Tensor] = {}
        for path in self._weight_files():
            for tensor in read_safetensors_index(path):
                self.tensors[tensor.name] = tensor

    @property
    def model_type(self) -> str:
        """The model family as ``config.json`` names it, e.g. ``bert`` or ``llama``."""
        return str(self.config.get("model_type", ""))

    def json(self, *name: str) -> dict[str, Any]:
        """Read a JSON object that must be there, e.g. ``json("1_Pooling", "config.json")``."""
        path = self.directory.joinpath(*name)
        if not path.is_file():
            raise ModelFileError(f"{path} is missing.", "Save the model and its tokenizer into one directory.")
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ModelFileError(f"{path} is not valid JSON: {error}.", "Fetch the file again.") from error
        if not isinstance(value, dict):
            raise ModelFileError(f"{path} holds no JSON object.", "Fetch the file again.")
        return value

    def has(self, *name: str) -> bool:
        """Whether the directory has this file."""
        return self.directory.joinpath(*name).is_file()

    def require(self, key: str) -> Any:
        """A value that ``config.json`` must have."""
        if self.config.get(key) is None:
            raise ModelFileError(f"{self.directory / 'config.json'} has no `{key}`.", "This is not a complete model.")
        return self.config[key]

    @cached_property
    def tokenizer(self) -> dict[str, Any]:
        """The fast tokenizer's description, ``tokenizer.json``."""
        return self.json("tokenizer.json")

    def _weight_files(self) -> list[Path]:
        if self.has("model.safetensors.index.json"):
            weights = self.json("model.safetensors.index.json").get("weight_map", {})
            names = sorted(set(weights.values()))
            missing = [name for name in names if not self.has(name)]
            if missing:
                raise ModelFileError(
                    f"{self.directory} lacks {', '.join(missing)}, which its index names.", "Fetch the missing files."
                )
            return [self.directory / name for name in names]
        if self.has("model.safetensors"):
            return [self.directory / "model.safetensors"]
        raise ModelFileError(
            f"{self.directory} has no model.safetensors.",
            "Save the model with save_pretrained(), which writes safetensors; an adapter must be merged first.",
        )


def read_safetensors_index(path: Path) -> list[Tensor]:
    """List the tensors of one safetensors file without reading their data.

    The format: 8 bytes little-endian header length, a JSON header, then the data that the header's offsets point into.

    Raises:
        ModelFileError: the file is no safetensors file, or ends before the data that its header announces.
    """
    size = path.stat().st_size
    damaged = f"{path} is damaged or cut short"
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
            raise ModelFileError(
                f"{damaged}: the header should take {length:,} bytes, the file has {size:,}.", "Fetch the file again."
            )
        try:
            header = json.loads(file.read(length))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ModelFileError(f"{damaged}: its header is not JSON.", "Fetch the file again.") from error
    tensors = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        shape, (begin, end) = tuple(int(extent) for extent in entry["shape"]), entry["data_offsets"]
        if entry["dtype"] not in _STORED_TYPES:
            raise ModelFileError(
                f"{path}: tensor {name} is stored as {entry['dtype']}, which cannot be exported.",
                "Save the model in float32, float16 or bfloat16.",
            )
        if 8 + length + end > size:
            raise ModelFileError(
                f"{damaged}: tensor {name} should end at byte {8 + length + end:,}, the file has {size:,}.",
                "Fetch the file again.",
            )
        if end - begin != math.prod(shape) * _STORED_TYPES[entry["dtype"]].itemsize:
            raise ModelFileError(
                f"{damaged}: tensor {name} has {end - begin:,} bytes, which is not {entry['dtype']} of shape {shape}.",
                "Fetch the file again.",
            )
        tensors.append(Tensor(name, shape, entry["dtype"], path, 8 + length + begin))
    return tensors


@dataclass(frozen=True)
class Output:
    """One tensor to be written.

    Attributes:
        name: as llama.cpp calls it, e.g. ``blk.0.attn_q.weight``.
        tensor: where the values come from.
        exact: keep float32 at every precision: llama.cpp reads these without a conversion (norms, biases, positions).
    """

    name: str
    tensor: Tensor
    exact: bool = False

    def stored_as(self, precision: Precision) -> Precision:
        """The precision this tensor gets in a file of ``precision``; rows that no 32-block divides stay float16."""
        if self.exact or len(self.tensor.shape) < 2:
            return "f32"
        if precision == "q8_0" and self.tensor.shape[-1] % 32:
            return "f16"
        return precision


def write_gguf(
    target: Path,
    architecture: str,
    precision: Precision,
    describe: Callable[["GGUFWriter"], None],
    outputs: Iterable[Output],
) -> None:
    """Write a GGUF file, one tensor at a time, as ``NAME.part``, and rename it when it is whole.

    Memory: the converted form of one tensor and 16 MiB. A failure leaves an older ``target`` as it was.

    Args:
        target: the file to write; its directory is made where needed.
        architecture: llama.cpp's name of the family.
        precision: ``f32``, ``f16`` or ``q8_0`` (blocks of 32 eight-bit integers with one float16 scale, rounded as
            llama.cpp's reference quantiser does).
        describe: adds the family's metadata and vocabulary to the writer.
        outputs: the tensors, in file order.

    Raises:
        InputError: an unknown precision.
        MissingExtraError: the ``gguf`` package is not installed.
    """
    if precision not in PRECISIONS:
        raise InputError(f"Unknown precision {precision!r}.", f"Use one of {', '.join(PRECISIONS)}.")
    gguf = _gguf()
    kinds = {kind: getattr(gguf.GGMLQuantizationType, kind.upper()) for kind in PRECISIONS}
    file_types = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}
    outputs = list(outputs)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    writer = gguf.GGUFWriter(part, architecture)
    try:
        describe(writer)
        writer.add_file_type(getattr(gguf.LlamaFileType, file_types[precision]))
        if precision == "q8_0":
            writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        for output in outputs:
            shape, kind = output.tensor.shape, kinds[output.stored_as(precision)]
            row_bytes = gguf.quant_shape_to_byte_shape(shape, kind)[-1] if shape else 4
            writer.add_tensor_info(
                output.name, shape, np.dtype(np.float32), math.prod(shape[:-1]) * row_bytes, raw_dtype=kind
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for output in outputs:
            writer.write_tensor_data(_converted(output.tensor, kinds[output.stored_as(precision)]))
        writer.close()
        os.replace(part, target)
    finally:
        writer.close()
        part.unlink(missing_ok=True)


def _converted(tensor: Tensor, kind: Any) -> NDArray[Any]:
    """The tensor in its written form, converted by blocks of rows so that no whole float32 copy exists."""
    gguf = _gguf()
    if len(tensor.shape) < 2:
        return np.asarray(gguf.quantize(tensor.rows(), kind))
    count, row_elements = tensor.shape[0], math.prod(tensor.shape[1:])
    step = max(1, _BLOCK_ELEMENTS // row_elements)
    result: NDArray[Any] | None = None
    for start in range(0, count, step):
        block = gguf.quantize(tensor.rows(start, start + step), kind)
        if result is None:
            result = np.empty((count, *block.shape[1:]), dtype=block.dtype)
        result[start : start + len(block)] = block
    if result is None:
        raise ModelFileError(f"{tensor.path}: tensor {tensor.name} is empty.", "This is not a complete model.")
    return result


def _gguf() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError(
            "Writing GGUF files needs the `gguf` package.", "Install it with: pip install 'evenhand[train]'"
        ) from error
    return gguf

"""The tensors of a checkpoint, still on disk: the tables of safetensors files, and rows read a block at a time."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mediator.errors import ModelFileError

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


class Values(Protocol):
    """What can be written as one tensor of a GGUF file, a block of rows at a time."""

    @property
    def name(self) -> str:
        """As the checkpoint calls it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first; a scalar has the shape ``()``."""

    @property
    def where(self) -> str:
        """The file and the name, for a message."""

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Rows ``start`` to ``stop`` of the first dimension as float32."""


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

    @property
    def where(self) -> str:
        """The file and the name, for a message."""
        return f"{self.path}: tensor {self.name}"

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Rows ``start`` to ``stop`` of the first dimension as float32; only those are read from disk."""
        stored = np.memmap(
            self.path, dtype=_STORED_TYPES[self.stored_as], mode="r", offset=self.offset, shape=self.shape or (1,)
        )
        block = stored[start:stop]
        if self.stored_as == "BF16":
            return (block.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(block, dtype=np.float32)


@dataclass(frozen=True)
class Computed:
    """A tensor that a checkpoint has no file for: its configuration implies it.

    Attributes:
        name: what it is, for a message.
        values: all of it, float32.
    """

    name: str
    values: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first."""
        return self.values.shape

    @property
    def where(self) -> str:
        """The name, for a message."""
        return self.name

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Rows ``start`` to ``stop`` of the first dimension."""
        return self.values[start:stop]


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
        except (ValueError, RecursionError) as error:
            raise ModelFileError(f"{damaged}: its header is not JSON.", "Fetch the file again.") from error
    if not isinstance(header, dict):
        raise ModelFileError(f"{damaged}: its header is no JSON object.", "Fetch the file again.")
    tensors = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            shape = tuple(int(extent) for extent in entry["shape"])
            begin, end = (int(offset) for offset in entry["data_offsets"])
            stored_as = str(entry["dtype"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{damaged}: its entry for {name} is not whole.", "Fetch the file again.") from error
        if stored_as not in _STORED_TYPES:
            raise ModelFileError(
                f"{path}: tensor {name} is stored as {stored_as}, which cannot be exported.",
                "Save the model in float32, float16 or bfloat16.",
            )
        if begin < 0 or 8 + length + end > size:
            raise ModelFileError(
                f"{damaged}: tensor {name} should end at byte {8 + length + end:,}, the file has {size:,}.",
                "Fetch the file again.",
            )
        if end - begin != math.prod(shape) * _STORED_TYPES[stored_as].itemsize:
            raise ModelFileError(
                f"{damaged}: tensor {name} has {end - begin:,} bytes, which is not {stored_as} of shape {shape}.",
                "Fetch the file again.",
            )
        tensors.append(Tensor(name, shape, stored_as, path, 8 + length + begin))
    return tensors

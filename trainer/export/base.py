"""What every model family's export shares: reading a Hugging Face checkpoint and writing a GGUF file, by tensor."""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mediator.errors import InputError, MissingExtraError, ModelFileError
from trainer.export.tensors import Tensor, Values, read_safetensors_index

if TYPE_CHECKING:
    from gguf import GGUFWriter

__all__ = [
    "EMBEDDING", "HEAD", "PRECISIONS", "Advance", "Checkpoint", "Output", "Precision", "Tensor", "positive_number",
    "read_json_object", "read_safetensors_index", "write_gguf", "written_bytes",
]  # fmt: skip

Precision = Literal["f32", "f16", "bf16", "q8_0"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Advance = Callable[[int, int], None]
"""Told how many bytes of tensors are written, of how many; may raise, which cancels and leaves no file."""

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
"""What transformers calls the embedding table and the output head of each of our decoders."""

_FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
_LARGEST_FLOAT = 3.4e38  # that GGUF has room for: numbers of the metadata are float32
_BLOCK_ELEMENTS = 1 << 22  # 16 MiB of float32 are converted at a time
# Above these, float16 is infinite: of the values themselves, or of the scale of a block, which is its largest / 127.
_LARGEST = {"f16": 65504.0, "q8_0": 127 * 65504.0}


class Checkpoint:
    """A Hugging Face checkpoint directory: configuration, tokenizer files and memory-mapped safetensors.

    Nothing is loaded until it is asked for, so opening costs the same for 20 MB and for 16 GB. Every tensor's place is
    checked against the size of its file on opening, so that a truncated download fails here with its name.

    Raises:
        ModelFileError: the directory has no ``config.json`` or no safetensors, a file is damaged or cut short, or the
            weights are quantised already.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        if not self.directory.is_dir():
            raise ModelFileError(
                f"There is no checkpoint directory {self.directory}.",
                "Give the folder that holds config.json and the safetensors files.",
            )
        if self.has("adapter_config.json") and not self.has("config.json"):
            base = self.json("adapter_config.json").get("base_model_name_or_path") or "the model it was trained on"
            raise ModelFileError(
                f"{self.directory} holds an adapter, not a model.",
                f"Name the checkpoint it was trained on ({base}), and this folder as the adapter.",
            )
        self.config: dict[str, Any] = self.json("config.json")
        quantised = self.config.get("quantization_config")
        if quantised:
            method = quantised.get("quant_method") if isinstance(quantised, dict) else None
            raise ModelFileError(
                f"{self.directory} is quantised already ({method or 'config.json does not say how'}).",
                "Name the checkpoint that it was quantised from.",
            )
        self.tensors: dict[str, Tensor] = {}
        for path in self._weight_files():
            for tensor in read_safetensors_index(path):
                self.tensors[tensor.name] = tensor

    @property
    def model_type(self) -> str:
        """The model family as ``config.json`` names it, e.g. ``bert`` or ``llama``."""
        return str(self.config.get("model_type", ""))

    def path(self, *name: str) -> Path:
        """Where a file of the checkpoint lies, or would lie."""
        return self.directory.joinpath(*name)

    def json(self, *name: str) -> dict[str, Any]:
        """Read a JSON object that must be there, e.g. ``json("1_Pooling", "config.json")``."""
        return read_json_object(self.path(*name))

    def has(self, *name: str) -> bool:
        """Whether the directory has this file."""
        return self.path(*name).is_file()

    def require(self, key: str) -> Any:
        """A value that ``config.json`` must have."""
        if self.config.get(key) is None:
            raise ModelFileError(f"{self.directory / 'config.json'} has no `{key}`.", "This is not a complete model.")
        return self.config[key]

    def number(self, key: str) -> int:
        """A positive whole number that ``config.json`` must have."""
        value = self.require(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
            raise ModelFileError(
                f"{self.path('config.json')}: `{key}` is {value!r}, not a positive whole number.", "Fetch it again."
            )
        return value

    @cached_property
    def tokenizer(self) -> dict[str, Any]:
        """The fast tokenizer's description, ``tokenizer.json``."""
        return self.json("tokenizer.json")

    def _weight_files(self) -> list[Path]:
        if self.has("model.safetensors"):  # transformers, too, passes over the shards of an earlier save
            return [self.directory / "model.safetensors"]
        if self.has("model.safetensors.index.json"):
            weights = self.json("model.safetensors.index.json").get("weight_map")
            if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights.values()):
                raise ModelFileError(
                    f"{self.path('model.safetensors.index.json')} has no `weight_map`.", "Fetch the file again."
                )
            names = sorted(set(weights.values()))
            missing = [name for name in names if not self.has(name)]
            if missing:
                raise ModelFileError(
                    f"{self.directory} lacks {', '.join(missing)}, which its index names.", "Fetch the missing files."
                )
            return [self.directory / name for name in names]
        raise ModelFileError(
            f"{self.directory} has no model.safetensors.",
            "Save the model with save_pretrained(), which writes safetensors.",
        )


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that must be there and hold an object; `ModelFileError` otherwise."""
    if not path.is_file():
        raise ModelFileError(f"{path} is missing.", "Save the model and its tokenizer into one directory.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is not valid JSON: {error}.", "Fetch the file again.") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{path} holds no JSON object.", "Fetch the file again.")
    return value


def positive_number(where: Path, key: str, value: Any) -> float:
    """A setting of the file ``where`` that must be a positive number; `ModelFileError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _LARGEST_FLOAT:
        raise ModelFileError(f"{where}: `{key}` is {value!r}, not a positive number.", "Fetch the file again.")
    return float(value)


@dataclass(frozen=True)
class Output:
    """One tensor to be written.

    Attributes:
        name: as llama.cpp calls it, e.g. ``blk.0.attn_q.weight``.
        tensor: where the values come from.
        exact: keep float32 at every precision: llama.cpp reads these without a conversion (norms, biases, positions).
        head_rows: rows of one attention head whose halves are to be interleaved; 0 leaves the order as it is.
            transformers rotates row i of a head against row i + head_rows / 2, llama.cpp's Llama row 2i against 2i + 1.
    """

    name: str
    tensor: Values
    exact: bool = False
    head_rows: int = 0

    def stored_as(self, precision: Precision) -> Precision:
        """The precision this tensor gets in a file of ``precision``; rows that no 32-block divides stay float16."""
        if self.exact or len(self.tensor.shape) < 2:
            return "f32"
        if precision == "q8_0" and self.tensor.shape[-1] % 32:
            return "f16"
        return precision

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Rows ``start`` to ``stop``, in the order in which they are written, as float32."""
        if not self.head_rows:
            return self.tensor.rows(start, stop)
        count, size = self.tensor.shape[0], self.head_rows
        stop = count if stop is None else min(stop, count)
        first, last = start // size * size, -(-stop // size) * size  # whole heads
        block = self.tensor.rows(first, last)
        heads = block.reshape(-1, 2, size // 2, *block.shape[1:])
        ordered = np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(block.shape)
        return ordered[start - first : stop - first]


def written_bytes(outputs: Iterable[Output], precision: Precision) -> int:
    """Bytes that the tensors take in a file of ``precision``, without its metadata and vocabulary."""
    gguf = _gguf()
    return sum(_stored_bytes(output, _kind(gguf, output.stored_as(precision))) for output in outputs)


def write_gguf(
    target: Path,
    architecture: str,
    precision: Precision,
    describe: Callable[["GGUFWriter"], None],
    outputs: Iterable[Output],
    *,
    advance: Advance | None = None,
) -> None:
    """Write a GGUF file, a block of rows at a time, as ``NAME.part``, and rename it when it is whole.

    Memory: a few times 16 MiB, however large a tensor is. A failure leaves an older ``target`` as it was.

    Args:
        target: the file to write; its directory is made where needed.
        architecture: llama.cpp's name of the family.
        precision: ``f32``, ``f16``, ``bf16`` or ``q8_0`` (blocks of 32 eight-bit integers with one float16 scale,
            rounded as llama.cpp's reference quantiser does).
        describe: adds the family's metadata and vocabulary to the writer.
        outputs: the tensors, in file order.
        advance: is told after each block how many bytes of tensors are written, of how many. What it raises goes to
            the caller, and nothing is left behind.

    Raises:
        InputError: an unknown precision.
        ModelFileError: a tensor is empty, or holds a value that is no number or that ``precision`` cannot hold.
        MissingExtraError: the ``gguf`` package is not installed.
    """
    if precision not in PRECISIONS:
        raise InputError(f"Unknown precision {precision!r}.", f"Use one of {', '.join(PRECISIONS)}.")
    gguf = _gguf()
    outputs = list(outputs)
    for output in outputs:
        if not math.prod(output.tensor.shape):
            raise ModelFileError(f"{output.tensor.where} is empty.", "This is not a complete model.")
    total, written = written_bytes(outputs, precision), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    writer = gguf.GGUFWriter(part, architecture)
    try:
        describe(writer)
        writer.add_file_type(getattr(gguf.LlamaFileType, _FILE_TYPES[precision]))
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        for output in outputs:
            kind = _kind(gguf, output.stored_as(precision))
            writer.add_tensor_info(
                output.name, output.tensor.shape, np.dtype(np.float32), _stored_bytes(output, kind), raw_dtype=kind
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
        # gguf's writer takes whole tensors; the format only asks that each begins at a multiple of the alignment.
        with part.open("ab") as file:
            for output in outputs:
                file.write(bytes(-file.tell() % writer.data_alignment))
                for block in _blocks(output, output.stored_as(precision)):
                    file.write(np.ascontiguousarray(block).data)
                    written += block.nbytes
                    if advance is not None:
                        advance(written, total)
            file.write(bytes(-file.tell() % writer.data_alignment))
        os.replace(part, target)
    finally:
        writer.close()
        part.unlink(missing_ok=True)


def _blocks(output: Output, precision: Precision) -> Iterator[NDArray[Any]]:
    """The tensor in its written form, by blocks of rows, so that no whole copy of it exists."""
    gguf = _gguf()
    kind, shape = _kind(gguf, precision), output.tensor.shape
    if len(shape) < 2:
        yield gguf.quantize(_checked(output, output.rows(), precision), kind)
        return
    step = max(1, _BLOCK_ELEMENTS // math.prod(shape[1:]))
    if output.head_rows:  # whole heads, so that none is read twice
        step = -(-step // output.head_rows) * output.head_rows
    for start in range(0, shape[0], step):
        yield gguf.quantize(_checked(output, output.rows(start, start + step), precision), kind)


def _checked(output: Output, block: NDArray[np.float32], precision: Precision) -> NDArray[np.float32]:
    """The block, if each of its values is a number that the precision can hold."""
    largest = max(float(block.max()), -float(block.min()))  # NaN where any value is
    if not math.isfinite(largest):
        raise ModelFileError(
            f"{output.tensor.where} holds values that are not numbers.", "The training diverged; take an earlier one."
        )
    if largest > _LARGEST.get(precision, math.inf):
        raise ModelFileError(
            f"{output.tensor.where} holds {largest:.3g}, which {precision} cannot.", "Export as bf16 or f32."
        )
    return block


def _kind(gguf: Any, precision: Precision) -> Any:
    return getattr(gguf.GGMLQuantizationType, precision.upper())


def _stored_bytes(output: Output, kind: Any) -> int:
    shape = output.tensor.shape
    row_bytes: int = _gguf().quant_shape_to_byte_shape(shape or (1,), kind)[-1]
    return math.prod(shape[:-1]) * row_bytes


def _gguf() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError(
            "Writing GGUF files needs the `gguf` package.", "Install it with: pip install 'evenhand[train]'"
        ) from error
    return gguf

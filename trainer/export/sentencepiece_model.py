"""Reading SentencePiece's ``tokenizer.model``: pieces, scores, and the settings that llama.cpp must share.

The file is a protocol buffer (``sentencepiece_model.proto``). The few fields that matter are read here, since the
`sentencepiece` package shows the pieces but not the normaliser's settings, and an export should not need a compiler of
protocol buffers for eight numbers.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mediator.errors import ModelFileError

# Types of pieces, `ModelProto.SentencePiece.Type`; llama.cpp's token types have the same numbers.
_BPE = 2  # TrainerSpec.ModelType


@dataclass(frozen=True)
class SentencePieceModel:
    """What a ``tokenizer.model`` says.

    Attributes:
        pieces: text, score and type (1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte), by id.
        merges_pairs: whether it is a BPE model; a unigram model searches for the likeliest pieces instead.
        changes_texts: whether characters are replaced, or spaces removed, before anything else.
        adds_space: whether a text gets a space in front.
        marks: ``bos``, ``eos``, ``unk`` and ``pad`` -> id, as far as there are such pieces.
    """

    pieces: list[tuple[str, float, int]]
    merges_pairs: bool
    changes_texts: bool
    adds_space: bool
    marks: dict[str, int]


def read_model(path: Path) -> SentencePieceModel:
    """Read a ``tokenizer.model``.

    Raises:
        ModelFileError: it is damaged or cut short, or is no SentencePiece model.
    """
    pieces: list[tuple[str, float, int]] = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    try:
        for field, value in _fields(path.read_bytes()):
            if field == 1 and isinstance(value, bytes):
                entry = dict(_fields(value))
                text, score, kind = entry.get(1, b""), entry.get(2, b"\0\0\0\0"), entry.get(3, 1)
                if not isinstance(text, bytes) or not isinstance(score, bytes) or not isinstance(kind, int):
                    raise ValueError("a piece is none")
                pieces.append((text.decode("utf-8"), struct.unpack("<f", score)[0], kind))
            elif field == 2 and isinstance(value, bytes):
                trainer = dict(_fields(value))
            elif field == 3 and isinstance(value, bytes):
                normalizer = dict(_fields(value))
        if not pieces:
            raise ValueError("it has no pieces")
    except (ValueError, struct.error, OSError) as error:
        raise ModelFileError(
            f"{path} is no whole SentencePiece model: {error}.", "Fetch the file again; some hubs keep a pointer to it."
        ) from error
    defaults = {"unk": (40, 0), "bos": (41, 1), "eos": (42, 2), "pad": (43, -1)}
    marks = {role: _number(trainer.get(field), default) for role, (field, default) in defaults.items()}
    return SentencePieceModel(
        pieces,
        merges_pairs=_number(trainer.get(3), 1) == _BPE,
        # precompiled_charsmap, remove_extra_whitespaces, escape_whitespaces; treat_whitespace_as_suffix.
        changes_texts=bool(normalizer.get(2))
        or bool(_number(normalizer.get(4), 1))
        or not _number(normalizer.get(5), 1)
        or bool(_number(trainer.get(24), 0)),
        adds_space=bool(_number(normalizer.get(3), 1)),
        marks={role: token_id for role, token_id in marks.items() if 0 <= token_id < len(pieces)},
    )


def _number(value: int | bytes | None, default: int) -> int:
    """A varint as a signed 32-bit number."""
    if not isinstance(value, int):
        return default
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer: varints as numbers, all else as bytes. Raises `ValueError`."""
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError("it is cut short")
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
            continue
        if kind not in (1, 2, 5):
            raise ValueError("it is no protocol buffer")
        length = {1: 8, 5: 4}.get(kind) or (varint() if kind == 2 else 0)
        if at + length > len(data):
            raise ValueError("it is cut short")
        yield key >> 3, data[at : at + length]
        at += length

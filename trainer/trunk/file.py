"""The file of a trunk cache: activations of many pieces of text end to end, checked when opened, mapped when read.

Layout: the states, token after token, from the first byte; then a JSON footer that says what they are and holds a
checksum of each piece; then the footer's SHA-256, its length (8 bytes, little-endian) and a mark. The footer comes last
and the file gets its name last, so a file that is there and has a footer is whole; two processes that write the same
one each write their own, and the later takes the place of the earlier.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from mediator.atomic_file import whole_file
from mediator.errors import EvenhandError

_MARK = b"EVENTRNK"
_TAIL = 32 + 8 + len(_MARK)
_IDLE = 600.0  # seconds without a write after which an unfinished file may be removed
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_log = logging.getLogger(__name__)


class CacheDiskFull(EvenhandError):
    """The disk has no room for the activations."""


class CacheFolderUnusable(EvenhandError):
    """The folder for the activations cannot be made, written to or read from."""


def require_room(folder: Path, size: int) -> None:
    """Check that a folder's disk has room for a file.

    Raises:
        CacheDiskFull: there are fewer than ``size`` bytes.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise _full(folder, size, f"{_gibibytes(free)} are free")


def write_file(
    path: Path,
    identity: dict[str, Any],
    lengths: list[int],
    shape: tuple[int, int],
    dtype: torch.dtype,
    states: Iterable[Tensor],
) -> None:
    """Write the activations of all texts; the file appears under its name only when it is whole.

    Args:
        path: the file.
        identity: what the activations are of and depend on; strings, numbers, lists.
        lengths: the tokens of each piece; each piece has a checksum of its own.
        shape: (all tokens, H).
        dtype: of the states.
        states: for each piece, in order, (its tokens, H) on the CPU.

    Raises:
        CacheDiskFull: the disk is full, or would be.
        CacheFolderUnusable: the folder cannot be written to.
    """
    size = shape[0] * shape[1] * dtype.itemsize
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        require_room(path.parent, size + len(_ending(identity, lengths, shape, dtype, [2**32] * len(lengths))))
        sums: list[int] = []
        # Not through a mapping: a full disk would then end the process with a signal, without a word.
        try:
            with whole_file(path, synced=False) as stream:
                for state in states:
                    data = _bytes_of(state.to(dtype))
                    sums.append(zlib.crc32(data))
                    stream.write(data)
                stream.write(_ending(identity, lengths, shape, dtype, sums))
                # What is in it is known to fit the disk; its name may be lost in a power cut, and is then made again.
                stream.flush()
                os.fsync(stream.fileno())
        except PermissionError:  # on Windows, when another process has mapped the file that it wrote meanwhile
            if not path.exists():
                raise
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _full(path.parent, size, "the disk is full") from error
        raise CacheFolderUnusable(
            f"The activations cannot be written to {path.parent}: {error.strerror or error}.",
            "Choose another folder, or set trunk_cache = false.",
        ) from error


def open_file(
    path: Path,
    identity: dict[str, Any],
    lengths: list[int],
    shape: tuple[int, int],
    dtype: torch.dtype,
    verify: bool = True,
) -> Tensor | None:
    """Map a file's states into memory, if it is whole and is of these texts and this model.

    Args:
        path: the file.
        identity: what the file must say of itself.
        lengths: the tokens of each piece.
        shape: (all tokens, H).
        dtype: of the states.
        verify: whether to read it all once and compare every piece with its checksum.

    Returns:
        (tokens, H), of which only what is used is read; None if there is no such file, or it is damaged (a warning in
        the log says what is wrong).
    """
    size = shape[0] * shape[1] * dtype.itemsize
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            length = stream.tell()
            if length < size + _TAIL:
                return _damaged(path, "it is too short")
            stream.seek(size)
            ending = stream.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        return _damaged(path, f"it cannot be read: {error.strerror or error}")
    footer, tail = ending[:-_TAIL], ending[-_TAIL:]
    if tail != _tail(footer):
        return _damaged(path, "its ending is not what was written")
    sums = json.loads(footer)["sums"]
    if ending != _ending(identity, lengths, shape, dtype, sums):
        return _damaged(path, "it is of other texts or of another model")
    try:
        states = torch.from_file(str(path), shared=False, size=shape[0] * shape[1], dtype=dtype).view(shape)
    except RuntimeError as error:  # somebody deleted it in this moment
        return _damaged(path, str(error))
    if verify:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:

            def holds(piece: tuple[Tensor, int]) -> bool:
                return zlib.crc32(_bytes_of(piece[0])) == piece[1]

            if not all(pool.map(holds, zip(states.split(lengths), sums, strict=True))):
                return _damaged(path, "a checksum differs")
    return states


def _ending(
    identity: dict[str, Any], lengths: list[int], shape: tuple[int, int], dtype: torch.dtype, sums: list[int]
) -> bytes:
    footer = json.dumps(
        {"format": 1, "identity": identity, "shape": shape, "dtype": str(dtype), "lengths": lengths, "sums": sums}
    ).encode()
    return footer + _tail(footer)


def _tail(footer: bytes) -> bytes:
    return hashlib.sha256(footer).digest() + len(footer).to_bytes(8, "little") + _MARK


def _bytes_of(states: Tensor) -> memoryview:
    return memoryview(states.contiguous().view(torch.uint8).numpy()).cast("B")


def _damaged(path: Path, reason: str) -> Tensor | None:
    _log.warning("The kept activations in %s cannot be used, because %s; they are computed again.", path, reason)
    return None


def _full(folder: Path, size: int, found: str) -> CacheDiskFull:
    return CacheDiskFull(
        f"The activations of the frozen layers need {_gibibytes(size)} in {folder}, and {found}.",
        "Free some, choose another folder, or set trunk_cache = false.",
    )


def _gibibytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _sweep(folder: Path) -> None:
    """Remove what killed processes left unfinished."""
    for path in folder.glob(".*.partial"):
        process = path.name.split(".")[-3]
        with contextlib.suppress(OSError):
            idle = time.time() - path.stat().st_mtime > _IDLE  # it may be written from another machine
            if idle and process.isdigit() and not psutil.pid_exists(int(process)):
                path.unlink()

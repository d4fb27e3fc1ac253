"""Files that are there whole or not at all: written beside their place, and moved there in one step."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_READERS_PATIENCE = 0.4  # seconds in which whoever reads the old file on Windows shall have closed it


@contextmanager
def whole_file(path: Path, *, synced: bool = True, private: bool = False, replace: bool = True) -> Iterator[BinaryIO]:
    """Open a file for writing that stands under its name only when the block has ended without an error.

    Whoever reads meanwhile finds the old file or the new one, never a part. An error leaves the old one as it was, and
    nothing else; a kill -9 leaves a hidden ``.NAME.PROCESS.….partial``.

    Args:
        path: the file; its folder must be there.
        synced: whether it shall outlive a power cut, which costs the time that the disk needs.
        private: whether only its owner may read it; else its rights are those of any new file.
        replace: whether a file that is there is replaced.

    Raises:
        FileExistsError: there is a file, and ``replace`` is false.
        OSError: the disk, or the rights to it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    handle = os.open(partial, flags, 0o600 if private else 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if synced:
                os.fsync(handle)
        if replace:
            _move(partial, path)
        else:
            _take_a_free_name(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    if synced:
        sync_folder(path.parent)


def write_whole(
    path: Path, content: str | bytes, *, synced: bool = True, private: bool = False, replace: bool = True
) -> None:
    """Write a file that is there whole or not at all: bytes, or a text as UTF-8. See `whole_file`."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with whole_file(path, synced=synced, private=private, replace=replace) as file:
        file.write(data)


def sync_file(path: Path) -> None:
    """Have a file that is closed written to the disk itself, to outlive a power cut. Raises OSError."""
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)  # Windows syncs what it may write to
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written to the disk itself, where the system knows such a thing."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _take_a_free_name(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path)  # finds the name free and takes it in one step
    except FileExistsError:
        raise
    except OSError:  # a disk without links: an empty file keeps the name until the whole one has it
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            _move(partial, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    else:
        partial.unlink()


def _move(partial: Path, path: Path) -> None:
    until = time.monotonic() + _READERS_PATIENCE
    while True:
        try:
            os.replace(partial, path)
            return
        except PermissionError:  # on Windows, while somebody reads it
            if os.name != "nt" or time.monotonic() >= until:
                raise
            time.sleep(0.02)

"""A lock on a file that only one process, and one thread of it, holds; it ends with its holder, however that ends."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Locked(Exception):
    """Somebody else holds the lock.

    Attributes:
        process: the number of the process that does, or 0 where it cannot be told.
    """

    def __init__(self, process: int) -> None:
        super().__init__(f"held by process {process}")
        self.process = process


@contextmanager
def locked(path: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock while the block runs. The operating system frees it when the process dies.

    Args:
        path: of the lock's own file; it is made, holds the number of the process, and goes away at the end.
        wait: seconds to wait for it.

    Raises:
        Locked: it is held, also after the wait.
        OSError: the file cannot be made.
    """
    until = time.monotonic() + wait
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if _take(handle) and _is_same(handle, path):
                break
        except BaseException:
            os.close(handle)
            raise
        holder = _holder(path)
        os.close(handle)
        if time.monotonic() >= until:
            raise Locked(holder)
        time.sleep(0.02)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        if sys.platform != "win32":  # there, an open file cannot be removed
            with suppress(OSError):
                path.unlink()
        os.close(handle)


def _take(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, 64, os.SEEK_SET)  # a byte beyond the number: locked bytes cannot be read
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_same(handle: int, path: Path) -> bool:
    """Whether the locked file is still the one of this name: its last holder may just have removed it."""
    try:
        there, here = os.stat(path), os.fstat(handle)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _holder(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii")[:20] or 0)
    except (OSError, ValueError):
        return 0

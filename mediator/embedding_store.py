"""Embeddings of the texts that ship with Evenhand, kept on disk. What users write is never kept here."""

import hashlib
import logging
import threading
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mediator.atomic_file import whole_file
from mediator.encoders import Encoder, Matrix
from mediator.resources import asset
from mediator.settings import cache_folder

_log = logging.getLogger(__name__)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


class EmbeddingStore:
    """A table text -> vector for one encoder: the table that ships beside it, then one in the user's cache folder.

    A missing, foreign or damaged table is no error: the vectors are computed again.
    """

    def __init__(self, fingerprint: str, folder: Path | None = None) -> None:
        self._fingerprint = fingerprint
        self._shipped = asset("models", f"embeddings-{fingerprint}.npz")
        cache = folder or cache_folder()
        self._cached = cache / "embeddings" / f"{fingerprint}.npz"
        self._table: dict[str, Matrix] | None = None
        self._lock = threading.Lock()

    def _load(self, dimensions: int) -> dict[str, Matrix]:
        table: dict[str, Matrix] = {}
        for path in (self._cached, self._shipped):
            if not path.is_file():
                continue
            try:
                table.update(_read_table(path, dimensions))
            except (
                OSError,
                ValueError,
                KeyError,
                EOFError,
                NotImplementedError,
                zipfile.BadZipFile,
                zlib.error,
            ) as error:
                _log.warning("ignoring a damaged table of embeddings, %s: %s", path.name, error)
        return table

    def get(self, texts: Sequence[str], encoder: Encoder) -> Matrix:
        """Vectors of the texts, shape ``(len(texts), dimensions)``; encodes and keeps those not in the table."""
        keys = [_key(text) for text in texts]
        # Two threads that ask at once wait for one another: the same texts are not worth encoding twice.
        with self._lock:
            if self._table is None:
                self._table = self._load(encoder.dimensions)
            table = self._table
            missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in table}
            if missing:
                table.update(zip(missing, encoder.encode(list(missing.values())), strict=True))
                self._save(self._cached)
        return np.stack([table[key] for key in keys])

    def _save(self, path: Path) -> None:
        try:
            write_table(path, self._table or {})
        except OSError as error:  # a full or read-only disk costs time on the next start, nothing else
            _log.warning("embeddings could not be kept in %s: %s", path.name, error)


def _read_table(path: Path, dimensions: int) -> dict[str, Matrix]:
    """Read one table. Raises what `numpy.load` raises, and `ValueError` for one that is whole but cannot be of use."""
    with path.open("rb") as file, zipfile.ZipFile(file):
        pass  # `numpy.load` would take a bare array for an answer
    with np.load(path, allow_pickle=False) as arrays:
        keys, vectors = arrays["keys"], arrays["vectors"].astype(np.float32)
    if keys.ndim != 1 or vectors.shape != (len(keys), dimensions) or not np.isfinite(vectors).all():
        raise ValueError("its arrays have the wrong shape or hold no numbers")
    return dict(zip(keys.tolist(), vectors, strict=True))


def write_table(path: Path, table: dict[str, Matrix]) -> None:
    """Write a table of vectors by way of a temporary file, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, synced=False, private=True) as file:
        np.savez(file, keys=np.array(list(table)), vectors=np.stack(list(table.values())))


def ship(path: Path, texts: Sequence[str], encoder: Encoder) -> int:
    """Write the table that ships beside an encoder; returns the number of texts."""
    unique = list(dict.fromkeys(texts))
    rows = encoder.encode(unique)
    write_table(path, {_key(text): row for text, row in zip(unique, rows, strict=True)})
    return len(unique)

"""The table of embeddings on disk: kept for the texts that ship, and made again when it is damaged."""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mediator.embedding_store import EmbeddingStore, ship, write_table
from mediator.encoders import Encoder, Matrix

TEXTS = (
    "Two lamps will be put up along the path.",
    "Dogs stay on a lead until ten.",
    "The yard will be locked at night.",
)


class Counting:
    """The bundled encoder with a tally of the texts it was given."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.name, self.fingerprint, self.dimensions = encoder.name, encoder.fingerprint, encoder.dimensions
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str]) -> Matrix:
        self.texts += texts
        return self._encoder.encode(texts)

    def close(self) -> None:
        pass


@pytest.fixture
def counting(encoder: Encoder) -> Counting:
    return Counting(encoder)


def store(folder: Path) -> EmbeddingStore:
    return EmbeddingStore("0123456789abcdef", folder)


def table(folder: Path) -> Path:
    return folder / "embeddings" / "0123456789abcdef.npz"


def test_each_text_is_encoded_once_for_good(counting: Counting, tmp_path: Path) -> None:
    first = store(tmp_path)
    rows = first.get(TEXTS, counting)
    assert counting.texts == list(TEXTS)
    assert np.array_equal(rows, counting._encoder.encode(TEXTS))
    assert np.array_equal(first.get(TEXTS[::-1], counting), rows[::-1])
    assert np.array_equal(store(tmp_path).get(TEXTS, counting), rows), "another run finds them on disk"
    assert counting.texts == list(TEXTS)


def test_only_what_is_missing_is_encoded(counting: Counting, tmp_path: Path) -> None:
    store(tmp_path).get(TEXTS[:2], counting)
    rows = store(tmp_path).get([TEXTS[2], TEXTS[0], TEXTS[2]], counting)
    assert counting.texts == [*TEXTS[:2], TEXTS[2]], "a text that comes twice is encoded once"
    assert np.array_equal(rows[0], rows[2])
    store(tmp_path).get(TEXTS, counting)
    assert len(counting.texts) == 3


def test_encoders_do_not_share_a_table(counting: Counting, tmp_path: Path) -> None:
    store(tmp_path).get(TEXTS, counting)
    EmbeddingStore("fedcba9876543210", tmp_path).get(TEXTS, counting)
    assert len(counting.texts) == 6
    assert len(list((tmp_path / "embeddings").iterdir())) == 2, "and no temporary file stays behind"


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "text": lambda content: b"these are words and no table at all",
    "half": lambda content: content[: len(content) // 2],
    "beginning of a zip": lambda content: content[:40],
    "flipped bits": lambda content: content[:900] + bytes(byte ^ 0xFF for byte in content[900:1300]) + content[1300:],
    "a bare array": lambda content: _bare(),
    "other names": lambda content: _archive(names=np.zeros(3)),
    "other lengths": lambda content: _archive(keys=np.array(["a", "b"]), vectors=np.zeros((3, 384), np.float32)),
    "other dimensions": lambda content: _archive(keys=_keys(content), vectors=np.ones((3, 7), np.float32)),
    "no numbers": lambda content: _archive(keys=_keys(content), vectors=np.full((3, 384), np.nan, np.float32)),
    "words for numbers": lambda content: _archive(keys=_keys(content), vectors=np.array([["x"]] * 3)),
    "pickled": lambda content: _archive(keys=_keys(content), vectors=np.array([object()] * 3)),
}


def _bare() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def _archive(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _keys(content: bytes) -> np.ndarray:
    with np.load(io.BytesIO(content)) as arrays:
        return np.asarray(arrays["keys"])


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_table_is_made_again(counting: Counting, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    rows = store(tmp_path).get(TEXTS, counting)
    path = table(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert np.array_equal(store(tmp_path).get(TEXTS, counting), rows)
    counting.texts.clear()
    assert np.array_equal(store(tmp_path).get(TEXTS, counting), rows)
    assert counting.texts == [], "and mended for the next run"


def test_a_folder_that_cannot_be_written_costs_only_time(counting: Counting, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    rows = store(blocked).get(TEXTS, counting)
    assert rows.shape == (3, counting.dimensions)
    assert blocked.read_text() == "in the way"


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    write_table(path, {"a": np.ones(3, np.float32)})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="shape"):
        write_table(path, {"a": np.ones(3, np.float32), "b": np.ones(4, np.float32)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_eight_threads_encode_once(counting: Counting, tmp_path: Path) -> None:
    shared = store(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: shared.get(TEXTS, counting), range(8)))
    assert all(np.array_equal(rows, results[0]) for rows in results)
    assert counting.texts == list(TEXTS)


def test_what_ships_is_read_like_what_is_cached(counting: Counting, tmp_path: Path) -> None:
    assert ship(table(tmp_path), [*TEXTS, TEXTS[0]], counting) == 3
    counting.texts.clear()
    rows = store(tmp_path).get(TEXTS, counting)
    assert counting.texts == []
    assert np.array_equal(rows, counting._encoder.encode(TEXTS))

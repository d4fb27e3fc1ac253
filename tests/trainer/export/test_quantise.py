"""Quantising by llama.cpp in a process of its own: what becomes of the tensors, progress, failures, being stopped."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest
from support.tiny_models import tiny_llama_gguf

from mediator.errors import InputError, ModelFileError
from trainer.export.cli import _KINDS
from trainer.export.quantise import KINDS, QuantisingFailed, quantise
from trainer.progress import Stopped


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("source") / "f32.gguf", width=256)


def test_the_command_line_offers_the_kinds_that_there_are() -> None:
    assert _KINDS == KINDS


def test_what_is_reported_is_what_the_file_holds(source: Path, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    made = quantise(source, tmp_path / "q.gguf", "q4_k_m", advance=lambda *said: heard.append(said))
    tensors = gguf.GGUFReader(tmp_path / "q.gguf").tensors
    assert made.tensors == len(tensors) == 21
    stored = Counter(tensor.tensor_type.name.lower() for tensor in tensors)
    assert {name.lower(): count for name, count in made.types.items()} == stored
    assert stored["q4_k"] > stored["q6_k"] > 0
    assert made.fallbacks == 0
    weights = sum(int(tensor.n_elements) for tensor in tensors)
    assert heard == sorted(heard)
    assert (heard[0], heard[-1], len(heard)) == ((0, weights), (weights, weights), 22)
    assert [path.name for path in tmp_path.iterdir()] == ["q.gguf"]


def test_rows_that_256_does_not_divide_are_counted(tmp_path: Path) -> None:
    odd = tiny_llama_gguf(tmp_path / "odd.gguf", width=96, layers=1)
    made = quantise(odd, tmp_path / "q.gguf", "q6_k")
    # The seven matrices of the layer and the embeddings; for the head llama.cpp chooses q8_0 from the start.
    assert (made.fallbacks, made.types) == (8, {"f32": 3, "q8_0": 9})


def quantisers() -> list[psutil.Process]:
    """The processes at work on it; other tests' programs may run beside them."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it ends while it is looked at, or is dead and not yet waited for
            if "trainer.export.quantise" in child.cmdline():
                found.append(child)
    return found


def killed_in_the_middle(done: int, weights: int) -> None:
    for process in quantisers():  # none any more, when what it said before its end is heard
        process.kill()


def stopped_in_the_middle(done: int, weights: int) -> None:
    raise Stopped


@pytest.mark.parametrize(
    ("advance", "should_stop", "error", "message"),
    [
        (stopped_in_the_middle, None, Stopped, None),
        (None, lambda: True, Stopped, None),
        (killed_in_the_middle, None, QuantisingFailed, r"SIGKILL.*lack of memory"),
    ],
)
def test_what_ends_it_in_the_middle_leaves_the_older_file_and_nothing_else(
    source: Path,
    tmp_path: Path,
    advance: Callable[[int, int], None] | None,
    should_stop: Callable[[], bool] | None,
    error: type[Exception],
    message: str | None,
) -> None:
    target = tmp_path / "q.gguf"
    target.write_bytes(b"an older file")
    with pytest.raises(error, match=message):
        quantise(source, target, "q6_k", advance=advance, should_stop=should_stop)
    assert target.read_bytes() == b"an older file"
    assert list(tmp_path.iterdir()) == [target]
    assert not quantisers()


def test_what_llama_cpp_says_is_in_the_sentence(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "foreign.gguf", "unheard-of")
    writer.add_tensor("a", np.ones((4, 256), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(QuantisingFailed, match=r"foreign\.gguf cannot be made q8_0: .*unheard-of"):
        quantise(tmp_path / "foreign.gguf", tmp_path / "q.gguf", "q8_0")
    with pytest.raises(ModelFileError, match="no file"):
        quantise(tmp_path / "missing.gguf", tmp_path / "q.gguf", "q8_0")
    with pytest.raises(InputError, match="q3"):
        quantise(tmp_path / "foreign.gguf", tmp_path / "q.gguf", "q3")  # type: ignore[arg-type]

"""The memory a model needs: told from its header, close to what it takes, and checked before it is loaded."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from support.tiny_models import tiny_llama_gguf

from mediator import memory
from mediator.cancellation import Cancellation
from mediator.memory import NotEnoughMemory
from mediator.models import load_writer
from mediator.writers.base import Message, Prompt, Sampling
from mediator.writers.gguf import GGUFModel
from mediator.writers.gguf_file import GGUFHeader, check_gguf_file

ROOT = Path(__file__).resolve().parents[2]
PROMPT = Prompt("", (Message("user", "Hello"),))


def header(tensors: dict[str, tuple[int, ...]], **numbers: int) -> GGUFHeader:
    metadata = {f"llama.{key.replace('__', '.')}": value for key, value in numbers.items()}
    return GGUFHeader({"general.architecture": "llama", "tokenizer.ggml.tokens": 1000, **metadata}, tensors)


def test_the_parts_add_up_as_worked_out_by_hand():
    layers = {f"blk.{layer}.attn_{part}.weight": (512, 128) for layer in range(2) for part in "kv"}
    read = header(layers, block_count=2, embedding_length=512, feed_forward_length=1024, context_length=4096)
    cache = 4096 * 2 * (128 + 128) * 2  # tokens x layers x (keys + values) x bytes
    buffers = 4 * (512 * (3 * 1024 + 8 * 512) + 1000)
    assert memory.need(read, 10_000_000) == 10_000_000 + cache + buffers + (32 << 20)
    assert memory.need(read, 0) - memory.need(read, 0, 2048) == cache // 2


def test_a_long_context_is_not_reserved_unasked():
    assert memory.context_by_default(header({}, context_length=131072)) == 8192
    assert memory.context_by_default(header({}, context_length=2048)) == 2048
    assert memory.context_by_default(header({})) == 8192


def test_grouped_heads_are_told_from_the_metadata_where_keys_and_values_are_one_tensor():
    numbers = {"block_count": 1, "embedding_length": 512, "attention__head_count": 8, "context_length": 256}
    fused = {"blk.0.attn_qkv.weight": (512, 768)}
    grouped = memory.need(header(fused, **numbers, attention__head_count_kv=2), 0)
    full = memory.need(header(fused, **numbers), 0)
    assert full - grouped == 256 * 2 * (512 - 128) * 2
    without = memory.need(header({}, **numbers), 0)  # a layer without attention holds no cache
    assert full - without == 256 * 2 * 512 * 2


MEASURE = """
import sys, psutil
from pathlib import Path
from mediator.cancellation import Cancellation
from mediator.memory import need
from mediator.writers.base import Message, Prompt, Sampling
from mediator.writers.gguf import GGUFModel
from mediator.writers.gguf_file import check_gguf_file
from mediator.writers.llama_library import llama_library
import numpy, llama_cpp.llama_chat_format, mediator.writers.token_draw
llama_library()
path = Path(sys.argv[1])
before = psutil.Process().memory_info().rss
model = GGUFModel(path, threads=1)
list(model.stream(Prompt("", (Message("user", "park river " * 100),)), Sampling(max_tokens=4), Cancellation()))
print(need(check_gguf_file(path), path.stat().st_size), psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what counts as resident differs between systems")
def test_the_estimate_is_near_what_a_model_really_takes(tmp_path):
    path = tiny_llama_gguf(tmp_path / "m.gguf", width=768, layers=8, vocabulary=24000, half=True, context=8192)
    assert path.stat().st_size > 150_000_000
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    told, taken = map(int, done.stdout.split())
    print(f"told {told / 1e6:.0f} MB, taken {taken / 1e6:.0f} MB, ratio {told / taken:.2f}")
    assert 0.9 < told / taken < 1.3


def test_a_model_that_does_not_fit_is_not_loaded(tmp_path, monkeypatch):
    path = tiny_llama_gguf(tmp_path / "tiny.gguf")
    told = memory.need(check_gguf_file(path), path.stat().st_size)
    monkeypatch.setattr(memory, "available", lambda: told - 1)
    with closing(GGUFModel(path)) as model, pytest.raises(NotEnoughMemory) as caught:
        list(model.stream(PROMPT, Sampling(max_tokens=2), Cancellation()))
    free = memory.gigabytes(told - 1)
    assert str(caught.value) == (
        f"tiny.gguf needs about {memory.gigabytes(told)} of memory, {free} are free. "
        "Close other programs or choose a smaller model."
    )
    assert model.context_length == 0
    monkeypatch.setattr(memory, "available", lambda: told)
    with closing(GGUFModel(path)) as model:
        list(model.stream(PROMPT, Sampling(max_tokens=2), Cancellation()))
    monkeypatch.setattr(memory, "available", lambda: 0)
    monkeypatch.setenv("EVENHAND_SKIP_MEMORY_CHECK", "1")
    with closing(GGUFModel(path)) as model:
        list(model.stream(PROMPT, Sampling(max_tokens=2), Cancellation()))


def test_a_checkpoint_that_does_not_fit_is_not_loaded(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    start = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    (folder / "model.safetensors").write_bytes(len(start).to_bytes(8, "little") + start + bytes(2_000_000))
    monkeypatch.setattr(memory, "_has_gpu", lambda: False)
    monkeypatch.setattr(memory, "available", lambda: 3_900_000)
    with pytest.raises(NotEnoughMemory, match=r"model needs about 4\.0 MB of memory, 3\.9 MB are free"):
        load_writer(f"hf:{folder}", scorer=None)  # type: ignore[arg-type]  # language models do not use it
    monkeypatch.setattr(memory, "_has_gpu", lambda: True)
    memory.check_checkpoint(folder)
    memory.check_checkpoint(tmp_path / "no-such-folder")


def test_what_is_free_is_what_the_system_says_and_no_more_than_a_container_allows(tmp_path, monkeypatch):
    assert 0 < memory.available() <= psutil.virtual_memory().total
    assert memory.total() <= psutil.virtual_memory().total
    group = tmp_path / "group"
    group.mkdir()
    monkeypatch.setattr(memory, "_group_folders", lambda: [group, tmp_path / "none"])
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("5000000\n")
    unlimited = memory.available()
    assert unlimited > 1_000_000_000
    (group / "memory.max").write_text("9000000\n")
    assert (memory.available(), memory.total()) == (4_000_000, 9_000_000)
    (group / "memory.stat").write_text("anon 1\ninactive_file 2000000\n")
    assert memory.available() == 6_000_000
    (group / "memory.current").write_text("99000000\n")
    assert memory.available() == 0


@pytest.mark.parametrize(
    ("size", "words"), [(5_400_000_000, "5.4 GB"), (100_000_000, "0.1 GB"), (27_000_000, "27 MB"), (400_000, "0.4 MB")]
)
def test_bytes_are_written_for_people(size, words):
    assert memory.gigabytes(size) == words

"""The trunk cache: the same logits, gradients and loss curves as without it, and never a stale or damaged entry."""

import dataclasses
import logging
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from mediator.errors import EvenhandError, ModelFileError
from trainer.losses import nce, task_margin
from trainer.progress import Silent, Stopped
from trainer.trunk.cache import (
    CacheDiskFull,
    CacheFolderUnusable,
    CannotCutModel,
    Top,
    TrunkCache,
    TrunkNotFrozen,
    Whole,
    model_key,
    split_point,
    text_key,
    top,
    trunk_states,
)
from trainer.trunk.file import require_room

torch.set_num_threads(1)

VOCABULARY, WIDTH, LAYERS, LEARN = 200, 32, 4, 2
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "initializer_range": 0.2,
    "max_position_embeddings": 128,
}
FAMILIES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    # A window shorter than the texts, so that a forgotten one would show.
    "mistral": (MistralForCausalLM, MistralConfig, {"sliding_window": 5}),
    # Only the last of the layers slides: which one does must follow the cut.
    "qwen2": (
        Qwen2ForCausalLM,
        Qwen2Config,
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 3, "tie_word_embeddings": True},
    ),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 16}),
}


def _model(family: str = "llama", dtype: torch.dtype = torch.float32, seed: int = 0, **more: Any) -> Any:
    """A tiny random model of which the last layers learn."""
    kind, config, own = FAMILIES[family]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config(**{**_SHAPE, **own, **more})).to(dtype)
    model.requires_grad_(False)
    for layer in model.model.layers[-LEARN:]:
        layer.requires_grad_(True)
    return model


@dataclasses.dataclass
class Text:
    tokens: list[int]
    response_start: int


def _texts(count: int = 8, seed: int = 1) -> list[Text]:
    """Responses to a few prompts, as there are several candidates for a pair; the first has a prompt of its own."""
    generator = torch.Generator().manual_seed(seed)

    def some(least: int, most: int) -> list[int]:
        length = int(torch.randint(least, most, (1,), generator=generator))
        found: list[int] = torch.randint(1, VOCABULARY, (length,), generator=generator).tolist()
        return found

    prompts = [some(5, 12) for _ in range(3)]
    places = [0, 1, 2, 1, 2, 2, 1, 2]
    return [Text(prompts[place] + some(3, 9), len(prompts[place])) for place in places[:count]]


def _padded(texts: list[Text]) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T) tokens, mask of tokens, mask of responses; padded on the right."""
    longest = max(len(text.tokens) for text in texts)
    tokens = torch.zeros(len(texts), longest, dtype=torch.long)
    mask, response = torch.zeros(2, len(texts), longest, dtype=torch.bool)
    for row, text in enumerate(texts):
        tokens[row, : len(text.tokens)] = torch.tensor(text.tokens)
        mask[row, : len(text.tokens)] = True
        response[row, text.response_start : len(text.tokens)] = True
    return tokens, mask, response


def _cache(folder: Path, model: Any, memory_bytes: int = 2**20, layers: int = LEARN) -> TrunkCache:
    return TrunkCache(folder, model_key(model), memory_bytes, layers)


def _learning(model: Any) -> list[Any]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [1, LEARN, LAYERS])
def test_logits_and_gradients_are_those_of_the_whole_model(family: str, layers: int, tmp_path: Path) -> None:
    model, texts = _model(family), _texts()
    model.model.layers[:LAYERS].requires_grad_(False)
    model.model.layers[LAYERS - layers :].requires_grad_(True)
    cache = _cache(tmp_path, model, layers=layers)
    keys = cache.build(model, texts, batch=3)
    # Batches of other texts than those that were run together, and in another order.
    for rows in ([5, 0, 3], [1], [7, 6, 4, 2]):
        tokens, mask, _ = _padded([texts[row] for row in rows])
        states, kept_mask = cache.states([keys[row] for row in rows])
        assert torch.equal(kept_mask, mask)
        plain = model(input_ids=tokens, attention_mask=mask).logits
        ours = top(model, layers)(states, kept_mask)
        torch.testing.assert_close(ours[mask], plain[mask], rtol=1e-4, atol=1e-5)
        assert plain[mask].std().item() > 0.5  # the comparison is of something
        weights = torch.randn_like(plain[mask])
        theirs = torch.autograd.grad((plain[mask] * weights).sum(), _learning(model))
        for one, other in zip(torch.autograd.grad((ours[mask] * weights).sum(), _learning(model)), theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def _curve(model: Any, texts: list[Text], cache: TrunkCache | None, keys: list[str], loss: str) -> list[float]:
    """The loss at each step of Adam: pairs of (target, hypothesis), other pairs at each step."""
    scorer: Any = Whole(model) if cache is None else top(model, LEARN)
    optimiser = torch.optim.Adam(_learning(model), lr=3e-3)
    curve = []
    for step in range(8):
        rows = [(step + place) % len(texts) for place in range(4)]
        tokens, mask, response = _padded([texts[row] for row in rows])
        if cache is None:
            sums, counts = scorer(tokens, mask, response=response)
        else:
            states, mask = cache.states([keys[row] for row in rows])
            sums, counts = scorer(states, mask, tokens=tokens, response=response)
        target, hypothesis = (sums / counts).chunk(2)
        if loss == "nce":
            value = nce(target, hypothesis)
        else:
            value = task_margin(target, hypothesis, torch.ones(2), torch.tensor([0.1, 0.6]), 10)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        curve.append(value.item())
    return curve


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 1e-2)])
def test_the_loss_curve_is_that_of_the_whole_model(
    family: str, dtype: torch.dtype, tolerance: float, tmp_path: Path
) -> None:
    texts = _texts()
    loss = "nce" if family in ("llama", "qwen3") else "task"
    plain = _curve(_model(family, dtype), texts, None, [], loss)
    model = _model(family, dtype)
    cache = _cache(tmp_path, model)
    kept = _curve(model, texts, cache, cache.build(model, texts, batch=3), loss)
    assert kept == pytest.approx(plain, rel=tolerance)
    assert max(plain) - min(plain) > 5 * tolerance * abs(plain[0])  # it moved
    other = _model(family, dtype, seed=9)
    assert _curve(other, texts, None, [], loss) != pytest.approx(plain, rel=tolerance)


def test_in_mixed_precision_too_the_loss_curve_is_that_of_the_whole_model(tmp_path: Path) -> None:
    # Frozen layers in bfloat16, learning ones in float32, products in bfloat16: what a GPU run does.
    curves = []
    for cached in (False, True):
        model = _model("llama", torch.bfloat16)
        for layer in model.model.layers[-LEARN:]:
            layer.float()
        with torch.autocast("cpu", torch.bfloat16):
            cache = _cache(tmp_path, model)
            keys = cache.build(model, _texts(), batch=3)
            assert cache.states(keys)[0].dtype == torch.bfloat16
            curves.append(_curve(model, _texts(), cache if cached else None, keys, "nce"))
    assert curves[1] == pytest.approx(curves[0], rel=3e-3)
    assert max(curves[0]) - min(curves[0]) > 0.5


def test_training_the_top_trains_the_model() -> None:
    model = _model()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    upper = top(model, LEARN)
    assert isinstance(upper, Top)
    optimiser = torch.optim.Adam([p for p in upper.parameters() if p.requires_grad], lr=0.1)
    upper(torch.randn(1, 4, WIDTH)).logsumexp(dim=-1).sum().backward()
    optimiser.step()
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert {name.split(".")[2] for name in changed} == {"2", "3"}
    assert all(not parameter.is_meta for parameter in upper.parameters())


def test_the_top_follows_the_models_attention_and_the_positions_of_packed_texts(tmp_path: Path) -> None:
    model = _model("mistral")
    upper = top(model, LEARN)
    tokens, mask, _ = _padded(_texts(3))
    for kind in ("eager", "sdpa"):
        model.set_attn_implementation(kind)
        plain = model(input_ids=tokens, attention_mask=mask).logits
        ours = upper(trunk_states(model, LEARN, tokens, mask), mask)
        torch.testing.assert_close(ours[mask], plain[mask], rtol=1e-4, atol=1e-5)
    # Two texts in one row: positions start again, and the second does not see the first.
    first, second = torch.tensor([_texts(2)[0].tokens]), torch.tensor([_texts(2)[1].tokens])
    row = torch.cat([first, second], dim=1)
    positions = torch.cat([torch.arange(first.shape[1]), torch.arange(second.shape[1])])[None]
    packed = upper(trunk_states(model, LEARN, row, positions=positions), positions=positions)
    alone = model(input_ids=second).logits
    torch.testing.assert_close(packed[:, first.shape[1] :], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_responses_that_share_a_prompt_are_to_the_layers_as_if_alone(
    family: str, attention: str, tmp_path: Path
) -> None:
    model, texts = _model(family), _texts()
    model.set_attn_implementation(attention)
    shared = _cache(tmp_path, model)
    keys = shared.build(model, texts, batch=8)  # rows of one text and rows of several in one batch
    for key, text in zip(keys, texts, strict=True):
        alone = trunk_states(model, LEARN, torch.tensor([text.tokens]))
        torch.testing.assert_close(shared.states([key])[0], alone, rtol=1e-4, atol=1e-5)
    # A prompt with many responses is spread over several rows.
    prompt = texts[1].tokens[: texts[1].response_start]
    many = [Text([*prompt, place, place + 1, place + 2], len(prompt)) for place in range(1, 30)]
    keys = shared.build(model, many, batch=2)
    for key, text in list(zip(keys, many, strict=True))[::7]:
        alone = trunk_states(model, LEARN, torch.tensor([text.tokens]))
        torch.testing.assert_close(shared.states([key])[0], alone, rtol=1e-4, atol=1e-5)


def test_dropout_does_not_get_into_what_is_kept_and_the_models_mode_stays(tmp_path: Path) -> None:
    model, texts = _model(attention_dropout=0.5), _texts(3)
    model.train()
    kept = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        cache = _cache(tmp_path, model)
        kept.append(cache.states(cache.build(model, texts))[0])
        assert model.training
    assert torch.equal(*kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mapped_file_holds_the_same_as_the_memory(dtype: torch.dtype, tmp_path: Path) -> None:
    model, texts = _model(dtype=dtype), [*_texts(), _texts()[2]]  # one text twice
    memory, mapped = _cache(tmp_path, model), _cache(tmp_path, model, memory_bytes=0)
    keys = memory.build(model, texts, batch=3)
    assert mapped.build(model, texts, batch=3) == keys
    assert keys[2] == keys[-1]
    assert memory.path is None
    assert mapped.path is not None
    # Without padding, and each prompt once.
    prompts = {tuple(text.tokens[: text.response_start]) for text in texts}
    rows = sum(len(text.tokens) - text.response_start for text in _texts()) + sum(map(len, prompts))
    assert len(prompts) == 3
    assert rows * WIDTH * dtype.itemsize < mapped.path.stat().st_size < rows * WIDTH * dtype.itemsize + 2000
    for some in (keys, keys[:1], keys[3:5]):
        one, other = memory.states(some), mapped.states(some)
        assert one[0].dtype == dtype
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
        assert one[0][~one[1]].abs().sum().item() == 0  # zeros at padding
    mapped.delete()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError):
        mapped.states(keys)


def test_a_file_is_used_again_by_the_same_model_and_texts_only(tmp_path: Path) -> None:
    texts = _texts(4)

    def reused(model: Any, texts: list[Text], layers: int = LEARN, key: str = "") -> bool:
        model.requires_grad_(False)
        cache = TrunkCache(tmp_path, key or model_key(model), 0, layers)
        keys = cache.build(model, texts)
        tokens, mask, _ = _padded(texts)
        states, _ = cache.states(keys)
        torch.testing.assert_close(states[mask], trunk_states(model, layers, tokens, mask)[mask], rtol=1e-4, atol=1e-5)
        return cache.reused

    assert not reused(_model(), texts)
    assert reused(_model(), texts)
    assert reused(_model(), list(reversed(texts)))
    assert not reused(_model(), texts, layers=1)
    assert not reused(_model(), texts[:3])
    changed = [Text([*texts[0].tokens[:-1], texts[0].tokens[-1] % (VOCABULARY - 1) + 1], 3), *texts[1:]]
    assert not reused(_model(), changed)
    assert not reused(_model(dtype=torch.bfloat16).float(), texts)  # the same shape, rounded weights
    eager = _model()
    eager.set_attn_implementation("eager")
    assert not reused(eager, texts)
    assert not reused(_model(rope_parameters={"rope_type": "default", "rope_theta": 500.0}), texts)

    # One weight below the cut: even with the old key nothing is reused, so a changed model cannot read stale entries.
    below, above = _model(), _model()
    with torch.no_grad():
        below.model.layers[0].mlp.up_proj.weight[3, 4] += 1e-3
        above.model.layers[-1].mlp.up_proj.weight[3, 4] += 1e-3
    assert model_key(below) != model_key(_model())
    assert not reused(below, texts, key=model_key(_model()))
    assert not reused(below, texts)
    assert not reused(above, texts)
    # What learns lies above the cut: with the key of the start, a resumed run finds its activations.
    above = _model()
    with torch.no_grad():
        above.model.layers[-1].mlp.up_proj.weight[3, 4] += 1e-3
    assert reused(above, texts, key=model_key(_model()))
    assert reused(_model(), texts)


def test_the_key_of_a_model_is_of_its_weights_and_configuration(tmp_path: Path) -> None:
    model = _model()
    key = model_key(model)
    assert key == model_key(_model())
    assert key != model_key(_model(rms_norm_eps=1e-3))
    assert key != model_key(_model(dtype=torch.bfloat16))
    model.save_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "two")
    assert model_key(tmp_path / "one") == model_key(str(tmp_path / "two"))
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-3
    model.save_pretrained(tmp_path / "two")
    assert model_key(tmp_path / "one") != model_key(tmp_path / "two")
    assert model_key(model) != key
    with pytest.raises(ModelFileError, match="holds no model"):
        model_key(tmp_path)
    assert text_key([1, 23]) != text_key([12, 3])


def _flip(path: Path, place: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(place, os.SEEK_SET if place >= 0 else os.SEEK_END)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize(
    "damage", ["cut", "cut at the states", "emptied", "a state", "the footer", "the mark", "other"]
)
def test_a_damaged_file_is_noticed_and_made_anew(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, texts = _model(), _texts(4)
    first = _cache(tmp_path, model, memory_bytes=0)
    keys = first.build(model, texts)
    whole = first.states(keys)[0].clone()
    assert first.path is not None
    prompts = {tuple(text.tokens[: text.response_start]) for text in texts}
    rows = sum(len(text.tokens) - text.response_start for text in texts) + sum(map(len, prompts))
    size = first.path.stat().st_size
    if damage == "cut":
        os.truncate(first.path, size - 1)
    elif damage == "cut at the states":
        os.truncate(first.path, rows * WIDTH * 4)
    elif damage == "emptied":
        os.truncate(first.path, 0)
    elif damage == "a state":
        _flip(first.path, 4 * WIDTH * 7 + 2)
    elif damage == "the footer":
        _flip(first.path, rows * WIDTH * 4 + 40)
    elif damage == "the mark":
        _flip(first.path, -1)
    else:
        other = TrunkCache(tmp_path, "another", 0, LEARN)
        other.build(_model(seed=3), texts)
        assert other.path is not None
        other.path.replace(first.path)
    again = _cache(tmp_path, model, memory_bytes=0)
    with caplog.at_level(logging.WARNING):
        assert again.build(model, texts) == keys
    assert not again.reused
    assert "computed again" in caplog.text
    assert torch.equal(again.states(keys)[0], whole)
    third = _cache(tmp_path, model, memory_bytes=0)
    third.build(model, texts)
    assert third.reused


class _Recorder(Silent):
    """Keeps what it is told; asks for a stop after some calls."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.phases: list[tuple[str, int, int]] = []
        self._left = stop_after

    def phase(self, name: Any, done: int = 0, total: int = 0) -> None:
        self.phases.append((name, done, total))

    def should_stop(self) -> bool:
        self._left -= 1
        return self._left < 0


def test_progress_is_told_and_a_stop_leaves_nothing_behind(tmp_path: Path) -> None:
    model, texts = _model(), _texts(8)
    recorder = _Recorder()
    _cache(tmp_path, model).build(model, [text.tokens for text in texts], batch=1, reporter=recorder)
    assert recorder.phases == [("caching", done, 8) for done in range(9)]
    recorder = _Recorder()
    _cache(tmp_path, model).build(model, texts, batch=1, reporter=recorder)
    assert recorder.phases == [("caching", done, 8) for done in (0, 4, 7, 8)]  # a prompt with all its responses at once
    with pytest.raises(Stopped):
        _cache(tmp_path, model, memory_bytes=0).build(model, texts, batch=1, reporter=_Recorder(stop_after=2))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    model, texts = _model(), _texts(2)
    child = multiprocessing.get_context("fork").Process(target=os._exit, args=(0,))
    child.start()
    child.join()
    old, new, living = (
        tmp_path / f".name.{process}.{name}.partial"
        for process, name in ((child.pid, "aa"), (child.pid, "bb"), (os.getpid(), "cc"))
    )
    for path in (old, new, living):
        path.write_bytes(b"half")
    for path in (old, living):
        os.utime(path, (time.time() - 3600,) * 2)
    _cache(tmp_path, model, memory_bytes=0).build(model, texts)
    assert [path.exists() for path in (old, new, living)] == [False, True, True]


def _in_a_child(work: Any) -> Any:
    """Run a function in a process of its own; return what it returns or the message of what it raises."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def run() -> None:
        try:
            theirs.send(work())
        except EvenhandError as error:
            theirs.send((type(error).__name__, str(error)))

    child = context.Process(target=run)
    child.start()
    return child, ours


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_two_processes_on_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    model, texts = _model(), _texts(8)

    def work() -> list[float]:
        sums = []
        for _ in range(4):
            cache = _cache(tmp_path, model, memory_bytes=0)
            keys = cache.build(model, texts, batch=1)
            sums.append(cache.states(keys)[0].double().sum().item())
            if cache.path is not None:
                cache.path.unlink(missing_ok=True)  # the other's mapping of it stays good
        return sums

    children = [_in_a_child(work) for _ in range(2)]
    results = [pipe.recv() for _, pipe in children]
    for child, _ in children:
        child.join()
    right = _cache(tmp_path, model)
    expected = right.states(right.build(model, texts, batch=1))[0].double().sum().item()
    assert results == [[expected] * 4] * 2
    assert list(tmp_path.glob("*.partial")) + list(tmp_path.glob(".*.partial")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path) -> None:
    import resource

    model, texts = _model(), _texts(8)

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then the write fails, as it does on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        _cache(tmp_path, model, memory_bytes=0).build(model, texts)

    child, pipe = _in_a_child(work)
    name, message = pipe.recv()
    child.join()
    assert name == "CacheDiskFull"
    assert str(tmp_path) in message
    assert "trunk_cache = false" in message
    assert list(tmp_path.iterdir()) == []
    require_room(tmp_path, 1)
    with pytest.raises(CacheDiskFull, match=r"need 1073741824\.0 GiB in .* are free"):
        require_room(tmp_path, 2**60)
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(CacheFolderUnusable, match="cannot be written to"):
        _cache(blocked / "below", model, memory_bytes=0).build(model, texts)


def test_a_model_that_is_not_known_to_be_safe_to_cut_is_refused(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    gemma = GemmaForCausalLM(GemmaConfig(**_SHAPE, head_dim=16))

    assert split_point(_model(), 3) == 1
    with pytest.raises(CannotCutModel, match=r"GemmaForCausalLM \(model type gemma\).*trunk_cache = false"):
        split_point(gemma, LEARN)
    with pytest.raises(CannotCutModel, match="PeftModel"):
        top(get_peft_model(_model(), LoraConfig(r=2, target_modules=["q_proj"])), LEARN)
    for layers in (0, LAYERS + 1):
        with pytest.raises(CannotCutModel, match="the model has 4"):
            _cache(tmp_path, _model(), layers=layers).build(_model(), _texts(1))


def test_a_trunk_that_learns_is_refused(tmp_path: Path) -> None:
    model = _model()
    model.model.layers[1].mlp.up_proj.weight.requires_grad_(True)
    with pytest.raises(TrunkNotFrozen, match=r"model\.layers\.1\.mlp\.up_proj\.weight learns"):
        _cache(tmp_path, model).build(model, _texts(1))
    tied = _model("qwen2")
    tied.lm_head.weight.requires_grad_(True)
    with pytest.raises(TrunkNotFrozen, match=r"one matrix with the embeddings.*train_head = false"):
        _cache(tmp_path, tied).build(tied, _texts(1))
    untied = _model()
    untied.lm_head.weight.requires_grad_(True)
    untied.model.norm.requires_grad_(True)
    assert _cache(tmp_path, untied).build(untied, _texts(1))


@pytest.mark.parametrize("adapters", [False, True])
def test_projecting_only_responses_changes_nothing_for_a_whole_model(adapters: bool) -> None:
    from peft import LoraConfig, get_peft_model

    model = _model("qwen3")
    if adapters:
        model.requires_grad_(True)
        wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "lm_head"]))
        with torch.no_grad():
            for name, parameter in wrapped.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.5)
        model = wrapped
    tokens, mask, response = _padded(_texts(3))
    whole = Whole(model)
    sums, counts = whole(tokens, mask, response=response)
    logits = model(input_ids=tokens, attention_mask=mask).logits
    torch.testing.assert_close(whole(tokens, mask), logits)
    found = torch.log_softmax(logits, dim=-1)[:, :-1].gather(2, tokens[:, 1:, None])[..., 0]
    naive = (found * response[:, 1:]).sum(dim=1)
    torch.testing.assert_close(sums, naive, rtol=1e-4, atol=1e-4)
    assert counts.tolist() == response.sum(dim=1).tolist()
    ours, theirs = (torch.autograd.grad(value.sum(), _learning(model)) for value in (sums, naive))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.cuda
def test_the_loss_curve_on_a_gpu_is_that_of_the_whole_model(tmp_path: Path) -> None:
    curves = []
    for cached in (False, True):
        model = _model("mistral", torch.bfloat16).cuda()
        cache = _cache(tmp_path, model)
        texts = _texts()
        keys = cache.build(model, texts, batch=3)
        optimiser = torch.optim.Adam(_learning(model), lr=3e-3)
        curve = []
        for step in range(8):
            rows = [(step + place) % len(texts) for place in range(4)]
            tokens, mask, response = (part.cuda() for part in _padded([texts[row] for row in rows]))
            if cached:
                states, mask = cache.states([keys[row] for row in rows], "cuda")
                sums, counts = top(model, LEARN)(states, mask, tokens=tokens, response=response)
            else:
                sums, counts = Whole(model)(tokens, mask, response=response)
            value = nce(*(sums / counts).chunk(2))
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            curve.append(value.item())
        curves.append(curve)
    assert curves[0] == pytest.approx(curves[1], rel=3e-2)

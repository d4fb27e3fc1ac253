"""Fine-tuning: it learns, packing and accumulation change nothing, and each way of learning touches what it says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.toy_training import Recorder, toy_dataset, toy_model

from mediator.cancellation import Cancellation
from mediator.writers.aligned import Alignment, alignment_of_folder
from mediator.writers.base import Message, Prompt, Sampling
from mediator.writers.huggingface import HuggingFaceModel
from trainer.alignment import sft
from trainer.alignment.checkpoints import FolderTaken, newest
from trainer.alignment.config import SftConfig
from trainer.alignment.sft import Rows
from trainer.alignment.training import Diverged
from trainer.config import ConfigError
from trainer.dataset.data import DatasetError, read_examples
from trainer.models import pretrained
from trainer.models.network import Network
from trainer.models.prompting import encode, pack, prompt_of, prompt_tokens, row_of
from trainer.models.trainable import TooManyLayers
from trainer.progress import Stopped


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_model(tmp_path_factory.mktemp("models") / "toy", layers=3, width=32)


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_dataset(tmp_path_factory.mktemp("data") / "toy.jsonl", 3)


@pytest.fixture
def settings(model: Path, data_set: Path) -> dict[str, Any]:
    return {
        "model": str(model),
        "dataset": str(data_set),
        "epochs": 1,
        "learning_rate": 3e-3,
        "batch_size": 2,
        "gradient_accumulation": 1,
        "longest_text": 640,
        "sample_disputes": 0,
        "device": "cpu",
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


def changed(before: Path, after: Path) -> set[str]:
    first, second = weights(before), weights(after)
    assert first.keys() == second.keys()
    return {name for name in first if not torch.equal(first[name].float(), second[name].float())}


def test_no_room_for_an_answer_is_said_before_anything_is_learned(
    settings: dict[str, Any], data_set: Path, model: Path, tmp_path: Path
) -> None:
    _, tokenizer = pretrained.load(str(model), "fp32", "cpu")
    prompt = prompt_of(read_examples(data_set)[0])
    recorder = Recorder()
    # Enough to learn a compromise from, and too little for the prompt beside a whole answer.
    settings |= {"longest_text": len(prompt_tokens(tokenizer, prompt, 10_000)) + 20, "sample_disputes": 1}
    with pytest.raises(DatasetError, match=r"there is room for .* Raise longest_text"):
        sft.train(SftConfig(**settings), tmp_path / "run", recorder)
    assert recorder.values("loss") == []


def test_it_learns_and_tells(settings: dict[str, Any], data_set: Path, model: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    settings |= {
        "epochs": 10,
        "learning_rate": 1e-2,
        "validation": str(data_set),
        "validation_pairs": 1,
        "sample_disputes": 1,
        "evaluate_every": 1000,
    }
    result = sft.train(SftConfig(**settings), tmp_path / "run", recorder)

    loss = recorder.values("loss")
    assert loss[0] == pytest.approx(6.6, abs=0.4)  # log 640 is 6.46: it knows nothing
    assert loss[-1] < 2.5
    assert max(loss[-5:]) < min(loss[:5])
    assert recorder.values("target_log_likelihood") == pytest.approx([-value for value in loss], abs=1e-4)
    told = {"learning_rate", "gradient_norm", "samples_per_second", "tokens_per_second", "memory_bytes"}
    assert all(told <= line.keys() for line in recorder.lines if "loss" in line)
    assert max(recorder.values("learning_rate")) == pytest.approx(1e-2)
    assert recorder.lines[-1]["step"] == recorder.lines[-1]["steps"] == len(loss)
    assert recorder.lines[-1]["epoch"] == 10

    # The measurement at the end, once.
    assert len(recorder.values("validation_loss")) == len(recorder.values("rougeL")) == 1
    assert recorder.values("validation_loss")[0] < loss[0] / 2
    assert 0 < recorder.values("rougeL")[0] <= recorder.values("rouge1")[0] <= 1
    assert 0 <= recorder.values("gap")[0] <= 1
    assert [sample[:2] for sample in recorder.samples] == [(len(loss), "toy-000")]
    assert all(isinstance(score, float) for score in recorder.samples[0][3:])
    names = [name for name, _, _ in recorder.phases]
    assert list(dict.fromkeys(names)) == ["loading", "training", "measuring", "saving"]

    story = json.loads((result / pretrained.RECIPE_FILE).read_text())
    assert story["recipe"] == "sft"
    assert (story["prompt"], story["demographics"], story["starts_with_bos"]) == ("alignment", True, True)
    assert story["settings"]["epochs"] == 10
    assert story["base"] == str(model)
    assert story["pairs"] == 3
    assert len(story["dataset_sha256"]) == 64

    # `hf:PATH` serves it, and is told how to ask it.
    model_to_serve = HuggingFaceModel(str(result), threads=1)
    assert model_to_serve.alignment == Alignment(starts_with_bos=True, recipe="sft")
    prompt = Prompt("", (Message("user", prompt_of(read_examples(data_set)[0])),), plain=True)
    assert "".join(model_to_serve.stream(prompt, Sampling(max_tokens=20, temperature=0.0), Cancellation()))


def test_packing_gives_the_loss_and_the_gradient_of_single_rows(model: Path, data_set: Path) -> None:
    network_model, tokenizer = pretrained.load(str(model), "fp32", "cpu")
    texts = [
        encode(tokenizer, prompt_of(example), candidate.text, 640)
        for example in read_examples(data_set)
        for candidate in example.candidates[:2]
    ]
    network = Network(network_model)
    found = []
    for rows in ([row_of(text) for text in texts], pack(texts, 900)):
        material = Rows(rows)
        batch = material.collate([material.item(0, number) for number in range(len(material))])
        network.zero_grad()
        known = {name: batch[name] for name in ("tokens", "response", "positions")}
        total, _ = material.loss(*network(**known), batch)
        total.backward()
        gradients = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
        found.append(
            (len(rows), float(total.detach()), int(material.weight(batch)), int(material.examples(batch)), gradients)
        )
    alone, packed = found
    assert packed[0] < alone[0] == 6
    assert packed[1] == pytest.approx(alone[1], rel=1e-5)
    assert packed[2:4] == alone[2:4]
    assert alone[3] == 6
    torch.testing.assert_close(packed[4], alone[4], rtol=1e-3, atol=1e-3)

    # Without the positions, a text would see its neighbours, and the loss would be another.
    batch = Rows(pack(texts, 900)).collate(pack(texts, 900))
    sums, _ = network(tokens=batch["tokens"], response=batch["response"])
    assert abs(float(-sums.sum().detach()) - alone[1]) > 1e-2


def test_only_responses_are_learned(model: Path, data_set: Path) -> None:
    tokenizer = pretrained.load_tokenizer(str(model))
    example = read_examples(data_set)[0]
    texts = [encode(tokenizer, prompt_of(example), candidate.text, 640) for candidate in example.candidates[:2]]
    batch = Rows([]).collate(pack(texts, 900))
    learned = tokenizer.decode(batch["tokens"][batch["response"]])
    assert learned == "".join(candidate.text + "</s>" for candidate in example.candidates[:2])


def test_accumulating_gradients_is_a_larger_batch(settings: dict[str, Any], tmp_path: Path) -> None:
    settings |= {"packing": False, "largest_gradient": 1e9}
    results = []
    for name, batch, steps in (("large", 4, 1), ("small", 1, 4)):
        config = SftConfig(**settings | {"batch_size": batch, "gradient_accumulation": steps})
        results.append(weights(sft.train(config, tmp_path / name, Recorder())))
    for name, value in results[0].items():
        torch.testing.assert_close(
            value, results[1][name], rtol=1e-3, atol=2e-4, msg=lambda text, name=name: name + text
        )


def test_the_last_layers_alone_learn(settings: dict[str, Any], model: Path, tmp_path: Path) -> None:
    result = sft.train(SftConfig(**settings, trainable="last_layers", layers=2), tmp_path / "run", Recorder())
    moved = changed(model, result)
    assert {name.rpartition(".layers.")[2].split(".")[0] for name in moved} == {"1", "2"}
    assert len(moved) == 2 * 9  # every matrix and both norms of two layers
    # The checkpoint holds these and nothing else.
    checkpoint = newest(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    assert len(load_file(checkpoint.folder / "learned.safetensors")) == 2 * 9


def test_norm_and_head_learn_when_asked(settings: dict[str, Any], model: Path, tmp_path: Path) -> None:
    config = SftConfig(**settings, trainable="last_layers", layers=1, train_final_norm=True, train_head=True)
    moved = changed(model, sft.train(config, tmp_path / "run", Recorder()))
    assert {"model.norm.weight", "lm_head.weight"} < moved
    assert len(moved) == 9 + 2


def test_an_adapter_is_merged_and_kept_beside(settings: dict[str, Any], model: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    config = SftConfig(**settings, trainable="lora", adapter_rank=4)
    result = sft.train(config, tmp_path / "run", Recorder())
    moved = changed(model, result)
    assert moved
    assert all(".self_attn." in name or ".mlp." in name for name in moved)
    tokens = torch.arange(20, 40)[None]
    base, _ = pretrained.load(str(model), "fp32", "cpu")
    merged, _ = pretrained.load(str(result), "fp32", "cpu")
    beside = PeftModel.from_pretrained(base, tmp_path / "run" / "adapter", use_safetensors=True)
    with torch.no_grad():
        torch.testing.assert_close(merged(tokens).logits, beside(tokens).logits, rtol=1e-4, atol=1e-5)
    told = [alignment_of_folder(folder) for folder in (result, tmp_path / "run" / "adapter")]
    assert told == [Alignment(starts_with_bos=True, recipe="sft")] * 2


def test_bf16_keeps_what_learns_in_float32(settings: dict[str, Any], model: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    settings |= {"precision": "bf16", "learning_rate": 1e-5, "batch_size": 8, "warmup_share": 0.0}
    config = SftConfig(**settings, trainable="last_layers", layers=1, gradient_checkpointing=True)
    result = sft.train(config, tmp_path / "run", recorder)
    assert recorder.values("loss")[0] == pytest.approx(6.6, abs=0.4)
    checkpoint = newest(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    learned = load_file(checkpoint.folder / "learned.safetensors")
    assert {value.dtype for value in learned.values()} == {torch.float32}
    # Steps of 1e-5 would be lost in bfloat16 weights of 1.
    before = weights(model)
    for name, value in learned.items():
        assert not torch.equal(value, before[name.removeprefix("whole.model.")])
    assert {value.dtype for value in weights(result).values()} == {torch.bfloat16}


def test_a_stopped_run_has_a_checkpoint_of_its_last_step(settings: dict[str, Any], tmp_path: Path) -> None:
    config = SftConfig(**settings, checkpoint_every=50)
    with pytest.raises(Stopped):
        sft.train(config, tmp_path / "run", Recorder(stop_at=2))
    checkpoint = newest(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.step == 2
    assert not (tmp_path / "run" / "model").exists()
    with pytest.raises(FolderTaken, match="holds a run already"):
        sft.train(config, tmp_path / "run", Recorder())
    recorder = Recorder()
    result = sft.train(config, tmp_path / "run", recorder, resume=True)
    assert recorder.lines[0]["step"] == 3
    whole = sft.train(config, tmp_path / "whole", Recorder())
    assert not changed(whole, result)
    # A run that is done is not done again.
    again = Recorder()
    assert sft.train(config, tmp_path / "run", again, resume=True) == result
    assert not again.phases


def test_a_stop_while_measuring_is_heard(settings: dict[str, Any], data_set: Path, tmp_path: Path) -> None:
    class StopWhileMeasuring(Recorder):
        def should_stop(self) -> bool:
            return self.phases[-1][0] == "measuring"

    config = SftConfig(**settings, validation=str(data_set), validation_pairs=1, evaluate_every=2)
    with pytest.raises(Stopped):
        sft.train(config, tmp_path / "run", StopWhileMeasuring())
    checkpoint = newest(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.step == 2


def test_a_run_killed_after_its_last_step_takes_no_other(settings: dict[str, Any], tmp_path: Path) -> None:
    settings |= {"epochs": 1.5, "packing": False}  # 6 steps and half of 6
    config = SftConfig(**settings)
    whole = sft.train(config, tmp_path / "whole", Recorder())
    with pytest.raises(Stopped):
        sft.train(config, tmp_path / "run", Recorder(stop_at=9))
    recorder = Recorder()
    result = sft.train(config, tmp_path / "run", recorder, resume=True)
    assert not recorder.lines
    assert not changed(whole, result)
    assert json.loads((result / pretrained.RECIPE_FILE).read_text())["steps"] == 9


def test_a_loss_that_is_no_number_ends_the_run(settings: dict[str, Any], tmp_path: Path) -> None:
    settings |= {"learning_rate": 1e30, "epochs": 3, "warmup_share": 0.0, "largest_gradient": 1e30}
    with pytest.raises(Diverged, match="not a number any more at step") as caught:
        sft.train(SftConfig(**settings), tmp_path / "run", Recorder())
    assert "learning_rate" in caught.value.hint
    # Where nobody looks at the loss in time, there is no checkpoint of what is left.
    with pytest.raises(Diverged):
        sft.train(SftConfig(**settings, log_every=100, checkpoint_every=2), tmp_path / "unseen", Recorder())
    found = newest(tmp_path / "unseen" / "checkpoints")
    assert found is None


def test_what_cannot_be_trained(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooManyLayers, match="layers is 9, and the model has 3"):
        sft.train(SftConfig(**settings, trainable="last_layers", layers=9), tmp_path / "a", Recorder())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(pretrained.NoSuchDevice, match="qlora needs an NVIDIA GPU"):
        sft.train(SftConfig(**settings, trainable="qlora"), tmp_path / "b", Recorder())
    empty = tmp_path / "empty.jsonl"
    line = json.loads(Path(settings["dataset"]).read_text().splitlines()[0])
    empty.write_text(json.dumps({**line, "candidates": []}) + "\n")
    with pytest.raises(DatasetError, match="none of its 1 disputes has candidates"):
        sft.train(SftConfig(**settings | {"dataset": str(empty)}), tmp_path / "c", Recorder())
    tied = toy_model(tmp_path / "tied", layers=2, width=32, tied=True)
    config = SftConfig(**settings | {"model": str(tied)}, trainable="last_layers", layers=1, train_head=True)
    with pytest.raises(ConfigError, match="one matrix with its embeddings"):
        sft.train(config, tmp_path / "d", Recorder())


@pytest.mark.cuda
def test_quantised_base_with_an_adapter(settings: dict[str, Any], model: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    settings |= {"device": "cuda"}
    result = sft.train(SftConfig(**settings, trainable="qlora", adapter_rank=4), tmp_path / "run", Recorder())
    assert all(".self_attn." in name or ".mlp." in name for name in changed(model, result))

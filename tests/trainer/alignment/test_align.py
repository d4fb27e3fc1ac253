"""Alignment: targets become likelier and the model's own answers do not, for each loss as far as it promises."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from support.toy_training import Recorder, fine_tuned_toy, toy_dataset

from mediator.errors import InputError
from trainer.alignment import align
from trainer.alignment.config import CONFIGS, AlignConfig, DpoConfig, NceConfig, make_config
from trainer.alignment.pairs import LOSSES, Pair, Pairs, drawn
from trainer.config import ConfigError
from trainer.dataset.data import DatasetError, Example, read_examples
from trainer.evaluate.rouge import best_rouge
from trainer.models import pretrained
from trainer.models.decoder_parts import TrunkNotFrozen
from trainer.models.network import Network, batch_of, encode_answer
from trainer.models.prompting import encode, prompt_of
from trainer.progress import Stopped
from trainer.recipes import train

PAIRS, EPOCHS = 4, 6


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_dataset(tmp_path_factory.mktemp("data") / "toy.jsonl", PAIRS)


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fine_tuned_toy(tmp_path_factory.mktemp("models"), layers=3, epochs=6)


@pytest.fixture(scope="module")
def kept_answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the model's own answers are kept: they are written once for all tests but those of the writing."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def settings(fine_tuned: Path, data_set: Path, kept_answers: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("EVENHAND_CACHE_FOLDER", str(kept_answers))
    return {
        "model": str(fine_tuned),
        "dataset": str(data_set),
        "epochs": EPOCHS,
        "learning_rate": 5e-3,
        "batch_size": 2,
        "gradient_accumulation": 1,
        "longest_text": 640,
        "layers": 2,
        "hypothesis_tokens": 24,
        "sample_disputes": 0,
        "device": "cpu",
    }


class Likelihoods(NamedTuple):
    """Mean log-likelihood of a token, nats, and of a text."""

    targets: float
    hypotheses: float
    margin: float


def likelihoods(folder: Path, examples: list[Example], answers: dict[str, list[str]]) -> Likelihoods:
    """How likely a model finds all candidates, and its first model's own answers."""
    model, tokenizer = pretrained.load(str(folder), "fp32", "cpu")
    network = Network(model)

    def measured(texts: list[Any]) -> tuple[float, float]:
        with torch.no_grad():
            sums, counts = network(**batch_of(texts))
        return float(sums.sum() / counts.sum()), float(sums.mean())

    targets = measured([encode(tokenizer, prompt_of(one), it.text, 640) for one in examples for it in one.candidates])
    own = measured([encode_answer(tokenizer, prompt_of(one), it, 640) for one in examples for it in answers[one.id]])
    return Likelihoods(targets[0], own[0], targets[1] - own[1])


def answers_of(run: Path) -> dict[str, list[str]]:
    lines = (run / align.HYPOTHESES_FILE).read_text(encoding="utf-8").splitlines()
    return {entry["id"]: entry["answers"] for entry in map(json.loads, lines)}


@pytest.mark.parametrize(
    ("recipe", "changes", "rises", "falls"),
    [
        ("nce", {"score": "log_ratio"}, True, True),
        ("nce", {"score": "mean"}, True, True),
        ("nce", {"score": "sum"}, True, False),  # its second term has no gradient
        ("task", {"score": "sum"}, False, True),
        ("dpo", {}, False, True),
        ("nca", {"answers": 3, "hypothesis_temperature": 1.0}, True, True),
    ],
)
def test_what_each_loss_promises(
    recipe: str,
    changes: dict[str, Any],
    rises: bool,
    falls: bool,
    settings: dict[str, Any],
    data_set: Path,
    fine_tuned: Path,
    tmp_path: Path,
) -> None:
    recorder = Recorder()
    result = train(recipe, make_config(recipe, settings | changes), tmp_path / "run", recorder)
    examples, answers = read_examples(data_set), answers_of(tmp_path / "run")
    before, after = likelihoods(fine_tuned, examples, answers), likelihoods(result, examples, answers)
    assert after.margin > before.margin + 5
    if rises:
        assert after.targets > before.targets
    if falls:
        assert after.hypotheses < before.hypotheses
    steps = EPOCHS * PAIRS // 2
    assert [line["step"] for line in recorder.lines] == list(range(1, steps + 1))
    told = {"loss", "learning_rate", "gradient_norm", "target_log_likelihood", "hypothesis_log_likelihood"}
    assert all(told <= line.keys() for line in recorder.lines)
    assert recorder.lines[-1]["loss"] < recorder.lines[0]["loss"]
    # What is told at the first step is what the model says of its own answers before it has learned anything.
    assert recorder.lines[0]["hypothesis_log_likelihood"] == pytest.approx(before.hypotheses, abs=0.5)
    count = changes.get("answers", 2) - 1
    assert all(len(texts) == len(set(texts)) == count for texts in answers.values())


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.05)])
def test_the_trunk_cache_changes_nothing_but_the_work(
    precision: str, tolerance: float, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings |= {"precision": precision, "epochs": 2}
    cached, plain = Recorder(), Recorder()
    first = train("nce", NceConfig(**settings), tmp_path / "cached", cached)
    second = train("nce", NceConfig(**settings | {"trunk_cache": False}), tmp_path / "plain", plain)
    assert cached.values("loss") == pytest.approx(plain.values("loss"), abs=tolerance)
    assert max(plain.values("loss")) > min(plain.values("loss")) + 0.5
    one, other = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    assert all(torch.allclose(one[name].float(), other[name].float(), atol=tolerance) for name in one)
    assert any(name == "caching" and total == 5 * PAIRS for name, _, total in cached.phases)
    assert not (tmp_path / "cached" / "cache").exists()


def test_the_start_is_the_reference(settings: dict[str, Any], tmp_path: Path) -> None:
    """At the first step all ratios are 0, so the losses are what the papers' formulas give there."""
    for recipe, expected in (("nce", 2 * torch.log(torch.tensor(2.0))), ("dpo", torch.log(torch.tensor(2.0)))):
        recorder = Recorder()
        changes = {"epochs": 0.5, "score": "log_ratio"} if recipe == "nce" else {"epochs": 0.5}
        train(recipe, make_config(recipe, settings | changes), tmp_path / recipe, recorder)
        assert recorder.lines[0]["loss"] == pytest.approx(float(expected), abs=1e-3)


def test_hypotheses_of_one_run_serve_another(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENHAND_CACHE_FOLDER", str(tmp_path / "cache"))
    first = Recorder()
    train("nce", NceConfig(**settings | {"epochs": 0.5}), tmp_path / "one", first)
    generated = [done for name, done, _ in first.phases if name == "hypotheses"]
    assert generated[0] == 0
    # The same model, prompts and settings: they are not written a second time, whatever the recipe.
    second = Recorder()
    train("dpo", DpoConfig(**settings | {"epochs": 0.5}), tmp_path / "two", second)
    assert {done for name, done, _ in second.phases if name == "hypotheses"} == {PAIRS}
    assert answers_of(tmp_path / "one") == answers_of(tmp_path / "two")

    own = tmp_path / "own.jsonl"
    own.write_text("".join(json.dumps({"id": f"toy-{n:03}", "answers": [f"Plan {n}."]}) + "\n" for n in range(PAIRS)))
    train("nce", NceConfig(**settings | {"epochs": 0.5, "hypotheses": str(own)}), tmp_path / "three", Recorder())
    assert answers_of(tmp_path / "three")["toy-002"] == ["Plan 2."]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"id": "toy-000", "answers": ["A."]}\n', "has 0 answers for the pair toy-001, and 1 are needed"),
        ('{"id": "toy-000", "answers": "A."}\n', "line 1: `id` or `answers` is missing or of another kind"),
        ('{"id": "toy-000", "answers": ["A."]}\n{"id"\n', "line 2: is not valid JSON"),
    ],
)
def test_a_file_of_hypotheses_that_does_not_fit(text: str, words: str, data_set: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(text)
    with pytest.raises(DatasetError, match=words):
        align.read_hypotheses(path, read_examples(data_set), 1)
    with pytest.raises(DatasetError, match="cannot be read"):
        align.read_hypotheses(tmp_path / "none.jsonl", read_examples(data_set), 1)


def test_a_target_is_drawn_by_seed_epoch_and_pair() -> None:
    chosen = Counter(drawn(0, epoch, f"pair {pair}", 4) for epoch in range(100) for pair in range(20))
    assert set(chosen) == {0, 1, 2, 3}
    assert all(400 < count < 600 for count in chosen.values())  # 500 and 5 standard deviations of 19
    assert drawn(0, 1, "a", 4) == drawn(0, 1, "a", 4)
    one = [drawn(0, epoch, "a", 4) for epoch in range(30)]
    assert one != [drawn(1, epoch, "a", 4) for epoch in range(30)]
    assert one != [drawn(0, epoch, "b", 4) for epoch in range(30)]
    assert drawn(0, 0, "a", 1) == 0


def test_a_batch_holds_the_drawn_target_its_overlap_and_its_start(fine_tuned: Path, data_set: Path) -> None:
    tokenizer = pretrained.load_tokenizer(str(fine_tuned))
    example = read_examples(data_set)[0]
    own = ["At the harbour, let all neighbours vote.", "Ban all dogs."]
    texts = [encode(tokenizer, prompt_of(example), one.text, 640) for one in example.candidates]
    texts += [encode(tokenizer, prompt_of(example), text, 640) for text in own]
    overlaps = tuple(tuple(best_rouge(text, [one.text]).rougeL for text in own) for one in example.candidates)
    pair = Pair(example.id, (0, 1, 2, 3), (4, 5), overlaps)
    config = make_config("nca", {"answers": 3, "hypothesis_temperature": 1.0})
    assert isinstance(config, AlignConfig)
    material = Pairs([pair], texts, config, start=[-10.0, -11.0, -12.0, -13.0, -14.0, -15.0])
    seen = set()
    for epoch in range(12):
        batch = material.collate([material.item(epoch, 0)])
        chosen = drawn(config.seed, epoch, example.id, 4)
        seen.add(chosen)
        said = [
            tokenizer.decode(tokens[response])
            for tokens, response in zip(batch["tokens"], batch["response"], strict=True)
        ]
        assert said == [text + "</s>" for text in (example.candidates[chosen].text, *own)]
        assert batch["start"].tolist() == [-10.0 - chosen, -14.0, -15.0]
        assert batch["overlaps"].tolist()[0] == pytest.approx(overlaps[chosen])
    assert len(seen) > 1


def test_every_recipe_of_alignment_has_a_loss() -> None:
    assert set(LOSSES) == {kind for kind in CONFIGS.values() if issubclass(kind, AlignConfig)}


def test_an_adapter_learns_too(settings: dict[str, Any], fine_tuned: Path, data_set: Path, tmp_path: Path) -> None:
    config = NceConfig(
        **settings | {"trainable": "lora", "trunk_cache": False, "adapter_rank": 4, "learning_rate": 5e-3, "epochs": 4}
    )
    result = train("nce", config, tmp_path / "run", Recorder())
    examples, answers = read_examples(data_set), answers_of(tmp_path / "run")
    assert likelihoods(result, examples, answers).margin > likelihoods(fine_tuned, examples, answers).margin + 1


def test_a_stop_is_heard_before_training_begins(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENHAND_CACHE_FOLDER", str(tmp_path / "cache"))

    class StopWhileCaching(Recorder):
        def should_stop(self) -> bool:
            return self.phases[-1][0] == "caching"

    with pytest.raises(Stopped):
        train("nce", NceConfig(**settings), tmp_path / "run", StopWhileCaching())
    recorder = Recorder()
    train("nce", NceConfig(**settings | {"epochs": 0.5}), tmp_path / "run", recorder, resume=True)
    assert {done for name, done, _ in recorder.phases if name == "hypotheses"} == {PAIRS}


def test_what_cannot_be_aligned(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trunk_cache needs trainable = last_layers"):
        make_config("nce", settings | {"trainable": "lora"})
    with pytest.raises(ConfigError, match="the likeliest answer is always the same"):
        make_config("nca", settings | {"answers": 4})
    with pytest.raises(ConfigError, match="There is no recipe 'ppo'"):
        train("ppo", NceConfig(), tmp_path, Recorder())
    with pytest.raises(ConfigError, match="task takes TaskConfig"):
        train("task", NceConfig(), tmp_path, Recorder())
    assert issubclass(TrunkNotFrozen, InputError)

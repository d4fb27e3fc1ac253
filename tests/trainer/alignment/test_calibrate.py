"""Calibration by contrast: diverse candidates, their order, and a model that finds the better ones likelier."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.toy_training import Recorder, fine_tuned_toy, toy_dataset

from mediator.acceptance import HEAD_FILE, Acceptance
from mediator.empathy import EmpathyModel
from mediator.errors import ModelFileError
from mediator.neutrality import GAP_STEP, WARMTH_FLOOR
from trainer.alignment import align
from trainer.alignment.calibrate import train
from trainer.alignment.config import CalibrateConfig
from trainer.alignment.ranked_candidates import by_gap
from trainer.dataset.data import read_examples
from trainer.models import pretrained
from trainer.models.diverse_beams import DiverseBeams
from trainer.models.hypotheses import generate
from trainer.models.network import Network, batch_of, encode_answer
from trainer.models.prompting import prompt_of, prompt_tokens
from trainer.models.shape import read_shape
from trainer.preference.recipe import save_head
from trainer.preflight.memory_need import Texts, need
from trainer.progress import Stopped

PAIRS, CANDIDATES = 3, 4


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_dataset(tmp_path_factory.mktemp("data") / "toy.jsonl", PAIRS)


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fine_tuned_toy(tmp_path_factory.mktemp("models"), layers=2, epochs=6)


@pytest.fixture(scope="module")
def kept_candidates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the model's own answers are kept: they are written once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def settings(
    fine_tuned: Path, data_set: Path, kept_candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    monkeypatch.setenv("EVENHAND_CACHE_FOLDER", str(kept_candidates))
    return {
        "model": str(fine_tuned),
        "dataset": str(data_set),
        "candidates": CANDIDATES,
        "epochs": 6,
        "learning_rate": 5e-3,
        "gradient_accumulation": 1,
        "longest_text": 640,
        "layers": 1,
        "hypothesis_tokens": 16,
        "sample_disputes": 0,
        "device": "cpu",
    }


def candidates_of(run: Path) -> dict[str, list[str]]:
    lines = (run / align.HYPOTHESES_FILE).read_text(encoding="utf-8").splitlines()
    return {entry["id"]: entry["answers"] for entry in map(json.loads, lines)}


class Order(NamedTuple):
    """How likely a model finds ranked candidates: nats for each token, and the share of pairs in the right order."""

    best: float
    worst: float
    right: float


def order_of(model_folder: Path, data_set: Path, candidates: dict[str, list[str]]) -> Order:
    model, tokenizer = pretrained.load(str(model_folder), "fp32", "cpu")
    network, means = Network(model), []
    for example in read_examples(data_set):
        texts = [encode_answer(tokenizer, prompt_of(example), text, 640) for text in candidates[example.id]]
        with torch.no_grad():
            sums, counts = network(**batch_of(texts))
        means.append((sums / counts).tolist())
    right = [first > second for row in means for first, second in combinations(row, 2)]
    return Order(float(np.mean([row[0] for row in means])), float(np.mean([row[-1] for row in means])), np.mean(right))


# -- diverse beam search ---------------------------------------------------------------------------------------------


def test_candidates_are_those_of_a_plain_search(fine_tuned: Path, data_set: Path) -> None:
    """Group by group, token by token, without a cache of keys, padding or batches."""
    model, tokenizer = pretrained.load(str(fine_tuned), "fp32", "cpu")
    prompts = [prompt_of(example) for example in read_examples(data_set)][:2]
    found = generate(model, tokenizer, prompts, batch=8, tokens=6, answers=3, diversity=1.5)
    for prompt, answers in zip(prompts, found, strict=True):
        start = prompt_tokens(tokenizer, prompt, 10_000)
        groups: list[list[int]] = [[], [], []]
        for _ in range(6):
            taken: list[int] = []
            for group in groups:
                if group and group[-1] == tokenizer.eos_token_id:
                    continue
                with torch.no_grad():
                    scores = model(torch.tensor([start + group])).logits[0, -1].log_softmax(-1)
                for token in taken:
                    scores[token] -= 1.5
                taken.append(int(scores.argmax()))
                group.append(taken[-1])
        assert answers == [tokenizer.decode(group, skip_special_tokens=True).strip() for group in groups]
    assert [answers[0] for answers in found] == [one for (one,) in generate(model, tokenizer, prompts, tokens=6)]
    assert all(len(set(answers)) == 3 for answers in found)


def test_an_answer_that_has_ended_takes_no_word_from_the_others() -> None:
    # Two groups, a prompt of one token; 9 is the end. Token 5 leads token 3 by 1 nat; the penalty is 2.
    likely = torch.full((2, 10), -20.0)
    likely[:, 5], likely[:, 3] = 0.0, -1.0
    beams = DiverseBeams(2, 2.0, 1, frozenset({9}))
    assert beams(torch.tensor([[1, 4], [1, 6]]), likely).argmax(dim=1).tolist() == [5, 3]
    assert beams(torch.tensor([[1, 9], [1, 6]]), likely).argmax(dim=1).tolist() == [5, 5]
    assert beams(torch.tensor([[9], [9]]), likely).argmax(dim=1).tolist() == [5, 3]  # an end in the prompt is none


# -- the order -------------------------------------------------------------------------------------------------------


def test_neutrality_ranks_the_warm_by_their_gap_and_the_cold_last(data_set: Path) -> None:
    example = read_examples(data_set)[0]
    scorer = EmpathyModel.load()
    try:
        cold, balanced = "Bread rises in the warm kitchen.", example.candidates[0].text
        texts = [cold, example.view_a.as_text(), balanced, example.view_b.as_text()]
        found = by_gap(scorer)(example, texts)
        scores = dict(zip(texts, scorer.score(example, texts), strict=True))
    finally:
        scorer.close()
    assert sorted(found) == sorted(texts)
    warm = [text for text in found if scores[text].warmth >= WARMTH_FLOOR]
    assert balanced in warm
    assert found[: len(warm)] == warm
    steps = [scores[text].gap // GAP_STEP for text in warm]
    assert steps == sorted(steps)
    assert found[-1] == cold
    assert scores[cold].gap < max(scores[text].gap for text in texts)  # the smallest gap alone would not have it last


def made_up_head(folder: Path, encoder: str) -> Acceptance:
    weights = np.random.default_rng(0).normal(size=(384, 2)).round(3)
    head = Acceptance(((weights, np.zeros(2)),), ("agree", "disagree"), encoder, np.zeros(0), {})
    folder.mkdir()
    save_head(head, folder / HEAD_FILE)
    return head


def test_a_preference_model_ranks_the_candidates(settings: dict[str, Any], tmp_path: Path) -> None:
    scorer = EmpathyModel.load()
    head = made_up_head(tmp_path / "head", scorer.encoder.fingerprint)
    config = CalibrateConfig(
        **settings | {"ranking": "preference", "preference_model": str(tmp_path / "head"), "epochs": 0.4}
    )
    train(config, tmp_path / "run", Recorder())
    try:
        for texts in candidates_of(tmp_path / "run").values():
            shares = head.shares(scorer.embed(texts))
            assert shares == sorted(shares, reverse=True)
            assert shares[0] > shares[-1]
    finally:
        scorer.close()
    made_up_head(tmp_path / "foreign", "another")
    changed = config.model_copy(update={"preference_model": str(tmp_path / "foreign")})
    with pytest.raises(ModelFileError, match="another encoder"):
        train(changed, tmp_path / "second", Recorder())


# -- learning --------------------------------------------------------------------------------------------------------


def test_the_better_candidates_become_likelier_than_the_worse(
    settings: dict[str, Any], fine_tuned: Path, data_set: Path, tmp_path: Path
) -> None:
    recorder = Recorder()
    config = CalibrateConfig(**settings | {"margin": 0.3, "epochs": 14, "learning_rate": 1e-2})
    result = train(config, tmp_path / "run", recorder)
    candidates = candidates_of(tmp_path / "run")
    assert all(len(texts) == CANDIDATES for texts in candidates.values())
    before, after = order_of(fine_tuned, data_set, candidates), order_of(result, data_set, candidates)
    assert after.best - after.worst > before.best - before.worst + 0.5
    assert after.right > max(before.right, 0.8)
    assert recorder.lines[-1]["loss"] < recorder.lines[0]["loss"] - 0.5
    # The reference stays likely: its likelihood is the other half of the loss.
    assert recorder.values("target_log_likelihood")[-1] > recorder.values("target_log_likelihood")[0]
    assert any(name == "caching" and total == PAIRS * (4 + CANDIDATES) for name, _, total in recorder.phases)


def test_a_stopped_run_goes_on_to_the_same_weights_without_ranking_again(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    config = CalibrateConfig(**settings | {"epochs": 2})
    whole = train(config, tmp_path / "whole", Recorder())
    with pytest.raises(Stopped):
        train(config, tmp_path / "run", Recorder(stop_at=2))
    recorder = Recorder()
    result = train(config, tmp_path / "run", recorder, resume=True)
    assert "measuring" not in {name for name, _, _ in recorder.phases}
    one, other = load_file(whole / "model.safetensors"), load_file(result / "model.safetensors")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_every_candidate_takes_memory(settings: dict[str, Any]) -> None:
    shape = read_shape(settings["model"])
    assert shape is not None
    texts = Texts(PAIRS, 4 * PAIRS, 600 * PAIRS, 400 * PAIRS, 700)

    def activations(count: int) -> int:
        return need(CalibrateConfig(**settings | {"candidates": count}), shape, texts, gpu=False).parts["activations"]

    assert activations(20) * 6 == activations(5) * 21

"""The model's own answers: the same whatever they are batched with, written once, and taken up again after a kill."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_models import tiny_checkpoint
from support.toy_training import Recorder, toy_disputes, toy_model

from mediator.writers.conversation_layout import ALPACA_STOPS
from trainer.dataset.data import Example
from trainer.models import pretrained
from trainer.models.hypotheses import AnswerCache, answer_key, generate
from trainer.models.prompting import prompt_of
from trainer.progress import Stopped

TOKENS = 12


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return pretrained.load(str(toy_model(tmp_path_factory.mktemp("toy"), layers=2)), "fp32", "cpu")


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    return [prompt_of(Example.model_validate(line)) for line in toy_disputes(7)]


class Counting:
    """Counts how often a model generates."""

    def __init__(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        real = model.generate

        def generate(inputs: torch.Tensor, **settings: Any) -> Any:
            self.rows.append(len(inputs))
            return real(inputs, **settings)

        monkeypatch.setattr(model, "generate", generate)


def test_the_likeliest_tokens_one_by_one(toy: tuple[Any, Any], prompts: list[str]) -> None:
    """The answer is what a plain loop over the logits gives, without a cache of keys and without padding."""
    model, tokenizer = toy
    answers = generate(model, tokenizer, prompts, batch=3, tokens=TOKENS)
    for prompt, (answer,) in zip(prompts, answers, strict=True):
        tokens = tokenizer(prompt)["input_ids"]
        start = len(tokens)
        with torch.no_grad():
            while len(tokens) < start + TOKENS:
                tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
                if tokens[-1] == tokenizer.eos_token_id:
                    break
        assert answer == tokenizer.decode(tokens[start:], skip_special_tokens=True).strip()


def test_an_answer_ends_where_the_template_would_begin_again(tmp_path: Path) -> None:
    folder = tiny_checkpoint(
        tmp_path, recital=("Share the garden", " on Sundays. ", ALPACA_STOPS[0], " and more"), chat_template=None
    )
    model, tokenizer = pretrained.load(str(folder), "fp32", "cpu")
    assert generate(model, tokenizer, ["Two people disagree."], tokens=8) == [["Share the garden on Sundays."]]


def test_an_answer_ends_at_the_end_token_and_may_be_empty(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path, recital=("Share it",), chat_template=None)
    model, tokenizer = pretrained.load(str(folder), "fp32", "cpu")
    assert generate(model, tokenizer, ["Two people disagree."], tokens=8) == [["Share it"]]
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.weight[tokenizer.eos_token_id] = model.model.embed_tokens.weight[0]
    assert generate(model, tokenizer, ["Two people disagree."], tokens=8) == [[""]]


def test_drawn_answers_depend_on_seed_prompt_and_number_only(toy: tuple[Any, Any], prompts: list[str]) -> None:
    model, tokenizer = toy
    settings: dict[str, Any] = {"tokens": TOKENS, "temperature": 1.0, "answers": 2}
    together = generate(model, tokenizer, prompts, batch=8, seed=1, **settings)
    alone = [generate(model, tokenizer, [prompt], batch=2, seed=1, **settings)[0] for prompt in prompts]
    assert together == alone
    assert all(first != second for first, second in together)
    assert generate(model, tokenizer, prompts, batch=8, seed=2, **settings) != together


def test_drawn_tokens_have_the_models_probabilities(toy: tuple[Any, Any], prompts: list[str]) -> None:
    """Of 400 first tokens, each comes up as often as the model says, within 5 standard deviations."""
    from trainer.models.hypotheses import _Draw

    model, tokenizer = toy
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer(prompts[0])["input_ids"]])).logits[:, -1] * 3
    chances = torch.softmax(logits[0] / 0.7, dim=-1)
    drawn = _Draw(0.7, [f"row {number}" for number in range(400)])(torch.zeros(1), logits.expand(400, -1)).argmax(-1)
    counts = torch.bincount(drawn, minlength=len(chances)).double()
    deviation = (400 * chances * (1 - chances)).sqrt().clamp(min=1)
    assert float(((counts - 400 * chances).abs() / deviation).max()) < 5
    assert len(set(drawn.tolist())) > 20


def test_answers_are_written_once(
    toy: tuple[Any, Any], prompts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = toy
    count = Counting(model, monkeypatch)
    recorder = Recorder()
    first = generate(
        model, tokenizer, prompts, batch=3, tokens=TOKENS, cache=AnswerCache(tmp_path, "k"), reporter=recorder
    )
    assert count.rows == [3, 3, 1]
    assert [done for _, done, total in recorder.phases] == [0, 3, 6, 7]
    again = generate(model, tokenizer, prompts, batch=3, tokens=TOKENS, cache=AnswerCache(tmp_path, "k"))
    assert again == first
    assert count.rows == [3, 3, 1]
    generate(model, tokenizer, prompts, batch=3, tokens=TOKENS, cache=AnswerCache(tmp_path, "another model"))
    assert count.rows == [3, 3, 1, 3, 3, 1]


def test_a_file_cut_off_by_a_kill_is_gone_on_with(
    toy: tuple[Any, Any], prompts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = toy
    first = generate(model, tokenizer, prompts, batch=3, tokens=TOKENS, cache=AnswerCache(tmp_path, "k"))
    file = tmp_path / "k.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    count = Counting(model, monkeypatch)
    recorder = Recorder()
    again = generate(
        model, tokenizer, prompts, batch=3, tokens=TOKENS, cache=AnswerCache(tmp_path, "k"), reporter=recorder
    )
    assert again == first
    # The second batch is written whole, because what else is in a batch may change the last bits of each.
    assert count.rows == [3, 1]
    assert recorder.phases[0] == ("hypotheses", 4, 7)
    entries = [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
    assert len(entries) == 7


def test_a_request_to_stop_keeps_what_is_written(toy: tuple[Any, Any], prompts: list[str], tmp_path: Path) -> None:
    class StopAfterOne(Recorder):
        def should_stop(self) -> bool:
            return self.phases[-1][1] >= 3

    model, tokenizer = toy
    with pytest.raises(Stopped):
        generate(
            model, tokenizer, prompts, batch=3, tokens=4, cache=AnswerCache(tmp_path, "k"), reporter=StopAfterOne()
        )
    assert len((tmp_path / "k.jsonl").read_text().splitlines()) == 3


def test_several_processes_read_each_others_answers(tmp_path: Path) -> None:
    first, second = AnswerCache(tmp_path, "k", 0), AnswerCache(tmp_path, "k", 1)
    first.put([("a", ["1"])])
    second.put([("b", ["2"])])
    assert first.get("b") is None
    first.read()
    assert (first.get("a"), first.get("b")) == (["1"], ["2"])
    assert len(list(tmp_path.iterdir())) == 2


def test_the_key_names_what_answers_depend_on() -> None:
    greedy = answer_key("model", 160, 0.0, 0)
    assert greedy == answer_key("model", 160, 0.0, 7)
    others = [
        answer_key("other", 160, 0.0, 0),
        answer_key("model", 80, 0.0, 0),
        answer_key("model", 160, 1.0, 0),
        answer_key("model", 160, 1.0, 7),
        answer_key("model", 160, 0.0, 0, longest=256),
    ]
    assert len({greedy, *others}) == 6


def test_a_model_in_training_stays_so(toy: tuple[Any, Any], prompts: list[str]) -> None:
    model, tokenizer = toy
    model.train()
    try:
        generate(model, tokenizer, prompts[:1], tokens=2)
        assert model.training
    finally:
        model.eval()


def test_a_long_prompt_keeps_its_instruction_and_its_end(toy: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = toy
    line = toy_disputes(1)[0]
    line["view_a"]["reason"] = "it closes before people leave work, " * 200
    seen: list[torch.Tensor] = []
    real = model.generate
    monkeypatch.setattr(model, "generate", lambda inputs, **rest: (seen.append(inputs), real(inputs, **rest))[1])
    generate(model, tokenizer, [prompt_of(Example.model_validate(line))], tokens=4, longest=300)
    text = tokenizer.decode(seen[0][0])
    assert seen[0].shape[1] <= 300
    assert text.rstrip().endswith("### Response:")
    assert "### Instruction:" in text

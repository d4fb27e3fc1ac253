"""Forgetting: log-likelihoods against transformers' own loss, what is counted, and WikiText's spacing undone."""

import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the hf extra")

from trainer.evaluate.forgetting import (  # noqa: E402
    TooShortError,
    likelihood,
    log_likelihood,
    prose_of,
    read_prose,
)
from trainer.progress import Silent, Stopped  # noqa: E402

TEXT = "The park opens at night, and the neighbours share the cost of better lights. " * 12


@pytest.fixture(scope="module")
def loaded(model_folders: dict[str, Path]) -> tuple[Any, Any]:
    from trainer.models.pretrained import load

    return load(str(model_folders["base"]), "fp32", "cpu")


def test_it_is_the_negative_of_the_models_own_loss(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    tokens = torch.tensor([[tokenizer.bos_token_id, *tokenizer(TEXT, add_special_tokens=False)["input_ids"]]])
    with torch.inference_mode():
        loss = float(model(input_ids=tokens, labels=tokens).loss)
    assert log_likelihood(model, tokenizer, TEXT, window=tokens.shape[1]) == pytest.approx(-loss, abs=1e-5)


def test_windows_are_read_each_for_itself_and_every_token_counts_once(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    tokens = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    found = likelihood(model, tokenizer, TEXT, window=33)
    assert len(found.counts) == math.ceil(len(tokens) / 32)
    assert sum(found.counts) == len(tokens)
    second = torch.tensor([[tokenizer.bos_token_id, *tokens[32:64]]])
    with torch.inference_mode():
        loss = float(model(input_ids=second, labels=second).loss)
    assert found.window_means[1] == pytest.approx(-loss, abs=1e-5)
    low, high = found.interval()
    assert low < found.mean < high


def test_some_windows_are_spread_over_the_text(loaded: tuple[Any, Any]) -> None:
    whole = likelihood(*loaded, TEXT, window=33)
    some = likelihood(*loaded, TEXT, window=33, windows=3)
    places = [whole.sums.index(pytest.approx(total, abs=1e-3)) for total in some.sums]
    assert len(places) == 3
    assert places[0] == 0
    assert places[-1] > len(whole.sums) / 2


def test_hidden_words_are_read_but_not_counted(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    plain = likelihood(model, tokenizer, "the park at night", window=512)
    hidden = likelihood(model, tokenizer, "the park at night <unk>", window=512)
    assert hidden.counts[0] - plain.counts[0] in (0, 1)  # at most the space before it
    among = likelihood(model, tokenizer, "the <unk> park at night", window=512)
    assert among.sums[0] != pytest.approx(plain.sums[0], abs=1e-4)
    with pytest.raises(TooShortError):
        likelihood(model, tokenizer, "<unk>")


def test_it_can_be_stopped(loaded: tuple[Any, Any]) -> None:
    class Stop(Silent):
        def should_stop(self) -> bool:
            return True

    with pytest.raises(Stopped):
        likelihood(*loaded, TEXT, reporter=Stop())


def test_spacing_is_undone() -> None:
    text = (
        " \n = A Title = \n \n He had a guest @-@ starring role , and 1 @,@ 200 fans ( he said ) : "
        '" Teddy \'s Story " . \n'
    )
    assert prose_of(text) == '= A Title =\nHe had a guest-starring role, and 1,200 fans (he said): "Teddy\'s Story".'


def test_the_real_text_becomes_prose(data: Path) -> None:
    text = read_prose(data / "wikitext2" / "test.txt")
    assert " @-@ " not in text
    assert text.count(" ,") + text.count(" .") < 100
    assert 1_000_000 < len(text) < 1_256_449


def test_an_unreadable_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(TooShortError, match=r"gone\.txt cannot be read"):
        read_prose(tmp_path / "gone.txt")

"""Prefix-tuning of an encoder: the prefix learns what the frozen encoder does not give, and comes back as saved."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from mediator.errors import ModelFileError
from trainer.config import ConfigError
from trainer.preference import prefix
from trainer.preference.config import PreferenceConfig
from trainer.preference.recipe import train

WORDS = ("we", "want", "more", "less", "bread", "trees", "noise", "cars", "lamps", "music", "benches", "rules")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with random weights and a vocabulary of whole words."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = {word: at for at, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertModel(
            BertConfig(
                vocab_size=len(vocabulary),
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
                max_position_embeddings=64,
                initializer_range=0.3,
            )
        )
    model.save_pretrained(folder)
    return folder


def statements() -> list[tuple[str, int, int]]:
    """Nine of ten agree with what asks for more of one thing and less of the next, and one of ten with the contrary."""
    chance, found = random.Random(0), []
    for _ in range(60):
        one, other = chance.sample(WORDS[4:], 2)
        found += [(f"we want more {one} less {other}", 9, 1), (f"we want less {one} more {other}", 1, 9)]
    return found


@pytest.fixture(scope="module")
def trained(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prefix")
    (folder / "votes.jsonl").write_text(
        "".join(
            json.dumps({"text": text, "agree": agree, "disagree": against, "pass": 0}) + "\n"
            for text, agree, against in statements()
        )
    )
    config = PreferenceConfig(
        votes=str(folder / "votes.jsonl"),
        output=str(folder / "model"),
        learns="prefix",
        encoder=str(encoder),
        prefix_tokens=4,
        prefix_width=16,
        epochs=25,
        batch_size=20,
        learning_rate=2e-2,
        penalty=1e-4,
    )
    train(config)
    return folder / "model"


def test_the_prefix_learns_and_the_encoder_stays_as_it_is(trained: Path, encoder: Path) -> None:
    model = prefix.load(trained)
    texts = [text for text, _, _ in statements()]
    shares = model.probabilities(texts)[:, 0]
    assert np.mean((shares > 0.5) == [agree > 5 for _, agree, _ in statements()]) > 0.9
    before = load_file(encoder / "model.safetensors")
    after = {name: value for name, value in model.encoder.base_model.state_dict().items() if name in before}
    assert after.keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in after.items())
    # It is the prefix that does it: without it, the same head hears something else.
    with torch.no_grad():
        for parameter in model.encoder.prompt_encoder.parameters():
            parameter.zero_()
    assert abs(model.probabilities(texts)[:, 0] - shares).max() > 0.1


def test_a_text_is_read_the_same_alone_and_among_longer_ones(trained: Path) -> None:
    """The padding is not seen, though the prefix stands before it."""
    model = prefix.load(trained)
    short, long = "we want more bread", " ".join(WORDS * 3)
    assert model.probabilities([short, long])[0] == pytest.approx(model.probabilities([short])[0], abs=1e-5)


def test_what_cannot_be_loaded_or_trained(tmp_path: Path, trained: Path) -> None:
    with pytest.raises(ModelFileError, match="no preference model with a prefix"):
        prefix.load(tmp_path)
    votes = str(trained.parent / "votes.jsonl")
    with pytest.raises(ConfigError, match="needs the encoder's weights, and `encoder` is 'bundled'"):
        train(PreferenceConfig(votes=votes, output=str(tmp_path / "out"), learns="prefix"))

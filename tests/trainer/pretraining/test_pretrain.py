"""Pretraining: the tokenizer gives texts back, the model learns, a killed run goes on, the folder can be loaded."""

import json
import lzma
import math
import os
import signal
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the hf extra")
pytest.importorskip("transformers", reason="needs the hf extra")

from support.killed_training import ended, forked  # noqa: E402

from trainer.pretraining.pretrain import Budget, Shape, held_out_loss, main, make_model, pace, pretrain  # noqa: E402
from trainer.pretraining.text import (  # noqa: E402
    PretrainingError,
    Rows,
    documents,
    train_tokenizer,
    write_tokens,
)

SHAPE = Shape(layers=2, width=32, heads=2, vocabulary=320, row=32)
BUDGET = Budget(steps=100, rows=4, learning_rate=1e-2, tokens=100_000)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language that can be learned in seconds: short sentences with a rule, in texts of three paragraphs."""
    things, doings = ["park", "garden", "library", "market"], ["opens", "closes", "floods", "grows"]
    sentences = [f"The {things[i % 4]} {doings[(i // 4) % 4]} at {i % 12} o'clock." for i in range(3000)]
    texts = ["\n".join(sentences[start : start + 3]) for start in range(0, len(sentences), 3)]
    path = tmp_path_factory.mktemp("text") / "text.txt.xz"
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.write("\n\n".join(texts) + "\n")
    return path


@pytest.fixture(scope="module")
def model_folder(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain([text], tmp_path_factory.mktemp("made") / "model", SHAPE, BUDGET)


def test_texts_end_at_empty_lines_and_keep_their_paragraphs(tmp_path: Path) -> None:
    plain = tmp_path / "a.txt"
    plain.write_text("one\n two \n\n\n\nthree\n", encoding="utf-8")
    packed = tmp_path / "b.txt.xz"
    packed.write_bytes(lzma.compress(b"four"))
    assert list(documents([plain, packed])) == ["one\ntwo", "three", "four"]


def test_a_missing_and_a_damaged_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(PretrainingError, match=r"no text .*gone\.txt"):
        list(documents([tmp_path / "gone.txt"]))
    cut = tmp_path / "cut.txt.xz"
    cut.write_bytes(lzma.compress(b"some text " * 1000)[:-20])
    with pytest.raises(PretrainingError, match=r"cut\.txt\.xz is damaged"):
        list(documents([cut]))


def test_the_tokenizer_gives_every_text_back() -> None:
    tokenizer = train_tokenizer(iter(["A park.\n\nA garden, a market."] * 20), 300)
    for strange in ("Café — “yes”\n\tno  two spaces", "日本 🌳", " leading", "A park ."):
        tokens = tokenizer(strange)["input_ids"]
        assert tokens[0] == tokenizer.bos_token_id
        assert tokenizer.decode(tokens[1:]) == strange
    assert [tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id] == [
        0,
        1,
        2,
        3,
    ]


def test_written_tokens_are_the_texts_with_their_ends(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(iter(["abc abc"] * 5), 270)
    count = write_tokens(tokenizer, iter(["abc", "cab"]), tmp_path / "tokens.bin", 100)
    row = Rows(tmp_path / "tokens.bin", count, 0, 1)[0]["input_ids"].tolist()
    assert tokenizer.decode(row) == "<s>abc</s><s>cab</s>"


def test_the_learning_rate_rises_stays_and_falls() -> None:
    assert pace(0.0) < pace(0.01) < pace(0.02) == 1.0 == pace(0.5) == pace(0.65)
    assert pace(0.825) == pytest.approx(0.5)
    assert pace(1.0) == pace(7.0) == 0.02


@pytest.mark.parametrize(
    "shape",
    [
        Shape(width=100, heads=3),
        Shape(width=6, heads=2),
        Shape(vocabulary=100),
        Shape(layers=0),
        Shape(vocabulary=70_000),
    ],
)
def test_impossible_shapes_are_refused(shape: Shape) -> None:
    with pytest.raises(PretrainingError, match="--"):
        shape.check()


def test_it_learns_what_it_reads(model_folder: Path) -> None:
    facts = json.loads((model_folder / "pretraining.json").read_text())
    # An untrained model is about ln(320) = 5.8 nats off for each token; the language has about 0.7.
    assert facts["held_out_loss"] < 3.0
    assert facts["held_out_perplexity"] == pytest.approx(math.exp(facts["held_out_loss"]))
    assert facts["tokens_learned_from"] == BUDGET.steps * BUDGET.rows * SHAPE.row


def test_the_folder_is_one_that_recipes_can_start_from(model_folder: Path) -> None:
    from trainer.models.pretrained import load

    model, tokenizer = load(str(model_folder), "fp32", "cpu")
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (model.config.eos_token_id, tokenizer.pad_token) == (tokenizer.eos_token_id, "<pad>")
    rows = Rows(model_folder / "work" / "tokens.bin", SHAPE.row, 0, 20)
    fresh = make_model(SHAPE, tokenizer, 0)
    assert held_out_loss(model, rows) < held_out_loss(fresh, rows) - 2


def test_a_finished_or_unfinished_folder_is_not_overwritten(model_folder: Path, text: Path, tmp_path: Path) -> None:
    with pytest.raises(PretrainingError, match="already holds a model"):
        pretrain([text], model_folder, SHAPE, BUDGET)
    (tmp_path / "half" / "work").mkdir(parents=True)
    with pytest.raises(PretrainingError, match="--resume"):
        pretrain([text], tmp_path / "half", SHAPE, BUDGET)


def test_too_little_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Very short.", encoding="utf-8")
    with pytest.raises(PretrainingError, match="too few"):
        pretrain([tmp_path / "short.txt"], tmp_path / "out", SHAPE, BUDGET)


def test_a_killed_run_goes_on_from_its_checkpoint(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "model"
    options = [
        *("--text", str(text), "--output", str(output), "--layers", "2", "--width", "32", "--heads", "2"),
        *("--vocabulary", "320", "--row", "32", "--rows", "4", "--threads", "1", "--tokens", "100000"),
    ]
    learning = forked(lambda: main([*options, "--minutes", "2", "--checkpoint-minutes", "0.005"]))
    running = True
    try:
        waited = time.monotonic() + 100
        while not list((output / "work" / "checkpoints").glob("checkpoint-*/clock.json")):
            running = os.waitpid(learning, os.WNOHANG) == (0, 0)
            assert running, "it has ended"
            assert time.monotonic() < waited
            time.sleep(0.1)
    finally:
        if running:
            os.kill(learning, signal.SIGKILL)
    assert ended(learning) == -signal.SIGKILL
    kept = max(int(path.parent.name.split("-")[1]) for path in output.glob("work/checkpoints/*/clock.json"))
    assert kept > 0
    assert main([*options, "--steps", str(kept + 5), "--resume"]) == 0
    facts = json.loads((output / "pretraining.json").read_text())
    assert "going on after" in capsys.readouterr().err
    assert facts["tokens_learned_from"] == (kept + 5) * 4 * 32


def test_bad_options_end_with_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--text", str(tmp_path / "none.txt"), "--output", str(tmp_path / "o"), "--width", "100"]) == 2
    assert "--width 100 cannot be shared among 4 heads" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()

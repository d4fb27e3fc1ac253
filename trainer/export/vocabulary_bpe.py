"""Byte-level byte-pair encoding (GPT-2, Llama 3, Qwen, our own) as llama.cpp's ``gpt2`` vocabulary."""

from typing import Any

from trainer.export.pre_tokenizer import identify
from trainer.export.token_table import NORMAL, UNUSED, UnsupportedTokenizer, Vocabulary, check_distinct
from trainer.export.tokenizer_files import TokenizerFiles, flat_steps

# These never occur in UTF-8.
_IMPOSSIBLE_BYTES = {0xC0, 0xC1, *range(0xF5, 0x100)}


def read_byte_level(files: TokenizerFiles) -> Vocabulary:
    """Turn a byte-level tokenizer into a vocabulary.

    Raises:
        UnknownPreTokenizer: llama.cpp has no pre-tokenizer that splits texts alike.
        UnsupportedTokenizer: something else would be done differently.
        ModelFileError: the description is damaged, or there are more tokens than rows in the embedding table.
    """
    model = files.section("model")
    _check_model(files, model)
    normalizer = _normalizer(files)
    pre = identify(files.section("pre_tokenizer"), bool(model.get("ignore_merges")), files.where)
    if _is_read_as_qwen2(files):
        if pre != "qwen2":
            raise UnsupportedTokenizer(
                f"{files.where} splits texts like {pre}, and transformers reads it like Qwen2's all the same.",
                "Make the tokenizer again with Qwen2's pre-tokenizer, or train another family of models with it.",
            )
        normalizer = "NFC"
    added = files.added
    files.check_size(list(files.ids.values()))
    texts = {token_id: text for text, token_id in files.vocabulary.items()}
    texts.update((token_id, token.content) for token_id, token in added.items())
    tokens = [texts.get(token_id, f"[PAD{token_id}]") for token_id in range(files.size)]
    types = [
        added[token_id].type if token_id in added else NORMAL if token_id in texts else UNUSED
        for token_id in range(files.size)
    ]
    check_distinct(tokens, files.where)
    special = files.special_ids(files.ids, {})
    add_bos, add_eos = files.around(special)
    return Vocabulary(
        "gpt2",
        pre,
        tokens,
        types,
        merges=[f"{left} {right}" for left, right in _merges(files, model)],
        special=special,
        add_bos=add_bos,
        add_eos=add_eos,
        normalizer=normalizer,
    )


def _is_read_as_qwen2(files: TokenizerFiles) -> bool:
    """Whether transformers 5 takes only tokens and merges from ``tokenizer.json``, and all else from its own class."""
    name = str(files.config.get("tokenizer_class")).removesuffix("Fast")
    return name == "Qwen2Tokenizer" or files.checkpoint.model_type == "qwen2"


def _check_model(files: TokenizerFiles, model: dict[str, Any]) -> None:
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise UnsupportedTokenizer(
                f"{files.where}: `model.{key}` is {model[key]!r}; llama.cpp knows no such thing.",
                "Use a plain byte-level tokenizer.",
            )
    alphabet = byte_alphabet()
    missing = [byte for byte in range(256) if alphabet[byte] not in files.vocabulary]
    missing = [byte for byte in missing if byte not in _IMPOSSIBLE_BYTES]
    # Without an unknown token both leave such a byte out (StarCoder has none for planes of Unicode that are empty).
    if missing and model.get("unk_token") is not None:
        raise UnsupportedTokenizer(
            f"{files.where} has no token for {len(missing)} of the 256 bytes, first 0x{missing[0]:02X}; llama.cpp "
            "would drop them from a text, where the tokenizer puts an unknown token.",
            "Train the tokenizer with ByteLevel.alphabet() as its initial alphabet.",
        )


def _normalizer(files: TokenizerFiles) -> str:
    steps = flat_steps(files.section("normalizer"), "normalizers")
    kinds = [str(step.get("type")) for step in steps]
    if kinds in ([], ["NFC"]):
        return "".join(kinds)
    raise UnsupportedTokenizer(
        f"{files.where}: the normalizer changes texts ({', '.join(kinds)}) before they are split; llama.cpp does not.",
        "Tokenizers without a normalizer, or with NFC, can be exported.",
    )


def _merges(files: TokenizerFiles, model: dict[str, Any]) -> list[tuple[str, str]]:
    """The merges, first to last, without those that no text can bring about."""
    found = model.get("merges")
    if not isinstance(found, list):
        raise files.damaged("`model.merges` is no list")
    merges: dict[tuple[str, str], None] = {}
    for merge in found:
        left, right = files.pair_of(merge)
        # A space stands for no byte here, so such a merge never happens; in a file it would be read as another one.
        if " " in left + right:
            continue
        # Of a pair that comes twice, `tokenizers` obeys the last.
        merges.pop((left, right), None)
        merges[left, right] = None
    return list(merges)


def byte_alphabet() -> list[str]:
    """The character that stands for each byte: printable ones for themselves, the others from U+0100 on (GPT-2)."""
    plain = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]

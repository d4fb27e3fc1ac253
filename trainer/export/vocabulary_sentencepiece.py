"""SentencePiece's byte-pair encoding (Llama 1 and 2, Mistral) as llama.cpp's ``llama`` vocabulary.

llama.cpp merges, of all neighbouring pieces whose concatenation is a token, those first whose token has the highest
score. The scores are in ``tokenizer.model``. transformers 5 leaves that file out when it saves, and keeps the same
order as a list of merges in ``tokenizer.json``: then the scores are the ranks of the merges, provided that this list
leaves out no pair that llama.cpp would merge.
"""

from typing import Any

from trainer.export.sentencepiece_model import SentencePieceModel, read_model
from trainer.export.token_table import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    UnsupportedTokenizer,
    Vocabulary,
    check_distinct,
)
from trainer.export.tokenizer_files import SENTENCEPIECE, TokenizerFiles, flat_steps

_BYTES = {f"<0x{byte:02X}>" for byte in range(256)}
_SCHEMES = ("always", "first", "never")
_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_PREPEND = {"type": "Prepend", "prepend": SPACE}
# Below any other score, so that plain text is never merged into such a token where there is another way.
_LAST = -1e6


def read_sentencepiece(files: TokenizerFiles) -> Vocabulary:
    """Turn a SentencePiece tokenizer into a vocabulary.

    Raises:
        UnsupportedTokenizer: llama.cpp would split some texts differently.
        ModelFileError: a file is damaged, ``tokenizer.model`` and ``tokenizer.json`` are of different models, or there
            are more tokens than rows in the embedding table.
    """
    checkpoint = files.checkpoint
    model = read_model(checkpoint.path(SENTENCEPIECE)) if checkpoint.has(SENTENCEPIECE) else None
    if model is not None:
        _check_model(files, model)
    scheme = _prepend_scheme(files, model)
    texts, scores, kinds = _pieces(files, model)
    added = files.added
    for token_id, token in added.items():
        scores[token_id] = _LAST
        if kinds.get(token_id) != UNKNOWN:
            kinds[token_id], texts[token_id] = token.type, token.content
    plain = [token_id for token_id, kind in kinds.items() if kind == USER_DEFINED]
    for token_id in plain:
        if scheme == "first" or (files.section("normalizer") and token_id in added and added[token_id].normalized):
            raise UnsupportedTokenizer(
                f"{files.where}: around the added token {texts[token_id]!r} llama.cpp would read spaces differently.",
                "Make the token special, or not normalized with the tokenizer's prepend_scheme always.",
            )
        if token_id not in added:
            texts[token_id] = texts[token_id].replace(SPACE, " ")  # llama.cpp looks for it in the text as it is
    files.check_size(list(texts))
    missing = _BYTES - set(texts.values())
    if missing:
        raise UnsupportedTokenizer(
            f"{files.where} has no token for {len(missing)} of the 256 bytes, first {min(missing)}; llama.cpp would "
            "fail on a text with one of them.",
            "Use a tokenizer with byte fallback.",
        )
    tokens = [texts.get(token_id, f"[PAD{token_id}]") for token_id in range(files.size)]
    check_distinct(tokens, files.where)
    ids = {text: token_id for token_id, text in texts.items()}
    unknowns = [token_id for token_id, kind in kinds.items() if kind == UNKNOWN]
    defaults = model.marks if model is not None else {"unk": unknowns[0]} if unknowns else {}
    ids.update((token.content, token_id) for token_id, token in added.items())
    special = files.special_ids(ids, defaults)
    add_bos, add_eos = files.around(special)
    return Vocabulary(
        "llama",
        "default",
        tokens,
        [kinds.get(token_id, UNUSED) for token_id in range(files.size)],
        scores=[scores.get(token_id, _LAST) for token_id in range(files.size)],
        special=special,
        add_bos=add_bos,
        add_eos=add_eos,
        add_space_prefix=scheme != "never",
    )


def _pieces(
    files: TokenizerFiles, model: SentencePieceModel | None
) -> tuple[dict[int, str], dict[int, float], dict[int, int]]:
    """Texts, scores and types by id, without what was added to the model later."""
    if model is None:
        texts = {token_id: text for text, token_id in files.vocabulary.items()}
        kinds = {token_id: BYTE if text in _BYTES else NORMAL for token_id, text in texts.items()}
        unknown = files.section("model").get("unk_token")
        if unknown in files.vocabulary:
            kinds[files.vocabulary[unknown]] = UNKNOWN
        return texts, _scores_of_merges(files), kinds
    texts = {token_id: text for token_id, (text, _, _) in enumerate(model.pieces)}
    scores = {token_id: score for token_id, (_, score, _) in enumerate(model.pieces)}
    kinds = {token_id: kind for token_id, (_, _, kind) in enumerate(model.pieces)}
    if files.description is not None:
        texts = {token_id: text for text, token_id in files.vocabulary.items()}
        # To tokenizer.json such a piece is one like the others, unless it is among the added tokens.
        kinds = {token_id: NORMAL if kind == USER_DEFINED else kind for token_id, kind in kinds.items()}
        _check_agreement(files, model, texts)
    return texts, scores, kinds


def _check_model(files: TokenizerFiles, model: SentencePieceModel) -> None:
    where = files.checkpoint.path(SENTENCEPIECE)
    if not model.merges_pairs:
        raise UnsupportedTokenizer(
            f"{where} is a unigram model; llama.cpp would merge its pieces by another rule.",
            "Tokenizers of SentencePiece's type BPE can be exported.",
        )
    if model.changes_texts:
        raise UnsupportedTokenizer(
            f"{where} changes characters or spaces of a text before it splits it; llama.cpp does not.",
            "Tokenizers with the normalisation rule `identity` that keep all spaces can be exported.",
        )


def _check_agreement(files: TokenizerFiles, model: SentencePieceModel, texts: dict[int, str]) -> None:
    """Raise where the two descriptions name different pieces: transformers reads one, llama.cpp gets the other."""
    for token_id, (text, _, kind) in enumerate(model.pieces):
        if kind in (CONTROL, UNKNOWN, USER_DEFINED, UNUSED) or token_id in files.added:
            continue
        if texts.get(token_id) != text:
            raise files.damaged(
                f"token {token_id} is {texts.get(token_id)!r}, and in {SENTENCEPIECE} it is {text!r}; the two are of "
                "different models"
            )


def _prepend_scheme(files: TokenizerFiles, model: SentencePieceModel | None) -> str:
    """Before what a space is put: ``first``, the text; ``always``, also what follows a mark in it; ``never``.

    Raises:
        UnsupportedTokenizer: texts are prepared or split in another way than SentencePiece does.
    """
    if files.description is not None:
        scheme = _described_scheme(files)
        if str(files.config.get("tokenizer_class")).removesuffix("Fast") != "LlamaTokenizer":
            return scheme
    elif model is not None and not model.adds_space:
        return "never"
    # This class of transformers 5 goes by the configuration, whatever tokenizer.json says.
    if files.config.get("add_prefix_space") is False:
        return "never"
    return "always" if files.config.get("legacy") else "first"


def _described_scheme(files: TokenizerFiles) -> str:
    """The same by tokenizer.json: its normalizer (earlier versions of transformers) or pre-tokenizer (version 5)."""
    normalizers = flat_steps(files.section("normalizer"), "normalizers")
    splitters = flat_steps(files.section("pre_tokenizer"), "pretokenizers")
    if not splitters and normalizers in ([_REPLACE], [_PREPEND, _REPLACE], [_REPLACE, _PREPEND]):
        return "always" if _PREPEND in normalizers else "never"
    if len(splitters) == 1 and not normalizers and splitters[0].get("type") == "Metaspace":
        step = splitters[0]
        scheme = str(step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never"))
        if step.get("replacement") == SPACE and not step.get("split", True) and scheme in _SCHEMES:
            return scheme
    raise UnsupportedTokenizer(
        f"{files.where}: texts are prepared by {_kinds(normalizers)} and split by {_kinds(splitters)}, which is not "
        "what SentencePiece's byte-pair encoding does.",
        "Tokenizers like those of Llama 2 and Mistral can be exported.",
    )


def _kinds(steps: list[dict[str, Any]]) -> str:
    return " and ".join(str(step.get("type")) for step in steps) or "nothing"


def _scores_of_merges(files: TokenizerFiles) -> dict[int, float]:
    """Token id -> score: the earlier a token is merged, the higher. Tokens that no merge makes come last.

    Raises:
        UnsupportedTokenizer: the merges do not follow from any scores.
    """
    model, vocabulary = files.section("model"), files.vocabulary
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise files.damaged("`model.merges` is no list")
    ranks: dict[tuple[str, str], int] = {}
    ends: dict[str, list[int]] = {}  # the first and the last rank at which a token is made
    for rank, merge in enumerate(merges):
        left, right = files.pair_of(merge)
        ranks[left, right] = rank
        first, last = ends.setdefault(left + right, [rank, rank])
        ends[left + right] = [min(first, rank), max(last, rank)]
    groups = _groups(files, ends)
    marks = {token.content for token in files.added.values()} | _BYTES
    for text in vocabulary:
        if text in marks or len(text) < 2:
            continue
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            reachable = all((part in vocabulary and part not in marks) or len(part) == 1 for part in (left, right))
            if reachable and (left, right) not in ranks:
                raise _strange_merges(files, f"{left!r} and {right!r} are not merged, though {text!r} is a token")
    scores = {token_id: -float(len(groups)) - 1 for token_id in vocabulary.values()}
    scores.update((vocabulary[text], -float(place)) for place, group in enumerate(groups) for text in group)
    return scores


def _groups(files: TokenizerFiles, ends: dict[str, list[int]]) -> list[list[str]]:
    """The tokens in the order in which they are made; tokens of one score are made at mixed ranks and stay together.

    Such are the runs of spaces of Llama 2. A run grows from its left end, whether by ranks or as llama.cpp merges what
    has one score; other tokens of one score would not be made alike.
    """
    groups: list[list[str]] = []
    until = -1
    for text, (first, last) in sorted(ends.items(), key=lambda entry: entry[1]):
        if first > until:
            groups.append([text])
        elif len({*text, *groups[-1][0]}) == 1:
            groups[-1].append(text)
        else:
            raise _strange_merges(files, f"{text!r} is made both before and after {groups[-1][-1]!r}")
        until = max(until, last)
    return groups


def _strange_merges(files: TokenizerFiles, why: str) -> UnsupportedTokenizer:
    return UnsupportedTokenizer(
        f"{files.where}: the merges are not those of a SentencePiece model ({why}), so llama.cpp would split some "
        "texts differently.",
        f"Put the {SENTENCEPIECE} that the tokenizer was made from into the folder, or use a byte-level tokenizer.",
    )

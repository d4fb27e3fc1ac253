"""A checkpoint's tokenizer -> llama.cpp's vocabulary: finds which kind it is and hands it to that kind's file."""

from trainer.export.base import Checkpoint
from trainer.export.pre_tokenizer import UnknownPreTokenizer
from trainer.export.token_table import UnsupportedTokenizer, Vocabulary
from trainer.export.tokenizer_files import TokenizerFiles
from trainer.export.vocabulary_bpe import read_byte_level
from trainer.export.vocabulary_sentencepiece import read_sentencepiece

__all__ = ["UnknownPreTokenizer", "UnsupportedTokenizer", "Vocabulary", "read_vocabulary"]


def read_vocabulary(checkpoint: Checkpoint) -> Vocabulary:
    """Read a decoder's tokenizer as llama.cpp needs it, so that both give the same ids for the same text.

    Args:
        checkpoint: an opened folder with ``tokenizer.json``, or with SentencePiece's ``tokenizer.model``.

    Raises:
        UnknownPreTokenizer: a byte-level tokenizer splits texts by a rule that llama.cpp does not have.
        UnsupportedTokenizer: it does something else that llama.cpp would do differently.
        ModelFileError: a file is missing or damaged, or there are more tokens than rows in the embedding table.
    """
    files = TokenizerFiles(checkpoint)
    if files.description is None:
        return read_sentencepiece(files)
    model = files.section("model")
    kind = model.get("type", "BPE" if "merges" in model else None)
    if kind != "BPE":
        raise UnsupportedTokenizer(
            f"{files.where}: the tokenizer is of the kind {kind}.",
            "Decoders with byte-level BPE or with BPE of SentencePiece can be exported.",
        )
    return read_sentencepiece(files) if model.get("byte_fallback") else read_byte_level(files)

"""What a model reads before all else: texts from files, a byte-level tokenizer learned from them, rows of tokens."""

import lzma
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mediator.atomic_file import whole_file
from mediator.errors import InputError

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")
TOKENIZER_CHARACTERS = 12_000_000


class PretrainingError(InputError):
    """What pretraining was given cannot be used: no text, a shape that does not divide, a folder already full."""


def documents(paths: Sequence[Path]) -> Iterator[str]:
    """Yield the texts of files, plain or ``.xz``, without reading a whole file into memory.

    An empty line ends a text; the lines within are its paragraphs and stay together.

    Raises:
        PretrainingError: a file is missing or is not what its name says.
    """
    for path in paths:
        if not path.is_file():
            raise PretrainingError(f"There is no text {path}.", "Give a .txt file, or one packed as .txt.xz.")
        opener: Any = lzma.open if path.suffix == ".xz" else open
        try:
            with opener(path, "rt", encoding="utf-8", errors="replace") as file:
                paragraphs: list[str] = []
                for line in file:
                    if text := line.strip():
                        paragraphs.append(text)
                    elif paragraphs:
                        yield "\n".join(paragraphs)
                        paragraphs = []
                if paragraphs:
                    yield "\n".join(paragraphs)
        except (lzma.LZMAError, EOFError) as error:
            raise PretrainingError(f"{path} is damaged: {error}.", "Fetch it again.") from error


def train_tokenizer(texts: Iterator[str], vocabulary: int, characters: int = TOKENIZER_CHARACTERS) -> Any:
    """Learn byte-level byte-pair encoding from the first ``characters`` of the texts; no text is unknown to it.

    Returns:
        A ``PreTrainedTokenizerFast`` of at most ``vocabulary`` tokens that puts ``<s>`` before a text, pads with
        ``<pad>``, and gives each text back exactly.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    def beginning() -> Iterator[str]:
        left = characters
        for text in texts:
            yield text
            left -= len(text)
            if left <= 0:
                return

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        beginning(),
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    bpe.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", SPECIAL.index("<s>"))]
    )
    names = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=bpe, clean_up_tokenization_spaces=False, **names)


def write_tokens(tokenizer: Any, texts: Iterator[str], path: Path, most: int) -> int:
    """Write ``<s> text </s>`` for text after text as 16-bit numbers; return how many tokens there are."""
    import numpy as np

    count = 0
    batch: list[str] = []
    end = tokenizer.eos_token_id
    with whole_file(path, synced=False) as file:

        def flush() -> None:
            nonlocal count
            for tokens in tokenizer(batch)["input_ids"]:
                file.write(np.asarray([*tokens, end], np.uint16).tobytes())
                count += len(tokens) + 1
            batch.clear()

        for text in texts:
            batch.append(text)
            if len(batch) == 64:
                flush()
                if count >= most:
                    break
        if batch:
            flush()
    return count


class Rows:
    """A data set of rows of ``row`` tokens, mapped from the file; the labels are the tokens themselves."""

    def __init__(self, path: Path, row: int, first: int, last: int) -> None:
        import numpy as np

        self._tokens = np.memmap(path, np.uint16, "r")
        self._row, self._first, self._count = row, first, last - first

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, Any]:
        import numpy as np
        import torch

        start = (self._first + index) * self._row
        tokens = torch.from_numpy(self._tokens[start : start + self._row].astype(np.int64))
        return {"input_ids": tokens, "labels": tokens}

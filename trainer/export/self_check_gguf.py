"""What llama.cpp makes of the self-check's texts with the exported file, in a process of its own: it may crash."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mediator.errors import ModelFileError
from mediator.llama_embedding import LlamaEmbedding
from mediator.writers.gguf import check_writer_file, default_threads
from mediator.writers.gguf_file import check_gguf_file
from mediator.writers.llama_library import first_complaint, llama_library, quiet
from trainer.export.self_check_texts import EXACT, FOUND, LONGEST_PROMPT, WINDOW, Texts
from trainer.export.worker import Message, serve, threads

_BATCH = 128  # tokens evaluated at once: llama.cpp keeps the logits of all of them


def compute(request: Message, tell: Callable[[Message], None]) -> Message:
    """Read the texts of ``folder`` with the vocabulary of ``file``, and compute with its weights.

    Where there is an ``exact`` file, the one that was quantised, its logits or vectors are computed as well. The
    answer: ``tokens`` of each string, ``finite`` (whether all numbers of the file were), ``sums`` and ``counts`` over
    the windows of the perplexity. Logits or vectors go to the folder.
    """
    path, folder = Path(request["file"]), Path(request["folder"])
    exact = Path(request["exact"]) if request["exact"] else None
    texts = Texts.load(folder)
    if request["encoder"]:
        return _vectors(path, exact, texts, folder)
    check_writer_file(path)
    total = len(texts.prompts) * (2 if exact else 1) + len(texts.windows)
    done = 0

    def advance() -> None:
        nonlocal done
        tell({"done": done, "total": total})
        done += 1

    if exact:
        with _opened(exact) as model:
            _save_logits(model, texts.prompts, folder / EXACT, advance)
    with _opened(path) as model:
        tokens = [model.tokens(text) for text, _ in texts.strings]
        finite = _save_logits(model, texts.prompts, folder / FOUND, advance)
        sums, counts = 0.0, 0
        for window, counted in texts.windows if finite else []:
            advance()
            sums += _log_likelihood(model, window, counted)
            counts += sum(counted[1:])
        advance()
    return {"tokens": tokens, "finite": finite and bool(np.isfinite(sums)), "sums": sums, "counts": counts}


def _save_logits(model: "_Decoder", prompts: list[list[int]], file: Path, advance: Callable[[], None]) -> bool:
    """Write the logits of all positions of all prompts; return whether all of them are numbers."""
    positions = sum(len(prompt) for prompt in prompts)
    kept = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(positions, model.vocabulary_size))
    place, finite = 0, True
    for prompt in prompts:
        advance()
        for block in model.logits(prompt):
            finite = finite and bool(np.isfinite(block).all())
            kept[place : place + len(block)] = block
            place += len(block)
    kept.flush()
    return finite


def _vectors(path: Path, exact: Path | None, texts: Texts, folder: Path) -> Message:
    if exact:
        _save_vectors(exact, texts.sentences, folder / EXACT)
    finite = _save_vectors(path, texts.sentences, folder / FOUND)
    with _model(path, vocabulary_only=True) as model:
        vocabulary = llama_library().llama_model_get_vocab(model)
        tokens = [_tokens(vocabulary, text) for text, _ in texts.strings]
    return {"tokens": tokens, "finite": finite, "sums": 0.0, "counts": 0}


def _save_vectors(path: Path, sentences: list[str], file: Path) -> bool:
    """Write the unit vector of each sentence; return whether all of it are numbers."""
    check_gguf_file(path)
    encoder = LlamaEmbedding(path, threads=min(default_threads(), threads()), at_once=1)
    try:
        vectors = np.array([encoder.vector(sentence) for sentence in sentences], np.float32)
    finally:
        encoder.close()
    finite = bool(np.isfinite(vectors).all())
    np.save(file, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return finite


def _log_likelihood(model: "_Decoder", tokens: list[int], counted: list[bool]) -> float:
    """The sum of the log-probabilities (nats) of the tokens that count; the first has nothing before it."""
    total, place = 0.0, 0
    for block in model.logits(tokens):
        for row in block:
            after = place + 1
            place = after
            if after < len(tokens) and counted[after]:
                row64 = row.astype(np.float64)
                highest = row64.max()
                total += float(row64[tokens[after]] - highest - np.log(np.exp(row64 - highest).sum()))
    return total


class _Decoder:
    """A language model in llama.cpp, with the settings it is served with, that gives the logits of every token."""

    def __init__(self, model: Any, context: Any) -> None:
        self._llama: Any = llama_library()
        self._context = context
        self._vocabulary = self._llama.llama_model_get_vocab(model)
        self.vocabulary_size = int(self._llama.llama_vocab_n_tokens(self._vocabulary))

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, with those that open or close one."""
        return _tokens(self._vocabulary, text)

    def logits(self, tokens: list[int]) -> Iterator[NDArray[np.float32]]:
        """Yield the logits of a text's tokens in blocks, shape (positions, vocabulary); a block lives until the next.

        Raises `ModelFileError` when llama.cpp gives up.
        """
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)
        for start in range(0, len(tokens), _BATCH):
            part = tokens[start : start + _BATCH]
            batch = self._llama.llama_batch_init(len(part), 0, 1)
            try:
                batch.n_tokens = len(part)
                for place, token in enumerate(part):
                    batch.token[place] = token
                    batch.pos[place] = start + place
                    batch.n_seq_id[place] = 1
                    batch.seq_id[place][0] = 0
                    batch.logits[place] = True
                status = self._llama.llama_decode(self._context, batch)
            finally:
                self._llama.llama_batch_free(batch)
            if status:
                raise ModelFileError(f"llama.cpp stopped with code {status} while it read a text.", first_complaint())
            numbers = self._llama.llama_get_logits(self._context)
            yield np.ctypeslib.as_array(numbers, shape=(len(part), self.vocabulary_size))


def _tokens(vocabulary: Any, text: str) -> list[int]:
    """The tokens of a text; control markers in it are read as such, as transformers does."""
    llama = llama_library()
    data = text.encode("utf-8")
    room = len(data) + 16
    buffer = (llama.llama_token * room)()
    count = llama.llama_tokenize(vocabulary, data, len(data), buffer, room, True, True)
    return list(buffer[: max(0, count)])


@contextmanager
def _opened(path: Path) -> Iterator[_Decoder]:
    llama = llama_library()
    with _model(path) as model:
        settings = llama.llama_context_default_params()
        settings.n_ctx = max(WINDOW, LONGEST_PROMPT)
        settings.n_batch = settings.n_ubatch = _BATCH
        settings.n_threads = settings.n_threads_batch = min(default_threads(), threads())
        settings.no_perf = True
        context = llama.llama_init_from_model(model, settings)
        if not context:
            raise ModelFileError(f"llama.cpp cannot run it: {first_complaint() or 'it gives no reason'}.")
        try:
            yield _Decoder(model, context)
        finally:
            llama.llama_free(context)


@contextmanager
def _model(path: Path, vocabulary_only: bool = False) -> Iterator[Any]:
    llama = llama_library()
    with quiet():
        settings = llama.llama_model_default_params()
        settings.vocab_only = vocabulary_only
        model = llama.llama_model_load_from_file(os.fsencode(path), settings)
        if not model:
            raise ModelFileError(f"llama.cpp cannot load it: {first_complaint() or 'it gives no reason'}.")
        try:
            yield model
        finally:
            llama.llama_model_free(model)


if __name__ == "__main__":
    sys.exit(serve(compute))

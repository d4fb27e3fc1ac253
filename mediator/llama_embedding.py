"""A text encoder run by llama.cpp: the model once in memory, and as many texts at work as there are cores."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mediator.errors import ModelFileError
from mediator.fair_pool import FairPool, PoolClosed
from mediator.writers.llama_library import first_complaint, llama_library, quiet

_POSITIONS = 512
"""Tokens that one context takes: what BERT-like encoders were trained for."""

_MOST_AT_ONCE = 4


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LlamaEmbedding:
    """A BERT-like model in a GGUF file. Thread-safe.

    A text is evaluated alone, on one thread, in a context of its own: its vector depends on nothing but the text. Of
    the contexts there are at most ``at_once``; the second is made (in 2 ms) when two texts meet for the first time.

    Attributes:
        dimensions: length of a vector.
        at_once: how many texts may be evaluated at the same time.
    """

    def __init__(self, path: Path, threads: int = 1, at_once: int | None = None) -> None:
        """Load the file, which has been checked; ``at_once`` is by default one a core, at most 4.

        Raises `ModelFileError` when llama.cpp cannot use it, or it is no sentence encoder.
        """
        self._llama: Any = llama_library()
        self._name, self._threads = path.name, threads
        self.at_once = at_once or min(usable_cores(), _MOST_AT_ONCE)
        with quiet():
            settings = self._llama.llama_model_default_params()
            settings.n_gpu_layers = 0
            self._model: Any = self._llama.llama_model_load_from_file(os.fsencode(path), settings)
            if not self._model:
                raise self._unusable()
            try:
                first = self._first_context()
            except ModelFileError:
                self._llama.llama_model_free(self._model)
                raise
        self._vocabulary: Any = self._llama.llama_model_get_vocab(self._model)
        self.dimensions = int(self._llama.llama_model_n_embd(self._model))
        self._contexts: FairPool[Any] = FairPool(first, self._context, self.at_once, self._llama.llama_free)
        self._alive = threading.Lock()

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text, its two ends included. Raises `PoolClosed` after `close`."""
        data = text.encode("utf-8")
        room = len(data) + 8
        buffer = (self._llama.llama_token * room)()
        with self._alive:  # some 20 microseconds: not worth more than a lock
            if not self._model:
                raise PoolClosed
            count = self._llama.llama_tokenize(self._vocabulary, data, len(data), buffer, room, True, False)
        return list(buffer[: max(0, count)])

    def vector(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a text of at most 512 tokens (more are left out), shape ``(dimensions,)``.

        Raises `PoolClosed` after `close`.
        """
        tokens = self.tokens(text)[:_POSITIONS]
        array = (self._llama.llama_token * len(tokens))(*tokens)
        with self._contexts.lend() as context:
            if memory := self._llama.llama_get_memory(context):  # encoders of BERT's kind have none
                self._llama.llama_memory_clear(memory, True)
            status = self._llama.llama_decode(context, self._llama.llama_batch_get_one(array, len(tokens)))
            if status:
                raise ModelFileError(
                    f"llama.cpp stopped with code {status} while {self._name} read a text.",
                    "There may be too little memory: close other programs.",
                )
            numbers = self._llama.llama_get_embeddings_seq(context, 0)
            return np.ctypeslib.as_array(numbers, shape=(self.dimensions,)).copy()

    def close(self) -> None:
        """Free the memory, once the texts at work are done. Safe to call twice."""
        self._contexts.close()
        with self._alive:
            model, self._model = self._model, None
            if model:
                self._llama.llama_model_free(model)

    def _first_context(self) -> Any:
        context = self._context()
        if self._llama.llama_pooling_type(context) == self._llama.LLAMA_POOLING_TYPE_NONE:
            self._llama.llama_free(context)
            raise ModelFileError(
                f"{self._name} is no sentence encoder: it names no pooling.",
                "A language model cannot score; choose an encoder such as the bundled one.",
            )
        return context

    def _context(self) -> Any:
        settings = self._llama.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = _POSITIONS
        settings.n_threads = settings.n_threads_batch = self._threads
        settings.embeddings = settings.no_perf = True
        # It would round otherwise, and gain nothing: the vectors that are kept on disk were made without it.
        settings.flash_attn_type = self._llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        context = self._llama.llama_init_from_model(self._model, settings)
        if not context:
            raise self._unusable()
        return context

    def _unusable(self) -> ModelFileError:
        reason = first_complaint() or "it gives no reason"
        return ModelFileError(
            f"{self._name} could not be loaded as an encoder: {reason}.", "Choose a GGUF file of a BERT-like encoder."
        )

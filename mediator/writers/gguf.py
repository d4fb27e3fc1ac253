"""A language model in a GGUF file, run by llama.cpp in this process; a prompt token is evaluated once."""

import ctypes
import os
import re
import threading
from codecs import getincrementaldecoder
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from mediator.cancellation import Cancellation, Cancelled
from mediator.errors import ModelFileError
from mediator.memory import LARGEST_DEFAULT_CONTEXT, check, context_by_default, need
from mediator.settings import user_path
from mediator.writers.aligned import alignment_of_metadata
from mediator.writers.base import Prompt, PromptTooLong, Sampling
from mediator.writers.conversation_layout import ALPACA_STOPS, alpaca_like, as_data, composed, until_stop, with_template
from mediator.writers.gguf_file import GGUFHeader, check_gguf_file
from mediator.writers.llama_library import AbortFlag, first_complaint, llama_library, quiet

_BATCH = 512  # tokens per llama_decode of a prompt; the abort flag is asked inside, so the size is for speed alone
_ABORTED = 2  # what llama_decode returns when the abort flag was set
_LEAST_ANSWER = 64  # tokens that must be left for an answer to be worth starting


class GGUFModel:
    """A GGUF file as a `LanguageModel`.

    The model is loaded at first use. Its context keeps the tokens of the last request: the next one evaluates only what
    follows the longest common prefix, so the system text and the views are read once for all candidates, strategies and
    rounds. Streams may be interleaved (each then re-reads what the other overwrote) and used from several threads.

    Attributes:
        name: ``gguf:`` and the path as given.
        alignment: how to ask it, where the file says that it was trained for compromises; else None.
        destination: None; the text stays on this computer.
        evaluated_tokens: prompt tokens that went through the network so far.
        drawn_tokens: answer tokens that were drawn so far.
    """

    def __init__(self, path: str | Path, context_length: int | None = None, threads: int | None = None) -> None:
        """Check the file, without loading it.

        Args:
            path: the ``.gguf`` file.
            context_length: tokens for prompt and answer together; by default what the model was trained for, at most
                8192.
            threads: CPU threads; by default the number of physical cores, as far as it can be told.

        Raises `ModelFileError` when the file is missing, damaged, or no text-writing model.
        """
        self.path = user_path(path)
        self.name = f"gguf:{path}"
        self.destination: str | None = None
        self.evaluated_tokens = 0
        self.drawn_tokens = 0
        self._header = check_writer_file(self.path)
        self.alignment = alignment_of_metadata(self._header.metadata, str(self.path))
        self._file_size = self.path.stat().st_size
        self._context_length = context_length
        self._threads = threads or default_threads()
        self._lock = threading.Lock()
        self._abort = AbortFlag()
        self._model: Any = None
        self._context: Any = None
        self._vocabulary: Any = None
        self._held: list[int] = []  # the tokens in llama.cpp's memory, in order
        self._holder: object = None  # the stream whose tokens they are
        self._markers: frozenset[str] = frozenset()
        self._template: Any = None
        self._closed = False

    def stream(self, prompt: Prompt, sampling: Sampling, cancel: Cancellation) -> Iterator[str]:
        """Yield pieces of the answer.

        The same prompt, sampling and seed give the same text. Raises `PromptTooLong`, `ModelFileError`, and `Cancelled`
        also in the middle of a long prompt.
        """
        tokens = self.tokenize(prompt, cancel)
        room = self.context_length - len(tokens)
        if room < min(_LEAST_ANSWER, sampling.max_tokens):
            raise PromptTooLong(
                f"The prompt takes {len(tokens)} tokens of the {self.context_length} that {self.path.name} can hold.",
                "Shorten the views, or choose a larger context length or another model.",
            )
        stops = sampling.stop if self._template and not prompt.plain else (*sampling.stop, *ALPACA_STOPS)
        with closing(self._answer(tokens, min(sampling.max_tokens, room), sampling, cancel)) as answer:
            yield from until_stop(answer, stops)

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the exact number of tokens of the laid-out prompt. Loads the model."""
        return len(self.tokenize(prompt))

    def tokenize(self, prompt: Prompt, cancel: Cancellation | None = None) -> list[int]:
        """Return the tokens that the model is given for a prompt, its own markers included. Loads the model."""
        cancel = cancel or Cancellation()
        with self._turn(cancel):
            self._load(cancel)
            return self._tokens(prompt)

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may take together; 0 before the model is loaded."""
        return int(llama_library().llama_n_ctx(self._context)) if self._context else 0

    def close(self) -> None:
        """Free the model's memory; a running stream stops first. Safe to call twice."""
        self._closed = True
        self._abort.set()
        with self._lock:
            if self._context:
                llama_library().llama_free(self._context)
            if self._model:
                llama_library().llama_model_free(self._model)
            self._context = self._model = self._vocabulary = None
            self._held, self._holder = [], None

    # -- the file ---------------------------------------------------------------------------------------------------

    def _load(self, cancel: Cancellation) -> None:
        if self._closed:
            raise ModelFileError(f"{self.path} was closed.", "Choose the model again.")
        if self._model:
            return
        length = self._context_length or context_by_default(self._header)
        check(self.path.name, need(self._header, self._file_size, length))
        llama = llama_library()
        with quiet():
            parameters = llama.llama_model_default_params()
            # Called a hundred times per load: the way to leave it early.
            go_on = llama.llama_progress_callback(lambda _share, _data: not (cancel.cancelled or self._closed))
            parameters.progress_callback = go_on
            model = llama.llama_model_load_from_file(os.fsencode(self.path), parameters)
            if not model:
                cancel.raise_if_cancelled()
                raise ModelFileError(
                    f"llama.cpp cannot load {self.path}: {first_complaint() or 'it gives no reason'}.",
                    "Choose another file; a newer llama-cpp-python may know newer kinds of model.",
                )
            if llama.llama_model_has_encoder(model) or not llama.llama_model_has_decoder(model):
                llama.llama_model_free(model)
                raise ModelFileError(
                    f"{self.path} is no decoder-only language model.",
                    "Choose a language model, e.g. an instruct model.",
                )
            settings = llama.llama_context_default_params()
            trained = llama.llama_model_n_ctx_train(model)
            settings.n_ctx = self._context_length or min(trained, LARGEST_DEFAULT_CONTEXT)
            settings.n_batch = settings.n_ubatch = min(_BATCH, settings.n_ctx)
            settings.n_threads = settings.n_threads_batch = self._threads
            settings.no_perf = True
            context = llama.llama_init_from_model(model, settings)
            if not context:
                llama.llama_model_free(model)
                raise ModelFileError(
                    f"llama.cpp cannot run {self.path}: {first_complaint() or 'it gives no reason'}.",
                    "There may be too little memory: choose a smaller context length or a smaller model.",
                )
        self._abort.attach(context)
        self._model, self._context = model, context
        self._vocabulary = llama.llama_model_get_vocab(model)
        self._markers = self._control_markers()
        self._template = self._chat_template()

    def _chat_template(self) -> Any:
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        llama = llama_library()
        source = llama.llama_model_chat_template(self._model, None)
        if not source:
            return None
        begin, end = llama.llama_vocab_bos(self._vocabulary), llama.llama_vocab_eos(self._vocabulary)
        try:
            return Jinja2ChatFormatter(
                template=source.decode("utf-8"), bos_token=self._token_text(begin), eos_token=self._token_text(end)
            )
        except Exception as error:
            raise ModelFileError(
                f"The chat template of {self.path} is no valid template: {error}.", "Choose another file of this model."
            ) from error

    def _token_text(self, token: int) -> str:
        return llama_library().llama_vocab_get_text(self._vocabulary, token).decode("utf-8") if token >= 0 else ""

    def _control_markers(self) -> frozenset[str]:
        """Texts that the tokenizer reads as one control token, e.g. ``<|im_end|>``."""
        llama = llama_library()
        markers = []
        for token in range(llama.llama_vocab_n_tokens(self._vocabulary)):
            attributes = llama.llama_vocab_get_attr(self._vocabulary, token)
            if attributes & (llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_USER_DEFINED):
                text = llama.llama_vocab_get_text(self._vocabulary, token).decode("utf-8", "replace")
                # Some vocabularies define runs of blanks, too: those are plain text.
                if attributes & llama.LLAMA_TOKEN_ATTR_CONTROL or re.fullmatch(r"<\S+>|\[\S+\]", text):
                    markers.append(text)
        return frozenset(markers)

    # -- text and tokens --------------------------------------------------------------------------------------------

    def _tokens(self, prompt: Prompt) -> list[int]:
        if self._header.metadata.get("evenhand.normalizer") == "NFC":  # before the markers: it may make a letter of one
            prompt = composed(prompt)
        prompt = as_data(prompt, self._markers)
        if prompt.plain:
            return self._plain_tokens(prompt.messages[0].content)
        if self._template:
            try:
                text = with_template(lambda messages: str(self._template(messages=messages).prompt), prompt)
            except Exception as error:
                raise ModelFileError(
                    f"The chat template of {self.path} failed: {error}.", "Choose another file of this model."
                ) from error
        else:
            text = alpaca_like(prompt)
        llama = llama_library()
        begin = self._token_text(llama.llama_vocab_bos(self._vocabulary))
        # Most templates write the beginning-of-text token themselves; twice would be one too many.
        return self._tokenized(text, not (self._template and begin and text.startswith(begin)))

    def _plain_tokens(self, text: str) -> list[int]:
        """The tokens of a text as training had them: no end, and a beginning if there was one."""
        llama = llama_library()
        begins = self.alignment.starts_with_bos if self.alignment is not None else None
        if begins is None:
            begins = bool(llama.llama_vocab_get_add_bos(self._vocabulary))
        begin = [int(llama.llama_vocab_bos(self._vocabulary))] if begins else []
        return [*(token for token in begin if token >= 0), *self._tokenized(text, False)]

    def _tokenized(self, text: str, add_special: bool) -> list[int]:
        llama = llama_library()
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        buffer = (llama.llama_token * room)()
        count = llama.llama_tokenize(self._vocabulary, data, len(data), buffer, room, add_special, True)
        if count < 0:
            raise PromptTooLong("The prompt could not be split into tokens.", "Shorten the views.")
        return list(buffer[:count])

    def _piece(self, token: int) -> bytes:
        llama = llama_library()
        size = 32
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = llama.llama_token_to_piece(self._vocabulary, token, buffer, size, 0, False)
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    # -- the network ------------------------------------------------------------------------------------------------

    def _turn(self, cancel: Cancellation) -> "_Turn":
        return _Turn(self._lock, cancel)

    def _answer(
        self, prompt: list[int], room: int, sampling: Sampling, cancel: Cancellation
    ) -> Generator[str, None, None]:
        llama = llama_library()
        decoder = getincrementaldecoder("utf-8")("replace")
        tokens = list(prompt)
        me = object()
        for step in range(room):
            # The flag stops whoever is decoding, so only the stream whose turn it is may be able to set it.
            with self._turn(cancel), cancel.calling(self._abort.set):
                self._evaluate(tokens, me, cancel)
                token = self._draw(sampling, step)
                if llama.llama_vocab_is_eog(self._vocabulary, token):
                    break
                text = decoder.decode(self._piece(token))
            tokens.append(token)
            if text:
                yield text
        rest = decoder.decode(b"", final=True)
        if rest:
            yield rest

    def _evaluate(self, tokens: list[int], holder: object, cancel: Cancellation) -> None:
        """Make llama.cpp's memory hold exactly ``tokens`` and its logits belong to the last of them."""
        llama = llama_library()
        going_on = self._holder is holder  # this stream's own next token: nothing to compare
        if not going_on:
            self._keep(min(_common_prefix(self._held, tokens), len(tokens) - 1))
            self._holder = holder
        while len(self._held) < len(tokens):
            part = tokens[len(self._held) : len(self._held) + _BATCH]
            self._abort.clear()
            self._stop_if_asked(cancel)  # after the clearing: a cancel just before it must not get lost
            array = (llama.llama_token * len(part))(*part)
            status = llama.llama_decode(self._context, llama.llama_batch_get_one(array, len(part)))
            if status:
                self._keep(len(self._held))  # what an aborted decode left behind
                if status != _ABORTED:
                    raise ModelFileError(
                        f"llama.cpp stopped with code {status} while it read the prompt.",
                        "There may be too little memory: choose a smaller context length.",
                    )
                self._stop_if_asked(cancel)
                continue  # the late echo of another stream's cancel
            self._held.extend(part)
            if not going_on:
                self.evaluated_tokens += len(part)

    def _keep(self, count: int) -> None:
        """Forget every token after the first ``count``, in llama.cpp's memory and in ours."""
        llama = llama_library()
        memory = llama.llama_get_memory(self._context)
        if not llama.llama_memory_seq_rm(memory, 0, count, -1):
            llama.llama_memory_clear(memory, True)  # recurrent models cannot forget a part: they start over
            count = 0
        del self._held[count:]

    def _stop_if_asked(self, cancel: Cancellation) -> None:
        cancel.raise_if_cancelled()
        if self._closed:
            raise Cancelled

    def _draw(self, sampling: Sampling, step: int) -> int:
        import numpy as np

        from mediator.writers.token_draw import NoNumbers, draw

        llama = llama_library()
        count = llama.llama_vocab_n_tokens(self._vocabulary)
        logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(self._context, -1), shape=(count,))
        self.drawn_tokens += 1
        try:
            return draw(logits, sampling, step)
        except NoNumbers as error:
            raise ModelFileError(
                f"The weights in {self.path} are damaged: they give no numbers.", "Download it again."
            ) from error


def check_writer_file(path: Path) -> GGUFHeader:
    """Return the header of a file that can write. Raises `ModelFileError` for a missing, damaged or other file."""
    header = check_gguf_file(path)
    if "tokenizer.ggml.tokens" not in header.metadata:
        raise ModelFileError(f"{path} has no vocabulary.", "Choose a complete language model.")
    if f"{header.architecture}.pooling_type" in header.metadata or "bert" in header.architecture:
        raise ModelFileError(
            f"{path} is a text encoder: it cannot write.", "Choose a language model, e.g. an instruct model."
        )
    return header


class _Turn:
    """Waits for the model's lock, but not beyond a cancel: another stream may be in the middle of a long prompt."""

    def __init__(self, lock: threading.Lock, cancel: Cancellation) -> None:
        self._lock = lock
        self._cancel = cancel

    def __enter__(self) -> None:
        self._cancel.raise_if_cancelled()
        while not self._lock.acquire(timeout=0.05):
            self._cancel.raise_if_cancelled()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def default_threads() -> int:
    """Threads for llama.cpp: half the logical processors above four, where the other half are hyper-threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if cores <= 4 else cores // 2


def _common_prefix(left: list[int], right: list[int]) -> int:
    length = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        length += 1
    return length

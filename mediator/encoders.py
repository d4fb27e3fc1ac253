"""Text encoders: a sentence in, a unit vector out. GGUF files through llama.cpp, or any sentence-transformers model."""

import hashlib
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mediator.encoder_prefix import GGUF_KEY, fingerprint_with, prefix_of_metadata, prefix_of_prompts
from mediator.errors import MissingExtraError, ModelFileError
from mediator.fair_pool import PoolClosed
from mediator.resources import asset
from mediator.settings import user_path

Matrix = NDArray[np.float32]

BUNDLED = "empathy-minilm-q8_0.gguf"

# all-MiniLM was trained on short texts and sentence-transformers cuts it at 256 tokens; longer texts are pooled over
# windows of this size instead of being stretched to the 512 positions that the file allows.
_WINDOW_TOKENS = 256


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into unit vectors.

    Attributes:
        name: how the user named it.
        fingerprint: changes whenever the weights or the prefix change; the key of every cache of embeddings.
        dimensions: length of a vector.
    """

    name: str
    fingerprint: str
    dimensions: int

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return one L2-normalised float32 row per text, shape ``(len(texts), dimensions)``."""
        ...

    def close(self) -> None:
        """Free the model. Safe to call twice."""
        ...


def windows(text: str, limit: int, count: Callable[[str], int]) -> list[tuple[str, int]]:
    """Split a text into consecutive windows of at most ``limit`` tokens, at sentence or word boundaries.

    A single word longer than the limit is cut into pieces, so nothing is ever dropped. Returns ``(window, tokens)``.
    """
    total = count(text)
    if total <= limit:
        return [(text, total)]
    pieces: list[str] = []
    for sentence in re.split(r"(?<=[.!?…。！？])\s+|\n+", text):
        if count(sentence) <= limit:
            pieces.append(sentence)
            continue
        for word in sentence.split():
            pieces.extend(_cut(word, limit, count))
    result: list[tuple[str, int]] = []
    current, size = "", 0
    for piece in filter(None, pieces):
        joined = f"{current} {piece}" if current else piece
        tokens = count(joined)
        if current and tokens > limit:
            result.append((current, size))
            joined, tokens = piece, count(piece)
        current, size = joined, tokens
    if current:
        result.append((current, size))
    return result or [(text, total)]


def _cut(word: str, limit: int, count: Callable[[str], int]) -> list[str]:
    if count(word) <= limit or len(word) < 2:
        return [word]
    middle = len(word) // 2
    return _cut(word[:middle], limit, count) + _cut(word[middle:], limit, count)


def file_fingerprint(path: Path) -> str:
    """SHA-256 of a file's content, the first 16 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def _without_surrogates(text: str) -> str:
    """A lone surrogate cannot be UTF-8; it can reach us from JSON escapes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _unit(vector: NDArray[Any]) -> Matrix:
    norm = float(np.linalg.norm(vector))
    return (vector / norm if norm > 0 else vector).astype(np.float32)


class GGUFEncoder:
    """An encoder in a GGUF file, run by llama.cpp in this process on one thread per text.

    Each text is evaluated on its own: its vector then depends on nothing but the text, which is what makes the scorer
    exactly symmetric and every cache exact. Several texts of one call, and several callers, share the cores, and every
    piece of at most 256 tokens takes its turn among all that wait: nobody's long view holds up another's short text
    for more than a tenth of a second or so.

    A prefix that the encoder was trained with (`mediator.encoder_prefix`) goes before every piece.
    """

    def __init__(self, path: Path, name: str | None = None, threads: int = 1) -> None:
        """Load the file. Raises `ModelFileError` when it is missing, damaged, or no encoder."""
        from mediator.llama_embedding import LlamaEmbedding
        from mediator.writers.gguf_file import check_gguf_file

        header = check_gguf_file(path)
        self._model = LlamaEmbedding(path, threads)
        self.name = name or path.name
        positions = header.metadata.get(f"{header.architecture}.context_length")
        window = min(_WINDOW_TOKENS, positions) if isinstance(positions, int) else _WINDOW_TOKENS
        self._prefix = prefix_of_metadata(header.metadata, path.name) or ""
        self._limit = window - (self._tokens(self._prefix) if self._prefix else 0)
        if self._limit < window // 2:
            self._model.close()
            raise ModelFileError(
                f"{path.name}: the prefix under {GGUF_KEY} has {window - self._limit} tokens, of {window} for it and a "
                "text together.",
                "Export the encoder again, with a shorter one.",
            )
        self.fingerprint = fingerprint_with(self._prefix, file_fingerprint(path))
        self.dimensions = self._model.dimensions
        # The caller's own thread works as well.
        self._helpers = ThreadPoolExecutor(max(1, self._model.at_once - 1), thread_name_prefix="encoder")

    def _tokens(self, text: str) -> int:
        return len(self._model.tokens(text))

    def _encode_one(self, text: str) -> Matrix:
        parts = windows(_without_surrogates(text), self._limit, self._tokens)
        unit = np.stack([_unit(self._model.vector(self._prefix + part)) for part, _ in parts])
        weights = np.asarray([tokens for _, tokens in parts], dtype=np.float32)
        return _unit(weights @ unit)

    def encode(self, texts: Sequence[str]) -> Matrix:
        """See `Encoder.encode`. Raises `RuntimeError` after `close`."""
        rows = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        left = iter(range(len(texts)))

        def work() -> None:
            for position in left:
                rows[position] = self._encode_one(texts[position])

        helpers = self._helping(work, min(self._model.at_once, len(texts)) - 1)
        try:
            try:
                work()
            finally:
                for _ in left:  # after a failure: the rest is not worth while
                    pass
                # A helper still busy with another caller's texts is not waited for: nothing is left for it to do.
                working = [helper for helper in helpers if not helper.cancel()]
                wait(working)
            for helper in working:
                helper.result()
        except PoolClosed:
            raise RuntimeError(f"the encoder {self.name} is closed") from None
        return rows

    def _helping(self, work: Callable[[], None], number: int) -> list[Future[None]]:
        try:
            return [self._helpers.submit(work) for _ in range(number)]
        except RuntimeError:  # the encoder is closed, or Python is ending
            return []

    def close(self) -> None:
        """Free the model, once the texts at work are done."""
        self._helpers.shutdown(wait=False, cancel_futures=True)
        self._model.close()


class SentenceTransformersEncoder:
    """Any sentence-transformers encoder by folder or hub name (needs the ``hf`` extra).

    Some, such as e5, were trained with a prefix on every text; they get it (`mediator.encoder_prefix`).
    """

    def __init__(self, name: str) -> None:
        """Load the model. Raises `MissingExtraError` without the extra, `ModelFileError` when it cannot be loaded."""
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError(
                f"The encoder {name} needs sentence-transformers.", "Install it: pip install 'evenhand[hf]'"
            ) from error
        try:
            self._model: Any = SentenceTransformer(
                name, trust_remote_code=False, model_kwargs={"use_safetensors": True}, device=None
            )
        except (OSError, ValueError) as error:
            raise ModelFileError(
                f"The encoder {name} could not be loaded.",
                "Give the folder of a sentence-transformers model, or its hub name and a network.",
            ) from error
        self.name = name
        self._prefix = prefix_of_prompts(self._model.prompts, self._model.default_prompt_name, name) or ""
        self.dimensions = self._model.encode([""], show_progress_bar=False).shape[1]
        self._lock = threading.Lock()
        self.fingerprint = self._weights_fingerprint()

    def _weights_fingerprint(self) -> str:
        digest = hashlib.sha256(self._prefix.encode())
        for key, tensor in sorted(self._model.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def _tokens(self, text: str) -> int:
        return len(self._model.tokenizer(text, truncation=False)["input_ids"])

    def _encode_one(self, text: str) -> Matrix:
        with self._lock:
            limit = int(self._model.max_seq_length or 512) - self._tokens(self._prefix)
            parts = windows(_without_surrogates(text), limit, self._tokens)
            vectors = self._model.encode(
                [part for part, _ in parts], prompt=self._prefix, normalize_embeddings=True, show_progress_bar=False
            )
        weights = np.asarray([tokens for _, tokens in parts], dtype=np.float32)
        return _unit(weights @ np.asarray(vectors, dtype=np.float32))

    def encode(self, texts: Sequence[str]) -> Matrix:
        """See `Encoder.encode`."""
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        return np.stack([self._encode_one(text) for text in texts])

    def close(self) -> None:
        """Free the model."""
        self._model = None


def load_encoder(name: str = "bundled") -> Encoder:
    """Load ``bundled``, a ``.gguf`` file by path, or a sentence-transformers folder or hub name."""
    if name == "bundled":
        return GGUFEncoder(asset("models", BUNDLED), name="bundled")
    if name.lower().endswith(".gguf"):
        return GGUFEncoder(user_path(name))
    return SentenceTransformersEncoder(name)

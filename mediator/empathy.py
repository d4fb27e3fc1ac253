"""EmpathyModel: how close a text comes to a view, as a raw cosine and as a calibrated score between 0 and 1.

Empathic similarity is the cosine of two encoder embeddings (the compromise paper, section 3.1). Shown scores are
calibrated per view, because a raw difference |s_A - s_B| mostly measures that one view is wordier or more typical than
the other: the scale of a view is set by its cosines to a fixed set of reference proposals
(assets/reference_proposals.yaml).
"""

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from mediator.embedding_store import EmbeddingStore
from mediator.encoders import Encoder, Matrix, load_encoder
from mediator.errors import InputError
from mediator.resources import asset, read_yaml
from mediator.schema import Dispute, Scores, View

_REMEMBERED_TEXTS = 2_000
"""Texts whose vectors are kept: those of about forty mediations of the drafter, 4 MB together."""

_REMEMBERED_SCALES = 1_000


@lru_cache(maxsize=1)
def reference_proposals() -> tuple[str, ...]:
    """The hand-written reference proposals, in the order of the file."""
    entries = read_yaml(asset("reference_proposals.yaml"))
    return tuple(entry["text"] for entry in entries)


@dataclass(frozen=True)
class Scale:
    """The scale of one view: the location and spread of its cosines to the reference proposals.

    Attributes:
        centre: mean cosine of the view to the references.
        spread: standard deviation of these cosines.
    """

    centre: float
    spread: float

    @classmethod
    def of(cls, cosines: Matrix) -> "Scale":
        """Build the scale from a view's cosines to the references, shape ``(references,)``."""
        return cls(float(np.mean(cosines)), max(float(np.std(cosines)), 1e-3))

    def position(self, cosine: float) -> float:
        """Map a raw cosine to 0..1, increasing."""
        deviations = (cosine - self.centre) / self.spread
        # The logistic function of (deviations - MIDDLE) / WIDTH, in the form that cannot overflow.
        return 0.5 * (1.0 + math.tanh((deviations - MIDDLE) / (2.0 * WIDTH)))


# The score is one half for a text that is MIDDLE standard deviations above the mean reference proposal.
MIDDLE = 2.0
WIDTH = 1.5


class EmpathyModel:
    """Scores texts against views. Thread-safe.

    The vectors of the texts last seen are kept, in memory only and under digests: the texts themselves are not.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._store = EmbeddingStore(encoder.fingerprint)
        self._memory: OrderedDict[bytes, Matrix] = OrderedDict()
        self._scales: OrderedDict[bytes, Scale] = OrderedDict()
        self._lock = threading.Lock()
        self._references: Matrix | None = None

    @classmethod
    def load(cls, encoder: str | Path = "bundled") -> "EmpathyModel":
        """Load an encoder by name (see `mediator.encoders.load_encoder`)."""
        return cls(load_encoder(str(encoder)))

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Unit vectors of texts, shape ``(len(texts), dimensions)``; each text is encoded once."""
        if not texts:
            return np.zeros((0, self.encoder.dimensions), dtype=np.float32)
        keys = [_digest(text) for text in texts]
        found: dict[bytes, Matrix] = {}
        with self._lock:
            for key in keys:
                if (row := self._memory.get(key)) is not None:
                    self._memory.move_to_end(key)
                    found[key] = row
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            rows = self.encoder.encode(list(missing.values()))
            with self._lock:
                for key, row in zip(missing, rows, strict=True):
                    # A copy: a row would keep alive all that were encoded with it.
                    found[key] = self._memory[key] = row.copy()
                while len(self._memory) > _REMEMBERED_TEXTS:
                    self._memory.popitem(last=False)
        return np.stack([found[key] for key in keys])

    def embed_shipped(self, texts: Sequence[str]) -> Matrix:
        """Like `embed`, for texts that ship with Evenhand: their vectors are also kept on disk between runs."""
        return self._store.get(texts, self.encoder)

    def references(self) -> Matrix:
        """Unit vectors of the reference proposals, shape ``(references, dimensions)``."""
        if self._references is None:
            self._references = self.embed_shipped(reference_proposals())
        return self._references

    def scale(self, view_text: str) -> Scale:
        """The calibration of one view."""
        key = _digest(view_text)
        with self._lock:
            if (known := self._scales.get(key)) is not None:
                self._scales.move_to_end(key)
                return known
        scale = Scale.of(self.references() @ self.embed([view_text])[0])
        with self._lock:
            self._scales[key] = scale
            while len(self._scales) > _REMEMBERED_SCALES:
                self._scales.popitem(last=False)
        return scale

    def similarity(self, view: View, texts: Sequence[str]) -> tuple[list[float], list[float]]:
        """Raw cosines (-1..1) and calibrated scores (0..1) of texts against one view, in the order given."""
        view_text = view.as_text()
        _require_text(texts)
        vectors = self.embed([view_text, *texts])
        scale = self.scale(view_text)
        # One dot product per text, not one matrix product: BLAS may round differently by shape, and the score of a text
        # must not depend on which other texts it is scored with.
        raw = [float(np.dot(vectors[0], vector)) for vector in vectors[1:]]
        return raw, [scale.position(cosine) for cosine in raw]

    def score(self, dispute: Dispute, texts: Sequence[str]) -> list[Scores]:
        """Score texts against both views, in the order given. Swapping A and B swaps the scores exactly.

        Raises `InputError` for an empty text.
        """
        raw_a, score_a = self.similarity(dispute.view_a, texts)
        raw_b, score_b = self.similarity(dispute.view_b, texts)
        return [
            Scores(score_a=a, score_b=b, raw_a=ra, raw_b=rb)
            for a, b, ra, rb in zip(score_a, score_b, raw_a, raw_b, strict=True)
        ]

    def close(self) -> None:
        """Free the encoder."""
        self.encoder.close()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _require_text(texts: Sequence[str]) -> None:
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise InputError(f"Text {number} is empty: there is nothing to score.", "Give it at least one word.")

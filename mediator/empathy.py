"""EmpathyModel: how close a text comes to a view, as a raw cosine and as a calibrated score between 0 and 1.

Empathic similarity is the cosine of two encoder embeddings (the compromise paper, section 3.1). Shown scores are
calibrated per view, because a raw difference |s_A - s_B| mostly measures that one view is wordier or more typical than
the other: the scale of a view is set by its cosines to a fixed set of reference proposals
(assets/reference_proposals.yaml).
"""

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

_REMEMBERED_TEXTS = 20_000  # 384 floats each: about 30 MB


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
    """Scores texts against views. Thread-safe; keeps the embeddings of the texts it has seen in memory only."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._store = EmbeddingStore(encoder.fingerprint)
        self._memory: OrderedDict[str, Matrix] = OrderedDict()
        self._scales: OrderedDict[str, Scale] = OrderedDict()
        self._lock = threading.Lock()
        self._references: Matrix | None = None

    @classmethod
    def load(cls, encoder: str | Path = "bundled") -> "EmpathyModel":
        """Load an encoder by name (see `mediator.encoders.load_encoder`)."""
        return cls(load_encoder(str(encoder)))

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Unit vectors of texts, shape ``(len(texts), dimensions)``; each text is encoded once."""
        with self._lock:
            found: dict[str, Matrix] = {}
            for text in texts:
                if text in self._memory:
                    self._memory.move_to_end(text)
                    found[text] = self._memory[text]
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        if missing:
            rows = self.encoder.encode(missing)
            with self._lock:
                for text, row in zip(missing, rows, strict=True):
                    found[text] = self._memory[text] = row
                while len(self._memory) > _REMEMBERED_TEXTS:
                    self._memory.popitem(last=False)
        if not texts:
            return np.zeros((0, self.encoder.dimensions), dtype=np.float32)
        return np.stack([found[text] for text in texts])

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
        with self._lock:
            known = self._scales.get(view_text)
        if known is not None:
            return known
        scale = Scale.of(self.references() @ self.embed([view_text])[0])
        with self._lock:
            self._scales[view_text] = scale
            while len(self._scales) > 1000:
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


def _require_text(texts: Sequence[str]) -> None:
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise InputError(f"Text {number} is empty: there is nothing to score.", "Give it at least one word.")

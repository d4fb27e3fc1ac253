"""EmpathyModel: how close a text comes to a view, as a raw cosine and as a calibrated score between 0 and 1.

Empathic similarity is the cosine of two encoder embeddings (the compromise paper, section 3.1). Shown scores are
calibrated per view, because a raw difference |s_A - s_B| mostly measures that one view is wordier or more typical than
the other: the scale of a view is set by its cosines to a fixed set of reference proposals
(assets/reference_proposals.yaml). How close a text is to the two sides together is read on these scales; which of the
two it leans to, and how sure that is, comes from the contrast of the views (mediator/contrast.py).
"""

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from mediator.contrast import Contrast, Lean
from mediator.embedding_store import EmbeddingStore
from mediator.encoders import Encoder, Matrix, load_encoder
from mediator.errors import InputError
from mediator.language import is_english, reads_as_english
from mediator.resources import asset, read_yaml
from mediator.schema import Dispute, Scores

_REMEMBERED_TEXTS = 2_000
"""Texts whose vectors are kept: those of about forty mediations of the drafter, 4 MB together."""

_REMEMBERED_SCALES = 1_000
"""Views, and pairs of views, whose calibration is kept."""


Kept = TypeVar("Kept")


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

    def deviations(self, cosine: float) -> float:
        """How many standard deviations a raw cosine lies above the mean reference proposal."""
        return (cosine - self.centre) / self.spread

    def position(self, cosine: float) -> float:
        """Map a raw cosine to 0..1, increasing."""
        return score_at(self.deviations(cosine))


# The score is one half for a text that is MIDDLE standard deviations above the mean reference proposal.
MIDDLE = 2.0
WIDTH = 1.5

DEVIATION_ERROR = 0.77
"""Standard error of one bar, in standard deviations of its view's scale: how far the bars of texts that were written to
serve both sides alike lie from one another within a dispute (the development set of benchmarks/encoder_tilt.py)."""

ERROR_SEEN = (0.2, 5.8)
"""Between which deviations those texts lie. Further out the error of a bar stays what it is at these ends (0.10 and
0.03): the curve goes on towards 0 and 1 there and shrinks any error to nothing, and no text was measured to say so."""


def score_at(deviations: float) -> float:
    """The score, 0..1, of a text that lies so many standard deviations above the mean reference proposal."""
    # The logistic function of (deviations - MIDDLE) / WIDTH, in the form that cannot overflow.
    return 0.5 * (1.0 + math.tanh((deviations - MIDDLE) / (2.0 * WIDTH)))


class EmpathyModel:
    """Scores texts against views. Thread-safe.

    The vectors of the texts last seen are kept, in memory only and under digests: the texts themselves are not.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._store = EmbeddingStore(encoder.fingerprint)
        self._memory: OrderedDict[bytes, Matrix] = OrderedDict()
        self._scales: OrderedDict[bytes, Scale] = OrderedDict()
        self._contrasts: OrderedDict[bytes, Contrast] = OrderedDict()
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
        return self._remembered(
            self._scales, _digest(view_text), lambda: Scale.of(self.references() @ self.embed([view_text])[0])
        )

    def contrast(self, text_a: str, text_b: str) -> Contrast:
        """What sets two views apart."""

        def make() -> Contrast:
            vector_a, vector_b = self.embed([text_a, text_b])
            return Contrast.of(text_a, text_b, vector_a, vector_b, self.references())

        return self._remembered(self._contrasts, _digest(text_a) + _digest(text_b), make)

    def _remembered(self, known: OrderedDict[bytes, Kept], key: bytes, make: Callable[[], Kept]) -> Kept:
        with self._lock:
            if (found := known.get(key)) is not None:
                known.move_to_end(key)
                return found
        made = make()
        with self._lock:
            known[key] = made
            while len(known) > _REMEMBERED_SCALES:
                known.popitem(last=False)
        return made

    def score(self, dispute: Dispute, texts: Sequence[str]) -> list[Scores]:
        """Score texts against both views, in the order given. Swapping A and B swaps the scores exactly.

        Where a view or a text is not in English (`mediator.language`), the scores are not `Scores.measured`.

        Raises `InputError` for an empty text.
        """
        _require_text(texts)
        text_a, text_b = dispute.view_a.as_text(), dispute.view_b.as_text()
        vector_a, vector_b, *vectors = self.embed([text_a, text_b, *texts])
        scale_a, scale_b, contrast = self.scale(text_a), self.scale(text_b), self.contrast(text_a, text_b)
        # One dot product per text, not one matrix product: BLAS may round differently by shape, and the score of a text
        # must not depend on which other texts it is scored with.
        both_read = reads_as_english(text_a) and reads_as_english(text_b)
        scored = []
        for text, vector in zip(texts, vectors, strict=True):
            raw_a, raw_b = float(np.dot(vector_a, vector)), float(np.dot(vector_b, vector))
            closeness = (scale_a.deviations(raw_a) + scale_b.deviations(raw_b)) / 2.0
            scores = _scores(raw_a, raw_b, closeness, contrast.lean(text, vector))
            scored.append(scores if both_read and is_english(text) else scores.unmeasured())
        return scored

    def close(self) -> None:
        """Free the encoder."""
        self.encoder.close()


def _scores(raw_a: float, raw_b: float, closeness: float, lean: Lean) -> Scores:
    """The scores of one text: its mean closeness to both views, in standard deviations, drawn apart by its lean."""

    def sides(tilt: float) -> tuple[float, float]:
        return closeness + tilt / 2.0, closeness - tilt / 2.0

    def shown(tilt: float) -> float:
        a, b = sides(tilt)
        return score_at(a) - score_at(b)

    a, b = sides(lean.tilt)
    return Scores(
        score_a=score_at(a),
        score_b=score_at(b),
        raw_a=raw_a,
        raw_b=raw_b,
        score_error_a=_error_at(a),
        score_error_b=_error_at(b),
        tilt_low=shown(lean.tilt - lean.half_width),
        tilt_high=shown(lean.tilt + lean.half_width),
    )


def _error_at(deviations: float) -> float:
    """The standard error, 0..1, of a bar at so many standard deviations (`DEVIATION_ERROR`, `ERROR_SEEN`)."""
    lowest, highest = ERROR_SEEN
    seen = min(max(deviations, lowest), highest)
    return (score_at(seen + DEVIATION_ERROR) - score_at(seen - DEVIATION_ERROR)) / 2.0


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _require_text(texts: Sequence[str]) -> None:
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise InputError(f"Text {number} is empty: there is nothing to score.", "Give it at least one word.")

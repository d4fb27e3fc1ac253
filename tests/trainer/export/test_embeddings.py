"""The table of embeddings that ships beside the bundled encoder is whole and of that encoder."""

from pathlib import Path

import numpy as np

from mediator.embedding_store import EmbeddingStore
from mediator.empathy import EmpathyModel
from mediator.encoders import BUNDLED, Encoder, Matrix, file_fingerprint
from mediator.resources import asset
from trainer.export.embeddings import shipped_texts


class _Refusing:
    """An encoder that must not be needed."""

    name = "none"
    dimensions = 384

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint

    def encode(self, texts: object) -> Matrix:
        raise AssertionError(f"not in the shipped table: run python -m trainer.export.embeddings ({str(texts)[:200]})")

    def close(self) -> None:
        pass


def test_the_shipped_table_covers_every_shipped_text(tmp_path: Path) -> None:
    encoder: Encoder = _Refusing(file_fingerprint(asset("models", BUNDLED)))
    vectors = EmbeddingStore(encoder.fingerprint, tmp_path).get(shipped_texts(), encoder)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_the_shipped_vectors_are_those_of_the_bundled_encoder() -> None:
    model = EmpathyModel.load()
    texts = shipped_texts()[::90]
    assert np.allclose(model.embed_shipped(texts), model.encoder.encode(texts), atol=1e-3)

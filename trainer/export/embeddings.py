"""The table of embeddings that ships beside the bundled encoder: reference proposals and measures, encoded once.

    python -m trainer.export.embeddings

Run it after a change of the encoder, the reference proposals or the measures; a test says when it is due.
Without the table the app works as well, but its first proposal on a new computer takes some seconds longer.
"""

import sys
from pathlib import Path

from mediator.drafting.measures import library
from mediator.embedding_store import ship
from mediator.empathy import reference_proposals
from mediator.encoders import load_encoder
from mediator.resources import asset


def shipped_texts() -> list[str]:
    """Every text whose vector the app needs before it can score or draft."""
    return [*reference_proposals(), *(measure.neutral_text for measure in library())]


def ship_embeddings(encoder_name: str = "bundled") -> Path:
    """Write the table for an encoder and remove those of earlier encoders; returns its path."""
    encoder = load_encoder(encoder_name)
    try:
        target = asset("models", f"embeddings-{encoder.fingerprint}.npz")
        ship(target, shipped_texts(), encoder)
    finally:
        encoder.close()
    for outdated in target.parent.glob("embeddings-*.npz"):
        if outdated != target:
            outdated.unlink()
    target.chmod(0o644)
    return target


if __name__ == "__main__":
    print(ship_embeddings(), file=sys.stderr)

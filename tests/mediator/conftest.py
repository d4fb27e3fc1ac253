"""Fixtures of the domain's tests: the bundled encoder and the scorer on it, loaded once a run."""

from collections.abc import Iterator

import pytest

from mediator.empathy import EmpathyModel
from mediator.encoders import Encoder, load_encoder


@pytest.fixture(scope="session")
def encoder() -> Iterator[Encoder]:
    """The encoder that ships with Evenhand."""
    loaded = load_encoder("bundled")
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def scorer(encoder: Encoder) -> EmpathyModel:
    """The scorer on the bundled encoder; its memory of embeddings is shared by the whole run."""
    return EmpathyModel(encoder)

"""Fixtures of the writers' tests: tiny models made once a run, and a prompt to send them."""

from pathlib import Path

import pytest
from support.tiny_models import tiny_llama_gguf

from mediator.writers.base import Message, Prompt


@pytest.fixture
def prompt() -> Prompt:
    return Prompt(
        "You are a mediator. Propose four compromises.",
        (Message("user", "Side A: the park is too loud. Side B: the park needs more life."),),
    )


@pytest.fixture(scope="session")
def random_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_gguf(tmp_path_factory.mktemp("gguf") / "random.gguf")

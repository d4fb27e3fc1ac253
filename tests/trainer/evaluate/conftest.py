"""Two small models that differ, and pairs of views with candidates, for the measurements."""

from pathlib import Path

import pytest
from support.tiny_models import tiny_checkpoint

from mediator.schema import Strategy, View
from trainer.dataset.data import DataCandidate, Example, write_examples

SENTENCES = [
    "Open the park at night, with lights and a volunteer at the gate.",
    "Keep the park closed at night, and open it an hour earlier.",
    "Try both plans for a month each and let everybody vote.",
    "Share the cost of better lights between the city and the neighbours.",
]


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    return [
        Example(
            id=f"pair-{number}",
            view_a=View(place=f"Park {number}", reason="I run at night.", suggestion="Open it at night."),
            view_b=View(text=f"The park number {number} is loud at night. Close it."),
            candidates=tuple(
                DataCandidate(text=text, strategy=list(Strategy)[place], score_a=0.5, score_b=0.5 + place / 10)
                for place, text in enumerate(SENTENCES)
            ),
        )
        for number in range(4)
    ]


@pytest.fixture(scope="session")
def dataset(examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "test.jsonl"
    write_examples(path, examples)
    return path


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two Llamas of the same shape with other random weights; the tokenizer knows every byte."""
    pytest.importorskip("transformers", reason="needs the hf extra")
    folder = tmp_path_factory.mktemp("models")
    return {
        name: tiny_checkpoint(folder / name, chat_template=None, seed=seed)
        for seed, name in enumerate(("base", "tuned"))
    }

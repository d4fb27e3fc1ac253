"""The recipes' files: each setting is there, explained, and has the value of the documented class."""

from pathlib import Path

import pytest

from mediator.resources import asset
from trainer.alignment.config import CONFIGS, AlignConfig, SftConfig, load_config
from trainer.config import ConfigError
from trainer.recipes import RECIPES


@pytest.mark.parametrize("recipe", CONFIGS)
def test_the_file_of_a_recipe_says_what_its_class_says(recipe: str) -> None:
    path = asset("recipes", f"{recipe}.yaml")
    assert load_config(recipe, path) == CONFIGS[recipe]()
    lines = path.read_text(encoding="utf-8").splitlines()
    named = [number for number, line in enumerate(lines) if line and not line.startswith("#")]
    assert {lines[number].split(":")[0] for number in named} == set(CONFIGS[recipe].model_fields)
    for number in named:
        assert lines[number - 1].startswith("# "), f"{lines[number]} is not explained"
        assert not lines[number - 1].startswith("# --"), f"{lines[number]} is not explained"


def test_every_recipe_can_be_called() -> None:
    assert set(RECIPES) == set(CONFIGS)


def test_the_papers_values() -> None:
    sft = SftConfig()
    assert (sft.epochs, sft.learning_rate, sft.adam_beta1, sft.adam_beta2) == (1, 3e-5, 0.90, 0.99)
    assert {recipe: CONFIGS[recipe]().epochs for recipe in ("nce", "task")} == {"nce": 8, "task": 12}
    for recipe in ("nce", "task", "dpo", "nca"):
        config = CONFIGS[recipe]()
        assert isinstance(config, AlignConfig)
        assert (config.trainable, config.layers, config.train_final_norm, config.train_head) == (
            "last_layers",
            3,
            False,
            False,
        )
    assert load_config("task", None).model_dump()["margin_weight"] == 10


def test_a_mistake_in_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("epochs: 2\nlerning_rate: 3e-5\n")
    with pytest.raises(ConfigError, match=r"own.yaml: nce has no setting 'lerning_rate'"):
        load_config("nce", path)
    path.write_text("learning_rate: 3e-5\nadam_beta2: 1.0\n")
    with pytest.raises(ConfigError, match="`adam_beta2`"):
        load_config("nce", path)
    path.write_text("learning_rate: 3e-5\n")
    assert load_config("nce", path, ["epochs=0.5"]).model_dump()["epochs"] == 0.5

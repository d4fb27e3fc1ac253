"""What a GGUF file says about itself, read back by llama.cpp and by what asks a trained model."""

import json

import pytest

gguf = pytest.importorskip("gguf", reason="needs the train extra")

from benchmarks.vocabulary_oracle import checkpoint_folder, read_metadata  # noqa: E402
from mediator.errors import ModelFileError  # noqa: E402
from mediator.writers.aligned import alignment_of_metadata  # noqa: E402
from trainer.export.metadata import Details, describe, read_chat_template  # noqa: E402

CARD = "---\nlicense: apache-2.0\ntags:\n- a\nbase_model: someone/some-model\n---\n# A model\nlicense: none of these\n"


def written(folder, details=None):
    """The metadata that a file of this checkpoint gets."""
    from trainer.export.base import Checkpoint

    checkpoint = Checkpoint(folder)
    writer = gguf.GGUFWriter(folder / "described.gguf", "llama")
    describe(writer, checkpoint, details or Details())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return read_metadata(folder / "described.gguf")


@pytest.fixture
def folder(tmp_path):
    return checkpoint_folder(tmp_path / "my-model", 10, None).directory


def test_names_and_licence_come_from_the_folder_and_the_card_unless_given(folder):
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    found = written(folder)
    assert (found["general.name"], found["general.license"]) == ("my-model", "apache-2.0")
    assert (found["general.type"], found["general.size_label"]) == ("model", "0.00K")
    given = written(folder, Details("Mine", "cc-by-4.0", "For gardens."))
    assert (given["general.name"], given["general.license"]) == ("Mine", "cc-by-4.0")
    assert given["general.description"] == "For gardens."


@pytest.mark.parametrize(
    ("card", "licence", "name"),
    [
        ("---\nlicense: other\nlicense_name: llama3\n---\n", "llama3", None),
        ("---\nlicense: mit\nlicense_name: MIT\n---", "mit", "MIT"),
        ("# no front matter\nlicense: mit", None, None),
        ("---\nlicense: [unclosed\n---\n", None, None),
        ("---\n- a list\n---\n", None, None),
    ],
)
def test_only_what_the_card_says_plainly_counts(card, licence, name, folder):
    (folder / "README.md").write_text(card, encoding="utf-8")
    found = written(folder)
    assert (found.get("general.license"), found.get("general.license.name")) == (licence, name)


def test_the_training_is_told_and_no_folder_of_the_computer(folder):
    story = {
        "recipe": "nce", "prompt": "alignment", "demographics": False, "starts_with_bos": True, "base": "/home/me/base",
        "created": "2026-01-01", "epochs": 8, "learning_rate": 0.5, "empty": None, "huge": 1 << 80,
        "settings": {"dataset": "~/private/train.jsonl", "parts": ["C:\\Users\\me\\x.jsonl", 3], "prompt": "a/b or c"},
    }  # fmt: skip
    (folder / "evenhand.json").write_text(json.dumps(story), encoding="utf-8")
    found = written(folder, Details(run={"run": "2026-01-01-nce", "created": "2026-01-02"}))
    told = {name.removeprefix("evenhand."): value for name, value in found.items() if name.startswith("evenhand.")}
    settings = json.loads(told.pop("settings"))
    assert settings == {"dataset": "train.jsonl", "parts": ["x.jsonl", 3], "prompt": "a/b or c"}
    assert told == {
        "recipe": "nce", "prompt": "alignment", "demographics": False, "starts_with_bos": True, "base": "base",
        "created": "2026-01-02", "epochs": 8, "learning_rate": 0.5, "huge": str(1 << 80), "run": "2026-01-01-nce",
    }  # fmt: skip
    alignment = alignment_of_metadata(found, "my-model")
    assert (alignment.demographics, alignment.starts_with_bos, alignment.recipe) == (False, True, "nce")


def test_a_setting_that_the_writer_needs_is_told_on_its_own(folder):
    (folder / "evenhand.json").write_text('{"recipe": "sft", "settings": {"demographics": false}}', encoding="utf-8")
    assert alignment_of_metadata(written(folder), "my-model").demographics is False
    (folder / "evenhand.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"evenhand\.json"):
        written(folder)


def test_chat_templates_in_files_win_and_all_of_several_are_kept(folder):
    assert "tokenizer.chat_template" not in written(folder)
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ one }}"}', encoding="utf-8")
    assert written(folder)["tokenizer.chat_template"] == "{{ one }}"
    several = [{"name": "default", "template": "{{ two }}"}, {"name": "tool_use", "template": "{{ tools }}"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}), encoding="utf-8")
    found = written(folder)
    assert found["tokenizer.chat_template"] == "{{ two }}"
    assert found["tokenizer.chat_template.tool_use"] == "{{ tools }}"
    (folder / "chat_template.jinja").write_text("{{ three }}", encoding="utf-8")
    found = written(folder)
    assert found["tokenizer.chat_template"] == "{{ three }}"
    assert "tokenizer.chat_template.tool_use" not in found


def test_the_template_is_the_one_that_transformers_reads(tmp_path):
    """In every place where transformers 5 saves one, and with several."""
    transformers = pytest.importorskip("transformers", reason="needs the hf extra")
    from tokenizers import Tokenizer, models

    for number, template in enumerate(["{{ messages }}", {"default": "{{ a }}", "rag": "{{ b }}"}]):
        own = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
        own.chat_template = template
        checkpoint = checkpoint_folder(tmp_path / str(number), 10, None)
        own.save_pretrained(checkpoint.directory)
        found = read_chat_template(checkpoint)
        names = {entry["name"]: entry["template"] for entry in found} if isinstance(found, list) else found
        assert names == template


@pytest.mark.parametrize("broken", ['{"chat_template": 1}', '{"chat_template": [{"name": "default"}]}', "{"])
def test_a_damaged_template_names_its_file(broken, folder):
    (folder / "tokenizer_config.json").write_text(broken, encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"tokenizer_config\.json"):
        written(folder)
    (folder / "tokenizer_config.json").unlink()
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelFileError, match=r"chat_template\.jinja"):
        written(folder)

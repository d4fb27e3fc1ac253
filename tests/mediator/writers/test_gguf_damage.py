"""Damaged and foreign files as ``gguf:PATH``: each yields one sentence or works, and none ends the process.

`benchmarks/gguf_damage.py` does the same to exported files of every family, with many more of them.
"""

import os

import pytest
from support.gguf_damage import DAMAGES, Outcome, damaged, foreign, outcomes
from support.tiny_models import tiny_llama_gguf

_COPIES = 6 * len(DAMAGES)
_FINE = ("ran", "ModelFileError", "NotEnoughMemory", "UnusableOutput")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What became of each file, by its name."""
    folder = tmp_path_factory.mktemp("damage")
    whole = tiny_llama_gguf(folder / "whole.gguf", layers=1, story={"prompt": "alignment"})
    paths = [whole, *foreign(folder, whole), *damaged(whole, folder, _COPIES, "suite")]
    return {one.path.name: one for one in outcomes(paths)}


def test_each_file_yields_one_sentence_or_works(found: dict[str, Outcome]) -> None:
    assert found["whole.gguf"].kind == "ran"
    assert [one for one in found.values() if one.kind not in _FINE] == []
    kinds = [one.kind for name, one in found.items() if not name.startswith("foreign")]
    assert len(kinds) > _COPIES
    assert kinds.count("ModelFileError") > _COPIES / 2
    assert kinds.count("ran") > 5  # a flipped bit in a score or a weight harms nobody


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fifo", "is a device, a pipe or a socket"),  # it must not be opened: that would wait for a writer
        ("socket", "is a device, a pipe or a socket"),
        ("directory", "is a folder"),
        ("loop", "cannot be read"),
        ("broken-link", "There is no file"),
        ("empty", "is not a GGUF file"),
        ("all-ones", "version 4294967295"),
        ("nothing-in-it", "does not name its architecture"),
        ("no-permission", "cannot be read: Permission denied"),
    ],
)
def test_what_is_no_model_is_called_by_its_name(found: dict[str, Outcome], name: str, words: str) -> None:
    if name == "no-permission" and os.geteuid() == 0:
        pytest.skip("root may read every file")
    one = found[f"foreign-{name}.gguf"]
    assert one.kind == "ModelFileError"
    assert words in one.said

"""The catalogue: what can be downloaded is well described and can only lead to the Hub and the folder of models."""

import re

import pytest

from mediator.catalogue import catalogue, downloadable, downloadables, recommended
from mediator.errors import InputError, ModelFileError
from mediator.models import model_file

GB = 1_000_000_000


def test_every_entry_is_complete_and_distinct():
    entries = downloadables()
    assert 4 <= len(entries) <= 10
    for entry in entries:
        assert entry.licence_url.startswith("https://")
        assert {"en", "de"} <= set(entry.quality)
        assert entry.said("fr") == entry.quality["en"]
        for sentence in entry.quality.values():
            assert 30 < len(sentence) < 160
            assert sentence.endswith(".")
        # A four-bit file, and what it takes in memory with the cache of its tokens.
        assert 0.5 * GB < entry.size < entry.memory < 3 * entry.size
        assert re.search(r"[qQ]4_[kK]_[mM]\.gguf$", entry.file)
    for values in (
        [entry.name for entry in entries],
        [entry.file_name for entry in entries],  # they lie in one folder
    ):
        assert len(set(values)) == len(values)
    assert [entry.size for entry in entries] == sorted(entry.size for entry in entries)


def test_what_is_recommended_fits_with_room_to_spare():
    assert recommended(3 * GB) is None
    names = []
    for memory in (4, 8, 16, 64):
        entry = recommended(memory * GB)
        assert entry is not None
        assert entry.memory < 0.6 * memory * GB
        names.append(entry.name)
    assert len(set(names)) == 3


def test_the_catalogue_says_what_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path))
    entry = downloadables()[0]

    def listed():
        return next(line for line in catalogue() if line.name == f"gguf:{entry.name}")

    assert (listed().installed, listed().size) == (False, entry.size)
    assert listed().why_not == f"Download it: evenhand models download {entry.name}"
    with pytest.raises(ModelFileError, match=f"{re.escape(entry.title)} is not downloaded"):
        model_file(entry.name)
    entry.path().parent.mkdir(parents=True)
    entry.path().write_bytes(b"GGUF")
    assert (listed().installed, listed().size, listed().why_not) == (True, 4, "")
    assert model_file(entry.name) == str(tmp_path / "models" / entry.file_name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / entry.name).write_bytes(b"GGUF")
    assert model_file(entry.name) == entry.name  # a file of that name is meant as it is written
    assert model_file("other.gguf") == "other.gguf"


def test_an_unknown_name_is_a_sentence():
    with pytest.raises(InputError, match=r"There is no model 'nonsense' to download\. Choose smollm2-1\.7b, "):
        downloadable("nonsense")

"""The two tilt sets: one for choosing an encoder, one only for reporting, that share no author."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from trainer.empathy.data import RatedPair, load_ratings

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks" / "data"
SETS = {"development": 80, "reporting": 64}


def load(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"tilt_{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def texts_of(tilt_set: dict[str, Any]) -> list[str]:
    return [*tilt_set["balanced"], tilt_set["serves_a"], tilt_set["serves_b"]]


def runs_of_five_words(text: str) -> set[tuple[str, ...]]:
    sequence = re.findall(r"[\w'’-]+", text.lower())
    return set(zip(*(sequence[start:] for start in range(5)), strict=False))


@pytest.fixture(scope="module")
def pairs(data: Path) -> dict[int, RatedPair]:
    return {pair.row: pair for pair in load_ratings(data / "efp" / "pairs.jsonl")}


@pytest.mark.parametrize("name", SETS)
def test_a_set_has_four_balanced_texts_and_one_for_each_side_of_like_length(name: str) -> None:
    tilt_sets = load(name)
    assert len({tilt_set["row"] for tilt_set in tilt_sets}) == len(tilt_sets) == SETS[name]
    for tilt_set in tilt_sets:
        row = tilt_set["row"]
        assert set(tilt_set) == {"row", "balanced", "serves_a", "serves_b"}, row
        assert len(tilt_set["balanced"]) == 4, row
        assert all(isinstance(text, str) and text == text.strip() for text in texts_of(tilt_set)), row
        lengths = [len(text.split()) for text in texts_of(tilt_set)]
        mean = sum(lengths) / len(lengths)
        assert 25 <= min(lengths) <= max(lengths) <= 45, (row, lengths)
        assert 0.75 * mean <= min(lengths) <= max(lengths) <= 1.25 * mean, (row, lengths)


def test_length_does_not_give_the_kind_of_text_away() -> None:
    """Over all sets, one-sided texts are neither longer nor shorter than balanced ones."""
    for name in SETS:
        one_sided, balanced = [], []
        for tilt_set in load(name):
            one_sided += [len(tilt_set[side].split()) for side in ("serves_a", "serves_b")]
            balanced += [len(text.split()) for text in tilt_set["balanced"]]
        assert sum(one_sided) / len(one_sided) == pytest.approx(sum(balanced) / len(balanced), abs=1.5), name


def test_no_text_is_given_twice_in_either_set() -> None:
    texts = [text for name in SETS for tilt_set in load(name) for text in texts_of(tilt_set)]
    assert len({" ".join(re.findall(r"\w+", text.lower())) for text in texts}) == len(texts) == 6 * sum(SETS.values())


def test_no_text_names_a_view_by_its_letter() -> None:
    """A text that says whom it serves would be scored for the word, not for what it proposes."""
    named = re.compile(r"\b(?:[Vv]iew|[Ss]ide|[Pp]arty|[Pp]erson|[Aa]uthor) [AB]\b|\bB\b")
    assert not [text for name in SETS for tilt_set in load(name) for text in texts_of(tilt_set) if named.search(text)]


def test_the_reporting_set_shares_no_row_and_no_author_with_the_other(pairs: dict[int, RatedPair]) -> None:
    authors: dict[str, list[str]] = {name: [] for name in SETS}
    for name in SETS:
        for tilt_set in load(name):
            assert tilt_set["row"] in pairs, f"{name}: there is no row {tilt_set['row']}"
            pair = pairs[tilt_set["row"]]
            authors[name] += [pair.view_a.as_text(), pair.view_b.as_text()]
    assert not set(authors["development"]) & set(authors["reporting"])
    # Sets with a common author would not be independent draws for a bootstrap over sets.
    assert len(set(authors["reporting"])) == 2 * SETS["reporting"]


def test_no_reporting_text_copies_its_views(pairs: dict[int, RatedPair]) -> None:
    for tilt_set in load("reporting"):
        for view in (pairs[tilt_set["row"]].view_a, pairs[tilt_set["row"]].view_b):
            in_view = runs_of_five_words(view.as_text())
            assert not [text for text in texts_of(tilt_set) if in_view & runs_of_five_words(text)], tilt_set["row"]

"""The material that ships: reference proposals, example disputes and the development set for the scorer's tilt."""

import json
import os
import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from mediator.resources import asset
from mediator.schema import Dispute, View

PLACES = {
    "apartment", "campus", "clinic", "community-centre", "government", "gym", "home", "library", "museum", "nature",
    "neighbourhood", "office", "park", "parking", "playground", "restaurant", "school", "shop", "street", "transit",
    "venue", "worship",
}  # fmt: skip
GENERAL = {"care", "money", "noise", "online", "policy", "schedule", "work"}
REPOSITORY = Path(__file__).resolve().parents[2]
TILT_FILE = REPOSITORY / "benchmarks" / "data" / "tilt_development.jsonl"
PAIRS = Path(os.environ.get("EVENHAND_DATA") or REPOSITORY.parent / "shared" / "data") / "efp" / "pairs.jsonl"
DISPUTE_FILES = sorted(asset("disputes").glob("*.yaml"))


def words(text: str) -> list[str]:
    return re.findall(r"[\w'’-]+", text.lower())


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def proposals() -> list[dict[str, str]]:
    content = load(asset("reference_proposals.yaml"))
    assert isinstance(content, list)
    return content


def test_every_reference_proposal_has_an_id_a_kind_and_a_text(proposals: list[dict[str, str]]) -> None:
    for number, proposal in enumerate(proposals):
        assert set(proposal) == {"id", "kind", "text"}, f"entry {number}: {proposal}"
        assert all(isinstance(value, str) and value == value.strip() and value for value in proposal.values()), number


def test_the_reference_set_is_large_and_mostly_about_places(proposals: list[dict[str, str]]) -> None:
    assert len(proposals) >= 150
    about_places = sum(proposal["kind"] in PLACES for proposal in proposals)
    assert 0.7 <= about_places / len(proposals) <= 0.9


def test_every_kind_of_place_and_of_dispute_is_covered(proposals: list[dict[str, str]]) -> None:
    count = Counter(proposal["kind"] for proposal in proposals)
    assert set(count) == PLACES | GENERAL
    assert min(count.values()) >= 5, count.most_common()[-3:]
    assert max(count.values()) <= len(proposals) / 10, count.most_common(3)


def test_no_reference_proposal_is_given_twice(proposals: list[dict[str, str]]) -> None:
    assert max(Counter(proposal["id"] for proposal in proposals).values()) == 1
    bags = [(proposal["id"], set(words(proposal["text"]))) for proposal in proposals]
    close = [
        (first, second)
        for (first, one), (second, other) in combinations(bags, 2)
        if len(one & other) / len(one | other) > 0.4
    ]
    assert not close


def test_reference_proposals_read_like_proposals(proposals: list[dict[str, str]]) -> None:
    for proposal in proposals:
        text = proposal["text"]
        assert 20 <= len(text.split()) <= 55, proposal["id"]
        assert 1 <= len(re.findall(r"[.!?](?:\s|$)", text)) <= 3, proposal["id"]
        assert text.endswith("."), proposal["id"]
        assert not re.search(r"\b(I|we|you|my|our|your|me|us)\b", text), f"{proposal['id']} is not in the third person"


def test_reference_proposals_vary_in_length(proposals: list[dict[str, str]]) -> None:
    lengths = sorted(len(proposal["text"].split()) for proposal in proposals)
    assert lengths[len(lengths) // 20] <= 25
    assert lengths[-len(lengths) // 20] >= 40


def test_there_are_enough_example_disputes_in_both_forms() -> None:
    disputes = [Dispute.model_validate(load(path)) for path in DISPUTE_FILES]
    assert len(disputes) >= 8
    assert len({dispute.title for dispute in disputes}) == len(disputes)
    assert any(dispute.view_a.text for dispute in disputes)
    assert any(dispute.view_a.suggestion for dispute in disputes)
    assert {dispute.category for dispute in disputes} == {"safe", "welcome", "other"}


@pytest.mark.parametrize("path", DISPUTE_FILES, ids=lambda path: path.stem)
def test_an_example_dispute_is_valid_and_gives_both_sides_equal_room(path: Path) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*\.yaml", path.name)
    dispute = Dispute.model_validate(load(path))
    assert dispute.title
    assert bool(dispute.view_a.text) == bool(dispute.view_b.text)
    lengths = []
    for view in (dispute.view_a, dispute.view_b):
        assert view.text or (view.place and view.reason and view.suggestion)
        assert isinstance(view, View)
        lengths.append(len(view.as_text().split()))
    assert all(50 <= length <= 110 for length in lengths), lengths
    assert max(lengths) <= 1.15 * min(lengths), lengths


@pytest.fixture(scope="module")
def tilt_sets() -> list[dict[str, Any]]:
    return [json.loads(line) for line in TILT_FILE.read_text(encoding="utf-8").splitlines()]


def texts_of(tilt_set: dict[str, Any]) -> list[str]:
    return [*tilt_set["balanced"], tilt_set["serves_a"], tilt_set["serves_b"]]


def test_a_tilt_set_has_six_texts_of_about_the_same_length(tilt_sets: list[dict[str, Any]]) -> None:
    assert len(tilt_sets) == 80
    assert len({tilt_set["row"] for tilt_set in tilt_sets}) == 80
    assert len({text for tilt_set in tilt_sets for text in texts_of(tilt_set)}) == 480
    for tilt_set in tilt_sets:
        assert set(tilt_set) == {"row", "balanced", "serves_a", "serves_b"}
        lengths = [len(text.split()) for text in texts_of(tilt_set)]
        assert len(lengths) == 6, tilt_set["row"]
        assert 25 <= min(lengths) <= max(lengths) <= 45, (tilt_set["row"], lengths)
        assert max(lengths) <= 1.2 * min(lengths), (tilt_set["row"], lengths)


def test_no_tilt_text_copies_its_views(tilt_sets: list[dict[str, Any]]) -> None:
    if not PAIRS.is_file():
        pytest.skip(f"no pairs of views at {PAIRS}; set EVENHAND_DATA to the folder that holds efp/pairs.jsonl")
    pairs = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
    for tilt_set in tilt_sets:
        pair = pairs[tilt_set["row"]]
        for side in ("view_a", "view_b"):
            in_view = runs_of_five_words(View.model_validate(pair[side]).as_text())
            for text in texts_of(tilt_set):
                assert not in_view & runs_of_five_words(text), (tilt_set["row"], side, text)


def runs_of_five_words(text: str) -> set[tuple[str, ...]]:
    sequence = words(text)
    return set(zip(*(sequence[start:] for start in range(5)), strict=False))

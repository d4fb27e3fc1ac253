"""The acceptance head: what it computes, what it refuses, and that a bundled one is called no more than it is."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mediator.acceptance import BUNDLED, FORMAT, Acceptance, bundled, reading
from mediator.empathy import EmpathyModel
from mediator.encoders import BUNDLED as BUNDLED_ENCODER
from mediator.encoders import file_fingerprint
from mediator.errors import ModelFileError
from mediator.resources import asset

WHOLE = {
    "format": FORMAT,
    "answers": ["agree", "disagree", "pass"],
    "encoder": "abc",
    "layers": [
        {"weight": [[1.0, -1.0], [2.0, 0.0]], "bias": [0.0, 0.5]},
        {"weight": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], "bias": [0.0, 0.0, -1.0]},
    ],
    "quantiles": [0.1, 0.4, 0.5, 0.9],
    "measured": {"rank": {"value": 0.3}},
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "head.json"
    path.write_text(json.dumps(WHOLE | changes))
    return path


def test_the_head_computes_what_its_layers_say(tmp_path: Path) -> None:
    head = Acceptance.load(written(tmp_path), "abc")
    # (0.5, -0.5) -> (0.5 - 1, -0.5 + 0.5) = (-0.5, 0); tanh; then (tanh -0.5, 0, -1).
    raised = [math.exp(math.tanh(-0.5)), 1.0, math.exp(-1.0)]
    vectors = np.array([[0.5, -0.5]], dtype=np.float32)
    assert head.probabilities(vectors)[0].tolist() == pytest.approx([value / sum(raised) for value in raised])
    assert head.shares(vectors) == pytest.approx([raised[0] / (raised[0] + raised[1])])
    assert head.probabilities(np.array([[1e5, 0.0]]) * 1e5).sum() == pytest.approx(1)


def test_a_share_is_placed_among_the_known_statements(tmp_path: Path) -> None:
    head = Acceptance.load(written(tmp_path))
    found = [head.rank(share) for share in (0.0, 0.1, 0.25, 0.5, 0.7, 0.99)]
    assert found == pytest.approx([0, 0, 1 / 6, 2 / 3, 5 / 6, 1])
    kinds = [head.kind(share) for share in (0.0, 0.25, 0.3, 0.5, 0.7, 0.99)]
    assert kinds == ["less", "less", "usual", "usual", "more", "more"]
    unknown = Acceptance.load(written(tmp_path, quantiles=[]))
    assert unknown.rank(0.99) is None
    assert unknown.kind(0.99) == "usual"


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "another"},
        {"layers": [{"weight": [[1.0, 2.0]], "bias": [0.0]}], "answers": ["agree", "disagree"]},
        {"layers": [{"weight": [[1.0, 2.0]], "bias": [0.0, 0.0]}]},  # two answers of three
        {"layers": []},
        {"layers": [{"weight": [[1.0, float("nan"), 0.0]], "bias": [0.0, 0.0, 0.0]}]},
        {"layers": [{"weight": [["a"]], "bias": [0.0]}]},
        {"quantiles": [0.5, 0.1]},
        {"answers": None},
    ],
)
def test_a_damaged_head_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no preference model, or a damaged one"):
        Acceptance.load(written(tmp_path, **changes))


def test_what_is_missing_cut_off_or_of_another_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be read"):
        Acceptance.load(tmp_path / "none.json")
    path = written(tmp_path)
    with pytest.raises(ModelFileError, match=r"another encoder \(abc\)"):
        Acceptance.load(tmp_path, "xyz")
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ModelFileError, match="damaged"):
        Acceptance.load(tmp_path)


def test_the_bundled_head_reads_the_bundled_encoder_and_its_card_says_what_it_is_worth() -> None:
    """Whoever changes the encoder must train the head again: evenhand train preference."""
    head = Acceptance.load()
    fingerprint = file_fingerprint(asset("models", BUNDLED_ENCODER))
    assert head.encoder == fingerprint
    # It orders statements of hosts it has not seen, and gains something there: the least for being shown.
    gain, rank = head.measured["log_loss_gain"], head.measured["rank"]
    assert min(gain["value"], rank["low"]) > 0
    assert head.measured["hosts"] >= 9
    card = asset("models", "preference-head.md").read_text(encoding="utf-8")
    assert "a gain of {value:.3f} [{low:.3f}, {high:.3f}]".format(**gain).replace("-", "−") in card
    assert ("not surely better than a constant" in card) == (gain["low"] <= 0)
    assert bundled(fingerprint) is not None
    assert bundled("another") is None
    assert asset("models", BUNDLED).stat().st_size < 40_000


def test_the_bundled_head_tells_what_most_want_from_what_most_refuse() -> None:
    scorer = EmpathyModel.load()
    wanted = ["We should protect rivers and forests for our children.", "Children need safe places to play outdoors."]
    refused = ["All taxes should be doubled at once.", "People who are poor deserve no help at all."]
    try:
        shares = Acceptance.load("", scorer.encoder.fingerprint).shares(scorer.embed([*wanted, *refused]))
        readings = [reading(scorer, text) for text in (*wanted, *refused)]
    finally:
        scorer.close()
    assert min(shares[:2]) > max(shares[2:])
    assert all(0.05 < share < 0.98 for share in shares)
    assert "more" not in readings[2:]
    assert "less" not in readings[:2]
    assert readings[0] != readings[2]


def test_no_torch_is_needed() -> None:
    code = (
        "import sys; from mediator.acceptance import Acceptance; Acceptance.load(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])

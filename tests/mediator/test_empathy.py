"""The scorer: symmetric to the last bit, calibrated per view, safe among threads, and silent about what users write."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mediator import empathy
from mediator.disputes import examples
from mediator.empathy import EmpathyModel, Scale, reference_proposals
from mediator.encoders import BUNDLED, Encoder, Matrix
from mediator.errors import InputError
from mediator.schema import Dispute, View

DOGS = View(place="Alder Park.", reason="I walk my old dog there.", suggestion="Keep the park open to dogs.")
CHILD = View(text="A big dog knocked my daughter over. Dogs should be on a lead everywhere in the park.")
DISPUTE = Dispute(view_a=DOGS, view_b=CHILD)
PROPOSALS = (
    "Dogs may run free until ten in the morning and stay on a lead for the rest of the day.",
    "One meadow will be fenced for dogs, far from the playground.",
    "The library will stay open until nine on Thursdays.",
)
VIEWS = st.sampled_from([view for dispute in examples().values() for view in (dispute.view_a, dispute.view_b)])
# What pydantic lets into a view; lone surrogates it refuses.
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=120).filter(lambda text: text.strip())


@settings(max_examples=25, deadline=None)
@given(WORDS, WORDS, st.lists(WORDS, min_size=1, max_size=3))
@example("\x00", "噪音", ["🐶"])
@example("{place}", "{place}", ["{place}"])
def test_swapping_the_sides_swaps_the_scores_exactly(
    scorer: EmpathyModel, one: str, other: str, texts: list[str]
) -> None:
    dispute = Dispute(view_a=View(text=one), view_b=View(text=other))
    for here, there in zip(scorer.score(dispute, texts), scorer.score(dispute.swapped(), texts), strict=True):
        assert here == there.swapped()
        assert here.tilt == -there.tilt
        assert here.tilt_low is not None
        assert here.tilt_high is not None
        assert here.tilt_low <= here.tilt <= here.tilt_high
        assert 0.0 <= here.score_a <= 1.0
        assert -1.001 <= here.raw_a <= 1.001


def test_no_bar_is_surer_than_the_texts_that_its_error_was_measured_on(scorer: EmpathyModel) -> None:
    lowest, highest = empathy.ERROR_SEEN
    ends = [
        (empathy.score_at(end + empathy.DEVIATION_ERROR) - empathy.score_at(end - empathy.DEVIATION_ERROR)) / 2
        for end in empathy.ERROR_SEEN
    ]
    # A text that repeats a view lies far out: there the curve alone would make its error vanish.
    near, far = scorer.score(DISPUTE, [CHILD.as_text(), "Bricks."])
    assert near.score_b > empathy.score_at(highest)
    assert near.score_error_b == pytest.approx(ends[1])
    assert ends[1] > 0.03
    assert far.score_a < empathy.score_at(lowest)
    assert far.score_error_a == pytest.approx(ends[0])


@settings(max_examples=20, deadline=None)
@given(VIEWS, VIEWS, st.permutations(PROPOSALS), st.integers(1, 3))
def test_a_score_does_not_depend_on_the_batch(
    scorer: EmpathyModel, one: View, other: View, texts: list[str], number: int
) -> None:
    dispute = Dispute(view_a=one, view_b=other)
    together = scorer.score(dispute, texts[:number])
    assert together == [scorer.score(dispute, [text])[0] for text in texts[:number]]


def test_a_score_does_not_depend_on_what_was_scored_before(encoder: Encoder, scorer: EmpathyModel) -> None:
    fresh = EmpathyModel(encoder)
    assert fresh.score(DISPUTE, PROPOSALS) == scorer.score(DISPUTE, PROPOSALS)
    fresh.score(DISPUTE, ["Something else.", "A third thing."])
    assert fresh.score(DISPUTE, PROPOSALS) == scorer.score(DISPUTE, PROPOSALS)


def test_what_serves_both_is_nearer_than_what_serves_nobody(scorer: EmpathyModel) -> None:
    lead, meadow, library = scorer.score(DISPUTE, PROPOSALS)
    assert min(lead.warmth, meadow.warmth) > library.warmth + 0.2


@given(st.floats(-1, 1), st.floats(0, 0.5), st.floats(-1, 1), st.floats(-1, 1))
@example(-1.0, 0.0, 1.0, -1.0)
def test_the_calibrated_score_grows_with_the_cosine(centre: float, spread: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    scale = Scale(centre, max(spread, 1e-3))
    assert 0.0 <= scale.position(low) <= scale.position(high) <= 1.0
    if scale.position(low) > 0.01 and scale.position(high) < 0.99 and high - low > 1e-6:
        assert scale.position(low) < scale.position(high)


def test_a_scale_is_the_mean_and_the_spread_of_the_references() -> None:
    scale = Scale.of(np.array([0.1, 0.3, 0.2, 0.2], dtype=np.float32))
    assert scale.centre == pytest.approx(0.2)
    assert scale.spread == pytest.approx(np.sqrt(0.005), rel=1e-5)
    flat = Scale.of(np.full(5, 0.4, dtype=np.float32))
    assert np.isfinite(flat.position(0.4)), "references all alike do not divide by zero"


def test_calibration_takes_away_how_typical_a_view_is(scorer: EmpathyModel) -> None:
    """Over the references, each view's scores have about the same middle, though the raw cosines do not."""
    references = list(reference_proposals())
    raw_means, score_means = [], []
    for dispute in examples().values():
        for view in (dispute.view_a, dispute.view_b):
            cosines = scorer.references() @ scorer.embed([view.as_text()])[0]
            scale = scorer.scale(view.as_text())
            raw_means.append(float(np.mean(cosines)))
            score_means.append(float(np.mean([scale.position(float(cosine)) for cosine in cosines])))
    assert len(references) == len(cosines)
    assert np.std(score_means) / np.mean(score_means) < np.std(raw_means) / np.mean(raw_means) / 2


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u2003"])
def test_an_empty_text_is_refused(scorer: EmpathyModel, text: str) -> None:
    with pytest.raises(InputError, match="Text 2 is empty"):
        scorer.score(DISPUTE, ["A bench.", text])


def test_no_texts_no_scores(scorer: EmpathyModel) -> None:
    assert scorer.score(DISPUTE, []) == []
    assert scorer.embed([]).shape == (0, scorer.encoder.dimensions)


@pytest.mark.parametrize("text", ["\x00", "\ud800", "🐶" * 300, "噪音太大", "<b>{place}</b> %s", "x" * 2000])
def test_odd_texts_are_scored(scorer: EmpathyModel, text: str) -> None:
    [scores] = scorer.score(DISPUTE, [text])
    assert 0.0 <= scores.warmth <= 1.0


def test_the_last_sentence_of_a_long_view_counts(scorer: EmpathyModel) -> None:
    body = "I have come to this library for years, and the reading room is the quiet place I need. " * 60
    one = Dispute(view_a=View(text=body + "Keep the dogs out."), view_b=CHILD)
    other = Dispute(view_a=View(text=body + "Let the dogs in."), view_b=CHILD)
    assert scorer.score(one, PROPOSALS[:1])[0].raw_a != scorer.score(other, PROPOSALS[:1])[0].raw_a


def test_eight_threads_get_the_same_scores(encoder: Encoder, scorer: EmpathyModel) -> None:
    expected = scorer.score(DISPUTE, PROPOSALS)
    fresh = EmpathyModel(encoder)

    def work(shift: int) -> bool:
        texts = [*PROPOSALS[shift % 3 :], *PROPOSALS[: shift % 3]]
        dispute = DISPUTE if shift % 2 else DISPUTE.swapped()
        scores = dict(zip(texts, fresh.score(dispute, texts), strict=True))
        return all(
            scores[text].raw_a == (wanted.raw_a if shift % 2 else wanted.raw_b)
            for text, wanted in zip(PROPOSALS, expected, strict=True)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


class Counting:
    """The bundled encoder with a tally of the texts it was given."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.name, self.fingerprint, self.dimensions = encoder.name, encoder.fingerprint, encoder.dimensions
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str]) -> Matrix:
        self.texts += texts
        return self._encoder.encode(texts)

    def close(self) -> None:
        pass


def test_references_are_embedded_once_for_good_and_users_texts_never_reach_the_disk(
    encoder: Encoder, scorer: EmpathyModel
) -> None:
    scorer.references()  # by now they are in the cache folder, or they ship
    counting = Counting(encoder)
    second = EmpathyModel(counting)
    second.score(DISPUTE, PROPOSALS)
    assert sorted(counting.texts) == sorted([DOGS.as_text(), CHILD.as_text(), *PROPOSALS])

    cache = Path(os.environ["XDG_CACHE_HOME"])
    before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    secret = "My neighbour Ottilie shouted at me in the stairwell."
    vector = second.embed([secret])[0]
    second.score(Dispute(view_a=View(text=secret), view_b=CHILD), ["Ottilie and I will meet.", *PROPOSALS])
    second.embed_shipped(["A text that ships and is new to the table."])
    after = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    assert set(before) <= set(after)
    for content in after.values():
        assert b"Ottilie" not in content
        assert vector.tobytes() not in content


def test_each_text_is_encoded_once_a_run(encoder: Encoder) -> None:
    counting = Counting(encoder)
    model = EmpathyModel(counting)
    rows = model.embed([PROPOSALS[0], PROPOSALS[0], PROPOSALS[1]])
    assert counting.texts == list(PROPOSALS[:2])
    assert np.array_equal(rows[0], rows[1])
    model.embed(PROPOSALS)
    assert counting.texts == list(PROPOSALS)


def test_only_the_vectors_of_the_last_texts_are_kept_and_no_text(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(empathy, "_REMEMBERED_TEXTS", 3)
    monkeypatch.setattr(empathy, "_REMEMBERED_SCALES", 2)
    counting = Counting(encoder)
    model = EmpathyModel(counting)
    model.embed(PROPOSALS)
    model.embed(PROPOSALS[:1])  # used again: stays longest
    model.embed(["One text more."])
    before = len(counting.texts)
    model.embed([PROPOSALS[0], PROPOSALS[2], "One text more."])
    assert len(counting.texts) == before
    model.embed(PROPOSALS[1:2])
    assert len(counting.texts) == before + 1
    for number in range(5):
        model.scale(f"View {number}: the neighbour Ottilie shouts.")
    assert (len(model._memory), len(model._scales)) == (3, 2)
    rows = list(model._memory.values())
    assert all(row.base is None for row in rows), "a row that is a part of another array keeps all of it"
    assert "Ottilie" not in repr(vars(model))


def test_a_model_is_loaded_by_name(scorer: EmpathyModel) -> None:
    own = EmpathyModel.load()
    try:
        assert own.encoder.name == "bundled"
        assert own.encoder.fingerprint == scorer.encoder.fingerprint
        assert own.score(DISPUTE, PROPOSALS[:1]) == scorer.score(DISPUTE, PROPOSALS[:1])
    finally:
        own.close()
    assert BUNDLED.endswith(".gguf")

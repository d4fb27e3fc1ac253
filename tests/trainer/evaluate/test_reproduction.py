"""The reproduction's page and plan: every row beside SFT and what may be concluded, settings that the recipes take."""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.reproduction_page import figure_notes, neutrality_beside_sft, on_validation
from benchmarks.reproduction_plan import ALWAYS, RUNS, Plan
from mediator.schema import View
from trainer.alignment.config import CalibrateConfig, make_config
from trainer.dataset.data import Example
from trainer.evaluate.measure import CANDIDATES, Figure, Measurement, tie_notes
from trainer.evaluate.shared_views import texts_of

OPTIONS = {
    "base": "base",
    "also": ["+NCA"],
    "batch": 4,
    "accumulation": 1,
    "longest_text": 512,
    "seed": 0,
    "device": "cpu",
    "checkpoint_every": 200,
    "layers": 3,
    "rate": 3e-4,
    "sft_rate": 1e-3,
    "sft_epochs": 1.0,
    "nce_epochs": 8.0,
    "task_epochs": 12.0,
    "tokens": 120,
}


def test_every_row_is_compared_with_sft_and_a_lucky_one_is_told_from_a_sure_one() -> None:
    chance = np.random.default_rng(0)
    start = {"gap": chance.uniform(0.1, 0.3, 60), "warmth": chance.uniform(0.3, 0.5, 60)}
    noise = chance.normal(0, 0.04, 60)
    noise -= noise.mean()  # 0.005 on each side of its mean: an interval of about 0.0101 a side

    def row(gap: float, warmth: float) -> dict[str, Figure]:
        moved = {"gap": start["gap"] + gap + noise, "warmth": start["warmth"] + warmth + noise}
        return {name: Figure.of(values.tolist()) for name, values in moved.items()}

    rows = {"base": row(-0.2, -0.3), "SFT": {name: Figure.of(values.tolist()) for name, values in start.items()}}
    rows |= {"+NCE": row(0.05, -0.1), "+lucky": row(-0.0118, -0.1), "+sure": row(-0.05, -0.1), "+warm": row(-0.001, 0)}
    rows[CANDIDATES] = row(-0.1, 0.2)
    pairs = tuple(f"pair {number}" for number in range(60))
    views = {pair: frozenset({f"{pair}, a", f"{pair}, b"}) for pair in pairs}
    table, words = neutrality_beside_sft(Measurement(subject="neutrality", pairs=pairs, rows=rows), views, seed=0)
    named = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert named == [f"{name} - SFT" for name in rows if name != "SFT"]
    assert "6 comparisons on the same 60 pairs" in words
    assert "Of the 4 alignments 3 have a smaller gap" in words
    assert "Whole interval below 0: +lucky, +sure; with all comparisons counted (Bonferroni): +sure." in words
    assert "3 of the 4 alignments, 2 of the 3 with a smaller gap" in words


def test_other_pairs_are_compared_with_the_views_that_they_share(examples: list[Example]) -> None:
    noisy = View(text="It is loud.")
    tied = [example.model_copy(update={"view_b": noisy}) for example in examples[:3]] + examples[3:]
    values = {"base": (0.1, 0.1, 0.1, 0.1), "SFT": (0.2, 0.2, 0.2, 0.2), "+NCE": (0.2, 0.2, 0.2, 0.6)}
    rows = {name: {"rougeL": Figure.of(each), "words": Figure.of((9.0,) * 4)} for name, each in values.items()}
    found = Measurement(subject="rouge", pairs=tuple(one.id for one in tied), rows=rows, notes=("How.", "Counts."))
    text = on_validation(found, tied, seed=0)
    assert "views that pairs share tie 3 of the 4 together, and one is in 3" in text
    assert "| SFT - base | +0.100 [+0.100, +0.100] |          0.000 |" in text
    # Deviations of -0.1, three times together, and 0.3: 1.96 · sqrt(0.3² + 0.3²) / 4.
    assert "±0.208" in text.splitlines()[-3]
    assert "words" not in text
    assert text.endswith("Counts.")


def test_a_note_under_independent_brackets_speaks_of_the_figures_alone(examples: list[Example]) -> None:
    views = [texts_of(examples[0])] * 2
    found = Measurement(subject="rouge", rows={}, notes=("How.", *tie_notes(views)))
    how, ties = figure_notes(found)
    assert how == "How."
    assert "count as dependent: the intervals of the figures are widened where this shows in the values" in ties


def test_the_page_has_the_runs_that_are_asked_for_and_those_that_the_folder_holds(tmp_path: Path) -> None:
    there = {"+calibration (K=5)": {"done": True}, "+calibration (K=20)": {"seconds": 3.0}}
    for name, facts in there.items():
        folder = Plan(argparse.Namespace(**OPTIONS), tmp_path).folder(name)
        folder.mkdir(parents=True)
        (folder / "stage.json").write_text(json.dumps(facts), encoding="utf-8")
    assert Plan(argparse.Namespace(**OPTIONS), tmp_path).runs == [*ALWAYS, "+NCA", "+calibration (K=5)"]


def test_every_run_has_settings_that_its_recipe_takes_and_a_folder_of_its_own(tmp_path: Path) -> None:
    plan = Plan(argparse.Namespace(**OPTIONS), tmp_path)
    made = {name: make_config(*plan.settings(name)) for name in ["SFT", *RUNS]}
    by_preference = made["+calibration (K=10, by preference)"]
    assert isinstance(by_preference, CalibrateConfig)
    assert (by_preference.candidates, by_preference.ranking) == (10, "preference")
    assert len({plan.folder(name) for name in made}) == len(made)

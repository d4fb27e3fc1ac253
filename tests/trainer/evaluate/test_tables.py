"""Tables: their Markdown, the paper's figures beside ours, paired differences, the composition of a pool."""

import math

import pytest

from mediator.errors import InputError
from mediator.schema import View
from trainer.dataset.data import Example
from trainer.evaluate.measure import CANDIDATES, Figure, Measurement
from trainer.evaluate.shared_views import texts_of
from trainer.evaluate.tables import (
    composition_table,
    difference_of,
    differences_table,
    figures_table,
    markdown_table,
    neighbours,
    page_of,
    shown_difference,
)


def measurement(**rows: list[float | None]) -> Measurement:
    return Measurement(
        subject="rouge",
        pairs=("pair-0", "pair-1", "pair-2"),
        rows={name: {"rougeL": Figure.of(values)} for name, values in rows.items()},
        notes=("A note.",),
    )


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_markdown_is_aligned_and_safe() -> None:
    table = markdown_table(["", "x"], [["a|b", "1"], ["c", "22.5"]])
    assert table.splitlines() == [r"|      |    x |", "|------|-----:|", r"| a\|b |    1 |", r"| c    | 22.5 |"]


def test_the_papers_figures_stand_beside_ours() -> None:
    found = cells(figures_table(measurement(SFT=[0.1, 0.2, 0.3], other=[0.5] * 3), {"SFT": {"rougeL": 0.186}}))
    assert found[0] == ["", "ROUGE-L", "the paper's ROUGE-L"]
    assert found[2][0] == "SFT"
    assert found[2][1].startswith("0.200 [0.1")
    assert found[2][2] == "0.186"
    assert found[3][1:] == ["0.500 [0.500, 0.500]", ""]


def test_differences_are_paired_and_skip_what_is_missing() -> None:
    one = measurement(a=[0.1, 0.5, None], b=[0.2, 0.6, 0.9], c=[0.2, 0.6, 0.9])
    found = cells(differences_table(one, "rougeL", [("a", "b"), ("b", "c"), ("a", "gone")]))
    assert [row[0] for row in found[2:]] == ["b - a", "c - b"]
    assert found[2][1:] == ["+0.100 [+0.100, +0.100]", "0.000"]
    assert found[3][1:] == ["+0.000 [+0.000, +0.000]", "1.000"]
    assert differences_table(one, "rougeL", [("a", "gone")]) == ""


def test_differences_are_weighted_as_the_rows_are() -> None:
    weights = (1.0, 2.0, 7.0)
    rows = {
        name: {"log_likelihood": Figure.of(values, weights=weights)}
        for name, values in {"a": (-5.0, -6.0, -6.5), "b": (-4.9, -5.9, -6.2)}.items()
    }
    rows["other"] = {"log_likelihood": Figure.of((-5.0, -5.0, -5.0), weights=(2.0, 2.0, 7.0))}
    one = Measurement(subject="forgetting", rows=rows)
    found = cells(differences_table(one, "log_likelihood", [("a", "b")], digits=4))[2][1]
    apart = rows["b"]["log_likelihood"].mean - rows["a"]["log_likelihood"].mean
    assert apart == pytest.approx(0.1 * 0.1 + 0.2 * 0.1 + 0.7 * 0.3)
    assert float(found.split()[0]) == pytest.approx(apart)
    with pytest.raises(ValueError, match="windows of other sizes"):
        differences_table(one, "log_likelihood", [("a", "other")])


def test_neighbours_leave_the_candidates_out() -> None:
    assert neighbours(measurement(base=[0.1], SFT=[0.2], **{CANDIDATES: [0.3]})) == [("base", "SFT")]


def test_the_composition_counts_every_candidate(examples: list[Example]) -> None:
    found = {row[0]: row[1:] for row in cells(composition_table(examples))[2:]}
    assert found == {
        "single": ["4", "25.0%"],
        "cot": ["4", "25.0%"],
        "cot-self-score": ["4", "25.0%"],
        "cot-feedback": ["4", "25.0%"],
        "all": ["16", ""],
    }


def test_a_page_has_everything_and_says_what_is_not_there(examples: list[Example]) -> None:
    empty = Measurement(subject="demographics", rows={}, notes=("There are none.",))
    page = page_of([measurement(base=[0.1, 0.2, 0.3], SFT=[0.2, 0.3, 0.4]), empty], examples)
    for words in ("Table 1", "Table 2", "SFT - base", "3 pairs", "A note.", "Table 3", "There are none."):
        assert words in page


def test_pairs_that_share_views_are_dependent(examples: list[Example]) -> None:
    """Everything twice says no more than once: the brackets are wider by the root of two."""
    once = [
        examples[0].model_copy(
            update={"id": str(number), "view_a": View(text=f"A{number}."), "view_b": View(text=f"B{number}.")}
        )
        for number in range(6)
    ]
    twice = [*once, *(one.model_copy(update={"id": f"{one.id} again"}) for one in once)]
    views = {one.id: texts_of(one) for one in twice}
    rows = {"base": (0.1, 0.3, 0.2, 0.5, 0.4, 0.6) * 2, "SFT": (0.2, 0.6, 0.4, 0.7, 0.5, 0.9) * 2}
    narrow, wide = ({n: {"rougeL": Figure.of(v, views=s)} for n, v in rows.items()} for s in ((), [*views.values()]))
    for name in rows:
        one, two = narrow[name]["rougeL"], wide[name]["rougeL"]
        assert two.high - two.mean == pytest.approx(math.sqrt(2) * (one.high - one.mean))
    found = Measurement(subject="rouge", pairs=tuple(views), rows=wide)
    alone, dependent = (difference_of(found, "rougeL", "base", "SFT", views=each) for each in (None, views))
    assert alone is not None
    assert dependent is not None
    assert dependent.high - dependent.mean == pytest.approx(math.sqrt(2) * (alone.high - alone.mean))
    assert shown_difference(dependent) in page_of([found], twice)
    assert "Table 1" not in page_of([found], twice, composition=False)
    with pytest.raises(InputError, match=r"Pair '0' was measured on, but the data set has no such pair"):
        page_of([found], twice[1:])
    # An answer that was not measured takes its views with it.
    one, other, *_, again = views.values()
    some = [Figure.of((0.1, 0.3, None, 0.3), views=(one, other, each, again)) for each in (one, other)]
    assert some[0] == some[1]


def test_figures_are_means_with_weights_and_without_what_is_missing() -> None:
    assert Figure.of([1.0, None, 3.0]).mean == 2.0
    assert Figure.of([1.0, None, 3.0]).counted == 2
    heavy = Figure.of([1.0, 3.0], weights=[1.0, 3.0])
    assert heavy.mean == pytest.approx(2.5)
    nothing = Figure.of([None, None])
    assert (nothing.counted, nothing.mean) == (0, 0.0)

"""Figures: PNG files that show the measured values, and nothing of the user's matplotlib."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="needs the train extra")

from trainer.evaluate import figures
from trainer.evaluate.measure import CANDIDATES, Figure, Measurement

ROWS = {"base": [0.1, 0.2, 0.15], "SFT": [0.3, 0.35, 0.4]}


def measured(subject: Any, name: str, rows: dict[str, list[float]]) -> Measurement:
    return Measurement(
        subject=subject,
        pairs=("a", "b", "c"),
        rows={row: {name: Figure.of(values)} for row, values in rows.items()},
    )


def size_of(path: Path) -> tuple[int, int]:
    """Width and height, read from the header."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


@pytest.mark.parametrize(
    ("subject", "name"),
    [("rouge", "rougeL"), ("neutrality", "gap"), ("demographics", "rouge1"), ("forgetting", "log_likelihood")],
)
def test_every_measurement_has_a_figure(subject: Any, name: str, tmp_path: Path) -> None:
    (path,) = figures.draw(measured(subject, name, ROWS), tmp_path / "new")
    assert path.name == f"{subject}.png"
    width, height = size_of(path)
    assert width > 600
    assert height > 250


def test_without_rows_there_is_none(tmp_path: Path) -> None:
    assert figures.draw(Measurement(subject="demographics", rows={}), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_drawing_shows_the_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    save = figures.save_drawing
    monkeypatch.setattr(figures, "save_drawing", lambda drawing, path: drawn.append(drawing) or save(drawing, path))
    paper = {"SFT": {"rougeL": 0.186}}
    figures.bars(measured("rouge", "rougeL", ROWS), {"rougeL": "ROUGE-L"}, tmp_path / "a.png", "Bars", paper)
    figures.gaps(measured("neutrality", "gap", {**ROWS, CANDIDATES: [0.05, 0.07, 0.06]}), tmp_path / "b.png", "Gaps")
    bars, gaps = (drawing.axes[0] for drawing in drawn)
    assert [patch.get_height() for patch in bars.patches] == pytest.approx([0.15, 0.35])
    diamonds = [line for line in bars.lines if line.get_marker() == "D"]
    assert [list(line.get_ydata()) for line in diamonds] == [[0.186]]
    assert [tick.get_text() for tick in gaps.get_xticklabels()] == ["base", "SFT"]
    points = [line for line in gaps.lines if line.get_marker() == "."]
    assert [list(line.get_ydata()) for line in points] == list(ROWS.values())
    assert "0.060" in gaps.get_legend().get_texts()[0].get_text()


def test_the_same_measurement_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        figures.draw(measured("rouge", "rougeL", ROWS), tmp_path / name)
    assert (tmp_path / "a" / "rouge.png").read_bytes() == (tmp_path / "b" / "rouge.png").read_bytes()

"""Measurements as Markdown tables: means with their 95 % intervals, paired differences, the composition of a pool."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from mediator.errors import InputError
from trainer.dataset.data import Example
from trainer.dataset.stats import stats_of
from trainer.evaluate.bootstrap import Difference, paired_difference
from trainer.evaluate.measure import CANDIDATES, Figure, Measurement
from trainer.evaluate.shared_views import Texts, texts_of, widening

HEADINGS = {
    "rouge1": "ROUGE-1",
    "rougeL": "ROUGE-L",
    "words": "words",
    "gap": "gap",
    "warmth": "warmth",
    "log_likelihood": "log-likelihood of a token (nats)",
}

TITLES = {
    "rouge": "ROUGE (the paper's Table 2)",
    "neutrality": "Neutrality (the paper's Figure 4)",
    "demographics": "With and without demographics (the paper's Table 3)",
    "forgetting": "Forgetting (the paper's Table 4)",
}


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table, its columns aligned; the first is text, the others are numbers."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = "|".join(
        "-" * (width + 2) if number == 0 else "-" * (width + 1) + ":" for number, width in enumerate(widths)
    )
    return "\n".join([line(cells[0]), f"|{rule}|", *(line(row) for row in cells[1:])])


def shown(figure: Figure | None, digits: int = 3) -> str:
    """A figure as ``0.321 [0.300, 0.342]``; empty for none."""
    if figure is None or not figure.counted:
        return ""
    return f"{figure.mean:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def figures_table(
    measurement: Measurement, published: Mapping[str, Mapping[str, float]] | None = None, digits: int = 3
) -> str:
    """Write a measurement's rows as a Markdown table.

    Args:
        measurement: to write.
        published: row -> figure -> what the paper has; a column beside each of ours.
        digits: after the point.
    """
    names = list(dict.fromkeys(name for row in measurement.rows.values() for name in row))
    beside = [name for name in names if published and any(name in row for row in published.values())]
    head = [""]
    for name in names:
        head.append(HEADINGS.get(name, name))
        if name in beside:
            head.append(f"the paper's {HEADINGS.get(name, name).split(' of ')[0]}")
    lines = []
    for row, figures in measurement.rows.items():
        line = [row]
        for name in names:
            line.append(shown(figures.get(name), 1 if name == "words" else digits))
            if name in beside:
                value = (published or {}).get(row, {}).get(name)
                line.append("" if value is None else f"{value:.{digits}f}")
        lines.append(line)
    return markdown_table(head, lines)


def difference_of(
    measurement: Measurement,
    name: str,
    first: str,
    second: str,
    seed: int = 0,
    views: Mapping[str, Texts] | None = None,
) -> Difference | None:
    """Compare two rows on the same pairs: second - first, weighted as the rows themselves are.

    Args:
        measurement: of both.
        name: of the figure to compare.
        first: a row.
        second: another one.
        seed: of the bootstrap.
        views: of each pair by its id (`trainer.evaluate.shared_views.texts_of`): those with a common view are
            dependent. None takes all pairs for independent.

    Returns:
        None where a row has no such figure, or the two have no pair in common.

    Raises:
        InputError: ``views`` lacks a pair of the measurement.
        ValueError: the rows were not measured on the same things.
    """
    before, after = (measurement.rows.get(row, {}).get(name) for row in (first, second))
    if before is None or after is None:
        return None
    if before.weights != after.weights:
        raise ValueError(f"{first} and {second} were measured on windows of other sizes")
    heavy = before.weights or (1.0,) * len(before.values)
    both = [
        (one, two, weight, place)
        for place, (one, two, weight) in enumerate(zip(before.values, after.values, heavy, strict=True))
        if one is not None and two is not None
    ]
    if not both:
        return None
    ones, twos, weights, places = zip(*both, strict=True)
    wider = 1.0
    if views is not None and measurement.pairs:
        apart = [two - one for one, two in zip(ones, twos, strict=True)]
        pairs = [measurement.pairs[place] for place in places]
        if missing := [pair for pair in pairs if pair not in views]:
            raise InputError(
                f"Pair {missing[0]!r} was measured on, but the data set has no such pair.",
                "Give the data set that was measured on.",
            )
        wider = widening(apart, [views[pair] for pair in pairs])
    return paired_difference(ones, twos, seed, weights if before.weights else None, wider)


def shown_difference(found: Difference | None, digits: int = 3) -> str:
    """A difference as ``+0.021 [-0.002, +0.044]``; empty for none."""
    if found is None:
        return ""
    return f"{found.mean:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"


def differences_table(
    measurement: Measurement,
    name: str,
    comparisons: Sequence[tuple[str, str]],
    seed: int = 0,
    digits: int = 3,
    views: Mapping[str, Texts] | None = None,
) -> str:
    """Write paired differences between rows: the same pairs are drawn for both, so what they share falls out.

    Args:
        measurement: with both rows of each comparison; comparisons with a row that is missing are passed over.
        name: of the figure to compare.
        comparisons: (first, second); the difference is second - first.
        seed: of the bootstrap.
        digits: after the point.
        views: as for `difference_of`.
    """
    lines = []
    for first, second in comparisons:
        found = difference_of(measurement, name, first, second, seed, views)
        if found is not None:
            lines.append([f"{second} - {first}", shown_difference(found, digits), f"{found.opposite:.3f}"])
    return markdown_table(["", HEADINGS.get(name, name), "opposite order"], lines) if lines else ""


def neighbours(measurement: Measurement) -> list[tuple[str, str]]:
    """Each row with the one before it: what each step of the method adds."""
    rows = [row for row in measurement.rows if row != CANDIDATES]
    return list(pairwise(rows))


def composition_table(examples: Sequence[Example]) -> str:
    """Which strategy the pool's candidates came from (the paper's Table 1), as Markdown."""
    stats = stats_of(examples)
    rows = [[name, str(group.candidates), f"{group.share:.1%}"] for name, group in stats.strategies.items()]
    return markdown_table(["strategy", "candidates", "share"], [*rows, ["all", str(stats.all.candidates), ""]])


def page_of(
    measurements: Sequence[Measurement], examples: Sequence[Example] = (), seed: int = 0, composition: bool = True
) -> str:
    """Write all measurements as one Markdown text, with their differences and notes.

    Args:
        measurements: to write.
        examples: the pairs that were measured on; without them, differences take pairs for independent.
        seed: of the bootstrap.
        composition: whether Table 1 shall say where the pairs' candidates come from.
    """
    parts = []
    views = {example.id: texts_of(example) for example in examples} if examples else None
    if composition and any(example.candidates for example in examples):
        parts.append(f"## The candidates by strategy (the paper's Table 1)\n\n{composition_table(examples)}")
    for measurement in measurements:
        text = [f"## {TITLES[measurement.subject]}"]
        if measurement.rows:
            text.append(figures_table(measurement))
            main = {"rouge": "rougeL", "neutrality": "gap", "demographics": "rougeL", "forgetting": "log_likelihood"}
            differences = _comparable(measurement, main[measurement.subject])
            table = differences_table(measurement, main[measurement.subject], differences, seed, views=views)
            if table:
                text.append(f"On the same {'pairs' if measurement.pairs else 'windows'}:\n\n{table}")
            size = f"{len(measurement.pairs)} pairs. " if measurement.pairs else ""
            text.append(f"{size}Brackets: 95 % bootstrap intervals. {' '.join(measurement.notes)}")
        else:
            text.append(" ".join(measurement.notes))
        parts.append("\n\n".join(text))
    return "\n\n".join(parts) + "\n"


def _comparable(measurement: Measurement, name: str) -> list[tuple[str, str]]:
    """The neighbours that were measured on the same things: as many values, equally heavy."""
    return [
        (first, second)
        for first, second in neighbours(measurement)
        if len(measurement.rows[first][name].values) == len(measurement.rows[second][name].values)
        and measurement.rows[first][name].weights == measurement.rows[second][name].weights
    ]

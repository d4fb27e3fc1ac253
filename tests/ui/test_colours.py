"""assets/app.css: texts and edges stand out enough in both themes (WCAG 2.2 AA), and neither side is the brighter."""

import math
import re

import pytest

from mediator.resources import asset

CSS = asset("app.css").read_text(encoding="utf-8")
PAGES = {":root": "#f8fafc", ".dark": "#020617"}
"""What lies behind everything: the theme's neutral_50 and neutral_950."""

TEXTS = [("text", "surface"), ("text", "sunken"), ("text", "page"), ("quiet", "surface"), ("quiet", "sunken"),
         ("quiet", "page"), ("alert", "surface"), ("alert", "alert-surface"), ("alert", "page"),
         ("away", "away-surface"), ("text", "away-surface"), ("text", "mark"), ("surface", "text")]  # fmt: skip
SHAPES = [("edge", "surface"), ("edge", "page"), ("edge", "sunken"), ("focus", "surface"), ("focus", "page"),
          ("focus", "sunken"), ("a", "surface"), ("b", "surface"), ("a", "sunken"), ("b", "sunken")]  # fmt: skip


def of_hex(text):
    return [int(text[start : start + 2], 16) / 255 for start in (1, 3, 5)]


def of_oklch(lightness, chroma, hue):
    """By the matrices of the Oklab definition (Ottosson 2020); sRGB, 0..1, clipped."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    return [min(1.0, max(0.0, 12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055)) for x in linear]


def luminance(colour):
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in colour]
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def colours(theme):
    block = CSS[CSS.index(f"{theme} {{") :]
    found = {"page": of_hex(PAGES[theme])}
    for name, value in re.findall(r"--eh-([\w-]+): ([^;]+);", block[: block.index("}")]):
        numbers = re.fullmatch(r"oklch\(([\d.]+) ([\d.]+) ([\d.]+)\)", value)
        found[name] = of_oklch(*map(float, numbers.groups())) if numbers else of_hex(value)
    return found


def test_the_measure_is_the_one_of_the_guidelines():
    assert contrast([0, 0, 0], [1, 1, 1]) == pytest.approx(21)
    assert contrast(of_hex("#777777"), [1, 1, 1]) == pytest.approx(4.48, abs=0.01)
    assert of_oklch(0.628, 0.2577, 29.23) == pytest.approx([1, 0, 0], abs=0.01)


@pytest.mark.parametrize("theme", PAGES)
@pytest.mark.parametrize(("front", "back"), TEXTS)
def test_text_can_be_read(theme, front, back):
    palette = colours(theme)
    assert contrast(palette[front], palette[back]) >= 4.5


@pytest.mark.parametrize("theme", PAGES)
@pytest.mark.parametrize(("front", "back"), SHAPES)
def test_edges_bars_and_points_can_be_seen(theme, front, back):
    palette = colours(theme)
    assert contrast(palette[front], palette[back]) >= 3


@pytest.mark.parametrize("theme", PAGES)
def test_neither_side_is_brighter(theme):
    palette = colours(theme)
    assert contrast(palette["a"], palette["b"]) < 1.06


def test_what_is_inside_media_rules_survives_the_way_gradio_rewrites_them():
    """It puts its own container before each selector there, and drops other blocks."""
    css = re.sub(r"/\*.*?\*/", "", CSS, flags=re.DOTALL)
    blocks = re.findall(r"@media[^{]*\{((?:[^{}]*\{[^{}]*\})+)\s*\}", css)
    assert len(blocks) == css.count("@media") > 3
    assert ".gradio-container" not in "".join(blocks)
    assert not re.search(r"@(supports|container|layer)", css)

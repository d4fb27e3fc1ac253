"""An exported session as one HTML page: no script, nothing fetched, everything escaped; the looks are in the assets."""

from html import escape

from mediator.report_content import Bars, Content, Option, Side, Wording
from mediator.resources import asset

# The browser is told to load nothing at all, whatever the page may come to hold.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

# Stripes and dots: told apart on paper without colour. Drawn as SVG, since browsers leave out backgrounds in print.
_PATTERNS = (
    '<svg class="patterns" width="0" height="0" aria-hidden="true"><defs>'
    '<pattern id="bar-a" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect class="ground-a" width="6" height="6"/><rect class="mark-a" width="2.2" height="6"/></pattern>'
    '<pattern id="bar-b" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<rect class="ground-b" width="6" height="6"/><circle class="mark-b" cx="3" cy="3" r="1.3"/></pattern>'
    "</defs></svg>"
)


def page(content: Content) -> str:
    """Return the whole page as HTML."""
    say = content.words
    style = asset("report", "report.css").read_text(encoding="utf-8")
    note = escape(say["draft_note"])
    body = "".join(
        (
            f'<header><p class="draft">{note}</p><h1 dir="auto">{escape(content.title)}</h1>'
            f'<p class="quiet">{escape(content.as_of)}</p></header>',
            f'<section class="sides">{"".join(_side(side, content, 2) for side in content.sides)}</section>',
            _section(say["summary"], _text(content.summary), "summary") if content.summary else "",
            _section(say["proposals"], _note(content.options_note) + _options(content.options, content), "proposals"),
            _section(say["meaning_heading"], f"<p>{escape(content.meaning)}</p>"),
            _section(say["trail"], _trail(content), "trail") if content.trail else "",
            _section(say["audit"], _audits(content), "audit") if content.audits else "",
            _section(say["others"], _note(say["others_note"]) + _options(content.others, content), "others")
            if content.others
            else "",
            _appendix(content),
            _section(say["origin"], "".join(f"<p>{escape(origin)}</p>" for origin in content.origins), "origin")
            if content.origins
            else "",
        )
    )
    return (
        f'<!DOCTYPE html>\n<html lang="{content.language}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<meta name="color-scheme" content="light dark">\n'
        '<meta name="robots" content="noindex">\n'
        f"<title>{escape(content.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{_PATTERNS}"
        # The foot of a table is what every browser repeats at the end of each printed page.
        '<table role="presentation" class="paper"><tbody role="presentation"><tr role="presentation">'
        f'<td role="presentation"><main>{body}</main></td></tr></tbody>'
        f'<tfoot role="presentation"><tr role="presentation"><td role="presentation"><p class="foot">{note}'
        f'<span class="foot-title" dir="auto">{escape(content.title)}</span></p></td></tr></tfoot></table>\n'
        "</body>\n</html>\n"
    )


def _section(heading: str, body: str, kind: str = "plain") -> str:
    return f'<section class="{kind}"><h2>{escape(heading)}</h2>{body}</section>'


def _note(text: str) -> str:
    return f'<p class="quiet">{escape(text)}</p>' if text else ""


def _text(text: str) -> str:
    return f'<p class="text" dir="auto">{escape(_seen(text.strip()))}</p>'


def _seen(text: str) -> str:
    """Leave out control characters, which HTML does not allow."""
    return "".join(
        character for character in text if character in "\n\t" or character.isprintable() or ord(character) > 159
    )


def _side(side: Side, content: Content, level: int) -> str:
    letter = content.words["side"].format(letter=side.letter)
    over = f'<span class="over">{escape(letter)}</span>' if side.name != letter else ""
    parts = "".join(
        (f'<p class="part">{escape(heading)}</p>' if heading else "") + _text(text) for heading, text in side.parts
    )
    about = ""
    if side.about:
        rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in side.about)
        about = f'<p class="part">{escape(content.words["about"])}</p><dl dir="auto">{rows}</dl>'
    heading = f'<h{level} dir="auto">{over}<bdi>{escape(side.name)}</bdi></h{level}>'
    return f'<article class="side">{heading}{parts}{about}</article>'


def _options(options: tuple[Option, ...], content: Content) -> str:
    return "".join(_option(option, content) for option in options)


def _option(option: Option, content: Content) -> str:
    notes = "".join(_note(text) for text in option.notes)
    ratings = ""
    if option.ratings:
        rows = "".join(
            f"<li><strong><bdi>{escape(name)}</bdi></strong> {escape(value)}"
            + (f'<span class="why" dir="auto">{escape(note)}</span>' if note else "")
            + "</li>"
            for name, value, note in option.ratings
        )
        ratings = f'<div class="ratings"><p class="part">{escape(content.words["ratings"])}</p><ul>{rows}</ul></div>'
    origin = f' <span class="quiet">{escape(option.origin)}</span>' if option.origin else ""
    return (
        f'<article class="option"><h3>{escape(option.wording.heading)}{origin}</h3>{_text(option.wording.text)}'
        f"{_bars(option.wording.bars, content)}{notes}{ratings}</article>"
    )


def _bars(bars: Bars | None, content: Content) -> str:
    if bars is None:
        return ""
    rows = "".join(
        _bar(side.name, side.letter, value, error, content)
        for side, value, error in zip(content.sides, (bars.a, bars.b), (bars.error_a, bars.error_b), strict=True)
    )
    return f'<div class="bars">{rows}<p class="words">{escape(bars.words)}</p></div>'


def _bar(name: str, letter: str, value: int, error: int | None, content: Content) -> str:
    unsure = "" if error is None else "_unsure"
    said = content.words[f"bar{unsure}"].format(side=name, value=value, error=error)
    short = content.words[f"of_hundred{unsure}"].format(value=value, error=error)
    low = letter.lower()
    return (
        f'<div class="bar"><span class="bar-name" dir="auto">{escape(name)}</span>'
        f'<svg role="img" aria-label="{escape(said)}" width="100%" height="14">'
        f'<rect class="track" x="0.5" y="0.5" width="100%" height="13"/>'
        f'<rect class="fill-{low}" x="0.5" y="0.5" width="{value}%" height="13" fill="url(#bar-{low})"/>'
        f"{_whisker(value, error)}</svg>"
        f'<span class="bar-value" aria-hidden="true">{escape(short)}</span></div>'
    )


def _whisker(value: int, error: int | None) -> str:
    """How far a bar may be off: a line across its end with a stroke at each side, on a band that sets it apart."""
    if error is None:
        return ""
    low, high = max(0, value - error), min(100, value + error)
    return (
        f'<rect class="band" x="{low}%" y="2" width="{high - low}%" height="10"/>'
        f'<rect class="whisker" x="{low}%" y="6.25" width="{high - low}%" height="1.5"/>'
        f'<rect class="whisker" x="{low}%" y="3" width="1.5" height="8"/>'
        f'<rect class="whisker" x="{high}%" y="3" width="1.5" height="8"/>'
    )


def _audits(content: Content) -> str:
    found = "".join(f"<p>{escape(line)}</p>" for line in content.audits)
    return _note(content.words["audit_note"]) + found


def _trail(content: Content) -> str:
    steps = "".join(
        f"<li><h3>{escape(step.heading)}</h3>"
        + "".join(f'<p dir="auto">{escape(line)}</p>' for line in step.lines)
        + "</li>"
        for step in content.trail
    )
    return f"<ol>{steps}</ol>"


def _appendix(content: Content) -> str:
    body = "".join(
        f"<h3>{escape(heading)}</h3>" + "".join(_wording(wording, content) for wording in wordings)
        for heading, wordings in content.histories
    )
    for heading, sides in content.earlier_views:
        body += (
            f'<h3>{escape(heading)}</h3><div class="sides">{"".join(_side(side, content, 4) for side in sides)}</div>'
        )
    return _section(content.words["appendix"], body, "appendix") if body else ""


def _wording(wording: Wording, content: Content) -> str:
    return (
        f'<article class="wording"><h4>{escape(wording.heading)}</h4>{_text(wording.text)}'
        f"{_bars(wording.bars, content)}</article>"
    )

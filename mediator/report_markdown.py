"""An exported session as Markdown: what people typed is escaped, so that it can become no heading, link or HTML."""

import re

from mediator.report_content import Bars, Content, Option, Side, Wording

# Marks that may mean something anywhere in a line of CommonMark, or in the dialects of GitHub and Pandoc.
_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#|~&$^!@])")
_AT_THE_START = re.compile(r"^([-+=:]|\d+(?=[.)]))")
_LINE_ENDS = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_UNSEEN = re.compile("[\x00-\x1f\x7f]")
_ADDRESS = re.compile(r"(?<=[A-Za-z])(://)|(?<=www)(\.)", re.IGNORECASE)


def markdown(content: Content) -> str:
    """Return the page as CommonMark with tables."""
    say = content.words
    lines = [f"# {escaped(content.title)}", "", f"**{escaped(say['draft_note'])}**", "", escaped(content.as_of), ""]
    for side in content.sides:
        lines += _side(side, content, "##")
    if content.summary:
        lines += [f"## {escaped(say['summary'])}", "", *_quote(content.summary), ""]
    lines += [f"## {escaped(say['proposals'])}", ""]
    if content.options_note:
        lines += [escaped(content.options_note), ""]
    for option in content.options:
        lines += _option(option, content)
    lines += [f"## {escaped(say['meaning_heading'])}", ""]
    lines += [f"{escaped(content.meaning)}", ""]
    if content.trail:
        lines += [f"## {escaped(say['trail'])}", ""]
        for step in content.trail:
            lines += [f"### {escaped(step.heading)}", "", *(f"- {escaped(line)}" for line in step.lines), ""]
    if content.audits:
        lines += [f"## {escaped(say['audit'])}", "", escaped(say["audit_note"]), ""]
        lines += [*(f"- {escaped(line)}" for line in content.audits), ""]
    if content.others:
        lines += [f"## {escaped(say['others'])}", "", escaped(say["others_note"]), ""]
        for option in content.others:
            lines += _option(option, content)
    if content.histories or content.earlier_views:
        lines += [f"## {escaped(say['appendix'])}", ""]
    for heading, wordings in content.histories:
        lines += [f"### {escaped(heading)}", ""]
        for wording in wordings:
            lines += _wording(wording, content, "####")
    for heading, sides in content.earlier_views:
        lines += [f"### {escaped(heading)}", ""]
        for side in sides:
            lines += _side(side, content, "####")
    lines += [f"## {escaped(say['origin'])}", "", *(f"- {escaped(origin)}" for origin in content.origins), ""]
    lines += ["---", "", f"*{escaped(say['draft_note'])}*"]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Return a text as one line of Markdown that shows just this text; control characters are spaces."""
    line = " ".join(_UNSEEN.sub(" ", text).split())
    line = _SPECIAL.sub(r"\\\1", line)
    line = _ADDRESS.sub(lambda found: "".join("\\" + mark for mark in found.group()), line)
    return _AT_THE_START.sub(lambda found: _start(found.group()), line)


def _start(mark: str) -> str:
    """Escape what begins a list or an underlined heading. Of "1." it is the dot that counts."""
    return f"{mark[:-1]}&#{ord(mark[-1])};" if mark.isdecimal() else f"\\{mark}"


def _quote(text: str) -> list[str]:
    """Set a text of several paragraphs as a quotation, its line ends kept."""
    lines = [escaped(line) for line in _LINE_ENDS.split(text.strip())]
    return [
        f"> {line}\\" if line and at + 1 < len(lines) and lines[at + 1] else f"> {line}".rstrip()
        for at, line in enumerate(lines)
    ]


def _side(side: Side, content: Content, level: str) -> list[str]:
    letter = content.words["side"].format(letter=side.letter)
    heading = side.name if side.name == letter else f"{letter}: {side.name}"
    lines = [f"{level} {escaped(heading)}", ""]
    for name, text in side.parts:
        lines += [*([f"**{escaped(name)}**", ""] if name else []), *_quote(text), ""]
    if side.about:
        lines += [f"**{escaped(content.words['about'])}**", ""]
        lines += [*(f"- {escaped(name)}: {escaped(value)}" for name, value in side.about), ""]
    return lines


def _option(option: Option, content: Content) -> list[str]:
    lines = _wording(option.wording, content, "###")
    remarks = [*([option.origin + "."] if option.origin else []), *option.notes]
    if remarks:
        lines += [escaped(" ".join(remarks)), ""]
    if option.ratings:
        lines += [f"**{escaped(content.words['ratings'])}**", ""]
        for name, value, note in option.ratings:
            lines.append(f"- {escaped(name)}: {escaped(value)}" + (f". {escaped(note)}" if note else ""))
        lines.append("")
    return lines


def _wording(wording: Wording, content: Content, level: str) -> list[str]:
    lines = [f"{level} {escaped(wording.heading)}", "", *_quote(wording.text), ""]
    return [*lines, *_bars(wording.bars, content)] if wording.bars is not None else lines


def _bars(bars: Bars, content: Content) -> list[str]:
    side_a, side_b = (escaped(side.name) for side in content.sides)
    within_a, within_b = ("" if error is None else f" ± {error}" for error in (bars.error_a, bars.error_b))
    return [
        f"| {side_a} | {side_b} |",
        "| :-: | :-: |",
        f"| {bars.a}{within_a} / 100 | {bars.b}{within_b} / 100 |",
        "",
        bars_words(bars),
        "",
    ]


def bars_words(bars: Bars) -> str:
    """Return the words for a pair of bars as Markdown."""
    return f"*{escaped(bars.words)}*"

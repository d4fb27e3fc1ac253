"""A streaming parser: what language models really write in, numbered candidates out."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from mediator.neutrality import overlap, tokens
from mediator.writers.base import Delta

COPY_OVERLAP = 0.9
"""Shared fraction of the words, 0..1, from which a candidate is called a copy of a view."""

_PREVIEW_LENGTH = 40  # characters of an unfinished line from which its kind is hardly ever in doubt any more

_PROPOSAL = (
    r"(?:response|compromise|option|proposal|suggestion|candidate|solution|answer|idea|draft|plan|"
    r"kompromiss|vorschlag|antwort|lösung|réponse|compromis|proposition|propuesta|compromiso|opción|respuesta|"
    r"proposta|compromesso|soluzione|risposta|opção|resposta|voorstel|kompromis)"
)
_LABEL = re.compile(
    rf"^(?:\*\*|__|\*)?(?P<word>{_PROPOSAL})\s*(?:#|no\.|nr\.|n°)?\s*(?P<number>\d{{1,2}}|[A-H])\s*"
    r"(?P<aside>\([^()]{1,60}\))?\s*(?:\*\*|__|\*)?\s*(?:[:.)：]|\s[-–—](?=\s|$)|$)\s*(?P<text>.*)$",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"^(?P<emphasis>\*\*|__|\*)?(?:"
    r"(?P<open>[(\[#]?)(?P<number>\d{1,2})(?P<close>\ufe0f?\u20e3|[.)\]](?=\s|$|[^\W\d]|[*_\"“„«(\[])|[．、）]|[:：](?=\s|$)"
    r"|\s[-–—](?=\s)|(?P<bare>\*\*)(?=\s|$))"
    r")(?P<text>.*)$"
)
_BULLET = re.compile(r"^[-*•●▪◦‣–—+]\s+(?P<text>.+)$")
_HEADING = re.compile(r"^#{1,6}(?!\d)\s*(?P<text>.*?)\s*#*$")
_BOLD = re.compile(r"^(?P<bold>\*\*|__)(?P<title>[^*_]{2,100})(?P=bold)\s*[:：.]?\s*(?P<text>.*)$")
_RULE = re.compile(r"^(?:[-*_=]\s*){3,}$")
_FENCE = re.compile(r"^(?:```|~~~)[\w+-]*$")
_JSON_START = re.compile(r"^(?:\[\s*(?:[\"{\[]|$)|\{\s*(?:\"|$))")

_THOUGHT = r"(?:think|thinking|thought|thoughts|reasoning|analysis|scratchpad|reflection)"
_THOUGHT_TAG = re.compile(rf"<\s*(?P<end>/)?\s*{_THOUGHT}\s*>", re.IGNORECASE)
_OTHER_TAG = re.compile(r"</?(?:answer|output|response|result|final|compromises?|proposals?)\s*>", re.IGNORECASE)

# The heading that our prompts ask for, with or without the first candidate on the same line.
_MARKER = re.compile(r"^[\W_]*(?:COMPROMISES\s*[:：][\s*_]*(?P<text>.*)|(?i:compromises)[\W_]*)$", re.DOTALL)
# What models write in its place.
_SOFT_MARKER = re.compile(
    r"^(?P<what>[^:：.]{0,60}?\b(?:compromises|responses|proposals|options|solutions|suggestions|candidates|answers?"
    r"|list))[^:：.]{0,60}[:：]?$",
    re.IGNORECASE,
)
_AT_LAST = re.compile(r"\b(?:final|improved|revised|updated|better|new|refined)\b", re.IGNORECASE)
_REASONING = re.compile(
    r"^(?:step\s+\d+\W*)?(?:(?:the|my|key|shared|common|some|brief|main|self|initial|first|rough)[\s-]+)*"
    r"(?:similarit(?:y|ies)|similarities\b.*|common\s+(?:ground|points|values|interests)|overlap|grounds?|values|interests|"
    r"analysis|reasoning|thoughts|findings|ratings?|scores?|assessments?|evaluations?|drafts|differences|notes?|rationale|"
    r"explanations?|why\b.*|benefits|conclusion|summary|next\s+steps|comments?|considerations)$",
    re.IGNORECASE,
)
_FAREWELL = re.compile(
    r"^\W*(?:i hope|i believe these|let me know|feel free|would you like|if you(?:'d|’d| would| want| need)|please let|"
    r"thank|these (?:compromises|proposals|options|solutions|responses|suggestions|approaches|ideas)|each of these|"
    r"each (?:compromise|proposal|option|response|solution)|"
    r"all (?:of these|of them|four|three|five|these)|note:|note that|notes:|overall,|in summary|in conclusion|"
    r"to summarize|by (?:implementing|adopting|combining)|together, these|both sides|all of the above|\(?end\b)",
    re.IGNORECASE,
)
_PLAIN_FAREWELL = re.compile(r"^\W*(?:i hope (?:this|these)|let me know|feel free to|would you like me)", re.IGNORECASE)
_SCORE_LINE = re.compile(
    r"^\W*(?:(?:self[- ]?)?(?:scores?|ratings?|rated)\b|empathic similarity\b|similarity (?:to|with)\b|"
    r"(?:view |side )?A\s*[:=]\s*[01][.,]\d)",
    re.IGNORECASE,
)
_TRAILING_SCORES = re.compile(
    r"\s*(?:[(\[](?=[^()\[\]]*\d[.,]\d)[^()\[\]]*\b(?:A|B|scores?|similarity|ratings?)\b[^()\[\]]*[)\]]"
    r"|[-–—|;,]\s*(?:(?:view|side) )?A\s*[:=]\s*[01][.,]\d+[^.]*?B\s*[:=]\s*[01](?:[.,]\d+)?)\s*\.?$"
)
_VIEW_NAME = re.compile(r"^(?:view|side)\s+[AB]\s*[:：]\s*", re.IGNORECASE)
_VIEW_NAMES = ("view a: ", "view b: ", "side a: ", "side b: ")
_SENTENCE_END = re.compile(r"[.!?…。！？।؟][\"'”’»)\]]*$")
_CUT_OFF = re.compile(r"[\w,;:(–—-]$")

# A stronger kind of heading that starts a list ends a list of a weaker kind; weaker kinds inside a list are content.
_STRENGTH = {"bullet": 1, "bold": 2, "title": 2, "number": 3, "label": 4, "heading": 5}


class CandidateParser:
    """Finds the candidates in a model's answer while it streams.

    Understands lists numbered ``1.``, ``1)``, ``(1)``, ``[1]``, ``1:``, ``**1.**``, ``Response 1:``,
    ``### Compromise 1``; bullets; bold titles and headings; JSON arrays and objects; any of these in a code fence.
    Leaves out preambles and closing remarks, ``<think>`` blocks, reasoning before the heading ``COMPROMISES:`` (and
    lists in it), self-ratings at the end of a candidate, texts that copy a view, and a last candidate that the end of
    the answer cut off. When a later list turns out to be the answer, everything before it is void (`Delta.restart`).

    The candidates depend on the whole text only, not on how it was cut into pieces. Never raises on any text.

    Args:
        count: the most candidates to keep, >= 1.
        marked: the prompt asked for the heading `mediator.prompts.MARKER`. Until it comes nothing is streamed; if it
            never comes, the last proper list counts, at the end.
        unwanted: the texts of the views (whole, and their parts): a candidate that repeats one is left out.

    Example:
        >>> parser = CandidateParser(count=2)
        >>> deltas = [*parser.feed("Sure!\\n1. Share the la"), *parser.feed("wn.\\n2. Take turns."), *parser.finish()]
        >>> parser.candidates
        ('Share the lawn.', 'Take turns.')
    """

    def __init__(self, count: int, marked: bool = False, unwanted: Sequence[str] = ()) -> None:
        self._count = count
        self._unwanted = tuple(text for text in unwanted if tokens(text))
        self._unwanted_words = tuple(f" {' '.join(tokens(text))} " for text in self._unwanted)
        self._lines = _Lines(count=count, marked=marked)
        self._partial = ""
        self._sent: list[str] = []
        self._sent_done: list[bool] = []
        self._words: dict[str, str] = {}
        self._finished = False

    @property
    def candidates(self) -> tuple[str, ...]:
        """The candidates streamed so far; after `finish`, the final ones."""
        return tuple(self._sent)

    def feed(self, piece: str) -> list[Delta]:
        """Take the next piece of the answer; return what is new. Does nothing after `finish`."""
        if self._finished:
            return []
        *complete, self._partial = (self._partial + piece.replace("\r", "")).split("\n")
        for line in complete:
            self._lines.take(line)
        return list(self._emit(self._preview()))

    def finish(self) -> list[Delta]:
        """The answer is at its end: return the last deltas; every candidate is done then."""
        if self._finished:
            return []
        self._finished = True
        self._lines.take(self._partial)
        self._lines.end()
        texts = self._wanted([item.finished_text() for item in self._lines.final_items()])
        if len(texts) > 2 and _CUT_OFF.search(texts[-1]) and all(_SENTENCE_END.search(text) for text in texts[:-1]):
            texts.pop()
        return list(self._emit([(text, True) for text in texts]))

    def _preview(self) -> list[tuple[str, bool]]:
        """What can be shown now: closed candidates, and as much of the open one as will hardly change."""
        lines = self._lines
        if _is_decided(self._partial) and not lines.holds_json():
            lines = lines.copy()
            lines.take(_safe_part(self._partial))
        items = lines.visible_items()
        closed = [item.finished_text() for item in (items if lines.closed else items[:-1])]
        shown = [(text, True) for text in self._wanted(closed)]
        if items and not lines.closed and len(shown) < self._count:
            text = items[-1].growing_text()
            if text and not self._may_become_copy(text, len(shown)):
                shown.append((text, False))
        return shown

    def _wanted(self, texts: Sequence[str]) -> list[str]:
        """Leave out what is no candidate: no words, a copy of a view, the same again; keep at most ``count``."""
        kept: list[str] = []
        seen: set[str] = set()
        for text in texts:
            if text not in self._words:  # the same closed candidates come by with every piece of the next one
                self._words[text] = "" if self._is_copy(text) else " ".join(tokens(text))
            words = self._words[text]
            if words and words not in seen:
                seen.add(words)
                kept.append(text)
        return kept[: self._count]

    def _is_copy(self, text: str) -> bool:
        plain = _VIEW_NAME.sub("", text)
        words = f" {' '.join(tokens(plain))} "
        return any(words in view for view in self._unwanted_words) or any(
            overlap(plain, view) >= COPY_OVERLAP for view in self._unwanted
        )

    def _may_become_copy(self, text: str, shown: int) -> bool:
        """Whether the text is so far the beginning of a copy; never again once some of it was shown."""
        if len(self._sent) > shown and text.startswith(self._sent[shown]):
            return False
        if any(name.startswith(text.casefold()) for name in _VIEW_NAMES):
            return True
        start = f" {' '.join(tokens(_VIEW_NAME.sub('', text)))}"
        return any(start in view for view in self._unwanted_words)

    def _emit(self, shown: list[tuple[str, bool]]) -> Iterator[Delta]:
        """Compare what should be on the screen with what is there, and yield the difference."""
        texts = [text for text, _ in shown]
        fits = len(texts) >= len(self._sent) and all(
            new == old if done else new.startswith(old)
            for new, old, done in zip(texts, self._sent, self._sent_done, strict=False)
        )
        # A preview may hold back what an earlier one showed (an undecided line): wait, nothing is wrong yet.
        if not fits and not self._finished and _is_behind(texts, self._sent):
            return
        if not fits:
            self._sent, self._sent_done = [], []
            yield Delta(0, "", restart=True)
        for index, (text, done) in enumerate(shown):
            if index == len(self._sent):
                self._sent.append("")
                self._sent_done.append(False)
            if self._sent_done[index]:
                continue
            piece = text[len(self._sent[index]) :]
            self._sent[index], self._sent_done[index] = text, done
            if piece or done:
                yield Delta(index, piece, done=done)


def parse(text: str, count: int, marked: bool = False, unwanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the candidates of a complete answer; see `CandidateParser`."""
    parser = CandidateParser(count, marked, unwanted)
    parser.feed(text)
    parser.finish()
    return parser.candidates


@dataclass
class _Item:
    """One candidate while its lines come in. ``paragraphs`` counts those after the first that belong to it."""

    text: str = ""
    number: int | None = None
    title_only: bool = False
    paragraphs: int = 0

    def add(self, text: str, joint: str) -> None:
        text = _plain(text)
        if not text:
            return
        if not self.text:
            self.text = text
        elif self.title_only:
            self.text = f"{self.text.rstrip(' :：.')}: {text}"
        else:
            self.text += joint + text
        self.title_only = False

    def finished_text(self) -> str:
        return _unquoted(_without_scores(self.text).strip())

    def growing_text(self) -> str:
        """The text without what may still vanish: a closing quotation mark or bracket may change what is before it."""
        text = _without_scores(self.text).rstrip(' *_`:：."”' if self.title_only else ' *_`"”')
        opening = max(text.rfind("("), text.rfind("["))
        if opening >= 0 and not re.search(r"[)\]]", text[opening:]):
            text = text[:opening].rstrip()
        return text.lstrip('"“”') if text[:1] in '"“' and len(re.findall('["“”]', text)) == 1 else text


@dataclass
class _Lines:
    """The state between lines: which list is being read, and what has been read."""

    count: int
    marked: bool
    items: list[_Item] = field(default_factory=list)
    key: str = ""  # the kind of heading of the current list, with its delimiter
    strength: int = 0
    value: int = 0
    indent: int = 0
    closed: bool = True  # no candidate is open
    outside: bool = False  # in a section of reasoning, whose lists are none of ours
    seen_marker: bool = False
    blank: bool = False
    held: list[str] = field(default_factory=list)  # paragraphs of the open candidate only if another candidate follows
    lists: list[list[_Item]] = field(default_factory=list)
    in_thought: bool = False
    json_text: str | None = None
    paragraphs: list[str] = field(default_factory=list)  # text in no list, for an answer that has none

    def copy(self) -> "_Lines":
        """A copy that can read on without touching this one."""
        items = [*self.items[:-1], *(replace(item) for item in self.items[-1:])]
        return replace(
            self, items=items, held=list(self.held), lists=list(self.lists), paragraphs=list(self.paragraphs)
        )

    def holds_json(self) -> bool:
        return self.json_text is not None

    def visible_items(self) -> list[_Item]:
        return self.items if self.seen_marker or not self.marked else []

    def take(self, line: str) -> None:
        """Read one complete line."""
        while True:
            if self.in_thought:
                tag = _THOUGHT_TAG.search(line)
                if tag is None:
                    return
                line = line[tag.end() :]
                self.in_thought = not tag["end"]
                continue
            tag = _THOUGHT_TAG.search(line)
            if tag is None:
                break
            if tag["end"]:  # the opening tag was part of the prompt: all so far was thought
                self._forget()
            else:
                if line[: tag.start()].strip():
                    self._read(line[: tag.start()])
                self.in_thought = True
            line = line[tag.end() :]
            if not line.strip():
                return
        self._read(_OTHER_TAG.sub("", line))

    def end(self) -> None:
        """The answer is at its end."""
        if self.json_text is not None:
            self._read_json(at_end=True)
        self._close()

    def final_items(self) -> list[_Item]:
        """The list that counts."""
        if self.items and (self.seen_marker or not self.marked):
            return self.items
        lists = [found for found in (*self.lists, self.items) if found]
        if lists:
            complete = [found for found in lists if len(found) >= self.count]
            nearly = [found for found in lists if 2 * len(found) >= self.count]
            return (complete or nearly or [max(lists, key=len)])[-1]
        if self.marked and not self.seen_marker:
            return []  # paragraphs of reasoning that the end of the answer cut off
        texts = [text for text in self.paragraphs if len(text) >= _PREVIEW_LENGTH and not text.endswith((":", "："))]
        texts = [text for text in texts if not _FAREWELL.match(text)]
        return [_Item(_plain(text)) for text in texts] if len(texts) == self.count >= 2 else []

    def _forget(self) -> None:
        fresh = _Lines(self.count, self.marked)
        self.__dict__.update(fresh.__dict__)

    def _close(self) -> None:
        """The open candidate is at its end; what was held back is no part of it."""
        self.closed = True
        self.held = []
        self.blank = False

    def _new_section(self, outside: bool) -> None:
        """A heading ends the list that was being read."""
        self._close()
        self.outside = outside
        if outside and self.items:
            return  # the list may go on after it: "**Rationale:** ..." below each candidate
        if self.items:
            self.lists.append(self.items)
            self.items = []
        self.key, self.strength, self.value = "", 0, 0

    def _follows(self, entry: "_Entry") -> bool:
        return entry.value is not None and self.value < entry.value <= self.value + 2

    def _read(self, line: str) -> None:
        text = line.strip()
        if self.json_text is not None:
            if not _FENCE.match(text):
                self.json_text += line + "\n"
                self._read_json(at_end=False)
            return
        if _FENCE.match(text):
            return
        if not text or _RULE.match(text):
            self.blank = True
            return
        if marker := _MARKER.match(text):
            self._new_section(outside=False)
            self.seen_marker = True
            self.paragraphs = []
            if (rest := marker["text"] or "").strip(" *_"):
                self._read(rest)
            return
        if self._is_section(text):
            return
        if not self.outside and _JSON_START.match(text) and (self.closed or not self.items):
            self.json_text = line + "\n"
            self._read_json(at_end=False)
            return
        indent = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
        if not self._is_entry(text, indent):
            self._continue(text, indent)

    def _is_section(self, text: str) -> bool:
        """Whether the line is a heading of a section; if so, it is acted upon."""
        heading = _HEADING.match(text)
        plain = _plain(heading["text"] if heading else text).strip(" *_")
        bold = text.startswith(("**", "__")) and text.rstrip(" :：").endswith(("**", "__"))
        if not (heading or bold or plain.endswith((":", "：")) or plain.isupper()) or len(plain) > 120:
            return False
        if not (self.closed or self.blank or heading or bold or plain.isupper()):
            return False  # "The city offers three options:" in the middle of a candidate
        name = plain.rstrip(" :：")
        if _REASONING.match(name):
            self._new_section(outside=True)
            return True
        soft = _SOFT_MARKER.match(plain)
        if soft and not _LABEL.match(plain) and not _NUMBER.match(text) and not _BULLET.match(text):
            at_last = bool(_AT_LAST.search(plain))
            if self.outside or at_last or not self.items:
                self._new_section(outside=False)
                self.seen_marker = self.seen_marker or at_last
            else:
                self._close()
            return True
        return False

    def _is_entry(self, text: str, indent: int) -> bool:
        """Whether the line begins a candidate of the list being read, or a new list; if so, it is acted upon."""
        entry = _entry(text)
        if entry is None:
            return False
        if self.outside:
            if self.items and entry.key == self.key and self._follows(entry) and indent < self.indent + 2:
                self.outside = False
            # The reasoning may end with no heading at all when candidates are clearly labelled as such.
            elif entry.strength >= _STRENGTH["label"] and entry.value in (0, 1):
                if self.items and len(self.items) >= self.count and (self.seen_marker or not self.marked):
                    return False
                self._new_section(outside=False)
            else:
                return False
        if not self.key:
            if entry.value is not None and entry.value > 1:
                return False
            return self._begin_list(entry, indent)
        if entry.key == self.key:
            if indent >= self.indent + 2 and not self.closed:
                return False
            lazy = entry.value == 1 and all(item.number == 1 for item in self.items)  # "1. ... 1. ... 1. ..."
            if entry.value is None or self._follows(entry) or lazy:
                self._begin_item(entry)
                return True
            if entry.value in (0, 1) and entry.value <= self.value and (self.closed or len(self.items) > 1):
                return self._begin_list(entry, indent)
            return False
        if entry.strength > self.strength and entry.value in (None, 0, 1) and indent <= self.indent + 1:
            return self._begin_list(entry, indent)
        return False

    def _begin_list(self, entry: "_Entry", indent: int) -> bool:
        streaming = self.seen_marker or not self.marked
        if streaming and len(self.items) >= self.count:
            self._close()  # the list was complete: this one is a remark on it
            self.outside = True
            return True
        if self.items:
            self.lists.append(self.items)
            self.items = []
        self.key, self.strength, self.indent = entry.key, entry.strength, indent
        self._begin_item(entry)
        return True

    def _begin_item(self, entry: "_Entry") -> None:
        if self.held and self.items and not self.closed:
            for text in self.held:
                self.items[-1].add(text, "\n")
            self.items[-1].paragraphs += 1
        self._close()
        self.value = entry.value if entry.value is not None else 0
        item = _Item(number=entry.value)
        item.add(entry.text, " ")
        item.title_only = entry.is_title and bool(item.text) and not _SENTENCE_END.search(item.text)
        self.items.append(item)
        self.closed = False

    def _continue(self, text: str, indent: int) -> None:
        """A line that begins nothing: more of the open candidate, or a remark outside of all."""
        if self.outside:
            return
        if self.closed:
            if not self.items:
                if self.blank or not self.paragraphs:
                    self.paragraphs.append(text)
                else:
                    self.paragraphs[-1] += " " + text
                self.blank = False
            return
        item = self.items[-1]
        if _SCORE_LINE.match(text):
            return
        new_paragraph = self.blank and indent < self.indent + 2
        waiting_for_text = item.title_only or not item.text
        if not waiting_for_text and (_PLAIN_FAREWELL.match(text) or (new_paragraph and _FAREWELL.match(text))):
            self._close()
            return
        if bullet := _BULLET.match(text):
            text = "- " + bullet["text"]
        if new_paragraph and not waiting_for_text:
            self.blank = False
            if len(self.items) > 1 and not any(other.paragraphs for other in self.items):
                self.held.append(text)
                return
            item.paragraphs += 1
            item.add(text, "\n")
            return
        if self.held:
            self.held.append(text)
            return
        if self.blank:
            item.paragraphs += 1
        item.add(text, "\n" if self.blank or bullet else " ")
        self.blank = False

    def _read_json(self, at_end: bool) -> None:
        """Take the candidates out of a JSON value that is complete, or at the end as much of it as there is."""
        text = self.json_text or ""
        if not at_end and text.rstrip()[-1:] not in ("]", "}"):
            return
        value = _decoded(text, at_end)
        if value is None and not at_end:
            return
        self.json_text = None
        found = _texts_in(value)
        if found:
            if self.items:
                self.lists.append(self.items)
            self.items = [_Item(_plain(each)) for each in found]
            self.seen_marker = True
            self.outside = False
        self._close()


@dataclass(frozen=True)
class _Entry:
    """The beginning of a candidate: the kind of its heading, its number if it has one, the text after it."""

    key: str
    strength: int
    value: int | None
    text: str
    is_title: bool = False


def _entry(text: str) -> _Entry | None:
    """Read a line as the beginning of a candidate."""
    heading = _HEADING.match(text)
    body = heading["text"] if heading else text
    if label := _LABEL.match(body):
        number = label["number"]
        value = int(number) if number.isdigit() else ord(number.upper()) - ord("A") + 1
        rest = label["text"].strip()
        kind = "heading" if heading else "label"
        return _Entry(kind, _STRENGTH[kind], value, rest, bool(heading) or _is_bold(rest) or _was_bold(body, rest))
    if number_match := _NUMBER.match(body):
        if number_match["bare"] and not number_match["emphasis"]:
            return None
        rest = number_match["text"].strip()
        kind = "heading" if heading else "number"
        key = kind if heading else f"number{number_match['open']}{number_match['close'].strip().strip('*')}"
        is_title = bool(heading) or _is_bold(rest) or _was_bold(body, rest)
        return _Entry(key, _STRENGTH[kind], int(number_match["number"]), rest, is_title)
    if heading:
        return _Entry("title", _STRENGTH["title"], None, body, True) if tokens(body) else None
    if bold := _BOLD.match(text):
        return _Entry("bold", _STRENGTH["bold"], None, text, not bold["text"])
    if bullet := _BULLET.match(text):
        return _Entry("bullet", _STRENGTH["bullet"], None, bullet["text"], _is_bold(bullet["text"]))
    return None


def _is_bold(text: str) -> bool:
    """Whether the whole text is set in bold, as titles are."""
    bold = _BOLD.match(text)
    return bold is not None and not bold["text"]


def _was_bold(body: str, rest: str) -> bool:
    """Whether a line such as ``**1. Night hours**`` is bold as a whole, number included."""
    return body.startswith(("**", "__")) and rest.rstrip(" :：").endswith(("**", "__")) and rest.count("**") <= 1


def _is_decided(partial: str) -> bool:
    """Whether an unfinished line has shown enough of itself that what it is will hardly change."""
    text = partial.lstrip()
    if not text or text[0] in "#{`<|" or _JSON_START.match(text):
        return False
    if len(text) >= _PREVIEW_LENGTH:
        return True
    entry = _entry(text)
    if entry is None or entry.strength not in (_STRENGTH["number"], _STRENGTH["label"]):
        return False
    return bool(tokens(entry.text))


def _safe_part(partial: str) -> str:
    """The part of an unfinished line before a tag that may be just coming in."""
    tag = partial.rfind("<")
    return partial[:tag] if tag >= 0 and ">" not in partial[tag:] else partial


def _is_behind(texts: Sequence[str], sent: Sequence[str]) -> bool:
    """Whether what can be shown now is only less than what is on the screen, not something else."""
    return len(texts) <= len(sent) and all(old.startswith(new) for new, old in zip(texts, sent, strict=False))


def _plain(text: str) -> str:
    """The text without marks of emphasis, its white space made single."""
    return " ".join(text.replace("**", "").replace("__", "").replace("`", "").split())


def _without_scores(text: str) -> str:
    """The text without a rating of itself at its end."""
    if text.rstrip(" .")[-1:] not in tuple(")]0123456789"):
        return text
    return text[:-160] + _TRAILING_SCORES.sub("", text[-160:])


def _unquoted(text: str) -> str:
    """The text without quotation marks around the whole of it."""
    pairs = (('"', '"'), ("“", "”"), ("„", "“"), ("«", "»"))
    for opening, closing in pairs:
        if len(text) > 2 and text[0] == opening and text[-1] == closing:
            inner = text[1:-1]
            if opening not in inner and closing not in inner:
                return inner.strip()
    return text


def _decoded(text: str, at_end: bool) -> object:
    """Decode the JSON value at the beginning of a text; at the end also one that was cut off. None if there is none."""
    decoder = json.JSONDecoder(strict=False)
    start = text.lstrip()
    endings = ("", "]", "}", '"]', '"}', "}]", '"}]', "]}", '"]}', "}]}", '"}]}') if at_end else ("",)
    for ending in endings:
        try:
            value: object = decoder.raw_decode(start.rstrip().rstrip(",") + ending)[0]
        except (ValueError, RecursionError):
            continue
        return value
    return None


_TEXT_KEYS = (
    "text",
    "compromise",
    "response",
    "proposal",
    "content",
    "description",
    "suggestion",
    "solution",
    "answer",
)


def _texts_in(value: object, depth: int = 0) -> list[str]:
    """Find the candidates in a decoded JSON value: a list of strings or objects, wherever it is."""
    if depth > 5:
        return []
    if isinstance(value, str):
        return [value] if tokens(value) else []
    if isinstance(value, list):
        return [text for each in value for text in _texts_in(each, depth + 1)[:1]]
    if isinstance(value, dict):
        lists = [each for each in value.values() if isinstance(each, list) and each]
        if lists:
            return _texts_in(lists[-1], depth + 1)
        strings = {str(key).casefold(): each for key, each in value.items() if isinstance(each, str)}
        for key in _TEXT_KEYS:
            if key in strings:
                return _texts_in(strings[key], depth + 1)
        nested = [text for each in value.values() if isinstance(each, dict) for text in _texts_in(each, depth + 1)[:1]]
        if nested:
            return nested
        numbered = [each for key, each in strings.items() if re.search(r"\d", key) and tokens(each)]
        if numbered and depth == 0:
            return numbered
        return [max(strings.values(), key=len)] if strings and depth else list(strings.values())
    return []

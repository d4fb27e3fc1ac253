"""The lines of an answer: which of them begin a list, a candidate or a section, and which go on with one."""

import re
from dataclasses import dataclass, field, replace

from mediator.answer_json import JSON_START, decoded, texts_in
from mediator.neutrality import tokens

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
SENTENCE_END = re.compile(r"[.!?…。！？।؟][\"'”’»)\]]*$")

# A stronger kind of heading that starts a list ends a list of a weaker kind; weaker kinds inside a list are content.
_STRENGTH = {"bullet": 1, "bold": 2, "title": 2, "number": 3, "label": 4, "heading": 5}


@dataclass
class ListedText:
    """One candidate while its lines come in. ``paragraphs`` counts those after the first that belong to it."""

    text: str = ""
    number: int | None = None
    title_only: bool = False
    paragraphs: int = 0

    def add(self, text: str, joint: str) -> None:
        """Append a line without its marks of emphasis; a title and what follows are joined by a colon instead."""
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
        """The candidate, now that all its lines are in."""
        return _unquoted(_without_scores(self.text).strip())

    def growing_text(self) -> str:
        """The text without what may still vanish: a closing quotation mark or bracket may change what is before it."""
        text = _without_scores(self.text).rstrip(' *_`:：."”' if self.title_only else ' *_`"”')
        opening = max(text.rfind("("), text.rfind("["))
        if opening >= 0 and not re.search(r"[)\]]", text[opening:]):
            text = text[:opening].rstrip()
        return text.lstrip('"“”') if text[:1] in '"“' and len(re.findall('["“”]', text)) == 1 else text


@dataclass
class AnswerLines:
    """The state between lines: which list is being read, and what has been read.

    ``count`` and ``marked`` are those of `mediator.parsing.CandidateParser`.
    """

    count: int
    marked: bool
    items: list[ListedText] = field(default_factory=list)
    key: str = ""  # the kind of heading of the current list, with its delimiter
    strength: int = 0
    value: int = 0
    indent: int = 0
    closed: bool = True  # no candidate is open
    outside: bool = False  # in a section of reasoning, whose lists are none of ours
    seen_marker: bool = False
    blank: bool = False
    held: list[str] = field(default_factory=list)  # paragraphs of the open candidate only if another candidate follows
    lists: list[list[ListedText]] = field(default_factory=list)
    in_thought: bool = False
    json_text: str | None = None
    paragraphs: list[str] = field(default_factory=list)  # text in no list, for an answer that has none

    def copy(self) -> "AnswerLines":
        """A copy that can read on without touching this one."""
        items = [*self.items[:-1], *(replace(item) for item in self.items[-1:])]
        return replace(
            self, items=items, held=list(self.held), lists=list(self.lists), paragraphs=list(self.paragraphs)
        )

    def holds_json(self) -> bool:
        """Whether a JSON value has begun and is not complete yet."""
        return self.json_text is not None

    def visible_items(self) -> list[ListedText]:
        """What can be shown while the answer streams: nothing before the heading, where one is to come."""
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

    def final_items(self) -> list[ListedText]:
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
        return [ListedText(_plain(text)) for text in texts] if len(texts) == self.count >= 2 else []

    def _forget(self) -> None:
        fresh = AnswerLines(self.count, self.marked)
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
        if not self.outside and JSON_START.match(text) and (self.closed or not self.items):
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
        item = ListedText(number=entry.value)
        item.add(entry.text, " ")
        item.title_only = entry.is_title and bool(item.text) and not SENTENCE_END.search(item.text)
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
        value = decoded(text, at_end)
        if value is None and not at_end:
            return
        self.json_text = None
        found = texts_in(value)
        if found:
            if self.items:
                self.lists.append(self.items)
            self.items = [ListedText(_plain(each)) for each in found]
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


def is_decided(partial: str) -> bool:
    """Whether an unfinished line has shown enough of itself that what it is will hardly change."""
    text = partial.lstrip()
    if not text or text[0] in "#{`<|" or JSON_START.match(text):
        return False
    if len(text) >= _PREVIEW_LENGTH:
        return True
    entry = _entry(text)
    if entry is None or entry.strength not in (_STRENGTH["number"], _STRENGTH["label"]):
        return False
    return bool(tokens(entry.text))


def safe_part(partial: str) -> str:
    """The part of an unfinished line before a tag that may be just coming in."""
    tag = partial.rfind("<")
    return partial[:tag] if tag >= 0 and ">" not in partial[tag:] else partial


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

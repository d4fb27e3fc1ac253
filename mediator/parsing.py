"""A streaming parser: what language models really write in, numbered candidates out."""

import re
from collections.abc import Iterator, Sequence

from mediator.answer_lines import SENTENCE_END, AnswerLines, is_decided, safe_part
from mediator.neutrality import overlap, tokens
from mediator.writers.base import Delta

COPY_OVERLAP = 0.9
"""Shared fraction of the words, 0..1, from which a candidate is called a copy of a view."""

_VIEW_NAME = re.compile(r"^(?:view|side)\s+[AB]\s*[:：]\s*", re.IGNORECASE)
_VIEW_NAMES = ("view a: ", "view b: ", "side a: ", "side b: ")
_CUT_OFF = re.compile(r"[\w,;:(–—-]$")


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
        self._lines = AnswerLines(count=count, marked=marked)
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
        if len(texts) > 2 and _CUT_OFF.search(texts[-1]) and all(SENTENCE_END.search(text) for text in texts[:-1]):
            texts.pop()
        return list(self._emit([(text, True) for text in texts]))

    def _preview(self) -> list[tuple[str, bool]]:
        """What can be shown now: closed candidates, and as much of the open one as will hardly change."""
        lines = self._lines
        if is_decided(self._partial) and not lines.holds_json():
            lines = lines.copy()
            lines.take(safe_part(self._partial))
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


def _is_behind(texts: Sequence[str], sent: Sequence[str]) -> bool:
    """Whether what can be shown now is only less than what is on the screen, not something else."""
    return len(texts) <= len(sent) and all(old.startswith(new) for new, old in zip(texts, sent, strict=False))

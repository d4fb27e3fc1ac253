"""The writer on top of any language model: brief -> prompt -> text stream -> parsed candidates."""

import logging
from collections.abc import Generator, Iterator
from dataclasses import replace

from mediator import prompts
from mediator.cancellation import Cancellation
from mediator.neutrality import best_first
from mediator.parsing import CandidateParser
from mediator.schema import Dispute, View
from mediator.writers.base import Brief, Delta, LanguageModel, Prompt, PromptTooLong, Sampling, UnusableOutput

log = logging.getLogger(__name__)

TOKENS_PER_CANDIDATE = 300
"""Room for one candidate: the prompts ask for two to four sentences, which take about 100 tokens in English and up to
three times as many in scripts that a tokenizer cuts finely."""

TOKENS_FOR_REASONING = 1024
"""Room for what is written before the candidates."""

_LONGEST_QUOTED_ANSWER = 4_000  # characters of an unusable answer that go back to the model


class LanguageModelWriter:
    """Writes candidates with a language model.

    Args:
        model: any provider behind the `LanguageModel` protocol. The writer owns it: `close` closes it.
        sampling: how the model draws its tokens. The seed comes from the brief, and ``max_tokens`` is raised where a
            brief needs more.
        demographics: whether what is known about the authors of the views is shown to the model.
    """

    def __init__(self, model: LanguageModel, sampling: Sampling | None = None, demographics: bool = True) -> None:
        self.name = model.name
        self.destination = model.destination
        self._model = model
        self._sampling = sampling or Sampling()
        self._demographics = demographics

    @property
    def model(self) -> LanguageModel:
        """The model that writes; it is closed with this writer."""
        return self._model

    def write(self, brief: Brief, cancel: Cancellation) -> Generator[Delta, None, None]:
        """Stream the candidates of a brief; between one and ``brief.count`` come.

        An answer in which no candidate is found is asked for once more, with a word on what was wrong. A prompt that
        does not fit the model's window is sent once more with only the best of the earlier candidates and the last of
        the dropped ones.

        Raises:
            UnusableOutput: the second answer held no candidate either.
            WriterError: what the model raises.
            Cancelled: soon after ``cancel`` is cancelled.
        """
        prompt = prompts.build(brief, self._demographics)
        try:
            answer, found = yield from self._ask(prompt, brief, cancel)
        except PromptTooLong:
            shorter = _shortened(brief)
            if shorter == brief:
                raise
            log.warning("The prompt is too long for %s: kept %d earlier candidates", self.name, len(shorter.earlier))
            yield Delta(0, "", restart=True)
            prompt = prompts.build(shorter, self._demographics)
            answer, found = yield from self._ask(prompt, brief, cancel)
        if found:
            return
        log.warning("No candidates in an answer of %d characters from %s: asking once more", len(answer), self.name)
        yield Delta(0, "", restart=True)
        again = prompts.repair(prompt, answer[:_LONGEST_QUOTED_ANSWER], brief.count)
        answer, found = yield from self._ask(again, brief, cancel)
        if not found:
            start = " ".join(answer.split())[:80]
            raise UnusableOutput(
                f"{self.name} answered twice without a list of compromises"
                + (f" (the answer began with “{start}”)." if start else " (the answer was empty)."),
                "Try again, or choose a larger model.",
            )

    def close(self) -> None:
        """Close the model. Safe to call twice."""
        self._model.close()

    def _ask(self, prompt: Prompt, brief: Brief, cancel: Cancellation) -> Generator[Delta, None, tuple[str, bool]]:
        """Send one prompt; return the whole answer and whether it held a candidate."""
        marked = brief.strategy in prompts.STRATEGIES_WITH_MARKER
        parser = CandidateParser(brief.count, marked, tuple(texts_of(brief.dispute)))
        room = TOKENS_PER_CANDIDATE * brief.count * (2 if marked else 1) + (TOKENS_FOR_REASONING if marked else 0)
        sampling = replace(self._sampling, seed=brief.seed, max_tokens=max(self._sampling.max_tokens, room))
        answer: list[str] = []
        pieces = self._model.stream(prompt, sampling, cancel)
        try:
            for piece in pieces:
                cancel.raise_if_cancelled()
                answer.append(piece)
                yield from parser.feed(piece)
        finally:
            # A consumer that walks away must end the model's work too, now and not when memory is collected.
            if isinstance(pieces, Generator):
                pieces.close()
        cancel.raise_if_cancelled()
        yield from parser.finish()
        return "".join(answer), bool(parser.candidates)


def _shortened(brief: Brief) -> Brief:
    """The brief with only the best of many earlier candidates, and only the last of many dropped ones.

    Of earlier candidates that were not measured the latest fill the places that are left.
    """
    earlier = brief.earlier
    if len(earlier) > brief.count:
        measured = [candidate for candidate in earlier if candidate.scores is not None and candidate.scores.measured]
        kept = {id(candidate) for candidate in best_first(measured)[: brief.count]}
        known = set(map(id, measured))
        for candidate in [other for other in reversed(earlier) if id(other) not in known][: brief.count - len(kept)]:
            kept.add(id(candidate))
        earlier = tuple(candidate for candidate in earlier if id(candidate) in kept)
    return replace(brief, earlier=earlier, avoid=brief.avoid[-brief.count :])


def texts_of(dispute: Dispute) -> Iterator[str]:
    """Yield the texts that no candidate may copy: both views, whole and by field."""
    for view in (dispute.view_a, dispute.view_b):
        yield view.as_text()
        yield from _longer_fields(view)


def _longer_fields(view: View) -> Iterator[str]:
    """Yield the fields that are sentences; a place such as "park" may well be part of a candidate, never all of one."""
    yield from (text for text in (view.reason, view.suggestion) if text)

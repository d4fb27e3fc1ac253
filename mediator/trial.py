"""Trying a writer: one short answer, to see whether it works and how fast, or what is wrong, in a sentence."""

import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

from mediator.cancellation import Cancellation
from mediator.errors import EvenhandError
from mediator.schema import Dispute, Strategy, View
from mediator.settings import without_keys
from mediator.writers.base import Brief, LanguageModel, Message, Prompt, Sampling, Writer
from mediator.writers.language_model import LanguageModelWriter

_LONGEST = 48  # tokens of the answer
_MOST_SECONDS = 120.0  # a writer that is slower than that on one sentence is of no use
_PROMPT = Prompt(
    system="You answer in one short sentence.",
    messages=(Message("user", "Two neighbours share a garden. Suggest one small rule that is fair to both."),),
)
_DISPUTE = Dispute(
    view_a=View(text="The shared garden should be quiet in the evening so that I can read."),
    view_b=View(text="My children need the shared garden in the evening to play."),
)


@dataclass(frozen=True)
class Outcome:
    """How a trial went.

    Attributes:
        works: whether an answer came.
        text: the beginning of it. Plain text of a model: escape it.
        first_after: seconds until its first word, the loading of the model included.
        per_second: tokens per second after that; 0 where too little came to tell, or the writer draws no tokens.
        problem: what is wrong, as a sentence; empty when it works.
    """

    works: bool
    text: str = ""
    first_after: float = 0.0
    per_second: float = 0.0
    problem: str = ""


def try_writer(lend: Callable[[], AbstractContextManager[Writer]], cancel: Cancellation) -> Outcome:
    """Ask a writer for one short text.

    Args:
        lend: gives the writer, loading it if need be: ``lambda: engine.writer(name)``, or ``lambda:
            closing(load_writer(name, scorer))``.
        cancel: ends it.

    Raises `Cancelled` soon after a cancel. Every `EvenhandError` becomes `Outcome.problem`.
    """
    started = time.monotonic()
    try:
        with lend() as writer:
            cancel.raise_if_cancelled()
            if isinstance(writer, LanguageModelWriter):
                return _watched(_answer(writer.model, cancel), started)
            return _watched(_candidate(writer, cancel), started)
    except EvenhandError as error:
        return Outcome(works=False, problem=without_keys(str(error)))


def _answer(model: LanguageModel, cancel: Cancellation) -> Generator[str, None, None]:
    yield from model.stream(_PROMPT, Sampling(max_tokens=_LONGEST, temperature=0.3), cancel)


def _candidate(writer: Writer, cancel: Cancellation) -> Generator[str, None, None]:
    for delta in writer.write(Brief(_DISPUTE, Strategy.SINGLE, count=1), cancel):
        yield delta.text


def _watched(pieces: Generator[str, None, None], started: float) -> Outcome:
    text, first, last, count = "", 0.0, 0.0, 0
    with closing(pieces):
        for piece in pieces:
            if not piece:
                continue
            last = time.monotonic()
            first = first or last
            count += 1
            text += piece
            if last - started > _MOST_SECONDS:
                break
    if not text.strip():
        return Outcome(works=False, problem="The writer answered with nothing. Try again, or choose another model.")
    rate = (count - 1) / (last - first) if count > 4 and last - first > 0.05 else 0.0
    return Outcome(works=True, text=text.strip()[:200], first_after=first - started, per_second=rate)

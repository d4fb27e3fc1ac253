"""Parts that play back what a test wrote down: a language model with queued answers, a writer with queued deltas."""

from collections.abc import Callable, Iterator, Sequence

from mediator.cancellation import Cancellation
from mediator.schema import Dispute, Scores
from mediator.writers.base import Brief, Delta, Prompt, Sampling


class ScriptedModel:
    """A `LanguageModel` that answers from a queue, a few characters at a time, and keeps the prompts it got."""

    name = "scripted"
    destination = None

    def __init__(self, *replies: str | Exception, chunk: int = 7) -> None:
        self.replies = list(replies)
        self.chunk = chunk
        self.prompts: list[Prompt] = []
        self.samplings: list[Sampling] = []
        self.streams_closed = 0
        self.closed = False
        self.on_piece: Callable[[int], None] = lambda number: None

    def stream(self, prompt: Prompt, sampling: Sampling, cancel: Cancellation) -> Iterator[str]:
        self.prompts.append(prompt)
        self.samplings.append(sampling)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        try:
            for number, start in enumerate(range(0, len(reply), self.chunk)):
                cancel.raise_if_cancelled()
                self.on_piece(number)
                yield reply[start : start + self.chunk]
        finally:
            self.streams_closed += 1

    def count_tokens(self, prompt: Prompt) -> int:
        return sum(len(message.content) for message in prompt.messages) // 4

    def close(self) -> None:
        self.closed = True


class ScriptedWriter:
    """A `Writer` whose deltas are queued per brief; an exception in the queue is raised where it stands."""

    name = "scripted"
    destination = None

    def __init__(self, *rounds: Sequence[Delta | Exception]) -> None:
        self.rounds = list(rounds)
        self.briefs: list[Brief] = []

    def write(self, brief: Brief, cancel: Cancellation) -> Iterator[Delta]:
        self.briefs.append(brief)
        for step in self.rounds.pop(0):
            cancel.raise_if_cancelled()
            if isinstance(step, Exception):
                raise step
            yield step

    def close(self) -> None:
        pass


class TableScorer:
    """A `Scorer` that looks the two scores of a text up in a table; other texts, such as unfinished ones, get 0.2."""

    def __init__(self, **table: tuple[float, float]) -> None:
        self.table = table
        self.unmeasured: set[str] = set()  # texts of which the scores say nothing
        self.scored: list[str] = []

    def score(self, dispute: Dispute, texts: Sequence[str]) -> list[Scores]:
        self.scored += texts
        pairs = [self.table.get(text, (0.2, 0.2)) for text in texts]
        scores = [Scores(score_a=a, score_b=b, raw_a=a, raw_b=b) for a, b in pairs]
        return [s.unmeasured() if text in self.unmeasured else s for text, s in zip(texts, scores, strict=True)]


def numbered(*texts: str) -> str:
    """Render a numbered list as a model would."""
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=1))


def whole(*texts: str) -> list[Delta]:
    """Deltas of candidates that come in one piece each."""
    return [Delta(index, text, done=True) for index, text in enumerate(texts)]

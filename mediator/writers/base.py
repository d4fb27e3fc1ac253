"""What a writer is: the brief it gets, the stream it returns, the prompts of language models and the errors of all."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from mediator.cancellation import Cancellation
from mediator.errors import EvenhandError
from mediator.schema import Candidate, Dispute, Strategy


@dataclass(frozen=True)
class Brief:
    """One request to a writer: everything it may know, and nothing it must remember from earlier calls.

    Attributes:
        dispute: the two views. Data, never instructions.
        strategy: which of the paper's four ways of asking.
        count: how many candidates are wanted, >= 1.
        seed: the same brief with the same seed gives the same text where the writer is deterministic.
        earlier: candidates of earlier rounds with their scores, oldest first; the feedback of `cot-feedback`.
        comments: the mediator's own remarks, oldest first ("no cameras", "cheaper").
        like: texts that the new candidates are to stay close to without repeating them ("more like this").
        avoid: texts that the mediator dropped; neither they nor near-duplicates of them are wanted again.
        language: code of the page's language: what is written in where the views have no language in common.
    """

    dispute: Dispute
    strategy: Strategy
    count: int = 4
    seed: int = 0
    earlier: tuple[Candidate, ...] = ()
    comments: tuple[str, ...] = ()
    like: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    language: str = "en"


@dataclass(frozen=True)
class Delta:
    """A piece of one candidate. ``index`` counts candidates of this brief from 0; ``text`` is appended to what came.

    ``restart`` says that everything streamed for this brief so far is void (the writer asks its model once more).
    """

    index: int
    text: str
    done: bool = False
    restart: bool = False


@runtime_checkable
class Writer(Protocol):
    """Writes candidates for a brief.

    Attributes:
        name: as in the ``--model`` option, e.g. ``drafter`` or ``claude:claude-sonnet-4-5``.
        destination: where the text of the views goes: ``None`` for "stays on this computer", else the host's name.
    """

    name: str
    destination: str | None

    def write(self, brief: Brief, cancel: Cancellation) -> Iterator[Delta]:
        """Stream candidates. Raises `WriterError`; raises `Cancelled` soon after ``cancel`` is cancelled."""
        ...

    def close(self) -> None:
        """Free what the writer holds (a model in memory, a connection). Safe to call twice."""
        ...


@dataclass(frozen=True)
class Message:
    """One turn of a conversation with a language model."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True)
class Prompt:
    """A conversation to be continued by the assistant.

    The parts that repeat across candidates, strategies and rounds come first (``system``, then the views in the first
    message), so that a provider's prompt cache, or llama.cpp's kept prefix, evaluates them once. ``shared`` counts the
    leading messages that will be sent again unchanged.

    A ``plain`` prompt is one message that is given to the model as it stands, without system text, chat template or
    layout: what a model was trained on that is asked by a template of its own (`mediator.writers.aligned`). Only models
    that run here can be given one.
    """

    system: str
    messages: tuple[Message, ...]
    shared: int = 1
    plain: bool = False


@dataclass(frozen=True)
class Sampling:
    """How a language model draws its tokens."""

    max_tokens: int = 2048
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0
    stop: tuple[str, ...] = field(default=())


@runtime_checkable
class LanguageModel(Protocol):
    """One provider of text: the small protocol that each of the language-model files implements."""

    name: str
    destination: str | None

    def stream(self, prompt: Prompt, sampling: Sampling, cancel: Cancellation) -> Iterator[str]:
        """Yield pieces of the answer as they come. Raises `WriterError`, or `Cancelled` soon after a cancel."""
        ...

    def count_tokens(self, prompt: Prompt) -> int:
        """How many tokens the prompt takes, by the model's own tokenizer where it is at hand, else an estimate."""
        ...

    def close(self) -> None:
        """Free what the model holds. Safe to call twice."""
        ...


class WriterError(EvenhandError):
    """A writer failed. ``retryable`` says whether the same request may succeed later without a change."""

    retryable = False


class AuthenticationFailed(WriterError):
    """The provider refused the key, or there is none."""


class RateLimited(WriterError):
    """Too many requests (429) after the retries were used up."""

    retryable = True


class Overloaded(WriterError):
    """The provider is overloaded (529, 503) after the retries were used up."""

    retryable = True


class Unreachable(WriterError):
    """No connection: wrong address, no network, refused, dropped in mid-stream."""

    retryable = True


class Stalled(WriterError):
    """The provider went silent for longer than the time allowed."""

    retryable = True


class ModelNotFound(WriterError):
    """The provider has no model of this name."""


class PromptTooLong(WriterError):
    """Prompt and answer do not fit the model's context window."""


class RequestRejected(WriterError):
    """The provider refused the request or declined to answer (bad parameter, refusal, content filter)."""


class UnusableOutput(WriterError):
    """The model's text held no candidates, also when asked a second time."""

    retryable = True

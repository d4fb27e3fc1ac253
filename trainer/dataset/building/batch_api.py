"""Anthropic's Message Batches API: many requests sent at once, answered within a day at half the price.

https://platform.claude.com/docs/en/build-with-claude/batch-processing
"""

import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

from mediator.cancellation import Cancellation
from mediator.errors import MissingExtraError
from mediator.keys import key_for_claude
from mediator.writers.base import (
    AuthenticationFailed,
    ModelNotFound,
    Prompt,
    PromptTooLong,
    RequestRejected,
    Sampling,
    WriterError,
)
from mediator.writers.claude import DEFAULT_MODEL, KEY_HINT, THINKING_TOKENS, conversation
from mediator.writers.remote import (
    EventLoopThread,
    Patience,
    Remote,
    estimated_tokens,
    is_this_computer,
    local_client,
    patiently,
)
from trainer.dataset.building.batch_journal import Answer

_AGAIN = frozenset({"rate_limit_error", "api_error", "timeout_error", "overloaded_error"})
"""Types of an error after which the same request may succeed in another batch."""


class NotAnsweredYet(RequestRejected):
    """A request whose answer is still to be fetched. Like a refused one, it does not keep other strategies back."""


class NotDone(WriterError):
    """A request of a batch ended without an answer and without fault: expired, canceled, or the provider failed.

    Attributes:
        again: whether it is worth while to send it in another batch of its own accord.
    """

    def __init__(self, message: str, hint: str = "", again: bool = True) -> None:
        super().__init__(message, hint)
        self.again = again


class AnsweredModel:
    """A `LanguageModel` that answers from what was fetched, and notes down what is to be asked.

    Attributes:
        wanted: the requests that had no answer, by their keys.
    """

    destination: str | None = None

    def __init__(
        self, model: str, answers: dict[str, Answer], errors: dict[str, WriterError], destination: str | None
    ) -> None:
        self.name = f"claude:{model}"
        self.destination = destination
        self.wanted: dict[str, dict[str, Any]] = {}
        self._model, self._answers, self._errors = model, answers, errors

    def stream(self, prompt: Prompt, sampling: Sampling, cancel: Cancellation) -> Iterator[str]:
        """Yield the answer in one piece. Raises the request's own error, or `NotAnsweredYet`."""
        request = request_of(self._model, prompt, sampling)
        key = key_of(request)
        if key in self._errors:
            raise self._errors[key]
        if key not in self._answers:
            self.wanted[key] = request
            raise NotAnsweredYet("The answer is still to be fetched.")
        yield self._answers[key].text

    def count_tokens(self, prompt: Prompt) -> int:
        """Estimate."""
        return estimated_tokens(prompt)

    def close(self) -> None:
        """Nothing to free."""


def request_of(model: str, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
    """Return the parameters of a request: those that the streaming Claude writer would send."""
    request: dict[str, Any] = {
        "model": model,
        "max_tokens": sampling.max_tokens + THINKING_TOKENS,
        **conversation(prompt),
    }
    if sampling.stop:
        request["stop_sequences"] = list(sampling.stop)
    return request


def key_of(request: dict[str, Any]) -> str:
    """Return what names a request in a batch: a hash of all that is sent, 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:32]


class BatchClient:
    """The calls of the Message Batches API that a build needs. Every one can be cancelled, and waits while it is busy.

    Attributes:
        destination: the API's host; None when it is this computer.
        model: the model that answers.
    """

    def __init__(self, model: str = "", patience: Patience | None = None) -> None:
        """Prepare a client; nothing is sent yet. ANTHROPIC_BASE_URL is obeyed. Raises `AuthenticationFailed`."""
        try:
            import anthropic
        except ImportError as error:
            raise MissingExtraError("The `anthropic` package is not installed.", "pip install anthropic") from error

        stall = 120.0
        options: dict[str, Any] = {"max_retries": 0, "timeout": anthropic.Timeout(stall, connect=10.0)}
        if (key := key_for_claude()) is not None:
            options["api_key"] = key.reveal()
        try:
            client: Any = anthropic.AsyncAnthropic(**options)
        except anthropic.AnthropicError as error:
            raise AuthenticationFailed(f"There is no usable key for Claude ({error}).", KEY_HINT) from error
        if not (client.api_key or client.auth_token or getattr(client, "credentials", None)):
            raise AuthenticationFailed("There is no key for Claude.", KEY_HINT)
        host = client.base_url.host
        local = is_this_computer(host)
        if local:
            client = anthropic.AsyncAnthropic(**options, http_client=local_client(anthropic))
        self.model = model or DEFAULT_MODEL
        self.destination = None if local else host
        self._client = client
        self._loop = EventLoopThread()
        self._patience = patience or Patience()
        self._remote = Remote(
            sdk=anthropic,
            host=host,
            local=local,
            model=self.model,
            key_hint=KEY_HINT,
            model_hint=f"Use e.g. `claude:{DEFAULT_MODEL}`.",
            stall_timeout=stall,
        )

    def send(self, requests: dict[str, dict[str, Any]], cancel: Cancellation) -> str:
        """Send a batch, once; return its name. After an error other than `RateLimited` it may exist all the same."""

        async def attempt() -> AsyncGenerator[str, None]:
            sent = [{"custom_id": key, "params": params} for key, params in requests.items()]
            yield (await self._client.messages.batches.create(requests=sent)).id

        return self._call(attempt, cancel, Patience(retries=0))[0]

    def recent(self, cancel: Cancellation) -> list[dict[str, Any]]:
        """Return the newest batches of the account, at most 100: ``{"id", "requests", "created"}``, newest first.

        ``requests`` is their number, ``created`` seconds since the epoch by the provider's clock.
        """

        async def attempt() -> AsyncGenerator[str, None]:
            page = await self._client.messages.batches.list(limit=100)
            for batch in page.data:
                counts = batch.request_counts
                number = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
                created: datetime = batch.created_at
                yield json.dumps({"id": batch.id, "requests": number, "created": created.timestamp()})

        return [json.loads(line) for line in self._call(attempt, cancel)]

    def has_ended(self, batch: str, cancel: Cancellation) -> bool:
        """Whether every request of a batch is answered, refused, canceled or expired."""

        async def attempt() -> AsyncGenerator[str, None]:
            yield (await self._client.messages.batches.retrieve(batch)).processing_status

        return self._call(attempt, cancel)[0] == "ended"

    def results(self, batch: str, cancel: Cancellation) -> dict[str, Answer | WriterError]:
        """Return what became of each request of a batch that has ended, by their keys."""

        async def attempt() -> AsyncGenerator[str, None]:
            # In one piece: a stream that breaks off half-way shall be tried again from its start.
            lines = [entry.model_dump_json() async for entry in await self._client.messages.batches.results(batch)]
            yield json.dumps(lines)

        entries = [json.loads(line) for line in json.loads(self._call(attempt, cancel)[0])]
        return {entry["custom_id"]: outcome_of(entry["result"]) for entry in entries}

    def close(self) -> None:
        """Close the connections. Safe to call twice."""
        self._loop.close(self._client.close)

    def _call(
        self, attempt: Callable[[], AsyncGenerator[str, None]], cancel: Cancellation, patience: Patience | None = None
    ) -> list[str]:
        pieces = self._loop.stream(lambda: patiently(attempt, self._remote, patience or self._patience), cancel)
        with closing(pieces):
            return list(pieces)


def outcome_of(result: dict[str, Any]) -> Answer | WriterError:
    """Return what a request's result amounts to: the answer, or the error that the streaming writer would raise."""
    match result["type"]:
        case "succeeded":
            return _answer(result["message"])
        case "errored":
            return _error(result["error"].get("error") or result["error"])
        case "expired":
            return NotDone("The batch expired before this request was answered.", "Try again later.")
        case _:
            return NotDone("The batch was canceled.", "Call the command again to send it anew.", again=False)


def _answer(message: dict[str, Any]) -> Answer | WriterError:
    text = "".join(block["text"] for block in message["content"] if block["type"] == "text")
    if message["stop_reason"] == "refusal":
        explanation = (message.get("stop_details") or {}).get("explanation")
        return RequestRejected(
            f"Claude declined to answer{f' ({explanation})' if explanation else ''}.", "Word the views differently."
        )
    if message["stop_reason"] in ("max_tokens", "model_context_window_exceeded") and not text:
        return RequestRejected("Claude used up its tokens before it began to answer.", "Ask again.")
    usage = message["usage"]
    read = sum(
        usage.get(name) or 0 for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    )
    return Answer(text, read, usage["output_tokens"])


def _error(error: dict[str, Any]) -> WriterError:
    kind, said = str(error.get("type")), str(error.get("message") or "no reason given").strip().rstrip(".")[:400]
    if kind in _AGAIN:
        return NotDone(f"The provider failed on this request ({said}).", "Try again in a few minutes.")
    if kind == "request_too_large" or "prompt is too long" in said.lower():
        return PromptTooLong(f"The prompt is too long ({said}).", "Shorten the views.")
    if kind == "not_found_error":
        return ModelNotFound(f"There is no such model ({said}).", f"Use e.g. `claude:{DEFAULT_MODEL}`.")
    if kind in ("authentication_error", "permission_error"):
        return AuthenticationFailed(f"The provider refused the key ({said}).", KEY_HINT)
    return RequestRejected(f"The provider rejected the request ({said}).", "Another model may accept it.")

"""Claude through Anthropic's official SDK: streaming, with the repeated part of the prompt cached by the provider."""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Any

from mediator.cancellation import Cancellation
from mediator.errors import MissingExtraError
from mediator.keys import key_for_claude
from mediator.writers.base import AuthenticationFailed, Prompt, RequestRejected, Sampling, UnusableOutput
from mediator.writers.remote import (
    EventLoopThread,
    Patience,
    Remote,
    broken_off,
    estimated_tokens,
    is_this_computer,
    local_client,
    normalised,
    patient_stream,
)

DEFAULT_MODEL = "claude-sonnet-5-5"  # the newest Sonnet that the SDK names (anthropic.types.model, release 2.11)

# Current models think before they answer unless told otherwise, not all accept being told, and what they think counts
# against max_tokens. Only what is used is paid for.
THINKING_TOKENS = 8192

KEY_HINT = "Enter a valid key in the Models tab, or set the environment variable ANTHROPIC_API_KEY."


@dataclass
class Usage:
    """Tokens as the provider counts them, summed over the model's life."""

    input: int = 0
    cache_written: int = 0
    cache_read: int = 0
    output: int = 0


class ClaudeModel:
    """A Claude model as a `LanguageModel`.

    The models draw their tokens by their own settings: of `Sampling`, only ``max_tokens`` and ``stop`` are sent.

    Attributes:
        name: ``claude:`` and the model's name.
        destination: the API's host; None when ``base_url`` points to this computer.
        usage: what was used so far; ``cache_read`` grows when the shared part of a prompt is found in the cache.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        api_key: str | None = None,
        base_url: str | None = None,
        connect_timeout: float = 10.0,
        stall_timeout: float = 60.0,
        patience: Patience | None = None,
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            model: e.g. ``claude-sonnet-5-5``.
            api_key: by default the one that `mediator.keys` has, looked up at every request, else what the SDK finds.
            base_url: by default ANTHROPIC_BASE_URL, or Anthropic's own API.
            connect_timeout: seconds to establish a connection.
            stall_timeout: seconds without a byte after which the stream counts as stalled (a healthy one sends pings).
            patience: how to retry while the provider is busy.

        Raises `AuthenticationFailed` when the SDK finds a profile that it cannot read.
        """
        try:
            import anthropic
        except ImportError as error:
            raise MissingExtraError("The `anthropic` package is not installed.", "pip install anthropic") from error

        timeout = anthropic.Timeout(30.0, connect=connect_timeout, read=stall_timeout)
        # Retries are ours: the SDK's know neither errors in mid-stream nor a limit to what a server may ask to wait.
        options: dict[str, Any] = {"api_key": api_key, "base_url": base_url, "timeout": timeout, "max_retries": 0}
        try:
            client: Any = anthropic.AsyncAnthropic(**options)
        except anthropic.AnthropicError as error:  # a profile of the SDK that it cannot read
            raise AuthenticationFailed(f"There is no usable key for Claude ({error}).", KEY_HINT) from error
        host = client.base_url.host
        local = is_this_computer(host)
        if local:
            client = anthropic.AsyncAnthropic(**options, http_client=local_client(anthropic))
        self._client = client
        self._given_key = api_key
        self._model = model
        self._loop = EventLoopThread()
        self._patience = patience or Patience()
        self._remote = Remote(
            sdk=anthropic,
            host=host,
            local=local,
            model=model,
            key_hint=KEY_HINT,
            model_hint=f"Use e.g. `claude:{DEFAULT_MODEL}`.",
            stall_timeout=stall_timeout,
        )
        self.name = f"claude:{model}"
        self.destination: str | None = None if local else host
        self.usage = Usage()

    def stream(self, prompt: Prompt, sampling: Sampling, cancel: Cancellation) -> Iterator[str]:
        """Yield pieces of the answer. Raises `WriterError`, or `Cancelled` at once after a cancel."""
        self._require_key()
        request: dict[str, Any] = {
            "model": self._model,
            "max_tokens": sampling.max_tokens + THINKING_TOKENS,
            "stream": True,
            **conversation(prompt),
        }
        if sampling.stop:
            request["stop_sequences"] = list(sampling.stop)
        yield from patient_stream(self._loop, lambda: self._attempt(request), self._remote, self._patience, cancel)

    def count_tokens(self, prompt: Prompt) -> int:
        """Ask the API; where it does not answer, estimate. Raises `AuthenticationFailed` for a refused key."""
        self._require_key()
        try:
            counted = self._loop.run(
                self._client.messages.count_tokens(model=self._model, **conversation(prompt), timeout=10.0)
            )
        except Exception as error:
            failure = normalised(error, self._remote)
            if failure is None or isinstance(failure, AuthenticationFailed):
                raise (failure or error) from error
            return estimated_tokens(prompt)
        return int(counted.input_tokens)

    def close(self) -> None:
        """Close the connections; a running stream ends. Safe to call twice."""
        self._loop.close(self._client.close)

    def _require_key(self) -> None:
        """Take the key as it is now: the user may have entered, changed or forgotten it since the last request."""
        if self._given_key is None:
            key = key_for_claude(str(self._client.base_url))
            self._client.api_key = None if key is None else key.reveal()
        if not (self._client.api_key or self._client.auth_token or getattr(self._client, "credentials", None)):
            raise AuthenticationFailed("There is no key for Claude.", KEY_HINT)

    async def _attempt(self, request: dict[str, Any]) -> AsyncGenerator[str, None]:
        wrote = complete = False
        async with await self._client.messages.create(**request) as events:
            async for event in events:
                if event.type == "message_start":
                    usage = event.message.usage
                    self.usage.input += usage.input_tokens
                    self.usage.cache_written += usage.cache_creation_input_tokens or 0
                    self.usage.cache_read += usage.cache_read_input_tokens or 0
                elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                    wrote = True
                    yield event.delta.text
                elif event.type == "message_delta":
                    self.usage.output += event.usage.output_tokens
                    self._check_reason(event.delta, wrote)
                elif event.type == "message_stop":
                    complete = True
        if not complete:
            raise broken_off(self._remote, begun=wrote)

    def _check_reason(self, delta: Any, wrote: bool) -> None:
        if delta.stop_reason == "refusal":
            explanation = getattr(getattr(delta, "stop_details", None), "explanation", None)
            raise RequestRejected(
                f"Claude declined to answer{f' ({explanation})' if explanation else ''}.",
                "Word the views differently, or choose another model.",
            )
        if delta.stop_reason in ("max_tokens", "model_context_window_exceeded") and not wrote:
            raise UnusableOutput("Claude used up its tokens before it began to answer.", "Ask again.")


def conversation(prompt: Prompt) -> dict[str, Any]:
    """Return ``system`` and ``messages`` with a cache mark behind each part that will be sent again unchanged."""
    messages: list[dict[str, Any]] = []
    for place, message in enumerate(prompt.messages):
        block = _text_block(message.content, cached=place == prompt.shared - 1)
        messages.append({"role": message.role, "content": [block]})
    parts: dict[str, Any] = {"messages": messages}
    if prompt.system.strip():
        parts["system"] = [_text_block(prompt.system, cached=True)]
    return parts


def _text_block(text: str, *, cached: bool) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": text}
    if cached:
        block["cache_control"] = {"type": "ephemeral"}
    return block

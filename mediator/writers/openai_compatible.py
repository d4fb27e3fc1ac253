"""Any server that speaks the OpenAI chat protocol (llama.cpp, vLLM, Ollama, OpenAI), through the official SDK."""

from collections.abc import AsyncGenerator, Iterator
from typing import Any

from mediator.cancellation import Cancellation
from mediator.errors import MissingExtraError, UnknownModelError
from mediator.keys import key_for_server
from mediator.writers.base import Prompt, RequestRejected, Sampling
from mediator.writers.remote import (
    EventLoopThread,
    Patience,
    Remote,
    broken_off,
    estimated_tokens,
    is_this_computer,
    local_client,
    not_the_protocol,
    patient_stream,
)

_NO_KEY = "none"  # the SDK insists on a key; servers that need none ignore it

# Not every model takes every parameter, and the name of one has changed: what to send instead, None for nothing.
_INSTEAD = {"max_tokens": "max_completion_tokens", "temperature": None, "top_p": None, "seed": None, "stop": None}


class OpenAICompatibleModel:
    """A model of an OpenAI-compatible server as a `LanguageModel`.

    Attributes:
        name: ``openai:MODEL@URL``.
        destination: the server's host; None when it is this computer (then no proxy is used either).
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        api_key: str | None = None,
        connect_timeout: float = 10.0,
        stall_timeout: float = 120.0,
        patience: Patience | None = None,
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            model: the server's name for it.
            base_url: up to and without ``/chat/completions``, e.g. ``http://127.0.0.1:8080/v1``.
            api_key: by default the one that `mediator.keys` has for this server; local servers need none.
            connect_timeout: seconds to establish a connection.
            stall_timeout: seconds without a byte after which the stream counts as stalled. A server on a laptop is
                silent while it reads a long prompt.
            patience: how to retry while the server is busy.

        Raises `UnknownModelError` for a host name that cannot be one.
        """
        try:
            import openai
        except ImportError as error:
            raise MissingExtraError("The `openai` package is not installed.", "pip install openai") from error

        options: dict[str, Any] = {
            "api_key": api_key or _NO_KEY,
            "base_url": base_url,
            "timeout": openai.Timeout(30.0, connect=connect_timeout, read=stall_timeout),
            "max_retries": 0,  # retries are ours, see remote.py
        }
        try:
            client: Any = openai.AsyncOpenAI(**options)
        except Exception as error:
            if type(error).__name__ != "InvalidURL":  # of whichever HTTP library the SDK stands on
                raise
            raise UnknownModelError(
                f"{base_url!r} cannot be the address of a server.", "Write it like http://localhost:8080/v1."
            ) from error
        host = client.base_url.host
        local = is_this_computer(host)
        if local:
            client = openai.AsyncOpenAI(**options, http_client=local_client(openai))
        self._client = client
        self._given_key = api_key
        self._base_url = base_url
        self._take_key()
        self._model = model
        self._loop = EventLoopThread()
        self._patience = patience or Patience()
        self._refused: set[str] = set()
        self._remote = Remote(
            sdk=openai,
            host=f"{host}:{client.base_url.port}" if client.base_url.port else host,
            local=local,
            model=model,
            key_hint="Enter the server's key in the Models tab, or set OPENAI_API_KEY (sent over https only).",
            model_hint="Check the model's name, and the address: most servers want it to end in `/v1`.",
            stall_timeout=stall_timeout,
        )
        self.name = f"openai:{model}@{base_url}"
        self.destination: str | None = None if local else host

    def stream(self, prompt: Prompt, sampling: Sampling, cancel: Cancellation) -> Iterator[str]:
        """Yield pieces of the answer. Raises `WriterError`, or `Cancelled` at once after a cancel."""
        self._take_key()
        messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
        if prompt.system.strip():
            messages.insert(0, {"role": "system", "content": prompt.system})
        request: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            "stream": True,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
        }
        if sampling.stop:
            request["stop"] = list(sampling.stop)
        yield from patient_stream(self._loop, lambda: self._attempt(request), self._remote, self._patience, cancel)

    def count_tokens(self, prompt: Prompt) -> int:
        """Estimate: the protocol has no way to ask."""
        return estimated_tokens(prompt)

    def close(self) -> None:
        """Close the connections; a running stream ends. Safe to call twice."""
        self._loop.close(self._client.close)

    def _take_key(self) -> None:
        """Take the key as it is now: the user may have entered, changed or forgotten it since the last request."""
        if self._given_key is None:
            key = key_for_server(self._base_url)
            self._client.api_key = _NO_KEY if key is None else key.reveal()

    async def _attempt(self, request: dict[str, Any]) -> AsyncGenerator[str, None]:
        wrote = complete = False
        async with await self._begin(request) as chunks:
            async for chunk in chunks:
                choices = getattr(chunk, "choices", None)  # the SDK does not check what a server sends
                if not isinstance(choices, list) or not all(hasattr(choice, "delta") for choice in choices):
                    raise not_the_protocol(self._remote)
                for choice in choices[:1]:
                    if getattr(choice.delta, "refusal", None):
                        raise RequestRejected(f"The model declined to answer ({choice.delta.refusal}).", _OTHER_WORDS)
                    if choice.delta.content:
                        wrote = True
                        yield choice.delta.content
                    if choice.finish_reason == "content_filter":
                        raise RequestRejected(f"A content filter of {self._remote.host} cut the answer.", _OTHER_WORDS)
                    complete = complete or choice.finish_reason is not None
        if not complete:
            raise broken_off(self._remote, begun=wrote)

    async def _begin(self, request: dict[str, Any]) -> Any:
        """Send the request; leave out, from then on, each parameter that the server names as unsupported."""
        while True:
            try:
                return await self._client.chat.completions.create(**self._acceptable(request))
            except self._remote.sdk.BadRequestError as error:
                if error.param not in _INSTEAD or error.param not in request or error.param in self._refused:
                    raise
                self._refused.add(error.param)

    def _acceptable(self, request: dict[str, Any]) -> dict[str, Any]:
        names = {key: _INSTEAD[key] if key in self._refused else key for key in request}
        return {name: request[key] for key, name in names.items() if name}


_OTHER_WORDS = "Word the views differently, or choose another model."

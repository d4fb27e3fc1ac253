"""Talking to a model behind HTTP: streams that stop at once, patient retries, and the SDKs' errors in our words.

The official SDKs of Anthropic and OpenAI come from one generator, so their clients, time-outs and exceptions have the
same names; what differs is in claude.py and openai_compatible.py.
"""

import asyncio
import ipaddress
import math
import queue
import random
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

from mediator.cancellation import Cancellation, Cancelled
from mediator.durations import duration
from mediator.writers.base import (
    AuthenticationFailed,
    ModelNotFound,
    Overloaded,
    Prompt,
    PromptTooLong,
    RateLimited,
    RequestRejected,
    Stalled,
    Unreachable,
    WriterError,
)

Value = TypeVar("Value")

# Error types that come inside a stream whose HTTP status was 200, and the status they would have had.
_STATUS_OF_TYPE = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "api_error": 500, "timeout_error": 504,
    "overloaded_error": 529,
}  # fmt: skip
_TOO_LONG = ("prompt is too long", "context_length_exceeded", "context length", "context window", "context size")


@dataclass(frozen=True)
class Remote:
    """Who is at the other end, for the sentences of errors.

    Attributes:
        sdk: the `anthropic` or the `openai` module.
        host: name of the server.
        local: whether it is this computer.
        model: the model asked for.
        key_hint: what to do about a refused key.
        model_hint: what to do about an unknown model.
        stall_timeout: seconds of silence after which the SDK gives up.
    """

    sdk: ModuleType
    host: str
    local: bool
    model: str
    key_hint: str
    model_hint: str
    stall_timeout: float


@dataclass(frozen=True)
class Patience:
    """How often and how long to wait for a provider that is busy.

    Attributes:
        retries: attempts after the first one.
        first_wait: seconds before the first retry; doubled each time, with up to a quarter less at random.
        longest_wait: seconds; a provider that asks for a longer wait is not waited for.
    """

    retries: int = 4
    first_wait: float = 1.0
    longest_wait: float = 60.0

    def wait(self, attempt: int, asked: float | None) -> float:
        """Seconds to wait after failed attempt number ``attempt`` (from 0), given the provider's own wish."""
        if asked is not None:
            return asked
        wait: float = min(self.first_wait * 2**attempt, self.longest_wait)
        return wait * (1 - random.random() / 4)  # noqa: S311 - jitter, no secret


class EventLoopThread:
    """An asyncio loop on a thread of its own: what makes a blocked network read stoppable from any other thread.

    Cancelling a task closes its connection whether it is looking up a name, waiting for the first byte, sleeping before
    a retry or in mid-stream; a blocking client offers that for none of these.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def stream(
        self, pieces: Callable[[], AsyncGenerator[Value, None]], cancel: Cancellation
    ) -> Generator[Value, None, None]:
        """Run an asynchronous generator and yield what it yields. Raises `Cancelled` at once after a cancel."""
        cancel.raise_if_cancelled()
        loop = self._running()
        arrived: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

        async def pump() -> None:
            try:
                async with aclosing(pieces()) as source:
                    async for piece in source:
                        arrived.put(("piece", piece))
                arrived.put(("end", None))
            except asyncio.CancelledError:
                arrived.put(("cancelled", None))
                raise
            except Exception as error:  # noqa: BLE001 - handed to the consuming thread, which raises it
                arrived.put(("error", error))

        future = asyncio.run_coroutine_threadsafe(pump(), loop)

        def stop() -> None:
            future.cancel()
            arrived.put(("cancelled", None))

        try:
            with cancel.calling(stop):
                while True:
                    kind, value = arrived.get()
                    cancel.raise_if_cancelled()
                    if kind == "piece":
                        yield value
                    elif kind == "error":
                        raise value
                    elif kind == "cancelled":
                        raise Cancelled
                    else:
                        return
        finally:
            future.cancel()  # the consumer may have stopped reading

    def run(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Run a coroutine to its end and return its value."""
        return asyncio.run_coroutine_threadsafe(work, self._running()).result()

    def close(self, farewell: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Await ``farewell`` on the loop, then end the thread. Running streams end as cancelled. Safe to call twice."""
        with self._lock:
            loop, self._loop, self._closed = self._loop, None, True
        if loop is None:
            return

        async def end() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await farewell()

        asyncio.run_coroutine_threadsafe(end(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise Cancelled
            if self._loop is None:
                loop = asyncio.new_event_loop()

                def serve() -> None:
                    loop.run_forever()
                    loop.close()

                threading.Thread(target=serve, name="remote model", daemon=True).start()
                self._loop = loop
            return self._loop


def patient_stream(
    loop: EventLoopThread,
    attempt: Callable[[], AsyncIterator[str]],
    remote: Remote,
    patience: Patience,
    cancel: Cancellation,
) -> Generator[str, None, None]:
    """Yield the pieces of `patiently` as they arrive on the loop; a reader who stops ends the request too.

    Raises `WriterError`, or `Cancelled` at once after a cancel.
    """
    pieces = loop.stream(lambda: patiently(attempt, remote, patience), cancel)
    with closing(pieces):
        yield from pieces


async def patiently(
    attempt: Callable[[], AsyncIterator[str]], remote: Remote, patience: Patience
) -> AsyncGenerator[str, None]:
    """Yield the pieces of ``attempt()``, trying again while the provider is busy and nothing was yielded yet.

    Raises the `WriterError` that the last failure amounts to.
    """
    tried = 0
    while True:
        begun = False
        try:
            async for piece in attempt():
                begun = True
                yield piece
            return
        except Exception as error:
            failure = normalised(error, remote)
            if failure is None:
                raise
            if begun and isinstance(failure, Unreachable):
                failure = broken_off(remote, begun=True)  # some SDKs call a lost connection one never made
            worth_it = isinstance(failure, RateLimited | Overloaded) or (
                isinstance(failure, Unreachable) and not remote.local
            )
            wait = patience.wait(tried, _retry_after(error))
            if wait > patience.longest_wait:
                failure.hint = f"{remote.host} asks to wait {duration(wait)}; try again then."
                worth_it = False
            if begun or not worth_it or tried >= patience.retries:
                raise failure from error
        await asyncio.sleep(wait)
        tried += 1


def normalised(error: Exception, remote: Remote) -> WriterError | None:
    """Return what an SDK's exception means, or None when it is none of theirs, but a bug that should be seen."""
    sdk = remote.sdk
    if isinstance(error, WriterError):
        return error
    if isinstance(error, sdk.APITimeoutError):
        slow_connect = any("Connect" in type(cause).__name__ for cause in _causes(error))
        return _no_connection(remote) if slow_connect else _stalled(remote)
    if isinstance(error, sdk.APIConnectionError):
        return _no_connection(remote)
    if isinstance(error, sdk.APIError):
        return _status_error(error, remote)
    # While a stream is read, the exceptions of the HTTP library below come through as they are. Which library that is
    # depends on the SDK's version, so they are known by their names.
    names = {kind.__name__ for kind in type(error).__mro__}
    if "TimeoutException" in names:
        return _stalled(remote)
    if names & {"TransportError", "SSLError", "EndOfStream", "OSError"}:
        return broken_off(remote, begun=False)
    if names & {"JSONDecodeError", "UnicodeDecodeError"}:
        return not_the_protocol(remote)
    return None


def not_the_protocol(remote: Remote) -> RequestRejected:
    """The error for an answer that no server of this kind gives."""
    return RequestRejected(
        f"{remote.host} answered with something that is not its protocol.", "Check the address of the server."
    )


def broken_off(remote: Remote, *, begun: bool) -> Unreachable:
    """The error for a stream that ended without saying that the answer is complete."""
    if begun:
        return Unreachable(f"{remote.host} stopped in the middle of the answer.", "Try again; check the network.")
    # What some servers do when they fail after sending "200 OK": a prompt beyond their context, too little memory.
    return Unreachable(
        f"{remote.host} hung up without an answer.", "Try again with shorter views; the server's log may say more."
    )


def is_this_computer(host: str) -> bool:
    """Whether a host name can only mean the machine we run on."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def local_client(sdk: ModuleType) -> Any:
    """Return an HTTP client that keeps the promise "stays on this computer": it obeys no proxy and no redirection."""
    none: dict[str, None] = {"all://": None, "http://": None, "https://": None}
    return sdk.DefaultAsyncHttpxClient(trust_env=False, follow_redirects=False, mounts=none)


def estimated_tokens(prompt: Prompt) -> int:
    """Guess the tokens of a prompt from its bytes: rather too many than too few, in most languages."""
    texts = [prompt.system, *(message.content for message in prompt.messages)]
    return sum(math.ceil(len(text.encode("utf-8", "replace")) / 3.5) + 4 for text in texts)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _stalled(remote: Remote) -> Stalled:
    return Stalled(
        f"{remote.host} was silent for {remote.stall_timeout:g} seconds.",
        "Try again; a model on a slow machine may need a longer time-out.",
    )


def _no_connection(remote: Remote) -> Unreachable:
    hint = "Start the server, or check its address and port." if remote.local else "Check the network and the address."
    return Unreachable(f"{remote.host} cannot be reached.", hint)


def _status_error(error: Any, remote: Remote) -> WriterError:
    host = remote.host
    body = error.body if isinstance(error.body, dict) else {}
    detail = body["error"] if isinstance(body.get("error"), dict) else body
    kind, code = str(detail.get("type") or ""), str(detail.get("code") or "")
    said = str(detail.get("message") or error.message or "no reason given").strip().rstrip(".")
    if len(said) > 400:
        said = said[:400] + "…"
    status = getattr(error, "status_code", 200)
    if status < 400:  # an error event inside a stream that began well
        status = _STATUS_OF_TYPE.get(kind, int(code) if code.isdigit() and 400 <= int(code) < 600 else 500)
    if status == 404 or code == "model_not_found":
        return ModelNotFound(f"{host} has no model {remote.model!r} ({said}).", remote.model_hint)
    if status in (401, 403):
        what = "refused the key" if status == 401 else "does not allow this"
        return AuthenticationFailed(f"{host} {what} ({said}).", remote.key_hint)
    if status == 413 or (status in (400, 422, 500) and any(sign in f"{code} {said}".lower() for sign in _TOO_LONG)):
        return PromptTooLong(
            f"The prompt is too long for {remote.model} ({said}).",
            "Shorten the views or choose a model that holds more.",
        )
    if status == 402 or code == "insufficient_quota":
        return RequestRejected(f"{host} wants to be paid first ({said}).", "Check the account's credit.")
    if status == 408:
        return _stalled(remote)
    if status == 429:
        return RateLimited(f"{host} takes no more requests for now ({said}).", "Wait a minute and try again.")
    if status >= 500:
        return Overloaded(f"{host} is overloaded or failing, status {status} ({said}).", "Try again in a few minutes.")
    return RequestRejected(f"{host} rejected the request, status {status} ({said}).", "Another model may accept it.")


def _retry_after(error: Exception) -> float | None:
    """Seconds the provider asks to wait, from ``retry-after-ms`` or ``retry-after``; a date is taken as no wish."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None

"""ClaudeModel: the official SDK against a local server that speaks the Messages streaming protocol."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import pytest
from support.messages_server import (
    Answer,
    ScriptedServer,
    begin_message,
    message_events,
    scripted_server,
    text_delta,
)
from support.patience import PATIENCE

from mediator.cancellation import Cancellation, Cancelled
from mediator.writers.base import (
    AuthenticationFailed,
    LanguageModel,
    Message,
    ModelNotFound,
    Overloaded,
    Prompt,
    PromptTooLong,
    RateLimited,
    RequestRejected,
    Sampling,
    Stalled,
    Unreachable,
    UnusableOutput,
    WriterError,
)
from mediator.writers.claude import DEFAULT_MODEL, ClaudeModel
from mediator.writers.remote import Patience

QUICK = Patience(retries=2, first_wait=0.01)


@contextmanager
def claude(server: ScriptedServer, **options: Any) -> Iterator[ClaudeModel]:
    model = ClaudeModel(**{"api_key": "sk-test", "base_url": server.url, "patience": QUICK, **options})
    try:
        yield model
    finally:
        model.close()


def ask(model: ClaudeModel, prompt: Prompt, cancel: Cancellation | None = None, **sampling: Any) -> str:
    return "".join(model.stream(prompt, Sampling(**sampling), cancel or Cancellation()))


def refused(status: int, kind: str, message: str = "no", **headers: str) -> Any:
    return lambda answer: answer.error(status, kind, message, **headers)


def test_the_default_is_the_newest_sonnet_that_the_sdk_knows() -> None:
    from anthropic.types.model import Model

    known = next(get_args(part) for part in get_args(Model) if get_args(part))
    sonnets = [name for name in known if "sonnet" in name]
    assert sonnets[0] == DEFAULT_MODEL


def test_streams_text_and_sends_what_the_provider_can_cache(prompt: Prompt) -> None:
    with scripted_server(message_events("Share ", "the ", "park.", cache_read=7)) as server, claude(server) as model:
        assert isinstance(model, LanguageModel)
        long = Prompt(prompt.system, (*prompt.messages, Message("assistant", "1. A"), Message("user", "Again")))
        pieces = list(model.stream(long, Sampling(max_tokens=300, stop=("END",)), Cancellation()))
    assert pieces == ["Share ", "the ", "park."]
    request = server.requests[0]
    assert request.path == "/v1/messages"
    assert "sk-test" in (request.headers.get("x-api-key", "") + request.headers.get("authorization", ""))
    assert request.headers["anthropic-version"]
    body = request.body
    assert body["stream"] is True
    assert body["model"] == DEFAULT_MODEL
    assert body["max_tokens"] >= 300
    assert body["stop_sequences"] == ["END"]
    assert not {"temperature", "top_p", "top_k"} & set(body)  # the current models refuse them
    marked = {"cache_control": {"type": "ephemeral"}}
    assert body["system"] == [{"type": "text", "text": prompt.system, **marked}]
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": prompt.messages[0].content, **marked}]},
        {"role": "assistant", "content": [{"type": "text", "text": "1. A"}]},
        {"role": "user", "content": [{"type": "text", "text": "Again"}]},
    ]
    assert (model.usage.input, model.usage.cache_written, model.usage.cache_read, model.usage.output) == (21, 5, 7, 9)


def test_thinking_is_not_part_of_the_answer(prompt: Prompt) -> None:
    def thinks(answer: Answer) -> None:
        begin_message(answer)
        answer.event(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hmm"}}
        )
        text_delta(answer, "Share.")
        answer.event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}})
        answer.event({"type": "message_stop"})
        answer.end()

    with scripted_server(thinks) as server, claude(server) as model:
        assert ask(model, prompt) == "Share."


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (401, "authentication_error", AuthenticationFailed),
        (403, "permission_error", AuthenticationFailed),
        (404, "not_found_error", ModelNotFound),
        (400, "invalid_request_error", RequestRejected),
        (402, "billing_error", RequestRejected),
        (413, "request_too_large", PromptTooLong),
    ],
)
def test_an_error_that_waiting_cannot_mend_is_reported_at_once(
    prompt: Prompt, status: int, kind: str, expected: type[WriterError]
) -> None:
    with (
        scripted_server(refused(status, kind, "the reason")) as server,
        claude(server) as model,
        pytest.raises(expected) as error,
    ):
        ask(model, prompt)
    assert len(server.requests) == 1
    assert "the reason" in error.value.message
    assert error.value.hint
    assert not error.value.retryable


def test_a_prompt_beyond_the_window_is_named_so(prompt: Prompt) -> None:
    script = refused(400, "invalid_request_error", "prompt is too long: 1000001 tokens > 1000000 maximum")
    with scripted_server(script) as server, claude(server) as model, pytest.raises(PromptTooLong):
        ask(model, prompt)


def test_waits_as_long_as_the_provider_asks_and_tries_again(prompt: Prompt) -> None:
    script = refused(429, "rate_limit_error", retry_after="0.4")
    with scripted_server(script, message_events("Yes")) as server, claude(server) as model:
        assert ask(model, prompt) == "Yes"
    first, second = server.requests
    assert second.at - first.at >= 0.39


def test_does_not_wait_for_an_hour(prompt: Prompt) -> None:
    script = refused(429, "rate_limit_error", retry_after="3600")
    with scripted_server(script) as server, claude(server) as model, pytest.raises(RateLimited) as error:
        ask(model, prompt)
    assert len(server.requests) == 1
    assert "60 min" in error.value.hint
    assert error.value.retryable


@pytest.mark.parametrize("status", [500, 503, 529])
def test_gives_up_after_the_last_retry(prompt: Prompt, status: int) -> None:
    with (
        scripted_server(refused(status, "overloaded_error")) as server,
        claude(server) as model,
        pytest.raises(Overloaded) as error,
    ):
        ask(model, prompt)
    assert len(server.requests) == 1 + QUICK.retries
    assert error.value.retryable


def overloaded_in_the_stream(after: str) -> Any:
    def script(answer: Answer) -> None:
        begin_message(answer)
        if after:
            text_delta(answer, after)
        answer.event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
        answer.end()

    return script


def test_an_overload_in_the_stream_is_retried_while_nothing_was_shown(prompt: Prompt) -> None:
    with scripted_server(overloaded_in_the_stream(""), message_events("Yes")) as server, claude(server) as model:
        assert ask(model, prompt) == "Yes"
    assert len(server.requests) == 2


def test_an_overload_after_the_first_words_is_not_retried(prompt: Prompt) -> None:
    with scripted_server(overloaded_in_the_stream("Half")) as server, claude(server) as model:
        stream = model.stream(prompt, Sampling(), Cancellation())
        assert next(stream) == "Half"
        with pytest.raises(Overloaded):
            next(stream)
    assert len(server.requests) == 1


@pytest.mark.parametrize("ending", ["cut", "polite"])
def test_a_stream_that_breaks_off_is_no_answer(prompt: Prompt, ending: str) -> None:
    def breaks(answer: Answer) -> None:
        begin_message(answer)
        text_delta(answer, "Half")
        if ending == "cut":
            answer.drop()
        else:
            answer.end()

    with scripted_server(breaks) as server, claude(server) as model:
        stream = model.stream(prompt, Sampling(), Cancellation())
        assert next(stream) == "Half"
        with pytest.raises(Unreachable, match="middle of the answer"):
            next(stream)


@pytest.mark.parametrize("begun", [False, True])
def test_silence_is_a_stall(prompt: Prompt, begun: bool) -> None:
    def silent(answer: Answer) -> None:
        if begun:
            begin_message(answer)
            text_delta(answer, "Half")
        answer.hold_back()

    with scripted_server(silent) as server, claude(server, stall_timeout=0.4) as model:
        with pytest.raises(Stalled, match=r"0\.4 seconds"):
            ask(model, prompt)
        assert server.closed_by_client.wait(PATIENCE), "it waited until the server gave up"
    assert len(server.requests) == 1


def test_a_slow_stream_with_pings_is_no_stall(prompt: Prompt) -> None:
    def slow(answer: Answer) -> None:
        begin_message(answer)
        for _ in range(6):
            time.sleep(0.15)
            answer.event({"type": "ping"})
        text_delta(answer, "At last")
        answer.event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}})
        answer.event({"type": "message_stop"})
        answer.end()

    with scripted_server(slow) as server, claude(server, stall_timeout=0.6) as model:
        assert ask(model, prompt) == "At last"


def test_a_refusal_says_why(prompt: Prompt) -> None:
    details = {"type": "refusal", "category": "general_harms", "explanation": "It may hurt somebody"}
    script = message_events("I", stop_reason="refusal", stop_details=details)
    with (
        scripted_server(script) as server,
        claude(server) as model,
        pytest.raises(RequestRejected, match="It may hurt somebody"),
    ):
        ask(model, prompt)


def test_an_answer_spent_on_thinking_is_unusable(prompt: Prompt) -> None:
    script = message_events(stop_reason="max_tokens")
    with scripted_server(script) as server, claude(server) as model, pytest.raises(UnusableOutput):
        ask(model, prompt)


@pytest.mark.parametrize("moment", ["before the answer", "in the answer", "while waiting to retry"])
def test_cancel_ends_the_wait_and_hangs_up(prompt: Prompt, moment: str) -> None:
    cancel = Cancellation()

    def script(answer: Answer) -> None:
        if moment == "while waiting to retry":
            answer.error(429, "rate_limit_error", "busy", retry_after=f"{PATIENCE:g}")
        elif moment == "in the answer":
            begin_message(answer)
            text_delta(answer, "Half")
        time.sleep(0.2)  # for the client to begin its wait
        cancel.cancel()
        if moment != "while waiting to retry":
            answer.hold_back()

    patience = Patience(retries=1, longest_wait=PATIENCE)
    with scripted_server(script) as server, claude(server, stall_timeout=3 * PATIENCE, patience=patience) as model:
        with pytest.raises(Cancelled):
            ask(model, prompt, cancel)
        if moment != "while waiting to retry":
            assert server.closed_by_client.wait(PATIENCE), "it waited until the server gave up"
    assert len(server.requests) == 1, "it waited until it was time to ask again"


def test_leaving_the_stream_hangs_up(prompt: Prompt) -> None:
    def script(answer: Answer) -> None:
        begin_message(answer)
        text_delta(answer, "Half")
        answer.stall()

    with scripted_server(script) as server, claude(server) as model:
        stream: Any = model.stream(prompt, Sampling(), Cancellation())
        assert next(stream) == "Half"
        stream.close()
        assert server.closed_by_client.wait(PATIENCE)


def test_close_ends_a_running_stream(prompt: Prompt) -> None:
    with scripted_server(lambda answer: answer.stall()) as server, claude(server) as model:
        threading.Timer(0.3, model.close).start()
        with pytest.raises(Cancelled):
            ask(model, prompt)
        model.close()
        with pytest.raises(Cancelled):
            ask(model, prompt)


def test_a_cancel_before_the_start_sends_nothing(prompt: Prompt) -> None:
    cancel = Cancellation()
    cancel.cancel()
    with scripted_server(message_events("Yes")) as server, claude(server) as model, pytest.raises(Cancelled):
        ask(model, prompt, cancel)
    assert server.requests == []


def test_nobody_there(prompt: Prompt) -> None:
    with scripted_server(message_events("Yes")) as server:
        url = server.url
    model = ClaudeModel(api_key="sk-test", base_url=url, patience=QUICK)
    with pytest.raises(Unreachable) as error:
        ask(model, prompt)
    assert error.value.hint
    assert error.value.retryable
    model.close()


def test_counts_tokens_by_the_api_and_estimates_without_it(prompt: Prompt) -> None:
    with (
        scripted_server(lambda answer: answer.json(200, {"input_tokens": 123}), refused(500, "api_error")) as server,
        claude(server) as model,
    ):
        assert model.count_tokens(prompt) == 123
        assert server.requests[0].path == "/v1/messages/count_tokens"
        assert "max_tokens" not in server.requests[0].body
        assert 20 < model.count_tokens(prompt) < 80


def test_a_missing_key_is_said_before_anything_is_sent(
    prompt: Prompt, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ANTHROPIC_CONFIG_DIR", raising=False)
    for name in ("HOME", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    with scripted_server(message_events("Yes")) as server:
        model = ClaudeModel(base_url=server.url)
        with pytest.raises(AuthenticationFailed, match="ANTHROPIC_API_KEY"):
            ask(model, prompt)
        assert server.requests == []
        monkeypatch.setenv("ANTHROPIC_PROFILE", "no-such-profile")
        with pytest.raises(AuthenticationFailed, match="no-such-profile"):
            ClaudeModel(base_url=server.url)


def test_says_where_the_text_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    assert ClaudeModel(api_key="k").destination == "api.anthropic.com"
    assert ClaudeModel("claude-x", api_key="k").name == "claude:claude-x"
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://gateway.example/anthropic")
    assert ClaudeModel(api_key="k").destination == "gateway.example"
    assert ClaudeModel(api_key="k", base_url="http://localhost:1").destination is None


def test_text_for_this_computer_takes_no_detour(prompt: Prompt, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(message_events("From the proxy")) as proxy, scripted_server(message_events("Here")) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        with claude(server) as model:
            assert ask(model, prompt) == "Here"
        assert proxy.requests == []


def test_a_local_server_cannot_send_the_text_elsewhere(prompt: Prompt) -> None:
    with scripted_server(message_events("Elsewhere")) as elsewhere:
        script = lambda answer: answer.json(307, {}, location=elsewhere.url + "/v1/messages")  # noqa: E731
        with scripted_server(script) as server, claude(server) as model, pytest.raises(WriterError):
            ask(model, prompt)
        assert elsewhere.requests == []

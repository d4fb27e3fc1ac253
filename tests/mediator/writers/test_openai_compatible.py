"""OpenAICompatibleModel: the official SDK against llama-cpp-python's own server, and against scripted failures."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from support.messages_server import Answer, ScriptedServer, scripted_server
from support.patience import PATIENCE, until
from support.tiny_models import FOUR_COMPROMISES, tiny_llama_gguf

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
    WriterError,
)
from mediator.writers.openai_compatible import OpenAICompatibleModel
from mediator.writers.remote import Patience

QUICK = Patience(retries=1, first_wait=0.01)


@pytest.fixture(scope="module")
def llama_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of llama-cpp-python's server with a reciting model, up to and with ``/v1``."""
    pytest.importorskip("llama_cpp.server.app", reason="llama-cpp-python[server] is not installed")
    path = tiny_llama_gguf(tmp_path_factory.mktemp("served") / "tiny.gguf", recital=FOUR_COMPROMISES, context=512)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = path.with_suffix(".log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "llama_cpp.server", "--model", str(path), "--model_alias", "tiny",
         "--host", "127.0.0.1", "--port", str(port), "--n_ctx", "512", "--n_threads", "1", "--api_key", "sk-local"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log,
    )  # fmt: skip
    try:

        def answers() -> bool:
            try:
                urlopen(f"http://127.0.0.1:{port}/docs", timeout=PATIENCE).close()
            except (URLError, OSError):
                assert process.poll() is None, path.with_suffix(".log").read_text()
                return False
            return True

        until(answers, "the server did not start")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(10)
        log.close()


@contextmanager
def served(url: str, **options: Any) -> Iterator[OpenAICompatibleModel]:
    model = OpenAICompatibleModel(
        **{"model": "tiny", "base_url": url, "api_key": "sk-local", "patience": QUICK, **options}
    )
    try:
        yield model
    finally:
        model.close()


def scripted(server: ScriptedServer, **options: Any) -> Any:
    return served(server.url + "/v1", **options)


def ask(model: OpenAICompatibleModel, prompt: Prompt, cancel: Cancellation | None = None, **sampling: Any) -> str:
    return "".join(model.stream(prompt, Sampling(**sampling), cancel or Cancellation()))


def failed(status: int, message: str = "the reason", **error: Any) -> Any:
    return lambda answer: answer.json(status, {"error": {"message": message, **error}})


def chunk(answer: Answer, text: str | None = None, finish: str | None = None, **delta: Any) -> None:
    content = {"content": text} if text is not None else {}
    choice = {"index": 0, "delta": {**content, **delta}, "finish_reason": finish}
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    answer.event({**head, "choices": [choice]}, named=False)


def complete(*texts: str) -> Any:
    def script(answer: Answer) -> None:
        answer.start_stream()
        for text in texts:
            chunk(answer, text)
        chunk(answer, finish="stop")
        answer.raw("data: [DONE]\n\n")
        answer.end()

    return script


def test_the_real_server_recites(llama_server: str, prompt: Prompt) -> None:
    with served(llama_server) as model:
        assert isinstance(model, LanguageModel)
        assert model.destination is None
        assert model.name == f"openai:tiny@{llama_server}"
        pieces = list(model.stream(prompt, Sampling(), Cancellation()))
        assert "".join(pieces).strip() == "".join(FOUR_COMPROMISES)
        assert len(pieces) == len(FOUR_COMPROMISES)
        assert ask(model, prompt, stop=("\n3.",)).strip() == "".join(FOUR_COMPROMISES[:6]).strip()
        assert model.count_tokens(prompt) > 20


def test_the_real_server_refuses_a_wrong_key(llama_server: str, prompt: Prompt) -> None:
    with served(llama_server, api_key="sk-wrong") as model, pytest.raises(AuthenticationFailed, match="OPENAI_API_KEY"):
        ask(model, prompt)


def test_the_real_server_hangs_up_on_a_long_prompt(llama_server: str) -> None:
    with served(llama_server) as model, pytest.raises(Unreachable, match="shorter views"):
        ask(model, Prompt("", (Message("user", "too long " * 600),)))


def test_the_real_server_knows_no_other_path(llama_server: str, prompt: Prompt) -> None:
    with served(llama_server + "/nowhere") as model, pytest.raises(ModelNotFound, match="/v1"):
        ask(model, prompt)


def test_the_key_comes_from_the_environment_or_is_a_dummy(prompt: Prompt, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(complete("Yes")) as server:
        for key in ("sk-from-environment", None):
            if key:
                monkeypatch.setenv("OPENAI_API_KEY", key)
            else:
                monkeypatch.delenv("OPENAI_API_KEY", raising=False)
            with scripted(server, api_key=None) as model:
                assert ask(model, prompt) == "Yes"
        assert [request.headers["authorization"] for request in server.requests] == [
            "Bearer sk-from-environment",
            "Bearer none",
        ]


def test_sends_the_whole_request(prompt: Prompt) -> None:
    with scripted_server(complete("Yes")) as server, scripted(server) as model:
        ask(model, prompt, max_tokens=99, temperature=0.5, top_p=0.7, seed=3, stop=("END",))
    assert server.requests[0].path == "/v1/chat/completions"
    assert server.requests[0].body == {
        "model": "tiny",
        "stream": True,
        "max_tokens": 99,
        "temperature": 0.5,
        "top_p": 0.7,
        "seed": 3,
        "stop": ["END"],
        "messages": [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": prompt.messages[0].content},
        ],
    }


def test_leaves_out_what_the_server_does_not_take_and_remembers_it(prompt: Prompt) -> None:
    old_name = failed(400, "Use 'max_completion_tokens' instead.", param="max_tokens", code="unsupported_parameter")
    fixed = failed(400, "Only the default is supported.", param="temperature", code="unsupported_value")
    with scripted_server(old_name, fixed, complete("Yes")) as server, scripted(server) as model:
        assert ask(model, prompt, max_tokens=99) == "Yes"
        assert ask(model, prompt, max_tokens=99) == "Yes"
    assert len(server.requests) == 4
    for request in server.requests[2:]:
        assert request.body["max_completion_tokens"] == 99
        assert not {"max_tokens", "temperature"} & set(request.body)
        assert request.body["seed"] == 0


@pytest.mark.parametrize(
    ("script", "expected", "attempts"),
    [
        (failed(401), AuthenticationFailed, 1),
        (failed(403), AuthenticationFailed, 1),
        (failed(404, code="model_not_found"), ModelNotFound, 1),
        (failed(400), RequestRejected, 1),
        (failed(422), RequestRejected, 1),
        (failed(400, code="context_length_exceeded"), PromptTooLong, 1),
        (
            failed(400, "the request exceeds the available context size"),
            PromptTooLong,
            1,
        ),
        (failed(429), RateLimited, 2),
        (failed(500), Overloaded, 2),
        (failed(503), Overloaded, 2),
    ],
)
def test_errors_in_our_words(prompt: Prompt, script: Any, expected: type[WriterError], attempts: int) -> None:
    with scripted_server(script) as server, scripted(server) as model, pytest.raises(expected) as error:
        ask(model, prompt)
    assert len(server.requests) == attempts
    assert error.value.hint
    assert error.value.retryable == (attempts == 2)


def test_an_error_inside_the_stream(prompt: Prompt) -> None:
    def script(answer: Answer) -> None:
        answer.start_stream()
        chunk(answer, "Half")
        answer.event({"error": {"message": "slot unavailable", "type": "server_error", "code": 503}}, named=False)
        answer.end()

    with scripted_server(script) as server, scripted(server) as model, pytest.raises(Overloaded, match=r"503.*slot"):
        ask(model, prompt)


@pytest.mark.parametrize("ending", ["cut", "polite"])
def test_a_stream_that_breaks_off_is_no_answer(prompt: Prompt, ending: str) -> None:
    def script(answer: Answer) -> None:
        answer.start_stream()
        chunk(answer, "Half")
        if ending == "cut":
            answer.drop()
        else:
            answer.end()

    with (
        scripted_server(script) as server,
        scripted(server) as model,
        pytest.raises(Unreachable, match="middle of the answer"),
    ):
        ask(model, prompt)


def test_silence_is_a_stall(prompt: Prompt) -> None:
    with scripted_server(Answer.hold_back) as server, scripted(server, stall_timeout=0.3) as model:
        with pytest.raises(Stalled):
            ask(model, prompt)
        assert server.closed_by_client.wait(PATIENCE), "it waited until the server gave up"


@pytest.mark.parametrize(
    "sent", ["<html>hello</html>", "[1, 2]", "null", '{"choices": 5}', '{"choices": [null]}', "\udcff\udcfe"]
)
def test_not_this_protocol(prompt: Prompt, sent: str) -> None:
    def page(answer: Answer) -> None:
        answer.start_stream()
        answer.raw(f"data: {sent}\n\n")
        answer.end()

    with scripted_server(page) as server, scripted(server) as model, pytest.raises(RequestRejected, match="protocol"):
        ask(model, prompt)


@pytest.mark.parametrize("how", ["filter", "refusal"])
def test_a_model_that_declines(prompt: Prompt, how: str) -> None:
    def script(answer: Answer) -> None:
        answer.start_stream()
        if how == "filter":
            chunk(answer, "I", finish="content_filter")
        else:
            chunk(answer, refusal="I will not")
        answer.end()

    with scripted_server(script) as server, scripted(server) as model, pytest.raises(RequestRejected):
        ask(model, prompt)


def test_nobody_there_is_said_at_once(prompt: Prompt) -> None:
    with scripted_server(complete("Yes")) as server:
        url = server.url
    # A server that was not started does not come up by waiting: a test that waits all the same does not end.
    with (
        served(url + "/v1", patience=Patience(retries=5, first_wait=3600, longest_wait=3600)) as model,
        pytest.raises(Unreachable, match=url.rsplit(":", 1)[1]) as error,
    ):
        ask(model, prompt)
    assert "Start the server" in error.value.hint


def test_cancel_ends_the_wait_and_hangs_up(prompt: Prompt) -> None:
    cancel = Cancellation()

    def script(answer: Answer) -> None:
        answer.start_stream()
        chunk(answer, "Half")
        time.sleep(0.2)  # for the client to begin its wait
        cancel.cancel()
        answer.hold_back()

    with scripted_server(script) as server, scripted(server, stall_timeout=3 * PATIENCE) as model:
        with pytest.raises(Cancelled):
            ask(model, prompt, cancel)
        assert server.closed_by_client.wait(PATIENCE), "it waited until the server gave up"


@pytest.mark.parametrize(
    ("url", "destination"),
    [
        ("http://localhost:8080/v1", None),
        ("http://127.0.0.1:8080/v1", None),
        ("http://[::1]:8080/v1", None),
        ("http://127.0.0.1.example.com/v1", "127.0.0.1.example.com"),
        ("http://192.168.1.7:8080/v1", "192.168.1.7"),
        ("https://api.openai.com/v1", "api.openai.com"),
    ],
)
def test_says_where_the_text_goes(url: str, destination: str | None) -> None:
    assert OpenAICompatibleModel("m", url, api_key="k").destination == destination


def test_importing_a_provider_imports_no_sdk() -> None:
    """Importing the providers must not import their SDKs: the app starts before anyone chooses a model."""
    script = (
        "import sys, mediator.writers.claude, mediator.writers.openai_compatible, mediator.writers.gguf,"
        " mediator.writers.huggingface;"
        "heavy = {'anthropic', 'openai', 'llama_cpp', 'torch', 'transformers', 'peft', 'numpy'} & set(sys.modules);"
        "sys.exit(str(sorted(heavy)) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("base_url", "sent"),
    [
        ("http://models.example.org/v1", False),
        ("https://models.example.org/v1", True),
        ("http://127.0.0.1:9/v1", True),
    ],
)
def test_the_key_of_the_environment_never_travels_unencrypted(
    monkeypatch: pytest.MonkeyPatch, base_url: str, sent: bool
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
    model = OpenAICompatibleModel(model="m", base_url=base_url)
    try:
        assert (model._client.api_key == "sk-secret-of-the-test") is sent
    finally:
        model.close()

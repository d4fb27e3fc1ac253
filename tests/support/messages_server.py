"""A local HTTP server that plays a model's API: scripted answers, real sockets, and a record of what came in."""

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from support.local_server import serving
from support.patience import PATIENCE


@dataclass
class Received:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float


@dataclass
class ScriptedServer:
    """The running server.

    Attributes:
        url: ``http://127.0.0.1:PORT``.
        requests: what came in, oldest first.
        script: what to do with request 0, 1, ...; the last entry answers all later ones, too.
        closed_by_client: set when a client closed its connection before the answer was complete.
        released: set when the test is over; answers that stall wait for it.
    """

    url: str = ""
    requests: list[Received] = field(default_factory=list)
    script: list[Callable[["Answer"], None]] = field(default_factory=list)
    closed_by_client: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


class Answer:
    """What a script uses to answer one request."""

    def __init__(self, handler: BaseHTTPRequestHandler, server: ScriptedServer) -> None:
        self._handler = handler
        self.server = server

    def error(self, status: int, kind: str, message: str, **headers: str) -> None:
        """Answer with an error in Anthropic's form."""
        self.json(status, {"type": "error", "error": {"type": kind, "message": message}}, **headers)

    def json(self, status: int, body: object, **headers: str) -> None:
        """Answer with a JSON body."""
        data = json.dumps(body).encode()
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", "application/json")
        self._handler.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.end_headers()
        self._handler.wfile.write(data)

    def start_stream(self) -> None:
        """Send the head of a server-sent event stream."""
        self._handler.send_response(200)
        self._handler.send_header("Content-Type", "text/event-stream")
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.end_headers()

    def event(self, data: dict[str, Any], *, named: bool = True) -> None:
        """Send one event; Anthropic's carry their type as the event's name, OpenAI's have no name."""
        name = f"event: {data['type']}\n" if named else ""
        self._chunk(f"{name}data: {json.dumps(data)}\n\n".encode())

    def raw(self, text: str) -> None:
        """Send a line such as ``data: [DONE]``; lone surrogates stand for raw bytes."""
        self._chunk(text.encode(errors="surrogateescape"))

    def end(self) -> None:
        """Complete the stream."""
        self._handler.wfile.write(b"0\r\n\r\n")

    def drop(self) -> None:
        """Cut the connection without completing the stream."""
        self._handler.connection.shutdown(socket.SHUT_RDWR)

    def stall(self, longest: float = math.inf) -> None:
        """Say nothing until the client goes away, the test is over, or ``longest`` seconds have passed."""
        end = time.monotonic() + longest
        self._handler.connection.settimeout(0.02)
        while not self.server.released.is_set() and time.monotonic() < end:
            try:
                if self._handler.connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            return
        self.server.closed_by_client.set()

    def hold_back(self) -> None:
        """Say nothing for `PATIENCE` seconds, then break off: ``closed_by_client`` tells who gave up first."""
        self.stall(PATIENCE)
        self.drop()

    def _chunk(self, data: bytes) -> None:
        self._handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self._handler.wfile.flush()


@contextmanager
def scripted_server(*script: Callable[[Answer], None]) -> Iterator[ScriptedServer]:
    """Serve on a free port of 127.0.0.1 while the block runs."""
    state = ScriptedServer(script=list(script))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length) or b"{}")
            number = len(state.requests)
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.requests.append(Received(self.path, headers, body, time.monotonic()))
            try:
                state.script[min(number, len(state.script) - 1)](Answer(self, state))
            except OSError:
                state.closed_by_client.set()
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """The test's output is no access log."""

    with serving(Handler) as state.url:
        try:
            yield state
        finally:
            state.released.set()


def message_events(
    *texts: str, stop_reason: str = "end_turn", cache_read: int = 0, stop_details: dict[str, Any] | None = None
) -> Callable[[Answer], None]:
    """Script: a complete Messages stream with a ping in the middle and one text delta per text."""

    def script(answer: Answer) -> None:
        begin_message(answer, cache_read=cache_read)
        for text in texts:
            text_delta(answer, text)
        answer.event({"type": "content_block_stop", "index": 0})
        delta: dict[str, Any] = {"stop_reason": stop_reason, "stop_sequence": None}
        if stop_details:
            delta["stop_details"] = stop_details
        answer.event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 9}})
        answer.event({"type": "message_stop"})
        answer.end()

    return script


def begin_message(answer: Answer, cache_read: int = 0) -> None:
    """Send the head of a Messages stream, up to the open text block."""
    answer.start_stream()
    usage = {
        "input_tokens": 21,
        "output_tokens": 1,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": cache_read,
    }
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    answer.event({"type": "message_start", "message": message})
    answer.event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    answer.event({"type": "ping"})


def text_delta(answer: Answer, text: str) -> None:
    """Send one piece of text of a Messages stream."""
    answer.event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})


def answering(*pieces: str, then: Callable[[Answer], None] | None = None) -> Callable[[Answer], None]:
    """Script: a stream of OpenAI's protocol with one piece of text per event, complete unless ``then`` takes over."""

    def chunk(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}

    def script(answer: Answer) -> None:
        answer.start_stream()
        for piece in pieces:
            answer.event(chunk({"role": "assistant", "content": piece}), named=False)
        if then is not None:
            then(answer)
            return
        answer.event(chunk({}, "stop"), named=False)
        answer.raw("data: [DONE]\n\n")
        answer.end()

    return script

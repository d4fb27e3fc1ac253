"""A local HTTP server that speaks the Message Batches API: it takes batches, ends them, and hands their results out."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

from support.local_server import serving

Result = dict[str, Any]


@dataclass
class BatchesServer:
    """The running server.

    Attributes:
        url: ``http://127.0.0.1:PORT``.
        answer: what becomes of one request, given its parameters; the result as the API writes it.
        polls: how often a batch is asked after before it has ended.
        refuse: statuses with which the next submissions are refused, before anything is taken in.
        drop: of the next submissions, how many are taken in, and the connection cut before the answer.
        batches: the requests of each batch, by its id, in the order in which they came.
        asked: how often each batch was asked after.
        keys: what came in as ``Authorization``.
    """

    url: str = ""
    answer: Callable[[dict[str, Any]], Result] = field(default=lambda params: succeeded("1. Yes.\n2. No."))
    polls: int = 0
    refuse: list[int] = field(default_factory=list)
    drop: int = 0
    batches: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    taken: threading.Event = field(default_factory=threading.Event)

    def describe(self, batch: str) -> dict[str, Any]:
        """Return a batch as the API writes it."""
        ended = self.asked.get(batch, 0) > self.polls
        number, now = len(self.batches[batch]), datetime.now(UTC)
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        if ended:
            for request in self.batches[batch]:
                counts[self.answer(request["params"])["type"]] += 1
        else:
            counts["processing"] = number
        return {
            "id": batch,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts,
            "created_at": now.isoformat(),
            "expires_at": (now + timedelta(days=1)).isoformat(),
            "ended_at": now.isoformat() if ended else None,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"{self.url}/v1/messages/batches/{batch}/results" if ended else None,
        }


def succeeded(text: str, stop_reason: str = "end_turn") -> Result:
    """The result of a request that was answered."""
    usage = {"input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 7}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_sequence": None}
    content = [{"type": "text", "text": text}] if text else []
    return {"type": "succeeded", "message": {**message, "content": content, "stop_reason": stop_reason, "usage": usage}}


def errored(kind: str, message: str) -> Result:
    """The result of a request that failed."""
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return {"type": "errored", "error": error}


@contextmanager
def batches_server() -> Iterator[BatchesServer]:
    """Serve on a free port of 127.0.0.1 while the block runs."""
    state = BatchesServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/messages/batches", self.path
            state.keys.add(self.headers["Authorization"])
            if state.refuse:
                error = {"type": "rate_limit_error", "message": "slower"}
                self._send(state.refuse.pop(0), json.dumps({"type": "error", "error": error}))
                return
            batch = f"msgbatch_{len(state.batches) + 1}"
            state.batches[batch] = body["requests"]
            state.taken.set()
            if state.drop:
                state.drop -= 1
                self.close_connection = True
                self.connection.close()
                return
            self._send(200, json.dumps(state.describe(batch)))

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            parts = path.strip("/").split("/")
            if parts == ["v1", "messages", "batches"]:
                assert query == "limit=100"
                data = [state.describe(batch) for batch in reversed(state.batches)]
                self._send(200, json.dumps({"data": data, "has_more": False, "first_id": None, "last_id": None}))
            elif len(parts) == 4:
                state.asked[parts[3]] = state.asked.get(parts[3], 0) + 1
                self._send(200, json.dumps(state.describe(parts[3])))
            else:
                assert parts[4] == "results"
                lines = [
                    json.dumps({"custom_id": request["custom_id"], "result": state.answer(request["params"])})
                    for request in reversed(state.batches[parts[3]])  # in any order, the API says
                ]
                self._send(200, "\n".join(lines) + "\n", "application/x-jsonl")

        def _send(self, status: int, body: str, kind: str = "application/json") -> None:
            data = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """The test's output is no access log."""

    with serving(Handler) as state.url:
        yield state

"""One session of the page without a browser: presses Propose over HTTP and follows what the page would do next."""

import http.client
import json
import random
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

LONGEST_WAIT = 600.0


class PageClient:
    """Speaks Gradio's protocol as the page does: values go up, messages come down, a changed value calls its listener.

    Args:
        port: of the app on this computer.
    """

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._port = port
        with urllib.request.urlopen(f"{self._url}/config", timeout=60) as answer:
            config = json.load(answer)
        self._parts = {part["id"]: part["props"] for part in config["components"]}
        self._names = {props["elem_id"]: number for number, props in self._parts.items() if props.get("elem_id")}
        self._listeners: dict[tuple[int, str], dict[str, Any]] = {}
        for listener in config["dependencies"]:
            if listener["backend_fn"] and listener["queue"] is not False:
                for number, event in listener["targets"]:
                    self._listeners[number, event] = listener
        self._values: dict[int, Any] = {}
        self._open_window()

    def propose(self, view_a: str, view_b: str) -> Iterator[str]:
        """Type two views into a new page and press Propose; yields every message of the app, as text."""
        self.close()
        self._open_window()
        self._values = {number: _initial(props) for number, props in self._parts.items()}
        typed = {"eh-text-a": view_a, "eh-text-b": view_b, "eh-session-id": uuid.uuid4().hex}
        self._values |= {self._names[name]: text for name, text in typed.items() if name in self._names}
        waiting = [self._listeners[self._names["eh-propose"], "click"]]
        while waiting:
            listener = waiting.pop(0)
            for message in self._call(listener):
                yield json.dumps(message, ensure_ascii=False)
                if message["msg"] == "process_completed":
                    waiting += self._changed(listener, message["output"].get("data", []))
                    break

    def _open_window(self) -> None:
        self._hash = f"{random.getrandbits(64):x}"
        # As long as this is open the window counts as open.
        self._pulse = http.client.HTTPConnection("127.0.0.1", self._port, timeout=LONGEST_WAIT)
        self._pulse.request("GET", f"/gradio_api/heartbeat/{self._hash}")

    def close(self) -> None:
        """Leave, as a closed window does."""
        self._pulse.close()

    def _call(self, listener: dict[str, Any]) -> Iterator[dict[str, Any]]:
        body = {
            "data": [self._values[number] for number in listener["inputs"]],
            "fn_index": listener["id"],
            "session_hash": self._hash,
            "event_data": None,
        }
        headers = {"Content-Type": "application/json"}
        join = urllib.request.Request(f"{self._url}/gradio_api/queue/join", json.dumps(body).encode(), headers)
        urllib.request.urlopen(join, timeout=60).close()
        data = f"{self._url}/gradio_api/queue/data?session_hash={self._hash}"
        with urllib.request.urlopen(data, timeout=LONGEST_WAIT) as stream:
            for line in stream:
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    def _changed(self, listener: dict[str, Any], data: list[Any]) -> list[dict[str, Any]]:
        """Take the values over; return the listeners to those that changed."""
        called = []
        for number, value in zip(listener["outputs"], data, strict=False):
            if isinstance(value, dict) and value.get("__type__") == "update":
                if "value" not in value:
                    continue
                value = value["value"]
            if value != self._values.get(number):
                self._values[number] = value
                if (number, "change") in self._listeners:
                    called.append(self._listeners[number, "change"])
        return called


def _initial(props: dict[str, Any]) -> Any:
    """The value that a browser sends for a component that nobody touched."""
    value = props.get("value")
    return "" if value is None and props.get("name") == "textbox" else value

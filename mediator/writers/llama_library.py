"""llama.cpp as a library of this process: loaded once, kept from chattering on the screen, stopped by a flag."""

import ctypes
import logging
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mediator.errors import MissingExtraError

_log = logging.getLogger("mediator.llama_cpp")
_ERROR = 4  # GGML_LOG_LEVEL_ERROR
_lock = threading.Lock()
_complaints: deque[str] = deque(maxlen=8)
_callback: Any = None  # llama.cpp keeps the bare pointer: collected by Python, it would be called after its death


def llama_library() -> Any:
    """Return the `llama_cpp` module with its backend started and its log going to Python's `logging`.

    llama.cpp prints hundreds of lines per model on stderr. They go to the logger ``mediator.llama_cpp`` instead, at
    debug level, and its errors at info level: what matters of them is raised as an exception anyway.

    Raises `MissingExtraError` when llama-cpp-python is not installed or its library does not load.
    """
    global _callback
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingExtraError(
            f"The library that runs GGUF models could not be loaded: {error}.",
            "Run `pip install --force-reinstall llama-cpp-python` (it needs a C++ compiler).",
        ) from error
    with _lock:
        if _callback is None:
            llama_cpp.llama_backend_init()
            _callback = llama_cpp.llama_log_callback(_receive)
            llama_cpp.llama_log_set(_callback, ctypes.c_void_p(0))
    return llama_cpp


def _receive(level: int, text: bytes, _data: object) -> None:
    line = text.decode("utf-8", "replace").strip()
    if level == _ERROR and line:
        _complaints.append(line)
    if line and line != ".":
        _log.log(logging.INFO if level == _ERROR else logging.DEBUG, "%s", line)


@contextmanager
def quiet() -> Iterator[None]:
    """Make sure that nothing llama.cpp says inside the block reaches stderr; forget its earlier complaints."""
    llama_library()
    _complaints.clear()
    yield


def first_complaint() -> str:
    """The first error line since the last `quiet`, without the name of the C++ function; empty when there is none."""
    line = _complaints[0] if _complaints else ""
    return line.rsplit("error loading model: ", 1)[-1].split(": ", 1)[-1] if line.startswith("llama") else line


class AbortFlag:
    """Tells a running `llama_decode` to stop, from any thread, at the next node of its graph.

    llama.cpp asks a C function before every node, about a thousand times a token. A Python function there would wait
    for the interpreter lock each time, so the question goes to the C library's ``strlen``: the flag is a C string that
    is empty until somebody sets it.
    """

    def __init__(self) -> None:
        self._text = ctypes.create_string_buffer(2)

    def set(self) -> None:
        """Ask to stop."""
        self._text[0] = b"!"

    def clear(self) -> None:
        """Allow the next run."""
        self._text[0] = b"\0"

    def attach(self, context: Any) -> None:
        """Let the llama.cpp context ask this flag; the flag must live as long as the context."""
        llama = llama_library()
        c_library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
        question = ctypes.cast(c_library.strlen, llama.ggml_abort_callback)
        llama.llama_set_abort_callback(context, question, ctypes.cast(self._text, ctypes.c_void_p))

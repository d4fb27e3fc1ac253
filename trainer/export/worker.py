"""A part of an export in a process of its own: its progress comes back, its crash is a sentence, it dies with us.

llama.cpp ends the process over what it cannot bear, and cannot be stopped in the middle of a tensor; both must not
happen to whoever asked for the export.
"""

import faulthandler
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from mediator.errors import EvenhandError
from trainer.progress import Stopped
from trainer.runs.processes import detached

Message = dict[str, Any]
"""One line of JSON that goes from process to process."""

_LOOK = 0.1  # seconds between two looks whether the work shall stop
_LONGEST_REASON = 300  # characters of what a crashed library said last


class WorkerFailed(EvenhandError):
    """The process that did a part of an export ended without having done it.

    Attributes:
        out_of_memory: whether it did so for lack of memory, as far as can be told.
    """

    def __init__(self, message: str, hint: str = "", out_of_memory: bool = False) -> None:
        super().__init__(message, hint)
        self.out_of_memory = out_of_memory


def work(
    module: str,
    request: Message,
    *,
    what: str,
    hear: Callable[[Message], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Message:
    """Run ``python -m module`` with a request and return its answer.

    The process is killed when the work shall stop, when ``hear`` raises, and on Ctrl-C; it ends by itself when this
    process dies.

    Args:
        module: a program whose ``main`` calls `serve`.
        request: what it shall do.
        what: the work in a few words, for the sentence of a failure, e.g. ``llama.cpp's quantiser``.
        hear: is given each message about progress, in this thread.
        should_stop: is asked ten times a second.

    Raises:
        WorkerFailed: it crashed, or said itself why it cannot do it.
        Stopped: ``should_stop`` said so.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, with our own program
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(),
            **detached(),  # Ctrl-C is for us: we end it
        )
        try:
            answer = _converse(process, request, hear or _deaf, should_stop or _never)
            process.wait()
        finally:
            _end(process)
        if answer is not None and "result" in answer:
            return dict(answer["result"])
        if answer is not None:
            raise WorkerFailed(str(answer["failed"]), str(answer.get("hint", "")), bool(answer.get("memory")))
        killed = _was_killed(process)
        raise WorkerFailed(_obituary(what, process.returncode, errors), _MEMORY_HINT if killed else "", killed)


_MEMORY_HINT = "Most often that is for lack of memory: close other programs."
_NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory")


def serve(do: Callable[[Message, Callable[[Message], None]], Message]) -> int:
    """Be the other end of `work`: read the request, do it, answer; return what to exit with.

    Args:
        do: the work: a request, and a function that tells of progress, in; the answer out. What it raises as an
            `EvenhandError` reaches the other side as a sentence.
    """
    faulthandler.enable()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not stand between the answers
    request = json.loads(_first_line(sys.stdin.fileno()))
    threading.Thread(target=_end_with_parent, args=(sys.stdin.fileno(),), daemon=True).start()

    def tell(message: Message) -> None:
        try:
            answers.write(json.dumps(message) + "\n")
            answers.flush()
        except OSError:  # nobody listens any more; inside a callback of C an exception would be lost
            os._exit(1)

    try:
        tell({"result": do(request, tell)})
    except EvenhandError as error:
        tell({"failed": error.message, "hint": error.hint})
    except MemoryError:
        tell({"failed": "There is too little memory.", "hint": "Close other programs.", "memory": True})
    except Exception as error:  # noqa: BLE001 - whatever ended it is told to the other side
        traceback.print_exc()
        first = str(error).strip().split("\n", 1)[0]
        tell({"failed": f"{type(error).__name__}: {first}", "memory": any(one in str(error) for one in _NO_MEMORY)})
    # Libraries that are torn down at exit crash now and then, after all is done.
    sys.stderr.flush()
    os._exit(0)


def threads() -> int:
    """How many threads a library may use here: one for each core, or fewer if OMP_NUM_THREADS says so.

    Two libraries of that kind that fight for the same cores are many times slower than one after the other.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(asked)) if asked.isdecimal() and int(asked) else cores


def _converse(
    process: "subprocess.Popen[bytes]",
    request: Message,
    hear: Callable[[Message], None],
    should_stop: Callable[[], bool],
) -> Message | None:
    """Hand over the request, pass on what is told, and return the answer; None when there was none."""
    assert process.stdin is not None  # both were asked for as pipes
    assert process.stdout is not None
    with suppress(OSError):  # it died at once; what it left says why
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    answer: Message | None = None
    while True:
        if should_stop():
            raise Stopped
        try:
            line = lines.get(timeout=_LOOK)
        except queue.Empty:
            continue
        if not line:
            return answer
        message = json.loads(line)
        if "result" in message or "failed" in message:
            answer = message
        else:
            hear(message)


def _read(source: IO[bytes], lines: "queue.SimpleQueue[bytes]") -> None:
    with suppress(OSError, ValueError):
        for line in source:
            lines.put(line)
    lines.put(b"")


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _was_killed(process: "subprocess.Popen[bytes]") -> bool:
    return sys.platform != "win32" and process.returncode == -signal.SIGKILL


def _obituary(what: str, status: int, errors: IO[bytes]) -> str:
    """Say how a process ended that could not say it: its status, and the last thing that its library said."""
    errors.seek(0)
    lines = [line.strip() for line in errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
    # Where llama.cpp gives up it says so in a line of its own; what follows are the addresses of its functions.
    said = next((line for line in lines if "GGML_ASSERT" in line or "terminate called" in line), "")
    said = said or next((line for line in reversed(lines) if "Error" in line or "error" in line), "")
    if status < 0:
        try:
            ended = f"was ended by the signal {signal.Signals(-status).name}"
        except ValueError:
            ended = f"was ended by the signal {-status}"
    else:
        ended = f"ended with the status {status}"
    return f"{what} {ended}{': ' if said else '.'}{said[:_LONGEST_REASON]}"


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    # The process must find these packages also where they are not installed, and nothing else in its folder.
    source = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (environment.get("PYTHONPATH"), source)))
    return environment | {"PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"}


def _first_line(handle: int) -> bytes:
    """Read up to the first line end, with no buffer: another thread goes on reading where this ends."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(handle, 1 << 16)
        if not piece:
            os._exit(1)
        line += piece
    return line


def _end_with_parent(handle: int) -> None:
    """Wait for the end of the pipe that only the other process holds: it has died, or wants nothing more."""
    with suppress(OSError):
        while os.read(handle, 1):
            pass
    os._exit(1)


def _deaf(message: Message) -> None:
    """Hear nothing."""


def _never() -> bool:
    return False

"""A part of an export in a process of its own: answers, crashes, being stopped, and the death of whoever asked."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from trainer.export.worker import WorkerFailed, work
from trainer.progress import Stopped

SOURCE = Path(__file__).resolve().parents[3]

PROGRAM = """
import os, sys, time
from mediator.errors import EvenhandError
from trainer.export.worker import serve

def do(request, tell):
    tell({"pid": os.getpid()})
    os.write(1, b"a library prints without being asked\\n")
    match request["do"]:
        case "double":
            return {"number": 2 * request["number"]}
        case "refuse":
            raise EvenhandError("It cannot be done.", "Do something else.")
        case "raise":
            raise ValueError("a mistake")
        case "crash":
            os.write(2, b"model.cpp:12: GGML_ASSERT(rows > 0) failed\\n/lib/some.so(+0x12)\\n")
            os.abort()
        case "sleep":
            time.sleep(60)

sys.exit(serve(do))
"""


@pytest.fixture(autouse=True)
def _program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helper_program.py").write_text(PROGRAM, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_an_answer_comes_back_and_what_a_library_prints_does_not_disturb_it() -> None:
    heard: list[dict[str, object]] = []
    answer = work("helper_program", {"do": "double", "number": 21}, what="The helper", hear=heard.append)
    assert answer == {"number": 42}
    assert [list(message) for message in heard] == [["pid"]]


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ("refuse", r"^It cannot be done\. Do something else\.$"),
        ("raise", r"^ValueError: a mistake$"),
        ("crash", r"^The helper was ended by the signal SIGABRT: model\.cpp:12: GGML_ASSERT\(rows > 0\) failed$"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
def test_what_ends_the_process_is_a_sentence(do: str, message: str) -> None:
    with pytest.raises(WorkerFailed, match=message):
        work("helper_program", {"do": do}, what="The helper")


def test_it_is_killed_when_the_work_shall_stop() -> None:
    process: list[psutil.Process] = []

    def hear(message: dict[str, int]) -> None:
        process.append(psutil.Process(message["pid"]))

    with pytest.raises(Stopped):
        work("helper_program", {"do": "sleep"}, what="The helper", hear=hear, should_stop=lambda: bool(process))
    assert not process[0].is_running()


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_it_ends_when_whoever_asked_is_killed(tmp_path: Path) -> None:
    asking = (
        "from trainer.export.worker import work\n"
        "work('helper_program', {'do': 'sleep'}, what='x', hear=lambda said: print(said['pid'], flush=True))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(SOURCE)))}
    with subprocess.Popen([sys.executable, "-c", asking], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    until = time.monotonic() + 20
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "the process outlived whoever asked for its work"
        time.sleep(0.05)

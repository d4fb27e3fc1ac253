"""The benchmarks that work in several processes: these end together with whoever started them."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.patience import until

REPOSITORY = Path(__file__).resolve().parents[2]

SPAWNED = """
import argparse, os, sys, time
from pathlib import Path
from reproduce_paper import side_by_side
from reproduction_plan import Plan

def work(plan, name, threads):
    (plan.output / "begun").write_text(str(os.getpid()))
    (plan.output / "begun").rename(plan.output / f"{name}.pid")
    time.sleep(600)

if __name__ == "__main__":
    plan = Plan(argparse.Namespace(jobs=2, threads=1), Path(sys.argv[1]))
    side_by_side(plan, work, ["one"])
"""

FORKED = """
import os, sys, time
from pathlib import Path
from propose_all import side_by_side

def work(folder):
    (folder / "begun").write_text(str(os.getpid()))
    (folder / "begun").rename(folder / "one.pid")
    time.sleep(600)

if __name__ == "__main__":
    side_by_side(work, [Path(sys.argv[1])], 2)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
@pytest.mark.parametrize("text", [SPAWNED, FORKED], ids=["reproduce_paper", "propose_all"])
def test_the_workers_end_when_whoever_started_them_is_killed(text: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(text, encoding="utf-8")
    path = os.pathsep.join(str(folder) for folder in (REPOSITORY / "benchmarks", REPOSITORY))
    with (
        (tmp_path / "errors").open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [sys.executable, str(program), str(tmp_path)], env={**os.environ, "PYTHONPATH": path}, stderr=errors
        ) as parent,
    ):
        try:
            note = tmp_path / "one.pid"
            until(lambda: note.exists() or parent.poll() is not None, "the work did not begin")
            assert note.exists(), (tmp_path / "errors").read_text(encoding="utf-8")
            workers = psutil.Process(parent.pid).children(recursive=True)  # one of a pair has nothing to do
            assert int(note.read_text()) in {worker.pid for worker in workers}
        finally:
            parent.kill()
    try:
        until(lambda: not any(_goes_on(worker) for worker in workers), "a worker goes on")
    finally:
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()


def _goes_on(worker: psutil.Process) -> bool:
    try:
        return worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

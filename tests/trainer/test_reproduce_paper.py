"""benchmarks/reproduce_paper.py: what works side by side ends together with whoever started it."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.patience import until

REPOSITORY = Path(__file__).resolve().parents[2]

PROGRAM = """
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


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_worker_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    path = os.pathsep.join(str(folder) for folder in (REPOSITORY / "benchmarks", REPOSITORY))
    with (
        (tmp_path / "errors").open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [sys.executable, str(program), str(tmp_path)], env={**os.environ, "PYTHONPATH": path}, stderr=errors
        ) as parent,
    ):
        note = tmp_path / "one.pid"
        until(lambda: note.exists() or parent.poll() is not None, "the work did not begin")
        assert note.exists(), (tmp_path / "errors").read_text(encoding="utf-8")
        worker = psutil.Process(int(note.read_text()))
        assert worker.ppid() == parent.pid
        parent.kill()
    try:
        until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, "the worker goes on")
    finally:
        with suppress(psutil.NoSuchProcess):
            worker.kill()

"""kill -9 at random moments of a real mediation: what was reported as saved is there afterwards, and the file whole."""

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from mediator.store import FILE_NAME, Store

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = 10

# The drafter at work for ever: mediation after mediation of one session, each finished candidate saved at once. A line
# is printed when the store has returned, so that whoever reads the line may rely on it.
MEDIATES = """
import itertools, os, sys
from pathlib import Path
from mediator.disputes import example
from mediator.empathy import EmpathyModel
from mediator.mediation import CandidateDone, MediationDone, MediationOptions, RoundStarted, propose
from mediator.models import load_writer, parse_model
from mediator.session import Form
from mediator.store import Store

scorer = EmpathyModel.load("bundled")
writer = load_writer(parse_model("drafter"), scorer)
store = Store(Path(sys.argv[1]))
session = store.create(title="Kill me")
dispute = example("library-hours")
print("session", session.id, flush=True)
for seed in itertools.count():
    options = MediationOptions(strategy="single", count=2, seed=seed)
    entry = store.start_round(session.id, dispute, "drafter", "single", 2, 1, seed)
    print("round", entry.id, flush=True)
    saved = {}
    for event in propose(dispute, writer, scorer, options):
        if isinstance(event, RoundStarted) and event.again:
            store.discard(entry.id, event.strategy, event.round)
        elif isinstance(event, CandidateDone):
            proposal = store.add_proposal(entry.id, event.candidate)
            saved[id(event.candidate)] = proposal.id
            print("proposal", proposal.id, flush=True)
            store.save_form(session.id, Form(comment=f"typing {proposal.id}"))
            print("form", proposal.id, flush=True)
            store.rate(proposal.id, "a", 4)
            print("rating", proposal.id, flush=True)
        elif isinstance(event, MediationDone):
            ranks = {saved[id(one)]: place for place, one in enumerate(event.candidates, 1)}
            store.finish_round(entry.id, "done", ranks, timings=event.timings)
            print("finished", entry.id, flush=True)
"""


def mediates(path: Path, output: Path) -> "subprocess.Popen[bytes]":
    with output.open("wb") as file:  # a file and no pipe: nothing that was printed is lost with the process
        return subprocess.Popen(
            [sys.executable, "-c", MEDIATES, str(path)],
            stdout=file,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        )


def lines(output: Path) -> list[tuple[str, str]]:
    whole = output.read_text().splitlines(keepends=True)
    return [(kind, name) for kind, name in (line.split() for line in whole if line.endswith("\n"))]


def wait_for(process: "subprocess.Popen[bytes]", output: Path, kind: str, count: int) -> None:
    end = time.monotonic() + 120
    while sum(found == kind for found, _ in lines(output)) < count:
        assert process.poll() is None, "the mediation ended by itself"
        assert time.monotonic() < end, f"there is no {kind} after two minutes"
        time.sleep(0.005)


def check(path: Path, reported: list[tuple[str, str]]) -> bool:
    """Compare the file with what one process reported; returns whether its last round was interrupted."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    store = Store(path)
    try:
        session = store.get(next(name for kind, name in reported if kind == "session"))
        names = {kind: [name for found, name in reported if found == kind] for kind in ("round", "proposal", "form")}
        assert set(names["round"]) <= {entry.id for entry in session.rounds}
        kept = [proposal.id for entry in session.rounds for proposal in entry.proposals]
        assert kept[: len(names["proposal"])] == names["proposal"]
        assert len(kept) <= len(names["proposal"]) + 1  # one more may be saved and not yet reported
        for name in (name for kind, name in reported if kind == "rating"):
            proposal = session.proposal(name)
            assert proposal is not None
            assert [(rating.rater, rating.value) for rating in proposal.ratings] == [("a", 4)]
        if names["form"]:
            assert session.form.comment in (f"typing {names['form'][-1]}", f"typing {kept[-1]}")
        finished = {name for kind, name in reported if kind == "finished"}
        for entry in session.rounds[:-1]:
            assert entry.id in finished
        for entry in session.rounds:
            if entry.id in finished:
                assert entry.state == "done"
                assert [proposal.rank for proposal in entry.selected] == [1, 2]
        last = session.rounds[-1]
        if last.state == "done":  # its end may be saved and not yet reported
            return False
        assert last.state == "interrupted"
        assert last.id not in finished
        assert bool(last.selected) == bool(last.proposals)
        assert last.finished_at is None
        return True
    finally:
        store.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_what_was_reported_as_saved_outlives_kill_9(tmp_path):
    """Every kill hits the same file, which each time holds what the earlier ones left."""
    path = tmp_path / FILE_NAME
    chance = random.Random(20260801)
    everything: list[list[tuple[str, str]]] = []
    interrupted = 0
    for turn in range(KILLS):
        output = tmp_path / f"output-{turn}"
        process = mediates(path, output)
        try:
            wait_for(process, output, "proposal", 1 + turn % 3)
            time.sleep(chance.uniform(0, 0.4))  # anywhere: in a draft, in a score, in the midst of a write
            assert process.poll() is None
        finally:
            process.kill()
            process.wait()
        everything.append(lines(output))
        interrupted += check(path, everything[-1])
    for reported in everything:  # and the later kills took nothing from the earlier sessions
        check(path, reported)
    assert interrupted >= KILLS // 2
    assert sum(kind == "proposal" for reported in everything for kind, _ in reported) >= KILLS

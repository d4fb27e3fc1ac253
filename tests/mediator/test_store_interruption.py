"""Rounds whose program ended in their midst: noticed, and their best proposals chosen, without a word written."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.stored import FORM, candidate, filled, start

from mediator.interruption import as_interrupted, is_alive, this_process
from mediator.neutrality import select
from mediator.schema import Candidate, Strategy
from mediator.store import FILE_NAME, Store

REPOSITORY = Path(__file__).resolve().parents[2]

STARTS = """
import os, sys
from pathlib import Path
sys.path.insert(0, "tests")
from support.stored import FORM, candidate, start
from mediator.interruption import this_process
from mediator.store import Store
store = Store(Path(sys.argv[1]))
session = store.create(FORM)
entry = start(store, session.id)
store.add_proposal(entry, candidate("Uneven.", 0.9, 0.5))
store.add_proposal(entry, candidate("Even and warm.", 0.8, 0.79))
store.add_proposal(entry, candidate("Cold.", 0.1, 0.1, "cot"))
print(session.id, entry, this_process(), sep="|", flush=True)
sys.stdin.readline()
os._exit(0)
"""


def runs(path: Path) -> "tuple[subprocess.Popen[str], str, str, str]":
    """A process with a round of three proposals that it has not finished."""
    process = subprocess.Popen(
        [sys.executable, "-c", STARTS, str(path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    session_id, round_id, owner = process.stdout.readline().strip().split("|")
    return process, session_id, round_id, owner


def test_a_round_runs_as_long_as_its_process_and_is_interrupted_after(tmp_path):
    path = tmp_path / FILE_NAME
    process, session_id, round_id, owner = runs(path)
    store = Store(path)
    running = store.get(session_id).rounds[0]
    assert is_alive(owner)
    assert (running.state, running.selected) == ("running", ())
    process.kill()
    if hasattr(os, "waitid"):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, but its number is still taken
        assert psutil.pid_exists(process.pid)
        assert store.get(session_id).rounds[0].state == "interrupted"
    process.wait()
    version = store.version(session_id)
    broken = store.get(session_id).rounds[0]
    assert broken.state == "interrupted"
    assert [proposal.candidate.text for proposal in broken.selected] == ["Even and warm.", "Uneven.", "Cold."]
    assert (broken.below_floor, broken.sources) == (1, {Strategy.SINGLE: 2, Strategy.COT: 1})
    assert [proposal.id for proposal in broken.proposals] == [proposal.id for proposal in running.proposals]
    assert store.get(session_id).rounds[0] == broken
    assert store.version(session_id) == version
    # A process that was taken for dead by mistake has the last word.
    assert store.finish_round(round_id, "done", {broken.proposals[2].id: 1}).state == "done"
    assert [proposal.candidate.text for proposal in store.get(session_id).rounds[0].selected] == ["Cold."]


def test_what_the_mediator_drops_afterwards_moves_no_other_proposal(tmp_path):
    process, session_id, _, _ = runs(tmp_path / FILE_NAME)
    process.kill()
    process.wait()
    store = Store(tmp_path / FILE_NAME)
    before = store.get(session_id).rounds[0].selected
    store.mark(before[0].id, "dropped")
    after = store.get(session_id).rounds[0].selected
    assert [proposal.id for proposal in after] == [proposal.id for proposal in before]


def test_a_copy_of_a_running_round_is_interrupted(tmp_path):
    process, session_id, _, _ = runs(tmp_path / FILE_NAME)
    store = Store(tmp_path / FILE_NAME)
    copy = store.duplicate(session_id)
    assert store.get(session_id).rounds[0].state == "running"
    assert copy.rounds[0].state == "interrupted"
    assert copy.rounds[0].selected[0].candidate.text == "Even and warm."
    process.kill()
    process.wait()
    assert store.get(copy.id) == copy


def test_another_store_in_the_same_process_is_no_interruption(tmp_path):
    first, second = Store(tmp_path / FILE_NAME), Store(tmp_path / FILE_NAME)
    session = first.create(FORM)
    start(first, session.id)
    first.close()
    assert second.get(session.id).rounds[0].state == "running"


@pytest.mark.skipif(not psutil.pid_exists(1), reason="there is no process 1 on Windows")
def test_a_number_that_was_given_again_is_another_process():
    number, started, token = this_process().split()
    assert is_alive(this_process())
    assert not is_alive(f"{number} {started} {'0' * 16}")  # this very number and second, in a restarted container
    assert is_alive(f"1 {psutil.Process(1).create_time() - psutil.boot_time():.2f} {token}")
    assert not is_alive(f"1 {psutil.Process(1).create_time() - psutil.boot_time() + 60:.2f} {token}")


def test_the_choice_is_that_of_a_finished_round_and_leaves_out_what_has_no_scores():
    store = Store(None)
    session = store.create(FORM)
    entry = start(store, session.id)
    texts = ["One thing.", "Another thing entirely.", "One thing!", "Something else for all.", "A fifth idea for both."]
    for place, text in enumerate(texts):
        store.add_proposal(entry, candidate(text, 0.9 - place / 20, 0.6))
    store.add_proposal(entry, Candidate(text="No scores.", strategy=Strategy.COT))
    running = store.get(session.id).rounds[0]
    wanted = select([proposal.candidate for proposal in running.proposals[:-1]], 3)
    ended = as_interrupted(running)
    assert [proposal.candidate for proposal in ended.selected] == list(wanted.candidates)
    assert len(ended.rest) == 3


def test_ranks_that_are_there_stay_and_nothing_finished_is_nothing_chosen():
    store = Store(None)
    session = filled(store)
    assert as_interrupted(session.rounds[0]).selected == session.rounds[0].selected
    start(store, session.id)
    assert as_interrupted(store.get(session.id).rounds[2]).selected == ()

"""The store under many hands: threads and processes that write and read at once."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.stored import FORM, candidate, start

from mediator.session import Form, Session
from mediator.store import FILE_NAME, Store

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path / FILE_NAME if request.param == "file" else None)


def at_once(jobs: "list[Callable[[], None]]") -> None:
    """Run jobs in threads that begin together; raises the first error."""
    errors: list[BaseException] = []
    gate = threading.Barrier(len(jobs))

    def work(job: "Callable[[], None]") -> None:
        gate.wait()
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_eight_threads_write_at_once_and_nothing_is_lost(store):
    session = store.create(FORM)
    entry = start(store, session.id)

    def writer(number: int) -> Callable[[], None]:
        def write() -> None:
            for turn in range(20):
                proposal = store.add_proposal(entry, candidate(f"{number}-{turn}"))
                store.rate(proposal.id, "a", 1 + turn % 5)
                store.save_form(session.id, FORM.model_copy(update={"comment": f"{number}-{turn}"}))

        return write

    at_once([writer(number) for number in range(8)])
    kept = store.get(session.id)
    texts = [proposal.candidate.text for proposal in kept.rounds[0].proposals]
    assert sorted(texts) == sorted(f"{number}-{turn}" for number in range(8) for turn in range(20))
    assert all(len(proposal.ratings) == 1 for proposal in kept.rounds[0].proposals)
    for number in range(8):  # each writer's own in its order
        mine = [text for text in texts if text.startswith(f"{number}-")]
        assert mine == [f"{number}-{turn}" for turn in range(20)]
    assert store.version(session.id) >= 8 * 20 * 2


def test_readers_see_a_session_before_or_after_a_change_never_in_between(store):
    session = store.create(FORM)
    entry = start(store, session.id)
    done = threading.Event()

    def write() -> None:
        try:
            for turn in range(60):
                proposal = store.add_proposal(entry, candidate(f"{turn}"))
                store.finish_round(entry, "done", {proposal.id: 1}, below_floor=turn, problem=str(turn))
        finally:
            done.set()

    def read() -> None:
        last = -1
        while not done.is_set():
            version = store.version(session.id)
            seen: Session = store.get(session.id)
            shown = seen.rounds[0]
            assert store.version(session.id) >= version
            assert len(shown.selected) <= 1
            if shown.problem:
                assert shown.problem == str(shown.below_floor) == shown.selected[0].candidate.text
                assert shown.below_floor >= last
                last = shown.below_floor
            assert len(store.list("dogs")) == 1

    at_once([write, read, read, read])


def test_deleting_and_writing_at_once_ends_with_a_whole_file(store):
    from mediator.store_errors import SessionNotFound

    sessions = [store.create(FORM, f"{number}").id for number in range(6)]

    def write(session_id: str) -> Callable[[], None]:
        def work() -> None:
            try:
                for turn in range(200):
                    store.add_proposal(start(store, session_id), candidate(f"{turn}"))
            except SessionNotFound:
                return
            raise AssertionError("the session was to be deleted meanwhile")

        return work

    at_once([*map(write, sessions[:3]), lambda: [store.delete(one) for one in sessions[:3]]])
    assert [summary.title for summary in store.list()] == ["5", "4", "3"]
    with store._connections.writing() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("SELECT count(*) FROM proposal").fetchone()[0] == 0


def test_closing_in_the_midst_ends_the_others_in_a_sentence(store):
    from mediator.store_errors import StoreClosed

    session = store.create(FORM)

    def work() -> None:
        for turn in range(100_000):
            store.save_form(session.id, Form(comment=f"{turn}"))
            store.list("dogs")

    def until_closed() -> None:
        with pytest.raises(StoreClosed):
            work()

    at_once([until_closed, until_closed, lambda: (threading.Event().wait(0.2), store.close())])


WRITES = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from support.stored import candidate
from mediator.session import Form
from mediator.store import Store
store = Store(Path(sys.argv[1]))
who, session_id, round_id = sys.argv[2:]
print("ready", flush=True)
sys.stdin.readline()
for turn in range(40):
    store.add_proposal(round_id, candidate(f"{who}-{turn}"))
    store.save_form(session_id, Form(comment=f"{who}-{turn}"))
    store.create(title=f"{who}-{turn}")
store.close()
"""


def started(program: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_write_at_once_and_a_third_sees_the_versions_grow(tmp_path):
    path = tmp_path / FILE_NAME
    store = Store(path)
    session = store.create(FORM)
    entry = start(store, session.id)
    processes = [started(WRITES, str(path), who, session.id, entry) for who in ("one", "two")]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    versions = [store.version(session.id)]
    while any(process.poll() is None for process in processes):
        versions.append(store.version(session.id))
    assert [process.communicate() and process.returncode for process in processes] == [0, 0]
    assert versions == sorted(versions)
    assert len(set(versions)) > 5
    texts = [proposal.candidate.text for proposal in store.get(session.id).rounds[0].proposals]
    wanted = sorted(f"{who}-{turn}" for who in ("one", "two") for turn in range(40))
    assert sorted(texts) == wanted
    assert sorted(summary.title for summary in store.list() if summary.title) == wanted
    store.close()


def test_many_processes_may_make_the_file_at_once(tmp_path):
    path = tmp_path / "new" / FILE_NAME
    program = (
        "import sys; from pathlib import Path; from mediator.store import Store\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "Store(Path(sys.argv[1])).create(title='made')\n"
    )
    processes = [started(program, str(path)) for _ in range(6)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate() and process.returncode for process in processes] == [0] * 6
    store = Store(path)
    assert [summary.title for summary in store.list()] == ["made"] * 6
    store.close()

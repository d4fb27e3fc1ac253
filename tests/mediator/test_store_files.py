"""The store and its file: who may read it, what deletion leaves, new versions, and files or disks that cannot serve."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.stored import DISPUTE, FORM, an_audit, candidate, filled, start

from mediator import store_schema
from mediator.errors import EvenhandError
from mediator.schema import Strategy
from mediator.session import Form, SideForm
from mediator.store import FILE_NAME, Store, StoreError
from mediator.store_errors import (
    SessionNotFound,
    StoreBusy,
    StoreDamaged,
    StoreForeign,
    StoreFull,
    StoreReadOnly,
    StoreTooNew,
    StoreUnreachable,
)

REPOSITORY = Path(__file__).resolve().parents[2]
needs_unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such rights")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "evenhand" / FILE_NAME


@pytest.fixture
def opened(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


def traces(folder: Path, *texts: str) -> list[str]:
    """Names of the files in which one of the texts stands, as it is written or folded."""
    sought = [text.encode() for text in texts] + [text.lower().encode() for text in texts]
    return sorted(file.name for file in folder.iterdir() if any(text in file.read_bytes() for text in sought))


def change_behind(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@needs_unix
def test_only_the_owner_may_read_what_is_kept(path):
    before = os.umask(0)
    try:
        store = Store(path)
        filled(store)
        rights = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert rights == {FILE_NAME: 0o600, f"{FILE_NAME}-wal": 0o600, f"{FILE_NAME}-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    store.close()
    path.chmod(0o644)
    Store(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_settings_that_keep_and_that_forget_are_on(opened):
    with opened._connections.writing() as connection:
        read = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "temp_store")
        }
    assert read == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1, "temp_store": 2}


def test_what_is_deleted_is_in_no_file(path, opened):
    secret = f"Xylophone{uuid.uuid4().hex}"
    typed = Form(side_a=SideForm(label=secret[:40], text=secret), comment=secret)
    session, other = opened.create(typed, secret), filled(opened, "Other")
    entry = opened.start_round(session.id, DISPUTE, secret, "single", 1, 1, 0, secret)
    for number in range(40):  # more than a page of each table
        proposal = opened.add_proposal(entry.id, candidate(f"{secret} {number} " + "word " * 50))
        opened.add_edit(proposal.id, f"{secret} edited {number}", proposal.candidate.scores)
        opened.rate(proposal.id, "a", 3, secret)
    opened.finish_round(entry.id, "failed", {}, problem=secret)
    opened.rename(session.id, f"{secret} again")
    assert FILE_NAME + "-wal" in traces(path.parent, secret)
    opened.delete(session.id)
    assert traces(path.parent, secret) == []
    assert opened.list(secret) == []
    assert [summary.id for summary in opened.list()] == [other.id]
    with opened._connections.reading() as connection:
        left = [connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("round", "proposal")]
    assert left == [2, 4]


def test_what_was_overwritten_is_in_no_file_after_the_next_deletion(path, opened):
    session, other = opened.create(Form(comment="Xylophone")), opened.create()
    opened.save_form(session.id, Form(comment="Piano"))
    entry = start(opened, session.id)
    opened.add_proposal(entry, candidate("Harpsichord."))
    opened.discard(entry, Strategy.SINGLE, 1)
    opened.delete(other.id)
    assert traces(path.parent, "Xylophone", "Harpsichord") == []


def test_a_deletion_that_was_killed_half_way_is_completed_at_the_next_start(path):
    """Killed after the deletion was written and before the log was emptied."""
    program = (
        "import os, sys; from pathlib import Path\n"
        "from mediator.session import Form; from mediator.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "session = store.create(Form(comment='Xylophone'), 'Xylophone')\n"
        "store._connections.clean = lambda: os._exit(9)\n"
        "store.delete(session.id)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run([sys.executable, "-c", program, str(path)], env=environment, check=False).returncode == 9
    assert traces(path.parent, "Xylophone") == [f"{FILE_NAME}-wal"]
    store = Store(path)
    assert store.list() == []
    assert traces(path.parent, "Xylophone") == []
    store.close()


def test_a_deletion_that_another_reader_holds_up_says_so(path, opened, monkeypatch):
    session = opened.create(Form(comment="Xylophone"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM session").fetchall()
        opened._connections._writer.execute("PRAGMA busy_timeout = 50")
        with pytest.raises(StoreBusy):
            opened.delete(session.id)
    with pytest.raises(SessionNotFound):
        opened.get(session.id)
    opened.delete(opened.create().id)
    assert traces(path.parent, "Xylophone") == []


def test_deleting_makes_the_file_smaller(path, opened):
    session = opened.create()
    entry = start(opened, session.id)
    for number in range(200):
        opened.add_proposal(entry, candidate(f"{number} " + "word " * 200))
    filled(opened, "Other")
    opened.delete(session.id)
    assert path.stat().st_size < 150_000


def test_a_private_store_opens_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = {file.path for file in psutil.Process().open_files()}
    store = Store(None)
    session = filled(store)
    for number in range(300):
        store.add_proposal(session.rounds[0].id, candidate(f"{number} " + "word " * 300))
    store.list("word")
    assert {file.path for file in psutil.Process().open_files()} == before
    store.delete(session.id)
    assert list(tmp_path.iterdir()) == []
    store.close()


# Versions of the file.

ADDED = (*store_schema.STEPS, ("ALTER TABLE session ADD COLUMN colour TEXT NOT NULL DEFAULT 'slate'",))
BROKEN = (*ADDED, ("CREATE TABLE half (x)", "INSERT INTO nowhere VALUES (1)"))
PRESENT = len(store_schema.STEPS)


def migrate(path: Path, steps: Any) -> None:
    with closing(store_schema.connect(path)) as connection:
        store_schema.bring_up_to_date(connection, path, steps)


def read(path: Path, statement: str) -> Any:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchone()[0]


def test_a_migration_keeps_everything_and_copies_the_file_aside(path):
    store = Store(path)
    session = filled(store, "Before")  # part of it is in the log still
    migrate(path, ADDED)
    assert (read(path, "PRAGMA user_version"), read(path, "SELECT colour FROM session")) == (PRESENT + 1, "slate")
    aside = path.with_name(f"{FILE_NAME}.version-{PRESENT}")
    assert store_schema.copies(path) == [aside]
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600 or sys.platform == "win32"
    store.close()
    copy = Store(aside)
    assert copy.get(session.id) == session
    copy.close()


def test_scores_from_before_their_certainty_was_kept_open_without_it(path):
    path.parent.mkdir(parents=True)
    path.touch()
    migrate(path, store_schema.STEPS[:1])
    form = Form().model_dump_json()
    change_behind(
        path,
        f"INSERT INTO session VALUES ('s', 'Old', '{form}', '', '', 0, 0, 1)",
        "INSERT INTO round (id, session_id, number, dispute_json, model, strategy, count, rounds, seed, comment, "
        "folded, state, owner, sources_json, timings_json, started_at) "
        f"VALUES ('r', 's', 1, '{DISPUTE.model_dump_json()}', 'drafter', 'single', 1, 1, 0, '', '', "
        """'done', '', '{"values": {}}', '{"values": {}}', 0)""",
        "INSERT INTO proposal (id, round_id, text, folded, strategy, pass, score_a, score_b, raw_a, raw_b) "
        "VALUES ('p', 'r', 'Share.', '', 'single', 1, 0.7, 0.6, 0.4, 0.3)",
    )
    store = Store(path)
    scores = store.get("s").rounds[0].proposals[0].candidate.scores
    store.close()
    assert (scores.score_a, scores.raw_b, scores.score_error_a, scores.tells_apart) == (0.7, 0.3, None, None)


def test_a_file_from_before_audits_were_kept_opens_and_takes_one(path):
    path.parent.mkdir(parents=True)
    path.touch()
    migrate(path, store_schema.STEPS[:3])
    assert read(path, "SELECT count(*) FROM sqlite_master WHERE name = 'audit'") == 0
    change_behind(path, f"INSERT INTO session VALUES ('s', 'Old', '{Form().model_dump_json()}', '', '', 0, 0, 1)")
    store = Store(path)
    assert store.get("s").audits == ()
    made = store.add_audit("s", an_audit())
    store.close()
    again = Store(path)
    assert again.get("s").audits == (made,)
    again.close()


def test_an_audit_goes_with_its_round_and_with_its_session(path, opened):
    session = filled(opened)
    opened.add_audit(session.id, an_audit(seed=8))
    assert "sessions.sqlite3-wal" in traces(path.parent, "Bella")
    opened.close()
    change_behind(path, "PRAGMA foreign_keys = ON", f"DELETE FROM round WHERE id = '{session.rounds[0].id}'")
    store = Store(path)
    assert [audit.round_id for audit in store.get(session.id).audits] == [None]
    store.delete(session.id)
    assert traces(path.parent, "Bella") == []
    assert read(path, "SELECT count(*) FROM audit") == 0
    store.close()


@pytest.mark.parametrize("damage", ["'{}'", "replace(audit_json, '0.3', '7')", "replace(audit_json, 'differs', '?')"])
def test_a_damaged_audit_is_one_sentence(path, opened, damage):
    session = filled(opened)
    change_behind(path, f"UPDATE audit SET audit_json = {damage}")
    with pytest.raises(StoreDamaged, match="its audit 1 cannot be read"):
        opened.get(session.id)


def test_a_new_file_and_one_that_is_up_to_date_are_not_copied(path):
    Store(path).close()
    Store(path).close()
    assert [file.name for file in path.parent.iterdir()] == [FILE_NAME]


def test_a_step_that_fails_leaves_the_version_before_it(path):
    store = Store(path)
    filled(store)
    store.close()
    with pytest.raises(sqlite3.OperationalError):
        migrate(path, BROKEN)
    assert read(path, "PRAGMA user_version") == PRESENT + 1
    assert read(path, "SELECT count(*) FROM sqlite_master WHERE name = 'half'") == 0
    assert read(path, "PRAGMA integrity_check") == "ok"


def test_deleting_removes_the_copy_of_a_migration_too(path, monkeypatch):
    store = Store(path)
    session = store.create(title="Xylophone")
    store.close()
    monkeypatch.setattr(store_schema.bring_up_to_date, "__defaults__", (ADDED,))
    store = Store(path)
    assert f"{FILE_NAME}.version-{PRESENT}" in traces(path.parent, "Xylophone")
    store.delete(session.id)
    assert traces(path.parent, "Xylophone") == []
    assert store_schema.copies(path) == []
    store.close()


def test_a_file_of_a_newer_version_is_refused_and_not_touched(path):
    Store(path).close()
    migrate(path, ADDED)
    content = path.read_bytes()
    with pytest.raises(StoreTooNew, match="newer version of Evenhand") as caught:
        Store(path)
    assert str(path) in caught.value.message
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_not_touched(path):
    path.parent.mkdir(parents=True)
    change_behind(path, "CREATE TABLE session (a)", "INSERT INTO session VALUES (1)")
    content = path.read_bytes()
    with pytest.raises(StoreForeign, match="another program"):
        Store(path)
    assert path.read_bytes() == content


# Files that are damaged or made to do harm.


def spoiled(error: EvenhandError, path: Path) -> None:
    """An error with the file's name, a way out, and nothing of the cause's jargon."""
    assert isinstance(error, StoreDamaged)
    assert str(path) in error.message
    assert "copy" in error.hint
    assert len(error.message.splitlines()) == 1


@pytest.mark.parametrize(
    "content", [b"Dear diary, this is no database.\n" * 200, b"x", b"SQLite format 3\x00" + b"\xff" * 4096]
)
def test_a_file_that_is_no_database_is_refused_and_not_touched(path, content):
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(StoreDamaged) as caught:
        Store(path)
    spoiled(caught.value, path)
    assert path.read_bytes() == content


def refuses(path: Path, use: Callable[[Store], object]) -> bool:
    """Whether a file is refused as damaged when it is opened and used; any other error is raised."""
    try:
        store = Store(path)
    except StoreDamaged as error:
        spoiled(error, path)
        return True
    try:
        use(store)
    except StoreDamaged as error:
        spoiled(error, path)
        return True
    finally:
        store.close()
    return False


def test_a_file_that_was_cut_off_is_refused_or_read_never_a_crash(path):
    store = Store(path)
    session = filled(store)
    for number in range(60):
        store.add_proposal(session.rounds[0].id, candidate(f"{number} " + "word " * 100))
    store.close()
    whole = path.read_bytes()
    refused = 0
    uses: list[Callable[[Store], object]] = [
        lambda cut: cut.list("word"),
        lambda cut: cut.get(session.id),
        lambda cut: cut.duplicate(session.id),
    ]
    for kept in range(1000, len(whole), 9_000):
        path.write_bytes(whole[:kept])
        refused += sum(refuses(path, use) for use in uses)
        for file in path.parent.iterdir():
            file.unlink()
    assert refused > 5


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE session SET form_json = '{'",
        "UPDATE session SET form_json = '{\"unknown\": 1}'",
        f"UPDATE session SET form_json = '{'[' * 100_000}'",
        "UPDATE session SET form_json = x'ff00fe'",
        "UPDATE session SET form_json = CAST(x'ff00fe' AS TEXT)",
        "UPDATE session SET title = zeroblob(1000)",
        "UPDATE session SET created_at = 9223372036854775807",
        'UPDATE round SET dispute_json = \'{"view_a": {}, "view_b": {}}\'',
        "UPDATE round SET dispute_json = 'null'",
        'UPDATE round SET sources_json = \'{"values": {"gossip": 1}}\'',
        "UPDATE round SET timings_json = '[]'",
        "UPDATE round SET state = 'somewhere'",
        "UPDATE round SET count = 'many'",
        "UPDATE round SET started_at = 'today'",
        "UPDATE proposal SET score_a = 7",
        "UPDATE proposal SET score_a = NULL",
        "UPDATE proposal SET text = ''",
        "UPDATE proposal SET strategy = 'shout'",
        "UPDATE edit SET text = '  '",
        "UPDATE edit SET made_at = -9223372036854775808",
        "UPDATE rating SET rater = ''",
        "DROP TABLE rating",
        "ALTER TABLE proposal RENAME COLUMN mark TO stain",
    ],
)
def test_a_damaged_row_is_one_sentence_and_the_session_can_still_be_deleted(path, damage):
    store = Store(path)
    session = filled(store, "Dogs")
    change_behind(path, damage)
    with pytest.raises(StoreError) as caught:
        store.get(session.id)
    spoiled(caught.value, path)
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, sqlite3.Error)
    assert "meadow" not in str(caught.value)
    if damage.startswith("UPDATE"):
        store.delete(session.id)
        assert store.list() == []
    store.close()


@pytest.mark.parametrize("owner", ["", "1", "1 2", "x y z", "-1 0 t", "99999999999999999999 1 t", "1 nan t", "²  1 t"])
def test_an_owner_that_names_no_process_is_nobody(path, opened, owner):
    session = opened.create()
    start(opened, session.id)
    change_behind(path, f"UPDATE round SET owner = '{owner}'")
    assert opened.get(session.id).rounds[0].state == "interrupted"


# Disks and folders that cannot serve.


def sentence(error: EvenhandError, path: Path) -> None:
    assert str(path) in error.message
    assert error.hint
    assert len(str(error).splitlines()) == 1


def test_a_full_disk_is_one_sentence_and_what_was_kept_stays(path, opened):
    session = filled(opened)
    before = opened.get(session.id)
    pages = read(path, "PRAGMA page_count")
    opened._connections._writer.execute(f"PRAGMA max_page_count = {pages}")
    long = candidate("word " * 20_000)
    for call in (
        lambda: opened.add_proposal(before.rounds[0].id, long),
        lambda: opened.save_form(session.id, Form(comment="word " * 20_000)),
        lambda: opened.create(Form(comment="word " * 20_000)),
    ):
        with pytest.raises(StoreFull) as caught:
            call()
        sentence(caught.value, path)
    assert opened.get(session.id) == before
    opened._connections._writer.execute("PRAGMA max_page_count = 1000000")
    assert opened.add_proposal(before.rounds[0].id, long).candidate == long


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_disk_that_runs_full(small_disk):
    path = small_disk / "data" / FILE_NAME
    store = Store(path)
    session = store.create(FORM)
    entry = start(store, session.id)
    saved: list[str] = []

    def save() -> None:
        for number in range(1000):
            proposal = store.add_proposal(entry, candidate(f"{number} " + "word " * 500))
            saved.append(proposal.id)

    with pytest.raises(StoreFull) as caught:
        save()
    sentence(caught.value, path)
    assert [proposal.id for proposal in store.get(session.id).rounds[0].proposals] == saved
    store.close()
    again = Store(path)
    assert [proposal.id for proposal in again.get(session.id).rounds[0].proposals] == saved
    again.close()
    with pytest.raises(OSError, match="No space"):
        (small_disk / "ballast").write_bytes(b"x" * 1_000_000)
    other = small_disk / "new" / FILE_NAME
    with pytest.raises((StoreFull, StoreUnreachable)) as refused:
        Store(other)
    sentence(refused.value, other)


WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
import psutil
from mediator.store import Store, StoreError
if os.geteuid() == 0:  # who may do everything; everything that is needed is imported already
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    Store(Path(sys.argv[1])).rename(sys.argv[2], "new")
except StoreError as error:
    print(type(error).__name__, "|", error)
"""


@needs_unix
@pytest.mark.parametrize("case", ["folder", "file", "no folder"])
def test_a_place_where_one_may_not_write_is_one_sentence(case):
    folder = Path(tempfile.mkdtemp())  # not below pytest's folder, into which only its owner may look
    try:
        path = folder / FILE_NAME
        store = Store(path)
        session = store.create()
        store.close()
        path.chmod(0o444 if case == "file" else 0o666)
        folder.chmod(0o777 if case == "file" else 0o555)
        if case == "file" and os.geteuid():
            pytest.skip("the owner of a file gives himself the right to write it")
        target = folder / "new" / FILE_NAME if case == "no folder" else path
        result = subprocess.run(
            [sys.executable, "-c", WITHOUT_RIGHTS, str(target), session.id],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=True,
        )
        name, _, words = result.stdout.strip().partition(" | ")
        assert name in (StoreReadOnly.__name__, StoreUnreachable.__name__), result
        assert str(target) in words
        assert "EVENHAND_DATA_FOLDER" in words
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_folder_that_is_a_file_and_a_file_that_is_a_folder_are_one_sentence(tmp_path):
    (tmp_path / "taken").write_text("")
    (tmp_path / FILE_NAME).mkdir()
    for path in (tmp_path / "taken" / FILE_NAME, tmp_path / "taken" / "deeper" / FILE_NAME, tmp_path / FILE_NAME):
        with pytest.raises(StoreUnreachable) as caught:
            Store(path)
        sentence(caught.value, path)


def test_a_file_that_somebody_else_is_writing_for_long_is_one_sentence(path, opened):
    session = opened.create()
    opened._connections._writer.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy) as caught:
            opened.rename(session.id, "new")
        sentence(caught.value, path)
        assert opened.get(session.id).title == ""  # readers wait for nobody
    opened.rename(session.id, "new")


def test_an_error_in_the_midst_of_a_change_leaves_no_half_of_it(opened, monkeypatch):
    session = filled(Store(None))
    whole: Callable[..., None] = __import__("mediator.store_rows", fromlist=["x"]).insert_edit

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mediator.store_rows.insert_edit", fails)
    with pytest.raises(KeyboardInterrupt):
        opened.add(session)
    monkeypatch.setattr("mediator.store_rows.insert_edit", whole)
    assert opened.list() == []
    opened.add(session)
    assert len(opened.list()) == 1

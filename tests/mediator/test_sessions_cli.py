"""`evenhand sessions`, run as a command in a process of its own where the terminal matters, else in this one."""

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.logs import logs_of_its_own
from support.stored import FORM, candidate, filled, start

from mediator.session import Form, Session, SideForm
from mediator.sessions_export_cli import write_file
from mediator.store import FILE_NAME, Store, default_store
from ui.cli import main

__all__ = ["logs_of_its_own"]

REPOSITORY = Path(__file__).resolve().parents[2]
needs_unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such rights and terminals")


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs_of_its_own: Path) -> None:
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "data"))


@pytest.fixture
def store() -> Iterator[Store]:
    opened = default_store()
    yield opened
    opened.close()


@pytest.fixture
def session(store: Store) -> Session:
    return filled(store, "Dogs in the park")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["sessions", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_list_shows_one_line_for_each_session(capsys, store, session):
    store.create(Form(side_a=SideForm(text="Cats at night.")))
    store.create(Form(side_a=SideForm(text="a long tale " * 50), side_b=SideForm(text="words " * 50)))
    status, out, err = run(capsys, "list")
    long, first, second = out.splitlines()
    assert (status, err) == (0, "")
    assert len(long) <= 100
    assert "a long tale" in long
    assert "Cats at night." in first
    assert "(0 rounds, 0 proposals, 0 kept)" in first
    assert second.startswith(session.id[:8])
    assert "Dogs in the park (2 rounds, 4 proposals, 1 kept)" in second


def test_the_list_as_json_holds_whole_ids(capsys, store, session):
    status, out, _ = run(capsys, "list", "--json")
    (entry,) = json.loads(out)
    assert status == 0
    assert (entry["id"], entry["title"], entry["rounds"], entry["kept"]) == (session.id, "Dogs in the park", 2, 1)


def test_the_list_can_be_searched(capsys, store, session):
    store.create(title="Cats")
    assert [entry["title"] for entry in json.loads(run(capsys, "list", "--search", "MEADOW", "--json")[1])] == [
        "Dogs in the park"
    ]
    assert run(capsys, "list", "--search", "giraffes")[:2] == (0, "No session has these words.\n")


def test_no_sessions_are_no_mistake(capsys):
    assert run(capsys, "list") == (0, "There are no sessions yet.\n", "")
    assert run(capsys, "list", "--json") == (0, "[]\n", "")


def test_show_prints_the_views_and_the_proposals_of_every_round(capsys, session):
    status, out, _ = run(capsys, "show", session.id[:4])
    assert status == 0
    for words in (
        "Dogs in the park",
        session.id,
        "View A, Dog owners: Dogs need to run free in the park.",
        "View B: The park Children are afraid. A leash for every dog.",
        "Round 1, done: cot-feedback by drafter, 3 proposals",
        "A fenced meadow for the dogs before ten.",
        "(kept; edited; rated 2 of 5 by b; rated 5 of 5 by a)",
        "1 other not selected",
        "Round 2, stopped",
        "Comment: cheaper",
    ):
        assert words in " ".join(out.split()), words
    assert "Leashes near the playground" not in out


def test_show_as_json_is_the_session(capsys, session):
    assert json.loads(run(capsys, "show", session.id, "--json")[1]) == session.model_dump(mode="json")


def test_what_somebody_typed_gives_a_terminal_no_orders(capsys, store):
    made = store.create(Form(side_a=SideForm(text="\x1b]0;owned\x07Dogs\x1b[2J")), "\x1b[31mred\u202e")
    for arguments in (("list",), ("show", made.id)):
        out = run(capsys, *arguments)[1]
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert "red" in out


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [(["--format", "html"], "<!doctype html>"), (["--format", "json"], "{"), ([], "# "), (["--language", "de"], "# ")],
)
def test_export_writes_each_format_on_stdout(capsysbinary, session, arguments, begins):
    assert main(["sessions", "export", session.id, *arguments]) == 0
    out = capsysbinary.readouterr().out.decode()
    assert out.lower().startswith(begins)
    assert "A fenced meadow for the dogs before ten." in out


@pytest.mark.parametrize(("name", "begins"), [("x.HTML", "<!doctype"), ("x.json", "{"), ("x.md", "# "), ("x", "# ")])
def test_the_ending_of_the_file_chooses_the_format(capsys, session, tmp_path, name, begins):
    status, out, err = run(capsys, "export", session.id, "--out", str(tmp_path / name))
    assert (status, out) == (0, "")
    assert str(tmp_path / name) in err
    assert (tmp_path / name).read_text(encoding="utf-8").lower().startswith(begins)
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == [name]


def test_an_export_imports_again(capsys, store, session, tmp_path):
    out = tmp_path / "session.json"
    assert run(capsys, "export", session.id, "--out", str(out))[0] == 0
    status, said, _ = run(capsys, "import", str(out), "--json")
    taken = store.get(json.loads(said)["id"])
    assert status == 0
    assert taken.id != session.id
    assert taken.form == session.form
    texts = [[one.current.text for one in entry.proposals] for entry in taken.rounds]
    assert texts == [[one.current.text for one in entry.proposals] for entry in session.rounds]
    assert "Dogs in the park" in run(capsys, "import", str(out))[1]


def test_an_export_can_be_redacted(capsys, session, tmp_path):
    out = tmp_path / "table.md"
    arguments = ["--redact", "meadow=field", "--redact", "dogs", "--redact", "giraffe"]
    status, _, err = run(capsys, "export", session.id, "--out", str(out), *arguments)
    text = out.read_text(encoding="utf-8").lower()
    assert status == 0
    assert "'giraffe' occurs nowhere" in err
    assert "meadow" not in text
    assert "dogs" not in text
    assert "a fenced field for the [name" in text.replace("\\", "")
    assert "some names and places were replaced in this copy." in text
    run(capsys, "export", session.id, "--out", str(out), "--force")
    assert "were replaced" not in out.read_text(encoding="utf-8")


PRIVATE = {
    "--ratings": ("better",),
    "--history": ("cheaper", "before nine"),
    "--audit": ("as A, was served more",),
    "--others": ("Signs tell",),
}


@pytest.mark.parametrize("name", ["x.md", "x.html"])
@pytest.mark.parametrize("asked", [(), ("--ratings",), ("--history", "--others"), ("--audit", "--no-others")])
def test_what_may_be_confidential_is_exported_only_where_it_is_asked_for(capsys, session, tmp_path, name, asked):
    _, _, err = run(capsys, "export", session.id, "--out", str(tmp_path / name), *asked)
    text, left_out = (tmp_path / name).read_text(encoding="utf-8"), err.partition("Left out: ")[2]
    for option, texts in PRIVATE.items():
        assert [words in text for words in texts] == [option in asked] * len(texts), option
        assert (f"({option})" in left_out) == (option not in asked)


def test_json_holds_everything_and_says_so(capsys, session, tmp_path):
    _, _, err = run(capsys, "export", session.id, "--out", str(tmp_path / "x.json"), "--no-others")
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert all(words in text for option, texts in PRIVATE.items() for words in texts if option != "--audit")
    assert '"position_bias": 0.2' in text
    assert "The file holds everything" in err


def test_a_file_that_is_there_is_not_overwritten_without_force(capsys, session, tmp_path):
    out = tmp_path / "notes.md"
    out.write_text("mine")
    status, _, err = run(capsys, "export", session.id, "--out", str(out))
    assert (status, out.read_text()) == (2, "mine")
    assert "--force" in err
    assert run(capsys, "export", session.id, "--out", str(out), "--force")[0] == 0
    assert "Dogs in the park" in out.read_text()
    (tmp_path / "loose").symlink_to(tmp_path / "nowhere")
    assert run(capsys, "export", session.id, "--out", str(tmp_path / "loose"))[0] == 2
    assert not (tmp_path / "nowhere").exists()


def test_two_exports_to_one_name_at_once_leave_one_whole_file_and_one_refusal(tmp_path):
    from mediator.errors import InputError

    path, refused, gate = tmp_path / "out.md", [], threading.Barrier(8)

    def work(number: int) -> None:
        gate.wait()
        try:
            write_file(path, f"{number}\n" * 20_000, replace=False)
        except InputError:
            refused.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 7
    assert len(set(path.read_text().split())) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["out.md"]


def test_places_that_no_file_can_be_written_to_are_one_sentence(capsys, session, tmp_path):
    (tmp_path / "file").write_text("")
    for target, status in (
        (tmp_path, 2),
        (tmp_path / "none" / "x.md", 2),
        (tmp_path / "file" / "x.md", 2),
        (tmp_path / ("x" * 300), 1),
    ):
        got, _, err = run(capsys, "export", session.id, "--out", str(target), "--force")
        assert (got, len(err.splitlines())) == (status, 1), target
        assert str(tmp_path) in err
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".evenhand")] == []


def test_a_session_is_deleted_only_when_told_so(capsys, store, session, monkeypatch):
    with open(os.devnull) as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        status, _, err = run(capsys, "delete", session.id)
    assert status == 2
    assert "--yes" in err
    assert store.get(session.id) == session
    assert run(capsys, "delete", session.id[:6], "--yes") == (0, f"Deleted {session.id}.\n", "")
    assert store.list() == []
    assert run(capsys, "delete", session.id, "--yes")[0] == 2


def test_deleting_can_be_told_as_json(capsys, session):
    assert json.loads(run(capsys, "delete", session.id, "--yes", "--json")[1]) == {"deleted": session.id}


@needs_unix
@pytest.mark.parametrize(("answer", "deleted"), [("y\n", True), ("n\n", False), ("\n", False), ("\x04", False)])
def test_on_a_terminal_it_asks(store, session, answer, deleted):
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ui.cli", "sessions", "delete", session.id],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    assert process.stderr is not None
    question = process.stderr.readline()
    assert "Dogs in the park" in question
    assert "[y/N]" in question
    os.write(ours, answer.encode())
    out, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert ("Deleted" in out, "Nothing was deleted" in err) == (deleted, not deleted)
    assert (store.version(session.id) == 0) == deleted


def test_a_damaged_session_can_be_deleted(capsys, store, session):
    with store._connections.writing() as connection:
        connection.execute("UPDATE session SET form_json = '{'")
    assert run(capsys, "show", session.id)[0] == 1
    assert run(capsys, "delete", session.id, "--yes")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "0000"],
        ["show", "ab"],
        ["show", ""],
        ["export", "0000"],
        ["export", "0000", "--redact", "=x"],
        ["export", "0000", "--format", "pdf"],
        ["export", "0000", "--language", "fr"],
        ["delete", "0000", "--yes"],
        ["import", "no such file"],
        ["import", "."],
        ["import", "a\0b"],
        [],
        ["rename"],
    ],
)
def test_bad_input_is_status_2_and_never_a_traceback(capsys, session, arguments):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert "Traceback" not in err
    assert "inside Evenhand" not in err


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"{", b"[]", b"{}", b"[" * 100_000, b"null", b'{"title": 1}']
)
def test_a_file_that_is_no_session_is_status_2(capsys, store, tmp_path, content):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    status, out, err = run(capsys, "import", str(path))
    assert (status, out) == (2, ""), err
    assert len(err.splitlines()) == 1
    assert "inside Evenhand" not in err
    assert store.list() == []


def test_a_store_that_cannot_be_opened_is_status_1(capsys, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FILE_NAME).write_bytes(b"no database")
    for arguments in (("list",), ("show", "abcd"), ("delete", "abcd", "--yes")):
        status, out, err = run(capsys, *arguments)
        assert (status, out) == (1, "")
        assert FILE_NAME in err
        assert len(err.splitlines()) == 1


def test_nothing_that_was_typed_is_logged(capsys, store, tmp_path):
    made = store.create(FORM, "Xylophone")
    store.add_proposal(start(store, made.id), candidate("Xylophone meadow."))
    run(capsys, "show", made.id)
    run(capsys, "export", made.id, "--redact", "Xylophone=")
    run(capsys, "show", "Xylophone")
    run(capsys, "delete", made.id, "--yes")
    log = tmp_path / "log" / "evenhand.log"
    assert not log.exists() or "Xylophone" not in log.read_text()

"""ui/workspace.py: sessions on disk and in memory, proposing, marking, editing and rating, with real stores."""

import sqlite3

import pytest

from mediator.errors import InputError, UnknownModelError
from mediator.session import Form, SideForm
from mediator.store import SessionNotFound, Store
from tests.support.patience import until
from tests.support.scripted import ScriptedWriter, whole
from tests.ui.test_running import OneWriter
from ui import workspace as workspace_module
from ui.workspace import LONGEST_PROPOSAL, Workspace

FORM = Form(
    side_a=SideForm(text="Quiet, please."),
    side_b=SideForm(text="Let them play."),
    model="drafter",
    strategy="single",
    count=2,
)
REMOTE = "openai:x@https://models.example/v1"
ID = "0123456789abcdef" * 2


class SeveralRounds(OneWriter):
    """An engine whose writer writes the same two proposals in every round, and keeps what it was asked."""

    def __init__(self):
        super().__init__(ScriptedWriter(*[whole(f"one {number}", f"two {number}") for number in range(9)]))
        self.briefs = self._writer.briefs

    def close(self):
        pass


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "sessions.sqlite3"


@pytest.fixture
def workspace(path):
    workspace = Workspace(SeveralRounds(), Store(path))
    yield workspace
    workspace.close()


def finished(workspace, session_id, **changes):
    """Propose, wait for the end, and return the session."""
    running, _ = workspace.propose(session_id, FORM.model_copy(update=changes.pop("form", {})), "en", **changes)
    until(lambda: running.finished and workspace.mediations.get(running.session_id) is None)
    return workspace.open(session_id)


def test_a_session_is_made_under_the_id_that_the_page_chose(workspace):
    assert workspace.version(ID) == 0
    assert workspace.save_form(ID, FORM, "Title", private=False) == ID
    session = workspace.open(ID)
    assert (session.form, session.title, session.private) == (FORM, "Title", False)


def test_a_session_that_was_saved_before_is_not_made_again(workspace):
    for private in (False, True):
        with pytest.raises(SessionNotFound):
            workspace.save_form(ID, FORM, "", private, is_saved=True)
        assert workspace.version(ID) == 0


@pytest.mark.parametrize("strange", ["", "../../etc", "0" * 31, "G" * 32, "\ud800" * 32])
def test_what_is_no_id_never_becomes_one(workspace, strange):
    made = workspace.save_form(strange, FORM, "", private=False)
    assert made != strange
    assert workspace.open(made).form == FORM


def test_a_private_session_is_in_no_file(workspace, path):
    form = FORM.model_copy(update={"comment": "SECRETWORD"})
    assert workspace.save_form(ID, form, "", private=True) == ID
    session = finished(workspace, ID, form={"comment": "SECRETWORD"})
    workspace.mark(ID, session.rounds[0].proposals[0].id, "kept")
    assert workspace.is_private(ID)
    assert workspace.open(ID).private
    assert not any(b"SECRETWORD" in file.read_bytes() for file in path.parent.iterdir())
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM session").fetchone() == (0,)


def test_a_private_session_needs_no_disk(tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(blocked))
    workspace = Workspace(SeveralRounds())
    workspace.save_form(ID, FORM, "", private=True)
    assert len(finished(workspace, ID).rounds[0].selected) == 2
    workspace.close()


def test_with_too_many_private_sessions_the_oldest_one_goes(workspace, monkeypatch):
    monkeypatch.setattr(workspace_module, "MOST_PRIVATE_SESSIONS", 2)
    first, second, third = (workspace.create(FORM, str(number), private=True).id for number in range(3))
    assert [bool(workspace.version(one)) for one in (first, second, third)] == [False, True, True]


def test_consent_is_for_one_session_and_one_host(workspace):
    assert workspace.needs_consent(ID, "drafter") is None
    assert workspace.needs_consent(ID, REMOTE) == "models.example"
    workspace.consent(ID, REMOTE)
    assert workspace.needs_consent(ID, REMOTE) is None
    assert workspace.needs_consent("1" * 32, REMOTE) == "models.example"
    assert workspace.needs_consent(ID, REMOTE.replace("models.", "other.")) == "other.example"


def test_the_next_round_knows_the_ones_before(workspace):
    workspace.save_form(ID, FORM, "", private=False)
    first = finished(workspace, ID, form={"comment": "cheap"}).rounds[0]
    kept, dropped = first.selected
    workspace.mark(ID, dropped.id, "dropped")
    finished(workspace, ID, like=kept.id)
    brief = workspace.engine.briefs[-1]
    assert brief.comments == ("cheap",)
    assert brief.like == (kept.candidate.text,)
    assert dropped.candidate.text in brief.avoid


def test_going_back_leaves_out_the_later_rounds(workspace):
    workspace.save_form(ID, FORM, "", private=False)
    finished(workspace, ID, form={"comment": "first"})
    finished(workspace, ID, form={"comment": "second"})
    session = finished(workspace, ID, form={"comment": "third"}, shown=1)
    assert [entry.number for entry in session.rounds] == [1, 2, 3]
    assert workspace.engine.briefs[-1].comments == ("first", "third")
    session = finished(workspace, ID, form={"comment": "fourth"})
    assert workspace.engine.briefs[-1].comments == ("first", "third", "fourth"), "what was given up came back"
    assert [entry.follows for entry in session.rounds] == [0, 1, 1, 3]


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"model": "nonsense"}, UnknownModelError),
        ({"side_a": SideForm(text=" ")}, InputError),
        ({"side_b": SideForm(text="x" * 20_001)}, InputError),
        ({"comment": "x" * 4_001}, InputError),
    ],
)
def test_what_cannot_be_asked_for_begins_no_round(workspace, changes, failure):
    workspace.save_form(ID, FORM, "", private=False)
    with pytest.raises(failure):
        workspace.propose(ID, FORM.model_copy(update=changes), "en")
    assert workspace.open(ID).rounds == ()
    assert workspace.mediations.get(ID) is None


def test_a_proposal_is_reached_from_its_own_session_only(workspace):
    other = "f" * 32
    for session_id in (ID, other):
        workspace.save_form(session_id, FORM, "", private=False)
    proposal = finished(workspace, ID).rounds[0].proposals[0]
    attempts = [
        lambda: workspace.mark(other, proposal.id, "kept"),
        lambda: workspace.rate(other, proposal.id, "a", 5, ""),
        lambda: workspace.edit(other, proposal.id, "Mine."),
        lambda: workspace.score(other, proposal.id, "Mine."),
        lambda: workspace.sentences(other, proposal.id),
    ]
    for attempt in attempts:
        with pytest.raises(InputError, match="not there any more"):
            attempt()
    assert workspace.open(ID).rounds[0].proposals[0] == proposal


def test_an_edit_is_scored_and_the_same_text_is_none(workspace):
    workspace.save_form(ID, FORM, "", private=False)
    proposal = finished(workspace, ID).rounds[0].proposals[0]
    workspace.edit(ID, proposal.id, f" {proposal.candidate.text} ")
    assert workspace.open(ID).proposal(proposal.id).edits == ()
    workspace.edit(ID, proposal.id, " one ")
    (edit,) = workspace.open(ID).proposal(proposal.id).edits
    assert (edit.text, edit.scores.score_a) == ("one", 0.8)


@pytest.mark.parametrize("text", ["", " \n", "x" * (LONGEST_PROPOSAL + 1)])
def test_an_edit_that_is_empty_or_too_long_is_refused(workspace, text):
    workspace.save_form(ID, FORM, "", private=False)
    proposal = finished(workspace, ID).rounds[0].proposals[0]
    with pytest.raises(InputError):
        workspace.edit(ID, proposal.id, text)
    with pytest.raises(InputError):
        workspace.score(ID, proposal.id, text)


def test_a_deleted_session_begins_no_round(workspace):
    workspace.save_form(ID, FORM, "", private=False)
    finished(workspace, ID)
    workspace.disk.delete(ID)
    with pytest.raises(SessionNotFound):
        workspace.propose(ID, FORM, "en")
    assert workspace.mediations.get(ID) is None

"""ui/pulse.py: what a page is told when it asks whether anything has changed, and that it is told nothing else."""

import pytest

from mediator.store import Store, StoreError
from tests.support.asgi import Reached, ask
from tests.support.patience import until
from tests.ui.test_mediate import Desk
from tests.ui.test_running import Endless
from ui.pulse import LONGEST_ID, PATH, Pulse


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path, Endless())
    desk.pulse = Pulse(Reached(), desk.tab.state)
    yield desk
    desk.workspace.close()


def beat(desk, session_id=None):
    query = f"session={desk.session_id if session_id is None else session_id}".encode()
    status, _, body = ask(desk.pulse, PATH, query=query)
    assert status == 200
    return body.decode()


def test_it_stays_the_same_while_nothing_happens_and_changes_with_every_change(desk, tmp_path):
    seen = [beat(desk)]

    def changed(what):
        seen.append(beat(desk))
        assert seen[-1] not in seen[:-1], what
        assert beat(desk) == seen[-1], "nothing has happened"

    assert beat(desk) == seen[0]
    elsewhere = Store(tmp_path / "sessions.sqlite3")
    elsewhere.rename(desk.session_id, "Another title")
    changed("another process changed it")
    desk.tab.on_load(desk.request("window"))
    assert beat(desk) == seen[-1], "to look is no change"
    desk.act("window", action="show", round=1)
    changed("the cards of a window are to be drawn again")
    running = desk.propose()
    until(lambda: desk.workspace.disk.get(desk.session_id).rounds[0].proposals)  # the first; no second one ends
    changed("a round runs")
    with running.watched_by("window"):
        changed("a window watches it")
        with running.watched_by("other"):
            changed("another one does too")
        changed("that one looked away")
    changed("nobody watches it")
    desk.workspace.mediations.stop(desk.session_id)
    until(lambda: desk.workspace.mediations.get(desk.session_id) is None)
    changed("it ended")
    elsewhere.delete(desk.session_id)
    elsewhere.close()
    changed("it was deleted")


def test_no_word_of_a_session_is_in_it_and_what_is_not_there_looks_like_what_is(desk):
    said = beat(desk)
    assert len(said) < 80
    assert desk.session_id not in said
    assert {beat(desk, name).partition(" ")[2] for name in ("0" * 32, "", "%27%20OR%201=1")} == {"0 0 "}


def test_an_app_that_was_started_anew_says_something_else(desk):
    before = beat(desk)
    desk.pulse = Pulse(Reached(), desk.tab.state)
    assert beat(desk) != before


def test_a_store_that_cannot_be_read_is_an_empty_answer():
    def state(session_id):
        raise StoreError(f"The disk of {session_id} is gone.", "Look for it.")

    assert ask(Pulse(Reached(), state), PATH, query=b"session=x")[::2] == (200, b"")


def test_only_its_own_address_is_answered_and_no_more_of_a_name_is_read_than_a_name_has():
    asked = []
    pulse = Pulse(Reached(), lambda session_id: asked.append(session_id) or "state")
    assert ask(pulse, "/")[2] == b"private"
    assert asked == []
    assert ask(pulse, PATH, query=b"session=" + b"x" * 5000)[2].endswith(b" state")
    assert ask(pulse, PATH, "HEAD")[2] == b""
    assert [len(name) for name in asked] == [LONGEST_ID, 0]

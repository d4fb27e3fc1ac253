"""The Sessions tab without a browser: what the list says, what the actions do to the real store, what goes wrong."""

import html
import json
from dataclasses import replace
from datetime import UTC, datetime

import gradio as gr
import pytest
from support.sessions import a_session, an_audit

from mediator.errors import InputError
from mediator.report import as_json, from_json
from mediator.session import Form, SessionSummary, SideForm
from mediator.store import SessionNotFound, Store
from ui.engine import Engine
from ui.session_list import PAGE_SIZE, View, session_list
from ui.sessions import LONGEST_WORD, MOST_WORDS, SessionsTab, file_name, pairs_of
from ui.strings import LANGUAGES, catalogue, say
from ui.workspace import Workspace

HOSTILE = '"><img src=x onerror="window.hurt=1"><script>window.hurt=2</script>{title} & '
NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "sessions.sqlite3")
    yield store
    store.close()


@pytest.fixture
def tab(store):
    with gr.Blocks(analytics_enabled=False):
        return SessionsTab(Workspace(Engine(), store))


def a_summary(number=1, title="Kitchen", opening="I want quiet … / We want noise"):
    return SessionSummary(
        id=f"{number:032x}", title=title, opening=opening, rounds=2, proposals=8, kept=1, created_at=NOW, updated_at=NOW
    )


def act(tab, view=View(), search="", **data):  # noqa: B008
    """Press a button; returns the view, the list, what is said, and the file to save."""
    return tab.on_act(view, search, None, gr.EventData(None, data))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_row_says_what_a_session_is(language):
    text = session_list([a_summary()], View(), language, searched=False)
    for words in ("Kitchen", "I want quiet", "2026", say(language, "sessions.kept", count=1)):
        assert words in text
    assert say(language, "sessions.rounds", count=2) in text
    assert f'href="?session={1:032x}"' in text
    assert text.count("<button") == 4


def test_sessions_without_a_title_are_called_by_how_they_begin():
    assert "Untitled: I want quiet" in session_list([a_summary(title="")], View(), "en", searched=False)
    assert "Untitled and empty" in session_list([a_summary(title="", opening="")], View(), "en", searched=False)


@pytest.mark.parametrize("panel", ["", "rename", "export", "delete"])
def test_nobodys_words_become_html(panel):
    view = View(panel=panel, target=f"{1:032x}", focus=HOSTILE)
    text = session_list([a_summary(title=HOSTILE, opening=HOSTILE)], view, "en", searched=False)
    assert "<img" not in text
    assert "<script" not in text
    assert text.count(html.escape(HOSTILE.strip())) >= 6


def test_a_long_list_has_pages_and_a_short_one_none():
    many = [a_summary(number) for number in range(1, 121)]
    assert "<nav" not in session_list(many[:PAGE_SIZE], View(), "en", searched=False)
    last = session_list(many, View(page=99), "en", searched=False)
    assert "101 to 120 of 120" in last
    assert last.count("<li") == 20
    first = session_list(many, View(page=-3), "en", searched=False)
    assert first.count("<li") == PAGE_SIZE
    assert first.count('aria-disabled="true"') == 1


def test_an_empty_list_says_why(tab):
    _, listed, said = tab.on_look(View(), "", "", None)
    assert say("en", "sessions.none") in listed
    _, listed, said = tab.on_look(View(), "nowhere", None, None)
    assert say("en", "sessions.none_found") in listed
    assert said == ""


def test_searching_lists_those_with_every_word(tab, store):
    store.create(title="Kitchen rota")
    store.create(title="Kitchen noise")
    _, listed, _ = tab.on_look(View(panel="delete", page=3), "KITCHEN rota", "", None)
    assert "Kitchen rota" in listed
    assert "Kitchen noise" not in listed


def test_renaming_duplicating_and_deleting_change_the_store(tab, store):
    first, second = store.create(title="First"), store.add(a_session("Second"))
    view, listed, said, _ = act(tab, action="rename", id=first.id, title="Renamed")
    assert store.get(first.id).title == "Renamed"
    assert "Renamed" in listed
    assert "The title is saved." in said
    assert view.focus == f"rename:{first.id}"
    view, listed, said, _ = act(tab, view, action="duplicate", id=second.id)
    copy = store.list()[0]
    assert copy.title == "Copy of Second"
    assert view.focus == f"open:{copy.id}"
    assert [len(entry.proposals) for entry in store.get(copy.id).rounds] == [3, 2]
    view, listed, _, _ = act(tab, view, action="ask-delete", id=second.id)
    assert "Delete “Second” for good?" in listed
    assert view.focus == f"panel:{second.id}"
    before = view.turn
    view, listed, said, _ = act(tab, view, action="delete", id=second.id)
    with pytest.raises(SessionNotFound):
        store.get(second.id)
    assert "“Second” is deleted." in said
    assert view.turn == before + 1
    assert view.deleted == second.id
    assert view.focus == f"open:{first.id}"  # the next one in the list
    view, _, _, _ = act(tab, view, action="delete", id=first.id)
    assert view.focus == f"open:{copy.id}"  # there is no next one
    view, listed, _, _ = act(tab, view, action="delete", id=copy.id)
    assert say("en", "sessions.none") in listed


def test_a_button_opens_its_panel_and_closes_it_again(tab, store):
    session = store.create(title="One")
    view, listed, _, _ = act(tab, action="ask-export", id=session.id)
    assert "data-panel" in listed
    assert 'aria-expanded="true"' in listed
    view, listed, _, _ = act(tab, view, action="ask-export", id=session.id)
    assert "data-panel" not in listed
    assert view.focus == f"export:{session.id}"


@pytest.mark.parametrize(("kind", "ending"), [("html", "html"), ("markdown", "md"), ("json", "json")])
def test_an_export_is_redacted_in_its_text_and_its_name(tab, store, kind, ending):
    session = store.add(a_session("Anna's kitchen"))
    words = "Anna\nAnna Berger = the baker\n= nothing\n\nCarver House"
    _, _, said, file = act(tab, action="export", id=session.id, format=kind, language="en", words=words)
    day = session.updated_at.astimezone().date()
    payload = json.loads(file)
    assert payload["name"] == f"[name 1]'s kitchen {day}.{ending}"
    assert html.escape(payload["name"]) in said
    assert "Anna" not in payload["text"]
    assert "Carver" not in payload["text"]
    assert "the baker" in payload["text"]
    assert "name 2" in payload["text"]
    assert ("were replaced in this copy" in payload["text"]) == (kind != "json")
    assert "Anna" in as_json(store.get(session.id))
    if kind == "json":
        assert from_json(payload["text"], "a file").rounds[0].proposals[0].candidate.scores


def test_an_export_in_german_has_german_words(tab, store):
    session = store.add(a_session())
    *_, file = act(tab, action="export", id=session.id, format="html", language="de", words="Anna")
    assert "Entwurf mit Hilfe von KI" in json.loads(file)["text"]
    assert "[Name 1]" in json.loads(file)["text"]


@pytest.mark.parametrize("kind", ["html", "markdown"])
def test_what_may_be_confidential_is_exported_only_where_its_box_is_ticked(tab, store, kind):
    session = a_session()
    session = store.add(session.model_copy(update={"audits": (an_audit(session),)}))
    private = {
        "ratings": "If it is kept up",
        "history": "Ask Anna first",
        "audit": "was served more",
        "others": "For two months nobody",
    }

    def exported(**data):
        *_, file = act(tab, action="export", id=session.id, format=kind, language="en", **data)
        return {part for part, words in private.items() if words in json.loads(file)["text"]}

    assert exported() == exported(parts=[]) == exported(parts="ratings") == exported(parts=["dropped", {}]) == set()
    for part in private:
        assert exported(parts=[part]) == {part}
    assert exported(parts=list(private)) == set(private)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kept", [0, 2])
def test_the_panel_says_what_will_be_in_the_file(language, kept):
    summary = a_summary().model_copy(update={"kept": kept})
    text = session_list([summary], View(panel="export", target=summary.id), language, searched=False)
    boxes = [part.partition(">")[0] for part in text.split('name="eh-part"')[1:]]
    assert [" checked" in box for box in boxes] == [False, False, False, kept == 0]
    line, _, shown = text.partition('data-sentences="')[2].partition("</p>")[0].partition('">')
    sentences = json.loads(html.unescape(line))
    assert html.unescape(shown) == sentences["" if kept else "others"]
    assert sentences["json"] == say(language, "sessions.contents_json")
    assert len(sentences) == 17
    for names, sentence in sentences.items():
        for part in ("ratings", "history", "audit", "others"):
            words, (held, left) = say(language, f"sessions.held_{part}"), (sentence.split(". ") * 2)[:2]
            assert names == "json" or ((words in held) == (part in names.split()) != (words in left)), sentence
        assert names == "json" or (say(language, "sessions.held_kept", count=kept) in sentence) == (kept > 0)


def test_the_preview_counts_passages_and_names_what_is_not_found(tab, store):
    session = store.add(a_session())
    count = as_json(store.get(session.id)).count("Anna")
    assert tab.preview([session.id, "Anna\nanna\nFrieda\nBert = x", "en"]) == (
        f"{count} passages will be replaced. Not found: Frieda, Bert."
    )
    assert tab.preview([session.id, "Anna\n" * (MOST_WORDS + 1), "en"]).startswith("The list is too long")
    assert "no session" in tab.preview(["0" * 32, "Anna", "en"])


def test_lists_of_words_are_read_line_by_line():
    assert pairs_of(" Anna \n\nBo = B. = x\nanna\n=y\nCy=", "en") == [
        ("Anna", "[name 1]"), ("Bo", "B. = x"), ("anna", "[name 1]"), ("Cy", "[name 2]"),
    ]  # fmt: skip
    with pytest.raises(InputError, match="too long"):
        pairs_of("x" * (LONGEST_WORD + 1), "en")


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ('a/b\\c:d*?"<>|e\0f', "a b c d e f"),
        ("..", "Evenhand session"),
        ("", "Evenhand session"),
        ("x" * 200, "x" * 80),
    ],
)
def test_files_get_names_that_every_system_takes(title, name):
    session = a_session().model_copy(update={"title": title})
    assert file_name(session, "md", "en") == f"{name} {session.updated_at.astimezone().date()}.md"


def test_importing_makes_a_new_session_and_says_what_is_wrong_with_a_file(tab, store):
    text = as_json(a_session("Kitchen"))
    for _ in range(2):
        view, _, said, search = tab.on_import(
            View(), "old words", "", None, gr.EventData(None, {"name": "k.json", "text": text})
        )
    assert len(store.list()) == 2
    assert "Imported “Kitchen”." in said
    assert (search, view.focus) == ("", f"open:{store.list()[0].id}")
    for data, words in (
        ({"error": "“x” is too <b>large</b>"}, "too &lt;b&gt;large"),
        ({"name": "<x>/k.json", "text": "{"}, "not valid JSON"),
        ({"text": text.replace('"a"', '""', 1)}, "ratings[0].rater"),
        (None, "is empty"),
    ):
        *_, said, search = tab.on_import(View(), "old words", "", None, gr.EventData(None, data))
        assert words in said
        assert 'role="alert"' in said
        assert search == "old words"
    assert len(store.list()) == 2


def test_a_store_that_cannot_serve_is_one_sentence_on_the_page(tab, store):
    session = store.create(title="One")
    store.close()
    for answer in (tab.on_look(View(), "", "", None), act(tab, action="delete", id=session.id)[:3]):
        assert answer[1] == ""
        assert answer[2].count('role="alert"') == 1
        assert "The sessions were closed." in answer[2]


@pytest.mark.parametrize(
    "data",
    [None, [], {}, {"action": "fly"}, {"action": "ask-"}, {"action": "ask-fly", "id": "x"},
     {"action": "page", "page": "x"}, {"action": "page", "page": 10**30}, {"action": "page", "page": True}],
)  # fmt: skip
def test_what_no_page_sends_changes_nothing(tab, store, data):
    store.create(title="One")
    view, listed, said, _ = tab.on_act(View(), "", None, gr.EventData(None, data))
    assert "One" in listed
    assert (view.page, view.panel, said) == (0, "", "")


@pytest.mark.parametrize("action", ["rename", "duplicate", "delete", "export"])
def test_a_session_that_is_gone_is_one_sentence(tab, action):
    _, _, said, _ = act(tab, action=action, id="0" * 32, title="x")
    assert "no session" in said
    assert 'role="alert"' in said


def test_a_private_session_is_listed_in_its_own_window_only(tab, store):
    store.create(title="On disk")
    workspace, forgotten = tab._workspace, []
    tab._forget = forgotten.append
    session = workspace.create(Form(side_a=SideForm(text="Secret")), "In memory", private=True)
    _, listed, _ = tab.on_look(View(), "", session.id, None)
    assert listed.index("In memory") < listed.index("On disk")
    assert "private, in memory only" in listed
    assert listed.count('data-action="duplicate"') == 1
    _, listed, _ = tab.on_look(View(), "", "", None)
    assert "In memory" not in listed
    *_, file = act(tab, action="export", id=session.id, here=session.id, format="json", language="en")
    assert "Secret" in json.loads(file)["text"]
    act(tab, action="duplicate", id=session.id, here=session.id)
    assert len(workspace.store_of(session.id).list()) == 1
    act(tab, action="delete", id=session.id, here=session.id)
    assert forgotten == [session.id]
    assert not workspace.is_private(session.id)
    assert len(store.list()) == 1


def test_a_thousand_sessions_take_no_more_questions_to_the_store_than_ten():
    store = Store(None)  # filling a file would take most of the time
    with gr.Blocks(analytics_enabled=False):
        tab = SessionsTab(Workspace(Engine(), store))

    def add(numbers):
        for number in numbers:
            store.create(Form(side_a=SideForm(text=f"View {number} of the kitchen " * 20)), f"Session {number}")

    def look():
        """List, turn the page and search; returns what was asked of the store too."""
        asked = []
        store._connections._writer.set_trace_callback(asked.append)
        view, _, _ = tab.on_look(View(), "", "", None)
        view, listed, _, _ = act(tab, view, action="page", page=19)
        _, found, _ = tab.on_look(view, "session 77 kitchen", "", None)
        store._connections._writer.set_trace_callback(None)
        return asked, listed, found

    add(range(70, 80))
    of_ten, _, _ = look()
    add([*range(70), *range(80, 1000)])
    of_thousand, listed, found = look()
    assert of_thousand == of_ten != []
    assert "951 to 1000 of 1000" in listed
    assert (listed.count("<li"), found.count("<li")) == (PAGE_SIZE, 19)
    assert len(listed) < 200_000


def test_every_word_is_there_in_each_language():
    keys = {name: {key for key in catalogue(name) if key.startswith(("sessions.", "files."))} for name in LANGUAGES}
    assert keys["en"] == keys["de"]
    for language in LANGUAGES:
        assert len(say(language, "sessions.months").split(",")) == 12


def test_the_view_is_a_value():
    assert replace(View(), page=2) == View(page=2)

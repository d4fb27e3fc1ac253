"""Finding sessions by words, and the line that the list shows for each."""

import pytest
from support.stored import DISPUTE, FORM, candidate, filled, scores

from mediator.schema import Dispute, View
from mediator.session import Form, SideForm
from mediator.store import Store
from mediator.store_search import fold


@pytest.fixture
def store() -> Store:
    return Store(None)


def found(store: Store, search: str) -> list[str]:
    return [summary.title for summary in store.list(search)]


@pytest.mark.parametrize(
    "search",
    [
        "Straßenfest",  # the title
        "owners",  # the name of a side
        "RUN free",  # a side
        "children afraid leash",  # the parts of the other side
        "share",  # the summary
        "fences",  # the comment being typed
        "orchard",  # a view as it was in a round
        "cheaper",  # the comment of a round
        "meadow",  # a proposal
        "lantern",  # an edit
        "meadow owners cheaper",  # words of different places
        "neigh",  # a part of a word
    ],
)
def test_every_word_may_stand_anywhere_in_the_session(store, search):
    session = store.create(FORM, "Straßenfest")
    views = Dispute(view_a=View(text="The orchard is ours."), view_b=DISPUTE.view_b)
    entry = store.start_round(session.id, views, "drafter", "single", 1, 1, 0, "cheaper")
    proposal = store.add_proposal(entry.id, candidate("A meadow for the dogs."))
    store.add_edit(proposal.id, "A lawn with a lantern.", scores())
    store.create(title="Something else")
    assert found(store, search) == ["Straßenfest"]
    assert found(store, f"{search} else") == []


def test_no_words_find_everything_newest_change_first(store):
    for title in ("one", "two", "three"):
        store.create(title=title)
    store.rename(store.list()[-1].id, "ONE")
    assert found(store, "") == found(store, " \t\n") == ["ONE", "three", "two"]


@pytest.mark.parametrize(
    ("text", "search"),
    [
        ("Müllers Straße", "muller STRASSE"),
        ("Café Zoë", "CAFE zoe"),
        ("cafe", "café"),
        ("CAFE\u0301", "caf\u00e9"),
        ("Łódź, Ærø, IŞIK", "lodz aero ışık"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
        ("公園の犬", "公園"),
        ("ﬁre １２", "fire 12"),
        ("50% of _all_ 'things'", "50% _all_ 'things'"),
    ],
)
def test_case_accents_and_forms_make_no_difference(store, text, search):
    store.create(title=text)
    assert found(store, search) == [" ".join(text.split())]


def test_signs_of_sql_are_only_signs(store):
    store.create(title="plain")
    for search in ("%", "_", "*", "' OR 1=1 --", '"', "\x00"):
        assert found(store, search) == []


def test_folding_is_stable_and_blind_to_case_for_every_character():
    everything = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000]  # no letter beyond has a case
    odd = [
        sign for sign in everything if len({fold(sign), fold(sign.upper()), fold(sign.lower()), fold(fold(sign))}) > 1
    ]
    assert odd == []


def test_what_was_replaced_is_found_no_longer(store):
    session = store.create(FORM, "Dogs")
    store.save_form(session.id, Form(side_a=SideForm(text="Cats")))
    assert (found(store, "leash"), found(store, "cats dogs")) == ([], ["Dogs"])
    store.rename(session.id, "Animals")
    assert (found(store, "dogs"), found(store, "cats animals")) == ([], ["Animals"])


def test_the_list_counts_what_a_session_holds(store):
    session = filled(store)
    (summary,) = store.list()
    assert (summary.id, summary.title) == (session.id, "Dogs")
    assert (summary.rounds, summary.proposals, summary.kept) == (2, 4, 1)
    assert (summary.created_at, summary.updated_at) == (session.created_at, session.updated_at)


def test_the_opening_shows_both_sides_in_one_short_line(store):
    store.create(FORM)
    assert store.list()[0].opening == (
        "Dogs need to run free in the park. / The park Children are afraid. A leash for every dog."
    )
    for text in ("word " * 300, "w" * 5000, "公園の犬は" * 300, "\n\n" + "line\n" * 200):
        store.create(Form(side_a=SideForm(text=text), side_b=SideForm(text=text)))
        opening = store.list()[0].opening
        first, second = opening.split(" / ")
        assert first == second
        assert first.endswith("…")
        assert 100 < len(opening) <= 160
        assert "\n" not in opening
    store.create(Form(side_b=SideForm(text="Only this one.")))
    assert store.list()[0].opening == "Only this one."
    store.create()
    assert store.list()[0].opening == ""

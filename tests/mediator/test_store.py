"""The store, method by method, in a file and in memory alike."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.stored import DISPUTE, FORM, an_audit, candidate, filled, scores, start

from mediator.errors import InputError
from mediator.kept_audit import AuditRun
from mediator.schema import Candidate, Strategy
from mediator.session import Form, Session, SideForm
from mediator.store import FILE_NAME, Store, StoreError, default_store
from mediator.store_errors import AmbiguousId, ProposalNotFound, RoundNotFound, SessionNotFound, StoreClosed


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "data" / FILE_NAME if request.param == "file" else None)
    yield opened
    opened.close()


def contents(session: Session) -> dict[str, Any]:
    """A session without what a copy has of its own: ids and the times of the copy. ``like`` becomes the text liked."""
    data = session.model_dump()
    for name in ("id", "created_at", "updated_at", "private"):
        del data[name]
    for entry in data["rounds"]:
        del entry["id"]
        if entry["like"] is not None:
            liked = session.proposal(entry["like"])
            assert liked is not None
            entry["like"] = liked.candidate.text
        for proposal in entry["proposals"]:
            del proposal["id"]
    numbers = {entry.id: entry.number for entry in session.rounds}
    for audit in data.get("audits", ()):
        audit["round_id"] = audit["round_id"] and numbers[audit["round_id"]]
    return data


def ids(session: Session) -> set[str]:
    rounds = session.rounds
    return {session.id} | {entry.id for entry in rounds} | {one.id for entry in rounds for one in entry.proposals}


def test_a_new_session_holds_what_was_typed(store):
    made = store.create(FORM, " Dogs ")
    assert made == store.get(made.id)
    assert (made.form, made.title, made.rounds) == (FORM, "Dogs", ())
    assert made.private == store.private
    assert re.fullmatch("[0-9a-f]{32}", made.id)
    assert made.created_at == made.updated_at


def test_a_session_may_be_made_under_an_id_of_ones_own_and_is_made_once(store):
    chosen = "0123456789abcdef" * 2
    made = store.create(FORM, "First", chosen)
    assert (made.id, made.title) == (chosen, "First")
    assert store.create(title="Second", session_id=chosen) == made
    for odd in ("", "x", "../" * 10, chosen.upper(), chosen + "\n", "\ud800" * 32):
        with pytest.raises(InputError):
            store.create(session_id=odd)
    assert len(store.list()) == 1


def test_a_session_comes_back_with_everything_that_was_done(store):
    session = filled(store)
    first, second = session.rounds
    assert (first.number, second.number) == (1, 2)
    assert (first.dispute, first.model, first.strategy) == (DISPUTE, "drafter", "cot-feedback")
    assert (first.count, first.rounds, first.seed, first.comment) == (3, 2, 7, "")
    assert (first.state, first.below_floor, first.sources) == ("done", 1, {Strategy.SINGLE: 2})
    assert first.timings == {"total": 1.25}
    assert first.finished_at is not None
    assert first.finished_at >= first.started_at
    texts = [proposal.candidate.text for proposal in first.proposals]
    assert texts == [
        "A meadow for the dogs before nine.",
        "Leashes near the playground only.",
        "Both sides meet once a month.",
    ]
    assert [proposal.rank for proposal in first.proposals] == [1, None, 2]
    kept, dropped, third = first.proposals
    assert (kept.mark, dropped.mark, third.mark) == ("kept", "dropped", "")
    assert [edit.text for edit in kept.edits] == [
        "A meadow for the dogs before ten.",
        "A fenced meadow for the dogs before ten.",
    ]
    assert kept.current.text == "A fenced meadow for the dogs before ten."
    assert kept.current.scores == scores(0.7, 0.8)
    assert [(rating.rater, rating.value, rating.note) for rating in kept.ratings] == [("b", 2, ""), ("a", 5, "better")]
    assert (second.state, second.stopped_early, second.comment, second.like) == ("stopped", True, "cheaper", kept.id)


def test_a_file_opened_again_holds_the_same(tmp_path):
    path = tmp_path / FILE_NAME
    store = Store(path)
    session = filled(store)
    version = store.version(session.id)
    store.close()
    again = Store(path)
    assert again.get(session.id) == session
    assert again.version(session.id) == version
    again.close()


def test_a_private_session_says_so_and_a_kept_one_does_not(tmp_path):
    memory, file = Store(None), Store(tmp_path / FILE_NAME)
    secret = filled(memory)
    assert secret.private
    assert not file.add(secret).private


def test_every_change_raises_the_version_and_puts_the_session_first(store):
    session, other = store.create(title="one"), store.create(title="two")
    seen = [store.version(session.id)]

    def changed() -> None:
        seen.append(store.version(session.id))
        assert seen[-1] > seen[-2]
        assert [entry.id for entry in store.list()] == [session.id, other.id]
        store.rename(other.id, f"two, after {len(seen)}")
        assert [entry.id for entry in store.list()] == [other.id, session.id]

    store.save_form(session.id, FORM)
    changed()
    store.rename(session.id, "uno")
    changed()
    entry = start(store, session.id)
    changed()
    first = store.add_proposal(entry, candidate("One."))
    changed()
    store.add_proposal(entry, candidate("Two.", number=2))
    changed()
    store.discard(entry, Strategy.SINGLE, 2)
    changed()
    store.mark(first.id, "kept")
    changed()
    store.add_edit(first.id, "One and a half.", scores())
    changed()
    store.rate(first.id, "a", 3)
    changed()
    store.finish_round(entry, "done", {first.id: 1})
    changed()


def test_what_changes_nothing_leaves_the_version(store):
    session = filled(store)
    proposal = session.rounds[0].proposals[0]
    version = store.version(session.id)
    store.save_form(session.id, session.form)
    store.rename(session.id, session.title)
    store.mark(proposal.id, "kept")
    store.add_edit(proposal.id, proposal.current.text, proposal.current.scores)
    store.rate(proposal.id, "a", 5, "better")
    store.discard(session.rounds[0].id, Strategy.COT, 9)
    store.get(session.id)
    store.list("dogs")
    assert store.version(session.id) == version
    assert store.get(session.id) == session


def test_the_version_of_an_unknown_session_is_0_and_it_never_falls(store):
    first, second = store.create(), store.create()
    assert store.version("nothing") == 0
    before = store.version(first.id)
    store.delete(second.id)
    assert store.version(second.id) == 0
    store.rename(first.id, "changed")
    assert store.version(first.id) > before


def test_edits_append_and_going_back_adds_the_old_wording_again(store):
    entry = start(store, store.create().id)
    proposal = store.add_proposal(entry, candidate("First."))
    store.add_edit(proposal.id, "Second.", scores(0.5, 0.5))
    back = store.add_edit(proposal.id, "First.", proposal.candidate.scores)
    assert [edit.text for edit in back.edits] == ["Second.", "First."]
    assert back.candidate.text == "First."
    assert not back.edited


def test_earlier_ratings_stay_in_the_file(tmp_path):
    import sqlite3

    path = tmp_path / FILE_NAME
    store = Store(path)
    proposal = store.add_proposal(start(store, store.create().id), candidate("One."))
    for value in (1, 4, 4, 2):
        shown = store.rate(proposal.id, "Mediator", value).ratings
        assert [rating.value for rating in shown] == [value]
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT value FROM rating ORDER BY position").fetchall() == [(1,), (4,), (2,)]


def test_a_pass_that_starts_again_takes_only_its_own_untouched_proposals_away(store):
    session = store.create()
    entry, other = start(store, session.id), start(store, session.id)
    gone = store.add_proposal(entry, candidate("Gone.", number=2))
    marked, edited, rated = (store.add_proposal(entry, candidate(text, number=2)) for text in ("M.", "E.", "R."))
    earlier = store.add_proposal(entry, candidate("Earlier."))
    different = store.add_proposal(entry, candidate("Another strategy.", strategy="cot", number=2))
    elsewhere = store.add_proposal(other, candidate("Another round.", number=2))
    store.mark(marked.id, "dropped")
    store.add_edit(edited.id, "Edited.", scores())
    store.rate(rated.id, "a", 1)
    store.discard(entry, Strategy.SINGLE, 2)
    left = {proposal.id for kept in store.get(session.id).rounds for proposal in kept.proposals}
    assert left == {marked.id, edited.id, rated.id, earlier.id, different.id, elsewhere.id}
    assert gone.id not in left


def test_finishing_again_replaces_the_ranks(store):
    entry = start(store, store.create().id)
    one, two = (store.add_proposal(entry, candidate(text)) for text in ("One.", "Two."))
    store.finish_round(entry, "failed", {one.id: 1}, problem="The connection was lost.")
    again = store.finish_round(entry, "done", {two.id: 1})
    assert [(proposal.id, proposal.rank) for proposal in again.proposals] == [(one.id, None), (two.id, 1)]
    assert (again.state, again.problem) == ("done", "")
    with pytest.raises(ValueError, match="running"):
        store.finish_round(entry, "running", {})


def test_a_rank_for_a_strangers_proposal_changes_nothing(store):
    session = store.create()
    entry, other = start(store, session.id), start(store, session.id)
    mine = store.add_proposal(entry, candidate("Mine."))
    strange = store.add_proposal(other, candidate("Strange."))
    before = store.get(session.id)
    with pytest.raises(ProposalNotFound):
        store.finish_round(entry, "done", {mine.id: 1, strange.id: 2})
    assert store.get(session.id) == before


def test_a_proposal_may_be_without_scores(store):
    entry = start(store, store.create().id)
    bare = Candidate(text="Not scored.", strategy=Strategy.COT)
    assert store.add_proposal(entry, bare).candidate == bare


def test_a_duplicate_is_the_same_under_other_ids_and_goes_its_own_way(store):
    session = filled(store)
    copy = store.duplicate(session.id)
    assert contents(copy) == contents(session)
    assert not ids(copy) & ids(session)
    assert copy.created_at >= session.updated_at
    assert store.duplicate(session.id, "Second try").title == "Second try"
    store.mark(copy.rounds[0].proposals[0].id, "dropped")
    store.delete(session.id)
    assert store.get(copy.id).rounds[0].proposals[0].mark == "dropped"
    assert store.get(copy.id).rounds[1].like == copy.rounds[0].proposals[0].id


def test_an_imported_session_keeps_its_times_and_gets_ids_of_its_own(store):
    session = filled(store)
    taken = store.add(session)
    assert contents(taken) == contents(session)
    assert not ids(taken) & ids(session)
    assert taken.created_at == session.created_at
    assert [entry.started_at for entry in taken.rounds] == [entry.started_at for entry in session.rounds]
    assert store.list()[0].id == taken.id


@pytest.mark.parametrize(
    ("shown", "changes", "of"),
    [
        (1, {}, 1),
        (2, {}, 2),
        (0, {}, 2),
        (0, {"seed": 8}, None),
        (0, {"dispute": DISPUTE.swapped()}, None),
        (0, {"dispute": DISPUTE.model_copy(update={"title": "Another name"})}, 2),
        (7, {}, 2),
    ],
)
def test_an_audit_is_of_the_round_that_was_shown_if_it_was_run_as_that_was(store, shown, changes, of):
    session = filled(store)
    made = store.add_audit(session.id, an_audit(position_bias=-0.5, **changes), shown)
    assert made.round_id == (None if of is None else session.rounds[of - 1].id)
    assert store.get(session.id).audits == (*session.audits, made)


def test_the_same_audit_is_kept_once(store):
    session = filled(store)
    (before,) = session.audits
    version = store.version(session.id)
    assert store.add_audit(session.id, an_audit(), 1) == before
    assert store.version(session.id) == version
    assert store.add_audit(session.id, an_audit(), 2).round_id == session.rounds[1].id


def test_an_audit_that_came_before_its_round_becomes_one_of_it(store):
    session = store.create(FORM)
    store.add_audit(session.id, an_audit())
    other = store.add_audit(session.id, an_audit(seed=8))
    assert [audit.round_id for audit in store.get(session.id).audits] == [None, None]
    entry = start(store, session.id)
    assert [audit.round_id for audit in store.get(session.id).audits] == [entry, None]
    assert store.get(session.id).audits[1] == other


def test_an_audit_that_could_not_be_read_again_is_refused(store):
    session = store.create(FORM)
    broken = candidate("Share.").model_copy(update={"scores": scores().model_copy(update={"raw_a": float("nan")})})
    with pytest.raises(InputError, match="no finite number"):
        store.add_audit(session.id, an_audit(original=AuditRun.model_construct(selected=(broken,), rest=())))
    with pytest.raises(SessionNotFound):
        store.add_audit("f" * 32, an_audit())
    assert store.get(session.id).audits == ()


def test_an_import_with_the_same_ids_and_numbers_twice_is_put_in_order(store):
    session = filled(Store(None))
    twice = session.model_copy(update={"rounds": (session.rounds[0], session.rounds[0])})
    taken = store.add(twice)
    assert [entry.number for entry in taken.rounds] == [1, 2]
    assert len(ids(taken)) == 1 + 2 + 6


def test_an_import_that_cannot_be_kept_leaves_nothing(store):
    session = filled(Store(None))
    entry = session.rounds[0]
    first = entry.proposals[0]
    infinite = first.candidate.scores.model_copy(update={"raw_a": float("inf")})
    wrong = [
        entry.model_copy(update={"seed": 2**70}),
        entry.model_copy(update={"proposals": (first.model_copy(update={"rank": 0}),)}),
        entry.model_copy(
            update={
                "proposals": (
                    first.model_copy(update={"candidate": first.candidate.model_copy(update={"scores": infinite})}),
                )
            }
        ),
    ]
    for bad in wrong:
        with pytest.raises(InputError):
            store.add(session.model_copy(update={"rounds": (bad,)}))
    assert store.list() == []


def test_ids_that_are_not_there_are_the_users_mistake(store):
    session = store.create()
    entry = start(store, session.id)
    calls = [
        (SessionNotFound, lambda: store.get("x")),
        (SessionNotFound, lambda: store.save_form("x", Form())),
        (SessionNotFound, lambda: store.rename("x", "t")),
        (SessionNotFound, lambda: store.duplicate("x")),
        (SessionNotFound, lambda: store.delete("x")),
        (SessionNotFound, lambda: store.delete("\ud800")),
        (SessionNotFound, lambda: start(store, "x")),
        (ProposalNotFound, lambda: start(store, session.id, like="\ud800")),
        (RoundNotFound, lambda: store.add_proposal("x", candidate("One."))),
        (RoundNotFound, lambda: store.discard("x", Strategy.COT, 1)),
        (RoundNotFound, lambda: store.finish_round("x", "done", {})),
        (ProposalNotFound, lambda: store.finish_round(entry, "done", {"\ud800": 1})),
        (ProposalNotFound, lambda: store.mark("x", "kept")),
        (ProposalNotFound, lambda: store.add_edit("x", "One.", scores())),
        (ProposalNotFound, lambda: store.rate("x", "a", 1)),
    ]
    for kind, call in calls:
        with pytest.raises(kind) as caught:
            call()
        assert isinstance(caught.value, SessionNotFound)
        assert isinstance(caught.value, InputError)
        assert caught.value.hint


def test_more_like_this_needs_a_proposal_of_the_same_session(store):
    here, there = store.create(), store.create()
    strange = store.add_proposal(start(store, there.id), candidate("Strange."))
    with pytest.raises(ProposalNotFound):
        start(store, here.id, like=strange.id)


def test_what_cannot_be_a_title_a_rating_or_a_wording_is_refused_in_a_sentence(store):
    session = filled(store)
    proposal = session.rounds[0].proposals[0].id
    for call in (
        lambda: store.create(title="x" * 201),
        lambda: store.rename(session.id, "x" * 201),
        lambda: store.rate(proposal, "a", 6),
        lambda: store.rate(proposal, " ", 3),
        lambda: store.rate(proposal, "x" * 61, 3),
        lambda: store.add_edit(proposal, "  ", scores()),
    ):
        with pytest.raises(InputError):
            call()
    assert store.get(session.id) == session


def test_halves_of_surrogate_pairs_are_replaced_and_whole_characters_stay(store):
    broken, mended = "dogs \ud83d \udc15 and \U0001f415\x00", "dogs \ufffd \ufffd and \U0001f415\x00"
    form = Form(side_a=SideForm(text=broken, demographics={broken: broken}), comment=broken)
    session = store.create(form, broken)
    store.save_form(session.id, form.model_copy(update={"summary": broken}))
    entry = store.start_round(session.id, DISPUTE, "drafter", "single", 1, 1, 0, broken)
    proposal = store.add_proposal(
        entry.id, Candidate.model_construct(text=broken, strategy="single", scores=None, round=1)
    )
    store.add_edit(proposal.id, broken, scores())
    store.rate(proposal.id, "a", 1, broken)
    store.finish_round(entry.id, "failed", {}, problem=broken)
    kept = store.get(session.id)
    assert kept.form.side_a.text == kept.form.comment == kept.form.summary == mended
    assert kept.form.side_a.demographics == {mended: mended}
    assert kept.rounds[0].problem == mended
    shown = kept.rounds[0].proposals[0]
    assert {shown.candidate.text, shown.edits[0].text, shown.ratings[0].note, kept.rounds[0].comment} == {mended}
    assert [found.id for found in store.list("\U0001f415 \ufffd")] == [session.id]
    assert store.list("\ud800 zebra") == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec=None), max_size=60))
def test_any_text_can_be_kept_and_found(store, text):
    session = store.create(Form(side_a=SideForm(text=text)))
    assert store.get(session.id).form.side_a.text == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert session.id in [found.id for found in store.list(text)]
    store.rename(session.id, "kept")
    assert session.id in [found.id for found in store.list(text.upper())]


def test_an_id_may_be_shortened_where_it_is_alone(store):
    made = [store.create() for _ in range(40)]
    assert store.find(made[0].id.upper()) == made[0].id
    assert store.find(made[0].id[:12]) == made[0].id
    for short in ("", "abc", made[0].id[:3]):
        with pytest.raises(SessionNotFound, match="too short"):
            store.find(short)
    for wild in ("%%%%", "____", "\ud800abc"):
        with pytest.raises(SessionNotFound):
            store.find(wild)


def test_an_id_that_two_sessions_begin_with_is_not_guessed(tmp_path):
    import sqlite3

    store = Store(tmp_path / FILE_NAME)
    first, second = store.create(), store.create()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE session SET id = 'abcd' || substr(id, 5)")
    with pytest.raises(AmbiguousId):
        store.find("abcd")
    assert store.find("abcd" + first.id[4:]) == "abcd" + first.id[4:]
    assert store.find("abcd" + second.id[4:]) == "abcd" + second.id[4:]


def test_a_closed_store_says_so(store):
    session = store.create()
    store.close()
    store.close()
    for call in (lambda: store.get(session.id), lambda: store.create(), lambda: store.list()):
        with pytest.raises(StoreClosed):
            call()


def test_the_default_store_lies_in_the_folder_of_the_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "mine"))
    store = default_store()
    session = store.create(title="Kept")
    store.close()
    assert (tmp_path / "mine" / FILE_NAME).is_file()
    again = default_store()
    assert again.get(session.id).title == "Kept"
    again.close()


def test_store_errors_are_one_family():
    assert issubclass(StoreClosed, StoreError)
    assert not issubclass(SessionNotFound, StoreError)

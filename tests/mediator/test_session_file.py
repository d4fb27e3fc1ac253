"""A session as a JSON file: the exact way round, and one sentence for each thing that can be wrong with a file."""

import json

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.sessions import a_session, an_audit, sessions

from mediator.older_scores import judged
from mediator.report import LARGEST_FILE, SessionFileError, as_json, from_json
from mediator.session import Session
from mediator.store import Store


def audited():
    session = a_session()
    return session.model_copy(update={"audits": (an_audit(session), an_audit(session, round_id=None))})


def changed(change):
    """The JSON of a session in which something was changed by hand."""
    content = json.loads(as_json(audited()))
    change(content)
    return json.dumps(content)


def problem(text):
    with pytest.raises(SessionFileError) as caught:
        from_json(text, "kitchen.json")
    sentence = str(caught.value)
    assert sentence.startswith("kitchen.json")
    assert "\n" not in sentence
    assert caught.value.exit_code == 2
    return sentence


@given(sessions(st.text(max_size=20)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_was_written_is_read_back_exactly(session):
    ids = [one.id for entry in session.rounds for one in (entry, *entry.proposals)]
    assume(len(set(ids)) == len(ids))
    read = session.model_copy(update={"rounds": tuple(map(judged, session.rounds))})
    assert from_json(as_json(session), "a file") == read


def test_the_file_begins_with_its_version_and_holds_every_field():
    content = json.loads(as_json(audited()))
    assert next(iter(content.items())) == ("evenhand_session", 1)
    assert set(content) == {"evenhand_session", *Session.model_fields}
    assert "Nobody cooks." in as_json(a_session())
    assert "A cleaner comes once a week" in as_json(a_session())  # dropped ones are kept here


def test_a_file_from_before_audits_were_kept_is_read_and_written_as_before():
    assert "audit" not in as_json(a_session())
    assert from_json(as_json(a_session()), "a file").audits == ()


def test_the_store_takes_what_was_read_under_new_ids(tmp_path):
    with_store = Store(tmp_path / "sessions.sqlite3")
    one = with_store.add(from_json(as_json(audited()), "a file"))
    two = with_store.add(from_json(as_json(one), "a file"))
    assert one.id != two.id != a_session().id
    assert len({entry.id for session in (one, two) for entry in session.rounds}) == 4
    assert two.rounds[1].like == two.rounds[0].proposals[1].id
    assert [audit.round_id for audit in two.audits] == [two.rounds[0].id, None]
    assert [p.current.text for r in two.rounds for p in r.proposals] == [
        p.current.text for r in a_session().rounds for p in r.proposals
    ]
    with_store.close()


def test_a_running_round_is_interrupted():
    def run(content):
        content["rounds"][1]["state"] = "running"
        content["rounds"][1]["finished_at"] = None

    assert [entry.state for entry in from_json(changed(run), "a file").rounds] == ["done", "interrupted"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("evenhand_session"), "holds no session of Evenhand"),
        (lambda c: c.update(evenhand_session=2), "newer version"),
        (lambda c: c.update(evenhand_session=0), "evenhand_session is 0, not a version"),
        (lambda c: c.update(evenhand_session=True), "evenhand_session is True, not a version"),
        (lambda c: c.update(evenhand_session="1"), "evenhand_session is '1', not a version"),
        (lambda c: c.pop("created_at"), "the field created_at is missing"),
        (lambda c: c.update(colour="red"), "the field colour is not known"),
        (lambda c: c.update(title="x" * 201), "the field title is wrong (string should have at most 200 characters)"),
        (lambda c: c["rounds"][0].update(state="dreaming"), "the field rounds[0].state is wrong"),
        (lambda c: c["rounds"][1]["proposals"][0]["candidate"].update(text=" "), "[1].proposals[0].candidate.text is"),
        (lambda c: c["rounds"][0]["proposals"][0]["candidate"]["scores"].update(score_a=2), "candidate.scores.score_a"),
        (lambda c: c["rounds"][0]["dispute"].update(view_a={}), "a view is empty"),
        (lambda c: c["rounds"].append(c["rounds"][0]), "the field rounds[2].id is there a second time"),
        (lambda c: c["rounds"][1]["proposals"].append(c["rounds"][0]["proposals"][2]), "[1].proposals[2].id is there"),
        (lambda c: c["audits"][0].update(round_id="f" * 32), "the field audits[0].round_id names no round"),
        (lambda c: c["audits"][1].update(verdict="fair"), "the field audits[1].verdict is wrong"),
        (lambda c: c["audits"][0].update(chance=-1), "the field audits[0].chance is wrong"),
        (lambda c: c["audits"][0]["swapped"].update(selected=[]), "the field audits[0].swapped.selected is wrong"),
        (lambda c: c["audits"][0]["original"]["selected"][0].update(scores=None), "a proposal of an audit has no sc"),
        (lambda c: c.update(rounds="none"), "the field rounds is wrong"),
        (lambda c: c.update(updated_at="2026-08-01T10:00:00"), "the field updated_at is wrong"),
    ],
)  # fmt: skip
def test_each_wrong_content_has_a_sentence_with_its_field(change, words):
    assert words in problem(changed(change))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("[1]", "holds no session of Evenhand"),
        ("3", "holds no session of Evenhand"),
        ('{"evenhand_session": 1', "line 1, column 23: this is not valid JSON"),
        ('{"evenhand_session": NaN}', "holds 'NaN', which is no number"),
        ('{"evenhand_session": 1e999}', "holds '1e999', which is no number"),
        ('{"evenhand_session": 1' + "0" * 5000 + "}", "a number that is too long"),
        ("[" * 100_000, "nested too deeply"),
        ("<html>", "not valid JSON"),
    ],
)
def test_each_wrong_text_has_a_sentence(text, words):
    assert words in problem(text)


def test_a_file_over_the_limit_is_refused_unread():
    # Whoever read it first would say that this is no JSON.
    assert "larger than 20 MB" in problem("é" * (LARGEST_FILE // 2 + 1))


def test_a_byte_order_mark_and_half_a_character_do_no_harm():
    text = changed(lambda content: content.update(title="half \ud83d of one"))
    assert from_json("\ufeff" + text, "a file").title == "half � of one"

"""Redaction: every listed word is gone from every text, the same way everywhere, and nothing else changes."""

import json
import re
import unicodedata

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.sessions import EVERYTHING, a_session, an_audit, sessions

from mediator.redaction import occurrences, redact
from mediator.report import as_html, as_json, as_markdown, from_json
from mediator.session import Session, SideForm

NAMES = ("Anna", "Zoë", "Jörg Müller", "São Paulo", "O'Neill", "STRASSE", "Анна", "Ωmega", "杏奈", "Ann-Marie", "İpek")


def redacted(text, *pairs):
    session = a_session()
    form = session.form.model_copy(update={"summary": text})
    return redact(session.model_copy(update={"form": form}), pairs).form.summary


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("Anna, ANNA and anna.", "anna", "X, X and X."),
        ("Annabel and Hanna stay, Johanna too", "Anna", "Annabel and Hanna stay, Johanna too"),
        ("Anna's cat, Anna’s dog, Annas Hund, ANNAS", "Anna", "X's cat, X’s dog, Xs Hund, XS"),
        ("Jonas' Hund, Jonas’ Katze", "Jonas", "X' Hund, X’ Katze"),
        ('(Anna) "Anna" Anna_B Anna-Maria anna@example.org /Anna/', "Anna", '(X) "X" X_B X-Maria X@example.org /X/'),
        ("Zoe\u0308 and Zo\u00eb", "Zo\u00eb", "X and X"),
        ("Zoe\u0308 and Zo\u00eb", "ZOE\u0308", "X and X"),
        ("Zoe stays", "Zoë", "Zoe stays"),
        ("Hauptstraße 5", "HAUPTSTRASSE", "X 5"),
        ("in Carver\u00a0 House, Carver\nHouse", "carver house", "in X, X"),
        ("An\u00adna and An\u200dna", "Anna", "X and X"),
        ("Anna\u200bBerta", "Anna", "X\u200bBerta"),
        ("Ann‑Marie, Ann–Marie", "Ann-Marie", "X, X"),
        ("O’Neill's", "O'Neill", "X's"),
        ("Ａｎｎａ", "Anna", "X"),
        ("İstanbul, istanbul", "istanbul", "X, X"),
        ("田中さんは杏奈と話した", "杏奈", "田中さんはXと話した"),
        ("Annaは来た", "Anna", "Xは来た"),
        ("안나는 안나와", "안나", "X는 X와"),
        ("안나는".encode().decode(), unicodedata.normalize("NFD", "안나"), "X는"),
        ("คุณแอนนาไปตลาด", "แอนนา", "คุณXไปตลาด"),
        ("क का", "क", "X का"),
        ("flat 4b, flat 4", "flat 4", "flat 4b, X"),
        ("St. Mary, St Mary", "St. Mary", "X, St Mary"),
    ],
)
def test_what_is_found_and_what_is_left(text, word, expected):
    assert redacted(text, (word, "X")) == expected


def test_the_longest_word_counts_and_the_order_of_the_list_does_not():
    pairs = [("Anna", ""), ("Anna Berger", ""), ("Berger", "")]
    assert redacted("Anna Berger met Anna and Berger", *pairs) == "[name 2] met [name 1] and [name 3]"


def test_a_word_has_one_replacement_everywhere():
    text = redacted("Anna, Bo, ANNA, Cy", ("Anna", ""), ("anna", "other"), ("  ", "never"), ("Bo", " B. "), ("Cy", " "))
    assert text == "[name 1], B., [name 1], [name 2]"


def test_replacements_are_not_redacted_again():
    assert redacted("Anna and Berta", ("Anna", "Berta"), ("Berta", "Anna")) == "Berta and Anna"
    assert redacted("Anna", ("Anna", "Anna B."), ("name", "x")) == "Anna B."


def test_every_field_that_holds_words_is_redacted_and_nothing_else_changes():
    session = a_session(title="Anna's kitchen")
    side = SideForm(
        label="Anna", text="anna", place="Anna!", reason="“Anna”", suggestion="Anna", demographics={"Anna": "Anna"}
    )
    form = session.form.model_copy(
        update={"side_a": side, "side_b": side, "summary": "Anna", "comment": "Anna", "model": "gguf:/home/anna/m.gguf"}
    )
    rounds = tuple(
        entry.model_copy(update={"problem": "Anna", "model": "gguf:/home/anna/m.gguf", "comment": "Anna"})
        for entry in session.rounds
    )
    rating = session.rounds[1].proposals[0].ratings[2].model_copy(update={"rater": "Anna", "note": "Anna"})
    proposal = session.rounds[1].proposals[0]
    proposal = proposal.model_copy(update={"ratings": (*proposal.ratings, rating)})
    rounds = (rounds[0], rounds[1].model_copy(update={"proposals": (proposal, *rounds[1].proposals[1:])}))
    audit = an_audit(session, model="gguf:/home/anna/m.gguf")
    session = session.model_copy(update={"form": form, "rounds": rounds, "audits": (audit,)})
    before = as_json(session)
    result = redact(session, [("Anna", "[name 1]")])
    assert as_json(session) == before
    assert not re.search("anna", as_json(result), re.IGNORECASE)
    assert len(re.findall("anna", before, re.IGNORECASE)) == sum(occurrences(session, [("Anna", "")])) > 20
    assert result.rounds[1].proposals[0].ratings[0].rater == "a"
    assert result.rounds[1].proposals[0].ratings[3].rater == "[name 1]"
    assert result.audits[0].original.selected[0].text == "[name 1] cooks on Mondays."
    assert without_words(result) == without_words(session)
    for page in (as_html(result, parts=EVERYTHING), as_markdown(result, parts=EVERYTHING)):
        assert not re.search("anna", page, re.IGNORECASE)


def without_words(session):
    """What must stay: ids, times, scores, states, ranks, marks."""
    kept = {
        "scores",
        "state",
        "mark",
        "rank",
        "value",
        "made_at",
        "started_at",
        "updated_at",
        "like",
        "id",
        "round_id",
        "verdict",
        "number",
        "strategy",
    }

    def only(value, field=""):
        if isinstance(value, dict):
            return {
                name: only(entry, name) for name, entry in value.items() if name in kept or not isinstance(entry, str)
            }
        if isinstance(value, list):
            return [only(entry, field) for entry in value]
        return value if field in kept else None

    content = json.loads(as_json(session))
    for side in ("side_a", "side_b"):
        content["form"][side].pop("demographics")
    for entry in (*content["rounds"], *content.get("audits", ())):
        entry["dispute"] = None
    return only(content)


def test_raters_and_names_of_facts_stay_different():
    session = a_session()
    proposal = session.rounds[1].proposals[0]
    ratings = tuple(proposal.ratings[0].model_copy(update={"rater": name}) for name in ("a", "Anna", "Ben", "Cy"))
    proposal = proposal.model_copy(update={"ratings": ratings})
    rounds = (session.rounds[1].model_copy(update={"proposals": (proposal,)}),)
    side = SideForm(text="x", demographics={"Anna": "1", "Ben": "2"})
    form = session.form.model_copy(update={"side_a": side})
    session = session.model_copy(update={"rounds": rounds, "form": form})
    result = redact(session, [("Anna", "tenant"), ("Ben", "tenant"), ("Cy", "a")])
    assert [rating.rater for rating in result.rounds[0].proposals[0].ratings] == ["a", "tenant", "tenant (2)", "a (2)"]
    assert result.form.side_a.demographics == {"tenant": "1", "tenant (2)": "2"}


def test_a_title_or_label_that_becomes_too_long_is_cut_between_words():
    session = a_session(title=" ".join(["Al"] * 66))
    result = redact(session, [("Al", "[somebody who lives there]")])
    assert len(result.title) <= 200
    assert result.title.endswith("there] [somebody who lives…") or result.title.endswith("…")
    assert "Al" not in result.title


def test_counts_tell_which_listed_word_occurs_nowhere():
    assert occurrences(a_session(), [("Anna", ""), ("Nobody Such", ""), ("ANNA", ""), ("", "")]) == (
        as_json(a_session()).count("Anna"), 0, 0, 0,
    )  # fmt: skip


def texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield name
            if name not in ("id", "like", "state", "strategy", "form", "mark", "category") or isinstance(entry, dict):
                yield from texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from texts(entry)


def plain(text):
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


PIECES = st.sampled_from(
    [*NAMES, *(name.upper() for name in NAMES), *(unicodedata.normalize("NFD", name).lower() for name in NAMES),
     *(name + "'s" for name in NAMES), *(name + "s" for name in NAMES), " ", ", ", "\n", "x", "the", "(", "1", "-", "é"]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=8).map("".join)


@given(sessions(TEXTS), st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_listed_word_is_left_anywhere(session, words):
    result = redact(session, [(word, "§") for word in words])
    everything = list(texts(json.loads(as_json(result))))
    for word in words:
        unspaced = word == "杏奈"
        edge = "" if unspaced else r"(?:(?<![^\W_])|(?<=[杏奈]))"
        end = "" if unspaced else r"s?(?![^\W_杏奈]|[\u0300-\u036f])"
        pattern = re.compile(edge + re.escape(plain(word)) + end)
        for text in everything:
            assert not pattern.search(plain(text)), (word, text)
    assert redact(result, [(word, "§") for word in words]) == result
    ids = {proposal.id for entry in session.rounds for proposal in entry.proposals}
    assume(len(ids) == sum(len(entry.proposals) for entry in session.rounds))
    assert isinstance(result, Session)


def test_a_redacted_file_can_be_imported():
    result = redact(a_session(), [("Anna", ""), ("Anna Berger", ""), ("Carver House", "a house")])
    assert from_json(as_json(result), "a file") == result

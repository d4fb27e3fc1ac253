"""ui/audit_view.py: the verdict in a sentence that fits the figures, and both runs side by side for the same people."""

import pytest
from hypothesis import given, settings
from support.html import Reader, anything, stays_text
from support.sessions import a_session, an_audit

from mediator.mediation import MediationDone
from mediator.schema import Candidate, Scores, Strategy
from mediator.swap_audit import AuditPair, SwapAudit, difference
from ui.audit_view import audit_view, kept_audit_view
from ui.components import Names, names_of
from ui.strings import say

NAMES = names_of("Ann", "Ben", "en")
DONE = MediationDone((), (), {}, {})


def candidate(text, a, b):
    return Candidate(text=text, strategy=Strategy.SINGLE, scores=Scores(score_a=a, score_b=b, raw_a=a, raw_b=b))


def pair(one="Share the hall.", other="Share the hall.", moved=0.0):
    # In the exchanged run Ben is called A: his score comes first.
    return AuditPair(
        original=candidate(one, 0.9, 0.4),
        swapped=candidate(other, 0.4, 0.9 - moved),
        overlap=1.0 if one == other else 0.5,
        same_text=one == other,
        score_difference=moved,
        changes=difference(one, other),
    )


def audit(verdict="identical", **more):
    return SwapAudit(verdict=verdict, original=DONE, swapped=DONE, pairs=more.pop("pairs", (pair(),)), **more)


def read(result, language="en", names=NAMES):
    return Reader(audit_view(result, names, language))


@settings(deadline=None, max_examples=40)
@given(text=anything.filter(str.strip))
def test_text_stays_text(text):
    assert stays_text(lambda given: audit_view(audit(pairs=(pair(given, given),)), Names(given, given), "en"), text)
    lone = candidate(text, 0.5, 0.5)
    shown = read(audit(only_original=(lone,), only_swapped=(lone,)))
    assert shown.balanced
    assert shown.text.count(lone.text) >= 2


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (audit(), "Nothing changed"),
        (audit("same_scores"), "neither place was favoured"),
        (audit("differs", position_bias=0.2), "placed first, as A, was served more: on average by 0.20"),
        (audit("differs", position_bias=-0.15), "placed second, as B, was served more: on average by 0.15"),
        (audit("differs", scores_exchange=False), "The measure itself changed"),
        (audit(None, pairs=()), "cut short"),
    ],
)
def test_the_verdict_in_a_sentence(result, said):
    shown = read(result)
    verdict = shown.texts[1]
    assert said in verdict
    assert shown.one("p", _class="eh-verdict")["data-verdict"] == (result.verdict or "unfinished")
    assert Reader(audit_view(result, NAMES, "de")).texts[1] != verdict


def test_no_place_is_said_to_be_favoured_by_scores_that_say_nothing():
    lone = candidate("Teilt den Saal.", 0.9, 0.5)
    foreign = lone.model_copy(update={"scores": lone.scores.unmeasured()})
    done = MediationDone((), (foreign,), {}, {})
    result = SwapAudit(verdict="differs", original=done, swapped=done, only_original=(foreign,), position_bias=0.2)
    shown = read(result)
    assert "made from English texts" in shown.texts[1]
    assert "0.20" not in shown.text
    assert "not measured for this language" in shown.texts


def test_the_bars_are_those_of_the_same_people_in_both_columns():
    bars = read(audit()).all(role="meter")
    assert [(bar["aria-label"], bar["aria-valuenow"]) for bar in bars] == [
        ("Closeness to A (Ann)", "90"),
        ("Closeness to B (Ben)", "40"),
    ] * 2


def test_equal_texts_are_said_to_be_equal_and_shown_once():
    shown = read(audit())
    assert shown.text.count("Share the hall.") == 1
    assert "Word for word the same." in shown.texts
    assert "mark" not in shown.tags


def test_what_only_one_run_says_is_marked():
    shown = read(audit("same_scores", pairs=(pair("Share the hall daily.", "Share the park daily.", 0.07),)))
    assert shown.tags.count("mark") == 2
    assert shown.texts.count("hall ") == shown.texts.count("park ") == 1
    assert "50 % of the words are shared." in shown.texts
    assert "A score differs by up to 0.07." in shown.texts


@pytest.mark.parametrize(
    ("language", "rows", "meant"),
    [
        (
            "en",
            ["0.12 towards A (Ann), give or take 0.05", "towards neither", "0.06, give or take 0.09"],
            "95 % interval",
        ),
        (
            "de",
            ["0,12 zu A (Ann), plus oder minus 0,05", "zu keiner Seite", "0,06, plus oder minus 0,09"],
            "95-%-Intervall",
        ),
    ],
)
def test_the_figures_name_the_people_and_how_far_chance_may_carry_them(language, rows, meant):
    figures = {"tilt_original": 0.12, "tilt_swapped": -0.001, "position_bias": 0.06}
    shown = read(audit("same_scores", **figures, error_original=0.05, chance=0.09), language)
    assert values(shown, language) == rows
    assert meant in shown.text
    unknown = read(audit("same_scores", **figures), language)
    assert values(unknown, language) == [row.partition(", give")[0].partition(", plus")[0] for row in rows]
    assert meant not in unknown.text


def values(shown, language):
    rows = dict(zip(shown.texts, shown.texts[1:], strict=False))
    return [rows[say(language, f"audit.{name}")] for name in ("tilt_original", "tilt_swapped", "place")]


@pytest.mark.parametrize(("chance", "said"), [(0.0, "nothing"), (0.04, "0.00, give or take 0.04"), (None, "0.00")])
def test_a_place_is_said_to_do_nothing_only_where_both_runs_wrote_the_same(chance, said):
    assert values(read(audit("same_scores", chance=chance)), "en")[2] == said


def test_an_audit_that_was_kept_says_of_which_round_it_is():
    session = a_session()
    other = session.rounds[1].model_copy(update={"id": "d" * 32, "number": 3})
    audited = session.model_copy(update={"rounds": (*session.rounds, other), "audits": (an_audit(session, 2),)})

    def said(number, *more, language="en"):
        of = audited.model_copy(update={"audits": (*audited.audits, *more)})
        return [Reader(part).texts[1] for part in kept_audit_view(of, number, language).split("</section>")[:-1]]

    assert said(2) == ["Run with the views and choices of round 2."]
    assert said(3) == said(0)
    assert "Run at round 2" in said(0)[0]
    assert "round 3, shown now, were not" in said(0)[0]
    assert said(2, language="de") == ["Ausgeführt mit den Sichten und Einstellungen von Runde 2."]
    own = an_audit(session, 1)
    assert said(1, own) == ["Run with the views and choices of round 1."]
    assert said(2, own) == said(2)
    fresh = an_audit(session, 1, round_id=None)
    assert ["not for one of the rounds" in words for words in said(2, fresh)] == [True, False]
    assert ["not for one of the rounds" in words for words in said(2, fresh, own)] == [False]
    assert said(0, fresh) == said(2, fresh)[:1]
    running = other.model_copy(update={"id": "e" * 32, "number": 4, "state": "running"})
    assert kept_audit_view(audited, 0, "en") == kept_audit_view(
        audited.model_copy(update={"rounds": (*audited.rounds, running)}), 0, "en"
    )
    alone = session.model_copy(update={"rounds": (), "audits": (fresh,)})
    assert "not for one of the rounds" in kept_audit_view(alone, 0, "en")
    assert kept_audit_view(session, 0, "en") == kept_audit_view(None, 0, "en") == ""
    ids = [tag["id"] for tag in Reader(kept_audit_view(alone, 0, "en")).all(id=True)]
    assert len(set(ids)) == len(ids) > 0


def test_a_proposal_without_a_partner_stands_alone():
    shown = read(audit("differs", only_original=(candidate("Only here.", 0.5, 0.6),)))
    assert "Only here." in shown.texts
    assert shown.texts.count("No proposal like it in this run.") == 1
    assert [row["role"] for row in shown.all("tr")] == ["row"] * 3

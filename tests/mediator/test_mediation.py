"""The whole main job: events in order, selection, cancel, errors; and once with the real scorer."""

from dataclasses import FrozenInstanceError

import pytest
from support.scripted import ScriptedModel, ScriptedWriter, TableScorer, numbered, whole

from mediator.cancellation import Cancellation
from mediator.errors import InputError, ModelFileError
from mediator.mediation import (
    CandidateDone,
    CandidateProgress,
    Event,
    MediationDone,
    MediationOptions,
    RoundStarted,
    propose,
)
from mediator.schema import Candidate, Dispute, Strategy, View
from mediator.strategies import Scorer
from mediator.writers.base import AuthenticationFailed, Delta, Overloaded, UnusableOutput, Writer
from mediator.writers.language_model import LanguageModelWriter

DOGS = Dispute(
    view_a=View(text="My dog is old and gentle. She needs to run on the meadow without a leash every morning."),
    view_b=View(text="My daughter was bitten by a dog on the meadow. Every dog must be kept on a leash at all times."),
)


def mediate(writer: Writer, scorer: Scorer, options: MediationOptions) -> tuple[list[Event], MediationDone]:
    found = list(propose(DOGS, writer, scorer, options))
    end = found[-1]
    assert isinstance(end, MediationDone)
    assert not any(isinstance(event, MediationDone) for event in found[:-1])
    return found, end


def texts(candidates: tuple[Candidate, ...]) -> list[str]:
    return [candidate.text for candidate in candidates]


def test_one_strategy_gives_best_first() -> None:
    scorer = TableScorer(tilted=(0.9, 0.6), cold=(0.1, 0.1), even=(0.8, 0.79))
    _, end = mediate(
        ScriptedWriter(whole("cold", "tilted", "even")), scorer, MediationOptions(strategy="single", count=3)
    )
    assert texts(end.candidates) == ["even", "tilted", "cold"]
    assert end.below_floor == 1
    assert texts(end.pool) == ["cold", "tilted", "even"]
    assert end.sources == {Strategy.SINGLE: 3}
    assert (end.cancelled, end.stopped_early, end.problem) == (False, False, None)


def test_all_selects_from_the_pool_and_says_where_from() -> None:
    writer = ScriptedWriter(whole("s1", "s2"), whole("c1", "c2"), whole("p1", "p2"), whole("f1", "f2"), whole("f3"))
    scorer = TableScorer(
        s1=(0.9, 0.5), s2=(0.01, 0.01), c1=(0.7, 0.65), c2=(0.9, 0.2), p1=(0.8, 0.5), p2=(0.93, 0.9), f1=(0.7, 0.68),
        f2=(0.8, 0.78), f3=(0.9, 0.1),
    )  # fmt: skip
    _, end = mediate(writer, scorer, MediationOptions(strategy="all", count=2, rounds=2))
    assert [brief.strategy for brief in writer.briefs] == [*Strategy, Strategy.COT_FEEDBACK]
    assert texts(end.candidates) == ["p2", "f2"]
    assert end.sources == {
        Strategy.SINGLE: 0,
        Strategy.COT: 0,
        Strategy.COT_SELF_SCORE: 1,
        Strategy.COT_FEEDBACK: 1,
    }
    assert len(end.pool) == 9


def test_the_best_of_any_round_is_selected() -> None:
    writer = ScriptedWriter(whole("best"), whole("worse"))
    _, end = mediate(writer, TableScorer(best=(0.8, 0.7), worse=(0.9, 0.2)), MediationOptions(count=1, rounds=2))
    assert texts(end.candidates) == ["best"]
    assert end.candidates[0].round == 1


def test_early_stop_is_reported() -> None:
    writer = ScriptedWriter(whole("one"), whole("one"))
    _, end = mediate(writer, TableScorer(), MediationOptions(count=1, rounds=5))
    assert end.stopped_early
    assert texts(end.candidates) == ["one"], "the same text twice is one candidate"
    assert len(end.pool) == 2


def test_timings() -> None:
    _, end = mediate(ScriptedWriter(whole("one")), TableScorer(), MediationOptions(strategy="cot"))
    assert set(end.timings) == {"total", "writing", "scoring", "first_text"}
    assert all(seconds >= 0 for seconds in end.timings.values())
    assert end.timings["writing"] + end.timings["scoring"] <= end.timings["total"]


def test_cancel_keeps_what_is_finished() -> None:
    cancel = Cancellation()
    writer = ScriptedWriter(whole("one", "two", "three"))
    found: list[Event] = []
    for event in propose(DOGS, writer, TableScorer(), MediationOptions(strategy="all"), cancel):
        found.append(event)
        if isinstance(event, CandidateDone) and event.index == 1:
            cancel.cancel()
    end = found[-1]
    assert isinstance(end, MediationDone)
    assert end.cancelled
    assert texts(end.pool) == ["one", "two"]
    assert len(end.candidates) == 2
    assert len(writer.briefs) == 1


def test_cancel_before_anything() -> None:
    cancel = Cancellation()
    cancel.cancel()
    (end,) = propose(DOGS, ScriptedWriter(), TableScorer(), MediationOptions(), cancel)
    assert isinstance(end, MediationDone)
    assert end.cancelled
    assert end.candidates == ()
    assert "first_text" not in end.timings


def test_an_error_with_nothing_finished_goes_to_the_caller() -> None:
    with pytest.raises(AuthenticationFailed):
        list(propose(DOGS, ScriptedWriter([AuthenticationFailed("no key")]), TableScorer(), MediationOptions()))


def test_an_error_later_is_a_problem_beside_what_there_is() -> None:
    writer = ScriptedWriter(whole("one"), [Delta(0, "tw"), Overloaded("The provider is busy.", "Try later.")])
    _, end = mediate(writer, TableScorer(one=(0.3, 0.2)), MediationOptions(count=1, rounds=3))
    assert texts(end.candidates) == ["one"]
    assert end.problem == "The provider is busy. Try later."
    assert not end.cancelled


def test_a_file_that_turns_out_damaged_later_leaves_what_there_is() -> None:
    writer = ScriptedWriter(whole("one"), [Delta(0, "tw"), ModelFileError("The file gives no numbers.")])
    _, end = mediate(writer, TableScorer(one=(0.3, 0.2)), MediationOptions(count=1, rounds=3))
    assert texts(end.candidates) == ["one"]
    assert end.problem == "The file gives no numbers."


def test_one_unusable_answer_does_not_stop_the_other_strategies() -> None:
    writer = ScriptedWriter(whole("one"), [UnusableOutput("No list.")], whole("three"), whole("four"))
    _, end = mediate(writer, TableScorer(), MediationOptions(strategy="all", rounds=1))
    assert texts(end.pool) == ["one", "three", "four"]
    assert end.problem == "cot: No list."
    assert end.sources[Strategy.COT] == 0


def test_a_provider_that_fails_is_not_asked_again() -> None:
    writer = ScriptedWriter(whole("one"), [AuthenticationFailed("No key.")], whole("never"))
    _, end = mediate(writer, TableScorer(), MediationOptions(strategy="all", rounds=1))
    assert texts(end.pool) == ["one"]
    assert len(writer.briefs) == 2


def test_a_restart_takes_voided_candidates_out_of_the_pool() -> None:
    writer = ScriptedWriter([*whole("draft"), Delta(0, "", restart=True), *whole("final")])
    found, end = mediate(writer, TableScorer(), MediationOptions(strategy="single"))
    assert RoundStarted(Strategy.SINGLE, 1, 1, again=True) in found
    assert texts(end.pool) == ["final"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "number of candidates is 0"),
        ({"count": 13}, "number of candidates is 13"),
        ({"rounds": 0}, "number of rounds is 0"),
        ({"rounds": 11}, "number of rounds is 11"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**31}, "seed is 2147483648"),
        ({"strategy": "best"}, "no strategy 'best'"),
        ({"comments": ("fine", "x" * 5000)}, "Comment 2 has 5,000 characters"),
        ({"like": tuple(map(str, range(9)))}, "9 texts to stay close to. Give at most 8"),
        ({"like": ("fine", "x" * 20_001)}, "Number 2 of the texts to stay close to has 20,001 characters"),
        ({"avoid": tuple(map(str, range(501)))}, "501 dropped texts. Give at most 500"),
        ({"avoid": ("x" * 20_001,)}, "Number 1 of the dropped texts has 20,001 characters"),
    ],
)
def test_options_out_of_range(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        MediationOptions(**options)  # type: ignore[arg-type]


def test_a_view_too_long_is_refused_at_once() -> None:
    dispute = Dispute(view_a=View(text="dog"), view_b=View(text="x" * 20_001))
    with pytest.raises(InputError, match="View B has 20,001 characters"):
        propose(dispute, ScriptedWriter(), TableScorer())


def test_a_summary_too_long_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="The summary has 20,001 characters"):
        propose(DOGS.model_copy(update={"summary": "x" * 20_001}), ScriptedWriter(), TableScorer())


def test_what_was_dropped_liked_or_proposed_before_is_not_selected_again() -> None:
    texts_of_a_model = ("dropped words here", "liked words there", "proposed words before", "new words", "fresh words")
    options = MediationOptions(
        strategy="single",
        count=2,
        like=("Liked words, there!",),
        avoid=("dropped words here",),
        earlier=(Candidate(text="Proposed words before.", strategy=Strategy.COT),),
    )
    table = dict.fromkeys(texts_of_a_model[:3], (0.9, 0.9))
    writer = ScriptedWriter(whole(*texts_of_a_model))
    _, end = mediate(writer, TableScorer(**table), options)
    assert texts(end.candidates) == ["new words", "fresh words"], "though the others score higher"
    assert len(end.pool) == 5
    assert (writer.briefs[0].like, writer.briefs[0].avoid) == (options.like, options.avoid)
    _, end = mediate(ScriptedWriter(whole("dropped words here", "new words")), TableScorer(**table), options)
    assert set(texts(end.candidates)) == {"new words", "dropped words here"}, "better than too few"


def test_options_leave_out_empty_and_repeated_examples() -> None:
    options = MediationOptions(like=("a", " a ", ""), avoid=(" ", "b"))
    assert (options.like, options.avoid) == (("a",), ("b",))


def test_options_leave_out_empty_comments() -> None:
    options = MediationOptions(comments=(" cheaper ", "", "  "))
    assert options.comments == ("cheaper",)
    with pytest.raises(FrozenInstanceError):
        options.count = 3  # type: ignore[misc]


def test_the_whole_way_with_the_real_scorer() -> None:
    from mediator.empathy import EmpathyModel

    balanced = (
        "Dogs may run on the meadow without a leash every morning until nine, and are kept on a leash at all other "
        "times, so that old dogs get their run and children are safe."
    )
    for_a = "Every dog may run on the meadow without a leash all day."
    for_b = "Every dog must be kept on a leash at all times, so that no daughter is bitten again."
    irrelevant = "The museum should buy a new printer for its ticket office."
    model = ScriptedModel(
        f"SIMILARITIES:\n1. Both use the meadow.\n\nCOMPROMISES:\n{numbered(for_a, irrelevant, balanced, for_b)}",
        chunk=6,
    )
    scorer = EmpathyModel.load()
    try:
        found, end = mediate(LanguageModelWriter(model), scorer, MediationOptions(strategy="cot"))
        assert [event.index for event in found if isinstance(event, CandidateDone)] == [0, 1, 2, 3]
        live = [event for event in found if isinstance(event, CandidateProgress)]
        assert "".join(live[-1].text.split()) in "".join(for_b.split())
        assert any(event.scores is not None for event in live)
        by_text = {candidate.text: candidate.scores for candidate in end.pool}
        assert {text: scores.tilt > 0 for text, scores in by_text.items() if scores and text in (for_a, for_b)} == {
            for_a: True,
            for_b: False,
        }
        assert [by_text[text] for text in (balanced,)] == scorer.score(DOGS, [balanced]), "the final score is exact"
        assert texts(end.candidates)[0] == balanced
        assert texts(end.candidates)[-1] == irrelevant
    finally:
        scorer.close()

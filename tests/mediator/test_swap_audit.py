"""The swap audit: what it runs, what it compares, and its verdict on writers of every kind."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from support.scripted import ScriptedModel, ScriptedWriter, TableScorer, numbered, whole

from mediator.audit_keeping import as_found, kept
from mediator.cancellation import Cancellation
from mediator.disputes import examples
from mediator.empathy import EmpathyModel
from mediator.errors import InputError
from mediator.kept_audit import KeptAudit
from mediator.mediation import CandidateDone, MediationDone, MediationOptions, propose
from mediator.schema import Candidate, Dispute, Scores, Strategy, View
from mediator.session import now
from mediator.side_letters import exchanged_letters
from mediator.strategies import Scorer
from mediator.swap_audit import (
    AuditProgress,
    SwapAudit,
    audit,
    difference,
    exchanged_dispute,
    exchanged_options,
    exchanged_scores,
)
from mediator.writers.base import AuthenticationFailed, Brief, Delta, Overloaded, Writer
from mediator.writers.drafter import Drafter
from mediator.writers.language_model import LanguageModelWriter

DOGS = Dispute(view_a=View(text="Dogs need to run free."), view_b=View(text="My child was bitten by a dog."))
SINGLE = MediationOptions(strategy="single", count=2)


class WordScorer:
    """Closeness to a view by a word of it: "dog" for the view that says so first, "child" for the other."""

    def score(self, dispute: Dispute, texts: Sequence[str]) -> list[Scores]:
        dog, child = ([0.1 * min(9, text.count(word)) for text in texts] for word in ("dog", "child"))
        pairs = zip(dog, child, strict=True) if dispute.view_a == DOGS.view_a else zip(child, dog, strict=True)
        return [Scores(score_a=a, score_b=b, raw_a=a, raw_b=b) for a, b in pairs]


def result_of(writer: Writer, scorer: Scorer, dispute: Dispute = DOGS, options: MediationOptions = SINGLE) -> SwapAudit:
    *progress, last = audit(dispute, writer, scorer, options)
    assert isinstance(last, SwapAudit)
    assert all(isinstance(event, AuditProgress) for event in progress)
    return last


# -- the drafter -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(examples()))
def test_the_drafter_writes_the_same_for_both_orders(name: str, scorer: EmpathyModel) -> None:
    found = result_of(Drafter(scorer), scorer, examples()[name], MediationOptions(strategy="cot", count=3))
    assert found.verdict == "identical"
    assert len(found.pairs) == 3
    assert all(pair.same_text and pair.overlap == 1.0 for pair in found.pairs)
    assert (found.largest_score_difference, found.position_bias, found.chance) == (0.0, 0.0, 0.0)
    assert found.error_original is not None
    assert found.error_original == pytest.approx(found.error_swapped, abs=1e-12)
    assert found.scores_exchange
    for pair in found.pairs:
        assert pair.original.scores == exchanged_scores(pair.swapped.scores)  # type: ignore[arg-type]
        assert [change.where for change in pair.changes] == ["both"]


def test_a_comment_that_names_a_side_moves_with_it(scorer: EmpathyModel) -> None:
    options = MediationOptions(count=2, rounds=1, comments=("more for side B",))
    assert result_of(Drafter(scorer), scorer, examples()["night-buses"], options).verdict == "identical"


# -- language models -------------------------------------------------------------------------------------------------


def model_writer(*replies: str) -> LanguageModelWriter:
    return LanguageModelWriter(ScriptedModel(*(numbered(*reply.split("|")) for reply in replies)))


def test_other_texts_with_the_same_scores() -> None:
    writer = model_writer(
        "A dog and a child share the lawn.|The dog waits for the child.",
        "A child and a dog take turns.|A gate parts dog and child by day.",
    )
    found = result_of(writer, WordScorer())
    assert found.verdict == "same_scores"
    assert [pair.same_text for pair in found.pairs] == [False, False]
    assert (found.tilt_original, found.tilt_swapped, found.position_bias) == (0.0, 0.0, 0.0)
    assert found.largest_score_difference == 0.0


def test_a_model_that_favours_the_first_place_is_found_out() -> None:
    # In each run the text serves whoever stands first: dogs in the original, the child in the swapped one.
    writer = model_writer(
        "A dog, a dog and a dog run.|The dog, the dog, the dog.",
        "The child, child, child.|A child, child, child plays.",
    )
    found = result_of(writer, WordScorer())
    assert found.verdict == "differs"
    # By hand: 0.3 - 0 towards the dogs' side, and in the other run 0.3 towards the child's.
    assert found.tilt_original == pytest.approx(0.3)
    assert found.tilt_swapped == pytest.approx(-0.3)
    assert found.position_bias == pytest.approx(0.3)
    assert found.largest_score_difference == pytest.approx(0.3)
    mirrored = result_of(
        model_writer("The child, child, child.|A child, child, child plays.", "A dog, dog, dog.|The dog, dog, dog."),
        WordScorer(),
    )
    assert mirrored.position_bias == pytest.approx(-0.3), "it may favour the second as well"


def test_a_model_that_favours_a_person_in_both_places_has_no_position_bias() -> None:
    writer = model_writer("A dog, dog, dog.|The dog, the dog, the dog.", "Dog: a dog, dog, dog.|One dog, dog, dog.")
    found = result_of(writer, WordScorer())
    assert (found.verdict, found.position_bias) == ("same_scores", 0.0)
    assert found.tilt_original == pytest.approx(found.tilt_swapped) == pytest.approx(0.3)


THREE = ("dog child.|dog dog dog child.|a dog dog dog, a child.", "a child, a dog.|a dog, dog, child.|child, dog, dog.")


def test_how_far_chance_may_carry_the_figures_is_told_from_three_proposals_on() -> None:
    options = MediationOptions(strategy="single", count=3)
    found = result_of(model_writer(*THREE), WordScorer(), options=options)
    # Tilts 0, 0.2, 0.2 and 0, 0.1, 0.1, of three texts each: variances 0.04 / 3 and 0.01 / 3.
    quantile = 4.302652729749462  # scipy.stats.t.ppf(0.975, 2)
    assert found.error_original == pytest.approx(quantile * (0.04 / 9) ** 0.5, rel=1e-3)
    assert found.error_swapped == pytest.approx(quantile * (0.01 / 9) ** 0.5, rel=1e-3)
    # Half of the difference of two means: half of the root of both variances' sum.
    assert found.chance == pytest.approx(quantile * (0.05 / 9) ** 0.5 / 2, rel=1e-3)
    few = result_of(model_writer("dog child.|dog dog child.", "a child, a dog.|a dog, dog."), WordScorer())
    assert (few.error_original, few.error_swapped, few.chance) == (None, None, None)


@pytest.mark.parametrize(("one", "other"), [("a b " * 500, "b a c " * 500), ("the " * 4000, "the " * 3999)])
def test_texts_that_repeat_the_same_words_without_end_are_told_whole(one: str, other: str) -> None:
    assert [(change.where, change.text) for change in difference(one, other)] == [("original", one), ("swapped", other)]


def test_scores_that_say_nothing_have_no_error_either() -> None:
    class Foreign(WordScorer):
        def score(self, dispute: Dispute, texts: Sequence[str]) -> list[Scores]:
            return [scores.unmeasured() for scores in super().score(dispute, texts)]

    found = result_of(model_writer(*THREE), Foreign(), options=MediationOptions(strategy="single", count=3))
    assert (found.error_original, found.error_swapped, found.chance) == (None, None, None)


def test_what_is_kept_of_an_audit_is_found_again() -> None:
    options = MediationOptions(strategy="single", count=2, comments=("cheap",))
    writer = model_writer("A dog, dog, dog.|The dog waits.|A child waits.", "The child, child.|A dog plays.|No dog.")
    found = result_of(writer, WordScorer(), options=options)
    audit = KeptAudit.model_validate_json(kept(found, DOGS, "drafter", options, now()).model_dump_json(round_trip=True))
    assert (audit.dispute, audit.strategy, audit.count, audit.comment) == (DOGS, "single", 2, "cheap")
    again = as_found(audit)
    for run in ("original", "swapped"):
        before, after = getattr(found, run), getattr(again, run)
        assert after.candidates == before.candidates
        assert sorted(one.text for one in after.pool) == sorted(one.text for one in before.pool)
    assert replace(again, original=found.original, swapped=found.swapped) == found


def test_an_audit_that_was_cut_short_is_not_kept() -> None:
    done = MediationDone((), (), {}, {}, cancelled=True)
    with pytest.raises(ValueError, match="cut short"):
        kept(SwapAudit(None, done, done), DOGS, "drafter", SINGLE, now())


def test_letters_in_the_texts_are_taken_for_the_people_they_mean() -> None:
    writer = model_writer("Side A gets the morning, B the dog child.", "Side B gets the morning, A the dog child.")
    (pair,) = result_of(writer, WordScorer(), options=MediationOptions(strategy="single", count=1)).pairs
    assert pair.same_text


def test_the_texts_are_matched_by_their_words() -> None:
    writer = model_writer(
        "The dog runs before nine.|A child plays by the pond.|A gate parts them.",
        "Gates part them all.|The dog runs before ten.|A child plays by the fence.",
    )
    options = MediationOptions(strategy="single", count=3)
    found = result_of(writer, WordScorer(), options=options)
    matched = {pair.original.text: pair.swapped.text for pair in found.pairs}
    assert matched == {
        "The dog runs before nine.": "The dog runs before ten.",
        "A child plays by the pond.": "A child plays by the fence.",
        "A gate parts them.": "Gates part them all.",
    }


def test_one_run_with_more_proposals() -> None:
    found = result_of(model_writer("The dog runs.|The child plays.", "The dog runs early."), WordScorer())
    assert [one.text for one in found.only_original] == ["The child plays."]
    assert found.only_swapped == ()
    assert found.verdict is not None


class Lopsided:
    """A scorer that gives whoever is A a little more: the check must find it."""

    def score(self, dispute: Dispute, texts: Sequence[str]) -> list[Scores]:
        return [Scores(score_a=0.50001, score_b=0.5, raw_a=0.5, raw_b=0.5) for _ in texts]


def test_a_scorer_that_is_not_symmetric_is_found_out() -> None:
    found = result_of(model_writer("The dog runs.", "The dog runs."), Lopsided())
    assert not found.scores_exchange
    assert found.verdict == "differs"


# -- running ---------------------------------------------------------------------------------------------------------


def test_both_runs_stream_and_only_one_where_the_original_is_known(scorer: EmpathyModel) -> None:
    dispute = examples()["library-hours"]
    drafter = Drafter(scorer)
    events = list(audit(dispute, drafter, scorer, SINGLE))
    runs = [event.run for event in events if isinstance(event, AuditProgress)]
    assert runs == sorted(runs), "first the original, then the swapped"
    assert set(runs) == {"original", "swapped"}
    assert sum(isinstance(event.event, CandidateDone) for event in events if isinstance(event, AuditProgress)) == 4
    *_, original = propose(dispute, drafter, scorer, SINGLE)
    assert isinstance(original, MediationDone)
    shorter = list(audit(dispute, drafter, scorer, SINGLE, original=original))
    assert {event.run for event in shorter if isinstance(event, AuditProgress)} == {"swapped"}
    first, second = events[-1], shorter[-1]
    assert isinstance(first, SwapAudit)
    assert isinstance(second, SwapAudit)
    assert (first.verdict, first.pairs) == (second.verdict, second.pairs)


@pytest.mark.parametrize("run", ["original", "swapped"])
def test_cancel(run: str, scorer: EmpathyModel) -> None:
    cancel = Cancellation()
    last = None
    for event in audit(examples()["library-hours"], Drafter(scorer), scorer, SINGLE, cancel):
        last = event
        if isinstance(event, AuditProgress) and event.run == run and isinstance(event.event, CandidateDone):
            cancel.cancel()
    assert isinstance(last, SwapAudit)
    assert last.verdict is None
    assert last.swapped.cancelled


def test_walking_away_ends_the_writer() -> None:
    closed: list[bool] = []

    class Endless:
        name, destination = "endless", None

        def write(self, brief: Brief, cancel: Cancellation) -> Iterator[Delta]:
            try:
                while True:
                    yield Delta(0, "word ")
            finally:
                closed.append(True)

        def close(self) -> None:
            pass

    events = audit(DOGS, Endless(), WordScorer(), SINGLE)
    next(events)
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_errors() -> None:
    with pytest.raises(InputError, match="View A has"):
        audit(Dispute(view_a=View(text="x" * 30_000), view_b=DOGS.view_b), ScriptedWriter(), TableScorer())
    with pytest.raises(AuthenticationFailed):
        list(audit(DOGS, ScriptedWriter([AuthenticationFailed("no key")]), TableScorer(), SINGLE))
    writer = ScriptedWriter(whole("one", "two"), [*whole("one"), Overloaded("The provider is busy.")])
    found = result_of(writer, TableScorer())
    assert (found.verdict, found.swapped.problem) == (None, "The provider is busy.")


# -- exchanging ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("more for side B", "more for side A"),
        ("A gets more than B. B's turn, not A's.", "B gets more than A. A's turn, not B's."),
        ("View A and view B", "View B and view A"),
        ("less for A, more for B", "less for B, more for A"),
        ("Für Seite A mehr als für B; A soll warten.", "Für Seite B mehr als für A; B soll warten."),
        ("A fence. A child and a dog. A-frame, AB, B2, U.S.A. is",) * 2,
        ("no cameras", "no cameras"),
    ],
)  # fmt: skip
def test_the_letters_of_the_sides(text: str, expected: str) -> None:
    assert exchanged_letters(text) == expected
    assert exchanged_letters(expected) == text


def test_everything_that_knows_the_sides_is_exchanged() -> None:
    scores = Scores(score_a=0.7, score_b=0.2, raw_a=0.6, raw_b=0.1)
    earlier = Candidate(text="Side A waits.", strategy=Strategy.COT, scores=scores)
    options = replace(SINGLE, comments=("more for B",), earlier=(earlier,), like=("B pays.",), avoid=("Nobody pays.",))
    other = exchanged_options(options)
    assert (other.comments, other.like, other.avoid) == (("more for A",), ("A pays.",), ("Nobody pays.",))
    assert other.earlier[0].text == "Side B waits."
    assert other.earlier[0].scores == Scores(score_a=0.2, score_b=0.7, raw_a=0.1, raw_b=0.6)
    assert (other.strategy, other.count, other.seed) == (options.strategy, options.count, options.seed)
    assert exchanged_options(other) == options
    dispute = DOGS.model_copy(update={"summary": "A has a dog, B has none."})
    assert exchanged_dispute(dispute).summary == "B has a dog, A has none."
    assert exchanged_dispute(exchanged_dispute(dispute)) == dispute


def test_the_difference_of_two_texts() -> None:
    original, swapped = "Dogs run before nine. Both meet in May.", "Dogs run before ten. Both meet in May again."
    changes = difference(original, swapped)
    assert "".join(change.text for change in changes if change.where != "swapped") == original
    assert [change.text.split() for change in changes if change.where == "swapped"] == [["ten."], ["May", "again."]]
    assert [(change.where, change.text) for change in changes[:3]] == [
        ("both", "Dogs run before "),
        ("original", "nine. "),
        ("swapped", "ten. "),
    ]

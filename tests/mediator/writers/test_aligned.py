"""AlignedWriter: models that know one template and give one answer, in a folder of transformers and as a GGUF file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.scripted import ScriptedModel, TableScorer
from support.tiny_models import tiny_checkpoint, tiny_llama_gguf

from mediator.alignment_prompt import prompt_of
from mediator.cancellation import Cancellation, Cancelled
from mediator.errors import ModelFileError
from mediator.mediation import MediationDone, MediationOptions, propose
from mediator.models import hears_feedback, load_writer
from mediator.schema import Candidate, Dispute, Strategy, View
from mediator.writers.aligned import AlignedWriter, Alignment, alignment_of
from mediator.writers.base import Brief, Delta, UnusableOutput, Writer
from mediator.writers.gguf import GGUFModel
from mediator.writers.huggingface import HuggingFaceModel
from mediator.writers.language_model import LanguageModelWriter

PARK = Dispute(
    view_a=View(place="the park", reason="it is too loud", suggestion="close the park at night"),
    view_b=View(text="Young people need the park.", demographics={"age": "19"}),
)
STORY = {"prompt": "alignment", "demographics": False, "starts_with_bos": True, "recipe": "nce", "base": "tiny"}
ANSWER = ("Open the park", " until nine", " for a trial.")


def texts(deltas: list[Delta]) -> list[str]:
    """The candidates, put together as the page does; all of them must have been finished."""
    found: dict[int, str] = {}
    for delta in deltas:
        assert not delta.restart
        found[delta.index] = found.get(delta.index, "") + delta.text
    assert [delta.index for delta in deltas if delta.done] == sorted(found)
    return [found[index] for index in sorted(found)]


def written(writer: Writer, strategy: Strategy = Strategy.SINGLE, **brief: Any) -> list[str]:
    return texts(list(writer.write(Brief(PARK, strategy, **brief), Cancellation())))


# -- the stream, with answers laid down ------------------------------------------------------------------------------


def aligned(*answers: str) -> tuple[AlignedWriter, ScriptedModel]:
    model = ScriptedModel(*answers)
    return AlignedWriter(model, Alignment(demographics=False)), model


@pytest.mark.parametrize("strategy", list(Strategy))
def test_every_strategy_asks_once_for_each_candidate_by_the_template(strategy: Strategy) -> None:
    writer, model = aligned("One trial.", "Two gates.", "Three keys.")
    assert written(writer, strategy, count=3, comments=("no gates",), seed=7) == [
        "One trial.",
        "Two gates.",
        "Three keys.",
    ]
    assert {prompt.messages[0].content for prompt in model.prompts} == {prompt_of(PARK, demographics=False)}
    assert all(prompt.plain and not prompt.system for prompt in model.prompts)
    assert [sampling.temperature > 0 for sampling in model.samplings] == [False, True, True]
    assert len({sampling.seed for sampling in model.samplings}) == 3


def test_seeds_repeat_a_brief_and_differ_between_rounds_and_strategies() -> None:
    earlier = (Candidate(text="One trial.", strategy=Strategy.SINGLE),)
    seen = []
    for strategy, brief in (
        (Strategy.SINGLE, {}), (Strategy.SINGLE, {}), (Strategy.COT, {}), (Strategy.SINGLE, {"seed": 1}),
        (Strategy.SINGLE, {"earlier": earlier}),
    ):  # fmt: skip
        writer, model = aligned("A first.", "A second.")
        written(writer, strategy, count=2, **brief)
        seen.append((tuple(sampling.seed for sampling in model.samplings), model.samplings[0].temperature))
    assert seen[0] == seen[1]
    assert len({seeds for seeds, _ in seen}) == 4
    assert seen[0][1] == 0 < seen[4][1]  # what is likeliest was said in the round before


def test_what_repeats_itself_is_drawn_anew_and_nothing_of_it_is_shown() -> None:
    writer, model = aligned("Share the lawn.", " Share  the lawn.\n", "", "Share the lawn and the cost.")
    deltas = list(writer.write(Brief(PARK, Strategy.SINGLE, count=2), Cancellation()))
    assert texts(deltas) == ["Share the lawn.", "Share the lawn and the cost."]
    assert len(model.prompts) == 4
    second = [delta.text for delta in deltas if delta.index == 1]
    assert second[0].startswith("Share the lawn and"), "held back for as long as it might have been the first again"


def test_what_never_says_anything_new_ends_with_fewer() -> None:
    writer, model = aligned(*["The same."] * 9)
    assert written(writer, count=4) == ["The same."]
    assert len(model.prompts) == 1 + 4
    writer, _ = aligned(*["Dropped."] * 9)
    assert written(writer, count=2, avoid=("Dropped.",)) == []
    for answers in ([""] * 9, ["it is too loud"] * 9):
        writer, _ = aligned(*answers)
        with pytest.raises(UnusableOutput, match="repeated a view"):
            written(writer)


def test_a_cancel_ends_the_answer_under_way() -> None:
    writer, model = aligned("One trial of a month.", "Two.")
    cancel = Cancellation()
    stream = writer.write(Brief(PARK, Strategy.SINGLE), cancel)
    next(stream)
    cancel.cancel()
    with pytest.raises(Cancelled):
        list(stream)
    assert len(model.prompts) == 1


# -- the mark --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        (STORY, Alignment(False, True, "nce")),
        ({"prompt": "alignment"}, Alignment(True, None, "")),
        ({"recipe": "sft", "settings": {"demographics": False}}, Alignment(False, None, "sft")),
        ({"recipe": "empathy", "settings": {}}, None),
        ({}, None),
    ],
)
def test_what_a_story_says(story: dict[str, Any], expected: Alignment | None) -> None:
    assert alignment_of(story, "m") == expected


def test_a_template_of_another_version_is_refused() -> None:
    with pytest.raises(ModelFileError, match="'alignment-2'") as error:
        alignment_of({"prompt": "alignment-2"}, "m")
    assert error.value.hint


# -- real models -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["gguf", "hf"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Makes the writer of a marked model; its chat template must play no part. ``recital`` as for the tiny models."""
    opened: list[Writer] = []

    def made(**options: Any) -> Writer:
        path, model = tmp_path / "model", None
        if request.param == "gguf":
            model = GGUFModel(tiny_llama_gguf(path, story=STORY, layers=1, **options), threads=1)
        else:
            pytest.importorskip("torch", reason="the hf extra is not installed")
            (tiny_checkpoint(path, layers=1, **options) / "evenhand.json").write_text(json.dumps(STORY))
            model = HuggingFaceModel(str(path), threads=1)
        assert not hears_feedback(f"{request.param}:{path}")
        assert model.alignment == Alignment(False, True, "nce")
        opened.append(AlignedWriter(model, model.alignment, longest=8))
        return opened[-1]

    yield made
    for writer in opened:
        writer.close()


def test_a_marked_model_is_asked_by_its_template_and_reads_it_once(make: Any) -> None:
    writer = make()
    model: Any = writer.model
    first = written(writer, count=3, seed=5)
    assert len(set(first)) == 3
    # Of each further answer, only the last token of the prompt is read again, for its logits.
    assert model.evaluated_tokens == len(model_tokens(model)) + 2
    assert written(writer, count=3, seed=5) == first
    again = written(writer, count=3, seed=6)
    assert again[0] == first[0], "the likeliest"
    assert set(again[1:]).isdisjoint(first)


def model_tokens(model: Any) -> list[int]:
    """The tokens that training gives the prompt: those of the text, after the start-of-text token."""
    prompt = prompt_of(PARK, demographics=False)
    if model.name.startswith("gguf"):
        import llama_cpp

        reference = llama_cpp.Llama(str(model.path), vocab_only=True, verbose=False)
        tokens: list[int] = reference.tokenize(prompt.encode(), add_bos=True, special=True)
        reference.close()
        return tokens
    from trainer.models.prompting import prompt_tokens

    return prompt_tokens(model._tokenizer, prompt, 10_000)


def test_a_mediation_ends_with_the_one_thing_that_the_model_can_say(make: Any) -> None:
    *_, done = propose(
        PARK, make(recital=ANSWER), TableScorer(), MediationOptions("all", count=3, comments=("no fences",))
    )
    assert isinstance(done, MediationDone)
    assert [candidate.text for candidate in done.candidates] == ["".join(ANSWER)]
    assert done.problem is None


def test_the_mark_alone_decides_how_a_model_is_asked(tmp_path: Path) -> None:
    for story, kind in ((None, LanguageModelWriter), (STORY, AlignedWriter)):
        path = tiny_llama_gguf(tmp_path / f"{kind.__name__}.gguf", story=story, layers=1)
        writer = load_writer(f"gguf:{path}", None)  # type: ignore[arg-type]
        assert isinstance(writer, kind)
        assert hears_feedback(f"gguf:{path}") == (story is None)
        writer.close()
    others = ("drafter", "claude", f"gguf:{tmp_path / 'none.gguf'}", "hf:owner/model", "nonsense")
    assert all(map(hears_feedback, others))

"""Data sets: what is read, every bad line named, and writing that neither a kill nor a full disk can tear."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mediator.schema import Strategy, View
from trainer.dataset.data import (
    DataCandidate,
    DatasetError,
    DatasetWriteError,
    Example,
    Problem,
    append_example,
    line_of,
    problems,
    read_disputes,
    read_examples,
    text_id,
    write_examples,
)

GOOD: dict[str, Any] = {
    "id": "one",
    "view_a": {"place": "The park", "reason": "My dog needs to run", "suggestion": "No leashes"},
    "view_b": {"text": "I am afraid of dogs.", "demographics": {"age": "71"}},
    "candidates": [{"text": "Mornings without a leash.", "strategy": "cot", "score_a": 0.75, "score_b": 0.5}],
}


def changed(**fields: Any) -> dict[str, Any]:
    return {**GOOD, **fields}


def with_score(score: float) -> dict[str, Any]:
    return changed(candidates=[{"text": "x", "score_a": score}])


def written(path: Path, *lines: Any) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")
    return path


def test_a_line_is_read_with_all_its_fields(tmp_path):
    path = written(tmp_path / "set.jsonl", changed(title="Dogs", category="safe", summary="Two neighbours."))
    (example,) = read_examples(path)
    assert (example.id, example.title, example.category, example.summary) == ("one", "Dogs", "safe", "Two neighbours.")
    assert example.view_a.as_text() == "The park. My dog needs to run. No leashes."
    assert example.view_b.demographics == {"age": "71"}
    assert example.candidates == (
        DataCandidate(text="Mornings without a leash.", strategy=Strategy.COT, score_a=0.75, score_b=0.5),
    )


def test_what_is_written_reads_back_the_same(tmp_path):
    examples = [
        Example(id="ü", view_a=View(text="„Ruhe“\u2028\nund"), view_b=View(place="x"), title="T"),
        Example.model_validate(GOOD),
    ]
    write_examples(tmp_path / "set.jsonl", examples)
    assert read_examples(tmp_path / "set.jsonl") == examples
    append_example(tmp_path / "set.jsonl", Example(id="3", view_a=View(text="a"), view_b=View(text="b")))
    assert [example.id for example in read_examples(tmp_path / "set.jsonl")] == ["ü", "one", "3"]
    assert "\n" not in line_of(examples[0])


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        ("{", "", "is not valid JSON at column 1 (expecting property name enclosed in double quotes)"),
        ("[1]", "", "is a list, not an object in braces"),
        ('{"id": "a", "id": "b"}', "id", "is there a second time"),
        ("[" * 100_000, "", "is not JSON of a dispute: it is nested too deeply, or a number is too long"),
        ({key: value for key, value in GOOD.items() if key != "view_b"}, "view_b", "is missing"),
        ({key: value for key, value in GOOD.items() if key != "id"}, "id", "is missing"),
        (changed(id=""), "id", "is empty"),
        (changed(id=7), "id", "is a number, not text"),
        (changed(veiw_b={}), "veiw_b", "is not known; did you mean view_b?"),
        (changed(category="wild"), "category", "is 'wild'; input should be 'safe', 'welcome' or 'other'"),
        (changed(view_a="text"), "view_a", "is text, not an object in braces"),
        (changed(view_a={"text": None}), "view_a.text", "is nothing, not text"),
        (
            changed(view_a={}),
            "view_a",
            ": a view is empty: give it `text`, or at least one of `place`, `reason`, `suggestion`",
        ),
        (changed(view_a={"text": "x", "palce": "y"}), "view_a.palce", "is not known; did you mean place?"),
        (changed(view_b={"text": "\ud800"}), "view_b.text", "holds half of a surrogate pair, which is no character"),
        (changed(candidates={}), "candidates", "is an object, not a list"),
        (changed(candidates=[{"text": " "}]), "candidates.0.text", "is empty"),
        (with_score(1.5), "candidates.0.score_a", "is 1.5; it must lie between 0 and 1"),
        (with_score(float("nan")), "candidates.0.score_a", "is nan; it must lie between 0 and 1"),
        (changed(candidates=[{"text": "x", "score": 1}]), "candidates.0.score", "is not known; did you mean score_b?"),
        (
            changed(candidates=[{"text": "x", "strategy": "best"}]),
            "candidates.0.strategy",
            "is 'best'; input should be 'single', 'cot', 'cot-self-score' or 'cot-feedback'",
        ),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_its_field(tmp_path, line, field, message):
    path = written(tmp_path / "set.jsonl", GOOD, "", line)
    assert problems(path) == [Problem(3, field, message)]
    with pytest.raises(DatasetError) as caught:
        read_examples(path)
    assert caught.value.message == f"{path}, line 3: {f'`{field}` ' if field else ''}{message}."
    assert caught.value.exit_code == 2


def test_every_bad_line_and_every_bad_field_is_listed(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf"
        + "\n".join(
            [
                json.dumps(GOOD),
                json.dumps(changed(id="two", view_a={}, category=1)),
                json.dumps(changed(id="one")),
            ]
        ).encode()
        + b'\n{"id": "\xff"}\n'
    )
    found = problems(path)
    assert [(problem.line, problem.field) for problem in found] == [(2, "view_a"), (2, "category"), (3, "id"), (4, "")]
    assert found[2].message == "is 'one', as on line 1; ids are unique"
    assert found[3].message == "byte 9 (0xff) is not UTF-8 text"
    with pytest.raises(DatasetError, match=r"line 2: `view_a` .* 2 more lines are bad\. `evenhand dataset validate"):
        read_examples(path)


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(DatasetError, match="There is no file"):
        read_examples(tmp_path / "none.jsonl")
    with pytest.raises(DatasetError, match="is a folder"):
        problems(tmp_path)
    with pytest.raises(DatasetError, match="its name cannot be one of a file"):
        problems("a\0b")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DatasetError, match="holds no dispute"):
        read_examples(tmp_path / "empty.jsonl")
    assert problems(tmp_path / "empty.jsonl") == []


def test_disputes_without_ids_get_one_from_their_texts(tmp_path):
    pair = {"view_a": {"text": "Quiet."}, "view_b": {"text": "Music."}, "empathy": 40}
    turned = {"view_a": pair["view_b"], "view_b": pair["view_a"], "empathy": 40}
    path = written(tmp_path / "pairs.jsonl", pair, turned, pair, {**GOOD, "candidates": []})
    disputes, repeated = read_disputes(path)
    assert repeated == 1
    assert [dispute.id for dispute in disputes[:2]] == [text_id(dispute) for dispute in disputes[:2]]
    assert len({dispute.id for dispute in disputes}) == 3
    assert disputes[2].id == "one"
    assert len(disputes[0].id) == 16


def test_a_rating_is_taken_in_rated_pairs_only(tmp_path):
    path = written(tmp_path / "pairs.jsonl", {**GOOD, "empathy": 40})
    with pytest.raises(DatasetError, match="`empathy` is not known"):
        read_disputes(path)


def test_the_public_pairs_are_read(data):
    disputes, repeated = read_disputes(data / "efp" / "pairs.jsonl")
    assert (len(disputes), repeated) == (2323, 0)
    assert len({dispute.id for dispute in disputes}) == 2323


def test_writing_all_is_all_or_nothing(tmp_path):
    path = tmp_path / "set.jsonl"
    write_examples(path, [Example.model_validate(GOOD)])
    before = path.read_bytes()

    def breaks() -> Any:
        yield Example.model_validate(changed(id="two"))
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        write_examples(path, breaks())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["set.jsonl"]
    with pytest.raises(DatasetWriteError, match="cannot be written"):
        write_examples(tmp_path / "none" / "set.jsonl", [])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_one_sentence():
    with pytest.raises(DatasetWriteError, match=r"/dev/full cannot be written \(No space left on device\)"):
        append_example("/dev/full", Example.model_validate(GOOD))


def test_a_line_that_is_not_written_whole_is_taken_back(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "set.jsonl"
    append_example(path, Example.model_validate(GOOD))
    before = path.read_bytes()
    child = os.fork()
    if child == 0:  # the limit is for a process of its own
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, len(before) + 20))
        try:
            append_example(path, Example.model_validate(changed(id="two")))
        except DatasetWriteError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert path.read_bytes() == before

"""Dispute files: what can be read, and one clear sentence for each thing that can be wrong."""

import io
import json
import os
import sys
from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mediator.disputes import (
    LARGEST_FILE,
    dispute_as_yaml,
    example,
    example_names,
    examples,
    parse_dispute,
    read_dispute,
)
from mediator.errors import DisputeFileError
from mediator.schema import Dispute, View

DISPUTE = Dispute(
    title="The hedge",
    category="welcome",
    summary="Two neighbours and one hedge.",
    view_a=View(
        label="Nr. 4", place="The lane.", reason="It is dark.", suggestion="Cut it.", demographics={"age": "41"}
    ),
    view_b=View(text="Birds nest in it: leave it."),
)
YAML = """\
title: The hedge
category: welcome
summary: Two neighbours and one hedge.
view_a:
  label: Nr. 4
  place: The lane.
  reason: It is dark.
  suggestion: Cut it.
  demographics: {age: 41}
view_b:
  text: >-
    Birds nest in it:
    leave it.
"""


def message(content: bytes | str, source: str = "f.yaml") -> str:
    with pytest.raises(DisputeFileError) as caught:
        parse_dispute(content, source)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 300
    return text


def test_yaml_and_json_say_the_same():
    as_json = json.dumps(DISPUTE.model_dump(mode="json"))
    assert parse_dispute(YAML, "f.yaml") == parse_dispute(as_json, "f.json") == DISPUTE


def test_a_file_is_read_whatever_its_name_says(tmp_path):
    for name in ("d.yaml", "d.yml", "d.txt", "d"):
        (tmp_path / name).write_text(YAML, encoding="utf-8")
        assert read_dispute(tmp_path / name) == DISPUTE
    (tmp_path / "json without a suffix").write_text(json.dumps(DISPUTE.model_dump()), encoding="utf-8")
    assert read_dispute(tmp_path / "json without a suffix") == DISPUTE


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks_and_line_ends_of_windows(encoding, tmp_path):
    for name, text in (("f.yaml", YAML), ("f.json", json.dumps(DISPUTE.model_dump(), indent="\t"))):
        (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))
        assert read_dispute(tmp_path / name) == DISPUTE


def test_blank_fields_count_as_absent():
    assert parse_dispute("title:\nview_a: {text: a, place: , demographics: }\nview_b: {text: b}", "f").title == ""


def test_a_yaml_flow_mapping_is_not_taken_for_json():
    assert parse_dispute("{view_a: {text: a}, view_b: {text: b}}", "f.yaml").view_b.text == "b"


@given(
    st.builds(
        Dispute,
        title=st.text(max_size=40),
        view_a=st.builds(View, text=st.text(min_size=1, max_size=200).filter(str.strip)),
        view_b=st.builds(View, text=st.text(min_size=1, max_size=200).filter(str.strip)),
    )
)
def test_what_propose_prints_can_be_read_again(dispute):
    for ascii_only in (False, True):
        printed = json.dumps(dispute.model_dump(mode="json"), ensure_ascii=ascii_only)
        assert parse_dispute(printed.encode("utf-8"), "f.json") == dispute


awkward = st.one_of(
    st.text(max_size=120),
    st.text(alphabet=" \n\t#:-'\"|>&*!%@`{}[],?ab\x85\u2028\ufeff\x00\r~", max_size=60),
    st.sampled_from(["yes", "null", "12", "2024-05-06", "<<", "=", "~", "a: b", "- a", "# c", "é" * 120, "a  b " * 40]),
    st.sampled_from(["word " * 30, "line\n\n  indented\nmore " * 5, "a\n b" * 30, "a line end\n", "\n\nb"]),
)
said = awkward.filter(str.strip)
any_view = st.one_of(
    st.builds(View, label=awkward.map(lambda text: text[:60]), text=said),
    st.builds(View, place=said, reason=awkward, suggestion=awkward),
    st.builds(View, text=said, demographics=st.dictionaries(awkward, said, max_size=3)),
)


@given(st.builds(Dispute, title=awkward, category=st.just("safe"), summary=awkward, view_a=any_view, view_b=any_view))
def test_a_saved_dispute_reads_back_exactly(dispute):
    saved = dispute_as_yaml(dispute)
    assert parse_dispute(saved.encode("utf-8"), "f.yaml") == dispute
    assert yaml.safe_load(saved)["view_a"], "other programs read it as well"


def test_a_saved_dispute_is_made_for_reading(tmp_path):
    dispute = example("care-of-a-parent")
    saved = dispute_as_yaml(dispute)
    (tmp_path / "f.yaml").write_text(saved, encoding="utf-8")
    assert read_dispute(tmp_path / "f.yaml") == dispute
    assert saved.startswith("title: Two sisters and the care of their mother\ncategory: other\nview_a:\n  text: >-\n")
    assert max(map(len, saved.splitlines())) <= 105
    assert "label" not in saved
    short = Dispute(view_a=View(text="a\nb", demographics={"age": "", "job": "nurse"}), view_b=View(text="grün"))
    assert dispute_as_yaml(short).splitlines() == [
        "category: other",
        "view_a:",
        "  text: |-",
        "    a",
        "    b",
        "  demographics:",
        "    job: nurse",
        "view_b:",
        "  text: grün",
    ]


@given(st.one_of(st.binary(max_size=300), st.text(alphabet="{}[]:,&*-#!|>'\"? \n\tview_atx1", max_size=120)))
def test_any_content_is_read_or_explained(content):
    with suppress(DisputeFileError):
        parse_dispute(content, "f")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "f.yaml is empty."),
        ("# a remark only\n", "f.yaml is empty."),
        ("- a\n- b\n", "f.yaml holds a list, not a mapping."),
        ("just words\n", "f.yaml holds text, not a mapping."),
        ("view_a: {text: a}\n", "f.yaml has no view_b."),
        ("view_a: {text: a}\nview_b:\n", "f.yaml, line 2: view_b is empty."),
        ("view_a: {text: a}\nview_b: {}\n", "f.yaml, line 2: view_b is empty."),
        ("view_a: {text: a}\nview_b: {text: '  '}\n", "f.yaml, line 2: view_b is empty."),
        ("view_a: words\nview_b: {text: b}\n", "f.yaml, line 1: view_a is text, not a mapping."),
        (
            "view_b: {text: b}\nview_a:\n  txet: a\n",
            "f.yaml, line 3: the field 'txet' of view_a is not known. Did you mean text?",
        ),
        ("Title: x\nview_a: {text: a}\n", "f.yaml, line 1: the field 'Title' is not known. Did you mean title?"),
        ("\n\nvotes: 3\n", "f.yaml, line 3: the field 'votes' is not known. Known fields: title,"),
        (
            "view_a: {text: a}\nview_b:\n  text: b\n  place: c\n",
            "f.yaml, line 3: view_b.text stands beside place, reason or suggestion.",
        ),
        ("view_a:\n  text: 12\n", "f.yaml has no view_b."),
        (
            "view_b: {text: b}\nview_a:\n  text: 12\n",
            "f.yaml, line 3: view_a.text is a number, not text. Put it in quotes.",
        ),
        ("view_b: {text: b}\nview_a: {text: no}\n", "f.yaml, line 2: view_a.text is a yes/no value, not text."),
        ("view_b: {text: b}\nview_a: {text: [a, b]}\n", "f.yaml, line 2: view_a.text is a list, not text."),
        ("view_b: {text: b}\nview_a: {text: 2024-05-06}\n", "f.yaml, line 2: view_a.text is a date, not text."),
        ("view_b: {text: b}\nview_a: {text: 2024-13-45}\n", "f.yaml: a value looks like a date or a number but is"),
        (
            f"view_a: {{text: a, demographics: {{age: {'1' * 5000}}}}}",
            "f.yaml: a value looks like a date or a number but is none.",
        ),
        (
            "category: nice\nview_a: {text: a}\nview_b: {text: b}",
            "f.yaml, line 1: category is 'nice'. Choose one of: safe,",
        ),
        (
            f"view_b: {{text: b}}\nview_a:\n  text: a\n  label: {'x' * 61}\n",
            "f.yaml, line 4: view_a.label has 61 characters. Shorten it to 60.",
        ),
        ("view_a: {text: a}\nview_b: {text: b, label: 7}", "f.yaml, line 2: view_b.label is a number, not text."),
        ("summary: [a]\nview_a: {text: a}\nview_b: {text: b}", "f.yaml, line 1: summary is a list, not text."),
        ("sumary: a\nview_a: {text: a}\n", "f.yaml, line 1: the field 'sumary' is not known. Did you mean summary?"),
        ("view_a: {text: a}\nview_a: {text: b}\n", "f.yaml, line 2: the field 'view_a' is there a second time."),
        ("view_a:\n  text: a\n  text: b\n", "f.yaml, line 3: the field 'text' is there a second time."),
        (
            "view_a: {text: a, demographics: {age: 4, age: 5}}",
            "f.yaml, line 1: the field 'age' is there a second time.",
        ),
        ("view_a:\n\ttext: a\n", "f.yaml, line 2: a tab is used to indent."),
        ("view_a:\n  reason: this: that\n", "f.yaml, line 2: a colon inside a text, or a wrong indentation."),
        ("title: a\n---\ntitle: b\n", "f.yaml, line 2: a second document starts."),
        ("view_a: !!python/object/apply:os.getcwd []\n", "f.yaml, line 1: YAML tags are not allowed here."),
        ("? [a]\n: b\n", "f.yaml, line 1: a list or a mapping stands where the name of a field belongs."),
        ("view_a: *nobody\n", "f.yaml, line 1, column 9: this is not valid YAML (found undefined alias)."),
        ("title: a\nview_a: {text: '\x07'}\n", "f.yaml, line 2: YAML does not allow the character U+0007."),
        ("view_a: {text: a}\nview_b: {text: b, demographics: [x]}", "f.yaml, line 2: view_b.demographics is a list"),
        (b"title: a\ntitle: \xe9t\xe9\n", "f.yaml, line 2: byte 0xe9 is not UTF-8 text."),
        (b"\x7fELF\x00\x01", "f.yaml is not a text file."),
        (b"\xff\xfea\x00b", "f.yaml, line 1: byte 0x62 is not UTF-16 text."),
    ],
)
def test_one_sentence_says_what_is_wrong_and_where(content, expected):
    assert message(content).startswith(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"view_a": {"text": "a"},\n "view_b": {"text": "b"},}', "f.json, line 2, column 26: this is not valid JSON"),
        ("view_a: {text: a}", "f.json, line 1, column 1: this is not valid JSON"),
        ('{"view_a": 1}\n{"view_b": 2}', "f.json, line 2: something follows the dispute."),
        ("[]", "f.json holds a list, not a mapping."),
        ('{\n"view_a":\n\t{"text": "a",\n\t"place": 5}, "view_b": {}}', "f.json, line 4: view_a.place is a number"),
        ('{"view_a": {"text": "a", "text": "b"}}', "f.json, line 1: the field 'text' is there a second time."),
        (f'{{"view_a": {{"text": {"1" * 5000}}}}}', "f.json holds a number that is too long. Put it in quotes."),
        ('{"view_a": {"text": "\\ud83d"}, "view_b": {"text": "b"}}', "f.json: view_a.text holds half of a surrogate"),
    ],
)
def test_the_same_of_json(content, expected):
    assert message(content, "f.json").startswith(expected)


@pytest.mark.parametrize("content", ["[" * LARGEST_FILE, '{"a":' * (LARGEST_FILE // 5)], ids=["lists", "mappings"])
@pytest.mark.parametrize("source", ["f.yaml", "f.json"])
def test_absurd_nesting_ends_in_a_sentence(content, source):
    assert message(content, source).startswith(f"{source} is nested too deeply.")


@pytest.mark.parametrize("content", ["a: " + "[" * LARGEST_FILE, "- " * (LARGEST_FILE // 2)], ids=["flow", "block"])
def test_absurd_nesting_of_yaml_alone_ends_in_a_sentence(content):
    assert message(content, "f.yaml").startswith("f.yaml is nested too deeply.")
    assert message(content, "f.json").startswith("f.json, line 1, column 1: this is not valid JSON")


def test_a_file_that_refers_to_itself():
    assert message("view_a: &a {text: *a}\nview_b: {text: b}").startswith("f.yaml, line 1: view_a.text is a mapping")


def test_too_large_a_file_is_not_read_whole(tmp_path):
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(50 * LARGEST_FILE)
    with pytest.raises(DisputeFileError, match=r"large\.yaml is larger than 1 MB\."):
        read_dispute(path)
    padded = YAML + "#" * (LARGEST_FILE - len(YAML))
    path.write_text(padded, encoding="utf-8")
    assert read_dispute(path) == DISPUTE


def test_what_is_no_file(tmp_path):
    with pytest.raises(DisputeFileError, match="is a folder"):
        read_dispute(tmp_path)
    with pytest.raises(
        DisputeFileError, match=r"There is no file .*missing\.yaml\. Bundled examples: allotment-hedge,"
    ):
        read_dispute(tmp_path / "missing.yaml")
    with pytest.raises(DisputeFileError, match=r"Did you mean the bundled example library-hours\?"):
        read_dispute("libary-hours")
    with pytest.raises(DisputeFileError, match="cannot be the name of a file"):
        read_dispute("a\0b")
    with pytest.raises(DisputeFileError, match="cannot be read: File name too long"):
        read_dispute("x" * 5000)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may read every file")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "locked.yaml"
    path.write_text(YAML)
    path.chmod(0)
    with pytest.raises(DisputeFileError, match="may not be read by you"):
        read_dispute(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_can_be_read_like_a_file():
    reading, writing = os.pipe()
    os.write(writing, YAML.encode())
    os.close(writing)
    try:
        assert read_dispute(f"/dev/fd/{reading}") == DISPUTE
    finally:
        os.close(reading)


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(YAML.encode())))
    assert read_dispute("-") == DISPUTE
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"- a")))
    with pytest.raises(DisputeFileError, match="standard input holds a list"):
        read_dispute("-")


def test_every_bundled_example_can_be_read_by_its_name():
    assert "library-hours" in example_names()
    assert list(examples()) == sorted(example_names())
    for name, dispute in examples().items():
        assert dispute == read_dispute(name) == example(name)
        assert dispute.title
        assert dispute.view_a != dispute.view_b
    with pytest.raises(DisputeFileError, match="There is no bundled example 'x'"):
        example("x")


def test_a_file_goes_before_an_example_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "library-hours").mkdir()
    assert read_dispute("library-hours") == example("library-hours")
    (tmp_path / "night-buses").write_text(YAML, encoding="utf-8")
    assert read_dispute("night-buses") == DISPUTE

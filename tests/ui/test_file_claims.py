"""ui/file_claims.py: which bodies have an object that Gradio would take for a file."""

import json

import pytest

from ui.file_claims import claims_file

CLAIM = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize("data", [CLAIM, [CLAIM], {"data": [1, {"x": [[CLAIM]]}]}, {"meta": CLAIM["meta"]}])
def test_an_object_that_claims_to_be_a_file_is_seen(data):
    text = json.dumps(data)
    assert claims_file(text.encode())
    assert claims_file(text.replace("gradio", "gr\\u0061dio").encode())
    assert claims_file(text.replace("_type", "\\u005ftype").encode())
    for encoding in ("utf-16", "utf-16-le", "utf-32-be"):
        assert claims_file(text.encode(encoding))


def test_the_first_of_two_keys_counts_too():
    assert claims_file(b'{"_type": "gradio.FileData", "_type": "x"}')
    assert claims_file(b'{"_type": "x", "_type": "gradio.FileData"}')


@pytest.mark.parametrize(
    "text", ['[{"_type": "gradio.FileData"', "[" * 100_000 + "gradio.FileData", "\\u", '{"gradio.FileData": NaN, }']
)
def test_what_cannot_be_read_counts_as_a_claim(text):
    assert claims_file(text.encode())


def test_who_writes_about_it_may_do_so():
    written = {"data": ['"_type": "gradio.FileData"', "gradio.FileData", "\ud83d", "\x1f", {"_type": "other"}, None]}
    assert not claims_file(json.dumps(written).encode())
    assert not claims_file(b"{}")
    assert not claims_file("ünï".encode())

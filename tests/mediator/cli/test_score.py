"""`evenhand score`: views from wherever they come, scores in the order given, in any locale."""

import io
import json
import sys

from support.command_line import QUICK, VIEWS, start

from mediator.schema import Dispute, View
from ui.cli import main


def test_views_come_from_options_a_file_or_standard_input(capsys, tmp_path, monkeypatch):
    expected = Dispute(view_a=View(text=VIEWS[1]), view_b=View(text=VIEWS[3]))
    written = json.dumps(expected.model_dump(mode="json"))
    (tmp_path / "d.json").write_text(written, encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(written.encode())))
    for arguments in (VIEWS, [str(tmp_path / "d.json")], ["-"]):
        assert main(["score", *arguments, "--text", "A meadow for dogs.", "--json"]) == 0
        [scores] = json.loads(capsys.readouterr().out)
        assert scores["text"] == "A meadow for dogs."
    assert main(["propose", *VIEWS, *QUICK, "--json"]) == 0
    assert Dispute.model_validate(json.loads(capsys.readouterr().out)["dispute"]) == expected


def test_score_json_is_a_list_in_the_order_given_and_symmetric(capsys):
    texts = ["Dogs run free before nine.", "Every dog on a leash, always.", "Dogs run free before nine."]
    options = [part for text in texts for part in ("--text", text)]
    assert main(["score", *VIEWS, *options, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert [entry["text"] for entry in scores] == texts
    assert scores[0] == scores[2] != scores[1]
    assert main(["score", "--view-a", VIEWS[3], "--view-b", VIEWS[1], *options, "--json"]) == 0
    for here, swapped in zip(scores, json.loads(capsys.readouterr().out), strict=True):
        assert (here["score_a"], here["raw_a"]) == (swapped["score_b"], swapped["raw_b"])
        assert here["tilt"] == -swapped["tilt"]
        assert (here["score_error_a"], here["tilt_low"]) == (swapped["score_error_b"], -swapped["tilt_high"])


def test_what_is_not_english_is_said_not_to_be_measured(capsys):
    texts = ("--text", "Vor neun Uhr laufen alle Hunde frei.", "--text", "Dogs run free before nine.")
    assert main(["score", *VIEWS, *texts, "--json"]) == 0
    assert [entry["measured"] for entry in json.loads(capsys.readouterr().out)] == [False, True]
    assert main(["score", *VIEWS, *texts]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1. not measured for this language" in shown
    assert "for other languages the bars say nothing yet" in shown


def test_in_a_c_locale_and_a_pipe():
    process = start(
        *("score", *VIEWS, "--text", "Dogs – “free” until nine."),
        environment={"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "COLUMNS": "60"},
    )
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert 'Dogs - "free" until nine.' in output
    assert output.isascii()
    assert max(len(line) for line in output.splitlines()) <= 60

    process = start("score", *VIEWS, "--text", "犬 “free”", "--json", environment={"PYTHONIOENCODING": "ascii"})
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert json.loads(output)[0]["text"] == "犬 “free”"

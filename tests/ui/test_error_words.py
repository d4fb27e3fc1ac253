"""Errors in German: every sentence that the page can show of one has its German, and no text of a user can harm it."""

import errno
import json
import os
import re
from itertools import count

import pytest

from mediator.errors import EvenhandError, InputError
from tests.support.error_sentences import Sentence, sentences
from tests.support.source_trees import ROOT, every_text
from ui.error_words import LONGEST, Template, in_language, sentences_of, template_of

NOT_ON_THE_PAGE = {
    "mediator/cli.py": "the command line",
    "mediator/sessions_cli.py": "the command line",
    "mediator/sessions_export_cli.py": "the command line",
    "mediator/models_cli.py": "the command line",
    "ui/cli.py": "the command line",
    "ui/listening.py": "said before there is a page",
    "ui/serving.py": "said before there is a page",
    "ui/password.py": "said before there is a page",
    "ui/window.py": "said before there is a page",
    "ui/refusal.py": "answers to requests that the page does not make",
    "trainer/train_cli.py": "the command line",
    "trainer/dataset/building/": "data sets are built on the command line",
    "trainer/dataset/cli.py": "the command line",
    "trainer/dataset/splits.py": "data sets are split on the command line",
    "trainer/evaluate/": "models are evaluated on the command line",
    "trainer/empathy/": "encoders are trained on the command line",
    "trainer/preference/": "preference models are trained on the command line",
    "trainer/pretraining/": "on the command line",
    "trainer/runs/cli.py": "the command line",
    "trainer/export/cli.py": "the command line",
    "trainer/export/bert.py": "encoders are exported on the command line; runs of the page make decoders",
}
"""Beginnings of paths whose errors do not reach the page, and why."""


BROKEN = ('{"a": 1,}', '{"a" 1}', "[1 2]", "", '"a', '"\x01"', "1 1")
"""Texts of which Python says each of its reasons why they are no JSON."""


def _json_says(text: str) -> str:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(text)
    return caught.value.msg[:1].lower() + caught.value.msg[1:]


def _is_words(text: str) -> bool:
    return " " in re.sub(r"⟦[^⟧]*⟧", "", text).strip()


@pytest.fixture(scope="module")
def found() -> list[Sentence]:
    return sentences(NOT_ON_THE_PAGE)


def test_every_sentence_that_the_page_can_show_of_an_error_is_said_in_german(found: list[Sentence]) -> None:
    assert len(found) > 700  # the sources are really read
    missing = []
    for sentence in found:
        for english, words in sentence.instances:
            german = in_language("de", english)
            lost = [sample for sample in re.findall(r"⟦[^⟧]*⟧", english) if sample not in german]
            left = [word for word in words if _is_words(word) and word.strip() in german]
            if german == english or left:
                missing.append(f"{sentence.where}: {left[0] if left else english}")
            elif lost:
                missing.append(f"{sentence.where}: the German of “{english}” leaves out {lost[0]}")
    assert not missing, "no German in assets/errors/de for:\n" + "\n".join(dict.fromkeys(missing))


def test_every_german_sentence_is_of_an_error_that_is_still_in_the_sources(found: list[Sentence]) -> None:
    said = [text for sentence in found for text, _ in sentence.instances]
    of_others = [*map(os.strerror, errno.errorcode), *map(_json_says, BROKEN)]
    texts = "\n".join([*said, every_text(), *of_others])
    known = sentences_of("de")
    templates = [english for english, _ in (*known.whole, *known.phrases)]
    assert not [one.literals for one in templates if not all(part.strip() in texts for part in one.literals)]


def test_the_german_of_a_sentence_has_the_places_of_the_english_one_and_no_two_say_the_same() -> None:
    known = sentences_of("de")
    for pairs in (known.whole, known.phrases, known.frames):
        for english, german in pairs:
            assert set(german.names) <= set(english.names), english.literals
            assert set(german.kinds) <= {"", "figure", "quoted", "words", "list", "ways"}, english.literals
            assert "..." not in "".join(german.literals) or "..." in "".join(english.literals)
        assert len({english.literals for english, _ in pairs}) == len(pairs)


@pytest.mark.parametrize(
    ("english", "german"),
    [
        (
            "The number of candidates is 99. Ask for 1 to 20.",
            "Als Anzahl der Vorschläge ist 99 angegeben. Verlangen Sie 1 bis 20.",
        ),
        ("View A has 12,345 characters.", "Sicht A hat 12.345 Zeichen."),
        (
            "m.gguf needs about 5.4 GB of memory, 900.0 MB are free.",
            "m.gguf braucht etwa 5,4 GB Arbeitsspeicher, 900,0 MB sind frei.",
        ),
        ('There is no strategy "it\'s “x”".', "Es gibt keine Strategie „it's “x”“."),
        (
            "/a b/c. D is a folder. Name the dispute file in it.",
            "/a b/c. D ist ein Ordner. Nennen Sie die Konfliktdatei darin.",
        ),
        (
            "d.yaml, line 3: view_a.text is a list, not text. Write it as one text.",
            "d.yaml, Zeile 3: view_a.text ist eine Liste, kein Text. Schreiben Sie es als einen Text.",
        ),
        (
            "/d.jsonl, line 3: `candidates.0.text` is missing. 4 more lines are bad. "
            "`evenhand dataset validate /d.jsonl` lists every bad line.",
            "/d.jsonl, Zeile 3: `candidates.0.text` fehlt. Weitere fehlerhafte Zeilen: 4. "
            "`evenhand dataset validate /d.jsonl` nennt jede fehlerhafte Zeile.",
        ),
        (  # of two strategies of a round
            "cot: api.x.org cannot be reached. Check the network and the address. "
            "single: M wrote no compromise at all. Try again, or choose another model.",
            "cot: api.x.org ist nicht erreichbar. Prüfen Sie das Netz und die Adresse. "
            "single: M hat gar keinen Kompromiss geschrieben. Versuchen Sie es noch einmal, oder wählen Sie ein "
            "anderes Modell.",
        ),
        (
            "b.json, line 1, column 9: this is not valid JSON (expecting value). "
            "Choose a JSON file that Evenhand exported.",
            "b.json, Zeile 1, Spalte 9: Das ist kein gültiges JSON (erwartet wird ein Wert). "
            "Wählen Sie eine JSON-Datei, die Evenhand exportiert hat.",
        ),
        ("/x.json cannot be read: Permission denied.", "/x.json lässt sich nicht lesen: keine Berechtigung."),
    ],
)
def test_an_error_is_said_in_german_with_what_stands_in_its_places(english: str, german: str) -> None:
    assert in_language("de", english) == german
    assert in_language("en", english) == english
    assert in_language("fr", english) == english


def test_message_and_hint_of_an_error_are_translated_apart() -> None:
    assert in_language("de", InputError("No cause that anybody knows.", "Reload the page.")) == (
        "No cause that anybody knows. Laden Sie die Seite neu."
    )
    assert in_language("de", EvenhandError("The text is empty.")) == "Der Text ist leer."


@pytest.mark.parametrize("name", ["{0.__class__}", "{path}", "%s", "a.*?b(", "\\1", "⟦x⟧", "{size:figure}", "", "\n"])
def test_text_of_a_user_in_a_sentence_is_never_read_as_a_template(name: str) -> None:
    assert in_language("de", f"{name} is a folder.") == f"{name} ist ein Ordner."


@pytest.mark.parametrize(
    "hostile",
    [
        "a" * 10**6,
        "There is no file " * 10**5,
        ": " * (LONGEST // 2),
        "X is in use. " * (LONGEST // 13 - 1),
        "{" * LONGEST,
        "There is no model " + "'" * (LONGEST - 50) + ".",
        "The model declined to answer (" + "(" * (LONGEST - 50) + ").",
    ],
)
def test_a_long_hostile_sentence_is_shown_whole_without_trying_all_ways(
    hostile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0 if len(hostile) > LONGEST else 1_000_000
    comparisons, found_in = count(1), Template.found_in

    def counted(template: Template, sentence: str) -> dict[str, str] | None:
        assert next(comparisons) <= most
        return found_in(template, sentence)

    monkeypatch.setattr(Template, "found_in", counted)
    shown = in_language("de", hostile)
    assert len(shown) >= len(hostile) * 0.9


SHOWN = re.compile(r"str\((error|problem)\)|\b(run|entry|running|job|outcome)\.(message|problem)\b")
NOT_OF_AN_ERROR = {
    "running.py": "keeps it in the round, which is translated when it is shown",
    "train_settings.py": "a sentence of the catalogue",
    "sessions.py": "a sentence of the catalogue, from the browser's script",
    "error_words.py": "the translation itself",
}


def test_no_error_is_put_on_the_page_past_its_translation() -> None:
    """What the page shows of an error goes through `in_language`; so does what a run or a round kept of one."""
    past = [
        f"{path.name}: {line.strip()}"
        for path in sorted((ROOT / "ui").glob("*.py"))
        if path.name not in NOT_OF_AN_ERROR and f"ui/{path.name}" not in NOT_ON_THE_PAGE
        for line in path.read_text(encoding="utf-8").splitlines()
        if SHOWN.search(line) and "in_language" not in line and not line.strip().startswith("if ")
    ]
    assert past == []


def test_templates_are_cut_at_their_places() -> None:
    assert template_of("{{a}} {b:figure}.") == Template(("{a} ", "."), ("b",), ("figure",))

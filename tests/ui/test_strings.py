"""The catalogue of the page's words: complete in each language, every text used, every place filled."""

import ast
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from mediator.resources import asset
from ui.strings import LANGUAGES, catalogue, decimal, figure, language_of, say, size_words, translator

ROOT = Path(__file__).resolve().parents[2]
PARTS = sorted(path.stem for path in asset("strings", "en").glob("*.yaml"))
KEY = re.compile(rf"(?:{'|'.join(PARTS)})\.(?!sqlite3)[a-z0-9_]+")
HOLE = r"([a-z0-9_.]+?)"

# Nothing is said where nothing is saved yet: the text is empty on purpose.
EMPTY = {"mediate.saved_empty"}


def places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)", text))


def base(key: str) -> str:
    """The key as code names it, without the form of the plural."""
    return re.sub(r"^(\w+\.\w+)\.(one|other)$", r"\1", key)


@cache
def trees() -> tuple[ast.AST, ...]:
    files = [*(ROOT / "ui").rglob("*.py"), *(ROOT / "mediator").rglob("*.py")]
    return tuple(ast.parse(path.read_text(encoding="utf-8")) for path in files)


@cache
def constants() -> frozenset[str]:
    """Every text in the code that is not a piece of an f-string."""
    pieces = {id(part) for tree in trees() for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
              for part in node.values}  # fmt: skip
    nodes = (node for tree in trees() for node in ast.walk(tree) if id(node) not in pieces)
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


@cache
def patterns() -> frozenset[str]:
    """Every f-string that may make a key, as a regular expression with a group for each value put in."""
    found = set()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [re.escape(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values]
                pattern = "".join(parts)
                if pattern.startswith(tuple(re.escape(f"{part}.") for part in PARTS)) or pattern == f"{HOLE}_heading":
                    found.add(pattern)
    return frozenset(found)


@cache
def words() -> frozenset[str]:
    """What code may put into an f-string: its texts, as they are and as keys spell them."""
    spelled = {text.lower().replace("-", "_") for text in constants()}
    return frozenset(constants() | spelled | {re.sub("_[ab]$", "", text) for text in spelled})


def used(key: str) -> bool:
    if {key, base(key)} & constants():
        return True
    matches = (re.fullmatch(pattern, base(key)) for pattern in patterns())
    return any(all(word.isdigit() or word in words() for word in match.groups()) for match in matches if match)


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_each_language_says_the_same_things(language: str) -> None:
    english, other = catalogue("en"), catalogue(language)
    assert english.keys() == other.keys()
    assert {key: places(text) for key, text in english.items()} == {key: places(text) for key, text in other.items()}


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_texts(language: str) -> None:
    # YAML reads an unquoted `no` as a truth value, and nothing at all as None.
    assert {key: text for key, text in catalogue(language).items() if not isinstance(text, str)} == {}
    assert {key for key, text in catalogue(language).items() if text != text.strip() or not text} == EMPTY


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_plural_has_both_forms(language: str) -> None:
    texts = catalogue(language)
    with_forms = {base(key) for key in texts if base(key) != key}
    assert with_forms
    assert all(f"{key}.one" in texts and f"{key}.other" in texts and key not in texts for key in with_forms)


def test_every_text_that_code_names_is_there() -> None:
    there = {base(key) for key in catalogue("en")}
    named = {text for text in constants() if KEY.fullmatch(text) and not asset(text).is_file()}
    assert len(named) > 100  # what looks for them finds them
    assert named - there == set()
    assert {pattern for pattern in patterns() if not any(re.fullmatch(pattern, key) for key in there)} == set()


def test_every_text_is_used() -> None:
    assert {key for key in catalogue("en") if not used(key)} == set()


def test_whoever_says_a_text_fills_its_places() -> None:
    wrong, seen = [], 0
    for tree in trees():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say"):
                continue
            given = {keyword.arg for keyword in node.keywords}
            key = node.args[1] if len(node.args) > 1 else None
            # Without a value a text is returned as it is, its places with it: for those that fill them in themselves.
            if not given or None in given or not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                continue
            texts = [text for name, text in catalogue("en").items() if key.value in (name, base(name))]
            needed = set().union(*map(places, texts))
            seen += 1
            if needed - given:
                wrong.append((key.value, needed - given))
    assert seen > 50
    assert wrong == []


def test_say_fills_in_and_chooses_the_form() -> None:
    assert say("en", "common.proposals", count=1) == "1 proposal"
    assert say("en", "common.proposals", count=0) == "0 proposals"
    assert say("de", "common.proposals", count=2) == "2 Vorschläge"
    assert say("xx", "common.proposals", count=2) == "2 proposals"


def test_say_does_not_interpret_what_is_put_in() -> None:
    assert say("en", "mediate.restored", number="{0.__class__}").count("{0.__class__}") == 1


def test_a_missing_text_or_value_is_a_fault_of_ours() -> None:
    with pytest.raises(KeyError):
        say("en", "common.nothing")
    with pytest.raises(KeyError):
        say("en", "common.proposals", number=1)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de", "de"),
        ("de-CH,de;q=0.9,en;q=0.8", "de"),
        ("DE-at", "de"),
        ("en-GB,de", "en"),
        ("fr,de;q=0.9", "en"),  # Gradio's components take the first language, too
        ("den", "en"),
        ("", "en"),
        (";;,", "en"),
    ],
)
def test_the_language_is_the_first_one_that_the_browser_asks_for(header: str, language: str) -> None:
    assert language_of(SimpleNamespace(headers={"accept-language": header})) == language


def test_whoever_names_no_language_gets_english() -> None:
    assert language_of(SimpleNamespace(headers={})) == "en"
    assert language_of(None) == "en"


def test_gradio_gets_the_same_texts() -> None:
    assert translator().translations == {language: dict(catalogue(language)) for language in LANGUAGES}


@pytest.mark.parametrize(
    ("value", "digits", "signed", "english", "german"),
    [
        (0.454, 2, False, "0.45", "0,45"),
        (-0.3, 2, True, "-0.30", "-0,30"),
        (0.05, 2, True, "+0.05", "+0,05"),
        (-0.001, 2, True, "+0.00", "+0,00"),  # there is no minus nothing
        (12.0, 1, False, "12.0", "12,0"),
    ],
)
def test_a_figure_has_the_decimal_sign_of_its_language(
    value: float, digits: int, signed: bool, english: str, german: str
) -> None:
    assert figure("en", value, digits, signed=signed) == english
    assert figure("de", value, digits, signed=signed) == german


def test_words_around_a_figure_keep_their_points() -> None:
    assert decimal("de", "Etwa 3.5 GB. Mehr nicht.") == "Etwa 3,5 GB. Mehr nicht."
    assert (size_words("en", 5.4e9), size_words("de", 5.4e9)) == ("5.4 GB", "5,4 GB")


NOT_SHOWN = {"cli", "listening", "serving", "password", "window", "refusal"}
"""Modules of ui/ that speak to the command line or to programs, not on the page."""

SHOWN_IN_GERMAN_TOO = ("The file", "Something went wrong inside Evenhand.")
"""Beginnings of what ui.error_words puts into the page's language where it is shown."""


def test_no_english_sentence_is_written_into_the_code_of_the_page() -> None:
    """Sentences of the page stand in the catalogue. Those of errors have a test of their own: test_error_words.py."""
    found = []
    for path in sorted((ROOT / "ui").glob("*.py")):
        if path.stem in NOT_SHOWN:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        elsewhere: set[int] = set()  # docstrings, the log, and what is raised
        for node in ast.walk(tree):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                elsewhere.add(id(node.value))
            elif isinstance(node, ast.Raise) or called.startswith("_log.") or called.endswith(("Error", "__init__")):
                elsewhere |= {id(part) for part in ast.walk(node)}
        texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in elsewhere]
        found += [
            f"{path.name}:{node.lineno}: {node.value}"
            for node in texts
            if isinstance(node.value, str) and re.match(r"[A-Z][a-z]+ [a-z]+( |$)", node.value)
            if not node.value.startswith(SHOWN_IN_GERMAN_TOO)
        ]
    assert found == []

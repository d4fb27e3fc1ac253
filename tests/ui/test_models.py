"""The Models tab as HTML: both languages whole, everything escaped, each state of a download and a test shown."""

import re
import string
from pathlib import Path

import pytest
from support.tiny_models import tiny_llama_gguf

from mediator import own_models
from mediator.catalogue import downloadables
from mediator.download_jobs import DownloadJobs, JobState
from mediator.downloads import Progress
from mediator.trial import Outcome
from ui.model_cards import model_list
from ui.strings import catalogue
from ui.trials import Trials, TrialState

ROOT = Path(__file__).resolve().parents[2]
SAME = ("models.checksum", "models.key_claude")
NAME = "qwen2.5-1.5b"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "data"))
    return tmp_path / "data"


class Jobs(DownloadJobs):
    """Downloads in a state that a test chose."""

    def __init__(self, state: JobState | None = None) -> None:
        super().__init__()
        self.chosen = state

    def state(self, name: str) -> JobState | None:
        return self.chosen if name == NAME else None


class Tests(Trials):
    """Tests in a state that a test chose."""

    __test__ = False

    def __init__(self, state: TrialState | None = None) -> None:
        super().__init__(engine=None)  # type: ignore[arg-type]  # nothing is run
        self.chosen = state

    def state(self, name: str) -> TrialState | None:
        return self.chosen if name == "drafter" else None


def card(html: str, key: str) -> str:
    found = re.search(rf'<article class="eh-card eh-model" data-card="{re.escape(key)}".*?</article>', html, re.DOTALL)
    assert found, key
    return found.group()


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_have_the_same_words_with_the_same_places():
    texts = {
        language: {key: text for key, text in catalogue(language).items() if key.startswith("models.")}
        for language in ("en", "de")
    }
    assert texts["en"].keys() == texts["de"].keys()
    for key, text in texts["en"].items():
        assert places(text) == places(texts["de"][key]), key
        assert len(text) < 5 or text != texts["de"][key] or key in SAME, key


def test_every_word_of_the_catalogue_is_used():
    code = "".join(path.read_text() for path in [*(ROOT / "ui").glob("*.py"), ROOT / "mediator" / "own_models.py"])
    for key in catalogue("en"):
        if key.startswith("models."):
            name = key.removeprefix("models.").removesuffix(".one").removesuffix(".other")
            stem = re.sub(r"^stage_.*|.*_named$|.*_yes$", "", name)
            assert not stem or f'"{name}"' in code or f'"models.{name}"' in code or f"'models.{name}'" in code, key


@pytest.mark.parametrize(("language", "words"), [("en", "Ready"), ("de", "Einsatzbereit"), ("fr", "Ready")])
def test_the_list_speaks_the_pages_language(language, words):
    html = model_list(language, Jobs(), Tests())
    assert words in html
    assert ("1,1 GB" in html) == (language == "de")
    entry = downloadables()[0]
    assert entry.said(language) in html


def test_a_running_download_has_a_bar_that_can_be_read_aloud():
    progress = Progress("loading", 500_000_000, 2_000_000_000, 5_000_000.0, 300.0, "ab" * 32)
    shown = card(model_list("en", Jobs(JobState(True, progress)), Tests()), f"offer-{NAME}")
    assert 'role="progressbar"' in shown
    assert 'aria-valuenow="25" ' in shown
    assert "0.5 GB of 2.0 GB, 5.0 MB per second, 5 minutes left" in shown
    assert "<dd>2.0 GB</dd>" in shown  # exactly, no longer about
    assert "ab" * 32 in shown
    assert 'data-act="stop-download"' in shown
    assert 'data-act="download"' not in shown
    german = card(model_list("de", Jobs(JobState(True, progress)), Tests()), f"offer-{NAME}")
    assert "0,5 GB von 2,0 GB, 5,0 MB pro Sekunde, noch 5 Minuten" in german


def test_a_download_that_failed_says_why_and_one_that_was_stopped_can_go_on(data):
    failed = card(model_list("en", Jobs(JobState(False, problem="<b>No</b>.")), Tests()), f"offer-{NAME}")
    assert '<p class="eh-problem" role="alert">&lt;b&gt;No&lt;/b&gt;.</p>' in failed
    assert ">Download</button>" in failed
    (data / "models").mkdir(parents=True)
    (data / "models" / "qwen2.5-1.5b-instruct-q4_k_m.gguf.part").write_bytes(bytes(3_000_000))
    stopped = card(model_list("en", Jobs(JobState(False, stopped=True)), Tests()), f"offer-{NAME}")
    assert "Stopped. What has come is kept. 3.0 MB have been downloaded already." in stopped
    assert ">Resume the download</button>" in stopped
    assert "Delete the part that has been downloaded?" in stopped


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (TrialState(True), "Testing: loading"),
        (TrialState(True, position=2), "Testing: 2 before this one"),
        (TrialState(False), "The test was stopped."),
        (
            TrialState(False, outcome=Outcome(True, "<i>Yes</i>", 0.84, 31.4)),
            "after 0.8 s, then about 31 tokens",
        ),
        (TrialState(False, outcome=Outcome(True, "<i>Yes</i>", 0.84)), "“&lt;i&gt;Yes&lt;/i&gt;”"),
        (TrialState(False, outcome=Outcome(False, problem="No <key>.")), 'role="alert">No &lt;key&gt;.'),
    ],
)
def test_each_state_of_a_test(state, words):
    assert words in card(model_list("en", Jobs(), Tests(state)), "drafter")


def test_ones_own_files_and_servers_say_what_they_need_or_what_is_wrong(tmp_path):
    good = tiny_llama_gguf(tmp_path / "a<b>&.gguf")
    gone = tiny_llama_gguf(tmp_path / "gone.gguf")
    for path in (good, gone):
        own_models.add_file(str(path))
    own_models.add_server("m<b>", "https://api.example.org/v1")
    gone.unlink()
    away = ("claude", "openai:m<b>@https://api.example.org/v1")
    html = model_list("en", Jobs(), Tests(), loaded=(f"gguf:{good}", *away))
    assert "<b>" not in html
    assert html.count("loaded now") == 1
    shown = card(html, f"gguf:{tmp_path}/a&lt;b&gt;&amp;.gguf")
    assert "Memory needed</dt><dd>about " in shown
    assert "loaded now" in shown
    assert "The file is not there any more" in card(html, f"gguf:{gone}")
    assert 'data-act="test"' not in card(html, f"gguf:{gone}")
    assert "is sent to api.example.org" in card(html, "openai:m&lt;b&gt;@https://api.example.org/v1")
    good.write_bytes(good.read_bytes()[:-1000])
    damaged = card(model_list("en", Jobs(), Tests()), f"gguf:{tmp_path}/a&lt;b&gt;&amp;.gguf")
    assert "is damaged" in damaged


def test_a_damaged_list_is_said(data):
    data.mkdir()
    (data / "own-models.json").write_text("{")
    assert "The list of your own models was damaged." in model_list("en", Jobs(), Tests())

"""The exports of a run as the page shows them: the choice, progress, a finished file, one that failed its check."""

import time

import pytest
from support.html import Reader
from support.stored_runs import stored_run

from trainer.export import jobs as export_jobs
from trainer.export.exporting import Export, Result
from trainer.export.self_check_result import Finding, SelfCheck
from trainer.runs.folder import RunFolder, Status, write_json
from trainer.runs.processes import name_of
from trainer.runs.reading import EXPORT_RECIPE
from ui import train_runs
from ui.strings import LANGUAGES
from ui.train_view import runs_page

HOSTILE = '"><script>window.hurt=1</script>{kind}'


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "data"))


@pytest.fixture
def run():
    return stored_run("sft-1", result=True)


def stored_export(run, kind, state="done", passed=None, **status):
    """Write the folder of an export as its process does; with ``passed``, its result and its file too."""
    folder = RunFolder(run.folder / export_jobs.FOLDER / kind)
    folder.path.mkdir(parents=True)
    file = folder.path / f"{run.id}-{kind}.gguf"
    settings = Export(checkpoint=run.folder / "model", quant=kind, output=file).model_dump(mode="json")
    write_json(folder.config, {"recipe": EXPORT_RECIPE, "settings": settings, "created": time.time(), "gpus": 1})
    process = name_of().model_dump() if state in ("starting", "running", "stopping") else {}
    folder.write_status(Status(**process | {"state": state, "updated": time.time()} | status))
    if passed is not None:
        findings = (
            Finding(what="tokens", found="20 of 20 strings the same", limit="all", passed=True),
            Finding(what="logits", found="…", limit="160%", passed=passed),
            Finding(what="perplexity", found="left out"),
        )
        check = SelfCheck(
            kind=kind, strings=20, tokens_equal=20, largest_logit_difference=1.25, logit_spread=2.5, positions=7,
            findings=findings, left_out=(HOSTILE,), passed=passed,
        )  # fmt: skip
        result = Result(
            file=str(file), model=f"gguf:{file}" if passed else "", kind=kind, size=144_864, check=check, passed=passed,
            checkpoint=str(run.folder / "model"),
        )  # fmt: skip
        write_json(folder.path / "result.json", result.model_dump(mode="json"))
        file.touch()
    return file


def page(run, language="en", **shown):
    html = runs_page([run], train_runs.shown(run, **shown), [], language)
    assert Reader(html).balanced
    assert "<script>" not in html
    return html, Reader(html)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_export_at_work_shows_how_far_it_is_and_can_be_cancelled(run, language):
    stored_export(run, "q6_k", "running", phase="writing", done=43, total=100, seconds_left=74.0)
    _, read = page(run, language)
    bar = read.one("div", role="progressbar")
    assert bar["aria-valuenow"] == "43"
    assert "74 s" in bar["aria-valuetext"]
    assert read.one("button", data_act="cancel")["data-kind"] == "q6_k"
    assert read.one("button", data_act="export")["aria-disabled"] == "true", "one at a time"
    assert train_runs.drawn("", language)[1], "the page goes on looking"


def test_a_file_that_passed_can_be_used_and_shows_its_check(run):
    file = stored_export(run, "q4_k_m", passed=True)
    _, read = page(run)
    assert str(file) in read.text
    assert read.one("button", data_act="use", data_kind=True)["data-value"] == f"gguf:{file}"
    assert "20 of 20 texts are the same tokens" in read.text
    assert "at most 1.25 apart, 50% of their spread, at 7 positions" in read.text
    assert "at most 160%" in read.text
    assert "left out" in read.text
    assert HOSTILE in read.text
    assert train_runs.writer_of(run, "q4_k_m") == f"gguf:{file}"
    assert "höchstens 1,25 Abstand, 50\u00a0% ihrer Streuung" in page(run, "de")[1].text
    assert not page(run, with_writer=False)[1].all("button", data_act="use")
    file.unlink()
    assert "not there any more" in page(run)[1].text


def test_a_file_that_failed_its_check_says_so_and_cannot_be_used(run):
    stored_export(run, "q8_0", "failed", passed=False, message=f"It did not pass. {HOSTILE}", hint="Do not use it.")
    _, read = page(run)
    assert f"It did not pass. {HOSTILE} Do not use it." in read.text
    assert read.one("tr", data_passed="no")
    assert not read.all("button", data_act="use", data_kind=True)
    assert train_runs.writer_of(run, "q8_0") == ""


def test_the_choice_tells_the_sizes_and_a_run_without_a_model_has_none(run, monkeypatch):
    monkeypatch.setattr(train_runs, "_weights", lambda folder: 1_000_000_000)
    _, read = page(run)
    offered = read.all("input", name="eh-export-sft-1")
    assert [one["value"] for one in offered] == ["q4_k_m", "q5_k_m", "q6_k", "q8_0", "f16"]
    assert [one["value"] for one in offered if "checked" in one] == [export_jobs.USUAL]
    assert "about 0.6 GB" in read.text
    assert "about 2.0 GB" in read.text
    assert "aria-disabled" not in read.one("button", data_act="export")
    unfinished = stored_run("sft-2", state="stopped")
    assert not page(unfinished)[1].all("button", data_act="export")

"""The Train tab in headless Chromium: a real run launched, watched, found again, stopped and resumed; and the rest."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support.stored_runs import stored_run
from support.toy_training import toy_dataset

from tests.browser.conftest import free_port, running_app
from tests.browser.driving import open_page, resize
from tests.browser.test_accessibility import violations
from trainer.runs import runs
from trainer.runs.processes import name_of

pytestmark = pytest.mark.browser

HOSTILE = '"><img src=x onerror="window.hurt=1"><script>window.hurt=2</script>${window.hurt=3}{{value}}'


def opened(browser, url, query="", **context):
    """A fresh page with the Train tab, as if for a new user; script errors end in ``page.faults``."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", **context})
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(f"script error: {error}"))
    page.on("request", lambda one: one.url.startswith((url, "data:", "blob:")) or page.faults.append(one.url))
    if query:  # a bookmark
        page.goto(f"{url}{query}")
    else:
        open_page(page, url)
        page.click("#eh-tabs [role=tab]:has-text('Train')")
    page.wait_for_selector(".eh-train")
    return page


def close(page):
    hurt, faults = page.evaluate("window.hurt"), page.faults
    page.context.close()
    assert hurt is None
    assert faults == []


def states(page):
    return page.locator(".eh-runs .eh-run-state").all_inner_texts()


def wait_for_state(page, word):
    page.wait_for_selector(f".eh-train-run header .eh-run-state:has-text('{word}')")


def step_of(page):
    found = re.search(r"step (\d+) of", page.inner_text(".eh-train-words"))
    return int(found[1]) if found else 0


def wait_for_step(page, least):
    page.wait_for_function(
        "least => (document.querySelector('.eh-train-words')?.textContent.match(/step (\\d+)/) ?? [])[1] >= least",
        arg=least,
    )


def wait_for_command(page, command):
    page.wait_for_function("text => document.querySelector('[data-slot=command]')?.textContent === text", arg=command)


def fill(page, **values):
    for name, value in values.items():
        page.fill(f"#eh-train-{name}", str(value))


# -- a real run


@pytest.fixture
def ends_runs(tmp_path):
    """Run processes outlive the app on purpose; none shall outlive the test."""
    yield
    for run in runs.list_runs(tmp_path / "data" / "runs"):
        runs.stop(run, patience=0.0)


@pytest.mark.usefixtures("ends_runs")
def test_a_run_is_launched_watched_found_again_stopped_and_resumed(browser, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    from support.toy_training import toy_model

    model = toy_model(tmp_path / "toy-llama", width=32, layers=2)
    dataset = toy_dataset(tmp_path / "train.jsonl", 8)
    port = free_port()
    with running_app(tmp_path, port) as app:
        page = opened(browser, app.url)
        fill(page, model=model, dataset=dataset, epochs=1000, batch_size=2)
        page.wait_for_selector("text=8 disputes with 32 candidates.")
        page.wait_for_selector("text=million weights learn")
        command = f"evenhand train sft --set model={model} --set dataset={dataset} --set epochs=1000 --set batch_size=2"
        wait_for_command(page, command)
        page.click("#eh-train-start")
        wait_for_state(page, "Running")
        assert not page.is_visible("#eh-train-model"), "the form makes room for the run"
        # Live: the curves come and grow by themselves.
        page.wait_for_selector("figure[data-chart^=loss] path.eh-line", state="attached")
        wait_for_step(page, 3)
        run_id = page.get_attribute(".eh-train-run", "data-run")
        assert f"run={run_id}" in page.url
        # A reload comes back to the tab and the run; so does a second window that knows of nothing.
        page.reload()
        wait_for_state(page, "Running")
        assert page.get_attribute(".eh-train-run", "data-run") == run_id
        assert page.get_attribute("#eh-tabs [data-tab-id=train]", "aria-selected") == "true"
        other = opened(browser, app.url)
        wait_for_state(other, "Running")
        assert other.get_attribute(".eh-train-run", "data-run") == run_id
        close(other)
        before = step_of(page)
        address = page.url.removeprefix(app.url)
        close(page)
    # The app ends, the run goes on; the app that is started again finds it.
    with running_app(tmp_path, port) as app:
        page = opened(browser, app.url, address)
        wait_for_state(page, "Running")
        wait_for_step(page, before + 1)
        page.click("[data-act=stop]")
        page.wait_for_selector(".eh-train-run [data-act=stop][aria-disabled], .eh-train-run [data-act=resume]")
        wait_for_state(page, "Stopped")
        stopped_at = step_of(page)
        assert stopped_at > before
        assert page.locator("figure[data-chart^=loss]").count() == 1
        page.click("[data-act=resume]")
        wait_for_state(page, "Running")
        wait_for_step(page, stopped_at + 1)
        # A process that is killed is failed, and the page says why.
        status = runs.find(str(tmp_path / "data" / "runs" / run_id))
        os.kill(_pid(status), signal.SIGKILL)
        wait_for_state(page, "Failed")
        assert page.inner_text(".eh-problem").strip()
        page.click("summary:has-text('Delete…')")
        page.wait_for_selector("text=Delete this run with its checkpoints and its model?")
        page.click("[data-act=delete]")
        page.wait_for_selector("text=No run yet.")
        assert not status.folder.exists()
        close(page)


def _pid(run):
    import json

    return json.loads((run.folder / "status.json").read_text())["pid"]


# -- the tab on runs that lie there


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The app without runs: each test puts its own there."""
    with running_app(tmp_path_factory.mktemp("bare")) as app:
        yield app


@pytest.fixture
def folder(bare, monkeypatch):
    """The folder of the `bare` app, in which a test can put runs."""
    folder = bare.log.parent
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(folder / "data"))
    yield folder
    shutil.rmtree(folder / "data" / "runs", ignore_errors=True)


def measured(count=30, **values):
    return [
        {"step": step, "steps": count, "loss": 3.0 / step, "learning_rate": 1e-5, "rouge1": 0.3, "rougeL": 0.2,
         "gap": 0.1, "warmth": 0.5, **values} for step in range(1, count + 1)
    ]  # fmt: skip


SAMPLE = {"step": 30, "dispute_id": "toy-001", "text": "Share the mill.", "score_a": 0.75, "score_b": 0.5}


def test_what_is_typed_is_checked_and_survives_a_reload(browser, bare, folder):
    dataset = toy_dataset(folder / "train.jsonl", 3)
    page = opened(browser, bare.url)
    assert page.inner_text("[data-slot=estimate]") == "Name the base model."
    fill(page, dataset=folder / "nothing.jsonl", epochs="many")
    page.wait_for_selector("text=This is no number.")
    page.wait_for_selector("[data-slot=field-dataset] >> text=There is no file")
    assert page.get_attribute("#eh-train-epochs", "aria-invalid") is not None
    page.click("#eh-train-start")
    page.wait_for_selector("[data-slot=answer] [role=alert]")
    assert runs.list_runs() == []
    fill(page, dataset=dataset, epochs="2")
    page.wait_for_selector("text=3 disputes with 12 candidates.")
    page.wait_for_selector("[data-slot=field-epochs] >> text=default: 1")
    # Another recipe keeps what was typed, and shows what only it has.
    page.check("input[name=recipe][value=nce]")
    page.wait_for_selector("#eh-train-score")
    assert page.input_value("#eh-train-epochs") == "2"
    assert page.input_value("#eh-train-learning_rate") == "3e-5"
    assert page.is_visible("#eh-train-layers")
    page.select_option("#eh-train-trainable", "lora")
    page.wait_for_function("() => !document.querySelector('#eh-train-layers').offsetParent")
    page.click("summary:has-text('All other settings')")
    assert page.is_visible("#eh-train-adapter_rank")
    assert not page.is_visible("#eh-train-trunk_cache")
    page.wait_for_function("() => document.querySelector('[data-slot=command]')?.textContent.includes('lora')")
    command = page.text_content("[data-slot=command]")
    assert "trunk_cache=false" in command
    page.reload()
    page.wait_for_selector("#eh-train-score")
    assert page.input_value("#eh-train-dataset") == str(dataset)
    assert page.input_value("#eh-train-trainable") == "lora"
    assert page.is_checked("input[name=recipe][value=nce]")
    page.wait_for_function("text => document.querySelector('[data-slot=command]')?.textContent === text", arg=command)
    close(page)


def test_a_process_that_dies_is_seen_to_have_failed(browser, bare, folder):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    long_ago = time.time() - 5000
    try:
        stored_run("sft-1", state="running", created=long_ago, phase="training", step=3, steps=9, **{
            **name_of(process.pid).model_dump(), "message": ""}, log="MemoryError: no room")  # fmt: skip
        page = opened(browser, bare.url)
        wait_for_state(page, "Running")
        process.kill()
        process.wait()
        wait_for_state(page, "Failed")
        assert "memory" in page.inner_text(".eh-problem").lower()
        assert page.is_visible("[data-act=resume]")
        close(page)
    finally:
        process.kill()
        process.wait()


def test_runs_are_compared_and_a_reload_keeps_that(browser, bare, folder):
    stored_run("sft-1", created=1e9, metrics=measured(), step=30, steps=30, settings={"epochs": 3})
    stored_run("sft-2", created=2e9, metrics=measured(20, loss=1.0), step=20, steps=20, settings={"epochs": 5})
    page = opened(browser, bare.url)
    page.check("[data-compare=sft-1]")
    page.wait_for_selector("text=Choose a second run")
    page.check("[data-compare=sft-2]")
    page.wait_for_selector("text=What tells them apart")
    figure = page.locator("figure[data-chart=compare-loss]")
    assert figure.locator(".eh-chart-key li").count() == 2
    assert figure.locator("svg.eh-chart-plot path:not(.eh-dots)").count() == 2
    page.reload()
    page.wait_for_selector("text=What tells them apart")
    assert page.is_checked("[data-compare=sft-1]")
    page.click("[data-act=compare-end]")
    page.wait_for_selector("text=What tells them apart", state="detached")
    assert not page.is_checked("[data-compare=sft-1]")
    assert "with=" not in page.url
    close(page)


def test_what_the_reader_opened_stays_open_and_the_focus_stays(browser, bare, folder):
    stored_run("sft-1", state="running", phase="training", step=3, steps=9, metrics=measured(), log="one\ntwo")
    page = opened(browser, bare.url)
    page.click("summary:has-text('End of the log')")
    page.click("figure[data-chart^=loss] summary")
    page.focus("[data-compare=sft-1]")
    stored_run("sft-2", state="running", phase="training", step=1, steps=9)  # above the other in the list
    page.wait_for_selector("[data-compare=sft-2]")
    assert page.is_visible(".eh-train-log")
    assert page.is_visible("figure[data-chart^=loss] table")
    assert page.evaluate("document.activeElement.dataset.compare") == "sft-1"
    assert page.get_attribute(".eh-train-run", "data-run") == "sft-1"
    close(page)


def test_the_model_of_a_run_writes_in_the_mediate_tab(browser, bare, folder):
    run = stored_run("sft-1", result=True)
    page = opened(browser, bare.url)
    page.click("[data-act=use]")
    page.wait_for_selector("#eh-propose:visible")
    page.wait_for_function(
        "name => document.querySelector('#eh-model input')?.value === name", arg=f"hf:{run.folder / 'model'}"
    )
    page.wait_for_function("() => new URL(location.href).searchParams.get('session')")
    assert "tab=" not in page.url
    page.reload()
    page.wait_for_function(
        "name => document.querySelector('#eh-model input')?.value === name", arg=f"hf:{run.folder / 'model'}"
    )
    close(page)


def test_without_the_packages_the_tab_says_how_to_get_them(browser, tmp_path, monkeypatch):
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "data"))
    stored_run("sft-1", metrics=measured())
    hides = tmp_path / "hides"
    hides.mkdir()
    (hides / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "found = PathFinder.find_spec\n"
        "def find_spec(name, *more):\n"
        "    return None if name.partition('.')[0] in ('torch', 'transformers', 'accelerate') else found(name, *more)\n"
        "PathFinder.find_spec = find_spec\n"
    )
    with running_app(tmp_path, PYTHONPATH=str(hides)) as app:
        page = opened(browser, app.url)
        page.wait_for_selector("text=Training needs more packages")
        assert page.inner_text("#eh-train-form code") == "pip install 'evenhand[train]'"
        assert not page.query_selector("#eh-train-start")
        page.wait_for_selector("figure[data-chart^=loss]")
        close(page)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """The app with some runs that no test changes."""
    folder = tmp_path_factory.mktemp("shelf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVENHAND_DATA_FOLDER", str(folder / "data"))
        dataset = toy_dataset(folder / "validation.jsonl", 3)
        stored_run("sft-1", created=1e9, state="failed", message=HOSTILE, hint="Lower batch_size.", log=HOSTILE)
        named = {"validation": str(dataset), "model": f"/m/{HOSTILE}"}
        stored_run("nce-2", "nce", created=2e9, metrics=measured(target_log_likelihood=-2.0), samples=[SAMPLE],
                   result=True, step=30, steps=30, settings=named)  # fmt: skip
        with running_app(folder) as app:
            yield app
        shutil.rmtree(folder)


def test_texts_of_a_run_stay_texts(browser, shelf):
    page = opened(browser, shelf.url)
    page.click("[data-act=show][data-id=sft-1]")
    page.wait_for_selector(".eh-train-run[data-run=sft-1]")
    assert HOSTILE in page.inner_text(".eh-problem")
    page.click("summary:has-text('End of the log')")
    assert HOSTILE in page.inner_text(".eh-train-log")
    if not page.is_visible("#eh-train-model"):
        page.click(".eh-train-new > summary")
    fill(page, model=HOSTILE, dataset=HOSTILE)
    page.wait_for_selector("[data-slot=field-dataset] >> text=There is no file")
    close(page)


def test_a_sample_shows_both_views_and_its_bars(browser, shelf):
    page = opened(browser, shelf.url, "#tab=train&run=nce-2")
    sample = page.locator(".eh-train-samples .eh-card").first
    assert "Share the mill." in sample.inner_text()
    assert "nobody greets a newcomer there" in sample.inner_text()
    bars = sample.locator("[role=meter]")
    assert [bar.get_attribute("aria-valuenow") for bar in bars.all()] == ["75", "50"]
    close(page)


def test_the_tab_speaks_german(browser, shelf):
    page = opened(browser, shelf.url, "#tab=train&run=nce-2", locale="de-DE")
    fill(page, epochs="viele")
    page.wait_for_selector("text=Das ist keine Zahl.")
    fill(page, epochs="1,5")
    page.wait_for_selector("text=Das ist keine Zahl.", state="detached")
    page.click("summary:has-text('Alle anderen Einstellungen')")
    page.click("summary:has-text('Einstellungen') >> nth=-1")
    text = page.inner_text("body")
    for words in ("Neuer Lauf", "Lernrate", "Wie oft jedes Paar", "Fertig", "Lauf starten", "Was es jetzt schreibt"):
        assert words in text
    for english in ("Learning rate", "New run", "Done", "Start the run", "Settings", "default:", "As a table"):
        assert english not in text
    close(page)


def test_nothing_sticks_out_of_the_page_at_any_width(browser, shelf):
    page = opened(browser, shelf.url, "#tab=train&run=nce-2&with=nce-2,sft-1", viewport={"width": 320, "height": 900})
    page.wait_for_selector("text=What tells them apart")
    page.click("summary:has-text('All other settings')")
    for summary in page.locator("#eh-train-runs summary:visible").all():
        summary.click()
    for width in (320, 390, 1024, 1440):
        resize(page, width)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    close(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, shelf, scheme):
    page = opened(browser, shelf.url, "#tab=train&run=nce-2&with=nce-2,sft-1", color_scheme=scheme)
    page.wait_for_selector("text=What tells them apart")
    if not page.is_visible("#eh-train-model"):
        page.click(".eh-train-new > summary")
    fill(page, epochs="many")
    page.wait_for_selector("text=This is no number.")
    page.click("summary:has-text('All other settings')")
    for summary in page.locator("#eh-train-runs summary:visible").all():
        summary.click()
    page.wait_for_timeout(500)
    assert violations(page) == []
    page.click("[data-act=show][data-id=sft-1]")
    page.wait_for_selector(".eh-problem")
    assert violations(page) == []
    close(page)


def test_the_keyboard_is_enough(browser, shelf):
    page = opened(browser, shelf.url, "#tab=train&run=nce-2")
    page.focus("[data-act=show][data-id=sft-1]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".eh-train-run[data-run=sft-1]")
    page.wait_for_function("() => document.activeElement.id === 'eh-train-title'")
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("() => document.activeElement.dataset.act || document.activeElement.textContent.trim()")
        )
        if seen[-1] == "Delete…":
            break
    assert "resume" in seen
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Delete this run with its checkpoints")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Delete this run with its checkpoints", state="hidden")
    close(page)

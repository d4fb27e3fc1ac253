"""The Models tab in headless Chromium: downloads, own files and servers, keys, and tests of writers."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.hub_server import Hub, hub_server
from support.patience import until
from support.tiny_models import FOUR_COMPROMISES, tiny_llama_gguf

from tests.browser.conftest import REPOSITORY, free_port, wait_for_answer
from tests.browser.driving import resize

pytestmark = pytest.mark.browser

KEY = "sk-test-a1b2c3d4e5f6g7h8-WXYZ"
NAME, FILE = "qwen2.5-1.5b", "qwen2.5-1.5b-instruct-q4_k_m.gguf"
CODE = """
import sys
from mediator.log import start_logging
from ui.gradio_loading import load_gradio
load_gradio()
import gradio as gr
from starlette.middleware import Middleware
from mediator.resources import asset
from ui.engine import Engine
from ui.http_guard import PageGuard
from ui.models import build_tab
from ui.strings import translator
start_logging()
with gr.Blocks(analytics_enabled=False) as page:
    build_tab(Engine())
page.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True, i18n=translator(),
            css=asset("app.css").read_text(encoding="utf-8"))
"""


@dataclass
class Tab:
    """A page with the tab alone, in a process of its own."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    def file(self) -> Path:
        return self.folder / "data" / "models" / FILE


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    return tiny_llama_gguf(path, recital=FOUR_COMPROMISES, vocabulary=4000).read_bytes()


@pytest.fixture
def hub(model: bytes) -> Iterator[Hub]:
    with hub_server(model) as server:
        yield server


@pytest.fixture
def tab(hub: Hub, tmp_path: Path) -> Iterator[Tab]:
    port = free_port()
    environment = os.environ | {
        "EVENHAND_DATA_FOLDER": str(tmp_path / "data"),
        "EVENHAND_LOG_FOLDER": str(tmp_path / "log"),
        "HF_ENDPOINT": hub.url,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }
    log = (tmp_path / "out.txt").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(port)], cwd=tmp_path, env=environment, stdout=log, stderr=log
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for_answer(url, process, tmp_path / "out.txt")
        yield Tab(url, tmp_path, process)
    finally:
        process.terminate()
        process.wait(timeout=60)
        log.close()


@pytest.fixture
def page(browser, tab):
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, locale="en-GB")
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(tab.url)
    page.wait_for_selector("[data-card]")
    yield page
    context.close()
    assert faults == []


def card(page, key):
    return page.locator(f'[data-card="{key}"]')


def press(page, key, act):
    card(page, key).locator(f'button[data-act="{act}"]').click()


def test_a_download_shows_its_progress_is_found_by_a_reload_stopped_resumed_tested_and_removed(page, hub, tab, model):
    hub.pause = 0.15
    offer = card(page, f"offer-{NAME}")
    assert "Apache-2.0" in offer.inner_text()
    assert "stays on this computer" in offer.inner_text()
    press(page, f"offer-{NAME}", "download")
    bar = offer.locator("[role=progressbar]")
    page.wait_for_function(
        "() => Number(document.querySelector('[role=progressbar]')?.getAttribute('aria-valuenow')) > 10"
    )
    shares = [int(bar.get_attribute("aria-valuenow"))]
    said = bar.get_attribute("aria-valuetext")
    assert re.search(r"\d MB of \d.* per second, \d+ seconds? left", said), said
    width = offer.locator(".eh-progress > span").evaluate("span => span.style.width")
    assert int(width.rstrip("%")) >= shares[0]

    page.reload()
    page.wait_for_function(
        "before => Number(document.querySelector('[role=progressbar]')?.getAttribute('aria-valuenow')) > before",
        arg=shares[0],
    )
    press(page, f"offer-{NAME}", "stop-download")
    page.wait_for_selector("text=What has come is kept")
    until(lambda: hub.left == 1)
    part = tab.file().with_name(FILE + ".part")
    kept = part.stat().st_size
    assert 0 < kept < len(model)
    assert not tab.file().exists()

    hub.pause = 0.0
    resume = offer.get_by_role("button", name="Resume the download of Qwen2.5 1.5B")
    resume.focus()
    page.keyboard.press("Enter")
    ready = card(page, f"gguf:{tab.file()}")
    ready.wait_for()
    assert hub.ranges_asked()[-1] == f"bytes={kept}-"
    assert tab.file().read_bytes() == model
    assert hashlib.sha256(model).hexdigest() in ready.inner_text()
    assert offer.count() == 0

    press(page, f"gguf:{tab.file()}", "test")
    page.wait_for_selector("text=Works: first words after")
    assert "Open the park" in ready.inner_text()
    assert "loaded now" in ready.inner_text()

    ready.locator("summary").focus()
    page.keyboard.press("Enter")
    assert ready.locator('button[data-act="remove"]').is_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    offer.wait_for()
    page.wait_for_selector("text=Removed: Qwen2.5 1.5B")
    assert not tab.file().exists()


def test_a_wrong_checksum_is_a_sentence_and_leaves_nothing(page, hub, tab, model):
    hub.data = model[:-1] + bytes([model[-1] ^ 1])
    press(page, f"offer-{NAME}", "download")
    page.wait_for_selector("text=did not arrive as it was sent")
    problem = card(page, f"offer-{NAME}").locator("[role=alert]").inner_text()
    assert "It has been deleted. Download it again." in problem
    assert not [path for path in tab.file().parent.iterdir() if path.suffix in (".gguf", ".part")]


def test_a_file_of_ones_own_is_checked_added_and_taken_off_again(page, tab, model):
    page.fill("#eh-own-path input", str(tab.folder / "none.gguf"))
    page.click("#eh-add-file")
    page.wait_for_selector("#eh-file-said [role=alert]")
    assert "There is no file" in page.inner_text("#eh-file-said")
    (tab.folder / "short.gguf").write_bytes(model[: len(model) // 2])
    page.fill("#eh-own-path input", str(tab.folder / "short.gguf"))
    page.click("#eh-add-file")
    page.wait_for_selector("#eh-file-said >> text=is damaged")

    mine = tab.folder / "my <b>model.gguf"
    mine.write_bytes(model)
    page.fill("#eh-own-path input", str(mine))
    page.press("#eh-own-path input", "Enter")
    own = card(page, f"gguf:{mine}")
    own.wait_for()
    assert page.input_value("#eh-own-path input") == ""
    assert own.locator("h3").inner_text() == mine.name
    assert page.locator(".eh-models b").count() == 0
    own.locator("summary").click()
    press(page, f"gguf:{mine}", "remove")
    own.wait_for(state="detached")
    assert mine.exists()


def test_a_server_is_added_and_tested_and_one_that_is_not_there_is_said(page, slow_server):
    spec = f"openai:slow@{slow_server.url}"
    page.fill("#eh-own-url input", slow_server.url)
    page.fill("#eh-own-model input", "slow")
    page.click("#eh-add-server")
    card(page, spec).wait_for()
    assert "The text stays on this computer." in page.inner_text("#eh-server-said")
    press(page, spec, "test")
    page.wait_for_selector("text=tokens per second")
    assert "It answered: “The two suggestions share a wish for calm." in card(page, spec).inner_text()
    assert "neighbours share a garden" in slow_server.prompts[-1]

    spec = f"openai:silent@{slow_server.url}"
    page.fill("#eh-own-url input", slow_server.url)
    page.fill("#eh-own-model input", "silent")
    page.press("#eh-own-model input", "Enter")
    card(page, spec).wait_for()
    press(page, spec, "test")
    press(page, spec, "stop-test")
    page.wait_for_selector("text=The test was stopped.")

    page.fill("#eh-own-url input", "http://127.0.0.1:9/v1")
    page.fill("#eh-own-model input", "nobody")
    page.click("#eh-add-server")
    card(page, "openai:nobody@http://127.0.0.1:9/v1").wait_for()
    press(page, "openai:nobody@http://127.0.0.1:9/v1", "test")
    page.wait_for_selector("text=127.0.0.1:9 cannot be reached. Start the server, or check its address")

    page.fill("#eh-own-url input", "models.example.org/v1")
    page.fill("#eh-own-model input", "m")
    page.click("#eh-add-server")
    page.wait_for_selector("#eh-server-said >> text=Write https:// before it")
    assert "openai" not in page.inner_text("#eh-server-said")
    page.fill("#eh-own-url input", "http://models.example.org/v1?key=secret")
    page.click("#eh-add-server")
    page.wait_for_selector("#eh-server-said >> text=more than host, port and path")


def test_a_key_is_taken_and_never_shown_again(page, tab, slow_server):
    field = page.locator("#eh-key input")
    assert (field.get_attribute("type"), field.get_attribute("autocomplete")) == ("password", "off")
    assert "Needs a key" in card(page, "claude").inner_text()
    field.fill("short")
    page.click("#eh-key-save")
    page.wait_for_selector("#eh-key-said >> text=This cannot be a key.")
    assert field.input_value() == ""
    field.fill(KEY)
    page.get_by_label("in the keyring of this computer").check()
    page.click("#eh-key-save")
    page.wait_for_selector("#eh-key-said >> text=There is no system keyring here")
    assert "until Evenhand ends (it ends in …WXYZ)" in page.inner_text("#eh-key-said")
    assert field.input_value() == ""
    assert "Needs a key" not in card(page, "claude").inner_text()

    page.fill("#eh-own-url input", slow_server.url)
    page.fill("#eh-own-model input", "slow")
    page.click("#eh-add-server")
    card(page, f"openai:slow@{slow_server.url}").wait_for()
    page.reload()
    page.wait_for_selector("[data-card]")
    page.wait_for_selector("#eh-key-said >> text=…WXYZ")
    page.click("#eh-key-for input")
    assert page.get_by_role("option").all_inner_texts()[1].strip().endswith(slow_server.url.removesuffix("/v1"))
    page.keyboard.press("Escape")
    everything = page.content() + page.evaluate(
        "() => [...document.querySelectorAll('input')].map((input) => input.value).join()"
        " + JSON.stringify(localStorage)"
    )
    assert KEY not in everything
    page.click("#eh-key-forget")
    page.wait_for_selector("#eh-key-said >> text=There is no key for Claude")
    assert "Needs a key" in card(page, "claude").inner_text()
    for path in tab.folder.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_the_tab_speaks_german_and_nothing_sticks_out_of_it(browser, tab):
    context = browser.new_context(locale="de-DE")
    page = context.new_page()
    page.goto(tab.url)
    page.wait_for_selector("[data-card]")
    text = page.inner_text("body")
    for words in ("Einsatzbereit", "Herunterladen", "Eine eigene Modelldatei", "Schlüssel aufbewahren", "Entwerfer"):
        assert words in text
    assert "Ready to use" not in text
    for width in (320, 1440):
        resize(page, width)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    context.close()

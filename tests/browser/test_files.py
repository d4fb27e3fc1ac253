"""Files in and out of the page, in real Chromium: what is saved, what is read, and what is refused."""

import json
import tempfile
from pathlib import Path

import pytest

from tests.browser.conftest import free_port
from tests.support.patience import until
from ui.files import download_slot, file_payload, file_picker
from ui.serving import Access, Server

pytestmark = pytest.mark.browser

HOSTILE = (
    '</script><script>window.hurt=1</script><img src=x onerror="window.hurt=2">${window.hurt=3}{{value}}\n"ü\u2028€'
)
LARGEST = 2_000


@pytest.fixture(scope="module")
def small_page():
    """A page with a picker, a text to save and a slot, served as the app is served; returns its address."""
    import gradio as gr

    def make_page():
        def show(event: gr.EventData):
            return json.dumps(event._data)

        with gr.Blocks(analytics_enabled=False) as page:
            picker = file_picker("sessions.import", ".txt,.yaml", LARGEST, "picker")
            seen = gr.Textbox(elem_id="seen", interactive=True)
            name, text = gr.Textbox(elem_id="name"), gr.Textbox(elem_id="text", lines=3)
            save = gr.Button("Save", elem_id="save")
            slot = download_slot()
            picker.picked(show, None, seen, queue=False)
            save.click(lambda name, text: file_payload(name, "text/plain", text), [name, text], slot, queue=False)
        return page

    server = Server(make_page, Access(port=free_port()))
    yield server.address
    server.close()


@pytest.fixture
def page(browser, small_page):
    context = browser.new_context(accept_downloads=True, locale="en-GB")
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.goto(small_page)
    page.wait_for_selector("#picker-button:enabled")
    yield page
    hurt = page.evaluate("window.hurt")
    context.close()
    assert hurt is None
    assert [fault for fault in faults if "favicon" not in fault and "manifest" not in fault] == []


def save(page, name, text):
    page.fill("#name textarea, #name input", name)
    page.fill("#text textarea", text)
    with page.expect_download() as download:
        page.click("#save")
    return download.value


def pick(page, name, content):
    page.set_input_files("#picker input[type=file]", {"name": name, "mimeType": "text/plain", "buffer": content})
    page.wait_for_function("() => document.querySelector('#seen textarea, #seen input')?.value")
    seen = page.input_value("#seen textarea, #seen input")
    page.fill("#seen textarea, #seen input", "")
    return json.loads(seen)


def test_a_text_is_saved_as_it_is_and_never_becomes_html(page):
    download = save(page, "a page.html", HOSTILE)
    assert download.suggested_filename == "a page.html"
    assert Path(download.path()).read_bytes() == HOSTILE.encode()
    assert "window.hurt" not in page.content().replace("&lt;", "<").partition("<body")[2].partition("<textarea")[0]
    assert page.locator("img[src=x]").count() == 0


def test_each_press_saves_once(page):
    downloads = []
    page.on("download", lambda download: downloads.append(download))
    for text in ("one", "one", "two"):
        save(page, "same.txt", text)
    page.wait_for_timeout(500)
    assert [Path(download.path()).read_text() for download in downloads] == ["one", "one", "two"]


def test_a_name_with_a_path_saves_under_a_plain_name(page):
    assert "/" not in save(page, "../../etc/passwd", "x").suggested_filename


def test_text_is_read_in_every_encoding_we_promise(page):
    words = "Grüße, 日本語 €"
    codings = ("utf-8", "utf-8-sig", "utf-16")  # the last begins with the mark of this machine's order
    for content in (*map(words.encode, codings), b"\xfe\xff" + words.encode("utf-16-be")):
        assert pick(page, "dispute.yaml", content) == {"name": "dispute.yaml", "text": words}, content


def test_what_is_no_text_is_refused_in_a_sentence(page):
    for content in (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", b"text\x00and more", b"caf\xe9", b"\xff\xfea"):
        assert pick(page, "$& picture.yaml", content) == {
            "error": "“$& picture.yaml” is not a text file. Choose a file that holds text in UTF-8."
        }, content


def test_a_file_over_the_limit_is_refused_and_one_at_the_limit_is_read(page):
    assert len(pick(page, "full.txt", b"x" * LARGEST)["text"]) == LARGEST
    assert pick(page, "big.txt", b"x" * (LARGEST + 1)) == {
        "error": "“big.txt” is larger than 2 kB. Choose another file."
    }


def test_the_same_file_can_be_chosen_again(page):
    assert pick(page, "same.txt", b"once")["text"] == "once"
    assert pick(page, "same.txt", b"once")["text"] == "once"


def test_hostile_content_arrives_as_text(page):
    assert pick(page, f"{HOSTILE[:20]}.txt", HOSTILE.encode())["text"] == HOSTILE


def test_the_keyboard_opens_the_file_chooser(page):
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))

    def opened():  # a page that is still being drawn takes the focus away again
        page.press("#picker-button", "Enter")
        page.wait_for_timeout(500)
        return choosers

    assert not until(opened, "no file chooser came")[0].is_multiple()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "picker-button"


def test_the_button_and_the_errors_speak_the_language_of_the_browser(browser, small_page):
    context = browser.new_context(locale="de-AT")
    page = context.new_page()
    page.goto(small_page)
    page.wait_for_selector("#picker-button:enabled")
    assert page.text_content("#picker-button") == "Sitzung importieren…"
    assert pick(page, "big.txt", b"x" * (LARGEST + 1)) == {
        "error": "„big.txt“ ist größer als 2 kB. Wählen Sie eine andere Datei."
    }
    context.close()


def test_no_file_is_written_on_the_server(page):
    def files():
        folder = Path(tempfile.gettempdir()) / "gradio"
        return {path for path in folder.rglob("*") if path.is_file()} if folder.is_dir() else set()

    before = files()
    pick(page, "in.txt", b"in")
    save(page, "out.txt", "out")
    assert files() == before

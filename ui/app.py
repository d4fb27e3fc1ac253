"""The app in the browser: composes the tabs and serves them, to this computer only."""

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

from mediator.errors import InputError
from mediator.resources import asset
from ui.gradio_loading import load_gradio
from ui.http_guard import PageGuard

if TYPE_CHECKING:
    import gradio

    from ui.engine import Engine

FIRST_PORT = 7860
LOOPBACK = ("127.0.0.1", "localhost")

# Gradio puts the label of radio buttons beside them, but does not tie it to the group for a screen reader.
_NAME_THE_GROUPS = """() => {
  for (const group of document.querySelectorAll("fieldset")) {
    const label = group.querySelector("[data-testid=block-info]");
    if (label) group.setAttribute("aria-label", label.textContent);
  }
}"""


def build(engine: "Engine | None" = None) -> "gradio.Blocks":
    """Compose the page. ``engine`` holds the scorer and the writers; None for a new one. Loads no model."""
    load_gradio()
    import gradio as gr

    from ui.components import masthead
    from ui.engine import Engine
    from ui.mediate import Sessions, build_tab

    sessions = Sessions()
    with gr.Blocks(title="Evenhand", analytics_enabled=False, fill_width=False) as page:
        gr.HTML(masthead(asset("icon.svg").read_text(encoding="utf-8")), apply_default_css=False, js_on_load=None)
        build_tab(engine or Engine(), sessions)

        def on_leave(request: gr.Request) -> None:
            # A closed or reloaded tab: nobody reads on, so the model must not go on writing.
            sessions.stop(str(request.session_hash))

        page.unload(on_leave)
    return page


def launch(
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = True,
    *,
    engine: "Engine | None" = None,
    wait: bool = True,
) -> str:
    """Serve the page; returns its address, or with ``wait`` only when the app is stopped (Ctrl+C).

    Args:
        host: 127.0.0.1 or localhost; what people type here is confidential, so no other computer gets in.
        port: the port to use, 1..65535; None for the first free one from 7860.
        open_browser: open the page in the default browser.
        engine: see `build`.
        wait: serve until interrupted.

    Raises:
        InputError: another host, or a port that is taken or not allowed.
    """
    if host not in LOOPBACK:
        raise InputError(f"Evenhand cannot be served at {host!r}.", "It serves this computer only: use 127.0.0.1.")
    if port is not None and not 1 <= port <= 65535:
        raise InputError(f"{port} is no port.", "Choose one from 1 to 65535.")
    page = build(engine)
    try:
        _, address, _ = page.launch(server_name="127.0.0.1", server_port=port, inbrowser=open_browser, **_settings())
    except OSError as error:
        which = f"Port {port} is" if port else f"The ports from {FIRST_PORT} on are all"
        raise InputError(f"{which} taken.", "Choose another one with --port.") from error
    print(f"Evenhand is open at {address} (this computer only). Stop it with Ctrl+C.", file=sys.stderr, flush=True)
    if wait:
        with contextlib.suppress(KeyboardInterrupt):
            while page.is_running:
                time.sleep(0.2)
        page.close(verbose=False)
    return str(address)


def _settings() -> dict[str, Any]:
    """What Gradio is told: the look of the page, and nothing that publishes, records or fetches anything."""
    from starlette.middleware import Middleware

    return {
        "share": False,
        "run_history": False,
        "prevent_thread_lock": True,
        "quiet": True,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "enable_monitoring": False,
        "footer_links": [],
        "allowed_paths": [],
        "favicon_path": str(asset("icon.svg")),
        "theme": _theme(),
        "js": _NAME_THE_GROUPS,
        "css": asset("app.css").read_text(encoding="utf-8"),
        "app_kwargs": {"middleware": [Middleware(PageGuard)]},
    }


def _theme() -> "gradio.themes.Base":
    """A plain theme on the fonts of the system: none is fetched. No hue favours a side: what acts is slate."""
    import gradio as gr

    return gr.themes.Base(
        primary_hue=gr.themes.colors.slate,
        secondary_hue=gr.themes.colors.slate,
        neutral_hue=gr.themes.colors.slate,
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    ).set(
        button_primary_background_fill="*neutral_800",
        button_primary_background_fill_hover="*neutral_700",
        button_primary_text_color="white",
        button_primary_background_fill_dark="*neutral_200",
        button_primary_background_fill_hover_dark="white",
        button_primary_text_color_dark="*neutral_900",
        body_text_color="*neutral_800",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        input_border_color="#8694a8",  # 3:1 against the white around it
        input_border_color_dark="#64748b",
        input_border_width="1px",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_border_width="0px",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
    )

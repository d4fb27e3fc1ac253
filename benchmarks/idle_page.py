"""What an open page costs that nobody touches, beside one of Gradio's own that looks for news with a timer.

    python benchmarks/idle_page.py [--seconds 20] [--chromium PATH]

Starts the real app, and then a page of one line with a `gradio.Timer` every three seconds, each in a process of its
own; opens each in headless Chromium, lets it settle, and prints how much of a core the server and the browser take.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
from app_load import CHROMIUM_FLAGS, LONGEST_START, ROOT

APP = "import sys; from ui.app import launch; launch(port=int(sys.argv[1]), open_browser=False)"
PLAIN = """
import sys
import gradio as gr
with gr.Blocks(analytics_enabled=False) as page:
    line = gr.HTML("One line.")
    gr.Timer(3).tick(lambda: gr.skip(), outputs=[line], queue=False, show_progress="hidden")
page.launch(server_port=int(sys.argv[1]), quiet=True, ssr_mode=False)
"""


def processor_seconds(process: psutil.Process) -> float:
    """Return what a process and its children have used so far."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def measured(code: str, seconds: float, chromium: str) -> tuple[float, float]:
    """Return how much of a core the server and the browser take."""
    from playwright.sync_api import sync_playwright

    with socket.socket() as listener, tempfile.TemporaryDirectory() as folder:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
        listener.close()
        environment = os.environ | {f"EVENHAND_{name}_FOLDER": f"{folder}/{name}" for name in ("DATA", "LOG", "CACHE")}
        server = subprocess.Popen([sys.executable, "-c", code, str(port)], cwd=ROOT, env=environment)
        try:
            url, end = f"http://127.0.0.1:{port}", time.monotonic() + LONGEST_START
            while time.monotonic() < end:
                try:
                    urllib.request.urlopen(url, timeout=5).close()
                    break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.2)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
                page = browser.new_page()
                page.goto(url)
                page.wait_for_timeout(8000)
                us, it = psutil.Process(), psutil.Process(server.pid)
                all_before, server_before = processor_seconds(us), processor_seconds(it)
                page.wait_for_timeout(1000 * seconds)
                server_used = processor_seconds(it) - server_before
                browser_used = processor_seconds(us) - all_before - server_used
                browser.close()
        finally:
            server.terminate()
            server.wait()
    return server_used / seconds, browser_used / seconds


def main() -> None:
    """Measure both and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each page is watched (default: 20)")
    found = next((path for name in ("chromium-headless-shell", "chromium") if (path := shutil.which(name))), "")
    parser.add_argument("--chromium", type=Path, default=Path(found), help="the browser's program")
    arguments = parser.parse_args()
    sums = {}
    for name, code in (("Evenhand", APP), ("Gradio's own", PLAIN)):
        server, browser = measured(code, arguments.seconds, str(arguments.chromium))
        sums[name] = server + browser
        print(
            f"{name:13} server {server:6.1%} of a core, browser {browser:6.1%}, together {sums[name]:6.1%}", flush=True
        )
    app, plain = sums.values()
    print(f"ratio         {app / plain:.2f}")


if __name__ == "__main__":
    main()

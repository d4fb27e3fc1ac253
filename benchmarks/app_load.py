"""The app under load: many browsers at once on one app, each with a dispute of its own, and proposals without end.

    python benchmarks/app_load.py [--browsers 20] [--clients 20] [--row 200] [--repository FOLDER] [--json]

Starts the real app in a process of its own, with the drafter, and measures one after the other, as asked for:

- one browser alone, the yardstick of all that follows;
- ``--browsers N``: N contexts of one headless Chromium press Propose at the same moment;
- ``--clients N``: N programs do the same over HTTP. On a small machine twenty browsers take as much of the cores as the
  app does; the difference to ``--browsers`` is their share;
- ``--row N``: N proposals one after the other, each on a dispute of its own: what happens to the memory.

Meanwhile a process of its own asks the app for something trivial every 50 ms: how long that takes is the latency of the
event loop. Times are seconds from pressing Propose; ratios are to the one browser, or the one client, of the same run.
"""

import argparse
import http.client
import json
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from page_client import LONGEST_WAIT, PageClient

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
LONGEST_START = 120.0
POLL = 0.05
CHROMIUM_FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-renderer-backgrounding",
    "--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows",
]  # fmt: skip

# Notes in the page itself when what is seen changes: asking from outside would cost more than it measures.
WATCH = """() => {
  const seen = window.ehSeen = { pressed: 0, card: 0, done: 0, statuses: [], meters: [] };
  const look = () => {
    const now = Date.now();
    const status = document.querySelector(".eh-status")?.firstChild?.textContent?.trim() ?? "";
    if (status !== (seen.statuses.at(-1)?.[1] ?? "")) seen.statuses.push([now, status]);
    if (!seen.pressed) return;
    if (!seen.card && document.querySelector(".eh-card")) seen.card = now;
    const meters = [...document.querySelectorAll("[role=meter]")].map((m) => m.getAttribute("aria-valuenow")).join();
    if (meters && meters !== seen.shown) { seen.shown = meters; seen.meters.push(now); }
    if (!seen.done && status.includes("Done in")) seen.done = now;
  };
  new MutationObserver(look).observe(document.body,
    { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["aria-valuenow"] });
}"""
PRESS_AT = """(moment) => setTimeout(() => {
  window.ehSeen.pressed = Date.now();
  document.querySelector("#eh-propose").click();
}, moment - Date.now())"""


@dataclass
class Seen:
    """What one session saw; times in seconds from pressing Propose.

    Attributes:
        pressed: when it pressed, by `time.time`.
        card: the first card.
        done: the last word.
        waited: until it was no longer told a place in the queue; 0 when it never was.
        positions: the places in the queue that were shown, in order.
        updates: changes of the bars per second, from the first to the last one.
    """

    pressed: float
    card: float = 0.0
    done: float = 0.0
    waited: float = 0.0
    positions: list[int] = field(default_factory=list)
    updates: float = 0.0


def disputes(number: int) -> list[tuple[str, str]]:
    """Pairs of views, all different: the bundled examples with words of their own, so that nothing is remembered."""
    from mediator.disputes import examples

    pick = random.Random(number)
    originals = list(examples().values())
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]

    def own(text: str, seed: int) -> str:
        name = "".join(pick.choice(syllables) for _ in range(3)).capitalize()
        return (
            f"{text} This is what we in {name} have said since {1900 + seed % 120}, and we are {pick.randint(3, 999)}."
        )

    return [
        tuple(own(view.as_text(), seed) for view in (original.view_a, original.view_b))  # type: ignore[misc]
        for seed, original in ((seed, originals[seed % len(originals)]) for seed in range(number))
    ]


# -- the app ---------------------------------------------------------------------------------------------------------


@dataclass
class App:
    """The app under load."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> float:
        """Resident memory in MB."""
        import psutil

        return float(psutil.Process(self.pid).memory_info().rss / 1e6)

    def cpu(self) -> float:
        """Seconds of a core used so far."""
        import psutil

        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)


@contextmanager
def running_app(repository: Path) -> Iterator[App]:
    """Start the app of a checkout as a user starts it, with folders of its own."""
    with closing(socket.socket()) as listener, tempfile.TemporaryDirectory() as folder:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
        listener.close()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EVENHAND_")} | {
            f"EVENHAND_{kind}_FOLDER": str(Path(folder, kind.lower())) for kind in ("DATA", "LOG", "CACHE")
        }
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
        code = f"from ui.app import launch; launch(port={port}, open_browser=False)"
        log = Path(folder, "output.txt")
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", code], cwd=repository, env=environment, stdout=output, stderr=output
            )
        try:
            end = time.monotonic() + LONGEST_START
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5).close()
                    break
                except OSError as error:
                    if process.poll() is not None or time.monotonic() > end:
                        raise SystemExit(f"the app does not start: {log.read_text()[-2000:]}") from error
                    time.sleep(0.1)
            yield App(port, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def polled(app: App) -> Iterator[list[tuple[float, float]]]:
    """While the block runs, ask the app for something trivial every 50 ms.

    Afterwards the list has when each question was put (by `time.time`) and how many seconds the answer took.
    """
    command = [sys.executable, __file__, "--poll", str(app.port)]
    latencies: list[tuple[float, float]] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield latencies
        finally:
            output, _ = process.communicate("stop\n")
            latencies += [(moment, seconds) for moment, seconds in json.loads(output)]


def poll(port: int) -> None:
    """Be the process of `polled`: poll until a line comes in, then print the seconds as JSON."""
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    latencies = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while not stop.is_set():
        moment, started = time.time(), time.perf_counter()
        try:
            connection.request("GET", "/gradio_api/app_id")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):  # a connection that the app gave up: the next one is new
            connection.close()
        latencies.append((moment, time.perf_counter() - started))
        time.sleep(max(0.0, POLL - latencies[-1][1]))
    print(json.dumps(latencies))


# -- browsers --------------------------------------------------------------------------------------------------------


def with_browsers(app: App, views: list[tuple[str, str]]) -> list[Seen]:
    """Open as many pages as there are pairs of views, type, and press Propose everywhere at the same moment."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with (
        sync_playwright() as playwright,
        closing(playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)) as chromium,
    ):
        pages = []
        for view_a, view_b in views:
            page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.goto(app.url)
            page.wait_for_selector("#eh-propose")
            page.fill("#eh-text-a textarea", view_a)
            page.fill("#eh-text-b textarea", view_b)
            page.evaluate(WATCH)
            pages.append(page)
        time.sleep(2.0)  # what typing has set off is over
        moment = time.time() * 1000 + 500 + 50 * len(pages)
        for page in pages:
            page.evaluate(PRESS_AT, moment)
        end = time.monotonic() + LONGEST_WAIT
        left = list(pages)
        while left and time.monotonic() < end:
            time.sleep(0.5)
            left = [page for page in left if not page.evaluate("window.ehSeen.done")]
        if left:
            raise SystemExit(
                f"{len(left)} browsers never came to an end; one shows: {left[0].text_content('.eh-status')}"
            )
        return [_seen_by(page.evaluate("window.ehSeen")) for page in pages]


def _seen_by(seen: dict[str, Any]) -> Seen:
    pressed = seen["pressed"]
    places = [(moment, position(text)) for moment, text in seen["statuses"] if moment >= pressed]
    positions = [place for _, place in places if place]
    last = max((moment for moment, place in places if place), default=pressed)
    free = next((moment for moment, place in places if moment > last and not place), last)
    meters = seen["meters"]
    span = (meters[-1] - meters[0]) / 1000 if len(meters) > 1 else 0.0
    return Seen(
        pressed / 1000,
        card=(seen["card"] - pressed) / 1000,
        done=(seen["done"] - pressed) / 1000,
        waited=(free - pressed) / 1000 if positions else 0.0,
        positions=positions,
        updates=(len(meters) - 1) / span if span else 0.0,
    )


def position(text: str) -> int:
    """Return the place in the queue that a status line tells, 0 when it tells none."""
    if "you are next" in text:
        return 1
    found = re.search(r"number (\d+) in the queue", text)
    return int(found[1]) if found else 0


# -- programs --------------------------------------------------------------------------------------------------------


def propose(client: PageClient, view_a: str, view_b: str) -> Seen:
    """Propose once over HTTP."""
    started, seen, text = time.perf_counter(), Seen(time.time()), ""
    for text in client.propose(view_a, view_b):
        now = time.perf_counter() - started
        if not seen.card and "eh-card" in text:
            seen.card = now
        if place := position(text):
            seen.positions.append(place)
            seen.waited = now
        if not seen.done and "Done in" in text:
            seen.done = now
    if not seen.done:
        raise SystemExit(f"a client was answered: {text[:1000]}")
    return seen


def with_clients(app: App, views: list[tuple[str, str]]) -> list[Seen]:
    """Propose over HTTP, as many at the same moment as there are pairs of views."""
    start, results = threading.Barrier(len(views)), []

    def work(view_a: str, view_b: str) -> None:
        with closing(PageClient(app.port)) as client:
            start.wait()
            results.append(propose(client, view_a, view_b))

    threads = [threading.Thread(target=work, args=pair) for pair in views]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(results) < len(views):
        raise SystemExit("some clients failed, see above")
    return results


# -- figures ---------------------------------------------------------------------------------------------------------


def at_once(
    app: App, run: Callable[[App, list[tuple[str, str]]], list[Seen]], number: int, what: str
) -> dict[str, Any]:
    """Measure one session alone, then so many at once, after one that warms up."""
    views = disputes(number + 2)
    run(app, views[:1])
    (alone,) = run(app, views[1:2])
    memory, cpu = app.memory(), app.cpu()
    with polled(app) as latencies:
        seen = run(app, views[2:])
    pressed = min(one.pressed for one in seen)
    opening = [latency for latency in latencies if latency[0] < pressed]
    cards, dones = [one.card for one in seen], [one.done for one in seen]
    waits = [one.waited for one in seen if one.positions]
    # Whoever was not told a place must have been served from the start.
    unaware = [one.card for one in seen if not one.positions]
    return {
        "what": f"{number} {what}",
        "alone_card": alone.card,
        "alone_done": alone.done,
        "card_median": statistics.median(cards),
        "card_worst": max(cards),
        "done_median": statistics.median(dones),
        "done_worst": max(dones),
        "done_worst_to_alone": max(dones) / alone.done,
        "told_a_place": len(waits),
        "first_place_told": [one.positions[0] for one in sorted(seen, key=lambda one: one.done) if one.positions],
        "waited_median": statistics.median(waits) if waits else 0.0,
        "waited_worst": max(waits, default=0.0),
        "card_worst_of_those_told_nothing": max(unaware, default=0.0),
        "bar_updates_a_second_alone": alone.updates,
        "bar_updates_a_second_median": statistics.median(one.updates for one in seen),
        **_latency(latencies[len(opening) :]),
        "event_loop_worst_ms_as_pages_open": max((1000 * seconds for _, seconds in opening), default=0.0),
        "memory_before_mb": memory,
        "memory_after_mb": app.memory(),
        "cpu_seconds_of_the_app": app.cpu() - cpu,
    }


def in_a_row(app: App, number: int) -> dict[str, Any]:
    """Measure the memory over many proposals, each in a window of its own."""
    import numpy as np

    memory: list[float] = []
    started = time.perf_counter()
    with polled(app) as latencies, closing(PageClient(app.port)) as client:
        for view_a, view_b in disputes(number):
            propose(client, view_a, view_b)
            memory.append(app.memory())
    half, settled = len(memory) // 2, min(20, len(memory) // 4)

    def slope(begin: int) -> float:
        return float(np.polyfit(range(begin, number), memory[begin:], 1)[0] * 100) if number - begin > 2 else 0.0

    return {
        "what": f"{number} proposals in a row",
        "seconds_each": (time.perf_counter() - started) / number,
        **_latency(latencies),
        "memory_first_mb": memory[0],
        "memory_settled_mb": memory[settled],
        "memory_half_mb": memory[half],
        "memory_last_mb": memory[-1],
        "mb_per_100_after_settling": slope(settled),
        "mb_per_100_in_the_second_half": slope(half),
    }


def _latency(latencies: list[tuple[float, float]]) -> dict[str, float]:
    ordered = sorted(1000 * seconds for _, seconds in latencies)
    return {
        "event_loop_median_ms": statistics.median(ordered),
        "event_loop_p99_ms": ordered[int(0.99 * (len(ordered) - 1))],
        "event_loop_worst_ms": ordered[-1],
    }


def show(figures: dict[str, Any]) -> None:
    """Print one measurement as lines."""
    print(f"\n{figures['what']}")
    for name, value in figures.items():
        if name != "what":
            print(f"  {name.replace('_', ' '):36} {f'{value:.2f}' if isinstance(value, float) else value}")


def main() -> None:
    """Measure what the options ask for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--browsers", type=int, default=0, help="so many browser contexts at once")
    parser.add_argument("--clients", type=int, default=0, help="so many programs at once")
    parser.add_argument("--row", type=int, default=0, help="so many proposals one after the other")
    parser.add_argument("--repository", type=Path, default=ROOT, help="the checkout whose app is measured")
    parser.add_argument("--json", action="store_true", help="print one JSON object a measurement")
    parser.add_argument("--poll", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.poll:
        poll(options.poll)
        return
    if not (options.browsers or options.clients or options.row):
        options.browsers = 20
    with running_app(options.repository.resolve()) as app:
        report = (lambda figures: print(json.dumps(figures), flush=True)) if options.json else show
        if options.clients:
            report(at_once(app, with_clients, options.clients, "clients at once"))
        if options.browsers:
            report(at_once(app, with_browsers, options.browsers, "browsers at once"))
        if options.row:
            report(in_a_row(app, options.row))


if __name__ == "__main__":
    main()

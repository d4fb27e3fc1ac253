"""Makes the pictures of the page in docs/images/: starts the app, mediates an example, trains a toy, looks at it.

Run from the repository: ``python docs/make_screenshots.py``. Needs the `dev` and `train` extras and Chromium. Its
session and its run are kept in a folder of its own, which goes at the end.
"""

import io
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
IMAGES = REPOSITORY / "docs" / "images"
EXAMPLE = "library"
LARGEST = 400_000  # bytes of one picture
WIDTHS = {"desk": (1440, 900, 1), "laptop": (1024, 768, 1), "phone": (390, 844, 2)}
"""Width and height of the window in CSS pixels, pixels per CSS pixel."""


def main() -> None:
    """Make all pictures."""
    from playwright.sync_api import sync_playwright

    from ui.app import launch

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("Chromium is not installed.")
    train()
    address = launch(open_browser=False, wait=False)
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.goto(address)
        mediate(page)
        session = page.url
        for name, (width, height, density) in WIDTHS.items():
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=density
                )
                look = context.new_page()
                look.goto(session)
                look.wait_for_selector("#eh-cards .eh-card")
                look.wait_for_timeout(600)  # the bars come to rest
                if name == "phone":  # the whole page would be a long strip: show the cards
                    look.evaluate("() => document.querySelector('.eh-trail').scrollIntoView()")
                    look.wait_for_timeout(200)
                keep(look.screenshot(full_page=name != "phone"), f"mediate-{name}-{scheme}.png")
                if (name, scheme) == ("desk", "light"):
                    for tab in ("Sessions", "Models"):
                        look.click(f"#eh-tabs [role=tab]:has-text('{tab}')")
                        look.wait_for_timeout(1200)
                        keep(look.screenshot(full_page=False), f"{tab.lower()}.png")
                    look.click("#eh-tabs [role=tab]:has-text('Train')")
                    look.wait_for_selector(".eh-train-samples")
                    look.click(".eh-train-new > summary")
                    look.wait_for_timeout(600)
                    keep(look.screenshot(full_page=True), "train-run.png")
                context.close()
        browser.close()


def mediate(page: Any) -> None:
    """Propose on the example, keep one proposal, give feedback, propose again."""
    page.wait_for_selector("#eh-propose")
    page.wait_for_timeout(1000)
    page.click("#eh-example input")
    page.get_by_role("option").filter(has_text=EXAMPLE).click()
    page.wait_for_selector("#eh-reason-a textarea")
    for side, name in (("a", "The readers"), ("b", "The parents")):
        page.fill(f"#eh-label-{side} :is(input, textarea)", name)
    page.wait_for_timeout(800)
    for feedback in ("", "nothing that needs more staff"):
        page.fill("#eh-comment textarea", feedback)
        page.evaluate("() => { document.querySelector('.eh-status').textContent = ''; }")
        page.click("#eh-propose")
        page.wait_for_function("() => document.querySelector('.eh-status').textContent.includes('Done in')")
        page.wait_for_selector("#eh-cards .eh-card")
        page.click("#eh-cards .eh-card [data-action=keep] >> nth=0")
        page.wait_for_selector(".eh-kept")
        page.wait_for_timeout(600)


def train() -> None:
    """Fine-tune a toy model on invented disputes, for the picture of a finished run."""
    from tests.support.toy_training import toy_dataset, toy_model
    from trainer.alignment.config import make_config
    from trainer.runs import runs

    folder = Path(os.environ["EVENHAND_DATA_FOLDER"]) / "toy"
    settings = {
        "model": str(toy_model(folder / "tiny-llama")),
        "dataset": str(toy_dataset(folder / "train.jsonl", 24)),
        "validation": str(toy_dataset(folder / "validation.jsonl", 4)),
        "epochs": 20,
        "learning_rate": 3e-3,
        "evaluate_every": 10,
    }
    run = runs.launch(make_config("sft", settings), "sft")
    while run.active:
        time.sleep(1.0)
        run = runs.refreshed(run)
    if run.state != "done":
        sys.exit(f"The run for the picture did not succeed: {run.message} {run.hint}")


def keep(picture: bytes, name: str) -> None:
    """Write a picture with 256 colours: plenty for a page of text, and the repository stays small."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(IMAGES / name, optimize=True)
    size = (IMAGES / name).stat().st_size
    print(f"{name}: {image.width} x {image.height}, {size:,} bytes")
    if size > LARGEST:
        sys.exit(f"{name} is larger than {LARGEST:,} bytes.")


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EVENHAND_DATA_FOLDER"] = folder
        main()

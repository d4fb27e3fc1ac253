"""Makes the pictures of the page in docs/images/: starts the app, proposes on an example, looks at it in Chromium.

Run from the repository: ``python docs/make_screenshots.py``. Needs the `dev` extra and Chromium.
"""

import io
import shutil
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
IMAGES = REPOSITORY / "docs" / "images"
EXAMPLE = "library"
LARGEST = 400_000  # bytes of one picture
# name: width and height of the window in CSS pixels, colour scheme, pixels per CSS pixel
PICTURES = {
    "page-light.png": (1440, 900, "light", 1),
    "page-dark.png": (1440, 900, "dark", 1),
    "page-phone.png": (390, 844, "light", 2),
}


def main() -> None:
    """Make all pictures."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    from ui.app import launch

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("Chromium is not installed.")
    address = launch(open_browser=False, wait=False)
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-background-networking",
            ],
        )
        for name, (width, height, scheme, density) in PICTURES.items():
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=density
            )
            page = context.new_page()
            page.goto(address)
            page.click("#eh-example input")
            page.get_by_role("option").filter(has_text=EXAMPLE).click()
            page.wait_for_selector("#eh-reason-a textarea")
            page.click("#eh-propose")
            page.wait_for_function("() => document.querySelector('.eh-status').textContent.includes('Done in')")
            page.wait_for_timeout(600)  # the bars come to rest
            if width < 640:  # on a phone the whole page is a long strip: show what one sees after pressing Propose
                page.evaluate("() => document.querySelector('#eh-status').scrollIntoView()")
            picture = page.screenshot(full_page=width >= 640)
            # 256 colours are plenty for a page of text and keep the repository small.
            image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
            image.save(IMAGES / name, optimize=True)
            size = (IMAGES / name).stat().st_size
            print(f"{IMAGES / name}: {image.width} x {image.height}, {size:,} bytes")
            if size > LARGEST:
                sys.exit(f"{name} is larger than {LARGEST:,} bytes.")
            context.close()
        browser.close()


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    main()

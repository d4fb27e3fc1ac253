"""Draws assets/icon*.png from assets/icon.svg in headless Chromium; run it after a change of the drawing.

.venv/bin/python docs/make_icons.py
"""

import re
import shutil
import sys
from pathlib import Path

ASSETS = Path(__file__).resolve().parents[1] / "assets"
GROUND = "#334155"  # the drawing's own
SAFE = 0.72  # of the width: a system may cut a maskable icon to the circle of 80 %


def main() -> int:
    """Draw the three icons."""
    from playwright.sync_api import sync_playwright

    drawing = (ASSETS / "icon.svg").read_text(encoding="utf-8")
    bare = re.sub(r"<rect[^>]*/>", "", drawing)
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--headless=new", "--no-sandbox"])
        for name, size, svg, ground, share in (
            ("icon-192.png", 192, drawing, "transparent", 1.0),
            ("icon-512.png", 512, drawing, "transparent", 1.0),
            ("icon-maskable-512.png", 512, bare, GROUND, SAFE),
        ):
            page = browser.new_page(viewport={"width": size, "height": size})
            style = f"margin:0;height:100vh;display:grid;place-items:center;background:{ground}"
            page.set_content(f'<body style="{style}"><div style="width:{share:.0%};line-height:0">{svg}</div></body>')
            page.screenshot(path=ASSETS / name, omit_background=True)
            page.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The page as an app to install: what Chromium itself says of its manifest, its icons, and whether it would do it."""

import io
import json

import pytest

from mediator.resources import asset
from tests.browser.conftest import CHROMIUM_FLAGS

pytestmark = pytest.mark.browser


def png_size(content: bytes) -> tuple[int, int]:
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


def test_chromium_would_install_it(browser, app, chromium, tmp_path):
    # With a profile of its own: a private window is never offered an installation.
    context = browser.browser_type.launch_persistent_context(tmp_path, executable_path=chromium, args=CHROMIUM_FLAGS)
    try:
        page = context.new_page()
        page.goto(app.url)
        page.wait_for_selector("#eh-propose")
        devtools = context.new_cdp_session(page)
        assert devtools.send("Page.getInstallabilityErrors")["installabilityErrors"] == []
        manifest = devtools.send("Page.getAppManifest")
    finally:
        context.close()
    assert manifest["errors"] == []
    content = json.loads(manifest["data"])
    assert content["name"] == content["short_name"] == "Evenhand"
    assert content["start_url"] == "/"
    assert content["display"] == "standalone"
    assert content["theme_color"] == "#334155"


def test_the_icons_are_there_in_the_sizes_they_claim(page, app):
    content = json.loads(page.request.get(f"{app.url}/manifest.json").body())
    sizes = set()
    for icon in content["icons"]:
        answer = page.request.get(app.url + icon["src"])
        assert answer.status == 200
        assert answer.headers["content-type"] == icon["type"]
        if icon["type"] == "image/png":
            width, height = png_size(answer.body())
            assert icon["sizes"] == f"{width}x{height}"
        sizes.add((icon["sizes"], icon["purpose"]))
    assert {("192x192", "any"), ("512x512", "any"), ("512x512", "maskable"), ("any", "any")} <= sizes


def test_a_phone_finds_its_icon_and_its_colours(page):
    assert page.get_attribute("link[rel=apple-touch-icon]", "href") == "/icons/icon-192.png"
    assert page.locator("meta[name=theme-color]").count() == 2


def test_the_maskable_icon_may_be_cut_to_a_circle():
    image = (
        pytest.importorskip("PIL.Image").open(io.BytesIO(asset("icon-maskable-512.png").read_bytes())).convert("RGBA")
    )
    ground = image.getpixel((0, 0))
    assert ground[3] == 255  # it fills its square
    drawn = [(x, y) for x in range(512) for y in range(512) if image.getpixel((x, y)) != ground]
    assert drawn
    assert max((x - 255.5) ** 2 + (y - 255.5) ** 2 for x, y in drawn) ** 0.5 < 0.4 * 512

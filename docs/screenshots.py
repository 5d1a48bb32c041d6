"""Take pictures of every page of the service, at two sizes, in light and in dark: docs/screenshots/.

    python docs/screenshots.py demo.features [page ...]

The store is a demo's with maps (`featurestore index --map`); it is copied first, since a list is kept in it. Needs
Chromium, and Playwright of the extra `test`. With names of pages only these are taken.
"""

from __future__ import annotations

import base64
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from playwright.sync_api import Browser, sync_playwright
from werkzeug.serving import make_server

import featurestore
from featurestore.web import Settings, create_app

FOLDER = Path(__file__).parent / "screenshots"
SIZES = {"wide": (1280, 860), "phone": (390, 844)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
FEATURE = "pystdlib/4-res-2k/115"
STATEMENT = """SELECT dictionary, feature, density, max_activation, label, top_logits
FROM features WHERE state = 'live' AND layer = 4"""
SNIPPET = """try:
    value = int(text)
except ValueError:
    pass"""
PAGES = {
    "home": "/",
    "search": "/?text=exception+handling",
    "feature": f"/features/{FEATURE}",
    "on-text": f"/features/{FEATURE}/on-text?text={quote(SNIPPET)}#on-text",
    "dictionary": "/dictionaries/pystdlib/4-res-2k",
    "map": "/map/pystdlib/4-res-2k?text=exception+handling",
    "neighbourhood": f"/neighbourhood/{FEATURE}",
    "text": f"/text?text={quote(SNIPPET)}",
    "compare": f"/compare?id={FEATURE}&id=pystdlib/4-res-2k/10",
    "graphs": "/graphs",
    "graph": "/graphs/try-except",
    "lists": "/lists",
    "list": "/lists/errors",
    "sql": f"/sql?sql={quote(STATEMENT)}&x=density&y=max_activation&log_x=true&log_y=true",
    "docs": "/docs#search",
}


def main() -> None:
    """Take the pictures of the pages that are named, or of all."""
    store, *names = sys.argv[1:]
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(store, Path(folder) / "demo.features")
        with featurestore.connect(copy) as opened:
            ids = [hit.id for hit in opened.search("exception handling", k=6)]
            opened.save_list("errors", ids, note="What the model knows of exceptions.", replace=True)
            server = make_server("127.0.0.1", 0, create_app(opened, Settings(writes=True)), threaded=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
                )
                for name in names or PAGES:
                    take(browser, f"http://127.0.0.1:{server.port}", name)
            server.shutdown()
    size = sum(path.stat().st_size for path in FOLDER.iterdir())
    print(f"{FOLDER}: {len(list(FOLDER.iterdir()))} pictures, {size / 1e6:.1f} MB")


def take(browser: Browser, url: str, name: str) -> None:
    """Take the pictures of one page; two sizes, each in light and in dark."""
    for size, (width, height) in SIZES.items():
        for scheme in SCHEMES:
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
            )
            page.goto(url + PAGES[name], timeout=120_000)
            if name == "map":
                page.locator(".map[data-ready]").wait_for(timeout=60_000)
                page.wait_for_timeout(500)
            if name == "docs":
                page.locator("section:has(#search) summary").click()
                page.locator("#search").evaluate("heading => heading.scrollIntoView()")
            # Playwright itself knows no WebP, which takes a fifth of PNG.
            session = page.context.new_cdp_session(page)
            picture = session.send("Page.captureScreenshot", {"format": "webp", "quality": 78})
            (FOLDER / f"{name}-{size}-{scheme}.webp").write_bytes(base64.b64decode(picture["data"]))
            page.close()
    print(name, flush=True)


if __name__ == "__main__":
    main()

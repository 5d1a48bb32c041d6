"""A real Chromium for tests of pages, and what accessibility rules (axe-core) find on one."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MISSING = "no Chromium on this machine: install the package chromium"


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """Give Chromium, and close it afterwards."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextlib.contextmanager
def open_page(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """Give a page of the site at `url`, and assert afterwards that nothing was logged and nobody else was asked.

    `page.complaints` holds what was logged; a test that wants an error empties it.
    """
    page = browser.new_page(**{"viewport": {"width": 1200, "height": 800}, "base_url": url} | options)
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    ours = (url, "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(ours) else complaints.append(request.url))
    page.complaints = complaints
    yield page
    page.close()
    assert complaints == []


def find_violations(page: Page, **options: Any) -> list[str]:
    """Return what axe-core finds serious or critical: a line for each rule, with the elements that break it.

    `options` are axe-core's: with preload=False it asks for no style sheet, which a folder does not allow.
    """
    # The policy of our pages lets no script in but their own, so axe is given through the debugger.
    found = Axe().run(page, options=options or None)
    return [
        f"{violation['id']} ({violation['impact']}): "
        + "; ".join(node["html"][:160] for node in violation["nodes"][:4])
        for violation in found.response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]

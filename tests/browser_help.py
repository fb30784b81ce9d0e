"""A real headless Chromium for tests, where there is one, and a visit to a gallery in it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "no Chromium on this machine: `make browser` brings one, or CAPTION_MOVIES_BROWSER names its program"
NONE_TO_BE_HAD = Path(__file__).parents[1] / "build" / "no-browser"
"""Left by `make browser` where it tried every way and got none."""
expect.set_options(timeout=60_000)  # a machine may be busy; what is right is seen at once all the same
FIRST = "view=frame&frame=mabc_000000"
AT_FAULT = "view=frame&frame=mabc_000006"
"""Frames of gallery_making.small_store."""
DESK = {"viewport": {"width": 1280, "height": 900}}


@contextmanager
def headless_chromium() -> Iterator[tuple[Browser, dict[str, Any]]]:
    """The browser, and the devices it can play.

    Where there is none the test fails and says how to get one; it is skipped only where `make browser` got none either.
    """
    found = os.environ.get("CAPTION_MOVIES_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root Chromium starts in no other way
        try:
            browser = playwright.chromium.launch(executable_path=found, args=arguments)
        except Error as error:
            if found or "Executable doesn't exist" not in str(error):
                raise
            if NONE_TO_BE_HAD.exists():
                pytest.skip(NONE_TO_BE_HAD.read_text(encoding="utf-8").strip())
            pytest.fail(MISSING, pytrace=False)
        try:
            yield browser, playwright.devices
        finally:
            browser.close()


class Visit:
    """A page of a gallery, what it asked for, and what went wrong on it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(60_000)
        page.on("console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", self._refuse)
        page.on("request", lambda request: self.requests.append(request.url))

    def _refuse(self, dialog: Any) -> None:
        self.errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def see(self, state: str = "view=movies") -> Page:
        """Go to a view and wait until it stands there."""
        if self.page.url.partition("#")[0] == self.address:
            self.page.evaluate("state => { location.hash = state; }", state)
        else:
            self.page.goto(f"{self.address}#{state}")
        return self.settle()

    def settle(self, state: str = "") -> Page:
        """Wait until what the address says, with `state` in it, stands there."""
        self.page.wait_for_function(
            """state => location.hash.includes(state) && typeof gallery === 'object'
                        && gallery.shownAt === location.hash""",
            arg=state,
        )
        return self.page

    def texts(self, selector: str) -> list[str]:
        """What stands in the elements of a selector, blanks collapsed."""
        return [" ".join(text.split()) for text in self.page.locator(selector).all_inner_texts()]


def lit(page: Page, selector: str) -> list[str | None]:
    """The objects of what is lit among the elements of a selector."""
    return [one.get_attribute("data-objects") for one in page.locator(f"{selector}.lit").all()]

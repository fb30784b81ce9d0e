"""The docs as a site: it builds without a warning, every link and anchor leads somewhere, nothing asks a network."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from browser_help import DESK, Visit

from docs.generate import PAGES
from docs.site_hooks import complete, entries
from flows.describe_settings import ENVIRONMENT

REPOSITORY = Path(__file__).parents[1]
OWN = r"CAPTION_MOVIES_(?!BROWSER|TEST_)\w+"
"""Variables of the command's own; the others are for tests."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` builds it, in a folder whose name has to be escaped in addresses."""
    folder = tmp_path_factory.mktemp("docs") / "a site & more"
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=REPOSITORY, check=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    page = (REPOSITORY / "docs" / name).read_text(encoding="utf-8")
    assert page == PAGES[name](), "run: make docs"


def test_every_setting_and_variable_has_a_meaning() -> None:
    page = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `") and line.count(" | ") >= 4]
    assert len(rows) > 60
    assert [row[0] for row in rows if not row[3].strip()] == [], "write a text below the field in its dataclass"
    folders = ("flows", "gallery", "storage", "tasks")
    code = [path.read_text("utf-8") for name in folders for path in (REPOSITORY / name).rglob("*.py")]
    assert set(re.findall(OWN, "\n".join(code))) == ENVIRONMENT.keys(), "ENVIRONMENT in flows/describe_settings.py"


def test_every_page_stands_in_the_nav_once(site: Path) -> None:
    config = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text("utf-8"))
    docs = REPOSITORY / "docs"
    pages = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    shown = list(entries(complete(config["nav"], pages)))
    assert sorted(shown) == pages
    assert all((site / page).with_suffix(".html").is_file() for page in pages)


def test_a_new_page_needs_no_entry_in_the_nav() -> None:
    nav = [{"Start": "index.md"}, {"How-to": ["how-to/*.md"]}, {"Why": [{"All": ["why/*.md"]}, "a.md"]}]
    pages = ["a.md", "how-to/x.md", "index.md", "new.md", "why/1.md", "why/2.md"]
    assert complete(nav, pages) == [
        {"Start": "index.md"},
        {"How-to": ["how-to/x.md", "new.md"]},
        {"Why": [{"All": ["why/1.md", "why/2.md"]}, "a.md"]},
    ]


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loads = re.compile(r'<(?:script|img|iframe|source)[^>]+src="(?:https?:)?//|<link[^>]+href="(?:https?:)?//|@import')
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not loads.search(text), page
        assert 'class="mermaid"' not in text, f"{page}: the theme fetches mermaid from the network"


@pytest.fixture
def open_site(chromium: tuple[Any, dict[str, Any]], site: Path) -> Iterator[Callable[..., Visit]]:
    """Open a page from disk; at the end nothing may have gone wrong, nor anything been asked for outside the folder."""
    browser, devices = chromium
    opened = []

    def begin(page: str = "index.html", device: str | None = None, **options: Any) -> Visit:
        context = browser.new_context(**((devices[device] if device else DESK) | options))
        one = Visit(context.new_page(), (site / page).as_uri())
        opened.append((context, one))
        one.page.goto(one.address)
        return one

    yield begin
    for context, one in opened:
        with closing(context):
            assert one.errors == []
            assert all(address.startswith((f"{site.as_uri()}/", "about:")) for address in one.requests)


def test_the_search_works_from_disk(open_site: Callable[..., Visit]) -> None:
    page = open_site().page
    page.get_by_role("textbox", name="Search").click()
    page.keyboard.type("on_violation")
    found = page.locator(".md-search-result__item a").first
    found.wait_for()
    assert page.locator(".md-search-result__item").count() > 1


@pytest.mark.parametrize(
    ("page", "look"),
    [("index.html", {}), ("tutorial.html", {"device": "Pixel 7"}), ("settings.html", {"color_scheme": "dark"})],
)
def test_pages_fit_a_phone_and_keep_to_the_rules_of_accessibility(
    page: str, look: dict[str, str], open_site: Callable[..., Visit]
) -> None:
    shown = open_site(page, **look, bypass_csp=True).page
    assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    found = Axe().run(shown, options={"preload": False}).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []

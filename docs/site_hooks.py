"""What mkdocs is told of the docs beside mkdocs.yml: which pages the nav has.

An entry of the nav may be a pattern (`decisions/*.md`). A page that no entry names is no error: it stands at the end of
the section for new pages, so that a page is added by writing its file.
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

NEW_PAGES = "How-to"
"""The section of pages that the nav does not name."""


def on_config(config: Any) -> Any:
    """Called by mkdocs when it has read mkdocs.yml."""
    folder = Path(config["docs_dir"])
    pages = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.md"))
    config["nav"] = complete(config["nav"], pages)
    return config


def complete(nav: list[Any], pages: list[str]) -> list[Any]:
    """The nav with its patterns filled in, and with the pages that it lacks at the end of NEW_PAGES."""
    named = {entry for entry in entries(nav) if "*" not in entry}
    filled = [_filled(one, [page for page in pages if page not in named]) for one in nav]
    missing = sorted(set(pages) - set(entries(filled)))
    for one in filled:
        if isinstance(one, dict) and NEW_PAGES in one:
            one[NEW_PAGES] += missing
    return filled


def entries(nav: Any) -> Iterator[str]:
    """The pages and patterns of a nav, in order."""
    if isinstance(nav, str):
        yield nav
    else:
        for one in nav.values() if isinstance(nav, dict) else nav:
            yield from entries(one)


def _filled(entry: Any, pages: list[str]) -> Any:
    """A section or page with patterns replaced by the pages that fit."""
    if isinstance(entry, dict):
        return {title: _filled(below, pages) for title, below in entry.items()}
    if isinstance(entry, list):
        return [page for one in entry for page in _listed(one, pages)]
    return entry


def _listed(entry: Any, pages: list[str]) -> list[Any]:
    if isinstance(entry, str) and "*" in entry:
        return [page for page in pages if fnmatchcase(page, entry)]
    return [_filled(entry, pages)]


def on_post_page(output: str, **_: Any) -> str:
    """Called by mkdocs with a page's HTML: the theme's search is a dialog without a name, which readers aloud need."""
    return output.replace('role="dialog">', 'role="dialog" aria-label="Search">')

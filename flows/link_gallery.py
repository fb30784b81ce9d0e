"""The link from Prefect to a store's gallery. Where one can be opened only people know, and say in `gallery_url`."""

from urllib.parse import quote, urlsplit

import httpx
from prefect.artifacts import create_link_artifact, create_markdown_artifact

from flows.escape_markdown import as_code
from tasks.errors import ConfigError

ANSWER_SECONDS = 5.0
SIGN = "site/gallery.css"
"""Stands in the first page of every gallery."""


def checked_address(url: str) -> str:
    """The address of a gallery, fit for a link in Markdown; empty stays so. Raises ConfigError for no http address."""
    if not url:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"gallery_url is {url!r}, which is no http address. Give the one at which people open the gallery of this "
            "store, such as http://HOST:8765/ of `caption-movies serve`; none at all where there is none."
        )
    return quote(url.partition("#")[0], safe=":/?&=%@+,;~[]-._!$*")


def publish_gallery(key: str, url: str, store: str, about: str) -> None:
    """A link to the gallery; without an address, how to get one. A link to nothing is never made up."""
    if url:
        create_link_artifact(url, "Open the gallery", key, f"Pictures, boxes and {about}. {_answer_of(url)}")
        return
    lines = [
        "No address of a gallery is known to this run (its parameter `gallery_url`). Where the store is at hand:", "",
        f"- {as_code(f'caption-movies serve --store {store}')} shows it at an address of that machine,",
        f"- {as_code(f'caption-movies gallery --store {store} --out DIR')} makes a folder of pages to open.",
    ]  # fmt: skip
    create_markdown_artifact("\n".join(lines) + "\n", key, f"How to see {about}")


def _answer_of(url: str) -> str:
    """What this machine found at the address; another one may reach what it does not."""
    try:
        answer = httpx.get(url, timeout=ANSWER_SECONDS, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = as_code(str(error) or type(error).__name__)
        return f"When the run ended it did not answer the machine of the run: {why}"
    if answer.status_code != httpx.codes.OK or SIGN not in answer.text:
        return f"When the run ended there was no gallery at that address: status {answer.status_code}."
    return "It answered when the run ended."

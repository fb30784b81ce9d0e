"""Artifacts when Prefect's server stumbles, how often it is asked, and foreign text that would be markup."""

import dataclasses
import re
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from gallery_making import GOOD, HOSTILE, HOSTILE_TITLE, write_movie
from markdown_it import MarkdownIt
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect_help import Api

from flows import show_progress
from flows.escape_markdown import as_cell, as_code
from flows.link_gallery import checked_address
from flows.publish_artifacts import publish
from flows.publish_progress import ProgressArtifacts
from flows.publish_report import page_of_frames, rows_left_out
from flows.show_progress import STAGES, Progress
from storage.store import Store
from tasks.errors import ConfigError, StoreError
from tasks.sample_captions import sample_captions

HARMLESS = {"paragraph_open", "paragraph_close", "inline", "text", "code_inline", "softbreak"}
MARKUP = (
    *HOSTILE, HOSTILE_TITLE, "[a](javascript:alert(1))", "![x](http://a/b.png)", "**a** __b__ _c_ ~~d~~", "`a` ``b``",
    "| a | b |\n| - | - |\n| 1 | 2 |", "# a\n\n- b\n\n> c", "https://a.example www.b.example", "<https://a.example>",
    "&lt;b&gt;", "a\\", "`", "``` \n<b>", "[x]: http://a 'y'", "\n\n<script>alert(1)</script>\n\n",
)  # fmt: skip


def kinds(markdown: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of everything that Markdown with HTML finds in a page."""
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown):
        yield token.type, token.content
        yield from ((child.type, child.content) for child in token.children or [])


@pytest.mark.parametrize("text", MARKUP)
@pytest.mark.parametrize("escape", [as_code, as_cell])
def test_foreign_text_is_never_markup(escape: Callable[[str], str], text: str) -> None:
    for page in (escape(text), f"Said: {escape(text)} and so on"):
        found = list(kinds(page))
        assert {kind for kind, _ in found} <= HARMLESS
        assert not any(re.search(r"://|www\.", content) for kind, content in found if kind == "text")


def test_plain_text_stays_as_it_is_in_a_cell() -> None:
    for text in (
        "unknown-object",
        "m0123456789abcdef_000012/pixtral/0",
        "it ends at 2.96 s of the 5.83 s",
        "Le Gégène",
    ):
        assert as_cell(text) == text


def test_hostile_captions_stay_code_on_the_page_of_frames(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store(str(tmp_path_factory.mktemp("hostile") / "store"))
    write_movie(store, {"alpha": [GOOD, *HOSTILE]}, title=HOSTILE_TITLE, frames=14)
    (sample,) = sample_captions(store, "alpha", ["mabc"], 1)
    page = page_of_frames([dataclasses.replace(sample, text=text) for text in MARKUP], "http://gallery/")
    found = list(kinds(page))
    lists = {"bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"}
    assert {kind for kind, _ in found} <= HARMLESS | lists | {"image", "link_open", "link_close"}
    assert sum(kind == "image" for kind, _ in found) == 1
    assert sum(kind == "link_open" for kind, _ in found) == len(MARKUP)
    rows, number = rows_left_out(store, "alpha", ["mabc"])
    assert number == len(rows) > len(HOSTILE)
    for cell in (str(value) for row in rows for value in row.values()):
        assert {kind for kind, _ in kinds(cell)} <= HARMLESS


def test_fifty_reasons_are_shown_and_all_are_counted(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store(str(tmp_path_factory.mktemp("many") / "store"))
    write_movie(store, {"alpha": [HOSTILE[3]], "beta": [HOSTILE[3]]}, frames=60)
    rows, number = rows_left_out(store, "alpha", ["mabc"])
    assert (len(rows), number >= 60) == (50, True)
    assert all(str(row["id"]).split("/")[1] == "alpha" for row in rows)
    assert rows_left_out(store, "alpha", ["mother"]) == ([], 0)


@pytest.mark.parametrize("url", ["file:///a/index.html", "gallery.html", "javascript:alert(1)", "http://", "//host/"])
def test_only_http_addresses_are_linked(url: str) -> None:
    with pytest.raises(ConfigError, match="which is no http address"):
        checked_address(url)


def test_an_address_is_fit_for_markdown() -> None:
    assert checked_address("") == ""
    assert checked_address("http://host:8765/a b/(c)?q=1#view=frames") == "http://host:8765/a%20b/%28c%29?q=1"


@pytest.mark.usefixtures("on_server")
def test_a_server_that_is_away_costs_artifacts_and_not_the_run(
    prefect_environment: dict[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("nobody is there")

    def fail(key: str) -> None:
        raise StoreError("a file is gone")

    @flow(name="stumbling")
    def stumbling() -> str:
        progress = Progress("run-stumbling", 2, stages=("extract",))
        with monkeypatch.context() as away:
            away.setattr(SyncPrefectClient, "create_artifact", refuse)
            publish("page", lambda key: create_markdown_artifact("never", key))
            artifacts = ProgressArtifacts(progress, "tests")
            artifacts.update()
            artifacts.update()
        publish("page", fail)
        publish("page", lambda key: made.append(key))
        progress.advance("extract", 5)
        progress.movie_done("m1")
        artifacts.update()
        with get_client(sync_client=True) as client:
            client.request("DELETE", "/artifacts/{id}", path_params={"id": artifacts._ids["extract"]})
        progress.advance("extract", 5)
        artifacts.update()
        return "done"

    with caplog.at_level("WARNING"):
        state = stumbling(return_state=True)
    assert state.result() == "done"
    assert made == ["stumbling-page"]
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.partition(":")[0] for line in warned if "artifact stumbling-page" in line] == [
        "no artifact stumbling-page"
    ] * 2
    assert "a file is gone" in "".join(warned)
    assert sum("progress is not shown" in line for line in warned) == 2  # once for each time that it went away
    left = Api(prefect_environment).artifacts(str(state.state_details.flow_run_id))
    assert left["stumbling-progress"]["description"].startswith("1 of 2 movies decoded, 10 frames")


def test_progress_asks_the_server_by_the_clock_and_not_by_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr(ProgressArtifacts, "_send", lambda self, stage, *_: sent.append(stage))
    progress = Progress("run-clock", 4)
    artifacts = ProgressArtifacts.begin(progress, "tests")
    assert len(sent) == 1 + len(STAGES)
    sent.clear()
    for _ in range(1000):
        progress.advance("extract", 8)
    assert sent == []
    artifacts.update()
    assert 0 < len(sent) <= 1 + len(STAGES)
    sent.clear()
    artifacts.update()
    assert sent == []  # nothing has changed
    monkeypatch.setattr(show_progress, "EVERY_SECONDS", 0.01)
    begun = Progress.start("run-clock-2", 4)
    ProgressArtifacts.begin(begun, "tests")
    sent.clear()
    begun.advance("extract", 8)
    end = time.monotonic() + 20
    while "extract" not in sent and time.monotonic() < end:
        time.sleep(0.01)
    begun.forget()
    assert "extract" in sent


def test_percents_never_promise_what_is_not_decoded_yet() -> None:
    progress = Progress("run-total", 4)
    for _ in range(3):
        progress.advance("extract", 8)
        progress.advance("detect", 20, found=True)
    assert (progress.fraction_of("extract"), progress.fraction_of("detect")) == (0.0, 0.0)
    progress.movie_done("m1")
    assert progress.fraction_of("detect") == 0.25
    told = "3 of 3 shards known so far detected (3 found finished), 60 objects; 1 of 4 movies decoded"
    assert progress.of_stage("detect") == told
    assert progress.of_stage("extract") == "1 of 4 movies decoded; 3 shards, 24 frames"
    for movie_id in ("m2", "m3", "m4"):
        progress.movie_done(movie_id)
    assert progress.fraction_of("detect") == 1.0
    assert "known so far" not in progress.of_stage("detect")

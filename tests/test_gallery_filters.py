"""Finding frames in the gallery: filters against SQL, orders, the timeline, and ten thousand frames."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from browser_help import Visit
from playwright.sync_api import expect

from gallery.data_files import data_script
from storage.catalog import connect
from storage.store import Store

Open = Callable[..., Visit]


def sql(gallery_store: Store, question: str) -> int:
    with connect(gallery_store.location) as connection:
        return len(connection.execute(question).fetchall())


CAPTIONS = "from captions join verdicts using (caption_id) "


@pytest.mark.parametrize(
    ("state", "question"),
    [
        ("movie=mdef", "select 1 from frames where movie_id = 'mdef'"),
        ("object=dog", "select distinct frame_id from detections where label = 'dog'"),
        ("object=dog&cited=1&by=alpha", "select distinct frame_id from mentions join captions using (caption_id) "
         "where label = 'dog' and kind <> 'action' and captioner = 'alpha'"),
        ("action=walk&by=beta", "select distinct frame_id from mentions join captions using (caption_id) "
         "where label = 'walk' and kind = 'action' and captioner = 'beta'"),
        ("violation=any", f"select distinct frame_id {CAPTIONS} where verdict = 'violations'"),
        ("violation=none&by=alpha", f"select distinct frame_id {CAPTIONS} where verdict = 'ok' "
         "and captioner = 'alpha'"),
        ("violation=unknown-object&movie=mabc", "select distinct frame_id from violations join captions "
         "using (caption_id) where code = 'unknown-object'"),
        ("metric=words&from=4&to=9&by=beta", "select 1 from scores where metric = 'words' and value between 4 and 9 "
         "and caption_id like '%/beta/%'"),
        ("metric=words&from=10&action=walk&by=alpha&shot=1", "select distinct frame_id from scores join captions "
         "using (caption_id) join frames using (frame_id) join mentions m using (caption_id) where metric = 'words' "
         "and value >= 10 and captioner = 'alpha' and m.label = 'walk' and m.kind = 'action' and shot_index = 1"),
        ("", "select 1 from frames"),
    ],
)  # fmt: skip
def test_filters_give_what_sql_gives(state: str, question: str, visit: Open, gallery_store: Store) -> None:
    page = visit().see(f"view=frames&{state}")
    number = sql(gallery_store, question)
    expect(page.get_by_role("status")).to_have_text(f"{number} frame{'' if number == 1 else 's'}")
    expect(page.locator("ol.cards > li")).to_have_count(min(number, 24))
    assert number or state.startswith("metric=words&from=10")


def test_filters_are_chosen_and_cleared_on_the_page(visit: Open) -> None:
    one = visit()
    page = one.see("view=frames")
    page.get_by_role("combobox", name="Object").select_option("dog")
    one.settle("object=dog")
    page.get_by_label("cited in the caption").check()
    one.settle("cited=1")
    page.get_by_role("combobox", name="Violation").select_option("unknown-object")
    one.settle("violation=unknown-object")
    page.get_by_role("combobox", name="Score").select_option("words")
    one.settle("metric=words")
    page.get_by_role("combobox", name="Order").focus()
    page.get_by_role("combobox", name="Order").select_option("down")
    one.settle("order=down")
    expect(page.get_by_role("combobox", name="Order")).to_be_focused()
    page.get_by_role("link", name="Clear").click()
    one.settle("view=frames")
    expect(page.get_by_role("status")).to_have_text("72 frames")


def test_scores_put_frames_in_order(visit: Open, gallery_store: Store) -> None:
    one = visit()
    page = one.see("view=frames&metric=words&order=down&by=alpha&movie=mabc")
    ids = page.locator("ol.cards a").evaluate_all("all => all.map((one) => one.dataset.key)")
    with connect(gallery_store.location) as connection:
        best = connection.execute(
            "select frame_id from scores join captions using (caption_id) where metric = 'words' "
            "and captioner = 'alpha' and frame_id like 'mabc%' order by value desc, frame_id limit 24"
        ).fetchall()
    assert ids == [frame_id for (frame_id,) in best]
    page.locator("ol.cards a").nth(1).click()
    one.settle("view=frame&".replace("&", ""))
    expect(page.locator(".frame-head .pager")).to_contain_text("2 of 60")


def test_the_timeline_shows_the_shots_and_filters_by_them(visit: Open) -> None:
    one = visit()
    page = one.see("view=frames&movie=mabc")
    shots = page.get_by_role("navigation", name="Shots of A walk").get_by_role("link")
    expect(shots).to_have_count(6)
    expect(shots.nth(1)).to_have_accessible_name(re.compile("^Shot 1 ?, 0:05.0 to 0:10.0, 10 frames ?, 10 with faults"))
    shots.nth(1).click()
    one.settle("shot=1")
    expect(page.get_by_role("status")).to_have_text("10 frames")
    expect(page.locator(".timeline a[aria-current]")).to_have_count(1)
    page.locator("ol.cards a").first.click()
    one.settle("mabc_000010")
    expect(page.locator(".timeline a[aria-current]")).to_have_accessible_name(re.compile("^Shot 1 ?,"))


def test_ten_thousand_frames_show_a_page_at_a_time(
    visit: Open, gallery_store: Store, gallery_site: Path, tmp_path: Path
) -> None:
    """The same shard stands 250 times in the list: what the page holds and asks for does not depend on that."""
    folder = tmp_path / "big"
    for one in gallery_site.rglob("*"):
        target = folder / one.relative_to(gallery_site)
        target.mkdir(parents=True) if one.is_dir() else target.hardlink_to(one)
    script = (gallery_site / "data" / "site.js").read_text("ascii")
    said = json.loads(json.loads(script[script.index(",") + 1 : script.rindex(")")]))
    said["shards"] = [said["shards"][0]] * 250
    said["movies"][0]["frames"] = 10_000
    (folder / "data" / "site.js").unlink()
    (folder / "data" / "site.js").write_bytes(data_script("site", said))
    one = visit(folder)
    page = one.see("view=frames")
    expect(page.get_by_role("status")).to_have_text("10,000 frames")
    expect(page.locator("ol.cards > li")).to_have_count(24)
    assert page.locator("ol.cards img:not([loading=lazy])").count() == 0
    assert len([request for request in one.requests if "/data/" in request]) == 2  # the store, a piece of a shard
    assert len([request for request in one.requests if "/thumbnails/" in request]) <= 24
    page.get_by_label("Page", exact=True).first.fill("417")
    page.keyboard.press("Enter")
    one.settle("page=417")
    expect(page.locator("ol.cards > li")).to_have_count(10_000 - 416 * 24)
    one.see("view=frames&violation=any&by=alpha")
    in_shard = "captioner = 'alpha' and verdict = 'violations' and frame_id like 'mabc%' and frame_id < 'mabc_000040'"
    per_shard = sql(gallery_store, f"select distinct frame_id {CAPTIONS} where {in_shard}")
    expect(page.get_by_role("status")).to_have_text(f"{250 * per_shard:,} frames")
    assert page.locator("#main *").count() < 1500

"""The gallery in a real Chromium, opened from disk: pointing, faults in their places, keys, hostile captions."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from browser_help import DESK, FIRST, Visit, lit
from gallery_making import DOG, FAULTS, GOOD, HEIGHT, HOSTILE, PERSON, WIDTH
from playwright.sync_api import expect

from storage.catalog import connect
from storage.store import Store
from tasks import masks

Open = Callable[..., Visit]


def test_it_opens_from_disk_and_needs_nothing_else(visit: Open) -> None:
    page = visit().see()
    expect(page.locator("main .card-title").first).to_have_text("A walk")
    expect(page.get_by_role("status")).to_have_text("2 movies, 72 frames, 2 captioners.")
    page.get_by_role("link", name="A walk").click()
    expect(page.locator("ol.cards > li")).to_have_count(24)
    expect(page.locator("ol.cards img").first).to_have_js_property("naturalWidth", WIDTH)


def test_nothing_but_its_own_scripts_can_run(chromium: tuple[Any, dict[str, Any]], gallery_site: Path) -> None:
    context = chromium[0].new_context(**DESK)
    one = Visit(context.new_page(), (gallery_site / "index.html").as_uri())
    page = one.see()
    done = page.evaluate("""() => {
        const tries = { inner: () => { document.body.innerHTML = '<b>x</b>'; }, handler: () => {
              const one = document.createElement('a'); one.setAttribute('onclick', 'window.hacked = 8');
              document.body.append(one); one.click(); if (!window.hacked) throw new Error('blocked'); },
          script: () => { const one = document.createElement('script'); one.src = 'data/site.js'; } };
        return Object.entries(tries).map(([name, act]) => {
            try { act(); return name; } catch (error) { return null; } });
    }""")
    assert done == [None, None, None]
    page.evaluate("""() => { const one = document.createElement('img'); one.src = 'http://127.0.0.1:9/x.png';
                             document.body.append(one); }""")
    page.wait_for_function("() => !document.body.lastElementChild.naturalWidth")
    assert any("Content Security Policy" in said for said in one.errors)
    context.close()


def as_shown(text: str) -> str:
    """What the page makes of letters that nobody sees, or that turn the direction of reading."""
    unseen = "[\x00-\x08\x7f-\x9f\xad\u200b\u202a-\u202e\u2028\u2029]"
    return re.sub(unseen, lambda found: f"[U+{ord(found[0]):04X}]", text)


def test_a_hostile_caption_is_text_and_nothing_more(visit: Open) -> None:
    one = visit()
    for number, text in enumerate(HOSTILE, 1):
        page = one.see(f"view=frame&frame=mabc_{number:06d}")
        if not page.locator("#show-tags").is_checked():
            page.locator("#show-tags").check()
        markup = ("script", "iframe", "style", "[onerror]", "[onload]", "[onmouseover]", "img[src=x]", "[style*=top]")
        assert page.locator(", ".join(f"#main {bad}" for bad in markup)).count() == 0
        caption = page.locator("section.captioner").first.locator("p.caption")
        shown = "".join(caption.locator(".words, .markup").evaluate_all("all => all.map((one) => one.textContent)"))
        assert shown == as_shown(text)
        page.locator(".tag, .violations li").evaluate_all("all => all.forEach((one) => one.click())")
        assert page.evaluate("window.hacked === undefined")


def test_hostile_titles_and_addresses_are_text_too(visit: Open) -> None:
    page = visit().see()
    expect(page.locator("main .card-title").nth(1)).to_have_text("<b onclick=alert(1)>Film</b> \"&' [U+202E]")
    one = visit()
    page = one.see("view=frame&frame=%3Cimg src=x onerror=alert(1)%3E&in=../../x")
    expect(page.locator("main")).to_contain_text("<img src=x onerror=alert(1)> is not among what is shown")
    one.see("view=frames&object=__proto__&violation=constructor&metric=toString&a=%3Cb%3E&page=1e9&by=hasOwnProperty")
    expect(page.get_by_role("status")).to_have_text("0 frames")


def test_pointing_at_a_span_lights_its_boxes(visit: Open) -> None:
    page = visit().see(FIRST)
    first = page.locator("section.captioner").first
    first.locator(".tag", has_text="his dog").hover()
    assert lit(page, ".box") == ["dog-0"]
    assert lit(page, "button.object") == ["dog-0"]
    assert set(lit(page, ".tag")) == {"dog-0"}
    page.locator("h1").hover()
    assert lit(page, "[data-objects]") == []


def test_pointing_at_a_box_lights_its_words(visit: Open) -> None:
    page = visit().see(FIRST)
    left, top, width, height = PERSON
    frame = page.locator(".layers").bounding_box()
    assert frame
    scale = frame["width"] / WIDTH
    page.mouse.move(frame["x"] + (left + width / 2) * scale, frame["y"] + (top + height / 2) * scale)
    assert lit(page, ".box") == ["person-0"]
    words = page.locator("section.captioner").first.locator(".tag.lit .words").all_inner_texts()
    assert words == ["A man", "walks"]
    page.mouse.move(frame["x"] + (DOG[0] + 5) * scale, frame["y"] + (DOG[1] + 5) * scale)
    assert lit(page, ".box") == ["dog-0"]


def test_a_click_or_enter_holds_the_light_and_escape_lets_go(visit: Open) -> None:
    page = visit().see(FIRST)
    tag = page.locator("section.captioner").first.locator(".tag").first
    tag.click()
    page.locator("h1").hover()
    assert lit(page, ".box") == ["person-0"]
    expect(tag).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    assert lit(page, ".box") == []
    expect(page.locator("article.frame")).to_be_visible()
    page.get_by_role("button", name=re.compile("^dog-0")).focus()
    assert lit(page, ".box") == ["dog-0"]
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name=re.compile("^dog-0"))).to_have_attribute("aria-pressed", "true")


def test_masks_lie_where_the_objects_are(visit: Open) -> None:
    one = visit()
    page = one.see(FIRST)
    page.wait_for_function(f"() => document.querySelector('canvas').width === {WIDTH}")
    pixel = """([x, y]) => [...document.querySelector('canvas')
        .getContext('2d', { willReadFrequently: true }).getImageData(x, y, 1, 1).data]"""
    inside = page.evaluate(pixel, [PERSON[0] + 5, PERSON[1] + PERSON[3] - 5])
    assert inside[3] > 0
    assert page.evaluate(pixel, [PERSON[0] - 5, HEIGHT - 5]) == [0, 0, 0, 0]
    page.locator(".tag", has_text="his dog").first.hover()
    assert page.evaluate(pixel, [DOG[0] + 5, DOG[1] + 5])[3] > inside[3] > page.evaluate(pixel, [PERSON[0] + 5, 155])[3]
    page.keyboard.press("m")
    expect(page.locator("canvas")).to_be_hidden()


def test_the_page_reads_run_lengths_as_we_do(visit: Open) -> None:
    page = visit().see()
    random = np.random.default_rng(7)
    for shape, share in (((9, 13), 0.5), ((240, 426), 0.02), ((33, 7), 0.95)):
        encoded = masks.encode(random.random(shape) < share)
        assert (
            page.evaluate("text => gallery.runLengths(text)", encoded.counts)
            == masks._run_lengths(encoded.counts).tolist()
        )
    assert page.evaluate("text => gallery.runLengths(text).length < 99", "oooo\u0000\uffff<") is True


POINTED_AT = """(caption, index) => {
    const fault = caption.querySelector(`.violations li[data-fault="${index}"]`);
    fault.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
    const lit = caption.querySelectorAll(".lit-fault:not(.fault-sign)");
    return [...lit].map((one) => one.textContent).join("");
}"""
"""What is lit when one points at a fault. In one go: the pointer that ticked the box is still there, and lights what
comes to lie under it whenever the page is drawn again."""


def test_violations_stand_where_they_are(visit: Open, gallery_store: Store) -> None:
    one = visit()
    with connect(gallery_store.location) as connection:
        rows = connection.execute(
            'select frame_id, code, "start", "end", text from violations join captions using (caption_id) '
            "where frame_id between ? and ? and captioner = 'alpha' order by frame_id, violation_index",
            ["mabc_000001", f"mabc_{len(HOSTILE) + len(FAULTS):06d}"],
        ).fetchall()
    of_frames = {frame_id: [row[1:] for row in rows if row[0] == frame_id] for frame_id, *_ in rows}
    assert {row[1] for row in rows} >= {fault["code"] for fault in FAULTS}
    for frame_id, found in of_frames.items():
        page = one.see(f"view=frame&frame={frame_id}")
        if not page.locator("#show-tags").is_checked():
            page.locator("#show-tags").check()
        caption = page.locator("section.captioner").first
        assert caption.locator(".fault-sign").count() >= 1
        badges = caption.locator(".violations li .badge").all_inner_texts()
        assert [text.split()[1] for text in badges] == [code for code, *_ in found]
        for index, (_, start, end, text) in enumerate(found):
            shown = caption.evaluate(POINTED_AT, index)
            assert shown == as_shown(text[start:end]), frame_id


def test_two_captioners_stand_side_by_side(visit: Open) -> None:
    one = visit()
    page = one.see("view=frame&frame=mabc_000024")
    alpha, beta = (page.get_by_role("region", name=f"Caption by {name}") for name in ("alpha", "beta"))
    boxes = [each.bounding_box() for each in (alpha, beta)]
    assert boxes[0]
    assert boxes[1]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    gain = page.get_by_role("row", name=re.compile("^gain"))
    expect(gain.locator("td").nth(1)).to_contain_text("better")
    expect(page.get_by_role("row", name=re.compile("^words")).locator(".better")).to_have_count(0)
    one.see("view=frame&frame=mabc_000024&a=beta&b=-")
    expect(page.locator("section.captioner h3")).to_have_text(["beta"])


def test_keys_do_what_the_page_says(visit: Open) -> None:
    one = visit()
    page = one.see("view=frames")
    page.keyboard.press("ArrowRight")
    one.settle("page=2")
    page.locator("ol.cards a").first.focus()
    page.keyboard.press("Enter")
    one.settle("mabc_000024")
    page.keyboard.press("ArrowRight")
    one.settle("mabc_000025")
    page.keyboard.press("ArrowLeft")
    one.settle("mabc_000024")
    page.keyboard.press("t")
    expect(page.locator("p.shown-tags")).to_have_count(2)
    page.keyboard.press("b")
    expect(page.locator("svg.boxes")).to_be_hidden()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_label("Keys of one letter work").uncheck()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("b")
    expect(page.locator("svg.boxes")).to_be_hidden()
    page.keyboard.press("Escape")
    one.settle("view=frames")
    assert "page=2" in page.url
    page.keyboard.press("Escape")
    one.settle("view=movies")


def test_back_and_forward_are_the_browsers(visit: Open) -> None:
    one = visit()
    page = one.see("view=movies")
    one.see("view=frames&movie=mdef")
    one.see("view=frame&frame=mdef_000003")
    page.go_back()
    one.settle("movie=mdef")
    expect(page.locator("ol.cards > li")).to_have_count(12)
    page.go_forward()
    one.settle("mdef_000003")


def test_a_folder_that_was_not_copied_as_a_whole_says_so(
    chromium: tuple[Any, dict[str, Any]], gallery_site: Path, tmp_path: Path
) -> None:
    (tmp_path / "site").symlink_to(gallery_site / "site")
    (tmp_path / "index.html").write_bytes((gallery_site / "index.html").read_bytes())
    context = chromium[0].new_context(**DESK)
    page = context.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    expect(page.get_by_role("status")).to_have_text("site of the gallery cannot be read. Was the whole folder copied?")
    context.close()


def test_the_caption_of_the_page_is_the_caption_of_the_store(visit: Open) -> None:
    page = visit().see(FIRST)
    shown = "".join(page.locator("section.captioner").first.locator("p.caption .words").all_inner_texts())
    assert shown == re.sub("<[^>]+>", "", GOOD)

"""Who sees, reads or holds otherwise: the gallery on phones, by ear, without colours, by the rules of axe-core."""

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser_help import AT_FAULT, FIRST, Visit, lit

Open = Callable[..., Visit]


@pytest.mark.parametrize("state", ["view=movies", "view=frames&movie=mabc&metric=words", FIRST, AT_FAULT])
def test_a_phone_needs_no_sideways_scrolling(state: str, visit: Open) -> None:
    page = visit(device="Pixel 7").see(state)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    small = page.locator("header a, header button, .pager a, .conditions select, .object").evaluate_all(
        "all => all.filter((one) => one.checkVisibility() && one.getBoundingClientRect().height > 1"
        " && one.getBoundingClientRect().height < 24).length"
    )
    assert small == 0  # WCAG 2.5.8


def test_a_tap_lights(visit: Open) -> None:
    page = visit(device="Pixel 7").see(FIRST)
    page.locator(".tag", has_text="his dog").first.tap()
    assert lit(page, ".box") == ["dog-0"]


@pytest.mark.parametrize(
    ("state", "look"),
    [
        ("view=movies", {}),
        ("view=frames&movie=mabc&object=dog&metric=gain", {}),
        (FIRST, {}),
        (AT_FAULT, {}),
        (AT_FAULT, {"color_scheme": "dark"}),
        (AT_FAULT, {"forced_colors": "active"}),
    ],
)
def test_the_rules_of_accessibility_hold(state: str, look: dict[str, str], visit: Open) -> None:
    page = visit(**look, bypass_csp=True).see(state)  # axe is a script that does not belong to the page
    found = Axe().run(page, options={"preload": False}).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []


def test_who_listens_hears_objects_faults_and_who_is_cited(visit: Open) -> None:
    page = visit().see(FIRST)
    said = page.locator("#main").aria_snapshot()
    assert 'img "Frame at 0:00.0 of A walk, with 3 objects"' in said
    assert 'button "A man (object person-0)"' in said
    assert 'button "walks (action of person-0: walk)"' in said
    assert re.search(r'button "person-0 , thing, score 0\.90 ?, cited as A man; walks', said)
    page = visit().see(AT_FAULT)
    said = page.locator("#main").aria_snapshot()
    assert "(fault: duplicate-id, label-mismatch, unknown-object, uppercase-tag)" in said
    assert "(fault: crossing-tags)" in said


def test_nothing_is_said_by_colour_alone(visit: Open) -> None:
    """Each kind of tag has its own line, each object its name, in the picture and at its words."""
    page = visit().see(FIRST)
    styles = page.locator("section.captioner").first.locator(".tag").evaluate_all(
        "all => all.map((one) => getComputedStyle(one).borderBottomStyle)")  # fmt: skip
    assert styles == ["solid", "dotted", "solid", "double"]
    assert page.locator("svg .name").all_text_contents() == ["sky-0", "person-0", "dog-0"]
    assert page.locator("section.captioner").first.locator(".tag .ids").all_inner_texts()[0] == "person-0"
    page = visit().see(AT_FAULT)
    sign = page.locator("section.captioner").first.locator(".badge").first
    assert sign.inner_text().startswith("⚠")

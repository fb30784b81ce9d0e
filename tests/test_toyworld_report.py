"""The shipped models on unseen scenes: a small version of `make toyworld-report`, with floors below what was measured.

Every figure that is said to come from seeing has to be well above what the same captioner gets with another picture.
"""

from typing import Any

import pytest

from toyworld import report
from toyworld.grounding_report import Row
from toyworld.seeds import TEST

SCENES = 50
QUALITY_FLOORS = {"pq": 0.82, "pq_things": 0.74, "pq_stuff": 0.95}
FLOORS = {
    "cited ids with n >= 1: F1": 0.8,
    "kind of person": 0.8,
    "colour of clothing": 0.82,
    "colour of object": 0.78,
    "action of person": 0.68,
    "grounding F1 strict": 0.86,
}
SEEN = {"kind of person": 0.25, "colour of clothing": 0.6, "colour of object": 0.5, "action of person": 0.25}
"""How far above the wrong picture's figure a figure has to be."""


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return report.measure(report.CHECKPOINTS, TEST[:SCENES], texts=False)


def test_the_detector_sees(measured: dict[str, Any]) -> None:
    for name, floor in QUALITY_FLOORS.items():
        assert measured["detector"][name] >= floor, name


def test_the_captioner_sees(measured: dict[str, Any]) -> None:
    rows: dict[str, Row] = {row.name: row for row in measured["on_truth"]}
    for name, floor in FLOORS.items():
        assert rows[name].value >= floor, name
    for name, distance in SEEN.items():
        wrong = rows[name].wrong_picture
        assert wrong is not None
        assert rows[name].value - wrong >= distance, name


def test_it_grounds_on_what_the_detector_finds(measured: dict[str, Any]) -> None:
    rows: dict[str, Row] = {row.name: row for row in measured["on_detector"]}
    assert rows["grounding F1 strict"].value >= FLOORS["grounding F1 strict"]


def test_the_report_prints_bars_controls_and_what_is_missed(measured: dict[str, Any]) -> None:
    said = list(report.lines(measured))
    for name in (*report.QUALITY_NAMES.values(), *FLOORS):
        assert any(line.startswith(name) for line in said), name
    missed = {key for key, bar in report.QUALITY_BARS.items() if measured["detector"][key] < bar}
    marked = {key for key, name in report.QUALITY_NAMES.items()
              if any(line.startswith(f"{name} ") and line.endswith("missed") for line in said)}  # fmt: skip
    assert marked == missed

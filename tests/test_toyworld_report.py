"""The shipped models on unseen scenes: a small version of `make toyworld-report`, with floors below what was measured.

Every figure that is said to come from seeing has to be well above what the same captioner gets with another picture.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

from toyworld import report
from toyworld.grounding_report import Row
from toyworld.model_cards import write_card
from toyworld.seeds import TEST

pytestmark = pytest.mark.timeout(900)  # two hundred captions, on whatever machine beside whatever else

SCENES = 50
QUALITY_FLOORS = {"pq": 0.86, "pq_things": 0.79, "pq_stuff": 0.96}
FLOORS = {
    "cited ids with n >= 1: F1": 0.94,
    "kind of person": 0.86,
    "colour of clothing": 0.92,
    "colour of object": 0.92,
    "action of person": 0.82,
    "relations": 0.65,
    "grounding F1 strict": 0.95,
}
SEEN = {
    "kind of person": 0.3,
    "colour of clothing": 0.7,
    "colour of object": 0.65,
    "action of person": 0.3,
    "relations": 0.15,
}
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
    told = [line for line in report.lines_of("captioner", measured) if "   missed" in line]
    bars = [row for row in measured["on_truth"] if row.at_least is not None and row.name != report.ON_DETECTOR]
    bars += [row for row in measured["on_detector"] if row.name == report.ON_DETECTOR]
    low = [row.name for row in bars if row.value < (row.at_least or 0)]
    assert [line[:32].strip() for line in told] == low


def test_a_card_has_its_own_figures_and_the_notes_of_its_run(tmp_path: Path) -> None:
    folder, run = tmp_path / "detector", tmp_path / "run"
    folder.mkdir(), run.mkdir()
    shutil.copy(report.CHECKPOINTS / "detector" / "model.safetensors", folder)
    (run / "plan.json").write_text('{"seed": 7, "batch": 12}')
    (run / "log.jsonl").write_text('{"step": 50, "seconds": 60}\n{"step": 1234, "seconds": 120}\n')
    write_card(folder, "detector", run, 500, ["panoptic quality   0.9"])
    card = (folder / "README.md").read_text("utf-8")
    for said in ("1,234 steps in 2 minutes", "seed 7, batch 12", "    panoptic quality   0.9", "on 500 scenes"):
        assert said in card
    assert "wrong picture" not in card
    (run / "notes.md").write_text("It began with other weights.\n")
    write_card(folder, "detector", run, 500, ["panoptic quality   0.9"])
    added = set((folder / "README.md").read_text("utf-8").splitlines()) - set(card.splitlines())
    assert added == {"It began with other weights."}

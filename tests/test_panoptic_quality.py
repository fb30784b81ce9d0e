"""Panoptic quality: the rules on small maps, panopticapi's own answers on files, a store's detections, the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from larger_data_help import NEEDS_DATA
from numpy.typing import NDArray
from PIL import Image

from benchmarks.larger_data import DATA
from tasks.panoptic_files import read_panoptic
from tasks.panoptic_quality import Counts, count, mean_quality, qualities, total
from tasks.panoptic_scores import compare_files

Map = NDArray[np.int32]


def rows(*lines: str) -> Map:
    """A segment map from digits, a row a word."""
    return np.array([[int(digit) for digit in line] for line in lines], np.int32)


class TestPanopticQuality:
    def test_the_same_map_is_perfect_whatever_the_ids(self) -> None:
        truth, found = rows("1122", "1122"), rows("7733", "7733")
        counts = count(truth, {1: 0, 2: 5}, found, {7: 0, 3: 5})
        assert counts == {0: Counts(1.0, 1, 0, 0), 5: Counts(1.0, 1, 0, 0)}

    def test_a_match_needs_more_than_half(self) -> None:
        truth = rows("111100")
        half = count(truth, {1: 0}, rows("110000"), {1: 0})
        assert half == {0: Counts(0.0, 0, 1, 1)}, "an IoU of exactly a half is no match"
        more = count(truth, {1: 0}, rows("111000"), {1: 0})
        assert more == {0: Counts(0.75, 1, 0, 0)}
        assert more[0].quality == 0.75

    def test_another_category_is_a_false_positive_and_a_false_negative(self) -> None:
        counts = count(rows("11"), {1: 0}, rows("11"), {1: 3})
        assert counts == {0: Counts(0.0, 0, 0, 1), 3: Counts(0.0, 0, 1, 0)}

    def test_void_pixels_are_cut_out_of_what_was_found(self) -> None:
        counts = count(rows("110000"), {1: 0}, rows("111100"), {1: 0})
        assert counts == {0: Counts(1.0, 1, 0, 0)}

    def test_a_segment_mostly_in_void_is_no_error_and_one_half_in_void_is(self) -> None:
        assert count(rows("1000"), {1: 0}, rows("0222"), {2: 4}) == {0: Counts(0.0, 0, 0, 1)}
        truth = rows("1100")
        assert count(truth, {1: 0}, rows("0220"), {2: 4})[4] == Counts(0.0, 0, 1, 0)

    def test_quality_of_sums_is_not_the_mean_of_pictures(self) -> None:
        summed = total([{0: Counts(0.9, 1, 0, 0)}, {0: Counts(0.0, 0, 1, 1)}, {0: Counts(0.7, 1, 0, 1), 2: Counts()}])
        assert summed[0] == Counts(pytest.approx(1.6), 2, 1, 2)
        assert summed[0].quality == pytest.approx(1.6 / 3.5)
        assert mean_quality(summed, [0, 1, 2]) == summed[0].quality, "what never occurred is not in the mean"
        assert np.isnan(mean_quality(summed, [1]))

    def test_maps_of_different_shape_are_refused(self) -> None:
        with pytest.raises(ValueError, match="have to be alike"):
            count(rows("1"), {1: 0}, rows("11"), {1: 0})

    @pytest.mark.parametrize("seed", range(30))
    def test_equals_brute_force_on_random_maps(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        truth = np.repeat(np.repeat(generator.integers(0, 5, (3, 4)), 4, 0), 4, 1).astype(np.int32)
        found = np.where(generator.random(truth.shape) < 0.25, generator.integers(0, 5, truth.shape), truth)
        found = found.astype(np.int32)
        true_categories = {number: int(generator.integers(0, 3)) for number in range(1, 5)}
        found_categories = {
            number: true_categories[number] if generator.random() < 0.8 else int(generator.integers(0, 3))
            for number in range(1, 5)
        }
        counts = count(truth, true_categories, found, found_categories)
        assert counts == _brute_force(truth, true_categories, found, found_categories)


def _brute_force(truth: Map, true_of: dict[int, int], found: Map, found_of: dict[int, int]) -> dict[int, Counts]:
    """Every pair of masks, as the paper writes it."""
    counts: dict[int, Counts] = {}
    void = truth == 0
    trues = {number: truth == number for number in true_of if (truth == number).any()}
    founds = {number: found == number for number in found_of if (found == number).any()}
    pairs = []
    for number, mask in trues.items():
        for other, wide in founds.items():
            cut = wide & ~void
            iou = (mask & cut).sum() / (mask | cut).sum()
            if iou > 0.5 and true_of[number] == found_of[other]:
                pairs.append((number, other))
                one = counts.setdefault(true_of[number], Counts())
                one.iou_sum, one.true_positives = one.iou_sum + float(iou), one.true_positives + 1
    for number in trues:
        if number not in {pair[0] for pair in pairs}:
            counts.setdefault(true_of[number], Counts()).false_negatives += 1
    for other, wide in founds.items():
        if other not in {pair[1] for pair in pairs} and (wide & void).sum() / wide.sum() <= 0.5:
            counts.setdefault(found_of[other], Counts()).false_positives += 1
    return {number: Counts(pytest.approx(one.iou_sum), one.true_positives, one.false_positives, one.false_negatives)
            for number, one in counts.items()}  # fmt: skip


GROUND = DATA / "panoptic" / "panopticapi"
"""panopticapi's sample: two photos' ground truth."""
GOLDEN = json.loads((Path(__file__).parent / "golden" / "panoptic_quality.json").read_text(encoding="utf-8"))
"""What panopticapi itself answered on these very files; `made` there says which commit."""
CATEGORIES = [
    {"id": number, "name": f"{'thing' if number < 4 else 'stuff'}{number}", "isthing": int(number < 4)}
    for number in range(1, 8)
]


def write_panoptic(json_file: Path, images: dict[int, tuple[Map, list[dict[str, int]]]], categories: object) -> None:
    """Segment maps and their segments in COCO's panoptic format."""
    folder = json_file.with_suffix("")
    folder.mkdir()
    annotations = []
    for image_id, (ids, segments) in images.items():
        colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
        Image.fromarray(colours).save(folder / f"{image_id:012}.png")
        annotations.append({"image_id": image_id, "file_name": f"{image_id:012}.png", "segments_info": segments})
    json_file.write_text(json.dumps({"categories": categories, "annotations": annotations}))


def drawn_truth(generator: np.random.Generator) -> tuple[Map, list[dict[str, int]]]:
    """Rectangles on void; some are crowds, two of them of one category, and one area is not what the map shows."""
    ids = np.zeros((48, 64), np.int32)
    categories = {}
    for number in range(1, 15):
        top, left = generator.integers(0, 40), generator.integers(0, 56)
        height, width = generator.integers(4, 24), generator.integers(4, 30)
        segment_id = int(number * 70001 % 16777215)
        ids[top : top + height, left : left + width] = segment_id
        categories[segment_id] = int(generator.integers(1, 8))
    segments = []
    for place, (segment_id, category) in enumerate(categories.items()):
        if area := int((ids == segment_id).sum()):
            crowd = int(place % 5 == 0 and category < 4)
            segments.append({"id": segment_id, "category_id": category, "iscrowd": crowd, "area": area})
    segments[-1]["area"] += 3
    return ids, segments


def perturbed(
    generator: np.random.Generator, truth: Map, segments: list[dict[str, int]], categories: list[int]
) -> tuple[Map, list[dict[str, int]]]:
    """A prediction: the truth moved, with segments dropped, joined, of other categories, and pixels that are noise."""
    ids = np.roll(truth, (int(generator.integers(-3, 4)), int(generator.integers(-3, 4))), (0, 1))
    renamed, found = np.zeros_like(ids), {}
    for number, segment in enumerate(segments, 1):
        fate = generator.random()
        if fate < 0.12:
            continue
        joined = fate < 0.2 and found
        target = next(iter(found)) if joined else number
        renamed[ids == segment["id"]] = target
        other = generator.random() < 0.15
        found.setdefault(target, int(generator.choice(categories)) if other else segment["category_id"])
    noise = generator.random(ids.shape) < 0.05
    renamed[noise] = generator.choice([0, *found], int(noise.sum()))
    here = set(np.unique(renamed).tolist())
    return renamed, [{"id": one, "category_id": category} for one, category in found.items() if one in here]


def drawn_case(folder: Path, seed: int) -> tuple[Path, Path]:
    """Six pictures and predictions for them; in every second case one prediction finds nothing."""
    generator = np.random.default_rng(seed)
    truth = {number: drawn_truth(generator) for number in range(1, 7)}
    found = {number: perturbed(generator, *one, list(range(1, 8))) for number, one in truth.items()}
    if seed % 2:
        found[3] = np.zeros_like(found[3][0]), []
    write_panoptic(folder / "truth.json", truth, CATEGORIES)
    write_panoptic(folder / "found.json", found, [])
    return folder / "truth.json", folder / "found.json"


def sample_case(folder: Path, seed: int) -> tuple[Path, Path]:
    """panopticapi's sample against a perturbation of itself; against itself for seed 0."""
    generator = np.random.default_rng(seed)
    said = json.loads((GROUND / "panoptic_examples.json").read_text())
    found = {}
    for one in said["annotations"]:
        colours = np.asarray(Image.open(GROUND / "panoptic_examples" / one["file_name"])).astype(np.int32)
        ids = colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2]
        categories = [category["id"] for category in said["categories"]]
        same = ids, [{"id": s["id"], "category_id": s["category_id"]} for s in one["segments_info"]]
        found[one["image_id"]] = perturbed(generator, ids, one["segments_info"], categories) if seed else same
    write_panoptic(folder / "found.json", found, [])
    return GROUND / "panoptic_examples.json", folder / "found.json"


def answers(truth: Path, found: Path) -> dict[str, list[float]]:
    """PQ, SQ, RQ and the number of categories that occurred, by group; per category without the number."""
    folder = str(GROUND / "panoptic_examples") if truth.parent == GROUND else None
    told: list[tuple[int, int]] = []
    scores = compare_files(
        read_panoptic(str(truth), folder), read_panoptic(str(found)), lambda done, of: told.append((done, of))
    )
    assert told == [(done + 1, scores.images) for done in range(scores.images)]
    said = {}
    for group, categories in scores.groups().items():
        one = qualities(scores.counts, categories)
        said[group] = [one.panoptic, one.segmentation, one.recognition, one.categories]
    return said


def agree(said: dict[str, list[float]], golden: dict[str, list[float]]) -> None:
    assert said.keys() == golden.keys()
    for group, values in golden.items():
        assert said[group] == pytest.approx(values, abs=1e-12, rel=0), group


@pytest.mark.parametrize("seed", range(8))
def test_equals_panopticapi_on_drawn_cases_with_void_crowds_and_wrong_areas(seed: int, tmp_path: Path) -> None:
    agree(answers(*drawn_case(tmp_path, seed)), GOLDEN["drawn"][str(seed)])


@NEEDS_DATA
@pytest.mark.parametrize("seed", range(5))
def test_equals_panopticapi_on_its_own_sample(seed: int, tmp_path: Path) -> None:
    agree(answers(*sample_case(tmp_path, seed)), GOLDEN["sample"][str(seed)])

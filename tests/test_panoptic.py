"""Our panoptic post-processing against transformers' own, and against what is known exactly."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from larger_data_help import NEEDS_DATA
from PIL import Image as Pillow
from torch.nn.functional import interpolate, pad
from transformers import Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessorPil

from benchmarks.larger_data import DATA
from tasks.masks import encode, encode_regions
from tasks.panoptic import Content, PanopticMap, panoptic_map
from toyworld.tiny_detector import build_tiny_detector

GROUND_TRUTH = DATA / "panoptic" / "panopticapi"
SIZES = [(240, 426), (426, 240), (97, 131), (384, 384), (16, 16), (1, 5), (720, 1280)]
OPTIONS = {"threshold": 0.7, "mask_threshold": 0.5, "overlap_mask_area_threshold": 0.8}
PROCESSOR = Mask2FormerImageProcessorPil(size={"height": 384, "width": 384})


def stock(
    class_logits: torch.Tensor, mask_logits: torch.Tensor, size: tuple[int, int], **options: float
) -> tuple[torch.Tensor, list[tuple[int, int, float]]]:
    """transformers' answer: (map, [(id, category, score)])."""
    outputs = SimpleNamespace(class_queries_logits=class_logits[None], masks_queries_logits=mask_logits[None])
    (said,) = PROCESSOR.post_process_panoptic_segmentation(
        outputs, label_ids_to_fuse=set(), target_sizes=[size], **options
    )
    regions = [(one["id"], one["label_id"], one["score"]) for one in said["segments_info"]]
    return said["segmentation"], regions


def assert_same(ours: PanopticMap, theirs: tuple[torch.Tensor, list[tuple[int, int, float]]]) -> None:
    ids, regions = theirs
    assert [(one.segment_id, one.category_id, one.score) for one in ours.regions] == regions
    if ids.dtype != torch.int32:  # transformers says "nothing found" with -1 in float
        assert ids.eq(-1).all()
        assert not regions
        ids = torch.zeros_like(ids, dtype=torch.int32)
    assert torch.equal(ours.ids, ids)


def blobs(queries: int, seed: int, side: int = 96) -> torch.Tensor:
    """Mask logits like a trained model's: every query one blob, sure inside and out, soft at the edge."""
    generator = torch.Generator().manual_seed(seed)
    x, y, radius = (torch.rand(queries, 1, 1, generator=generator) for _ in range(3))
    rows, columns = torch.meshgrid(*[torch.linspace(0, 1, side)] * 2, indexing="ij")
    distance = ((columns - x) ** 2 + (rows - y) ** 2).sqrt()
    noise = torch.randn(queries, side, side, generator=generator)
    return (0.05 + radius / 4 - distance) * 60 + noise


def sure_classes(queries: int, classes: int, seed: int, nothing: float = 0.3) -> torch.Tensor:
    """Class logits like a trained model's: nearly one-hot, a part of them "no object"."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(queries, classes + 1, generator=generator)
    chosen = torch.randint(0, classes, (queries,), generator=generator)
    chosen[torch.rand(queries, generator=generator) < nothing] = classes
    logits[torch.arange(queries), chosen] += 5 + 5 * torch.rand(queries, generator=generator)
    return logits


@pytest.mark.parametrize("size", SIZES)
def test_same_as_transformers_on_trained_like_logits(size: tuple[int, int]) -> None:
    found = 0
    for seed in range(1 if size[0] * size[1] > 500_000 else 5):
        class_logits, mask_logits = sure_classes(40, 133, seed), blobs(40, seed)
        ours = panoptic_map(class_logits, mask_logits, size, **OPTIONS)
        assert_same(ours, stock(class_logits, mask_logits, size, **OPTIONS))
        found += len(ours.regions)
    assert found >= 2, "the comparison is of something"


@pytest.mark.parametrize("size", SIZES[:-1])
def test_same_as_transformers_on_random_logits(size: tuple[int, int]) -> None:
    loose = {"threshold": 0.1, "mask_threshold": 0.05, "overlap_mask_area_threshold": 0.05}
    found = 0
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        class_logits = torch.randn(30, 11, generator=generator) * 2
        mask_logits = torch.randn(30, 24, 32, generator=generator) * 4
        ours = panoptic_map(class_logits, mask_logits, size, **loose)
        assert_same(ours, stock(class_logits, mask_logits, size, **loose))
        found += len(ours.regions)
    assert found >= 4


def test_same_as_transformers_on_a_tiny_checkpoint(tmp_path: Path) -> None:
    folder = build_tiny_detector(tmp_path / "tiny", seed=1)
    model = Mask2FormerForUniversalSegmentation.from_pretrained(folder).eval()
    found = 0
    for seed, size in enumerate(SIZES):
        pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3)).astype(np.uint8)
        inputs = PROCESSOR(images=pixels, input_data_format="channels_last", return_tensors="pt")
        with torch.inference_mode():
            said = model(pixel_values=inputs["pixel_values"])
            logits = said.class_queries_logits[0], said.masks_queries_logits[0]
            ours = panoptic_map(*logits, size, **OPTIONS)
            assert_same(ours, stock(*logits, size, **OPTIONS))
        found += len(ours.regions)
    assert found >= 10


def test_of_two_queries_with_the_same_mask_the_first_has_the_pixels() -> None:
    mask_logits = blobs(3, 0)
    mask_logits[1] = mask_logits[0]
    class_logits = torch.full((3, 6), -9.0)
    class_logits[:, 2] = 9.0
    ours = panoptic_map(class_logits, mask_logits, (50, 60), **OPTIONS)
    assert_same(ours, stock(class_logits, mask_logits, (50, 60), **OPTIONS))
    assert len(ours.regions) <= 2


def test_a_share_of_exactly_four_fifths_is_kept_as_transformers_keeps_it() -> None:
    class_logits = torch.full((2, 3), -20.0)
    class_logits[:, 0] = torch.tensor([20.0, 18.0])
    mask_logits = torch.full((2, 384, 384), -40.0)
    mask_logits[0, :, :76] = 40.0
    mask_logits[1, :, :380] = 30.0
    for size in [(384, 384), (10, 380), (10, 384)]:
        ours = panoptic_map(class_logits, mask_logits, size, **OPTIONS)
        assert_same(ours, stock(class_logits, mask_logits, size, **OPTIONS))
    kept = panoptic_map(class_logits, mask_logits, (384, 384), **OPTIONS)
    assert len(kept.regions) == 2, "query 1 has 304 of its 380 columns: 0.8, which float32 rounds above 0.8"


def test_nothing_above_the_threshold_is_a_map_of_zeros() -> None:
    class_logits = torch.zeros(5, 4)
    ours = panoptic_map(class_logits, blobs(5, 0), (30, 40), **OPTIONS)
    assert ours.regions == []
    assert ours.ids.shape == (30, 40)
    assert not ours.ids.any()
    assert_same(ours, stock(class_logits, blobs(5, 0), (30, 40), **OPTIONS))


def test_half_precision_logits_are_counted_in_float32() -> None:
    class_logits, mask_logits = sure_classes(20, 9, 1), blobs(20, 1)
    half = panoptic_map(class_logits.bfloat16(), mask_logits.bfloat16(), (60, 80), **OPTIONS)
    exact = panoptic_map(class_logits.bfloat16().float(), mask_logits.bfloat16().float(), (60, 80), **OPTIONS)
    assert half.regions == exact.regions
    assert torch.equal(half.ids, exact.ids)


# Padding

PADDED = [
    # picture, resized without padding, padded input: what processors make of mixed batches
    ((480, 640), (96, 128), (128, 128)),
    ((640, 480), (128, 96), (128, 128)),
    ((300, 300), (96, 96), (128, 160)),
    ((1080, 1920), (96, 160), (160, 160)),
    ((1920, 1080), (160, 96), (160, 160)),
]
BOX = (0.25, 0.375, 0.5, 0.25)
"""x, y, w, h: edges that fall on whole mask pixels in all of the above."""


def padded_logits(resized: tuple[int, int], padded: tuple[int, int]) -> torch.Tensor:
    """One query that sees exactly BOX of the picture, at a quarter of the padded input's size as the model gives it."""
    inside = torch.full(resized, -30.0)
    x, y, w, h = BOX
    top, bottom = round(y * resized[0]), round((y + h) * resized[0])
    inside[top:bottom, round(x * resized[1]) : round((x + w) * resized[1])] = 30.0
    whole = pad(inside, (0, padded[1] - resized[1], 0, padded[0] - resized[0]), value=-30.0)
    return interpolate(whole[None, None], scale_factor=0.25, mode="nearest")[0]


@pytest.mark.parametrize(("size", "resized", "padded"), PADDED)
def test_padding_is_cut_off_so_that_boxes_are_where_the_object_is(
    size: tuple[int, int], resized: tuple[int, int], padded: tuple[int, int]
) -> None:
    class_logits = torch.tensor([[20.0, 0.0]])
    logits = padded_logits(resized, padded)
    found = panoptic_map(class_logits, logits, size, content=Content(*resized, *padded), **OPTIONS)
    assert [one.segment_id for one in found.regions] == [1]
    # One query alone wins the whole picture; a second, everywhere else, leaves it only what it claims.
    class_logits = torch.tensor([[20.0, 0.0, 0.0], [0.0, 20.0, 0.0]])
    logits = torch.cat([logits, -logits])
    found = panoptic_map(class_logits, logits, size, content=Content(*resized, *padded), **OPTIONS)
    (mask,) = encode_regions(found.ids.numpy(), [1])
    edges = np.array(mask.corners_px) / [size[1], size[0], size[1], size[0]]
    x, y, w, h = BOX
    assert np.abs(edges - [x, y, x + w, y + h]).max() < 0.01
    without, _ = stock(class_logits, logits, size, **OPTIONS)
    (moved,) = encode_regions(without.to(torch.int32).numpy(), [1])
    shift = np.abs(np.array(moved.corners_px) / [size[1], size[0], size[1], size[0]] - [x, y, x + w, y + h])
    assert shift.max() > 0.05, "transformers forgets to: otherwise this test would prove nothing"


# COCO's own annotations


def ground_truth() -> Iterator[tuple[np.ndarray, list[dict]]]:
    said = json.loads((GROUND_TRUTH / "panoptic_examples.json").read_text())
    for one in said["annotations"]:
        with Pillow.open(GROUND_TRUTH / "panoptic_examples" / one["file_name"]) as picture:
            channels = np.asarray(picture.convert("RGB")).astype(np.int64)
        yield channels @ [1, 256, 256**2], one["segments_info"]


@NEEDS_DATA
def test_areas_and_boxes_equal_cocos_own() -> None:
    segments = 0
    for ids, infos in ground_truth():
        masks = encode_regions(ids, [info["id"] for info in infos])
        for mask, info in zip(masks, infos, strict=True):
            left, top, right, bottom = mask.corners_px
            assert mask.area_px == info["area"]
            assert [left, top, right - left, bottom - top] == info["bbox"]
            assert np.array_equal(mask.pixels(), ids == info["id"])
            segments += 1
    assert segments >= 20


def test_masks_survive_the_round_trip() -> None:
    rng = np.random.default_rng(0)
    for density in (0, 0.01, 0.5, 0.99, 1):
        for shape in ((1, 1), (1, 40), (40, 1), (33, 57), (64, 64)):
            pixels = rng.random(shape) < density
            mask = encode(pixels)
            assert np.array_equal(mask.pixels(), pixels)
            assert mask.area_px == pixels.sum()
    wide = np.zeros((300, 900), bool)
    wide[7:290, 20:880] = True
    assert np.array_equal(encode(wide).pixels(), wide)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_output_that_is_not_a_number_is_an_error_and_not_nothing_found(wrong: float) -> None:
    classes = torch.tensor([[20.0, 0, 0], [0, 20.0, 0], [0, 0, 20.0]])
    masks = torch.full((3, 8, 8), 5.0)
    spoilt = masks.clone()
    spoilt[1, 3, 3] = wrong
    unkept = masks.clone()
    unkept[2] = wrong
    with pytest.raises(ValueError, match="not a number"):
        panoptic_map(torch.full_like(classes, wrong), masks, (10, 12), **OPTIONS)
    with pytest.raises(ValueError, match="not a number"):
        panoptic_map(classes, spoilt, (10, 12), **OPTIONS)
    assert panoptic_map(classes, unkept, (10, 12), **OPTIONS).regions, "a query that is not kept has no say"

"""The split of a stuff region into boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.stuff_boxes import kmeans, nearest, remove_overlaps, split


def test_a_rectangle_is_one_box_with_trimmed_edges() -> None:
    mask = np.zeros((100, 200), bool)
    mask[20:60, 50:150] = True
    ((left, top, right, bottom),) = split(mask).tolist()
    # Left out on each side of the centre: 99 of 2,000 pixels, the author's (1 - 0.9) / 2 being just under 0.05. That
    # is two columns of 40 and a part of the third, but not quite one row of 100.
    assert (left, top, right, bottom) == (52, 20, 148, 60)


def test_scattered_pixels_have_no_box() -> None:
    mask = np.zeros((240, 426), bool)
    mask[::16, ::16] = True
    assert len(split(mask)) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (3, 3)])
def test_masks_too_thin_for_a_box_have_none_and_do_not_fail(shape: tuple[int, int]) -> None:
    mask = np.zeros((60, 60), bool)
    mask[: shape[0], : shape[1]] = True
    found = split(mask)
    assert len(found) == (1 if shape == (3, 3) else 0)


def test_large_masks_give_what_small_ones_give() -> None:
    small = np.zeros((120, 200), bool)
    small[5:100, :30] = small[60:110, 120:190] = True
    large = np.kron(small, np.ones((9, 9), bool))
    assert len(split(small)) == 2
    assert np.abs(split(large) / 9 - split(small)).max() <= 200 / 100, "a prompt shows hundredths"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6))
def test_boxes_of_any_mask_are_the_same_again_inside_it_and_apart(seed: int, blobs: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((90, 140), bool)
    for _ in range(blobs):
        y, x, h, w = rng.integers(0, 80), rng.integers(0, 120), rng.integers(1, 50), rng.integers(1, 70)
        mask[y : y + h, x : x + w] = True
    found = split(mask)
    assert np.array_equal(found, split(mask.copy()))
    assert len(found) <= 6
    if len(found):
        rows, columns = np.nonzero(mask)
        assert found[:, 0].min() >= columns.min()
        assert found[:, 1].min() >= rows.min()
        assert found[:, 2].max() <= columns.max() + 1
        assert found[:, 3].max() <= rows.max() + 1
    painted = np.zeros(mask.shape, int)
    for left, top, right, bottom in found.astype(int):
        painted[top:bottom, left:right] += 1
    assert painted.max(initial=0) <= 1
    inside = int((mask & (painted > 0)).sum())
    if len(found):
        assert 2 * inside > (painted > 0).sum(), "the score is coverage - overflow, and it is above 0"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 30)] * 2), max_size=6))
def test_no_two_boxes_overlap_afterwards(found: list[tuple[int, int, int, int]]) -> None:
    given_boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in found], float).reshape(-1, 4)
    apart = remove_overlaps(given_boxes)
    painted = np.zeros((64, 64), int)
    for left, top, right, bottom in apart.astype(int):
        assert left < right
        assert top < bottom
        painted[top:bottom, left:right] += 1
    assert painted.max(initial=0) <= 1


def test_boxes_that_do_not_overlap_stay_as_they_are() -> None:
    given_boxes = np.array([(0, 0, 10, 10), (10, 0, 20, 10), (0, 10, 10, 20)], float)
    assert np.array_equal(remove_overlaps(given_boxes), given_boxes)


def test_a_pair_is_parted_where_it_costs_least_in_proportion_to_length() -> None:
    apart = remove_overlaps(np.array([(0, 0, 60, 40), (50, 0, 70, 40)], float))
    # 10 columns shared by widths of 60 and 20: 7.5 from the wide one, 2.5 from the narrow one; whole pixels.
    assert apart.tolist() == [[0, 0, 52, 40], [52, 0, 70, 40]]


def test_kmeans_finds_clusters_that_lie_apart() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([(10, 10), (30, 90), (70, 10), (90, 90)], np.float32)
    points = np.concatenate([centre + rng.normal(0, 2, (50, 2)) for centre in truth]).astype(np.float32)
    centres = kmeans(points, 4, np.random.default_rng(1))
    assert np.abs(centres - truth).max() < 1, "sorted by x"
    assert np.array_equal(np.bincount(nearest(points, centres)), [50] * 4)


def test_kmeans_of_few_different_points_gives_few_centres() -> None:
    points = np.array([[1, 2]] * 9 + [[5, 6]], np.float32)
    assert kmeans(points, 5, np.random.default_rng(0)).tolist() == [[1, 2], [5, 6]]

"""A picture's regions as the pipeline names what a detector finds, and what a detector found as regions.

Nothing here names anything itself: tasks/object_naming.py does, by the rules it has for every detector.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from storage.tables import Detection
from tasks.masks import Mask, encode_regions
from tasks.object_naming import NamedObject, Segment, clean_label, name_objects
from toyworld.picture import Picture

ObjectIds = Mapping[int, tuple[str, ...]]
"""Object ids by the segment_id of the picture's region they stand for, in prompt order: one of a thing, one or more
of stuff. Regions in the order of their first ids; one that nobody named is not there."""

MATCH = 0.5
"""Intersection over union from which a found mask is a true one's."""


def segments_of(picture: Picture) -> list[Segment]:
    """The regions as a detector that makes no mistake gives them."""
    regions = picture.regions
    masks = encode_regions(picture.segment_map, [region.segment_id for region in regions])
    return [
        Segment(
            segment_id=region.segment_id,
            category_id=region.category_id,
            label=region.label,
            is_thing=region.is_thing,
            score=1.0,
            mask=mask,
        )
        for region, mask in zip(regions, masks, strict=True)
    ]


def name_picture(picture: Picture) -> list[NamedObject]:
    """The objects of a picture in prompt order, named by its truth."""
    return name_objects(segments_of(picture), coco=False)


def ids_of(objects: Iterable[NamedObject | Detection]) -> dict[int, tuple[str, ...]]:
    """Object ids by segment_id, in prompt order. With name_picture's objects these are the picture's ObjectIds."""
    found: dict[int, tuple[str, ...]] = {}
    for one in sorted(objects, key=lambda one: one.object_index):
        segment_id = one.segment.segment_id if isinstance(one, NamedObject) else one.segment_id
        found[segment_id] = (*found.get(segment_id, ()), one.object_id)
    return found


def match(found: Sequence[Detection], picture: Picture) -> dict[int, tuple[str, ...]]:
    """The picture's ObjectIds in terms of what a detector found in it, true regions it did not find left out.

    A found segment is a true region's when their labels agree and their masks' intersection over union is MATCH or
    more; the best pairs first, each only once. Raises ValueError for detections without masks, or of another size than
    the picture.
    """
    ids = ids_of(found)
    segments = {one.segment_id: one for one in found}
    pairs = []
    for one in segments.values():
        pixels = mask_of(one, picture.segment_map.shape).pixels()
        inside = np.bincount(picture.segment_map[pixels], minlength=1)
        area = int(inside.sum())
        for region in picture.regions:
            shared = int(inside[region.segment_id]) if region.segment_id < len(inside) else 0
            iou = shared / (area + region.area_px - shared)
            if iou >= MATCH and clean_label(region.label) == one.label:
                pairs.append((-iou, region.segment_id, one.segment_id))
    matched: dict[int, int] = {}
    for _, true_id, found_id in sorted(pairs):
        if found_id not in matched and true_id not in matched.values():
            matched[found_id] = true_id
    return {matched[found_id]: names for found_id, names in ids.items() if found_id in matched}


def mask_of(one: Detection, shape: tuple[int, ...]) -> Mask:
    """A detection's mask. Raises ValueError where there is none, or it is of another size (height, width)."""
    if one.mask is None:
        raise ValueError(f"{one.object_id} has no mask. Detect again with masks.")
    if (one.mask_height, one.mask_width) != shape:
        raise ValueError(
            f"the mask of {one.object_id} is {one.mask_width}x{one.mask_height}, the picture {shape[1]}x{shape[0]}. "
            "Draw the picture at the size of the detector's masks."
        )
    return Mask(one.mask_height, one.mask_width, one.mask)

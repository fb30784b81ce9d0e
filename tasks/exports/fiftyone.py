"""A folder that FiftyOne loads: `Dataset.from_dir(FOLDER, dataset_type=fiftyone.types.FiftyOneDataset)`.

`samples.json`, `metadata.json` and `data/`. The layout is that of FiftyOne's serialized samples without
database ids and version, which its importer recognises by the missing `version` of metadata.json and reads as such
(voxel51/fiftyone, fiftyone/utils/data/importers.py: FiftyOneDatasetImporter, LegacyFiftyOneDatasetImporter; tried with
fiftyone 1.22.1). The layout with a version is an image of its database and changes with its releases. COCO's
layout, which it loads as well, would lose captions.

A sample has `detections` with `object_id`, `caption_<captioner>` as plain text, `grounded_caption_<captioner>` with
tags, and the verdicts of its captions among its tags.
"""

import base64
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from storage.tables import Detection
from tasks.boxes import to_corners_px
from tasks.export_rows import write_picture
from tasks.export_samples import Sample
from tasks.exports import Options
from tasks.json_arrays import writing
from tasks.masks import Mask

FOLDER = True
ALL_FRAMES = True
DETECTED = False


def write(samples: Iterator[Sample], draft: Path, options: Options) -> None:
    """One sample a frame, in order of movie and frame."""
    pictures = draft / "data"
    pictures.mkdir()
    with writing(draft / "samples.json", ("samples",)) as arrays:
        for sample in samples:
            arrays.add("samples", _sample(sample, write_picture(sample, pictures)))
    with writing(draft / "metadata.json", (), name="caption-movies", media_type="image", info={}):
        pass


def _sample(sample: Sample, name: str) -> dict[str, Any]:
    frame = sample.frame
    told: dict[str, Any] = {
        "filepath": f"data/{name}",
        "tags": sorted({caption.verdict for caption in sample.captions}),
        "metadata": {"_cls": "ImageMetadata", "width": frame.width, "height": frame.height},
        "frame_id": frame.frame_id,
        "movie_id": frame.movie_id,
        "title": sample.title,
        "pts_seconds": frame.pts_seconds,
    }
    if sample.detected:
        told["detections"] = {"_cls": "Detections", "detections": [_detection(one) for one in sample.detections]}
    for caption in sample.captions:
        field = re.sub(r"\W", "_", caption.captioner)
        again = sum(key == field or key.startswith(f"{field}__") for key in _fields(told))
        field += f"__{again + 1}" if again else ""
        told |= {f"caption_{field}": caption.plain_text, f"grounded_caption_{field}": caption.text}
    return told


def _fields(told: dict[str, Any]) -> list[str]:
    return [key.removeprefix("caption_") for key in told if key.startswith("caption_")]


def _detection(one: Detection) -> dict[str, Any]:
    box = one.box
    told: dict[str, Any] = {
        "_cls": "Detection", "attributes": {}, "tags": [], "label": one.label,
        "bounding_box": [box.x, box.y, box.w, box.h], "confidence": one.score, "object_id": one.object_id,
        "is_thing": one.is_thing,
    }  # fmt: skip
    if one.mask is not None:
        told["mask"] = {"$binary": {"base64": _packed(one, one.mask), "subType": "00"}}
    return told


def _packed(one: Detection, counts: str) -> str:
    """The part of the mask that lies in the box: NumPy's own file format, deflated, base64."""
    corners = to_corners_px(one.box, one.mask_width, one.mask_height)
    left, top, right, bottom = (round(corner) for corner in corners)
    pixels = Mask(one.mask_height, one.mask_width, counts).pixels()[top:bottom, left:right]
    with io.BytesIO() as file:
        np.save(file, np.ascontiguousarray(pixels), allow_pickle=False)
        return base64.b64encode(zlib.compress(file.getvalue(), 6)).decode("ascii")

"""COCO's panoptic format: a JSON file of segments, and a PNG per picture whose colours are segment ids.

A segment's id is red + 256 green + 65536 blue of its pixels; 0 is void (https://cocodataset.org/#format-data).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from tasks.errors import PanopticError
from tasks.frame_work import UNREADABLE
from tasks.given_files import cannot_open
from tasks.panoptic_quality import NONE, SegmentMap

ImageId = int | str


@dataclass(frozen=True, slots=True)
class Category:
    """One category of the file."""

    category_id: int
    name: str
    is_thing: bool


@dataclass(frozen=True, slots=True)
class Annotated:
    """One picture's segments, as the JSON lists them."""

    image_id: ImageId
    png: str
    """File name of the segment map."""
    picture: str
    """File name of the picture itself; empty where the file does not list its pictures."""
    categories: dict[int, int]
    """Segment id to category id."""
    areas: dict[int, int]
    """Segment id to pixels; without those of which the file does not say it."""
    crowd: frozenset[int]


@dataclass(frozen=True)
class PanopticFile:
    """A panoptic JSON file and the folder of its segment maps."""

    path: Path
    folder: Path
    sha256: str
    """Of the JSON file."""
    categories: dict[int, Category]
    """By id; empty in a file of predictions that does not list them."""
    images: dict[ImageId, Annotated]
    """By image id, in the file's order."""

    def segment_map(self, image: Annotated) -> SegmentMap:
        """The segment ids of one picture, (height, width). Raises PanopticError."""
        place = self.folder / image.png
        try:
            with Pillow.open(place) as png:
                if png.mode not in ("RGB", "RGBA"):
                    raise PanopticError(
                        f"{place} is of mode {png.mode}; the ids stand in red, green and blue. Write it as RGB."
                    )
                colours = np.asarray(png)[..., :3].astype(np.int32)
        except UNREADABLE as error:
            raise PanopticError(
                f"{place}, the segment map of image {image.image_id}, cannot be read: {error}. "
                "Give the folder of the segment maps, if it is another."
            ) from error
        ids: SegmentMap = colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2]
        return ids

    def check(self, image: Annotated, ids: SegmentMap, *, absent: bool) -> None:
        """Every segment of the map has to be in the JSON, and unless they may be `absent` the other way round.

        Raises PanopticError with the ids.
        """
        here = set(np.unique(ids).tolist()) - {NONE}
        if extra := here - image.categories.keys():
            raise PanopticError(
                f"{self.path}: segments {_some(extra)} of image {image.image_id} are in {image.png} and not in "
                "segments_info. Add them there, or make their pixels 0 (void)."
            )
        if not absent and (lost := image.categories.keys() - here):
            raise PanopticError(
                f"{self.path}: segments {_some(lost)} of image {image.image_id} are in segments_info and not in "
                f"{image.png}. Take them out."
            )


def _some(numbers: set[int]) -> str:
    listed = sorted(numbers)
    return ", ".join(map(str, listed[:5])) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def read_panoptic(path: str, folder: str | None = None) -> PanopticFile:
    """Read a panoptic JSON file; the folder of its segment maps is the file's name without ending unless given.

    Raises PanopticError for a file that is not there, and for what is not in the format, with the place in the file.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise PanopticError(cannot_open(path, error)) from error
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PanopticError(
            f"{path} is not JSON: {error}. Give the JSON file in COCO's panoptic format, not its segment maps."
        ) from error
    if not isinstance(said, dict) or not isinstance(said.get("annotations"), list):
        raise PanopticError(f"{path} has no list `annotations`; give a file in COCO's panoptic format.")
    place = file.with_suffix("") if folder is None else Path(folder)
    if not place.is_dir():
        raise PanopticError(f"there is no folder {place} with the segment maps of {path}. Give the folder.")
    try:
        categories = {one.category_id: one for one in map(_category, _listed(said, "categories"))}
        pictures = {one["id"]: str(one.get("file_name", "")) for one in _listed(said, "images")}
        images: dict[ImageId, Annotated] = {}
        for number, one in enumerate(said["annotations"]):
            image = annotated(one, f"annotations[{number}]", pictures)
            if image.image_id in images:
                raise ValueError(f"annotations[{number}] is the second of image {image.image_id}")
            images[image.image_id] = image
    except (KeyError, TypeError, ValueError) as error:
        lacks = f"a value lacks {error}" if isinstance(error, KeyError) else str(error)
        raise PanopticError(f"{path} is not in COCO's panoptic format: {lacks}.") from error
    return PanopticFile(file, place, hashlib.sha256(content).hexdigest(), categories, images)


def _listed(said: Mapping[str, Any], name: str) -> list[Any]:
    value = said.get(name, [])
    if not isinstance(value, list):
        raise ValueError(f"{name} is no list")
    return value


def _category(said: Mapping[str, Any]) -> Category:
    return Category(int(said["id"]), str(said["name"]), bool(said["isthing"]))


def annotated(said: Mapping[str, Any], where: str, pictures: Mapping[ImageId, str]) -> Annotated:
    """One of `annotations`; `pictures` are file names by image id. Raises ValueError with what is wrong where."""
    categories: dict[int, int] = {}
    areas: dict[int, int] = {}
    crowd = set()
    try:
        image_id = said["image_id"]
        for number, segment in enumerate(said["segments_info"]):
            where_segment = f"{where}.segments_info[{number}]"
            segment_id = segment["id"]
            if not isinstance(segment_id, int) or segment_id <= NONE or segment_id in categories:
                raise ValueError(f"{where_segment}.id is {segment_id!r}; it has to be a number above 0, not used twice")
            categories[segment_id] = int(segment["category_id"])
            if "area" in segment:
                areas[segment_id] = int(segment["area"])
            if segment.get("iscrowd"):
                crowd.add(segment_id)
        return Annotated(
            image_id, str(said["file_name"]), pictures.get(image_id, ""), categories, areas, frozenset(crowd)
        )
    except KeyError as error:
        raise ValueError(f"{where} or one of its segments_info lacks {error}") from error
    except TypeError as error:
        raise ValueError(f"{where} is not what it has to be: {error}") from error

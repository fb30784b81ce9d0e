"""COCO's JSON files with their pictures: objects (boxes, masks), panoptic segments, captions. Their detections stand in
for a detector's. https://cocodataset.org/#format-data

Annotations come in any order and may be half a GB: they are read as a stream and put in order on disk.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from storage.tables import Detection
from tasks.boxes import from_corners_px
from tasks.coco_panoptic import COCO_IDS, LABELS, THINGS
from tasks.detections import detection_row
from tasks.errors import ExchangeError, PanopticError
from tasks.imported_detections import Found, check_box, number_objects
from tasks.imported_movies import Importer, Picture, readable
from tasks.imports import Options
from tasks.json_streams import items
from tasks.masks import encode_regions, from_coco
from tasks.object_naming import Segment, clean_label, name_objects
from tasks.panoptic_files import PanopticFile, annotated
from tasks.reference_files import caption_text
from tasks.references import is_source

CROWDS = "crowd regions, which are no single objects"
KINDS = ("segments_info", "caption", "bbox", "segmentation")
"""What an annotation has, by which its kind is known; the first counts."""
UNLISTED = (
    "select image, count(*) from annotations where image not in (select id from images) group by image order by 1"
)
COCO = {clean_label(name) for name in LABELS}
THINGS_UNKNOWN = True
"""What a category without `isthing` is: instance files list things only."""


@dataclass(frozen=True)
class Category:
    """One category of the file."""

    name: str
    is_thing: bool


def fits(path: Path) -> bool:
    """A JSON file."""
    return path.suffix.lower() == ".json" and path.is_file()


def bring(paths: Sequence[str], importer: Importer, options: Options) -> None:
    """Bring files, each a movie. Raises ExchangeError for what is not in the format, with the file."""
    for path in map(Path, paths):
        with TemporaryDirectory() as scratch, closing(sqlite3.connect(Path(scratch) / "sorted")) as spool:
            categories = spooled(path, spool)
            if not spool.execute("select count(*) from images").fetchone()[0]:
                raise ExchangeError(
                    f"{path} lists no `images`, so it cannot be known which pictures its annotations are of. "
                    "Detections of frames that stand in the store go in with --as detections."
                )
            for image_id, number in spool.execute(UNLISTED).fetchall():
                importer.brought.leave_out(
                    f"{path.name}: image {image_id}", f"`images` lacks it; it has {number} annotations"
                )
            file = CocoFile(path, _folder(path, options.pictures, spool), spool, categories, importer, options)
            importer.add(path.stem, file.pictures())


def spooled(path: Path, spool: sqlite3.Connection) -> dict[Any, Category]:
    """Put images and annotations on disk, to be asked for by image; the categories, by id.

    A file that is one list is one of annotations, as results are. Without categories they are COCO's own. Raises
    ExchangeError for what is not in the format.
    """
    try:
        return _spool(path, spool) or {
            number: Category(name, place < len(THINGS))
            for place, (number, name) in enumerate(zip(COCO_IDS, LABELS, strict=True))
        }
    except (OSError, ValueError) as error:
        raise ExchangeError(f"{path} cannot be read as a file of COCO: {error}.") from error
    except sqlite3.IntegrityError as error:
        raise ExchangeError(f"{path} lists two images of one id: {error}.") from error


def _spool(path: Path, spool: sqlite3.Connection) -> dict[Any, Category]:
    spool.execute("create table images (place integer primary key, id text unique, said text)")
    spool.execute("create table annotations (place integer primary key, image text, kind text, said text)")
    categories: dict[Any, Category] = {}
    for key, item in items(path):
        if not isinstance(item, Mapping):
            if key in ("", "images", "annotations", "categories"):
                raise ValueError(f"an item of {key} is no object")
        elif key == "images":
            spool.execute("insert into images (id, said) values (?, ?)", (_key(item, "id"), json.dumps(item)))
        elif key in ("", "annotations"):
            kind = next((one for one in KINDS if one in item), "")
            told = (_key(item, "image_id"), kind, json.dumps(item))
            spool.execute("insert into annotations (image, kind, said) values (?, ?, ?)", told)
        elif key == "categories":
            known = bool(item.get("isthing", THINGS_UNKNOWN))
            categories[item.get("id")] = Category(str(item.get("name", item.get("id"))), known)
    spool.execute("create index by_image on annotations (image, place)")
    spool.commit()
    return categories


def _key(item: Mapping[str, Any], name: str) -> str:
    """An id as JSON: 7 and '7' are two. Raises ValueError where there is none."""
    if not isinstance(item.get(name), int | str):
        raise ValueError(f"an item has {name} {item.get(name)!r}, no number and no text")
    return json.dumps(item[name])


def _folder(path: Path, given: str | None, spool: sqlite3.Connection) -> Path:
    """Where the first picture lies. Raises ExchangeError when it is nowhere."""
    said = json.loads(spool.execute("select said from images order by place limit 1").fetchone()[0])
    name = str(said.get("file_name", ""))
    beside = [path.parent / one for one in ("images", "data", path.stem, "")]
    tried = [Path(given)] if given else [*beside, path.parent.parent / "images"]
    found = next((one for one in tried if name and (one / name).is_file()), None)
    if found is None:
        raise ExchangeError(
            f"the picture {name!r} of {path} is not in {', '.join(map(str, tried))}. Give the folder with --pictures."
        )
    return found


@dataclass(frozen=True)
class CocoFile:
    """One JSON file, spooled, and where its pictures are."""

    path: Path
    folder: Path
    spool: sqlite3.Connection
    categories: Mapping[Any, Category]
    importer: Importer
    options: Options

    def pictures(self) -> Iterator[Picture]:
        """Its pictures in the order of `images`, each with what is annotated."""
        kinds = {kind for (kind,) in self.spool.execute("select distinct kind from annotations").fetchall()}
        for image_id, said in self.spool.execute("select id, said from images order by place"):
            try:
                yield self._picture(image_id, json.loads(said), detected=kinds != {"caption"} and bool(kinds))
            except (OSError, ValueError, PanopticError) as error:
                self.importer.brought.leave_out(f"{self.path.name}: image {image_id}", str(error))

    def _picture(self, image_id: str, said: Mapping[str, Any], *, detected: bool) -> Picture:
        name = str(said.get("file_name", ""))
        place = (self.folder / name).resolve()
        if not name or not place.is_relative_to(self.folder.resolve()):
            raise ValueError(f"file_name {name!r} leads out of {self.folder}")
        content, width, height = readable(place.read_bytes(), upright=not detected)
        stated = (said.get("width", width), said.get("height", height))
        if detected and stated != (width, height):
            raise ValueError(f"{name} is {width}x{height}, the file says {stated[0]}x{stated[1]}")
        told = self._told(image_id)
        captions = tuple(
            (self._source(one), caption_text(one.get("grounded_caption", one["caption"]), "its caption"))
            for kind, one in told if kind == "caption"
        )  # fmt: skip
        objects = self.objects(image_id, width, height) if detected else None
        return Picture(image_id, Path(name).name, content, width, height, objects, captions)

    def _source(self, told: Mapping[str, Any]) -> str:
        by = told.get("captioner")
        return str(by) if is_source(by) else self.options.source

    def _told(self, image_id: str) -> list[tuple[str, Any]]:
        rows = self.spool.execute("select kind, said from annotations where image = ? order by place", (image_id,))
        return [(kind, json.loads(text)) for kind, text in rows.fetchall()]

    def objects(self, image_id: str, width: int, height: int) -> tuple[Detection, ...]:
        """The detections of one picture of width x height pixels. Raises ValueError, PanopticError."""
        told = [one for one in self._told(image_id) if one[0] != "caption"]
        panoptic = [one for kind, one in told if kind == "segments_info"]
        if panoptic:
            return self._segments(panoptic[0])
        found = []
        for number, (_, one) in enumerate(told, 1):
            if one.get("iscrowd"):
                self.importer.brought.notes[CROWDS] += 1
                continue
            found.append(self._object(one, number, width, height))
        return number_objects(found, self.options.max_detections)

    def _object(self, one: Mapping[str, Any], number: int, width: int, height: int) -> Found:
        where = f"annotation {one.get('id', number)}"
        category = self.categories.get(one.get("category_id"))
        if category is None:
            raise ValueError(f"{where} has category_id {one.get('category_id')!r}, which `categories` does not list")
        score = one.get("score", 1.0)
        if type(score) not in (int, float) or not 0 <= score <= 1:
            raise ValueError(f"{where} has score {score!r}, not 0 to 1")
        mask = from_coco(one["segmentation"], height, width) if one.get("segmentation") else None
        sides = one.get("bbox")
        if sides is None and mask is not None:
            corners: Sequence[float] = mask.corners_px
        elif isinstance(sides, list) and len(sides) == 4 and all(type(side) in (int, float) for side in sides):
            corners = (sides[0], sides[1], sides[0] + sides[2], sides[1] + sides[3])
        else:
            raise ValueError(f"{where} has bbox {sides!r}, not x, y, width and height in pixels")
        box = from_corners_px(corners[0], corners[1], corners[2], corners[3], width, height)
        check_box(box, f"{where}.bbox as fractions")
        return Found(category.name, box, float(score), category.is_thing, mask, number)

    def _segments(self, said: Mapping[str, Any]) -> tuple[Detection, ...]:
        """A panoptic annotation: its segments are named and boxed as a detector's."""
        file = PanopticFile(self.path, self.path.with_suffix(""), "", {}, {})
        image = annotated(said, "annotation", {})
        ids = file.segment_map(image)
        file.check(image, ids, absent=False)
        numbers = [number for number in image.categories if number not in image.crowd]
        if image.crowd:
            self.importer.brought.notes[CROWDS] += len(image.crowd)
        segments = []
        for place, (number, mask) in enumerate(zip(numbers, encode_regions(ids, numbers), strict=True), 1):
            category = self.categories.get(image.categories[number])
            if category is None:
                raise ValueError(f"segment {number} has a category that `categories` does not list")
            segments.append(Segment(segment_id=place, category_id=_index(category.name), label=category.name,
                                    is_thing=category.is_thing, score=1.0, mask=mask))  # fmt: skip
        coco = {clean_label(one.name) for one in self.categories.values()} >= COCO
        named = name_objects(segments, coco=coco, max_detections=self.options.max_detections)
        return tuple(detection_row("", one) for one in named)


def _index(name: str) -> int:
    return LABELS.index(name) if name in LABELS else -1

"""Panoptic segments -> summaries: a detector held against panoptic ground truth in COCO's format.

The predictions are a file in the same format, or the detections of a store with their masks.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from storage.store import Store, TableRef
from storage.tables import Detection, Metric, Summary
from tasks.errors import PanopticError
from tasks.frame_index import FrameIndex, NoFrameError
from tasks.object_naming import clean_label
from tasks.panoptic_files import Annotated, ImageId, PanopticFile
from tasks.panoptic_quality import Counts, SegmentMap, count, qualities, total
from tasks.segment_painting import paint

VERSION = 1
SHARD = "panoptic"
CONVENTION = (
    "panopticapi's rules: IoU above 0.5 matches, void and crowd are nobody's error, a picture without prediction "
    "counts as missed, means over the categories that occur"
)
METRICS = {
    "panoptic_quality": "segmentation quality times recognition quality of a category, mean over categories",
    "segmentation_quality": "IoU of matched segments, mean of a category, then over categories",
    "recognition_quality": "F1 of found segments, mean over categories",
}
"""Names of the values, with their meaning."""
Found = tuple[SegmentMap, dict[int, int]]
"""A segment map, and the category of each of its segments."""


@dataclass(frozen=True, kw_only=True)
class PanopticScores:
    """What came out of a comparison."""

    counts: dict[int, Counts]
    """By category id."""
    truth: PanopticFile
    images: int
    missed: dict[ImageId, str]
    """Pictures without a prediction, and why: all their segments count as missed."""
    predictions: str
    """Where the predictions are from, for the signature."""

    def groups(self) -> dict[str, list[int]]:
        """The groups of the summary, and the ids of their categories."""
        known = self.truth.categories.values()
        parted = {
            "all": [one.category_id for one in known],
            "things": [one.category_id for one in known if one.is_thing],
            "stuff": [one.category_id for one in known if not one.is_thing],
        }
        seen = [one for one in known if one.category_id in self.counts and self.counts[one.category_id].seen]
        return parted | {f"category={one.name}": [one.category_id] for one in seen}

    def rows(self, name: str) -> Iterator[Summary]:
        """The rows of `summaries`, under the name of what was scored."""
        signature = (
            f"{CONVENTION}; truth {self.truth.path.name} {self.truth.sha256[:16]}; predictions {self.predictions}"
        )
        for group, categories in self.groups().items():
            found = qualities(self.counts, categories)
            for metric, value in zip(METRICS, (found.panoptic, found.segmentation, found.recognition), strict=True):
                lacks = math.isnan(value)
                yield Summary(
                    captioner=name,
                    metric=metric,
                    group=group,
                    value=None if lacks else value,
                    captions=self.images,
                    signature=signature,
                    reason="no segment of these categories, true or found" if lacks else None,
                )


def compare_files(
    truth: PanopticFile, predictions: PanopticFile, tell: Callable[[int, int], None] = lambda done, of: None
) -> PanopticScores:
    """Hold predictions in COCO's panoptic format against the truth. Raises PanopticError where they do not fit.

    `tell` hears how many images are compared, and of how many.
    """
    _need_categories(truth)
    missed: dict[ImageId, str] = {}

    def found(image: Annotated) -> Found | None:
        predicted = predictions.images.get(image.image_id)
        if predicted is None:
            missed[image.image_id] = f"{predictions.path} has no annotation of it"
            return None
        ids = predictions.segment_map(predicted)
        predictions.check(predicted, ids, absent=False)
        return ids, predicted.categories

    pictures: list[dict[int, Counts]] = []
    for image in truth.images.values():
        pictures.append(_counted(truth, image, found(image)))
        tell(len(pictures), len(truth.images))
    counts = total(pictures)
    source = f"{predictions.path.name} {predictions.sha256[:16]}"
    return PanopticScores(counts=counts, truth=truth, images=len(truth.images), missed=missed, predictions=source)


def compare_store(
    truth: PanopticFile, store: Store, tell: Callable[[int, int], None] = lambda done, of: None
) -> PanopticScores:
    """Hold the detections of a store against the truth of its frames. `tell` hears what compare_files tells.

    An image of the truth is the frame whose picture has its file name (see tasks/frame_index.py). Of detections that
    were cut off (`max_detections`), or got no box, the store knows nothing: they count as missed. Segments of one
    category of stuff are one, as the format has it. Raises PanopticError where they do not fit, and where the
    detections have no masks.
    """
    _need_categories(truth)
    index = FrameIndex.of(store)
    frames: dict[str, Annotated] = {}
    missed: dict[ImageId, str] = {}
    pictures: list[dict[int, Counts]] = []
    for image in truth.images.values():
        try:
            frames[index.by_picture(image.picture or image.png)] = image
        except NoFrameError as error:
            missed[image.image_id] = str(error)
            pictures.append(_counted(truth, image, None))
    if not frames:
        raise PanopticError(
            f"no image of {truth.path} is a frame of {store.location}: {next(iter(missed.values()), 'it has none')}. "
            "Images are found by file_name: <frame_id>.jpg."
        )
    names = _by_label(truth)
    fingerprints = []
    for shard in sorted({index.shards[frame_id] for frame_id in frames}):
        ref = store.ref("detections", shard)
        fingerprints.append(ref.fingerprint if ref else "")
        by_frame = _detections(ref, store)
        for frame_id in [one for one in frames if index.shards[one] == shard]:
            found = _painted(by_frame.get(frame_id, []), truth, names)
            if found is None:
                missed[frames[frame_id].image_id] = f"nothing was detected in frame {frame_id}"
            pictures.append(_counted(truth, frames[frame_id], found))
            tell(len(pictures), len(truth.images))
    source = f"detections {' '.join(one[:16] for one in fingerprints)}"
    return PanopticScores(
        counts=total(pictures), truth=truth, images=len(truth.images), missed=missed, predictions=source
    )


def _need_categories(truth: PanopticFile) -> None:
    if not truth.categories:
        raise PanopticError(f"{truth.path} lists no categories, so things and stuff are not known. Add them.")
    if not truth.images:
        raise PanopticError(f"{truth.path} has no annotations.")
    for image in truth.images.values():
        if strange := set(image.categories.values()) - truth.categories.keys():
            raise PanopticError(
                f"{truth.path}: image {image.image_id} has category_id {min(strange)}, which categories does not list."
            )


def _counted(truth: PanopticFile, image: Annotated, found: Found | None) -> dict[int, Counts]:
    ids = truth.segment_map(image)
    truth.check(image, ids, absent=True)
    found_ids, categories = found or (np.zeros_like(ids), {})
    if strange := set(categories.values()) - truth.categories.keys():
        raise PanopticError(
            f"the prediction for image {image.image_id} has category_id {min(strange)}, which the truth does not list."
        )
    counted = {segment_id: int((ids == segment_id).sum()) for segment_id in image.categories.keys() - image.areas}
    try:
        return count(ids, image.categories, found_ids, categories, crowd=image.crowd, true_areas=image.areas | counted)
    except ValueError as error:
        raise PanopticError(
            f"image {image.image_id}: {error} Enlarge or shrink one of them; of a store, see frames.longest_edge."
        ) from error


def _by_label(truth: PanopticFile) -> dict[str, int]:
    """Category id by label, as detections write it."""
    names: dict[str, int] = {}
    for one in truth.categories.values():
        if (label := clean_label(one.name)) in names:
            raise PanopticError(f"{truth.path} has two categories that detections call {label!r}. Rename one.")
        names[label] = one.category_id
    return names


def _detections(ref: TableRef | None, store: Store) -> dict[str, list[Detection]]:
    found: dict[str, list[Detection]] = defaultdict(list)
    for detection in store.read(ref, Detection, batch_size=256) if ref else ():
        found[detection.frame_id].append(detection)
    return found


def _painted(detections: list[Detection], truth: PanopticFile, names: Mapping[str, int]) -> Found | None:
    """The detections' masks as a segment map; None without any."""
    categories: dict[int, int] = {}

    def number_of(one: Detection) -> int:
        if (category := names.get(one.label)) is None:
            raise PanopticError(
                f"frame {one.frame_id} has a {one.label!r}, which is no category of {truth.path}. "
                "Give truth of the same categories as the detector's."
            )
        # Things keep their number, above all categories; stuff has its category's.
        thing = truth.categories[category].is_thing
        number = max(truth.categories) + 1 + one.segment_id if thing else category + 1
        categories[number] = category
        return number

    ids = paint(detections, number_of)
    if ids is None:
        return None
    seen = set(np.unique(ids).tolist())
    return ids, {number: category for number, category in categories.items() if number in seen}


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """What is hashed of a comparison."""

    name: str
    truth: str
    predictions: str


def write_scores(scores: PanopticScores, name: str, store: Store) -> TableRef:
    """Write the rows under a name; those that stood there under it are replaced."""
    output = store.output(
        [Summary, Metric],
        stage="panoptic",
        shard=SHARD,
        config=_Compared(name=name, truth=scores.truth.sha256, predictions=scores.predictions),
        version=VERSION,
        captioner=name,
    )
    with output.writer() as write:
        for row in (*scores.rows(name), *_described(scores, name)):
            write(row)
    return output.ref


def _described(scores: PanopticScores, name: str) -> Iterator[Metric]:
    truth = scores.truth
    for metric, meaning in METRICS.items():
        yield Metric(
            captioner=name,
            metric=metric,
            family="panoptic",
            meaning=meaning,
            higher_is_better=True,
            reads=f"panoptic truth {truth.path.name} {truth.sha256[:16]}; predictions {scores.predictions}",
            version=str(VERSION),
            tokenizer="",
            settings=CONVENTION,
            libraries="",
            models="{}",
            references_digest="",
            resamples=0,
        )

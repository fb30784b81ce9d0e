"""What several formats write: a caption of a frame as one plain row, a picture as a file."""

from pathlib import Path
from typing import Any

from storage.tables import Detection
from tasks.export_samples import Sample
from tasks.export_selection import CaptionRow


def caption_row(sample: Sample, caption: CaptionRow) -> dict[str, Any]:
    """One caption with all that is known of its frame but the picture. `caption-movies references` reads such rows."""
    frame = sample.frame
    return {
        "frame_id": frame.frame_id,
        "caption_id": caption.caption_id,
        "movie_id": frame.movie_id,
        "title": sample.title,
        "shot_index": frame.shot_index,
        "pts_seconds": frame.pts_seconds,
        "width": frame.width,
        "height": frame.height,
        "captioner": caption.captioner,
        "caption": caption.text,
        "plain_text": caption.plain_text,
        "verdict": caption.verdict,
        "detections": [detection_row(one) for one in sample.detections],
    }


def detection_row(one: Detection, *, mask: bool = False) -> dict[str, Any]:
    """One detection as plain data; box as fractions of the frame, origin top left. With `mask` its run lengths."""
    box = one.box
    row: dict[str, Any] = {"object_id": one.object_id, "label": one.label, "is_thing": one.is_thing,
                           "score": one.score, "box": {"x": box.x, "y": box.y, "w": box.w, "h": box.h}}  # fmt: skip
    if mask:
        row |= {"segment_id": one.segment_id, "category_id": one.category_id, "area": one.area, "mask": one.mask,
                "mask_width": one.mask_width, "mask_height": one.mask_height}  # fmt: skip
    return row


def write_picture(sample: Sample, folder: Path) -> str:
    """Put a frame's picture into a folder that is there, its bytes as they are; its name."""
    (folder / sample.picture_name).write_bytes(sample.frame.image.bytes)
    return sample.picture_name

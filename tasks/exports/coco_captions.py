"""COCO's captions format: `captions.json`, and the pictures in `images/` (https://cocodataset.org/#format-data).

`caption` is the plain text, as COCO's are; `grounded_caption` has the tags. pycocotools reads the file.
"""

from collections.abc import Iterator
from pathlib import Path

from tasks.export_rows import write_picture
from tasks.export_samples import Sample
from tasks.exports import Options
from tasks.json_arrays import writing

FOLDER = True
ALL_FRAMES = False
DETECTED = False


def write(samples: Iterator[Sample], draft: Path, options: Options) -> None:
    """Images and annotations are numbered from 1, in order of movie and frame."""
    pictures = draft / "images"
    pictures.mkdir()
    annotations = 0
    with writing(draft / "captions.json", ("images", "annotations"), info={"description": "captions"}) as arrays:
        for image_id, sample in enumerate(samples, 1):
            frame = sample.frame
            name = write_picture(sample, pictures)
            arrays.add("images", {"id": image_id, "file_name": name, "width": frame.width, "height": frame.height,
                                  "frame_id": frame.frame_id})  # fmt: skip
            for caption in sample.captions:
                annotations += 1
                arrays.add("annotations", {"id": annotations, "image_id": image_id, "caption": caption.plain_text,
                                           "grounded_caption": caption.text, "captioner": caption.captioner,
                                           "verdict": caption.verdict})  # fmt: skip

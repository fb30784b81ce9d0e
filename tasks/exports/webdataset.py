"""WebDataset: tar files whose members of one key are one frame: `key.jpg`, `key.txt`, `key.json`.

The key is the frame's id, `txt` the plain caption (the first where there are several), `json` everything: captions with
their tags, detections with masks. https://github.com/webdataset/webdataset; any tar program opens them.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.export_rows import detection_row
from tasks.export_samples import Sample
from tasks.exports import Options

FOLDER = True
ALL_FRAMES = False
DETECTED = False
SHARD_FRAMES = 1000
SHARD_BYTES = 256 << 20
"""A tar file ends at whichever comes first."""


def write(samples: Iterator[Sample], draft: Path, options: Options) -> None:
    """`<split>-000000.tar` and so on. Memory: one frame."""
    shard = frames = size = 0
    tar: tarfile.TarFile | None = None
    try:
        for sample in samples:
            if tar is None:
                path = draft / f"{options.split}-{shard:06d}.tar"
                tar = tarfile.TarFile(path, "w", format=tarfile.PAX_FORMAT)
                shard, frames, size = shard + 1, 0, 0
            for ending, content in _members(sample):
                _add(tar, f"{sample.frame.frame_id}.{ending}", content)
                size += len(content)
            frames += 1
            if frames >= SHARD_FRAMES or size >= SHARD_BYTES:
                tar.close()
                tar = None
    finally:
        if tar is not None:
            tar.close()


def _members(sample: Sample) -> Iterator[tuple[str, bytes]]:
    yield sample.picture_name.rpartition(".")[2], sample.frame.image.bytes
    if sample.captions:
        yield "txt", sample.captions[0].plain_text.encode()
    yield "json", json.dumps(_told(sample), ensure_ascii=False).encode()


def _told(sample: Sample) -> dict[str, Any]:
    frame = sample.frame
    captions = [
        {"caption_id": one.caption_id, "captioner": one.captioner, "caption": one.text, "plain_text": one.plain_text,
         "verdict": one.verdict}
        for one in sample.captions
    ]  # fmt: skip
    told = {"frame_id": frame.frame_id, "movie_id": frame.movie_id, "title": sample.title, "captions": captions,
            "shot_index": frame.shot_index, "pts_seconds": frame.pts_seconds, "width": frame.width,
            "height": frame.height}  # fmt: skip
    if sample.detected:
        told["detections"] = [detection_row(one, mask=True) for one in sample.detections]
    return told


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """A member without owner or time, so that the same frames are the same bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), 0o644, 0
    tar.addfile(member, io.BytesIO(content))

"""What of a movie stands finished in a store, made by this very configuration: nothing of it is done again."""

from dataclasses import dataclass, field

from storage.store import Store, TableRef, path_of
from tasks import captioners
from tasks.caption_jobs import weights_behind
from tasks.captioners import CaptionConfig
from tasks.captions import captioner_name
from tasks.captions import output_of as captions_of
from tasks.detections import DetectConfig
from tasks.detections import output_of as detections_of
from tasks.errors import CheckpointError, ConfigError, MissingExtraError, TransientError
from tasks.frames import FramesConfig, outputs_of
from tasks.movie_files import MovieFile
from tasks.timeline import Continuation

UNKNOWN = (CheckpointError, ConfigError, MissingExtraError, TransientError)
"""Raised where weights are not here, or a server does not answer: what they made before cannot be recognised."""


@dataclass
class Finished:
    """What stands there of one movie. Frames are those of whole shards."""

    frames: list[TableRef] = field(default_factory=list)
    last: bool = False
    """Whether the movie is decoded to its end."""
    place: Continuation = field(default_factory=Continuation)
    """Where decoding goes on."""
    detected: int = 0
    captioned: int = 0
    unknown: dict[str, str] = field(default_factory=dict)
    """Stage to why it cannot be told what of it stands there."""

    @property
    def extracted(self) -> int:
        """Frames that are there."""
        return sum(ref.rows for ref in self.frames)


def find_finished(
    movie: MovieFile, store: Store, frames: FramesConfig, detect: DetectConfig, caption: CaptionConfig
) -> Finished:
    """Look at a movie's shards, first to last, and at what was made of them. Reads footers only."""
    found = Finished()
    for output in outputs_of(movie, store, frames):
        if not output.is_current():
            break
        found.frames.append(output.ref)
        notes = output.notes
        found.last, found.place = bool(notes["last"]), Continuation.of(notes)
        if found.last:
            break
    for ref in found.frames:
        _look_at_shard(ref, store, detect, caption, found)
    return found


def _look_at_shard(
    frames: TableRef, store: Store, detect: DetectConfig, caption: CaptionConfig, found: Finished
) -> None:
    if "detect" in found.unknown:
        return
    try:
        detections = detections_of(frames, store, detect)
    except UNKNOWN as error:
        found.unknown["detect"] = found.unknown["caption"] = str(error)
        return
    if not detections.is_current():
        return
    found.detected += frames.rows
    if "caption" in found.unknown:
        return
    try:
        wanted = captioners.completed(caption)
        said_before = weights_behind(path_of("captions", frames.shard, captioner_name(caption)), store)
        captions = captions_of(frames, detections.ref, store, wanted, captioners.identify(wanted, said_before))
    except UNKNOWN as error:
        found.unknown["caption"] = str(error)
        return
    if captions.is_current():
        found.captioned += frames.rows

"""How long the stages take here, measured: the real ones, on a few frames of one movie, in a folder that goes away.

Models are loaded before, so that the time for loading and the time for a frame are told apart.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import TypeVar

from storage.store import Store, TableRef
from tasks import captioners, detectors
from tasks.captioners import CaptionConfig
from tasks.captions import caption_frames, captioner_name
from tasks.choices import ChooseConfig, choose_captions
from tasks.consistency import check_captions
from tasks.detections import DetectConfig, detect_objects
from tasks.frames import FramesConfig, extract_shard
from tasks.mending import MendConfig, mend_captions
from tasks.movie_files import MovieFile
from tasks.planning.rates import Known, Rate
from tasks.score_config import ScoreConfig
from tasks.scores import score_captions, summarise_captions

T = TypeVar("T")
LEAST, MOST = 16, 48
"""Frames that are taken, about: so many as the captioner answers at once, since few take hardly less time than many."""
Tell = Callable[[str], None]
Configs = tuple[DetectConfig, CaptionConfig, MendConfig, ChooseConfig, ScoreConfig]


def measure_stages(
    movie: MovieFile, frames: FramesConfig, detect: DetectConfig, caption: CaptionConfig, mend: MendConfig,
    choose: ChooseConfig, score: ScoreConfig, tell: Tell,
) -> Known:  # fmt: skip
    """What each stage takes for a frame of this movie, loading told apart, and the bytes it writes.

    Writes into a folder of its own, deleted at the end. `tell` is told what begins. Raises what the stages raise.
    """
    work = _Measured(tell)
    work.timed("loading the detector", lambda: detectors.load(detect))
    work.timed("loading the captioner", lambda: captioners.load(caption))
    many = min(MOST, max(LEAST, caption.batch_size))
    with TemporaryDirectory(prefix="caption-movies-plan-") as folder:
        store = Store(folder)
        pictures = work.timed(
            "taking frames", lambda: extract_shard(movie, 0, store, replace(frames, shard_frames=many))
        )
        taken = store.files.bytes_under("frames")
        _work_on(pictures.frames, store, (detect, caption, mend, choose, score), work)
        size = store.files.bytes_under("") - taken
    return _known(work.seconds, pictures.frames.rows, size)


class _Measured:
    """Seconds by what was done."""

    def __init__(self, tell: Tell) -> None:
        self.seconds: dict[str, float] = {}
        self.tell = tell

    def timed(self, what: str, work: Callable[[], T]) -> T:
        self.tell(f"measuring: {what}")
        begun = time.perf_counter()
        done = work()
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - begun
        return done


def _work_on(pictures: TableRef, store: Store, configs: Configs, work: _Measured) -> None:
    """One shard through every stage after the first, as a run does it."""
    detect, caption, mend, choose, score = configs
    found = work.timed("detect", lambda: detect_objects(pictures, store, detect))
    captions = work.timed("caption", lambda: caption_frames(pictures, found, store, caption))
    mended = work.timed("check", lambda: mend_captions(pictures, found, captions, store, mend, caption))
    verdicts = work.timed("check", lambda: check_captions(captions, found, store, mended))
    alone = replace(choose, among=())
    ranked = work.timed(
        "check",
        lambda: choose_captions(pictures, captions, mended, found, verdicts, store, mend.quarantines, alone),
    )
    work.timed("check", lambda: score_captions(captions, found, verdicts, store, score, mended, ranked))
    work.timed("summarise", lambda: summarise_captions(captioner_name(caption), store, score))


def _known(seconds: dict[str, float], frames: int, size: int) -> Known:
    how, frames = f"measured on {frames} frames", max(1, frames)
    rates = {
        "detect": Rate(seconds["detect"] / frames, seconds["loading the detector"], how),
        "caption": Rate(seconds["caption"] / frames, seconds["loading the captioner"], how),
        "check": Rate(seconds["check"] / frames, how=how),
        # Once for a run, and most of it is the same for few captions and for many.
        "summarise": Rate(0.0, seconds["summarise"], f"{how}, without references"),
    }
    return Known(rates, bytes_each=size / frames)

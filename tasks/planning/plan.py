"""The plan of a run: each movie's frames and shards, what of them is finished, and what the rest takes."""

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from storage.store import Store
from tasks.captioners import CaptionConfig
from tasks.detections import DetectConfig
from tasks.errors import MovieError, TransientError
from tasks.frames import FramesConfig
from tasks.movie_files import MovieFile
from tasks.planning.finished import Finished, find_finished
from tasks.planning.movies import Length, Samples, measure_length, sample_movie
from tasks.planning.rates import Known

SAMPLING_SECONDS = 20.0
"""Of this machine's time, for decoding samples of all movies together."""
LEAST_SAMPLING_SECONDS = 1.0
"""For one movie: of many only the first so many are sampled, and the others taken to be like them."""
STAGES = ("extract", "detect", "caption", "check", "summarise")
Tell = Callable[[str, int, int], None]
"""What is being done, how many are done, of how many."""


@dataclass
class MoviePlan:
    """One movie."""

    movie_id: str
    title: str
    path: str
    seconds: float
    frames: int = 0
    """That the run will have taken at the end, those finished included."""
    shards: int = 0
    how: str = ""
    """How the number of frames is known."""
    note: str | None = None
    error: str | None = None
    """Why nothing can be taken of it; it becomes a row that says so."""
    extracted: int = 0
    """Frames that stand in the store; likewise detected, captioned."""
    detected: int = 0
    captioned: int = 0
    decoded_frames: int = 0
    """Of the movie that have still to be decoded."""


@dataclass
class StagePlan:
    """One stage over all movies."""

    stage: str
    frames: int
    """That it has still to work on; of extract, those to decode."""
    seconds: float | None
    """None: not known."""
    how: str


@dataclass
class Plan:
    """All of it."""

    movies: list[MoviePlan]
    stages: list[StagePlan] = field(default_factory=list)
    seconds: float | None = None
    """Of the whole run but its start; None where a stage is not known."""
    picture_bytes: int | None = None
    """That the frames still to be taken will have; None: not known."""
    other_bytes: int | None = None
    free_bytes: int | None = None
    """At the store; None where it is no folder of this machine."""
    unknown: dict[str, str] = field(default_factory=dict)
    """Stage to why it cannot be told what of it is finished."""

    @property
    def bytes(self) -> int | None:
        """Both together; None where one is not known."""
        known = (self.picture_bytes, self.other_bytes)
        return None if None in known else sum(one for one in known if one is not None)

    def total(self, what: str) -> int:
        """Sum of a number over the movies that can be used."""
        return sum(getattr(one, what) for one in self.movies if not one.error)


@dataclass
class _Looked:
    """One movie while the plan is being made."""

    movie: MovieFile
    length: Length
    finished: Finished
    samples: Samples | None = None


def plan_movies(
    movies: Sequence[MovieFile], store: Store, frames: FramesConfig, detect: DetectConfig, caption: CaptionConfig,
    tell: Tell,
) -> tuple[Plan, list[Samples]]:  # fmt: skip
    """What stands there and what is to be taken of each movie; times are `plan_stages`'. Writes nothing."""
    looked = []
    for number, movie in enumerate(movies):
        tell("reading movies", number, len(movies))
        finished = find_finished(movie, store, frames, detect, caption)
        looked.append(_Looked(movie, measure_length(movie), finished))
    _sample(looked, frames, tell)
    seen = [one.samples for one in looked if one.samples]
    cuts_a_second = _ratio(sum(one.cuts for one in seen), sum(one.seconds_of_movie for one in seen))
    plan = Plan([_plan_movie(one, frames, cuts_a_second) for one in looked])
    for one in looked:
        plan.unknown |= one.finished.unknown
    plan.free_bytes = _free(store)
    return plan, seen


def _sample(looked: Sequence[_Looked], frames: FramesConfig, tell: Tell) -> None:
    """Decode some of the movies that are not finished, evenly spread over the list."""
    open_ones = [one for one in looked if not one.length.error and not one.finished.last]
    most = max(1, int(SAMPLING_SECONDS / LEAST_SAMPLING_SECONDS))
    chosen = open_ones[:: max(1, math.ceil(len(open_ones) / most))]
    for number, one in enumerate(chosen):
        tell("decoding samples", number, len(chosen))
        try:
            one.samples = sample_movie(one.movie, one.length, frames, SAMPLING_SECONDS / len(chosen))
        except (MovieError, TransientError) as error:
            one.length.error = str(error)
        else:
            if not one.samples.frames:
                one.length.error = "no frame of it could be decoded. Copy it again from its source."


def _plan_movie(one: _Looked, config: FramesConfig, cuts_a_second: float | None) -> MoviePlan:
    plan = MoviePlan(one.movie.movie_id, one.movie.title, one.movie.path, one.length.seconds)
    plan.note, plan.error = one.length.note, one.length.error
    if plan.error:
        return plan
    done = one.finished
    plan.extracted, plan.detected, plan.captioned = done.extracted, done.detected, done.captioned
    plan.shards = len(done.frames)
    if done.last:
        plan.frames, plan.how = done.extracted, "finished in the store"
        return plan
    rest = max(0.0, one.length.seconds - done.place.end_seconds)
    plan.decoded_frames = max(0, one.length.frames - done.place.decoded)
    more, plan.how = _frames_of_rest(one, config, rest, plan.decoded_frames, cuts_a_second)
    plan.frames = done.extracted + more
    plan.shards += max(1, math.ceil(more / frames_in_shard(config)))
    return plan


def _frames_of_rest(
    one: _Looked, config: FramesConfig, rest: float, to_decode: int, cuts_a_second: float | None
) -> tuple[int, str]:
    """How many frames are still to be taken of a movie, and how that is known."""
    if config.mode == "every_frame":
        return to_decode, "counted packets"
    if config.mode == "every_seconds":
        multiples = math.floor(one.length.last_frame_seconds / config.every_seconds + 1e-9) + 1
        return max(0, min(to_decode, multiples - one.finished.extracted)), "by its length"
    found, whole = one.samples, not one.finished.frames
    if found and found.exact and whole:
        return found.keyframes, "counted: all of it decoded"
    rate = _ratio(found.cuts, found.seconds_of_movie) if found else cuts_a_second
    shots = rest * (rate or 0.0) + 1
    how = f"estimated from {found.seconds_of_movie:.0f} s of it" if found else "estimated: cut as often as the others"
    return min(to_decode, round(shots * config.keyframes_per_shot)), how


def frames_in_shard(config: FramesConfig) -> int:
    """Frames of a full shard; with keyframes it ends at a cut, so with a shot's last."""
    if config.mode != "keyframes_per_shot":
        return config.shard_frames
    return math.ceil(config.shard_frames / config.keyframes_per_shot) * config.keyframes_per_shot


def plan_stages(plan: Plan, seen: Sequence[Samples], known: Known, *, has_gpu: bool, captions_elsewhere: bool) -> None:
    """Add times and bytes to a plan: of decoding by the samples, of the rest by what is known of the stages.

    With a GPU decoding goes on beside it, and at a server captions are made beside both; without, all share the cores.
    """
    taken = plan.total("frames") - plan.total("extracted")
    decode = _ratio(sum(one.decoding_seconds for one in seen), sum(one.frames for one in seen))
    encoded = [size for one in seen for size in one.picture_bytes]
    encode = _ratio(sum(one.picture_seconds for one in seen), len(encoded)) or 0.0
    to_decode = plan.total("decoded_frames")
    reading = None if decode is None and to_decode else to_decode * (decode or 0.0) + taken * encode
    how = f"measured on {sum(one.frames for one in seen)} frames of these movies" if seen else "nothing to decode"
    plan.stages.append(StagePlan("extract", to_decode, reading, how))
    to_do = {
        "detect": plan.total("frames") - plan.total("detected"),
        "caption": plan.total("frames") - plan.total("captioned"),
    }
    to_do["check"] = to_do["summarise"] = to_do["caption"]
    for stage, frames in to_do.items():
        # What is summed up are all captions, and nothing is where no caption is new.
        worked_on = plan.total("frames") if stage == "summarise" and frames else frames
        plan.stages.append(_of_stage(stage, worked_on, known))
    plan.seconds = _together(plan, known.beside, has_gpu=has_gpu, captions_elsewhere=captions_elsewhere)
    if encoded or not taken:
        plan.picture_bytes = round(taken * (_ratio(sum(encoded), len(encoded)) or 0.0))
    if known.bytes_each is not None or not to_do["caption"]:
        plan.other_bytes = round(to_do["caption"] * (known.bytes_each or 0.0))


def _of_stage(stage: str, frames: int, known: Known) -> StagePlan:
    if not frames:
        return StagePlan(stage, 0, 0.0, "nothing to do")
    if (rate := known.rates.get(stage)) is None:
        return StagePlan(stage, frames, None, "not known: no run of it in this store; try --measure")
    return StagePlan(stage, frames, frames * rate.seconds_each + rate.once, rate.how)


def _together(plan: Plan, beside: float, *, has_gpu: bool, captions_elsewhere: bool) -> float | None:
    seconds = {one.stage: one.seconds for one in plan.stages}
    if None in seconds.values():
        return None
    read, detect, caption, check, sums = (seconds[stage] or 0.0 for stage in STAGES)
    if captions_elsewhere:
        return max(read + (0.0 if has_gpu else detect), detect, caption) + check + sums
    if has_gpu:
        return max(read + check, detect + caption) + sums
    return read + (detect + caption + check + sums) * beside


def _ratio(one: float, other: float) -> float | None:
    return one / other if other else None


def _free(store: Store) -> int | None:
    if not store.files.is_local:
        return None
    place = Path(store.files.root)
    return shutil.disk_usage(next(one for one in (place, *place.parents) if one.is_dir())).free

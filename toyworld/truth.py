"""What a drawn movie really shows, in a store of the product's own layout.

Movies, shots, frames, detections with masks, and captions of the captioner "truth" in both styles, checked as any
captioner's are, and once more as references. Who is who stands beside the tables, in identities.csv: DuckDB reads it by
its name.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2

from storage.store import Store, TableRef
from storage.tables import Caption, Detection, Failure, Frame, Image, Movie, Shot
from tasks import tags
from tasks.captions import caption_seed
from tasks.consistency import check_captions
from tasks.detections import detection_row
from tasks.frame_sampling import keyframe_places
from tasks.movie_files import MovieFile, identify_movies
from tasks.movie_rows import movie_row
from tasks.object_naming import NamedObject, clean_label
from tasks.references import write_references
from toyworld.captions import write_caption
from toyworld.drawing import draw
from toyworld.facts import Facts
from toyworld.movie_plans import Plan
from toyworld.movies import image
from toyworld.naming import ids_of, name_picture
from toyworld.picture import Picture
from toyworld.scene import Scene
from toyworld.seeing import facts_of
from toyworld.vocabulary import LABELS
from toyworld.wordings import STYLES

VERSION = 1
CAPTIONER = "truth"
IDENTITIES = "identities.csv"
KEYFRAMES = 3
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Moment:
    """What one frame of a movie really shows. In a dissolve, of the shot that the frame belongs to."""

    plan: Plan
    number: int
    """Of the frame, from 0."""

    @cached_property
    def scene(self) -> Scene:
        """What was drawn."""
        return self.plan.scene(self.plan.shot_of(self.number), self.number)

    @cached_property
    def picture(self) -> Picture:
        """Regions at the movie's size; the image is without fades."""
        return draw(self.scene, self.plan.width, self.plan.height)

    @cached_property
    def objects(self) -> list[NamedObject]:
        """The objects by their true names, in prompt order."""
        return name_picture(self.picture)

    @cached_property
    def facts(self) -> Facts:
        """In terms of `objects`' ids; for a detector's ids use seeing.facts_of with naming.match."""
        return facts_of(self.scene, self.picture, ids_of(self.objects))

    @property
    def actors(self) -> dict[str, int]:
        """object_id to actor_id of the things."""
        return {thing.object_id: thing.actor_id for thing in self.facts.things}

    def caption(self, style: str, seed: int = 0) -> str:
        """A tagged caption of it; every frame has words of its own."""
        return write_caption(self.facts, style, caption_seed(seed, f"{self.plan.seed}/{self.number}", 0) % 2**32)


def moment_at(plan: Plan, seconds: float) -> Moment:
    """The frame that is shown at a presentation time, counted from the movie's first frame.

    Raises ValueError where no frame begins within a quarter of a frame of it.
    """
    number = round(seconds * plan.frame_rate)
    if abs(seconds * plan.frame_rate - number) > 0.25:
        raise ValueError(f"no frame begins at {seconds} s; there are {plan.frame_rate} in a second")
    plan.shot_of(number)
    return Moment(plan, number)


def keyframes(plan: Plan, each: int = KEYFRAMES) -> list[int]:
    """So many frames of every shot, as extraction takes them, but none in a fade or dissolve."""
    chosen = []
    for shot in plan.shots:
        clear = [number for number in range(shot.first, shot.first + shot.frames) if plan.is_clear(number)]
        chosen += [clear[place] for place in keyframe_places(len(clear), each)]
    return chosen


@dataclass(frozen=True)
class _Told:
    """All that is written about a frame."""

    frame_id: str
    detections: list[Detection]
    captions: dict[str, str]
    """By style."""
    identities: list[list[str]]
    """Lines of IDENTITIES after the movie."""


@dataclass(frozen=True)
class Truth:
    """All that is written about a rendered movie."""

    plan: Plan
    movie: MovieFile
    frames: list[Frame]
    told: list[_Told]
    """Of each frame."""

    @property
    def config(self) -> dict[str, object]:
        """What its files are keyed with."""
        return {"seed": self.plan.seed, "frames": [row.frame_id for row in self.frames]}

    def captions(self, style: str) -> list[tuple[str, str]]:
        """(frame_id, tagged caption) of each frame."""
        return [(one.frame_id, one.captions[style]) for one in self.told]


def read_truth(plan: Plan, path: str | Path, frames: Sequence[Frame] | None = None, each: int = KEYFRAMES) -> Truth:
    """The truth of a rendered movie.

    `frames` are those of another store that extracted this movie: the truth is then about them, under their ids, but
    for those in fades and dissolves, which have none. Without, `each` of every shot are taken. Raises ValueError for
    frames of another movie.
    """
    movie = identify_movies([str(path)])[0]
    if movie.error:
        raise ValueError(f"{path} {movie.error}")
    rows = _frames(plan, movie, each) if frames is None else list(_with_truth(plan, frames, movie))
    return Truth(plan, movie, rows, [_tell(row.frame_id, moment_at(plan, row.pts_seconds)) for row in rows])


def write_seen(truth: Truth, store: Store) -> tuple[TableRef, TableRef]:
    """Movie, shots, frames and what is detected in them; gives back the files of frames and of detections."""
    shard = f"{truth.movie.movie_id}/00000"
    written = _write_frames(truth, store, shard)
    detected = store.output([Detection, Failure], stage="detect", shard=shard, version=VERSION, config=truth.config,
                            inputs=[written.fingerprint])  # fmt: skip
    with detected.writer() as write:
        write.notes["labels"] = list(dict.fromkeys(map(clean_label, LABELS)))
        for one in truth.told:
            for detection in one.detections:
                write(detection)
        write.frames = len(truth.told)
    return written, detected.ref


def write_truth(plan: Plan, path: str | Path, store: Store, frames: Sequence[Frame] | None = None) -> TableRef:
    """Fill a store with the truth of a rendered movie; gives back the file of its frames. See read_truth."""
    truth = read_truth(plan, path, frames)
    written, detected = write_seen(truth, store)
    captioned = store.output([Caption], stage="caption", shard=written.shard, version=VERSION, config=truth.config,
                             inputs=[written.fingerprint, detected.fingerprint], captioner=CAPTIONER)  # fmt: skip
    with captioned.writer() as write:
        for one in truth.told:
            for candidate, text in enumerate(one.captions.values()):
                write(_caption(one.frame_id, candidate, text))
        write.frames = len(truth.told)
    check_captions(captioned.ref, detected, store)
    for style in STYLES:
        write_references(truth.movie.movie_id, truth.captions(style), store, style)
    _write_identities([line for one in truth.told for line in one.identities], truth.movie, store)
    return written


def _tell(frame_id: str, moment: Moment) -> _Told:
    looks = {actor.actor_id: actor for actor in moment.scene.actors}
    identities = []
    for object_id, actor_id in moment.actors.items():
        actor = looks[actor_id]
        identities.append([frame_id, object_id, str(actor_id), actor.kind or "", actor.colour or ""])
    detections = [detection_row(frame_id, one) for one in moment.objects]
    return _Told(frame_id, detections, {style: moment.caption(style) for style in STYLES}, identities)


def _with_truth(plan: Plan, frames: Sequence[Frame], movie: MovieFile) -> Iterator[Frame]:
    """Those of the frames that show one shot clearly, in it."""
    for frame in frames:
        if frame.movie_id != movie.movie_id:
            raise ValueError(f"{frame.frame_id} is of another movie than {movie.path}, which is {movie.movie_id}")
        number = moment_at(plan, frame.pts_seconds).number
        if plan.is_clear(number):
            yield replace(frame, shot_index=plan.shot_of(number))


def _frames(plan: Plan, movie: MovieFile, each: int) -> list[Frame]:
    """The plan's keyframes, as they were drawn."""
    rows = []
    for index, number in enumerate(keyframes(plan, each)):
        frame_id = f"{movie.movie_id}_{index:06d}"
        _, written = cv2.imencode(".jpg", image(plan, number)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        rows.append(
            Frame(
                frame_id=frame_id,
                movie_id=movie.movie_id,
                shot_index=plan.shot_of(number),
                frame_index=index,
                pts_seconds=number / plan.frame_rate,
                width=plan.width,
                height=plan.height,
                image=Image(bytes=written.tobytes(), path=f"{frame_id}.jpg"),
            )
        )
    return rows


def _write_frames(truth: Truth, store: Store, shard: str) -> TableRef:
    plan, movie = truth.plan, truth.movie
    output = store.output([Frame, Shot], stage="extract", shard=shard, version=VERSION, config=truth.config,
                          inputs=[movie.sha256])  # fmt: skip
    with output.writer() as write:
        for index, shot in enumerate(plan.shots):
            write(
                Shot(
                    movie_id=movie.movie_id,
                    shot_index=index,
                    start_seconds=shot.first / plan.frame_rate,
                    end_seconds=(shot.first + shot.frames) / plan.frame_rate,
                    frames=shot.frames,
                )
            )
        for row in truth.frames:
            write(row)
        write.frames = len(truth.frames)
    listed = store.output([Movie], stage="movies", shard=movie.movie_id, version=VERSION, config=truth.config,
                          inputs=[output.fingerprint])  # fmt: skip
    with listed.writer() as write:
        write(_movie(plan, movie))
    return output.ref


def _movie(plan: Plan, movie: MovieFile) -> Movie:
    return movie_row(
        movie,
        width=plan.width,
        height=plan.height,
        codec="h264",
        frame_rate=float(plan.frame_rate),
        duration_seconds=plan.frames / plan.frame_rate,
        decoded_frames=plan.frames,
        damaged_frames=0,
        status="ok",
        error=None,
    )


def _caption(frame_id: str, candidate: int, text: str) -> Caption:
    return Caption(
        caption_id=f"{frame_id}/{CAPTIONER}/{candidate}",
        frame_id=frame_id,
        captioner=CAPTIONER,
        candidate=candidate,
        attempt=0,
        mended_from=None,
        repairs=[],
        text=text,
        plain_text=tags.strip(text),
        checkpoint=f"the drawn world's grammar, {STYLES[candidate]}",
        adapter=None,
        prompt_template="",
        prompt_digest="",
        prompt_tokens=0,
        completion_tokens=0,
        decoding="free",
        temperature=0.0,
        top_p=1.0,
        seed=0,
        finish_reason="stop",
        error=None,
        mean_logprob=None,
    )


def _write_identities(lines: Sequence[list[str]], movie: MovieFile, store: Store) -> None:
    """Which object of which frame is which actor. The other movies' lines in the file stay."""
    kept: list[list[str]] = []
    if store.files.exists(IDENTITIES):
        with store.files.open(IDENTITIES) as source:
            _, *old = csv.reader(io.StringIO(source.read().decode()))
        kept = [line for line in old if line[0] != movie.movie_id]
    kept += [[movie.movie_id, *line] for line in lines]
    with store.files.replacing(IDENTITIES) as (draft,), draft.open("w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows([["movie_id", "frame_id", "object_id", "actor_id", "kind", "colour"], *kept])

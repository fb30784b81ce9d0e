"""Captions of a store -> samples to learn from: one Arrow file of texts, mapped into memory, and no picture in it.

A sample is a caption, the prompt that inference would ask with, and where its frame's picture stands in the store. What
contradicts its own detections would teach to cite what is not there: it is left out, and counted by its fault.
"""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.partial_reads import frame_facts
from storage.store import DETECT, Store
from storage.tables import Detection, Failure, Reference
from tasks import prompts
from tasks.caption_check import check
from tasks.errors import ReferencesError
from tasks.training.recipes import Recipe
from tasks.training.splits import PARTS, split_movies

VERSION = 1
CITES_NOTHING = "cites-nothing"
"""A caption without a tag, of a frame in which something was detected: it would teach a captioner not to cite."""
TOO_LONG, NO_FRAME, NOT_DETECTED = "too-long", "no-frame", "not-detected"
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("sample_id", "part", "source", "movie_id", "frame_id", "path")]
    + [(name, pa.int64()) for name in ("row", "height", "width")]
    + [("prompt", pa.string()), ("text", pa.string())]
)

Length = Callable[[str, str, int, int], int]
"""(prompt, caption, the picture's height and width in pixels) -> tokens of the whole sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One caption to learn from."""

    sample_id: str
    """references.reference_id."""
    part: str
    """train, validation or test."""
    source: str
    movie_id: str
    frame_id: str
    path: str
    """File of the frame, under the store."""
    row: int
    """Of the frame in that file, from 0."""
    height: int
    """Of the picture in pixels."""
    width: int
    prompt: str
    """As tasks.prompts renders it for inference, `[IMG]` once."""
    text: str
    """The caption: with tags where the prompt lists detections, else plain."""


@dataclass
class Gathered:
    """What was gathered."""

    samples: Counter[str] = field(default_factory=Counter)
    """By part and source, `train/human`."""
    movies: Counter[str] = field(default_factory=Counter)
    """By part."""
    left_out: Counter[str] = field(default_factory=Counter)
    """By fault; a caption with several counts for the first of them in the alphabet."""
    fingerprint: str = ""
    """sha256 over all samples and the files their frames are in."""


def gather_samples(store: Store, recipe: Recipe, length: Length, target: Path) -> Gathered:
    """Write the samples of a store's references into a file. Memory: one shard of texts.

    Raises ReferencesError when a stage has no sample to learn from, or a part none at all, ConfigError when the movies
    cannot be split.
    """
    movies, parts = referenced_movies(store, recipe)
    found, digest = Gathered(movies=Counter(parts.values())), hashlib.sha256()
    draft = target.with_name(f".{target.name}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    gathering = _Gathering(store, recipe, length, found)
    with pa.OSFile(str(draft), "wb") as file, pa.ipc.new_file(file, SCHEMA) as write:
        for movie_id in sorted(movies):
            for fingerprint, rows in gathering.of_movie(movie_id, parts[movie_id], movies[movie_id]):
                digest.update(json.dumps([fingerprint, rows], sort_keys=True).encode())
                write.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))
    found.fingerprint = digest.hexdigest()
    _check_enough(found, recipe)
    os.replace(draft, target)
    return found


def referenced_movies(store: Store, recipe: Recipe) -> tuple[dict[str, list[str]], dict[str, str]]:
    """movie_id to those of the recipe's sources that it has references of, and to the part it is in.

    Looks at names of files only. Raises ReferencesError where there are none, ConfigError when they cannot be split.
    """
    found: dict[str, list[str]] = {}
    for path in store.files.under("references"):
        movie, _, name = path.removeprefix("references/movie_id=").rpartition("/")
        if (source := name.removesuffix(".parquet")) in recipe.sources:
            found.setdefault(movie, []).append(source)
    if not found:
        raise ReferencesError(
            f"{store.location} has no references by {', '.join(recipe.sources)}. Bring captions in with "
            "`caption-movies references` or `caption-movies import`, or name their sources with --sources."
        )
    return found, split_movies(found, recipe.data)


def _check_enough(found: Gathered, recipe: Recipe) -> None:
    left = ", ".join(f"{code} {number}" for code, number in found.left_out.most_common()) or "none"
    for stage in recipe.stage:
        if not any(found.samples[f"train/{source}"] for source in stage.sources):
            raise ReferencesError(
                f"stage {stage.name!r} has no caption by {', '.join(stage.sources)} to learn from; left out: {left}."
            )
    for part in PARTS:
        if not any(number for name, number in found.samples.items() if name.startswith(f"{part}/")):
            raise ReferencesError(f"no caption is left for {part}; left out: {left}. Give that part more movies.")


def detections_of(store: Store, shard: str, frames: str, wanted: set[str]) -> dict[str, list[Detection]] | None:
    """Of the wanted frames of a shard, in prompt order, without masks; not of those that detection failed on.

    `frames` is the fingerprint of the shard's frames: None where nothing was detected in the frames as they are now.
    """
    ref = store.ref("detections", shard)
    footer = store.footer(ref.path) if ref else None
    if not ref or not footer or frames not in footer.inputs:
        return None
    found: dict[str, list[Detection]] = {frame_id: [] for frame_id in wanted}
    failed = store.ref("failures", shard, stage=DETECT)
    for failure in store.read(failed, Failure) if failed else ():
        found.pop(failure.frame_id, None)
    for one in store.read(ref, Detection, batch_size=256):
        if one.frame_id in found:
            found[one.frame_id].append(replace(one, mask=None))
    return {frame_id: sorted(some, key=lambda one: one.object_index) for frame_id, some in found.items()}


@dataclass(frozen=True)
class _Gathering:
    store: Store
    recipe: Recipe
    length: Length
    found: Gathered

    def of_movie(self, movie_id: str, part: str, sources: Sequence[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """(fingerprint of the frames' file, rows) of each shard."""
        told = self._references(movie_id, sources)
        for path in self.store.files.under(f"frames/movie_id={movie_id}"):
            shard = f"{movie_id}/{path.rpartition('/')[2].removesuffix('.parquet')}"
            frames = self.store.ref("frames", shard)
            here = self._frames(path)
            wanted = [(frame_id, *where) for frame_id, where in here.items() if frame_id in told]
            if not frames or not wanted:
                continue
            found = detections_of(self.store, shard, frames.fingerprint, {frame_id for frame_id, *_ in wanted})
            rows = [
                row
                for frame_id, number, height, width in wanted
                for one in told.pop(frame_id)
                if (row := self._row(one, part, path, number, height, width, found))
            ]
            if rows:
                yield frames.fingerprint, rows
        self.found.left_out[NO_FRAME] += sum(map(len, told.values()))
        self.found.left_out += Counter()  # without zeros

    def _references(self, movie_id: str, sources: Sequence[str]) -> dict[str, list[Reference]]:
        told: dict[str, list[Reference]] = defaultdict(list)
        for source in sorted(sources):
            if ref := self.store.ref("references", f"{movie_id}/{source}"):
                for reference in self.store.read(ref, Reference):
                    told[reference.frame_id].append(reference)
        return told

    def _frames(self, path: str) -> dict[str, tuple[int, int, int]]:
        """frame_id to (row, height, width)."""
        read = frame_facts(self.store.files, path)
        return {one.frame_id: (number, one.height, one.width) for number, one in enumerate(read)}

    def _row(
        self,
        reference: Reference,
        part: str,
        path: str,
        number: int,
        height: int,
        width: int,
        found: dict[str, list[Detection]] | None,
    ) -> dict[str, Any] | None:
        """The sample; None where it is left out."""
        template = self.recipe.caption.template
        grounded = prompts.template(template).grounded
        listed = (found or {}).get(reference.frame_id)
        fault = self._fault(reference, listed, grounded)
        if not fault:
            text = reference.text if grounded else reference.plain_text
            prompt = prompts.render(template, listed or [])
            if self.length(prompt, text, height, width) > self.recipe.data.most_tokens:
                fault = TOO_LONG
        if fault:
            self.found.left_out[fault] += 1
            return None
        self.found.samples[f"{part}/{reference.source}"] += 1
        sample = {"sample_id": reference.reference_id, "part": part, "source": reference.source}
        sample |= {"movie_id": path.split("/")[1].removeprefix("movie_id="), "frame_id": reference.frame_id}
        return sample | {
            "path": path, "row": number, "height": height, "width": width, "prompt": prompt, "text": text
        }  # fmt: skip

    def _fault(self, reference: Reference, listed: list[Detection] | None, grounded: bool) -> str | None:
        if listed is None and grounded:
            return NOT_DETECTED
        if listed is None and reference.text == reference.plain_text:
            return None  # nothing is cited, and nothing has to be
        checked = check(reference.text, listed or [])
        if checked.codes:
            return checked.codes[0]
        return CITES_NOTHING if grounded and listed and not checked.mentions else None

"""Captions at fault -> captions to replace them: repaired ones, or the captioner's next answers.

The first answer is never touched: what is made to replace it stands beside it as a caption of its own, is checked like
any other, and tasks/choices.py says which one counts. So every attempt is kept with its seed and its violations.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from storage.store import MENDING, Store, TableRef, Writer
from storage.tables import Caption, Detection, Frame
from tasks import captioners, prompts, tags
from tasks.caption_check import check_against
from tasks.caption_jobs import Clock, Job, answer, caption_row, caption_seed, weights_behind
from tasks.captioners import CaptionConfig, CaptionResult, Origin
from tasks.errors import CaptionMoviesError, ConfigError, TransientError, UnknownNameError
from tasks.frame_work import UNWORKABLE, reason
from tasks.repairs import repair

VERSION = 2
MODES = ("keep", "repair", "regenerate", "quarantine")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MendConfig:
    """What is done about captions that break the tag grammar or cite what is not there."""

    on_violation: str = "keep"
    """keep: nothing, it stays with its verdict. repair: its tags are mended where that is certain. regenerate: the
    captioner is asked again. quarantine: it is never chosen. Whichever it is, `captions_ok` has clean captions only."""
    max_regenerations: int = 2
    """How often the captioner is asked again for one caption, at most; it is left when an answer is clean."""
    temperature: float = 0.7
    """Of those answers where the captioner's own is 0: greedy, the same question has the same answer."""

    def __post_init__(self) -> None:
        """Check values. Raises UnknownNameError for a mode that is not there, ConfigError for an impossible number."""
        if self.on_violation not in MODES:
            raise UnknownNameError("on_violation", self.on_violation, list(MODES))
        if self.max_regenerations < 1:
            raise ConfigError(f"max_regenerations is {self.max_regenerations}; it has to be at least 1.")
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(f"temperature in [mend] is {self.temperature}; it has to be above 0.")

    @property
    def regenerates(self) -> bool:
        """Whether the captioner's model is needed."""
        return self.on_violation == "regenerate"

    @property
    def quarantines(self) -> bool:
        """Whether a caption at fault is never chosen."""
        return self.on_violation == "quarantine"


@dataclass(frozen=True, kw_only=True)
class _Done:
    """What is hashed: only what this stage does."""

    how: str
    max_regenerations: int | None = None
    temperature: float | None = None
    captioner: CaptionConfig | None = None


def mend_captions(
    frames: TableRef,
    detections: TableRef,
    captions: TableRef,
    store: Store,
    config: MendConfig,
    captioner: CaptionConfig,
) -> TableRef:
    """What is made to replace the captions at fault of one shard; an empty table where nothing is.

    A caption that failed is not mended: there is nothing to hold against the detections. Where the captioner cannot be
    asked again, the answers are rows with an error, and the next run asks: the shard's clean captions do not wait for
    it. Raises what identifying the captioner raises, unless it is a model at a server: that is the one that wrote the
    first answers then.
    """
    how = config.on_violation if config.on_violation in ("repair", "regenerate") else "none"
    done, weights, origin = _Done(how=how), {}, Origin("")
    if config.regenerates:
        asked = replace(captioner, name=captions.captioner)
        numbers = {"max_regenerations": config.max_regenerations, "temperature": config.temperature}
        done = _Done(how=how, captioner=asked, **numbers)  # type: ignore[arg-type]
        origin = captioners.identify(asked_again(captioner, config, 1), weights_behind(captions.path, store))
        weights = {**origin.weights, "template": prompts.template(captioner.template).digest}
    output = store.output(
        [Caption],
        stage=MENDING,
        shard=captions.shard,
        inputs=[captions.fingerprint, detections.fingerprint],
        config=done,
        version=VERSION,
        weights=weights,
        captioner=captions.captioner,
        may_vary=config.regenerates,
    )
    if output.is_current() and not output.notes.get("again"):
        return output.ref
    with output.writer() as write:
        if how == "repair":
            for row in _repairs(captions, detections, store):
                write(row)
        elif how == "regenerate":
            jobs = _jobs(frames, captions, detections, store, captioner)
            _regenerate(jobs, captions.captioner, config, captioner, origin, write)
    return output.ref


def _repairs(captions: TableRef, detections: TableRef, store: Store) -> Iterator[Caption]:
    found = _detections(detections, store)
    for caption in _at_fault(captions, found, store):
        if mended := repaired(caption, things_of(found[caption.frame_id])):
            yield mended


def _detections(ref: TableRef, store: Store) -> dict[str, list[Detection]]:
    """By frame, in prompt order, without masks. A frame without any has an empty list."""
    found: dict[str, list[Detection]] = defaultdict(list)
    for one in store.read(ref, Detection, batch_size=256):
        found[one.frame_id].append(replace(one, mask=None))
    for listed in found.values():
        listed.sort(key=lambda one: one.object_index)
    return found


def things_of(detections: Iterable[Detection]) -> dict[str, bool]:
    """A frame's object ids, each with whether it is a thing."""
    return {one.object_id: one.is_thing for one in detections}


def _at_fault(captions: TableRef, found: Mapping[str, list[Detection]], store: Store) -> list[Caption]:
    written = (one for one in store.read(captions, Caption) if one.error is None and one.finish_reason != "error")
    return [one for one in written if check_against(one.text, things_of(found[one.frame_id])).violations]


def repaired(caption: Caption, things: Mapping[str, bool]) -> Caption | None:
    """The caption after its repairs, as a row of its own; None where nothing is certain.

    Tokens, seed and log-probability stay those of the generation. things: the frame's object ids, each with whether it
    is a thing.
    """
    after = repair(caption.text, things, cut_off=caption.finish_reason == "length")
    if not after.repairs:
        return None
    return replace(
        caption,
        caption_id=f"{caption.caption_id}.1",
        attempt=1,
        mended_from=caption.caption_id,
        repairs=list(after.repairs),
        text=after.text,
        original_text=caption.text if caption.original_text is None else caption.original_text,
        plain_text=tags.strip(after.text),
    )


def _regenerate(
    jobs: list[Job], name: str, config: MendConfig, captioner: CaptionConfig, origin: Origin, write: Writer
) -> None:
    """Write every answer, attempt by attempt; a caption is left when an answer to it is clean."""
    write.frames = len({job.frame.frame_id for job in jobs})
    for attempt in range(1, config.max_regenerations + 1):
        if not jobs:
            return
        how = asked_again(captioner, config, attempt)
        for job in jobs:
            job.attempt, job.result = attempt, None
            job.seed = caption_seed(captioner.seed, job.frame.frame_id, job.candidate, attempt)
        clock = _answered(jobs, how, origin)
        if clock is None:
            write.notes["again"] = True  # what failed here and now may work the next time
        else:
            write.asking_seconds += clock.asking_seconds
            write.waiting_seconds += clock.waiting_seconds
        for job in jobs:
            row = caption_row(job, name, origin, how)
            write(row)
            write.prompt_tokens += row.prompt_tokens
            write.tokens += row.completion_tokens
        jobs = [job for job in jobs if not _is_clean(job)] if clock else []


def _answered(jobs: Sequence[Job], how: CaptionConfig, origin: Origin) -> Clock | None:
    """Ask about all of them. None where the captioner failed as such: each that it left open has that for its error."""
    try:
        if not origin.asked and captioners.identify(how) != origin:
            raise TransientError("the server has another model by now. Run again, and the captions are made anew.")
        clock = answer(jobs, captioners.load(how), how.batch_size)
        if clock.without_memory == len(jobs):  # of a single one `answer` does not raise it
            raise TransientError("memory does not suffice now, though it did for the first answer.")
    except (CaptionMoviesError, MemoryError, *UNWORKABLE) as error:
        why = str(error) if isinstance(error, CaptionMoviesError) else reason(error)
        log.warning("%d captions at fault are not mended in this run: %s", len(jobs), why)
        for job in jobs:
            if job.result is None or job.result.error is not None:
                job.result = CaptionResult(error=f"the captioner could not be asked again; the next run will: {why}")
        return None
    return clock


def asked_again(captioner: CaptionConfig, config: MendConfig, attempt: int) -> CaptionConfig:
    """How the captioner is asked for the attempt, from 1: held to the tag grammar, where it can be.

    A greedy captioner has one answer to a question: so it is asked to sample, with a seed of the attempt's own, but for
    the first time that it is held to the grammar, which is another question.
    """
    again = captioner
    if captioners.can_constrain(captioner.backend):
        again = replace(captioner, decoding="constrained")
    if attempt == 1 and again != captioner:
        return again
    return replace(again, temperature=captioner.temperature or config.temperature, num_beams=0)  # beams are not sampled


def _jobs(
    frames: TableRef, captions: TableRef, detections: TableRef, store: Store, captioner: CaptionConfig
) -> list[Job]:
    """The questions that had an answer at fault, in order of frame and candidate."""
    found = _detections(detections, store)
    candidates: dict[str, list[int]] = defaultdict(list)
    for caption in _at_fault(captions, found, store):
        candidates[caption.frame_id].append(caption.candidate)
    jobs: list[Job] = []
    if not candidates:
        return jobs
    for number, frame in enumerate(store.read(frames, Frame, batch_size=32)):
        for candidate in candidates.get(frame.frame_id, ()):
            listed = found[frame.frame_id]
            jobs.append(Job(frame, number, candidate, listed, prompts.render(captioner.template, listed), seed=0))
    return jobs


def _is_clean(job: Job) -> bool:
    if job.result is None or job.result.error is not None:
        return False
    return not check_against(job.result.text, things_of(job.detections)).violations

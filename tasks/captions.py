"""Frames and their detections -> captions: one row per frame and candidate, always.

The models live behind tasks/captioners, the prompt in tasks/prompts.py. Here: who is asked what, in which batches, and
what to do when there is no answer.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from storage.store import Store, TableRef, path_of
from storage.tables import Caption, Detection, Failure, Frame
from tasks import captioners, prompts, tags
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult, Origin
from tasks.frame_work import PictureError, decode, raise_for_all, reason, work_in_batches

__all__ = ["CaptionConfig", "caption_frames", "caption_seed", "captioner_name"]

VERSION = 2
"""Bump when the meaning of the output changes."""
STAGE = "caption"
LOGPROB_DIGITS = 4
"""Decimals of a mean log-probability that are written: the further ones hang on what else was in the batch."""
REMEDY = "lower max_new_tokens or the frames' longest_edge, or use a device with more memory."

Captions = Callable[[Sequence[CaptionRequest]], list[CaptionResult]]
log = logging.getLogger(__name__)


@dataclass
class Job:
    """One caption on its way: first the question, then the answer."""

    frame: Frame
    frame_number: int
    candidate: int
    detections: list[Detection]
    prompt: str
    seed: int
    result: CaptionResult | None = None


def captioner_name(config: CaptionConfig) -> str:
    """The name under which this configuration's captions stand in the store: letters, digits and ._- only."""
    return config.name or config.backend


def caption_seed(seed: int, frame_id: str, candidate: int) -> int:
    """A caption's own seed, 0 to 2^63 - 1: it hangs on nothing but the run's seed, the frame and the candidate."""
    digest = hashlib.sha256(f"{seed}/{frame_id}/{candidate}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def caption_frames(frames: TableRef, detections: TableRef, store: Store, config: CaptionConfig) -> TableRef:
    """Caption one shard of frames.

    A frame without detections is captioned too. A frame whose detection failed, whose picture cannot be decoded, or on
    which the captioner fails when asked about that frame alone is a row with finish_reason `error` and the reason.
    Raises CheckpointError, ConfigError, MissingExtraError or UnknownNameError when there is no such captioner,
    TransientError when the device is lost, and the captioner's own error (TransientError for memory) when it fails on
    every one of several captions: then the frames are not to blame, and the next run shall try again.
    """
    name = captioner_name(config)
    origin = captioners.identify(config)
    output = store.output(
        [Caption],
        stage=STAGE,
        shard=frames.shard,
        inputs=[frames.fingerprint, detections.fingerprint],
        config=replace(config, name=name),
        version=VERSION,
        weights={**origin.weights, "template": prompts.template(config.template).digest},
        captioner=name,
    )
    if output.is_current():
        return output.ref
    with output.writer() as write:
        jobs = _jobs(frames, detections, store, config)
        if waiting := [job for job in jobs if job.result is None]:
            captioner = captioners.load(config)
            write.notes.update(captioner.notes)
            answer(waiting, captioner, config.batch_size)
        for job in jobs:
            row = _row(job, name, origin, config)
            write(row)
            write.tokens += row.completion_tokens
    return output.ref


def _jobs(frames: TableRef, detections: TableRef, store: Store, config: CaptionConfig) -> list[Job]:
    """Every caption wanted, in order of frame and candidate; answered already where detection failed."""
    found: dict[str, list[Detection]] = defaultdict(list)
    for detection in store.read(detections, Detection):
        found[detection.frame_id].append(detection)
    failed = _detection_failures(frames.shard, store)
    jobs = []
    for number, frame in enumerate(store.read(frames, Frame, batch_size=32)):
        error = failed.get(frame.frame_id)
        listed = sorted(found[frame.frame_id], key=lambda one: one.object_index)
        prompt = "" if error else prompts.render(config.template, listed)
        for candidate in range(config.candidates):
            job = Job(frame, number, candidate, listed, prompt, caption_seed(config.seed, frame.frame_id, candidate))
            if error:
                job.result = CaptionResult(
                    error=f"detection failed on this frame, so there was nothing to ask: {error}"
                )
            jobs.append(job)
    return jobs


def _detection_failures(shard: str, store: Store) -> dict[str, str]:
    """frame_id to error of the frames that detection could not work on."""
    path = path_of("failures", shard, stage="detect")
    if not store.files.exists(path):
        return {}
    rows = store.read(TableRef("failures", shard, path, 0, ""), Failure)
    return {row.frame_id: row.error for row in rows}


def answer(jobs: Sequence[Job], captions: Captions, batch_size: int) -> None:
    """Give every job its result, asking about `batch_size` at a time, pictures of one size and prompts of like length.

    A job that fails alone has an error for its result; see work_in_batches. Raises the last error when all of several
    jobs failed so. Pictures are decoded a batch at a time.
    """
    errors: list[Exception] = []

    def give_up(job: Job, error: Exception) -> None:
        log.warning("no caption of frame %s: %s", job.frame.frame_id, reason(error))
        errors.append(error)
        job.result = CaptionResult(error=_blame(error))

    work_in_batches(sorted(jobs, key=_likeness), lambda batch: _ask(batch, captions), give_up, batch_size)
    if len(errors) > 1 and len(errors) == len(jobs):
        raise_for_all(errors[-1], REMEDY)


def _likeness(job: Job) -> tuple[int, int, int, int, int]:
    frame = job.frame
    return frame.height, frame.width, len(job.prompt), job.frame_number, job.candidate


def _ask(jobs: Sequence[Job], captions: Captions) -> None:
    asked, requests = [], []
    for job in jobs:
        try:
            image = decode(job.frame)
        except PictureError as error:
            job.result = CaptionResult(error=str(error))
            continue
        asked.append(job)
        requests.append(_request(job, image))
    results = captions(requests) if requests else []
    for job, result in zip(asked, results, strict=True):
        job.result = _checked(result)


def _blame(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"memory does not suffice for this frame alone ({error}): {REMEDY}"
    return f"the captioner failed on this frame alone ({reason(error)}). Try another checkpoint or backend."


def _request(job: Job, image: NDArray[np.uint8]) -> CaptionRequest:
    return CaptionRequest(
        frame_id=job.frame.frame_id,
        frame_number=job.frame_number,
        candidate=job.candidate,
        image=image,
        detections=job.detections,
        prompt=job.prompt,
        seed=job.seed,
    )


def _checked(result: CaptionResult) -> CaptionResult:
    """The result; an empty caption, or one that cannot be written down, becomes an error."""
    if result.error is not None:
        return replace(result, text="", finish_reason="error", mean_logprob=None)
    if not result.text.strip():
        return replace(_wordless(result), error="the captioner ended without having written a word.")
    try:
        result.text.encode()
    except UnicodeEncodeError as error:
        return replace(_wordless(result), error=f"the caption is no Unicode text: {error}.")
    return result


def _wordless(result: CaptionResult) -> CaptionResult:
    return replace(result, text="", finish_reason="error", mean_logprob=None)


def _row(job: Job, name: str, origin: Origin, config: CaptionConfig) -> Caption:
    result = job.result or CaptionResult(error="the captioner was not asked.")
    return Caption(
        caption_id=f"{job.frame.frame_id}/{name}/{job.candidate}",
        frame_id=job.frame.frame_id,
        captioner=name,
        candidate=job.candidate,
        text=result.text,
        plain_text=tags.strip(result.text),
        checkpoint=origin.checkpoint,
        adapter=origin.adapter,
        prompt_template=config.template,
        prompt_digest=prompts.digest(job.prompt) if job.prompt else "",
        prompt_tokens=result.prompt_tokens,
        completion_tokens=result.completion_tokens,
        temperature=float(config.temperature),
        top_p=float(config.top_p),
        seed=job.seed,
        finish_reason=result.finish_reason,
        error=result.error,
        mean_logprob=None if result.mean_logprob is None else round(result.mean_logprob, LOGPROB_DIGITS),
    )

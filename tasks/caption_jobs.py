"""Captions on their way: the question put to a captioner, in which batches, and the row made of its answer.

The models live behind tasks/captioners, the prompt in tasks/prompts.py. Here: what to do when there is no answer.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from storage.tables import Caption, Detection, Frame
from tasks import prompts, tags
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult, Origin
from tasks.frame_work import PictureError, decode, raise_for_all, reason, work_in_batches

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


def caption_row(job: Job, name: str, origin: Origin, config: CaptionConfig) -> Caption:
    """The row of an answered job."""
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

"""Captions on their way: the question put to a captioner, in which batches, and the row made of its answer.

The models live behind tasks/captioners, the prompt in tasks/prompts.py. Here: what to do when there is no answer.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from storage.store import Store
from storage.tables import Caption, Detection, Frame
from tasks import prompts, tags
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult, Origin, StreamingCaptioner
from tasks.errors import CaptionMoviesError, StoreError
from tasks.frame_work import UNWORKABLE, PictureError, decode, raise_for_all, reason, work_in_batches

BATCH = 8
"""Captions asked for at once where the configuration leaves it open."""
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
    attempt: int = 0
    """From 1 on it is asked again, because the answers before were at fault."""
    result: CaptionResult | None = None
    readable: bool = True
    """False once its picture could not be decoded."""

    def unreadable(self, error: PictureError) -> None:
        """Take that for the answer: nobody was asked."""
        self.readable, self.result = False, CaptionResult(error=str(error))

    def caption_id(self, captioner: str) -> str:
        """The key of its row."""
        first = f"{self.frame.frame_id}/{captioner}/{self.candidate}"
        return f"{first}.{self.attempt}" if self.attempt else first


def captioner_name(config: CaptionConfig) -> str:
    """The name under which this configuration's captions stand in the store: letters, digits and ._- only."""
    return config.name or config.backend


def weights_behind(path: str, store: Store) -> dict[str, str]:
    """What a file says of the model that made it; nothing of one that is damaged, or not there."""
    try:
        footer = store.footer(path)
    except StoreError:
        return {}
    return footer.weights if footer else {}


def caption_seed(seed: int, frame_id: str, candidate: int, attempt: int = 0) -> int:
    """A caption's own seed, 0 to 2^63 - 1: it hangs on nothing but the run's seed, frame, candidate and attempt."""
    named = f"{seed}/{frame_id}/{candidate}" + (f"/{attempt}" if attempt else "")
    digest = hashlib.sha256(named.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass
class Clock:
    """Where the time of asking went, and how often memory did not suffice."""

    asking_seconds: float = 0.0
    """All of it."""
    waiting_seconds: float = 0.0
    """Of it, the captioner's for pictures."""
    without_memory: int = 0
    """Captions for which memory did not suffice, each alone."""
    only_one_failed: bool = False
    """One caption was asked for, and it failed: no other tells whether its frame or the captioner is to blame."""


def answer(jobs: Sequence[Job], captions: Captions, batch_size: int) -> Clock:
    """Give every job its result; pictures of one size and prompts of like length, and a frame's candidates, together.

    A captioner that can is given all of them at once. Any other, and what such a one failed on, is asked about
    `batch_size` at a time (0: a few). A job that fails alone has an error for its result; see work_in_batches. Raises
    the last error when all of several jobs with a picture failed so.
    """
    errors: list[Exception] = []

    def give_up(job: Job, error: Exception) -> None:
        log.warning("no caption of frame %s: %s", job.frame.frame_id, reason(error))
        errors.append(error)
        clock.without_memory += isinstance(error, MemoryError)
        job.result = CaptionResult(error=_blame(error))

    start, clock = time.perf_counter(), Clock()
    jobs = sorted(jobs, key=_likeness)
    if isinstance(captions, StreamingCaptioner):
        _stream(jobs, captions, clock)
    left = [job for job in jobs if job.result is None]
    work_in_batches(left, lambda batch: _ask(batch, captions, clock), give_up, batch_size or BATCH)
    if errors and len(errors) == sum(job.readable for job in jobs):
        if len(errors) > 1:
            raise_for_all(errors[-1], REMEDY)
        clock.only_one_failed = True
    clock.asking_seconds = time.perf_counter() - start
    return clock


def _likeness(job: Job) -> tuple[int, int, int, int, int]:
    frame = job.frame
    return frame.height, frame.width, len(job.prompt), job.frame_number, job.candidate


def _stream(jobs: Sequence[Job], captioner: StreamingCaptioner, clock: Clock) -> None:
    """Give the jobs their results; when the captioner fails, those it had not answered by then have none."""
    asked: dict[CaptionRequest, Job] = {}

    def requests() -> Iterator[CaptionRequest]:  # runs in the captioner's thread
        frame, image = None, np.empty((0, 0, 3), np.uint8)
        for job in jobs:
            try:
                if job.frame is not frame:  # else it is another candidate's
                    frame, image = job.frame, decode(job.frame)
            except PictureError as error:
                job.unreadable(error)
                continue
            request = _request(job, image)
            asked[request] = job
            yield request

    before = captioner.waiting_seconds
    try:
        for request, result in captioner.stream(requests()):
            asked.pop(request).result = _checked(result)
    except CaptionMoviesError:
        raise  # some are of UNWORKABLE's types too
    except (MemoryError, *UNWORKABLE) as error:
        missing = sum(job.result is None for job in jobs)
        log.warning("%d of %d captions are asked for again: %s", missing, len(jobs), reason(error))
    clock.waiting_seconds += captioner.waiting_seconds - before


def _ask(jobs: Sequence[Job], captions: Captions, clock: Clock) -> None:
    asked, requests = [], []
    start = time.perf_counter()
    for job in jobs:
        try:
            image = decode(job.frame)
        except PictureError as error:
            job.unreadable(error)
            continue
        asked.append(job)
        requests.append(_request(job, image))
    clock.waiting_seconds += time.perf_counter() - start
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
        attempt=job.attempt,
    )


def _checked(result: CaptionResult) -> CaptionResult:
    """The result; an empty caption, or one that cannot be written down, becomes an error. What was written is kept."""
    if result.error is not None:
        return _failed(result, result.error)
    if not result.text.strip():
        if result.original_text:
            return _failed(result, "the caption was cut off before a word or tag was whole. Raise max_new_tokens.")
        return _failed(result, "the captioner ended without having written a word.")
    try:
        result.text.encode()
    except UnicodeEncodeError as error:
        return _failed(result, f"the caption is no Unicode text: {error}.")
    return replace(result, original_text=_writable(result.original_text))


def _failed(result: CaptionResult, error: str) -> CaptionResult:
    original = _writable(result.text if result.original_text is None else result.original_text)
    return replace(result, text="", original_text=original, finish_reason="error", mean_logprob=None, error=error)


def _writable(text: str | None) -> str | None:
    """The text; what Unicode forbids in it as escapes. None for an empty one."""
    return text.encode(errors="backslashreplace").decode() if text else None


def caption_row(job: Job, name: str, origin: Origin, config: CaptionConfig) -> Caption:
    """The row of an answered job."""
    result = job.result or CaptionResult(error="the captioner was not asked.")
    return Caption(
        caption_id=job.caption_id(name),
        frame_id=job.frame.frame_id,
        captioner=name,
        candidate=job.candidate,
        attempt=job.attempt,
        mended_from=replace(job, attempt=0).caption_id(name) if job.attempt else None,
        repairs=[],
        text=result.text,
        original_text=result.original_text,
        plain_text=tags.strip(result.text),
        checkpoint=origin.checkpoint,
        adapter=origin.adapter,
        prompt_template=config.template,
        prompt_digest=prompts.digest(job.prompt) if job.prompt else "",
        prompt_tokens=result.prompt_tokens,
        completion_tokens=result.completion_tokens,
        decoding=config.decoding,
        temperature=float(config.temperature),
        top_p=float(config.top_p),
        seed=job.seed,
        finish_reason=result.finish_reason,
        error=result.error,
        mean_logprob=None if result.mean_logprob is None else round(result.mean_logprob, LOGPROB_DIGITS),
    )

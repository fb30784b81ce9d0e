"""Frames and their detections -> captions: one row per frame and candidate, always.

How a captioner is asked, and what is done when it does not answer, stands in tasks/caption_jobs.py. Here: what of.
"""

from collections import defaultdict
from dataclasses import replace

from storage.store import Output, Store, TableRef, path_of
from storage.tables import Caption, Detection, Failure, Frame
from tasks import captioners, prompts
from tasks.caption_jobs import Job, answer, caption_row, caption_seed, captioner_name, weights_behind
from tasks.captioners import CaptionConfig, CaptionResult, Origin

__all__ = ["CaptionConfig", "caption_frames", "caption_seed", "captioner_name"]

VERSION = 5
"""Bump when the meaning of the output changes."""
STAGE = "caption"


def caption_frames(frames: TableRef, detections: TableRef, store: Store, config: CaptionConfig) -> TableRef:
    """Caption one shard of frames.

    A frame without detections is captioned too. A frame whose detection failed, whose picture cannot be decoded, or on
    which the captioner fails when asked about that frame alone is a row with finish_reason `error` and the reason.
    Raises CheckpointError, ConfigError, MissingExtraError or UnknownNameError when there is no such captioner,
    TransientError when the device is lost, and the captioner's own error (TransientError for memory) when it fails on
    every one of several captions: then the frames are not to blame, and the next run shall try again. A shard's only
    caption has its error as a row, and is asked for again by the next run: nothing tells who is to blame.
    """
    config = captioners.completed(config)
    name = captioner_name(config)
    origin = captioners.identify(config, weights_behind(path_of("captions", frames.shard, name), store))
    output = output_of(frames, detections, store, config, origin)
    if output.is_current() and not (origin.asked and output.notes.get("again")):
        return output.ref
    if not origin.asked:  # finished work is found without the server, work to be done is not
        origin = captioners.identify(config)
        output = output_of(frames, detections, store, config, origin)
    with output.writer() as write:
        jobs = _jobs(frames, detections, store, config)
        if waiting := [job for job in jobs if job.result is None]:
            captioner = captioners.load(config)
            clock = answer(waiting, captioner, config.batch_size)
            write.notes.update(captioner.notes)
            if clock.only_one_failed:
                write.notes["again"] = True
            write.asking_seconds, write.waiting_seconds = clock.asking_seconds, clock.waiting_seconds
        write.frames = frames.rows
        for job in jobs:
            row = caption_row(job, name, origin, config)
            write(row)
            write.prompt_tokens += row.prompt_tokens
            write.tokens += row.completion_tokens
    return output.ref


def output_of(frames: TableRef, detections: TableRef, store: Store, config: CaptionConfig, origin: Origin) -> Output:
    """What captioning a shard makes; `config` as captioners.completed gives it."""
    name = captioner_name(config)
    return store.output(
        [Caption],
        stage=STAGE,
        shard=frames.shard,
        inputs=[frames.fingerprint, detections.fingerprint],
        config=replace(config, name=name),
        version=VERSION,
        weights={**origin.weights, "template": prompts.template(config.template).digest},
        captioner=name,
        may_vary=True,
    )


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

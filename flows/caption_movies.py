"""movies -> frames -> detections -> captions -> verdicts -> choices -> scores: the main job."""

from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.read_configuration import PipelineConfig
from flows.report_run import Report, report_run
from flows.run_state import start_run
from flows.steps import caption, check, choose, detect, mend, score, summarise
from flows.stream_shards import decoded_shards

WORKERS = 32
"""Threads: a shard in work keeps four, each waiting for the one before it; the GPU slot lets one model step through."""


THREADS: Any = ThreadPoolTaskRunner(max_workers=WORKERS)


@flow(name="caption-movies", task_runner=THREADS, persist_result=False)
def caption_movies(movies: list[str], store: str, config: PipelineConfig | str = "groundcap") -> Report:
    """Caption movies into a store: every caption with its verdict, every movie with its status.

    movies: files, or folders of them. store: a folder, or a URI of an object store. config: a ready profile (demo,
    groundcap), the path of a TOML file, or the whole configuration. What stands finished in the store is not
    done again.
    """
    run = start_run(movies, store, config)
    for frames in decoded_shards(run):
        detections = detect.submit(frames, run.store, run.config.detect)
        captions = caption.submit(frames, detections, run.store, run.config.caption)
        mended = mend.submit(frames, detections, captions, run.store, run.config.mend, run.config.caption)
        verdicts = check.submit(captions, detections, run.store, mended)
        choices = choose.submit(
            frames, captions, mended, detections, verdicts, run.store, run.config.mend.quarantines, run.config.choose
        )
        scores = score.submit(captions, detections, verdicts, run.store, run.config.score, mended, choices)
        run.follow({"detect": detections, "caption": captions, "mend": mended}, frames.shard)
        run.follow({"check": verdicts, "choose": choices, "score": scores}, frames.shard)
    run.finish()
    run.follow({"summarise": summarise.submit(run.captioner, run.store, run.config.score)}, run.captioner)
    run.finish()
    return report_run(run)

"""movies -> frames -> detections -> captions -> verdicts -> choices -> scores: the main job."""

from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.caption_detected import caption_detected, end_run
from flows.name_runs import name_movies_run
from flows.read_configuration import PipelineConfig
from flows.report_run import Report
from flows.run_state import start_run
from flows.steps import detect
from flows.stream_shards import decoded_shards

WORKERS = 32
"""Threads: a shard in work keeps four, each waiting for the one before it; the GPU slot lets one model step through."""


THREADS: Any = ThreadPoolTaskRunner(max_workers=WORKERS)


@flow(name="caption-movies", flow_run_name=name_movies_run, task_runner=THREADS, persist_result=False)
def caption_movies(
    movies: list[str], store: str, config: PipelineConfig | str = "groundcap", gallery_url: str = ""
) -> Report:
    """Caption movies into a store: every caption with its verdict, every movie with its status.

    movies: files, or folders of them. store: a folder, or a URI of an object store. config: a ready profile (demo,
    groundcap), the path of a TOML file, or the whole configuration. gallery_url: where people open the gallery of this
    store, for a link; it is not made here. What stands finished in the store is not done again.
    """
    run = start_run(movies, store, config, gallery_url)
    for frames in decoded_shards(run):
        detections = detect.submit(frames, run.store, run.config.detect)
        run.follow({"detect": detections}, frames.shard)
        caption_detected(run, frames, detections)
    return end_run(run)

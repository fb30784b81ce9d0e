"""Detections of a store -> captions -> verdicts -> choices -> scores: the main job without its first half."""

from collections.abc import Iterator

from prefect import flow
from prefect.futures import PrefectFuture

from flows.caption_detected import caption_detected, end_run
from flows.caption_movies import THREADS
from flows.name_runs import name_store_run
from flows.read_configuration import PipelineConfig
from flows.report_run import Report
from flows.run_state import Failed, Run, start_on_store
from flows.steps import detect
from storage.store import IMPORT, TableRef


@flow(name="caption-store", flow_run_name=name_store_run, task_runner=THREADS, persist_result=False)
def caption_store(store: str, config: PipelineConfig | str = "groundcap", gallery_url: str = "") -> Report:
    """Caption what is detected in a store already, such as an imported dataset; no movie file is opened.

    store: a folder, or a URI of an object store. config: as for caption-movies; its [frames] is not asked, and its
    [detect] only for pictures that were imported without detections. gallery_url: as for caption-movies. What stands
    finished in the store is not done again.
    """
    run = start_on_store(store, config, gallery_url=gallery_url)
    for frames, detections in detected_shards(run):
        caption_detected(run, frames, detections)
    return end_run(run)


def detected_shards(run: Run) -> Iterator[tuple[TableRef, TableRef | PrefectFuture[TableRef]]]:
    """Every shard of the store with its detections. Without, or with those of other frames, imported pictures are
    detected now; a movie's frames are noted as failed.
    """
    for movie in run.movies:
        for path in run.store.files.under(f"frames/movie_id={movie.movie_id}"):
            shard = f"{movie.movie_id}/{path.rpartition('/')[2].removesuffix('.parquet')}"
            frames, detections = run.store.ref("frames", shard), run.store.ref("detections", shard)
            footer = run.store.footer(detections.path) if detections else None
            run.progress.advance("extract", frames.rows if frames else 0, found=True)
            if frames and detections and footer and frames.fingerprint in footer.inputs:
                run.progress.advance("detect", detections.rows, found=True)
                yield frames, detections
            elif frames and _brought_no_detections(run, frames):
                coming = detect.submit(frames, run.store, run.config.detect)
                run.follow({"detect": coming}, shard)
                yield frames, coming
            else:
                why = "nothing is detected in these frames as they are now; run `caption-movies run` on the movie"
                run.failures.append(Failed(f"detect {shard}", why))
        run.progress.movie_done(movie.movie_id)


def _brought_no_detections(run: Run, frames: TableRef) -> bool:
    """Whether these are pictures of a dataset that had none: no run on a movie would bring them."""
    footer = run.store.footer(frames.path)
    return footer is not None and footer.stage == IMPORT and footer.config.get("detected") is False

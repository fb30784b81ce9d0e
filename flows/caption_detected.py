"""Detections -> captions -> verdicts -> choices -> scores: what every flow does with detected shards."""

from prefect.futures import PrefectFuture

from flows.publish_report import report_run
from flows.report_run import Report
from flows.run_state import Run
from flows.steps import caption, check, choose, mend, score, summarise
from storage.store import TableRef


def caption_detected(run: Run, frames: TableRef, detections: TableRef | PrefectFuture[TableRef]) -> None:
    """Submit the steps of one shard, and let the run follow them; `detections` may still be in work."""
    config, store = run.config, run.store
    captions = caption.submit(frames, detections, store, config.caption)
    mended = mend.submit(frames, detections, captions, store, config.mend, config.caption)
    verdicts = check.submit(captions, detections, store, mended)
    choices = choose.submit(
        frames, captions, mended, detections, verdicts, store, config.mend.quarantines, config.choose
    )
    scores = score.submit(captions, detections, verdicts, store, config.score, mended, choices)
    run.follow({"caption": captions, "mend": mended, "check": verdicts}, frames.shard)
    run.follow({"choose": choices, "score": scores}, frames.shard)


def end_run(run: Run) -> Report:
    """Wait for every shard, sum the captioner up, and say what the run did."""
    run.finish()
    run.follow({"summarise": summarise.submit(run.captioner, run.store, run.config.score)}, run.captioner)
    run.finish()
    return report_run(run)

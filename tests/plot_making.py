"""Stores to plot: several captioners with scores, summaries, faults, a log of runs and of trainings."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import rows
from gallery_making import GOOD, PLAIN, write_movie

from storage.parquet import TableWriter
from storage.store import Store
from storage.tables import Metric, Score, StageRun, Summary
from storage.training_tables import Adapter, AdapterScore, TrainingPoint
from tasks.checkpoints import digest_of

FRAMES = 60
BAD = ('A <gdo class="dog" dog-9>dog</gdo>.', '<gdo class="cat" person-0>A man</gdo> and <gdo class="dog">a dog</gdo>.')
METRICS = {"meteor": True, "cider_d": True, "length_words": None}
METRIC_MEANING = {
    "meteor": "words aligned exactly, by stem, synonym or paraphrase, with a penalty for their order",
    "cider_d": "agreement of weighted n-grams with the references, 0 to 10", "length_words": "words",
}  # fmt: skip


def plotted_store(folder: Path, captioners: Sequence[str]) -> Store:
    """A movie that captioners were asked about, each a little better and slower than the one before."""
    store = Store(str(folder))
    texts = {
        name: [GOOD, PLAIN, *BAD] if place % 2 == 0 else [GOOD, PLAIN, GOOD, PLAIN, GOOD, BAD[0]]
        for place, name in enumerate(captioners)
    }
    write_movie(store, texts, frames=FRAMES, shard_frames=FRAMES)
    for place, name in enumerate(captioners):
        write_scores(store, name, place)
    write_runs(store, captioners)
    return store


def write_scores(store: Store, captioner: str, place: int) -> None:
    """Scores of every caption, and what they are summed up to."""
    scores = []
    for number in range(FRAMES):
        wave = (math.sin(number * 1.7 + place) + 1) / 2
        values = {"meteor": 0.15 + 0.05 * place + 0.3 * wave, "cider_d": (0.5 + 0.1 * place) * (1 + wave),
                  "length_words": 10.0 + 2 * place + number % 7}  # fmt: skip
        scores += [
            Score(caption_id=f"mabc_{number:06d}/{captioner}/0", metric=metric, value=value)
            for metric, value in values.items()
        ]
    rows.write(store, list(scores), shard="mabc/more", captioner=captioner)
    means = {m: sum(s.value for s in scores if s.metric == m) / FRAMES for m in METRICS}
    names = {metric: metric if METRICS[metric] else f"{metric}_macro" for metric in METRICS}
    summaries = [
        Summary(captioner=captioner, metric=names[metric], group="all", value=value, low=value * 0.93,
                high=value * 1.06, captions=FRAMES, signature="s", reason=None)
        for metric, value in means.items()
    ]  # fmt: skip
    missing = Summary(captioner=captioner, metric="spice", group="all", value=None, captions=FRAMES, signature="s",
                      reason="no Java")  # fmt: skip
    rows.write(store, [*summaries, missing], shard="all", captioner=captioner)
    known = {"family": "f", "reads": "captions", "version": "1", "tokenizer": "", "settings": "", "libraries": "",
             "models": "{}", "references_digest": "", "resamples": 1000}  # fmt: skip
    rows.write(
        store,
        [Metric(captioner=captioner, metric=names[metric], meaning=f"{METRIC_MEANING[metric]}, mean over captions",
                higher_is_better=METRICS[metric], **known) for metric in METRICS],
        shard="all", captioner=captioner,
    )  # fmt: skip


def write_runs(store: Store, captioners: Sequence[str], shards: int = 12) -> None:
    """What runs wrote: extract and detect side by side, then each captioner, with an hour's pause before the second."""
    first, at = [], 0.0
    for shard in range(shards):
        first.append(stage_run("one", "extract", shard, at, 4.0, frames=240))
        first.append(stage_run("one", "detect", shard, at + 4, 9.0 + shard % 3, frames=240))
        at += 10
    _write_log(store, first)
    for place, captioner in enumerate(captioners):
        at += 3600 if place == 1 else 5
        log = []
        for shard in range(shards):
            took = 12.0 + 2 * place + shard % 4
            log.append(stage_run(f"run-{place}", "caption", shard, at, took, captioner, frames=240, tokens=9000))
            log.append(stage_run(f"run-{place}", "check", shard, at + took, 0.4, captioner))
            at += took
        _write_log(store, log)


def stage_run(
    run_id: str, stage: str, shard: int, at: float, seconds: float, captioner: str = "", frames: int = 0,
    tokens: int = 0,
) -> StageRun:  # fmt: skip
    """One line of the log, `at` seconds after noon."""
    hour, rest = divmod(int(at), 3600)
    return StageRun(
        run_id=run_id, stage=stage, shard=f"mabc/{shard:05d}", captioner=captioner, fingerprint="f", rows=240,
        seconds=seconds, frames=frames, prompt_tokens=3 * tokens, tokens=tokens, asking_seconds=0.0,
        waiting_seconds=0.0, started_at=f"2026-01-01T{12 + hour:02}:{rest // 60:02}:{rest % 60:02}+00:00",
        code_version="1", config="{}",
    )  # fmt: skip


def _write_log(store: Store, log: Sequence[StageRun]) -> None:
    with store.files.replacing(f"stage_runs/run_id={log[0].run_id}/all.parquet") as (draft,):
        table = TableWriter(StageRun, str(draft))
        for row in log:
            table.write(row)
        table.close({})


def write_training(
    store: Store, adapter: str, stages: Sequence[str] = ("automatic", "human"), path: str = "/x"
) -> None:
    """The log of a training of several stages, and its product at a path."""
    steps, points = 120, []
    for place, stage in enumerate(stages):
        for step in range(10, steps + 1, 10):
            values = {"loss": 2.5 / (1 + step / 40) + 0.4 / (1 + place), "learning_rate": 2e-4 * (1 - step / steps),
                      "samples_per_second": 30 + step % 7}  # fmt: skip
            if step % 40 == 0:
                values |= {"eval_loss": values["loss"] + 0.2, "eval_validation": 0.5 + place / 5 + step / 1000}
            points += [
                TrainingPoint(adapter=adapter, stage=stage, step=step, epoch=step / steps, name=name, value=value)
                for name, value in values.items()
            ]
    recipe = {"stage": [{"name": stage} for stage in stages]}
    digest = digest_of(Path(path)) if Path(path).is_dir() else "d"
    row = Adapter(
        adapter=adapter, kind="adapter", path=path, digest=digest, backend="pixtral", base="b", base_digest="b",
        template="groundcap-card", recipe=json.dumps(recipe), data_fingerprint="f", samples="{}", left_out="{}",
        movies="{}", steps=steps * len(stages), test_frames=1,
    )  # fmt: skip
    gains = {
        "meteor": (0.04, 0.01),
        "cider_d": (-0.2, 0.04),
        "length_words_macro": (1.5, 0.2),
        "coverage_macro": (0.02, 0.6),
    }
    scores = [
        AdapterScore(
            adapter=adapter, metric=metric, higher_is_better=METRICS.get(metric), before=0.5, before_low=0.4,
            before_high=0.6, after=0.5 + gain, after_low=0.4, after_high=0.6, difference=gain, low=gain - 0.03,
            high=gain + 0.03, p_value=p_value, frames=24, reason=None,
        )
        for metric, (gain, p_value) in gains.items()
    ]  # fmt: skip
    nothing = dataclasses.replace(scores[0], metric="spice", difference=None, low=None, high=None, p_value=None)
    rows.write(store, [row, *scores, nothing, *points], shard=adapter)

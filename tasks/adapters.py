"""A finished training -> adapters, adapter_scores, training_log: what it was made of, and what it is worth."""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from storage.store import Store, TableRef, describe
from storage.tables import Summary
from storage.training_tables import Adapter, AdapterScore, TrainingPoint
from tasks.checkpoints import digest_of, find_checkpoint
from tasks.compare_captioners import Comparison, compare_captioners
from tasks.metrics import ALL
from tasks.plot_style import drawing, save
from tasks.plots.training import Points, curves_figure
from tasks.training.coco_metrics import METRICS, write_coco_metrics
from tasks.training.fitting import LOG
from tasks.training.model_card import model_card
from tasks.training.runs import Prepared

VERSION = 1
CARD, CURVE = "README.md", "curve.png"
REFERENCED = "cider_d"
"""A metric that reads references: its frames are those that have some."""


def record_adapter(prepared: Prepared, before: str, store: Store) -> TableRef:
    """Compare the captions of a trained captioner with those of `before`, write the rows, the card, the picture
    and, beside the product's folder, COCO's metrics.

    Both have captioned the test movies. Raises what compare_captioners raises.
    """
    name, recipe = prepared.name, prepared.job.recipe
    product, config = prepared.product, describe(recipe)
    base = find_checkpoint(recipe.caption.checkpoint, recipe.caption.revision)
    digest = digest_of(product)
    summaries = [store.ref("summaries", "all", captioner) for captioner in (before, name)]
    output = store.output(
        [Adapter, AdapterScore, TrainingPoint],
        stage="adapter",
        shard=name,
        version=VERSION,
        config={"recipe": describe(recipe, hashed_only=True), "samples": prepared.gathered.fingerprint},
        inputs=[ref.fingerprint for ref in summaries if ref],
        weights={"base": base.digest, "adapter": digest},
    )
    metrics = prepared.job.folder / METRICS
    if output.is_current() and (product / CARD).exists() and metrics.exists():
        return output.ref
    scores = [_score(name, one, *_bounds(summaries, one.metric, store))
              for one in compare_captioners(name, before, store, recipe.score)]  # fmt: skip
    logs = [_log(prepared, index) for index in range(len(recipe.stage))]
    row = Adapter(
        adapter=name,
        kind=prepared.kind,
        path=str(product),
        digest=digest,
        backend=recipe.caption.backend,
        base=base.label,
        base_digest=base.digest,
        template=recipe.caption.template,
        recipe=json.dumps(config, sort_keys=True),
        data_fingerprint=prepared.gathered.fingerprint,
        samples=json.dumps(prepared.gathered.samples, sort_keys=True),
        left_out=json.dumps(prepared.gathered.left_out, sort_keys=True),
        movies=json.dumps(prepared.gathered.movies, sort_keys=True),
        steps=sum(one["steps"] for one in logs),
        test_frames=next((one.frames for one in scores if one.metric == REFERENCED), 0),
    )
    with output.writer() as write:
        write(row)
        for score in scores:
            write(score)
        for stage, one in zip(recipe.stage, logs, strict=True):
            for point in _points(name, stage.name, one["points"]):
                write(point)
    log = [(stage.name, curves(one["points"])) for stage, one in zip(recipe.stage, logs, strict=True)]
    with drawing():
        save(curves_figure({name: log}, f"Training of {name}"), product / CURVE, ".png")
    write_coco_metrics(scores, row.test_frames, metrics)
    draft = product / f".{CARD}"
    draft.write_text(model_card(row, scores), "utf-8")
    os.replace(draft, product / CARD)
    return output.ref


def _bounds(summaries: Sequence[TableRef | None], metric: str, store: Store) -> list[tuple[float | None, float | None]]:
    """Intervals of before and of after, as their summaries have them."""
    found = []
    for ref in summaries:
        rows = [one for one in store.read(ref, Summary) if (one.metric, one.group) == (metric, ALL)] if ref else []
        found.append((rows[0].low, rows[0].high) if rows else (None, None))
    return found


def _score(
    name: str, one: Comparison, before: tuple[float | None, float | None], after: tuple[float | None, float | None]
) -> AdapterScore:
    return AdapterScore(
        adapter=name, metric=one.metric, higher_is_better=one.higher_is_better,
        before=one.other, before_low=before[0], before_high=before[1],
        after=one.one, after_low=after[0], after_high=after[1],
        difference=one.difference, low=one.low, high=one.high, p_value=one.p_value, frames=one.frames,
        reason=one.reason,
    )  # fmt: skip


def _log(prepared: Prepared, index: int) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((prepared.job.stage_folder(index) / LOG).read_text("utf-8"))
    return said


def _points(adapter: str, stage: str, points: Sequence[dict[str, Any]]) -> Iterator[TrainingPoint]:
    """One row per step and name; what a Trainer says twice of a step is said once."""
    found = {
        (point["step"], name): (float(point.get("epoch", 0.0)), float(value))
        for point in points
        for name, value in point.items()
        if name not in ("step", "epoch") and isinstance(value, int | float)
    }
    for (step, name), (epoch, value) in sorted(found.items()):
        yield TrainingPoint(adapter=adapter, stage=stage, step=step, epoch=epoch, name=name, value=value)


def curves(points: Sequence[dict[str, Any]]) -> dict[str, Points]:
    """(step, value) of everything that was logged, by name."""
    names = {name for point in points for name in point} - {"step", "epoch"}
    return {name: [(point["step"], point[name]) for point in points if name in point] for name in sorted(names)}


def adapter_scores(name: str, store: Store) -> list[AdapterScore]:
    """What stands in the store of an adapter's worth; empty where nothing does."""
    ref = store.ref("adapter_scores", name)
    return list(store.read(ref, AdapterScore)) if ref else []

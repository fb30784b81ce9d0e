"""Captions -> scores, summaries. Per shard: each caption against its detections. Per captioner: sums, text metrics.

The metrics are tasks/metrics, a file each; this file only feeds them and writes their rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import chain

from storage.store import Store, TableRef
from storage.tables import Alarm, Caption, Choice, Detection, Score, Summary, Verdict
from storage.tables import Metric as MetricRow
from tasks import tags
from tasks.counted_captions import add_up, corpus_of, live_files
from tasks.errors import CaptionMoviesError, StoreError
from tasks.measuring import Measuring
from tasks.metrics import CaptionMetric, Cited, CorpusMetric, Metric, TextMetric, signature
from tasks.object_naming import clean_label
from tasks.score_config import DEFAULT, ScoreConfig
from tasks.score_sheet import ScoreSheet

__all__ = ["ScoreConfig", "former_config", "score_captions", "summarise_captions"]

VERSION = 4
SHARD = "all"
"""The one shard of what is made of all captions of a captioner."""


def score_captions(
    captions: TableRef,
    detections: TableRef,
    checks: TableRef,
    store: Store,
    config: ScoreConfig = DEFAULT,
    mended: TableRef | None = None,
    choices: TableRef | None = None,
) -> TableRef:
    """Score one shard of captions against its detections, and those of `mended`: the chosen and the others.

    A failed caption has rows too, with zeros; so has one that `choices` puts first in its frame and does not choose: it
    is quarantined, as if it were not there. Raises StoreError where `checks` is not of these captions.
    """
    chosen = [metric for metric in config.chosen if isinstance(metric, CaptionMetric)]
    output = store.output(
        [Score],
        stage="score",
        shard=captions.shard,
        inputs=[ref.fingerprint for ref in (captions, detections, checks, mended, choices) if ref],
        config=config,
        version=VERSION,
        weights=_signatures(chosen, config),
        captioner=captions.captioner,
    )
    if output.is_current():
        return output.ref
    found: dict[str, list[Detection]] = defaultdict(list)
    for detection in store.read(detections, Detection, batch_size=256):
        found[detection.frame_id].append(_without_mask(detection))
    labels = _detectable(store, detections, found)
    verdicts = {verdict.caption_id: verdict for verdict in store.read(checks, Verdict)}
    ranked = store.read(choices, Choice) if choices else ()
    quarantined = {one.caption_id for one in ranked if one.rank == 0 and not one.chosen}
    with output.writer() as write:
        for caption in chain.from_iterable(store.read(ref, Caption) for ref in (captions, mended) if ref):
            if (verdict := verdicts.get(caption.caption_id)) is None:
                raise StoreError(f"{checks.path} has no verdict on {caption.caption_id}. Check the captions again.")
            cited = Cited(
                parsed=tags.parse(caption.text),
                detections=found.get(caption.frame_id, []),
                labels=labels,
                consistent=verdict.verdict == "ok",
                failed=verdict.verdict == "failed" or caption.caption_id in quarantined,
                violations=verdict.violations,
            )
            for metric in chosen:
                for name, value in metric.each(cited).items():
                    write(Score(caption_id=caption.caption_id, metric=name, value=value))
    return output.ref


def _signatures(chosen: Iterable[Metric], config: ScoreConfig) -> dict[str, str]:
    """Hashed like weights: another version of a metric, or one that can be computed by now, makes new files."""
    found = {}
    for metric in chosen:
        found[metric.name] = signature(metric)
        lacks = metric.missing() if isinstance(metric, TextMetric) else None
        if isinstance(metric, CorpusMetric):
            lacks = metric.missing(config.models)
            try:
                found |= {f"{metric.name}: {name}": digest for name, digest in metric.weights(config.models).items()}
            except CaptionMoviesError as error:
                lacks = str(error)  # the metric itself will say so
        if lacks:
            found[metric.name] += " (not available)"
    return found


def _without_mask(detection: Detection) -> Detection:
    return replace(detection, mask=None)


def _detectable(store: Store, detections: TableRef, found: Mapping[str, Sequence[Detection]]) -> frozenset[str]:
    """Labels the detector can give, as its file says; of a file that says nothing, those that were given."""
    footer = store.footer(detections.path)
    if footer and (labels := footer.notes.get("labels")):
        return frozenset(map(clean_label, labels))
    return frozenset(one.label for rows in found.values() for one in rows)


def former_config(captioner: str, store: Store) -> ScoreConfig:
    """The settings that a captioner's summaries were made with; the default ones where there are none.

    Raises UnknownNameError where a metric is not there any more.
    """
    ref = store.ref("summaries", SHARD, captioner)
    footer = store.footer(ref.path) if ref else None
    known = {one.name for one in fields(ScoreConfig)}
    return ScoreConfig(**{name: value for name, value in footer.config.items() if name in known}) if footer else DEFAULT


def summarise_captions(
    captioner: str,
    store: Store,
    config: ScoreConfig = DEFAULT,
) -> TableRef:
    """Summarise the captions of a captioner, all together and by movie; text metrics where references exist.

    One caption per frame counts: the first in rank, the chosen one where one is. A shard without choices counts as it
    was captioned.
    """
    live = live_files(captioner, store)
    output = store.output(
        [Summary, Score, MetricRow, Alarm],
        stage="summarise",
        shard=SHARD,
        inputs=live.inputs,
        config=config,
        version=VERSION,
        weights=_signatures(config.chosen, config),
        captioner=captioner,
    )
    if output.is_current() and not output.notes.get("again"):
        return output.ref
    measuring = Measuring(config.java_timeout_seconds, config.resamples, config.seed)
    metrics = [one for one in config.chosen if isinstance(one, CaptionMetric)]
    groups, pairs = add_up(live, metrics, store, measuring)
    sheet = ScoreSheet(captioner, config.chosen, measuring, groups, corpus_of(live, store, config.models))
    with output.writer() as write:
        for row in sheet.rows(pairs):
            write(row)
        write.notes["again"] = sheet.broken  # what failed here and now may work the next time
    return output.ref

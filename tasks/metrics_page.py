"""docs/metrics.md, from the metrics themselves."""

import math

from tasks.metrics import CaptionMetric, Metric, available, load, names_in_summaries
from tasks.metrics import highest as metric_highest

_PREFACE = """\
# Metrics

Made by `python -m docs.generate` from tasks/metrics; do not edit. `scores` holds the values of single captions,
`summaries` those of a captioner, `metrics` how each was computed and in which direction it is better; `reason` in
`summaries` says why there is no value.

A failed caption scores zero and stays in every mean: its grounding ratios are 0, and as text it is the empty string,
which has 0 in every text metric; where lower is better it has 1. In ratios of pooled counts (`_micro`) a failed caption
is one mention that is wrong, so it costs precision, and what was detected in its frame is not found, so it costs
recall. A reference without any word is left out.

`low` and `high` bound 95 % of 1,000 resamples of the frames (`resamples` in the configuration), made from what was
counted of each caption: see tasks/resampling.py. `caption-movies compare` holds two captioners against each other on
the frames that both have, with the settings that the first was scored with. A value below 0 or above the highest that
is possible is an alarm: docs/scores.md.
"""


def metrics_markdown() -> str:
    """The page docs/metrics.md."""
    parts = [_PREFACE]
    for metric in map(load, available()):
        said = "; ".join(filter(None, [metric.tokenizer, metric.convention]))
        parts += [f"\n## {metric.name}\n", f"Version {metric.version}. {said}. {_direction(metric)}{_range(metric)}.\n"]
        tables = {"values": metric.values}
        if isinstance(metric, CaptionMetric):
            tables = {"per caption": metric.values, "per captioner, and per movie": metric.pooled}
        for title, values in tables.items():
            parts.append(f"| {title} | meaning |\n|---|---|")
            parts += [f"| `{name}` | {meaning} |" for name, meaning in values.items()]
            parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _range(metric: Metric) -> str:
    highest = {name: metric_highest(metric, name) for name in names_in_summaries(metric) if not name.endswith("_total")}
    bounded = {name: f"{most:.4g}" for name, most in highest.items() if most < math.inf}
    if not bounded:
        return ""
    if len(set(highest.values())) == 1:
        return f", {next(iter(bounded.values()))} is the highest"
    return ", the highest are " + ", ".join(f"{most} of `{name}`" for name, most in bounded.items())


def _direction(metric: Metric) -> str:
    if metric.higher_is_better is None:
        return "Neither higher nor lower is better"
    return "Higher is better" if metric.higher_is_better else "Lower is better"

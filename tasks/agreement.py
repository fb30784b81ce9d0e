"""Do two raters agree, or a metric and a rater? By criterion, over the captions that both have a number for.

Intervals are from frames drawn with repetition, as everywhere (tasks/resampling.py); of units, that is the standard
bootstrap, which covers alpha better than Krippendorff's own [Zapf, Castell, Morawietz, Karch: Measuring inter-rater
reliability for nominal data, 2016].

Two raters are compared on captions of which both rated the same text, whatever stands in the store now; a rater and a
metric where the rated text still stands there. A metric has a scale of its own, so alpha is that of the ranks then.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import duckdb
import numpy as np

from storage import catalog
from storage.errors import ParametersError, UnknownNameError
from storage.store import Store
from tasks.coefficients import (
    LEVELS,
    Coded,
    Numbers,
    alpha_of_ranks,
    kendall_tau_c,
    krippendorff_alpha,
    pearson,
    spearman,
)
from tasks.criteria import CRITERIA
from tasks.errors import ConfigError, StoreError
from tasks.raters import DIGITS
from tasks.resampling import LEVEL, RESAMPLES, draw_batches, interval

METRIC = "metric:"
"""Before a name: the metric is meant, not the rater of that name."""
FEWEST = 3
"""Captions from which there is anything to say: two always correlate."""
RANKS = "ranks"
"""The level of alpha where one side is a metric."""
Coefficient = Callable[[Coded, Numbers], float]

RATERS_SQL = """
select one.criterion, one.caption_id, one.score, other.score
from judgements as one join judgements as other using (caption_id, criterion, text_digest)
where one.rater = $one and other.rater = $other and one.score is not null and other.score is not null
"""
METRIC_SQL = f"""
select criterion, caption_id, judgements.score, scores.value
from judgements join scores using (caption_id) join captions using (caption_id)
where rater = $one and metric = $other and judgements.score is not null and isfinite(scores.value)
  and left(sha256(captions.text), {DIGITS}) = text_digest
"""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One coefficient by one criterion. What cannot be said is None, and `reason` says why; of a value that says little
    it says that too.
    """

    criterion: str
    coefficient: str
    """pearson | spearman | kendall_tau_c | krippendorff_alpha"""
    level: str | None
    """Of alpha: nominal | ordinal | interval | ranks."""
    value: float | None
    low: float | None
    """Bounds of its 95 % interval."""
    high: float | None
    captions: int
    """That both have a number for."""
    one_mean: float | None
    other_mean: float | None
    reason: str | None


@dataclass(frozen=True)
class _Side:
    name: str
    is_metric: bool

    @property
    def said(self) -> str:
        return f"the metric {self.name}" if self.is_metric else self.name


def agree(
    one: str,
    other: str,
    store: Store,
    *,
    captioner: str | None = None,
    level: str = "ordinal",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Agreement]:
    """Every coefficient by each criterion, over all captions or those of one captioner.

    Either name is a rater's or that of a metric with a value per caption; `metric:NAME` where it is both. `level` is of
    measurement, for alpha. Raises UnknownNameError and ParametersError for names, ConfigError for a level that is not
    there, StoreError where no caption has a number by both.
    """
    if level not in LEVELS:
        raise ConfigError(f"level is {level!r}; it has to be one of {', '.join(LEVELS)}.")
    if resamples < 2:
        raise ConfigError(f"resamples is {resamples}; it has to be 2 or more.")
    with catalog.connect(store.location) as connection, catalog.translated_errors():
        sides = _sides(connection, one, other)
        pairs = _pairs(connection, *sides, captioner)
        if not pairs:
            raise StoreError(_say_why_none(connection, sides, captioner, store))
    found = []
    for criterion in [*CRITERIA, *sorted(pairs.keys() - set(CRITERIA))]:
        if rows := pairs.get(criterion):
            found += _of_criterion(criterion, rows, sides, level, resamples, seed)
    return found


def _sides(connection: duckdb.DuckDBPyConnection, one: str, other: str) -> tuple[_Side, _Side]:
    raters = {name for (name,) in connection.execute("select distinct rater from judgements").fetchall()}
    metrics = {name for (name,) in connection.execute("select distinct metric from scores").fetchall()}
    first, second = (_side(name, raters, metrics) for name in (one, other))
    if first == second:
        raise ParametersError(f"{one} would be compared with itself. Name two raters, or a rater and a metric.")
    if first.is_metric and second.is_metric:
        known = ", ".join(sorted(raters)) or "none; see caption-movies judge and caption-movies ratings"
        raise ParametersError(f"{one} and {other} are both metrics; one has to be a rater. Raters: {known}.")
    return first, second


def _side(name: str, raters: set[str], metrics: set[str]) -> _Side:
    plain = name.removeprefix(METRIC)
    is_metric = plain in metrics and (name != plain or plain not in raters)
    if not is_metric and (name != plain or plain not in raters):
        raise UnknownNameError("rater or metric", name, sorted(metrics if name != plain else raters | metrics))
    if name == plain and name in raters and name in metrics:
        raise ParametersError(f"{name!r} is a rater and a metric; write {METRIC}{name} for the metric, or rename one.")
    return _Side(plain, is_metric)


def _pairs(
    connection: duckdb.DuckDBPyConnection, one: _Side, other: _Side, captioner: str | None
) -> dict[str, list[tuple[str, float, float]]]:
    """(caption_id, number, number) by criterion, in order."""
    metric, turned = one.is_metric or other.is_metric, one.is_metric
    named = {"one": other.name, "other": one.name} if turned else {"one": one.name, "other": other.name}
    found: dict[str, list[tuple[str, float, float]]] = defaultdict(list)
    for criterion, caption_id, first, second in connection.execute(
        METRIC_SQL if metric else RATERS_SQL, named
    ).fetchall():
        if captioner is None or caption_id.split("/")[1] == captioner:
            found[criterion].append((caption_id, second, first) if turned else (caption_id, first, second))
    return {criterion: sorted(rows) for criterion, rows in found.items()}


def _say_why_none(
    connection: duckdb.DuckDBPyConnection, sides: Sequence[_Side], captioner: str | None, store: Store
) -> str:
    counts = []
    for side in sides:
        where = "scores where metric = $1" if side.is_metric else "judgements where score is not null and rater = $1"
        (number,) = connection.execute(f"select count(distinct caption_id) from {where}", [side.name]).fetchone() or (
            0,
        )
        counts.append(f"{side.said} has a number for {number} captions")
    of = f" by {captioner}" if captioner else ""
    return (
        f"no caption{of} in {store.location} has a number by both, of the same text and criterion: "
        f"{'; '.join(counts)}. Judge or rate the same captions."
    )


def _of_criterion(
    criterion: str,
    rows: Sequence[tuple[str, float, float]],
    sides: tuple[_Side, _Side],
    level: str,
    resamples: int,
    seed: int,
) -> list[Agreement]:
    one, other = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    level = RANKS if any(side.is_metric for side in sides) else level
    alpha: Coefficient = alpha_of_ranks if level == RANKS else partial(krippendorff_alpha, level=level)
    coefficients: dict[str, Coefficient] = {
        "pearson": pearson, "spearman": spearman, "kendall_tau_c": kendall_tau_c, "krippendorff_alpha": alpha,
    }  # fmt: skip
    reasons, remark = _reasons(one, other, sides, level)
    wanted = {name: coefficient for name, coefficient in coefficients.items() if name not in reasons}
    resampled = _resampled(wanted, one, other, [row[0].split("/")[0] for row in rows], resamples, seed)
    pairs, whole = Coded.of(one, other), np.ones(len(rows))
    found = []
    for name in coefficients:
        bounds, why = (None, reasons[name]) if name in reasons else _interval(resampled[name])
        found.append(
            Agreement(
                criterion=criterion,
                coefficient=name,
                level=level if name == "krippendorff_alpha" else None,
                value=float(f"{coefficients[name](pairs, whole):.6g}") if name in wanted else None,
                low=bounds[0] if bounds else None,
                high=bounds[1] if bounds else None,
                captions=len(rows),
                one_mean=float(one.mean()),
                other_mean=float(other.mean()),
                reason=why or (remark if name == "krippendorff_alpha" else None),
            )
        )
    return found


def _reasons(one: Numbers, other: Numbers, sides: tuple[_Side, _Side], level: str) -> tuple[dict[str, str], str | None]:
    """Why coefficients have no value, and what is to be known of an alpha that has one."""
    names = ("pearson", "spearman", "kendall_tau_c", "krippendorff_alpha")
    if len(one) < FEWEST:
        too_few = f"{len(one)} captions have a number by both; it takes {FEWEST} to say anything"
        return dict.fromkeys(names, too_few), None
    constant = [
        f"{side.said} gives {numbers[0]:g} to each of the {len(one)} captions"
        for side, numbers in zip(sides, (one, other), strict=True)
        if numbers.min() == numbers.max()
    ]
    if not constant:
        return {}, None
    said = " and ".join(constant)
    reasons = dict.fromkeys(names[:3], f"{said}: there is nothing to correlate")
    if level == RANKS or (len(constant) == 2 and one[0] == other[0]):
        reasons[names[3]] = f"{said}: without variation alpha is not defined"
    return reasons, f"{said}: alpha only says how far the other is from that"


def _resampled(
    coefficients: Mapping[str, Coefficient],
    one: Numbers,
    other: Numbers,
    frame_ids: Sequence[str],
    resamples: int,
    seed: int,
) -> dict[str, Numbers]:
    """Each coefficient over the resamples; NaN in those where it has no value."""
    if not coefficients:
        return {}
    pairs = Coded.of(one, other)
    # a byte each: of many captions these are what takes the memory
    draws = np.concatenate([batch.astype(np.uint8) for batch in draw_batches(frame_ids, resamples, seed)])
    table = [
        [coefficient(pairs, draws[:, number].astype(np.float64)) for coefficient in coefficients.values()]
        for number in range(resamples)
    ]
    return dict(zip(coefficients, np.array(table).T, strict=True))


def _interval(values: Numbers) -> tuple[tuple[float, float] | None, str | None]:
    """The bounds, or why there are none."""
    lost = int(np.count_nonzero(~np.isfinite(values)))
    if lost > (1 - LEVEL) * len(values):
        return None, f"no interval: in {lost} of {len(values)} resamples a side is constant; it takes more captions"
    return interval(values), None

"""How long a stage takes, and how many bytes it writes, for a frame: from what this store's own runs took."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from storage import catalog
from storage.store import Store, captioners_of, describe
from tasks import captioners
from tasks.captioners import CaptionConfig
from tasks.captions import captioner_name
from tasks.detections import DetectConfig

CHECKS = ("mend", "check", "choose", "score")
"""Stages after captioning, shard by shard; together they are one line of a plan."""
BY_CAPTIONER = ("captions", "mentions", "violations", "verdicts", "choices", "scores")
COLUMNS = "run_id, stage, shard, captioner, frames, seconds, asking_seconds, started_at, config"


@dataclass(frozen=True)
class Rate:
    """What a stage takes."""

    seconds_each: float
    """For one frame."""
    once: float = 0.0
    """Seconds for each run, whatever its length: loading a model."""
    how: str = ""
    """Where this was seen."""


@dataclass
class Known:
    """What is known of the stages on this machine; a stage that is not in it is not known."""

    rates: dict[str, Rate] = field(default_factory=dict)
    bytes_each: float | None = None
    """Of all tables but `frames`, for one frame."""
    beside: float = 1.0
    """Wall time of runs as a share of their stages' times added up: stages work beside each other."""


@dataclass(frozen=True)
class _Work:
    """One row of stage_runs."""

    run_id: str
    stage: str
    shard: str
    captioner: str
    frames: int
    seconds: float
    asking_seconds: float
    started_at: str
    config: str


def known_from_store(store: Store, detect: DetectConfig, caption: CaptionConfig) -> Known:
    """What runs of the same stage and the same configuration took in this store; empty where there were none."""
    if not store.files.folders(""):
        return Known()
    with catalog.connect(store.location, may_be_empty=True) as connection:
        works = [_Work(*row) for row in connection.execute(f"select {COLUMNS} from stage_runs").fetchall()]
    name = captioner_name(caption)
    wanted = {"detect": detect, "caption": replace(captioners.completed(caption), name=name)}
    same = [
        work for work in works if work.stage in wanted and json.loads(work.config) == _as_json(wanted[work.stage])
    ]  # fmt: skip
    found = Known()
    for stage in wanted:
        if mine := [work for work in same if work.stage == stage and work.frames]:
            found.rates[stage] = _asked(mine) if all(work.asking_seconds for work in mine) else _worked(mine)
    captioned = {work.shard: work.frames for work in works if work.stage == "caption" and work.captioner == name}
    later = [work for work in works if work.captioner == name and work.shard in captioned and work.stage in CHECKS]
    if later := [work for work in later if captioned[work.shard]]:
        found.rates["check"] = Rate(_each(later, captioned), how=_of(later))
    if sums := [work for work in works if work.stage == "summarise" and work.shard == name]:
        last = max(sums, key=lambda work: work.started_at)
        found.rates["summarise"] = Rate(last.seconds / max(1, sum(captioned.values())), how="the last run here")
    found.beside = _beside(works, {work.run_id for work in same})
    found.bytes_each = bytes_for_a_frame(store, name)
    return found


def _as_json(config: Any) -> Any:
    return json.loads(json.dumps(describe(config)))


def _of(works: Sequence[_Work]) -> str:
    shards, runs = len({work.shard for work in works}), len({work.run_id for work in works})
    return f"{shards} shard{'s' * (shards > 1)} of {runs} run{'s' * (runs > 1)} here"


def _asked(works: Sequence[_Work]) -> Rate:
    """A captioner's: loading is told apart, as what a shard took beside asking."""
    each = sum(work.asking_seconds for work in works) / sum(work.frames for work in works)
    loads: dict[str, float] = defaultdict(float)
    for work in works:
        loads[work.run_id] = max(loads[work.run_id], work.seconds - work.asking_seconds)
    return Rate(each, sum(loads.values()) / len(loads), _of(works))


def _each(works: Sequence[_Work], captioned: Mapping[str, int]) -> float:
    """Seconds for a frame in every stage once, however often runs did one over again; `captioned`: frames by shard."""
    seconds, frames = defaultdict[str, float](float), Counter[str]()
    for work in works:
        seconds[work.stage] += work.seconds
        frames[work.stage] += captioned[work.shard]
    return sum(seconds[stage] / frames[stage] for stage in frames)


def _worked(works: Sequence[_Work]) -> Rate:
    """Loading is in the first shard of each run; told apart where runs had more than one."""
    by_run: dict[str, list[_Work]] = defaultdict(list)
    for work in sorted(works, key=lambda one: one.started_at):
        by_run[work.run_id].append(work)
    later = [work for run in by_run.values() for work in run[1:]]
    if not later:
        each = sum(work.seconds for work in works) / sum(work.frames for work in works)
        return Rate(each, how=f"{_of(works)}, loading the model counted in")
    each = sum(work.seconds for work in later) / sum(work.frames for work in later)
    loads = [max(0.0, run[0].seconds - each * run[0].frames) for run in by_run.values()]
    return Rate(each, sum(loads) / len(loads), _of(works))


def _beside(works: Sequence[_Work], runs: set[str]) -> float:
    """Of the runs named: time from their first stage's begin to their last one's end, over all stages' seconds."""
    wall = total = 0.0
    for run_id in runs:
        mine = [work for work in works if work.run_id == run_id]
        starts = [datetime.fromisoformat(work.started_at).timestamp() for work in mine]
        wall += max(start + work.seconds for start, work in zip(starts, mine, strict=True)) - min(starts)
        total += sum(work.seconds for work in mine)
    return min(1.0, wall / total) if total else 1.0


def bytes_for_a_frame(store: Store, captioner: str) -> float | None:
    """Bytes of everything but pictures that stand in a store for one of its frames; None without such."""
    with catalog.connect(store.location, may_be_empty=True) as connection:
        (frames,) = connection.execute("select count(*) from frames").fetchone() or (0,)
        (captioned,) = connection.execute(
            "select count(distinct frame_id) from captions where captioner = $name", {"name": captioner}
        ).fetchone() or (0,)
    if not frames or not captioned or captioner not in captioners_of(store):
        return None
    mine = sum(store.files.bytes_under(f"{table}/captioner={captioner}") for table in BY_CAPTIONER)
    shared = sum(store.files.bytes_under(table) for table in ("detections", "failures", "shots"))
    return float(mine / captioned + shared / frames)

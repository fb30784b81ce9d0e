"""What a run did, counted in the store: for the last lines in the terminal, and for Prefect's artifacts."""

from dataclasses import dataclass, field
from typing import Any

from flows.run_state import Failed, Run
from flows.show_progress import STAGES
from storage import catalog
from tasks.errors import CaptionMoviesError

ALL_FINE, QUARANTINED, FAILED = 0, 3, 1


class RunFailedError(CaptionMoviesError):
    """Some steps of a run failed for good; the rest is finished and safe."""

    def __init__(self, report: "Report") -> None:
        first = report.failures[0]
        super().__init__(
            f"{len(report.failures)} steps failed, the first: {first.step}: {first.error} "
            "Everything else is finished; run the same again to do only what is missing."
        )
        self.report = report


@dataclass(frozen=True)
class Report:
    """Counts of one run's movies, and of everything made from them by the run's captioner; captions: one per frame."""

    store: str
    run_id: str
    captioner: str
    files: int
    movies: dict[str, int]
    shots: int
    frames: int
    detections: int
    captions: int
    captions_ok: int
    captions_mended: int
    captions_citing_nothing: int
    quarantined: dict[str, int]
    failed_frames: int
    shards_computed: int
    failures: list[Failed] = field(default_factory=list)
    captioning: dict[str, float] = field(default_factory=dict)
    """What this run's captioning did a second (frames, prompt_tokens, output_tokens), and the share of its time that it
    waited for pictures (waiting); empty where no caption was asked for."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """Captions by what became of them, all of them together: ok; at fault (and kept); quarantined; failed: there is no
    caption; stale: its verdict is about other captions or detections; not checked."""
    tokens: dict[str, int] = field(default_factory=dict)
    """Of this run's captioning and asking again: read (prompts with their pictures) and written."""
    made: dict[str, int] = field(default_factory=dict)
    """Shards by stage that this run made."""
    reused: dict[str, int] = field(default_factory=dict)
    """Shards by stage that stood there finished."""
    seconds: float = 0.0
    """From the run's begin to its count."""

    @property
    def exit_code(self) -> int:
        """0 all fine; 3 finished, but some movies, frames or captions are quarantined; 1 some steps failed."""
        if self.failures:
            return FAILED
        fine = set(self.movies) <= {"ok"} and self.captions == self.captions_ok and not self.failed_frames
        return ALL_FINE if fine else QUARANTINED


MINE = "frame_id in (select frame_id from frames where movie_id in (select unnest($ids)))"
COUNTED = f"""(select captions.*, coalesce(choices.chosen, false) as chosen
               from (select * from captions where captioner = $captioner and {MINE}) as captions
               left join choices on choices.caption_id = captions.caption_id
                    and choices.captioner = captions.captioner
               where coalesce(choices.rank = 0, captions.attempt = 0))"""
"""One caption per frame counts: the first in rank, or, where choosing failed, every first answer."""
OK = "(chosen and caption_id in (select caption_id from captions_ok))"


def count_run(run: Run) -> Report:
    """Counts from the store, over this run's movies only."""
    given = {
        "ids": sorted({movie.movie_id for movie in run.movies}), "captioner": run.captioner, "run_id": run.store.run_id,
    }  # fmt: skip
    progress = run.progress
    with catalog.connect(run.store.location, may_be_empty=True) as store:

        def ask(sql: str) -> list[tuple[Any, ...]]:
            return store.execute(sql, {name: value for name, value in given.items() if f"${name}" in sql}).fetchall()

        def count(rows: str) -> int:
            return int(ask(f"select count(*) from {rows}")[0][0])

        return Report(
            store=run.store.location,
            run_id=run.store.run_id,
            captioner=run.captioner,
            files=sum(1 + len(movie.other_paths) for movie in run.movies),
            movies=dict(ask(_STATUSES)),
            shots=count("shots where movie_id in (select unnest($ids))"),
            frames=count("frames where movie_id in (select unnest($ids))"),
            detections=count(f"detections where {MINE}"),
            captions=count(COUNTED),
            captions_ok=count(f"{COUNTED} where {OK}"),
            captions_mended=count(f"{COUNTED} where chosen and mended_from is not null"),
            captions_citing_nothing=count(
                f"""{COUNTED} where error is null
                    and caption_id not in (select caption_id from mentions where len(object_ids) > 0)"""
            ),
            quarantined=dict(ask(_CODES)),
            failed_frames=count(f"(select distinct frame_id from failures where {MINE})"),
            shards_computed=count("stage_runs where run_id = $run_id"),
            captioning=_captioning(store, run.store.run_id),
            failures=run.failures,
            outcomes=dict(ask(_OUTCOMES)),
            tokens=dict(zip(("read", "written"), ask(_TOKENS)[0], strict=True)),
            made={stage: progress.shards[stage] - progress.found[stage] for stage in STAGES},
            reused={stage: progress.found[stage] for stage in STAGES},
            seconds=progress.clock() - progress.began,
        )


_STATUSES = "select status, count(*) from movies where movie_id in (select unnest($ids)) group by 1 order by 1"
_CODES = f"""
select coalesce(code, case verdict when 'ok' then 'stale' else verdict end, 'not checked'), count(distinct caption_id)
from {COUNTED} left join verdicts using (caption_id) left join violations using (caption_id)
where not {OK} group by 1 order by 2 desc, 1"""
_OUTCOMES = f"""
select case when {OK} then 'ok' when error is not null or verdict = 'failed' then 'failed'
            when verdict is null then 'not checked' when verdict = 'ok' then 'stale'
            when chosen then 'at fault' else 'quarantined' end, count(*)
from {COUNTED} left join verdicts using (caption_id) group by 1 order by 2 desc, 1"""
_TOKENS = """
select coalesce(sum(prompt_tokens), 0)::bigint, coalesce(sum(tokens), 0)::bigint
from stage_runs where run_id = $run_id"""


def _captioning(store: Any, run_id: str) -> dict[str, float]:
    """Rates of one run, without the loading of models; `store` is a catalog's connection."""
    frames, prompt_tokens, tokens, asking, waiting = store.execute(
        """select coalesce(sum(frames), 0), coalesce(sum(prompt_tokens), 0), coalesce(sum(tokens), 0),
                  coalesce(sum(asking_seconds), 0), coalesce(sum(waiting_seconds), 0)
           from stage_runs where run_id = $run_id and stage = 'caption'""",
        {"run_id": run_id},
    ).fetchone()
    if not asking:
        return {}
    rates = {"frames": frames / asking, "prompt_tokens": prompt_tokens / asking, "output_tokens": tokens / asking}
    return {**rates, "waiting": waiting / asking}

"""What a run did: counted in the store, shown as Prefect artifacts and as the last lines in the terminal."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.run_state import Failed, Run
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

    @property
    def exit_code(self) -> int:
        """0 all fine; 3 finished, but some movies, frames or captions are quarantined; 1 some steps failed."""
        if self.failures:
            return FAILED
        fine = set(self.movies) <= {"ok"} and self.captions == self.captions_ok and not self.failed_frames
        return ALL_FINE if fine else QUARANTINED


def report_run(run: Run) -> Report:
    """Count, publish the artifacts, and end the run. Raises RunFailedError when steps failed."""
    report = count_run(run)
    run.progress.finish()
    create_table_artifact(
        table=[{"what": name, "value": str(value)} for name, value in asdict(report).items()],
        key="caption-movies-summary",
        description=f"Captions by {report.captioner} in {report.store}",
    )
    create_markdown_artifact(as_markdown(report), key="caption-movies-report", description="What the run did")
    if report.failures:
        raise RunFailedError(report)
    return report


def count_run(run: Run) -> Report:
    """Counts from the store, over this run's movies only."""
    ids = sorted({movie.movie_id for movie in run.movies})
    with catalog.connect(run.store.location, may_be_empty=True) as store:

        def count(sql: str) -> int:
            given = {"ids": ids, "captioner": run.captioner, "run_id": run.store.run_id}
            used = {name: value for name, value in given.items() if f"${name}" in sql}
            (value,) = store.execute(sql, used).fetchone() or (0,)
            return int(value)

        mine = "frame_id in (select frame_id from frames where movie_id in (select unnest($ids)))"
        of_captioner = f"captioner = $captioner and {mine}"
        statuses = store.execute(
            "select status, count(*) from movies where movie_id in (select unnest($ids)) group by 1 order by 1",
            {"ids": ids},
        ).fetchall()
        # One caption per frame counts: the first in rank, or, where choosing failed, every first answer.
        counted = f"""select captions.*, coalesce(choices.chosen, false) as chosen
                      from (select * from captions where {of_captioner}) as captions
                      left join choices on choices.caption_id = captions.caption_id
                           and choices.captioner = captions.captioner
                      where coalesce(choices.rank = 0, captions.attempt = 0)"""
        ok = "chosen and caption_id in (select caption_id from captions_ok)"
        codes = store.execute(
            f"""select coalesce(code, case verdict when 'ok' then 'stale' else verdict end, 'not checked'),
                       count(distinct caption_id)
                from ({counted}) left join verdicts using (caption_id) left join violations using (caption_id)
                where not ({ok})
                group by 1 order by 2 desc, 1""",
            {"ids": ids, "captioner": run.captioner},
        ).fetchall()
        return Report(
            store=run.store.location,
            run_id=run.store.run_id,
            captioner=run.captioner,
            files=sum(1 + len(movie.other_paths) for movie in run.movies),
            movies=dict(statuses),
            shots=count("select count(*) from shots where movie_id in (select unnest($ids))"),
            frames=count("select count(*) from frames where movie_id in (select unnest($ids))"),
            detections=count(f"select count(*) from detections where {mine}"),
            captions=count(f"select count(*) from ({counted})"),
            captions_ok=count(f"select count(*) from ({counted}) where {ok}"),
            captions_mended=count(f"select count(*) from ({counted}) where chosen and mended_from is not null"),
            captions_citing_nothing=count(
                f"""select count(*) from ({counted}) where error is null
                    and caption_id not in (select caption_id from mentions where len(object_ids) > 0)"""
            ),
            quarantined=dict(codes),
            failed_frames=count(f"select count(distinct frame_id) from failures where {mine}"),
            shards_computed=count("select count(*) from stage_runs where run_id = $run_id"),
            captioning=_captioning(store, run.store.run_id),
            failures=run.failures,
        )


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


def as_markdown(report: Report) -> str:
    """The report as a page."""
    lines = [f"# Captions by `{report.captioner}`", "", f"Store: `{report.store}`", ""]
    lines += ["| what | how many |", "| --- | --- |"]
    lines += [f"| movies {status} | {number} |" for status, number in report.movies.items()]
    lines += [f"| {name} | {getattr(report, name)} |" for name in ("shots", "frames", "detections", "captions")]
    lines += [f"| captions ok | {report.captions_ok} |"]
    lines += [f"| captions mended | {report.captions_mended} |"]
    lines += [f"| captions that cite no object | {report.captions_citing_nothing} |"]
    lines += [f"| quarantined: {code} | {number} |" for code, number in report.quarantined.items()]
    lines += [f"| shards computed in this run | {report.shards_computed} |"]
    lines += [f"| captioning: {name} a second | {value:.1f} |" for name, value in _rates(report)] + [""]
    lines += [f"- **{one.step}**: {one.error}" for one in report.failures]
    return "\n".join(lines) + "\n"


def _rates(report: Report) -> Iterator[tuple[str, float]]:
    return ((name.replace("_", " "), value) for name, value in report.captioning.items() if name != "waiting")

"""What a run did, as artifacts in Prefect: a summary, a page, what is left out, a picture of frames, the gallery.

Seen in the pages of Prefect 3.8.8, new and old: a picture inside Markdown may be a data: URL, and is shown; as an image
artifact it would be shown above 100 kB of its own address. A table's cells are one line each. A link to a file is none:
browsers open no file from a page of a server, and the new pages take such an address out.
"""

import base64
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import quote

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.escape_markdown import as_cell, as_code
from flows.link_gallery import publish_gallery
from flows.publish_artifacts import publish
from flows.report_run import Report, RunFailedError, count_run
from flows.run_state import Run
from storage import catalog
from storage.store import Store
from tasks.contact_sheet import as_jpeg, contact_sheet
from tasks.sample_captions import Sample, sample_captions
from tasks.violation_codes import CODES

SAMPLES = 4
MOST_PICTURE_BYTES = 100_000
"""Prefect's database keeps the picture of every run, and its list of artifacts brings it along."""
MOST_LEFT_OUT = 50
AGAIN = "Run the same again."
Row = dict[str, str | int | float]


def report_run(run: Run) -> Report:
    """Count, publish the artifacts, and end the run. Raises RunFailedError when steps failed."""
    report = count_run(run)
    run.end_progress()
    publish_report(run, report)
    if report.failures:
        raise RunFailedError(report)
    return report


def publish_report(run: Run, report: Report) -> None:
    """Create the artifacts of a run; where Prefect's server does not take one, a line in the log says so."""
    movies = sorted({movie.movie_id for movie in run.movies})
    about = f"captions by {as_code(report.captioner)} in {as_code(report.store)}"
    table, page = summary_rows(report), as_markdown(report)
    publish("summary", lambda key: create_table_artifact(table, key, f"Counts of {about}"))
    publish("report", lambda key: create_markdown_artifact(page, key, f"What the run did: {about}"))
    publish("left-out", lambda key: _publish_left_out(key, run.store, report.captioner, movies))
    publish("frames", lambda key: _publish_frames(key, run, movies, about))
    publish("gallery", lambda key: publish_gallery(key, run.gallery_url, report.store, about))


def summary_rows(report: Report) -> list[Row]:
    """What the run did, a number in each row."""
    speed = {f"{name.replace('_', ' ')} a second": round(value, 2) for name, value in report.captioning.items()}
    if (waiting := speed.pop("waiting a second", None)) is not None:
        speed["percent of captioning spent waiting for pictures"] = round(100 * waiting, 1)
    parts: dict[str, Mapping[str, float]] = {
        "movies": {"files": report.files} | report.movies,
        "frames": {
            "shots": report.shots, "frames": report.frames, "detections": report.detections,
            "frames that a stage failed on": report.failed_frames,
        },
        "captions": {"captions": report.captions} | report.outcomes
        | {"mended": report.captions_mended, "cite no object": report.captions_citing_nothing},
        "captions with": report.quarantined,
        "tokens": report.tokens,
        "speed": {"seconds of the run": round(report.seconds, 1)} | speed,
        "shards made": report.made,
        "shards reused": report.reused,
    }  # fmt: skip
    return [
        {"part": part, "what": what, "number": number} for part, rows in parts.items() for what, number in rows.items()
    ]


def as_markdown(report: Report) -> str:
    """The same as a page, with what the codes mean and what failed."""
    lines = [f"# Captions by {as_code(report.captioner)}", "", f"Store: {as_code(report.store)}", ""]
    lines += [f"- **{as_code(one.step)}** failed: {as_code(one.error)}" for one in report.failures]
    lines += ["", "| | | |", "| --- | --- | ---: |"]
    lines += [f"| {row['part']} | {row['what']} | {row['number']:,} |" for row in summary_rows(report)]
    if known := [code for code in report.quarantined if code in CODES]:
        lines += ["", "| code | what is wrong | what helps |", "| --- | --- | --- |"]
        lines += [f"| {code} | {_escaped(CODES[code].meaning)} | {_escaped(CODES[code].remedy)} |" for code in known]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Our own words, which name tags and ids."""
    return text.replace("<", "\\<").replace("|", "\\|")


def _publish_left_out(key: str, store: Store, captioner: str, movies: Collection[str]) -> None:
    rows, number = rows_left_out(store, captioner, movies)
    place = as_code(f"caption-movies sql quarantined --store {store.location}")
    shown = f"{len(rows)} of {number} reasons why something is left out. " if number else "Nothing is left out. "
    create_table_artifact(rows, key, f"{shown}All of the store: {place}")


def rows_left_out(store: Store, captioner: str, movies: Collection[str]) -> tuple[list[Row], int]:
    """The first MOST_LEFT_OUT reasons why something of these movies and this captioner is left out, and their number.

    See storage/queries/quarantined.sql: movies come first, then frames, then captions.
    """
    sql = f"""select what, code, title, coalesce(caption_id, frame_id, movie_id), reason, count(*) over ()
              from ({catalog.queries()["quarantined"].sql})
              where movie_id in (select unnest($movies)) and coalesce(captioner, $captioner) = $captioner
              limit {MOST_LEFT_OUT}"""
    with catalog.connect(store.location, may_be_empty=True) as connection, catalog.translated_errors():
        found = connection.execute(sql, {"movies": sorted(movies), "captioner": captioner}).fetchall()
    rows: list[Row] = []
    for what, code, title, name, said, _ in found:
        reason, _, remedy = said.partition(". ")
        remedy = CODES[code].remedy if code in CODES else remedy or AGAIN
        cells = {"what": what, "code": code, "reason": reason, "remedy": remedy, "movie": title or "", "id": name}
        rows.append({column: as_cell(text) for column, text in cells.items()})
    return rows, found[0][-1] if found else 0


def _publish_frames(key: str, run: Run, movies: Collection[str], about: str) -> None:
    samples = sample_captions(run.store, run.captioner, movies, SAMPLES)
    create_markdown_artifact(page_of_frames(samples, run.gallery_url), key, f"{len(samples)} frames with {about}")


def page_of_frames(samples: Sequence[Sample], gallery_url: str = "") -> str:
    """A picture of the frames with boxes and captions, and below it the captions as they were written.

    Raises PictureError where a frame is no picture.
    """
    if not samples:
        return "No frame has a caption.\n"
    picture = base64.b64encode(as_jpeg(contact_sheet(samples), MOST_PICTURE_BYTES)).decode()
    lines = [f"![Frames with boxes; their captions are below](data:image/jpeg;base64,{picture})", ""]
    for sample in samples:
        frame = as_code(sample.frame.frame_id)
        if gallery_url:
            frame = f"[{frame}]({gallery_url}#view=frame&frame={quote(sample.frame.frame_id, safe='')})"
        verdict = "" if sample.ok else " (not in `captions_ok`)"
        lines += [f"- {frame} at {sample.frame.pts_seconds:.1f} s{verdict}: {as_code(sample.text)}"]
    return "\n".join(lines) + "\n"

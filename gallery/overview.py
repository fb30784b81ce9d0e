"""What the page says of the store as a whole, and of each movie. Counted by DuckDB: memory does not grow with it."""

from typing import Any

from gallery.shards import ASKED, PIECE_FRAMES, Selection
from storage.catalog import FIRST_CAPTIONS_SQL, translated_errors
from storage.partial_reads import frame_facts, rows_with
from storage.tables import Shot
from tasks.violation_codes import CODES

MOST_WORDS = 1000
"""Labels and actions that the page offers to filter by, the most frequent ones."""
_SHOWN = "frame_id in (from {asked})"
_FIRST = f"create or replace temp view gallery_first as {FIRST_CAPTIONS_SQL}"


def overview(selection: Selection, version: str = "") -> dict[str, Any]:
    """What the page knows from the start; with a `version` it looks for another one from time to time.

    Raises StoreError.
    """
    shown = "true" if selection.query is None else _SHOWN.format(asked=ASKED)
    movies = _movies(selection)
    place = {movie["id"]: at for at, movie in enumerate(movies)}
    said: dict[str, Any] = {
        "version": version,
        "live": bool(version),
        "query": selection.query,
        "piece": PIECE_FRAMES,
        "movies": movies,
        "shards": [[one.key, place[one.movie_id], one.frames, one.first] for one in selection.shards],
    }
    with translated_errors():
        selection.connection.execute(_FIRST)
        said |= {
            "captioners": _captioners(selection, shown),
            "objects": _words(selection, f"select label as word from detections where {shown}"),
            "actions": _words(selection, _of_captions("mentions", "label", shown) + " and kind = 'action'"),
            "codes": [
                [word, number, *_meaning(word)]
                for word, number in _words(selection, _of_captions("violations", "code", shown))
            ],
            "metrics": _metrics(selection, shown),
            "summaries": _rows(
                selection,
                """select captioner, metric, value, low, high, captions, reason from summaries where "group" = 'all'
                   order by all""",
            ),
        }
    return said


def _meaning(code: str) -> tuple[str, str]:
    return (CODES[code].meaning, CODES[code].remedy) if code in CODES else ("", "")


def _rows(selection: Selection, sql: str) -> list[list[Any]]:
    return [list(row) for row in selection.connection.execute(sql).fetchall()]


def _movies(selection: Selection) -> list[dict[str, Any]]:
    """Movies with a frame to show, and without a query those that have none, in the order of the shards."""
    with translated_errors():
        known = {
            row[0]: row[1:]
            for row in _rows(
                selection,
                "select movie_id, title, status, error, duration_seconds, width, height from movies order by movie_id",
            )
        }
    frames: dict[str, int] = {}
    for shard in selection.shards:
        frames[shard.movie_id] = frames.get(shard.movie_id, 0) + shard.frames
    wanted = frames if selection.query is not None else sorted(frames.keys() | known.keys())
    names = ("title", "status", "error", "duration", "width", "height")
    unknown = (None, "ok", None, None, 0, 0)
    return [
        {"id": movie_id, "frames": frames.get(movie_id, 0)}
        | dict(zip(names, known.get(movie_id, unknown), strict=True))
        for movie_id in wanted
    ]


def _of_captions(table: str, column: str, shown: str) -> str:
    return (
        f"select {column} as word from {table} join gallery_first using (caption_id) where {shown} and {column} <> ''"
    )


def _words(selection: Selection, source: str) -> list[list[Any]]:
    """The words of a column with how often they stand there, in their order; the most frequent where there are many."""
    return _rows(
        selection,
        f"""select word, number from (select word, count(*) as number from ({source}) group by word
            order by number desc, word limit {MOST_WORDS}) order by word""",
    )


def _captioners(selection: Selection, shown: str) -> list[dict[str, Any]]:
    rows = _rows(
        selection,
        f"""select captioner, count(*), count(*) filter (caption_id in (select caption_id from captions_ok)),
                   count(*) filter (verdict = 'violations'),
                   count(*) filter (verdict = 'failed' or (verdict is null and error is not null))
            from gallery_first left join verdicts using (caption_id) where {shown} group by 1""",
    )
    counted = {row[0]: row[1:] for row in rows}
    names = ("captions", "ok", "violations", "failed")
    return [
        {"name": name} | dict(zip(names, counted.get(name, [0, 0, 0, 0]), strict=True)) for name in selection.captioners
    ]


def _metrics(selection: Selection, shown: str) -> list[dict[str, Any]]:
    """The metrics that single captions have, with the range of their values and what is known of them."""
    return [
        {"name": name, "low": low, "high": high, "meaning": meaning or "", "higher": higher}
        for name, low, high, meaning, higher in _rows(
            selection,
            f"""select metric, low, high, meaning, higher_is_better
                from (select metric, min(value) as low, max(value) as high
                      from scores join gallery_first using (caption_id)
                      where {shown} and isfinite(value) group by metric)
                left join (select metric, any_value(meaning order by captioner) as meaning,
                                  any_value(higher_is_better order by captioner) as higher_is_better
                           from metrics group by metric) using (metric)
                order by metric""",
        )
    ]


def movie_page(selection: Selection, movie_id: str) -> dict[str, Any]:
    """The shots of a movie: [shot_index, start, end, frames shown, [shard, place, position] of the first].

    A shot of frames that are in no row of `shots` is there too, without times. Raises StoreError.
    """
    files, shots = selection.store.files, dict[int, list[Any]]()
    for shard_index, shard in enumerate(selection.shards):
        if shard.movie_id == movie_id:
            facts = frame_facts(files, shard.frames_path)
            for place, position in enumerate(selection.positions(shard)):
                at = facts[position].shot_index
                shots.setdefault(at, [at, None, None, 0, [shard_index, place, position]])[3] += 1
    for path in files.under(f"shots/movie_id={movie_id}"):
        for shot in rows_with(files, path, Shot, "movie_id", {movie_id}):
            known = shots.setdefault(shot.shot_index, [shot.shot_index, None, None, 0, None])
            known[1:3] = [shot.start_seconds, shot.end_seconds]
    return {"shots": [shots[index] for index in sorted(shots)]}

"""Running the whole pipeline in tests: a fast profile without models, and what to compare of two stores."""

import signal
from pathlib import Path

import duckdb

from storage import catalog
from storage.files import open_files
from storage.tables import TABLES

SCRIPTED = """
[frames]
mode = "every_seconds"
every_seconds = {every_seconds}
longest_edge = 96
shard_frames = 8

[detect]
backend = "scripted"
checkpoint = ""

[caption]
name = "{name}"
backend = "scripted"
checkpoint = "{script}"
template = "{template}"
"""
MAIN = {"movies", "frames", "detections", "captions", "verdicts", "choices", "scores", "summaries"}
TIMES = {"stage_runs"}
"""Tables that say when and how long, and so differ between two runs."""


def scripted_profile(
    folder: Path,
    *,
    name: str = "scripted",
    template: str = "groundcap-card",
    every_seconds: float = 0.25,
    script: str = "",
) -> Path:
    """A profile that runs without any model."""
    path = folder / f"{name}-{template}-{every_seconds}.toml"
    path.write_text(SCRIPTED.format(name=name, template=template, every_seconds=every_seconds, script=script))
    return path


def rows_of(store: Path, *, without: tuple[str, ...] = ()) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table but the timings, sorted; pictures as their bytes."""
    with catalog.connect(str(store)) as connection:
        return {
            table: sorted(connection.execute(f'select * from "{table}"').fetchall(), key=repr)
            for table in TABLES
            if table not in TIMES and table not in without
        }


def files_of(store: Path) -> dict[str, tuple[int, int]]:
    """Every table file but the timings, with inode and time of change: equal means not written again."""
    files = open_files(str(store))
    paths = [Path(files.full(path)) for path in files.under("") if path.split("/")[0] not in TIMES]
    return {str(path.relative_to(store)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def is_main(path: str) -> bool:
    """Whether a file of a store is the main one of a piece of work. It is put in place last, after its siblings."""
    table, _, rest = path.partition("/")
    return table in MAIN and not (table == "scores" and "/all." in rest)


def finished_work(store: Path) -> dict[str, tuple[int, int]]:
    """The main file of every finished piece of work."""
    return {path: stamp for path, stamp in files_of(store).items() if is_main(path)}


def work_of(store: Path) -> list[tuple[str, str, str, str]]:
    """(stage, shard, captioner, fingerprint) of every piece of work any run has done."""
    glob = str(store / "stage_runs" / "**" / "*.parquet")
    return duckdb.sql(f"select stage, shard, captioner, fingerprint from '{glob}' order by all").fetchall()


def hear_ctrl_c() -> None:
    """For `preexec_fn`: a job in the background of a script has SIGINT ignored, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

"""The store's layout, and the rule that keeps it true: one live file per (table, captioner, shard).

A file's fingerprint hashes what made it: stage, VERSION, configuration, weight digests, input fingerprints; never
paths or times. It stands in the Parquet footer with the configuration, so the store explains itself without Prefect.
Where the same work, done again, may come out otherwise, it hashes the rows too, and the rest stands beside it as
`recipe`: then what was made of the rows before is not taken for what is made of these.
"""

import dataclasses
import datetime
import hashlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from storage.errors import StoreError
from storage.files import Files, open_files
from storage.parquet import TableWriter, read_footer, read_rows
from storage.tables import BY_CAPTIONER, Row, StageRun

R = TypeVar("R", bound=Row)
FINGERPRINT_DIGITS = 32
MENDING, MENDED = "mend", "-mended"
"""The stage that adds captions to those of the captioner, and how its file's name ends: both stand side by side."""
IMPORT, DETECT = "import", "detect"
"""Imported detections stand where a detector's would; so do the frames that could not be worked on."""
EXECUTION = {"execution": True}
"""Metadata of configuration fields that say how to work (device, batch size), not what comes out: not hashed."""


@dataclass(frozen=True)
class TableRef:
    """One file of a store: what travels between steps."""

    table: str
    shard: str
    path: str
    rows: int
    fingerprint: str
    captioner: str = ""
    found: bool = field(default=False, compare=False)
    """Whether the stage that gives it found the work done: it says how a run went, nothing about the file."""


@dataclass(frozen=True)
class Footer:
    """What a file says of its own making."""

    stage: str
    fingerprint: str
    version: int
    config: dict[str, Any]
    inputs: list[str]
    weights: dict[str, str]
    notes: dict[str, Any]
    code_version: str
    rows: int
    recipe: str = ""
    """What the fingerprint would be without the rows; empty: it is without them."""


@dataclass(frozen=True)
class Store:
    """A store and the run that works on it. A small value: it may travel between processes."""

    location: str
    run_id: str = "by-hand"

    @property
    def files(self) -> Files:
        """Where its bytes lie."""
        return open_files(self.location)

    def output(
        self,
        rows: Sequence[type[Row]],
        *,
        stage: str,
        shard: str,
        version: int,
        config: Any,
        inputs: Sequence[str] = (),
        weights: Mapping[str, str] | None = None,
        captioner: str = "",
        may_vary: bool = False,
    ) -> "Output":
        """What a stage is about to make of one shard: one file per row type, the first of them the main one.

        `inputs` are fingerprints of files, or digests of other things; `config` is a frozen dataclass; `weights` are
        digests by name of model. `may_vary`: the work may come out otherwise when it is done again, such as a model's
        on another device or at a server; its fingerprint hashes the rows too.
        """
        fingerprint = _digest(
            {"stage": stage, "version": version, "shard": shard, "captioner": captioner}
            | {"config": describe(config, hashed_only=True), "inputs": list(inputs), "weights": dict(weights or {})}
        )
        footer = Footer(
            stage, fingerprint, version, describe(config), list(inputs), dict(weights or {}), {}, code_version(), 0,
            recipe=fingerprint if may_vary else "",
        )  # fmt: skip
        return Output(self, tuple(rows), shard, captioner, footer)

    def footer(self, path: str) -> Footer | None:
        """What a file says of itself; None when there is no file.

        Raises StoreError for one that is damaged, TransientError or OSError when the place cannot be reached now.
        """
        with self.files.reading(path):
            try:
                with self.files.open(path) as source:
                    values = read_footer(source)
            except FileNotFoundError:
                return None
        if "caption_movies" not in values:
            raise StoreError(f"{path} in {self.location} was not written by caption-movies. Move it elsewhere.")
        return Footer(**json.loads(values["caption_movies"]))

    def ref(self, table: str, shard: str, captioner: str = "", stage: str = "") -> TableRef | None:
        """The live file of a table's shard, by that stage where there are two; None when there is none."""
        path = path_of(table, shard, captioner, stage)
        footer = self.footer(path)
        return TableRef(table, shard, path, footer.rows, footer.fingerprint, captioner) if footer else None

    def is_made_of(self, made: TableRef, source: TableRef) -> bool:
        """Whether a file was made of another as it stands now, and not of one that stood there before."""
        footer = self.footer(made.path)
        return footer is not None and source.fingerprint in footer.inputs

    def read(self, ref: TableRef, row: type[R], *, batch_size: int = 1024) -> Iterator[R]:
        """The rows behind a reference. Raises StoreError when the file is gone, damaged or not of this table,
        TransientError or OSError when the place cannot be reached now.
        """
        with self.files.reading(ref.path), self.files.open(ref.path) as source:
            yield from read_rows(source, row, name=ref.path, batch_size=batch_size)


@dataclass
class Output:
    """The files one stage makes of one shard, all with one fingerprint."""

    store: Store
    rows: tuple[type[Row], ...]
    shard: str
    captioner: str
    footer: Footer
    started: float = field(default_factory=time.perf_counter)
    written: bool = False

    @property
    def fingerprint(self) -> str:
        """Of every file of this output; without their rows, before they are there."""
        return self.footer.fingerprint

    @property
    def paths(self) -> dict[str, str]:
        """Table to path."""
        stage = self.footer.stage
        return {row.table: path_of(row.table, self.shard, self.captioner, stage) for row in self.rows}

    def is_current(self) -> bool:
        """Whether every file stands there already, made from the same things."""
        made = {self._made(path) for path in self.paths.values()}
        return len(made) == 1 and None not in made  # files of two attempts may differ in their rows

    def _made(self, path: str) -> str | None:
        """The fingerprint of a file that stands there made from the same things."""
        try:
            footer = self.store.footer(path)
        except StoreError:
            return None  # damaged, or strange: it is made anew
        if footer is None or (footer.recipe or footer.fingerprint) != self.footer.fingerprint:
            return None
        return footer.fingerprint

    @property
    def ref(self) -> TableRef:
        """The main file, which has to be there."""
        return self.refs[self.rows[0].table]

    @property
    def refs(self) -> dict[str, TableRef]:
        """Table to file; all of them have to be there."""
        return {table: self._ref(table, path) for table, path in self.paths.items()}

    def _ref(self, table: str, path: str) -> TableRef:
        if (footer := self.store.footer(path)) is None:
            raise StoreError(f"{path} is gone from {self.store.location}. Run again to make it anew.")
        return TableRef(
            table, self.shard, path, footer.rows, footer.fingerprint, self.captioner, found=not self.written
        )

    @property
    def notes(self) -> dict[str, Any]:
        """What the stage noted beside its rows when it made the main file."""
        path = self.paths[self.rows[0].table]
        footer = self.store.footer(path)
        return footer.notes if footer else {}

    @contextmanager
    def writer(self) -> Iterator["Writer"]:
        """Write rows; leaving without an error puts all files in place, the main one last."""
        paths = self.paths
        order = [*self.rows[1:], self.rows[0]]
        with self.store.files.replacing(*(paths[row.table] for row in order)) as drafts:
            digest = bool(self.footer.recipe)
            writer = Writer(
                {row: TableWriter(row, str(draft), digest=digest) for row, draft in zip(order, drafts, strict=True)}
            )
            try:
                yield writer
            except BaseException:
                for one in writer.tables.values():
                    one.abandon()
                raise
            fingerprint = self.fingerprint
            if digest:
                fingerprint = _digest([fingerprint, *(one.content() for one in writer.tables.values())])
            for one in writer.tables.values():
                footer = dataclasses.replace(self.footer, notes=writer.notes, rows=one.rows, fingerprint=fingerprint)
                one.close({"caption_movies": json.dumps(dataclasses.asdict(footer), sort_keys=True)}
                          | {"fingerprint": fingerprint})  # fmt: skip
        self.written = True
        self._log(writer, fingerprint)

    def _log(self, writer: "Writer", fingerprint: str) -> None:
        """One row in stage_runs, after the work is safe: a lost log line is better than a false one."""
        seconds = time.perf_counter() - self.started
        run = StageRun(
            run_id=self.store.run_id,
            stage=self.footer.stage,
            shard=self.shard,
            captioner=self.captioner,
            fingerprint=fingerprint,
            rows=writer.tables[self.rows[0]].rows,
            seconds=seconds,
            frames=writer.frames,
            prompt_tokens=writer.prompt_tokens,
            tokens=writer.tokens,
            asking_seconds=writer.asking_seconds,
            waiting_seconds=writer.waiting_seconds,
            started_at=(_now() - datetime.timedelta(seconds=seconds)).isoformat(timespec="milliseconds"),
            code_version=code_version(),
            config=json.dumps(self.footer.config, sort_keys=True),
        )
        name = "-".join(filter(None, (self.footer.stage, self.captioner, self.shard.replace("/", "-"))))
        with self.store.files.replacing(f"stage_runs/run_id={self.store.run_id}/{name}.parquet") as (draft,):
            table = TableWriter(StageRun, str(draft))
            table.write(run)
            table.close({})


@dataclass
class Writer:
    """Takes the rows of an output, each into its table's file, and what stage_runs shall say of the work."""

    tables: dict[type[Row], TableWriter]
    frames: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    asking_seconds: float = 0.0
    waiting_seconds: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)

    def __call__(self, row: Row) -> None:
        """Write one row."""
        self.tables[type(row)].write(row)


def captioners_of(store: Store) -> list[str]:
    """The captioners that have captions in a store, sorted."""
    folders = {path.split("/")[1] for path in store.files.under("captions")}
    return sorted(folder.removeprefix("captioner=") for folder in folders)


def path_of(table: str, shard: str, captioner: str = "", stage: str = "") -> str:
    """Where a table's shard lies under the store. A shard is '<movie_id>/<name>', or one name for a whole table."""
    movie_id, _, name = shard.rpartition("/")
    if table == "captions" and stage == MENDING:
        name += MENDED
    folders = [table]
    if table in BY_CAPTIONER or (table == "summaries" and captioner):
        folders.append(f"captioner={captioner}")
    if table == "failures":
        folders.append(f"stage={DETECT if stage == IMPORT else stage}")
    if movie_id:
        folders.append(f"movie_id={movie_id}")
    return "/".join([*folders, f"{name}.parquet"])


def describe(config: Any, *, hashed_only: bool = False) -> dict[str, Any]:
    """A configuration dataclass as plain data; with `hashed_only`, without the fields that say only how to work."""
    if not dataclasses.is_dataclass(config):
        return dict(config or {})
    return {
        item.name: _describe_value(getattr(config, item.name), hashed_only)
        for item in dataclasses.fields(config)
        if not (hashed_only and item.metadata.get("execution"))
    }


def _describe_value(value: Any, hashed_only: bool) -> Any:
    if isinstance(value, list | tuple):
        return [_describe_value(one, hashed_only) for one in value]
    return describe(value, hashed_only=hashed_only) if dataclasses.is_dataclass(value) else value


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:FINGERPRINT_DIGITS]


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@cache
def code_version() -> str:
    """Version of this project, and the commit when it runs from a checkout."""
    try:
        version = metadata.version("caption-movies")
    except metadata.PackageNotFoundError:
        version = "0"
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return version
    said = subprocess.run(
        ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True
    )
    return f"{version}+{said.stdout.strip()}" if said.returncode == 0 else version

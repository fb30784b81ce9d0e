"""People's ratings of captions from a CSV file -> judgements, beside those of models."""

import csv
import difflib
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from storage.store import Store, TableRef
from storage.tables import Caption, Judgement
from tasks.criteria import CRITERIA, HIGHEST, LOWEST
from tasks.errors import ConfigError, RatingsError
from tasks.raters import TABLE, check_rater, kinds_of, shard_of_person, text_digest

VERSION = 1
STAGE = "ratings"
SHOWN = 5
"""Rows that a message lists."""
COLUMNS = ("caption_id", "rater", "text", "reason", *CRITERIA)


@dataclass(frozen=True)
class Rated:
    """What an import brought."""

    refs: list[TableRef] = field(default_factory=list)
    raters: list[str] = field(default_factory=list)
    captions: int = 0
    """Rows of the file that were taken."""
    scores: int = 0
    unmatched: list[str] = field(default_factory=list)
    """Rows of no caption in the store, with their place: they were left out."""
    ignored: list[str] = field(default_factory=list)
    """Columns that mean nothing here."""


@dataclass(frozen=True)
class _Row:
    """One row of the file: a caption as one person rates it."""

    place: str
    caption_id: str
    rater: str
    text: str
    """The caption as the person saw it; empty where the file does not say."""
    reason: str
    scores: dict[str, float]
    """By criterion, those that were given."""


def import_ratings(path: str, store: Store, rater: str = "") -> Rated:
    """Add the ratings of a CSV file: a row is a caption as one person rates it.

    Columns: `caption_id`; `rater`, unless all rows are of the `rater` given; a column for each criterion rated, 1 to 5,
    fractions too, empty where it was not; `reason` and `text` if wanted. `text` is the caption as it was rated, with
    or without its tags: then a row about another text than the store's is a bad one. What a person said before of the
    same caption and criterion is replaced, the rest stays.

    Nothing is imported when a row cannot be used: RatingsError lists the first such rows with line and column. Rows of
    no caption in the store are left out and named; when all are, RatingsError says so. Raises ConfigError for names of
    raters that cannot be, or are a model's.
    """
    header, lines = _lines(Path(path))
    _check_header(path, header, rater)
    rows: list[_Row] = []
    bad: list[str] = []
    places: dict[tuple[str, str], str] = {}
    for place, values in lines:
        row, problems = _row(place, values, rater)
        if row and (first := places.setdefault((row.caption_id, row.rater), place)) != place:
            problems.append(f"{place}, column caption_id: {row.rater} rates {row.caption_id!r} on {first} already")
        bad += problems
        rows += [row] if row and not problems else []
    captions = _captions(store, rows)
    bad += [problem for row in rows if (problem := _other_text(row, captions.get(row.caption_id)))]
    if bad:
        number = f"{len(bad)} bad cell" + ("s" if len(bad) > 1 else "")
        raise RatingsError(f"{number} in {path}, nothing was imported: {_shown(bad)}. Correct them, then import again.")
    known = [row for row in rows if row.caption_id in captions]
    lost = [
        f"{row.place}: caption {row.caption_id!r} is not in the store" for row in rows if row.caption_id not in captions
    ]
    if not known:
        found = (
            f"none of the {len(rows)} rows is of a caption in {store.location}: {_shown(lost)}" if rows else "no row"
        )
        raise RatingsError(f"{path}: {found}. Take caption_id from that store's table captions.")
    raters = sorted({row.rater for row in known})
    for one in raters:
        if "model" in kinds_of(one, store):
            raise ConfigError(
                f"{one!r} is the name of a model that judges in {store.location}. Give the person another."
            )
    return Rated(
        refs=_write(known, captions, store),
        raters=raters,
        captions=len(known),
        scores=sum(len(row.scores) for row in known),
        unmatched=lost,
        ignored=[name for name in header if name not in COLUMNS],
    )


def _lines(path: Path) -> tuple[list[str], list[tuple[str, dict[str | None, str | list[str] | None]]]]:
    """The header, and every row with its place."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            rows = ((f"line {reader.line_num}", row) for row in reader)
            return header, [(place, row) for place, row in rows if any(row.values())]  # spreadsheets end in empty ones
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RatingsError(f"{path} cannot be read: {error}. It has to be CSV with a header, in UTF-8.") from error


def _check_header(path: str, header: Sequence[str], rater: str) -> None:
    wrong = []
    if twice := sorted({name for name in header if header.count(name) > 1}):
        wrong.append(f"column {', '.join(twice)} stands there twice")
    if "caption_id" not in header:
        wrong.append("column caption_id is missing")
    if "rater" not in header and not rater:
        wrong.append("column rater is missing: add it, or name who rated with --rater")
    if "rater" in header and rater:
        wrong.append("it has a column rater: do not give --rater too")
    for name in header:
        if name not in COLUMNS and (near := difflib.get_close_matches(name.lower(), COLUMNS, 1, 0.8)):
            wrong.append(f"column {name} is not known; did you mean {near[0]}?")
    if not set(CRITERIA) & set(header):
        wrong.append(f"none of the criteria has a column: {', '.join(CRITERIA)}")
    if wrong:
        raise RatingsError(f"{path}, line 1: {'; '.join(wrong)}. Nothing was imported.")


def _row(place: str, values: Mapping[str | None, str | list[str] | None], rater: str) -> tuple[_Row | None, list[str]]:
    """One row, or what is wrong with which column."""
    if None in values:
        return None, [f"{place}: more fields than the header has; put texts with commas in quotes"]
    cells = {str(name): str(value or "").strip() for name, value in values.items()}
    problems, scores = [], {}
    who = rater or cells["rater"]
    try:
        check_rater(who)
    except ConfigError as error:
        problems.append(f"{place}, column rater: {error}")
    if not cells["caption_id"]:
        problems.append(f"{place}, column caption_id: it is empty")
    for criterion in CRITERIA:
        if cell := cells.get(criterion):
            score = _number(cell)
            if score is None:
                problems.append(f"{place}, column {criterion}: {cell!r} is no number from {LOWEST} to {HIGHEST}")
            else:
                scores[criterion] = score
    if not scores and not problems:
        problems.append(f"{place}, columns {', '.join(one for one in CRITERIA if one in cells)}: none has a rating")
    row = _Row(place, cells["caption_id"], who, cells.get("text", ""), cells.get("reason", ""), scores)
    return row, problems


def _number(cell: str) -> float | None:
    try:
        score = float(cell)
    except ValueError:
        return None
    return score if LOWEST <= score <= HIGHEST else None


def _captions(store: Store, rows: Iterable[_Row]) -> dict[str, Caption]:
    """The captions that are rated, by id."""
    wanted = {row.caption_id for row in rows}
    found: dict[str, Caption] = {}
    for path in store.files.under("captions"):
        for caption in store.read(TableRef("captions", "", path, 0, ""), Caption):
            if caption.caption_id in wanted:
                found[caption.caption_id] = caption
    return found


def _other_text(row: _Row, caption: Caption | None) -> str | None:
    if caption is None:
        return None
    if caption.error is not None:
        return f"{row.place}, column caption_id: {row.caption_id!r} failed, so there is nothing to rate"
    if row.text and _blanks(row.text) not in (_blanks(caption.text), _blanks(caption.plain_text)):
        return f"{row.place}, column text: the caption in the store is another: {caption.plain_text[:80]!r}"
    return None


def _blanks(text: str) -> str:
    return " ".join(text.split())


def _shown(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return "; ".join(problems[:SHOWN]) + more


def _write(rows: Sequence[_Row], captions: Mapping[str, Caption], store: Store) -> list[TableRef]:
    """A file per captioner, movie and rater, with what stood there before, also of imports at the same time."""
    groups: dict[tuple[str, str, str], list[Judgement]] = defaultdict(list)
    for row in rows:
        caption = captions[row.caption_id]
        movie_id = caption.frame_id.rpartition("_")[0]
        groups[caption.captioner, movie_id, row.rater] += _judgements(row, caption)
    with store.files.alone():
        return [_merge(*key, judgements, store) for key, judgements in sorted(groups.items())]


def _judgements(row: _Row, caption: Caption) -> Iterator[Judgement]:
    for criterion, score in row.scores.items():
        yield Judgement(
            caption_id=row.caption_id,
            rater=row.rater,
            rater_kind="person",
            criterion=criterion,
            score=score,
            reason=row.reason or None,
            error=None,
            text_digest=text_digest(caption.text),
        )


def _merge(captioner: str, movie_id: str, rater: str, judgements: Sequence[Judgement], store: Store) -> TableRef:
    shard = shard_of_person(rater, movie_id)
    before = store.ref(TABLE, shard, captioner)
    merged = {(one.caption_id, one.criterion): one for one in (store.read(before, Judgement) if before else ())}
    merged |= {(one.caption_id, one.criterion): one for one in judgements}
    rows = sorted(merged.values(), key=lambda one: (one.caption_id, CRITERIA.index(one.criterion)))
    said = [[one.caption_id, one.criterion, one.score, one.reason, one.text_digest] for one in rows]
    output = store.output(
        [Judgement],
        stage=STAGE,
        shard=shard,
        config={"rater": rater, "sha256": hashlib.sha256(json.dumps(said).encode()).hexdigest()},
        version=VERSION,
        captioner=captioner,
    )
    if not output.is_current():
        with output.writer() as write:
            for row in rows:
                write(row)
    return output.ref

"""The command `show`: a frame or a caption in the terminal: the picture with its boxes, the words with their tags."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
from PIL import Image
from rich.console import Console
from rich.style import Style
from rich.text import Text

from flows.bring_data import Add
from flows.draw_in_terminal import AUTO, WAYS, choose_way, draw
from flows.show_answers import answer_console
from gallery.caption_runs import MARKUP, runs_of
from gallery.shard_rows import Captioned, ShardRows, read_shard
from gallery.shards import Selection, Shard
from storage.catalog import connect, translated_errors
from storage.errors import ParametersError, StoreError
from storage.partial_reads import FrameFacts, frame_facts, picture_of
from storage.store import Store
from storage.tables import Caption, Detection, Mention
from storage.whole_output import appearing
from tasks.drawn_frames import NOT_DETECTED, Look, draw_frame, looks
from tasks.frame_work import PictureError
from tasks.visible_text import visible

LONGEST_EDGE = 960
"""Pixels of the picture that is drawn into a terminal or a file; names in it can be read then."""
GOOD, BAD = "green", "red"


@dataclass(frozen=True)
class Seen:
    """One frame with everything that is told of it, and the captions that were asked for."""

    rows: ShardRows
    frame: FrameFacts
    picture: bytes
    captions: list[tuple[Caption, Captioned]]
    """The first of each captioner, or the one that was asked for."""
    one_caption: bool

    @property
    def detections(self) -> list[Detection]:
        """What was detected in it."""
        return self.rows.detections.get(self.frame.frame_id, [])

    @property
    def mentions(self) -> list[Mention]:
        """Of a caption that was asked for, what it cites; of a frame nothing: its boxes are all alike."""
        if not self.one_caption:
            return []
        ((caption, said),) = self.captions
        return said.mentions.get(caption.caption_id, [])


def add_show(add: Add, store_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command to the parser."""
    show = add("show", "a frame or a caption: the picture with its boxes, the words with their tags, the verdict")
    show.add_argument("id", metavar="FRAME_ID|CAPTION_ID", help="of a caption, what it cites stands out")
    store_option(show)
    show.add_argument(
        "--picture", choices=WAYS, default=AUTO,
        help="how to draw it; auto: as the terminal can (kitty, sixel, else half blocks); none where it is no terminal",
    )  # fmt: skip
    show.add_argument("--out", type=Path, metavar="FILE.png", help="write the picture there, as PNG")
    show.add_argument("--force", action="store_true", help="replace FILE.png where it stands there already")
    show.add_argument("--open", action="store_true", help="open the picture in the system's viewer")
    show.set_defaults(run=_show)


def _show(options: argparse.Namespace) -> int:
    console = answer_console()
    seen = find(options.store, options.id)
    if options.out is None and not options.open:
        show(seen, console, options.picture)
        return 0
    image = drawn(seen)
    if options.out is not None:
        with appearing(options.out, folder=False, force=options.force) as draft:
            image.save(draft, "PNG")
        print(f"picture   {options.out}")
    if options.open:
        _open(image, seen.frame.frame_id)
    show(seen, console, "none")
    return 0


def show_in_terminal(location: str, wanted: str, console: Console) -> None:
    """Show a frame or a caption by its id. Raises ParametersError, StoreError."""
    show(find(location, wanted), console, AUTO)


def find(location: str, wanted: str) -> Seen:
    """Everything of the frame that has that id, or of which a caption has. Raises ParametersError, StoreError."""
    store = Store(location)
    with connect(location) as connection, translated_errors():
        frame_id, captioner = _frame_of(connection, location, wanted)
        ((movie_id,),) = connection.execute("select movie_id from frames where frame_id = ?", [frame_id]).fetchall()
        selection = Selection(store, None, connection)
        for path in store.files.under(f"frames/movie_id={movie_id}"):
            facts = frame_facts(store.files, path)
            place = next((place for place, one in enumerate(facts) if one.frame_id == frame_id), None)
            if place is not None:
                shard = Shard(f"{movie_id}/{path.rpartition('/')[2].removesuffix('.parquet')}", len(facts))
                rows = read_shard(shard, selection)
                return _seen(rows, place, picture_of(store.files, path, place) or b"", wanted, captioner)
    raise StoreError(f"{frame_id} was removed from {location} just now. Ask again.")


def _frame_of(connection: duckdb.DuckDBPyConnection, location: str, wanted: str) -> tuple[str, str | None]:
    """(frame_id, captioner) of a caption's id, (frame_id, None) of a frame's."""
    if connection.execute("select 1 from frames where frame_id = ?", [wanted]).fetchall():
        return wanted, None
    asked = "select frame_id, captioner from captions where caption_id = ?"
    found: list[tuple[str, str]] = connection.execute(asked, [wanted]).fetchall()
    if not found:
        raise ParametersError(
            f"{location} has no frame or caption {wanted!r}. Ids stand in the answer to: caption-movies sql "
            f"captions_and_verdicts --store {location}"
        )
    return found[0]


def _seen(rows: ShardRows, place: int, picture: bytes, wanted: str, captioner: str | None) -> Seen:
    frame = rows.frames[place]
    captions = []
    for name, said in rows.captioned.items():
        own = said.captions.get(frame.frame_id, [])
        if captioner is None:
            captions += [(one, said) for one in own[:1]]
        elif name == captioner:
            captions += [(one, said) for one in own if one.caption_id == wanted]
    return Seen(rows, frame, picture, captions, one_caption=captioner is not None)


def drawn(seen: Seen) -> Image.Image:
    """The picture with boxes, masks and names. Raises StoreError where the frame's bytes are no picture."""
    try:
        return draw_frame(seen.picture, seen.detections, seen.mentions, longest_edge=LONGEST_EDGE)
    except PictureError as error:
        raise StoreError(f"{seen.frame.frame_id}: {error}") from error


def show(seen: Seen, console: Console, way: str) -> None:
    """Print a frame. A picture that cannot be drawn is told, and the words are shown all the same."""
    known = looks(seen.detections)
    frame = seen.frame
    told = f" at {frame.pts_seconds:.2f} s, shot {frame.shot_index}, {frame.width}x{frame.height}"
    console.print(Text.assemble((frame.frame_id, "bold"), told))
    way = choose_way(console) if way == AUTO else way
    if way != "none":
        try:
            draw(drawn(seen), console, way)
        except StoreError as error:
            console.print(Text(str(error), style=BAD))
    for failure in seen.rows.failures.get(frame.frame_id, []):
        console.print(Text(f"{failure.stage} failed: {visible(failure.error)}", style=BAD))
    console.print(_objects(seen, known))
    for caption, said in seen.captions:
        console.print()
        console.print(_head(caption, said))
        console.print(_words(caption, said, known))
        for fault in said.violations.get(caption.caption_id, []):
            console.print(Text(f"  ⚠ {fault.code}: {visible(fault.message)}", style=BAD))
    if not seen.captions:
        console.print("no captions")


def _objects(seen: Seen, known: dict[str, Look]) -> Text:
    if not seen.detections:
        return Text("nothing detected", style="dim")
    cited = {one for mention in seen.mentions for one in mention.object_ids}
    line = Text()
    for one in sorted(seen.detections, key=lambda detection: detection.object_index):
        quiet = bool(cited) and one.object_id not in cited
        line.append("■ ", style=Style(color=_colour(known[one.object_id])))
        line.append(f"{visible(one.object_id)} {one.score:.2f}   ", style=Style(dim=quiet))
    return line


def _head(caption: Caption, said: Captioned) -> Text:
    verdict = said.verdicts[caption.caption_id]
    choice = said.choices.get(caption.caption_id)
    colour = {"ok": GOOD, "violations": BAD, "failed": BAD}.get(verdict, "yellow")
    line = Text.assemble((visible(caption.caption_id), "bold"), "  ", (verdict, colour))
    if choice and not choice.chosen:
        line.append("  not chosen", style="yellow")
    for metric, value in sorted(said.scores.get(caption.caption_id, {}).items()):
        line.append(f"  {metric} {value:.3g}", style="dim")
    return line


def _words(caption: Caption, said: Captioned, known: dict[str, Look]) -> Text:
    """The caption without markup: words of tags in the colour of their object, with its ids behind them."""
    if caption.error is not None:
        return Text(f"no caption: {visible(caption.error)}", style=BAD)
    mentions = said.mentions.get(caption.caption_id, [])
    faults = said.violations.get(caption.caption_id, [])
    line = Text()
    before: tuple[int, ...] = ()
    for run in [*runs_of(caption.text, [(one.start, one.end) for one in faults]), None]:
        inside = tuple(index for index in run.mentions if index < len(mentions)) if run else ()
        if before and inside != before:
            mention = mentions[before[-1]]
            what = " ".join(dict.fromkeys(mention.object_ids)) + (
                f" {mention.label}" if mention.kind == "action" else ""
            )
            line.append(f" [{visible(what)}]", style="dim")
        before = inside
        if run and run.role != MARKUP:
            line.append(visible(run.text), style=_style(mentions, inside, known, at_fault=bool(run.faults)))
    return line


def _style(mentions: list[Mention], inside: tuple[int, ...], known: dict[str, Look], *, at_fault: bool) -> Style:
    if not inside:
        return Style(underline=at_fault)
    ids = mentions[inside[-1]].object_ids
    look = known.get(ids[0], NOT_DETECTED) if ids else NOT_DETECTED
    return Style(color=_colour(look), bold=True, underline=at_fault or mentions[inside[-1]].verdict != "ok")


def _colour(look: Look) -> str:
    return f"rgb({','.join(map(str, look.colour))})"


def _open(image: Image.Image, name: str) -> None:
    """Show a picture in the system's viewer. The file stays: the viewer may read it when we are gone."""
    place = Path(tempfile.mkdtemp(prefix="caption-movies-")) / f"{Path(name).name}.png"
    image.save(place, "PNG")
    viewer = "open" if sys.platform == "darwin" else "xdg-open"
    try:
        subprocess.run([viewer, str(place)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        raise StoreError(f"{viewer} does not open pictures here ({error}). The picture is {place}.") from error

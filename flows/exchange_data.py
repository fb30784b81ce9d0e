"""The doors to other tools' formats: the commands `export` and `import`."""

import argparse
from collections.abc import Callable
from functools import partial

from flows.bring_data import Add, tell_left_out
from storage.store import Store


def add_exchange(add: Add, store_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add both commands to the parser."""
    out = add("export", "write captions with their frames and detections in another tool's format")
    out.add_argument("--format", required=True, metavar="NAME", help="file name in tasks/exports; see docs/exports.md")
    out.add_argument("--out", required=True, metavar="PATH", help="folder or file to write; appears when it is whole")
    out.add_argument("--query", metavar="SQL|NAME", help="only what it answers with, in caption_id or frame_id")
    out.add_argument("--movies", nargs="+", default=[], metavar="MOVIE", help="only these, by movie_id or title")
    out.add_argument("--captioner", metavar="NAME", help="only this one's; A+B: what was chosen among both")
    out.add_argument("--references", nargs="+", default=[], metavar="SOURCE", help="references in place of captions")
    out.add_argument("--quarantined", action="store_true", help="captions that are not in captions_ok too")
    out.add_argument("--every-candidate", action="store_true", help="all captions of a frame, not the one that counts")
    out.add_argument("--split", default="train", metavar="NAME", help="of a dataset with splits (default: %(default)s)")
    out.add_argument("--template", default="groundcap-card", metavar="NAME",
                     help="prompt of chat samples (default: %(default)s)")  # fmt: skip
    out.add_argument("--force", action="store_true", help="replace what an export wrote there before")
    store_option(out)
    out.set_defaults(run=_export)

    into = add("import", "bring a dataset into a store: pictures as frames, its captions, its detections")
    into.add_argument("paths", nargs="+", metavar="PATH", help="folders or files of one dataset, all of it together")
    into.add_argument("--as", dest="form", metavar="NAME", help="file name in tasks/imports (default: found out)")
    into.add_argument("--name", metavar="WORD", help="what its movies' ids begin with (default: the format's name)")
    into.add_argument("--source", default="human", metavar="WHO", help="who wrote its captions (default: %(default)s)")
    into.add_argument("--pictures", metavar="DIR", help="where the pictures are that a COCO file names")
    into.add_argument("--split", default="train", metavar="NAME", help="of a hub's dataset (default: %(default)s)")
    into.add_argument("--max-detections", type=int, default=40, metavar="N",
                      help="objects kept of a picture, by score (default: %(default)s)")  # fmt: skip
    store_option(into)
    into.set_defaults(run=_import)


def _export(options: argparse.Namespace) -> int:
    from flows.show_steps import shown_steps
    from tasks.export_selection import Wanted
    from tasks.exports import Options, export

    wanted = Wanted(
        query=options.query, movies=tuple(options.movies), captioner=options.captioner,
        references=tuple(options.references), quarantined=options.quarantined,
        every_candidate=options.every_candidate,
    )  # fmt: skip
    told = Options(split=options.split, template=options.template)
    with shown_steps() as tell:
        tell("selecting captions", 0, 0)
        done = export(
            Store(options.store), options.format, options.out, wanted, told, force=options.force,
            tell=partial(tell, "frames"),
        )  # fmt: skip
    left = ", ".join(f"{number} {verdict}" for verdict, number in sorted(done.left_out.items()))
    print(f"captions  {done.captions}" + (f" (left out: {left})" if left else ""))
    failed = f" (left out: {done.undetected} on which no detector worked)" if done.undetected else ""
    print(f"frames    {done.frames}, {done.detections} detections{failed}")
    print(f"written   {done.place}")
    return 0


def _import(options: argparse.Namespace) -> int:
    from flows.show_steps import shown_steps
    from tasks.imports import Options, import_data

    told = Options(
        source=options.source, pictures=options.pictures, split=options.split, max_detections=options.max_detections
    )
    with shown_steps() as tell:
        tell("looking for pictures", 0, 0)
        brought = import_data(
            options.paths, Store(options.store), options.name, options.form, told, partial(tell, "pictures")
        )
    references = ", ".join(f"{number} {source}" for source, number in sorted(brought.references.items()))
    print(f"movies      {brought.movies}")
    print(f"frames      {brought.frames}, {brought.detections} detections")
    print(f"references  {references or 'none'}")
    for what, number in sorted(brought.notes.items()):
        print(f"not taken   {number} {what}")
    for movie_id in brought.removed:
        print(f"removed     {movie_id}, a part that the dataset has no more")
    print(f"store       {options.store}")
    if brought.undetected:
        print(
            f"next        caption-movies caption --store {options.store}    detects in {brought.undetected} frames, too"
        )
    return tell_left_out(
        brought.lost, "row", ("cannot be used, and is left out", "cannot be used, and are left out"),
        [f"{one.place}: {one.why}" for one in brought.left_out],
    )  # fmt: skip

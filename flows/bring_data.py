"""Commands that bring data to a store, or hold it against data: references, panoptic, setup."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from storage.store import Store

LEFT_OUT = 3
SHOWN = 5
OF_NO_FRAME = ("is of no frame in the store, and left out", "are of no frame in the store, and left out")
Add = Callable[[str, str], argparse.ArgumentParser]
"""Adds a command by name and help."""


def add_commands(add: Add, store_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add this file's commands to the parser."""
    references = add("references", "add reference captions to a store, for the text metrics")
    references.add_argument(
        "file",
        metavar="FILE|STORE",
        help="JSON Lines, CSV, Parquet or COCO captions; or a store: the captions it chose",
    )
    references.add_argument("--source", help="who wrote them (default: human; of a store, the captioner)")
    references.add_argument(
        "--captioner", metavar="NAME", help="whose captions of STORE to take (default: its only captioner)"
    )
    store_option(references)
    references.set_defaults(run=_references)

    panoptic = add("panoptic", "panoptic quality of a store's detections, or of a file, against COCO panoptic truth")
    panoptic.add_argument("truth", metavar="TRUTH", help="JSON file of the truth in COCO's panoptic format")
    panoptic.add_argument("--segments", metavar="DIR", help="its segment maps (default: TRUTH without .json)")
    panoptic.add_argument("--predictions", metavar="FILE", help="JSON file of predictions; else the store's detections")
    panoptic.add_argument(
        "--predicted-segments", metavar="DIR", help="segment maps of --predictions (default: likewise)"
    )
    panoptic.add_argument("--name", default="detector", help="what the rows are called (default: %(default)s)")
    store_option(panoptic)
    panoptic.set_defaults(run=_panoptic)

    setup = add("setup", "fetch and verify what a metric needs and no package brings")
    setup.add_argument("what", choices=("spice",), help="spice: the CoreNLP models, about 400 MB")
    setup.add_argument("--from", dest="sources", nargs="+", default=[], metavar="URL|FILE",
                       help="the archive, or its two jars (default: Stanford's archive)")  # fmt: skip
    setup.add_argument("--sha256", nargs="+", default=[], metavar="HEX", help="of each of --from, where it is known")
    setup.add_argument(
        "--folder", metavar="DIR", help="where to put them (default: caption-movies in the cache folder)"
    )
    setup.set_defaults(run=_setup)


def _references(options: argparse.Namespace) -> int:
    from flows.show_steps import shown_steps
    from tasks.references import bring_references

    with shown_steps() as tell:
        tell("reading references", 0, 0)
        imported = bring_references(options.file, Store(options.store), options.source, options.captioner)
    print(f"{number_of(imported.references, 'reference')} by {imported.source} in {options.store}")
    print(f"next      caption-movies score --store {options.store}    scores what is captioned there against them")
    return tell_left_out(imported.unmatched, "reference", OF_NO_FRAME, imported.shown)


def number_of(number: int, what: str) -> str:
    """'1 row', '2 rows'."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def tell_left_out(number: int, what: str, said: tuple[str, str], shown: Sequence[str]) -> int:
    """Say on stderr what was left out, `said` of one and of several; the exit code."""
    if not number:
        return 0
    print(f"caption-movies: {number_of(number, what)} {said[number > 1]}:", file=sys.stderr)
    for line in shown[:SHOWN]:
        print(f"    {line}", file=sys.stderr)
    if number > SHOWN:
        print(f"    and {number - SHOWN} more", file=sys.stderr)
    return LEFT_OUT


def _panoptic(options: argparse.Namespace) -> int:
    from flows.show_steps import shown_steps
    from tasks.panoptic_files import read_panoptic
    from tasks.panoptic_quality import qualities
    from tasks.panoptic_scores import compare_files, compare_store, write_scores

    store = Store(options.store)
    truth = read_panoptic(options.truth, options.segments)
    with shown_steps() as tell:

        def compared(done: int, of: int) -> None:
            tell("images compared", done, of)

        if options.predictions:
            scores = compare_files(truth, read_panoptic(options.predictions, options.predicted_segments), compared)
        else:
            scores = compare_store(truth, store, compared)
    write_scores(scores, options.name, store)
    print(f"{'':10}{'PQ':>8}{'SQ':>8}{'RQ':>8}  categories")
    for group in ("all", "things", "stuff"):
        found = qualities(scores.counts, scores.groups()[group])
        values = (found.panoptic, found.segmentation, found.recognition)
        said = "".join(f"{100 * value:8.1f}" if found.categories else f"{'-':>8}" for value in values)
        print(f"{group:10}{said}{found.categories:12}")
    print(f"{scores.images} images; rows of {options.name!r} in summaries of {options.store}, by category too")
    return tell_left_out(
        len(scores.missed), "image",
        ("has no prediction, and counts as missed", "have no prediction, and count as missed"),
        [f"image {image_id}: {why}" for image_id, why in scores.missed.items()],
    )  # fmt: skip


def _setup(options: argparse.Namespace) -> int:
    from tasks.metrics import Pair
    from tasks.metrics.spice import measure
    from tasks.spice_models import default_folder, setup

    folder = Path(options.folder) if options.folder else None
    for one in setup(options.sources, options.sha256, folder, say=lambda line: print(line, flush=True)):
        print(f"{one.path}\n    sha256 {one.sha256}\n    verified by {one.verified}")
    if folder and folder.resolve() != default_folder().resolve():
        print(f"SPICE looks in {default_folder()}; set CAPTION_MOVIES_CACHE so that this is the folder it looks in")
        return 0
    print("trying SPICE on one caption", flush=True)
    trial = Pair(caption_id="trial", frame_id="trial", candidate="a brown dog runs", references=("a brown dog runs",))
    value = measure([trial], 600.0).corpus["spice"]
    if value != 1.0:
        print(f"caption-movies: SPICE gives {value:.3f} for a caption that is its reference, not 1", file=sys.stderr)
        return 1
    print("SPICE works; the next run of `caption-movies run` computes it")
    return 0

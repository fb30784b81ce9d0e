"""The commands `gallery` and `serve`: a store as pages to look at."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flows.bring_data import Add
from storage.store import Store

PORT, LAST_PORT = 8765, 65535
QUERY = "show only the frames that SQL, or a ready query, gives by frame_id, caption_id or movie_id"


def add_gallery(add: Add, store_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add both commands to the parser."""
    gallery = add("gallery", "make a static site of a store: movies, frames, boxes, masks, captions, faults, scores")
    gallery.add_argument("--query", metavar="SQL|NAME", help=QUERY)
    gallery.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder, or a gallery to replace")
    store_option(gallery)
    gallery.set_defaults(run=_gallery)

    serve = add("serve", "the same pages live, on this machine only, also over a store that is being written")
    serve.add_argument("--query", metavar="SQL|NAME", help=QUERY)
    serve.add_argument("--port", type=_port, default=PORT, help="0: any that is free (default: %(default)s)")
    store_option(serve)
    serve.set_defaults(run=_serve)


def _port(said: str) -> int:
    """A port's number. Raises ArgumentTypeError."""
    if not said.isdecimal() or int(said) > LAST_PORT:
        raise argparse.ArgumentTypeError(f"{said} is no port: give 0 to {LAST_PORT}")
    return int(said)


def _gallery(options: argparse.Namespace) -> int:
    from flows.show_steps import shown_steps
    from gallery.shards import select_frames
    from gallery.static_site import write_site

    with shown_steps() as tell:
        tell("selecting frames", 0, 0)
        made = write_site(select_frames(Store(options.store), options.query), options.out, partial(tell, "frames"))
    print(f"frames    {made.frames} of {made.movies} movies")
    if made.without_picture:
        print(f"          {made.without_picture} have no picture that can be shown")
    print(f"open      {options.out / 'index.html'}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from gallery.live_server import serve

    def ready(address: str) -> None:
        print(f"open      {address}    (Ctrl-C ends it)", flush=True)

    serve(Store(options.store), options.query, options.port, ready)
    return 0

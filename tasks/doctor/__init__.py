"""Is this machine fit for a run? One check is one function, in a file by what it looks at.

A check says what it saw, and what to do about it. None downloads or writes anything; whoever calls them bounds their
time (`examine`).
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from typing import Literal

from tasks.errors import CaptionMoviesError

State = Literal["ok", "note", "problem"]
SECONDS = 25.0
"""For one check; torch and the libraries on it are imported in one of them, on a slow disk."""
log = logging.getLogger(__name__)
REINSTALL = "If a library is broken, install it again: make clean setup, or pip install --force-reinstall NAME"


@dataclass(frozen=True)
class Finding:
    """One line of the answer."""

    subject: str
    state: State
    """ok; note: a run works, and this is good to know; problem: a run with this profile fails, or will."""
    seen: str
    remedy: str = ""
    """What to do about it, a command where there is one; empty where nothing has to be done."""


Check = Callable[[], Iterable[Finding]]


def examine(checks: Mapping[str, Check], seconds: float = SECONDS) -> Iterator[Finding]:
    """Every check's findings, in order. One that takes longer than `seconds`, or breaks, is a problem by its name."""
    for subject, check in checks.items():
        found: list[Finding] = []
        thread = threading.Thread(target=copy_context().run, args=(_keep, subject, check, found), daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            found = [Finding(subject, "problem", f"no answer within {seconds:g} seconds", "See what it waits for.")]
        yield from found


def _keep(subject: str, check: Check, found: list[Finding]) -> None:
    try:
        found += check()
    except CaptionMoviesError as error:
        said, _, remedy = " ".join(str(error).split()).rpartition(". ")
        found[:] = [Finding(subject, "problem", said or remedy, remedy if said else "")]
    # Whatever a library raises that cannot be used here is told, and the others go on: also SystemExit, which ends a
    # thread without a word, and what libraries in Rust raise, which is no Exception. Ctrl-C is raised in no thread.
    except BaseException as error:
        log.exception("the check of %s broke", subject)  # with its place: it may be a fault of ours
        said = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
        found[:] = [Finding(subject, "problem", said, REINSTALL)]


def in_units(size: float) -> str:
    """Bytes for people: '1.4 GB'; a thousand bytes are a kB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"

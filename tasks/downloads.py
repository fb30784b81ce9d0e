"""Fetching large files: what is interrupted goes on where it was, and a file appears whole or not at all."""

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tasks.errors import SetupError, TransientError

PIECE = 1 << 20
TIMEOUT_SECONDS = 60.0
"""Without any byte."""
SAY_SECONDS = 5.0
"""Between two lines."""
Say = Callable[[str], None]


def fetch(url: str, place: Path, say: Say = lambda _: None) -> None:
    """Bring the file behind an http(s) URL to `place`.

    What is there so far stands beside it as `<name>.part`. A later call asks for the rest, when the server can give it
    and the file is still the same (ETag or Last-Modified, by If-Range); else it begins anew. Raises TransientError when
    the connection breaks, or ends before all bytes came, SetupError when the server refuses.
    """
    if not re.match(r"https?://", url):
        raise SetupError(f"{url} is no http or https address. Give one, or the path of a file.")
    part, state = place.with_name(f"{place.name}.part"), place.with_name(f"{place.name}.part.json")
    place.parent.mkdir(parents=True, exist_ok=True)
    begun = _begun(url, part, state)
    request = Request(url, headers={"User-Agent": "caption-movies", "Accept-Encoding": "identity"} | begun)
    try:
        with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            goes_on = answer.status == 206 and _starts_at(answer) == part.stat().st_size
            if answer.status == 206 and not goes_on:
                raise SetupError(f"{url} answered with another part than was asked for. Delete {part} and try again.")
            state.write_text(json.dumps({"url": url, "validator": _validator(answer)}), encoding="utf-8")
            expected = _receive(answer, part, goes_on, say)
    except HTTPError as error:
        error.close()
        if error.code == 416 and begun:  # the file is shorter by now than what we have
            part.unlink()
            fetch(url, place, say)
            return
        said = f"{url} answered {error.code} {error.reason}"
        raise SetupError(f"{said}. Check the address, or fetch it by hand and give its path.") from error
    except (OSError, HTTPException) as error:
        here = part.stat().st_size if part.exists() else 0
        raise TransientError(
            f"{url} could not be fetched: {error or type(error).__name__}. {here:,} bytes are here; "
            "run the same again to go on, or fetch it by hand and give its path."
        ) from error
    here = part.stat().st_size
    if expected is not None and here != expected:
        raise TransientError(f"{url} ended after {here:,} of {expected:,} bytes. Run the same again to go on.")
    part.replace(place)
    state.unlink(missing_ok=True)


def _begun(url: str, part: Path, state: Path) -> dict[str, str]:
    """Headers that ask for the rest of a file; none where it has to begin anew."""
    try:
        known = json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if part.exists() and part.stat().st_size and known.get("url") == url and known.get("validator"):
        return {"Range": f"bytes={part.stat().st_size}-", "If-Range": known["validator"]}
    part.unlink(missing_ok=True)
    return {}


def _validator(answer: HTTPResponse) -> str:
    tag = answer.headers.get("ETag", "")
    return "" if tag.startswith("W/") else tag or answer.headers.get("Last-Modified", "")


def _starts_at(answer: HTTPResponse) -> int:
    said = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(said[1]) if said else -1


def _receive(answer: HTTPResponse, part: Path, goes_on: bool, say: Say) -> int | None:
    """Write what comes; the whole file's size where the server says it."""
    here = part.stat().st_size if goes_on else 0
    length = answer.headers.get("Content-Length")
    whole = here + int(length) if length and length.isdigit() else None
    if goes_on:
        say(f"going on at {here:,} bytes")
    begun = told_at = time.monotonic()
    began_with = here
    with part.open("ab" if goes_on else "wb") as file:
        while piece := answer.read(PIECE):
            file.write(piece)
            here += len(piece)
            if (now := time.monotonic()) - told_at >= SAY_SECONDS:
                told_at = now
                say(_how_far(here, whole, (here - began_with) / (now - begun)))
        file.flush()
        os.fsync(file.fileno())
    return whole


def _how_far(here: int, whole: int | None, a_second: float) -> str:
    """Bytes that are here, how fast they come, how long the rest takes."""
    said = f"{here:,} of {whole:,} bytes" if whole else f"{here:,} bytes"
    if not a_second:
        return said
    said += f"; {a_second / 1e6:.1f} MB a second"
    return f"{said}; about {timedelta(seconds=round((whole - here) / a_second))} left" if whole else said


def copy_whole(source: Path, place: Path) -> None:
    """Copy a file so that it appears whole or not at all. Raises SetupError."""
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, draft)
        draft.replace(place)
    except OSError as error:
        raise SetupError(f"{source} cannot be copied to {place}: {error}. Check path and free space.") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)

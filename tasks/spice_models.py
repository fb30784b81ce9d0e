"""The Stanford CoreNLP 3.6.0 files that SPICE needs and no package brings: where they lie, and setting them up.

They are two jars of one archive: the code, and the English models. Nobody publishes their sha256, so without one that
is given they are verified by what they are: every entry's checksum, and the classes and models that SPICE loads.
"""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.downloads import Say, copy_whole, fetch
from tasks.errors import SetupError
from tasks.java_metrics import coco_folder

URL = "https://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"
"""What pycocoevalcap's own get_stanford_models fetches."""
ARCHIVE_SHA1 = "55c9d653eb30ace7d5a60eb3138e424f9442e539"
"""Of that archive, as DeepDive's example projects check it. One witness only: another digest is told, not refused."""
NEEDED = {
    "stanford-corenlp-3.6.0.jar": (
        "edu/stanford/nlp/pipeline/StanfordCoreNLP.class",
        "edu/stanford/nlp/semgraph/semgrex/SemgrexPattern.class",
    ),
    "stanford-corenlp-3.6.0-models.jar": (
        "edu/stanford/nlp/models/lexparser/englishPCFG.ser.gz",
        "edu/stanford/nlp/models/ner/english.all.3class.distsim.crf.ser.gz",
    ),
}
"""The jars, and what has to be in them."""
REMEDY = "Set it up with: caption-movies setup spice (or: caption-movies setup spice --from FILE, without a network)"


@dataclass(frozen=True)
class Installed:
    """One jar that was set up."""

    path: Path
    sha256: str
    verified: str
    """How."""


def default_folder() -> Path:
    """Where the jars are put: under $CAPTION_MOVIES_CACHE, else $XDG_CACHE_HOME/caption-movies, else ~/.cache/…"""
    own = os.environ.get("CAPTION_MOVIES_CACHE")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(own) if own else Path(cache) / "caption-movies") / "corenlp-3.6.0"


def find_models() -> list[Path]:
    """The jars, of our own folder or of pycocoevalcap's; empty where they are not there."""
    for folder in (default_folder(), coco_folder() / "spice" / "lib"):
        jars = [folder / name for name in NEEDED]
        if all(jar.is_file() for jar in jars):
            return jars
    return []


def setup(
    sources: Sequence[str] = (), sha256: Sequence[str] = (), folder: Path | None = None, say: Say = print
) -> list[Installed]:
    """Put the jars in place from the archive, or from the jars themselves: URLs, or paths of files.

    `sha256` are the sources' own, in order, where they are known. Nothing is put in place unless it is verified. Raises
    SetupError, and TransientError for a broken connection: then the same call goes on where it was.
    """
    folder = folder or default_folder()
    sources = sources or [URL]
    if sha256 and len(sha256) != len(sources):
        raise SetupError(f"{len(sha256)} digests for {len(sources)} files; give one --sha256 for each --from, or none.")
    installed: dict[str, Installed] = {}
    for number, source in enumerate(sources):
        file, is_ours = _local(source, folder, say)
        try:
            how = _verify(file, source, sha256[number] if sha256 else None)
            installed |= {one.path.name: one for one in _put(file, source, how, folder)}
        finally:
            if is_ours:
                file.unlink(missing_ok=True)
    if lacking := [name for name in NEEDED if name not in installed and not (folder / name).is_file()]:
        raise SetupError(f"{' and '.join(lacking)} is still missing. Give the archive, or that jar too, with --from.")
    _note(folder, installed)
    return list(installed.values())


def _local(source: str, folder: Path, say: Say) -> tuple[Path, bool]:
    """The file behind a source, and whether we fetched it."""
    if "://" not in source:
        if not Path(source).is_file():
            raise SetupError(f"there is no file {source}. Give the archive, or its two jars; it is at {URL}.")
        return Path(source), False
    place = folder / f"fetched-{hashlib.sha256(source.encode()).hexdigest()[:12]}.zip"
    if not place.is_file():  # it is there when the process ended between fetching and putting in place
        say(f"fetching {source} (the whole archive is about 400 MB)")
        fetch(source, place, say)
    return place, True


def _verify(file: Path, source: str, sha256: str | None) -> str:
    """Raises SetupError unless the file is what it has to be; says how that was seen."""
    if sha256:
        found = _digest(file, "sha256")
        if found != sha256.lower():
            raise SetupError(
                f"{source} has sha256 {found}, not {sha256.lower()}: it is damaged, or another file. "
                "Nothing was put in place; fetch it again, or correct --sha256."
            )
        how = "sha256 as given"
    elif _digest(file, "sha1") == ARCHIVE_SHA1:
        how = "sha1 of the published archive"
    else:
        how = "structure (no digest is known of this file)"
    try:
        with zipfile.ZipFile(file) as archive:
            if bad := archive.testzip():
                raise SetupError(f"{source} is damaged: {bad} does not have its checksum. Fetch it again.")
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise SetupError(f"{source} is no whole zip or jar file: {error}. Fetch it again.") from error
    return f"{how}; every entry has its checksum"


def _put(file: Path, source: str, how: str, folder: Path) -> list[Installed]:
    """Put the jar, or the jars of the archive, in place."""
    folder.mkdir(parents=True, exist_ok=True)
    if (name := _jar_name(file)) is not None:
        copy_whole(file, folder / name)
        return [Installed(folder / name, _digest(folder / name, "sha256"), how)]
    installed = []
    with zipfile.ZipFile(file) as archive:
        inside = {Path(entry).name: entry for entry in archive.namelist() if Path(entry).name in NEEDED}
        if len(inside) < len(NEEDED):
            lacking = " and ".join(sorted(NEEDED.keys() - inside.keys()))
            raise SetupError(f"{source} holds neither {lacking} nor what is in it. Give the archive from {URL}.")
        drafts = {name: folder / f".{name}.{os.getpid()}" for name in inside}
        try:
            for name, entry in inside.items():
                with archive.open(entry) as packed, drafts[name].open("wb") as opened:
                    while piece := packed.read(1 << 20):
                        opened.write(piece)
                _verify(drafts[name], f"{name} in {source}", None)
                if _jar_name(drafts[name]) != name:
                    raise SetupError(f"{name} in {source} lacks {' or '.join(NEEDED[name])}. Give another archive.")
            for name, draft in drafts.items():
                digest = _digest(draft, "sha256")
                draft.replace(folder / name)
                installed.append(Installed(folder / name, digest, how))
        finally:
            for draft in drafts.values():
                draft.unlink(missing_ok=True)
    return installed


def _jar_name(file: Path) -> str | None:
    """Which of the jars a zip file is, by what is in it; None for neither."""
    with zipfile.ZipFile(file) as archive:
        entries = set(archive.namelist())
    return next((name for name, needed in NEEDED.items() if entries.issuperset(needed)), None)


def _digest(file: Path, algorithm: str) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, algorithm).hexdigest()


def _note(folder: Path, installed: dict[str, Installed]) -> None:
    """Keep what was put in place, and how it was verified, beside it."""
    place = folder / "installed.json"
    known = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
    known |= {name: {"sha256": one.sha256, "verified": one.verified} for name, one in installed.items()}
    place.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")

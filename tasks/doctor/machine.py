"""GPU, memory, cores, disk, clock and words of this machine."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from storage.files import open_files
from tasks.doctor import Finding, State, in_units
from tasks.machine import cores, group_limit_bytes, memory_bytes

LEAST_MEMORY_BYTES = 2_000_000_000
"""A run with the smallest models takes nearly half of it (docs/decisions/0004), and Prefect's server the rest."""
LEAST_DISK_BYTES, LITTLE_DISK_BYTES = 1_000_000_000, 10_000_000_000
LEAST_FILES = 10_000
"""Free inodes: a shard is about ten files."""
SMI = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
DRIVER = "/proc/driver/nvidia/version"
INSTALL_TORCH = "Install a CUDA build of the same version of torch (the selector on pytorch.org gives the line)."


def gpu(device: str) -> Iterator[Finding]:
    """What torch sees; `device` is what the profile asks for (auto, cpu, cuda, cuda:1)."""
    import torch

    built = torch.version.cuda
    wanted: bool = device.startswith("cuda")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about, (free, total) = torch.cuda.get_device_properties(index), torch.cuda.mem_get_info(index)
            seen = f"cuda:{index} {about.name}, {in_units(free)} of {in_units(total)} free"
            yield Finding("GPU", "ok", f"{seen}, CUDA {built}, driver {_driver()}, torch {torch.__version__}")
        if wanted and int(device.partition(":")[2] or 0) >= torch.cuda.device_count():
            yield Finding("GPU", "problem", f"the profile asks for {device}, which is not there", 'device = "auto"')
    elif _has_nvidia():
        what = f"torch {torch.__version__} is a CPU build" if built is None else f"its CUDA {built} cannot be used"
        driver = "See what nvidia-smi says: the driver may be too old for this CUDA, or the container lacks the device."
        remedy = INSTALL_TORCH if built is None else driver
        yield Finding("GPU", "problem", f"an NVIDIA GPU is there (driver {_driver()}), but {what}", remedy)
    else:
        seen = f"none; models run on the CPU (torch {torch.__version__})"
        yield Finding("GPU", "problem" if wanted else "ok", seen, 'device = "auto" in the profile' if wanted else "")


def _has_nvidia() -> bool:
    return Path("/dev/nvidia0").exists() or Path(DRIVER).exists() or _driver() != "unknown"


def _driver() -> str:
    """The driver's version; 'unknown' where nobody says it."""
    try:
        said = subprocess.run(SMI, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return said.stdout.split("\n")[0].strip() or "unknown" if said.returncode == 0 else "unknown"


def memory() -> Iterator[Finding]:
    """Main memory, in a container that which it may take."""
    total, free = memory_bytes()
    limit = group_limit_bytes()
    seen = f"{in_units(free)} of {in_units(total)} free" + (" (the container's limit)" if limit == total else "")
    if free < LEAST_MEMORY_BYTES:
        remedy = "Close what takes memory, or give the container more."
        yield Finding("memory", "problem" if total < LEAST_MEMORY_BYTES else "note", seen, remedy)
    else:
        yield Finding("memory", "ok", seen)


def processors() -> Iterator[Finding]:
    """Cores, and what of them a container's quota leaves."""
    allowed, quota = cores()
    built = os.cpu_count() or allowed
    seen = f"{allowed} of {built}" + (f", worth {quota:.1f} by the container's quota" if quota else "")
    if quota and quota < allowed * 0.75:
        threads = max(1, round(quota))
        remedy = f"export OMP_NUM_THREADS={threads}    (else threads wait for each other)"
        if int(os.environ.get("OMP_NUM_THREADS") or allowed) > threads:
            yield Finding("cores", "note", seen, remedy)
            return
    yield Finding("cores", "ok", seen)


def disk(location: str) -> Iterator[Finding]:
    """Room and rights at the store, which need not be there yet, and for temporary files."""
    place = Path(location).expanduser()
    if place.is_file():
        yield Finding("store", "problem", f"{place.absolute()} is a file, not a folder", "Give a folder: --store DIR")
        yield _place("temporary files", Path(tempfile.gettempdir()), enough=LEAST_DISK_BYTES)
        return
    files = open_files(location)
    if files.is_local:
        yield _place("store", Path(files.root))
    else:
        files.filesystem.get_file_info(files.root)
        yield Finding("store", "ok", f"{location} answers; whether it lets us write is seen when a run begins")
    yield _place("temporary files", Path(tempfile.gettempdir()), enough=LEAST_DISK_BYTES)


def model_cache() -> Iterator[Finding]:
    """Room where the hub's client keeps models."""
    from huggingface_hub.constants import HF_HUB_CACHE

    yield _place("model cache", Path(HF_HUB_CACHE), remedy="export HF_HOME=/a/larger/disk")


def _place(subject: str, place: Path, enough: int = LITTLE_DISK_BYTES, remedy: str = "") -> Finding:
    there = next(one for one in (place, *place.parents) if one.exists())
    remedy = remedy or "Give another place, or make room."
    if not there.is_dir():
        return Finding(subject, "problem", f"{there} is a file, not a folder", "Give a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(subject, "problem", f"{there} cannot be written", f"Give another place, or: chmod u+rwx {there}")
    free, files = shutil.disk_usage(there).free, os.statvfs(there)
    seen = f"{in_units(free)} free at {place}" + ("" if there == place else ", which is made when it is needed")
    if files.f_files and files.f_favail < LEAST_FILES:
        return Finding(subject, "problem", f"{seen}, but room for {files.f_favail} files only", remedy)
    state: State = "problem" if free < LEAST_DISK_BYTES else "note" if free < enough else "ok"
    return Finding(subject, state, seen, "" if state == "ok" else remedy)


def words() -> Iterator[Finding]:
    """Clock and character set."""
    newest = max((path.stat().st_mtime for path in Path(__file__).parent.glob("*.py")), default=0.0)
    if time.time() < newest - 86400:
        said = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        yield Finding("clock", "problem", f"{said}, which is before the project's own files", "Set the clock.")
    encodings = {sys.getfilesystemencoding().lower(), (sys.stdout.encoding or "utf-8").lower()}
    if encodings != {"utf-8"}:
        seen = f"{' and '.join(sorted(encodings))}: names of movies and captions may not be printed"
        yield Finding("characters", "note", seen, "export PYTHONUTF8=1")


def file_limit() -> Iterator[Finding]:
    """The largest file that this process may write (ulimit -f)."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft != resource.RLIM_INFINITY:
        state: State = "problem" if soft < LEAST_DISK_BYTES else "note"
        yield Finding("file size", state, f"files may have {in_units(soft)} at most", "ulimit -f unlimited")

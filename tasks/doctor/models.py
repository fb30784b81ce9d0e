"""Are the models of a profile here, or can they be had? Nothing is fetched, nothing is read but headers."""

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from shutil import disk_usage
from typing import Any

from tasks.captioners import CaptionConfig
from tasks.checkpoints import FILES, NOT_FILES, PICKLED, looks_local
from tasks.doctor import Finding, in_units
from tasks.errors import CheckpointError
from tasks.machine import memory_bytes

HUB_SECONDS = 10.0
SERVER_SECONDS = 6.0
LONGEST_HEADER_BYTES = 100 << 20
"""Of a safetensors file, by its own reader."""
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I8": 1, "U8": 1}
MORE_ROOM = "export HF_HOME=/a/larger/disk"
SHARE = 0.95
"""Of a device's memory that weights may take; what is worked on needs some too."""


@dataclass(frozen=True)
class Wanted:
    """One checkpoint or adapter that a profile names."""

    what: str
    """detector, captioner, adapter ..."""
    source: str
    revision: str | None = None
    dtype: str = "auto"
    """In which it is loaded."""


@dataclass
class Weights:
    """What the headers of a folder's safetensors files say."""

    bytes_on_disk: int = 0
    parameters: int = 0
    stored_bytes: int = 0
    """Of the tensors as they are stored."""
    faults: list[str] = field(default_factory=list)


def model(wanted: Wanted) -> Iterator[Finding]:
    """Where one model is, whether it is whole, and whether it fits into memory."""
    folder = Path(wanted.source).expanduser()
    if folder.is_dir():
        yield from _in_folder(wanted, folder, "a folder", "Copy the folder again.")
        return
    if looks_local(wanted.source):
        remedy = "Correct the path in the profile, or give a hub id (owner/name)."
        yield Finding(wanted.what, "problem", f"there is no folder {folder.absolute()}", remedy)
        return
    cached = _cached(wanted)
    if cached is None:
        yield _on_hub(wanted)
        return
    again = f"hf download {wanted.source}" + (f" --revision {wanted.revision}" if wanted.revision else "")
    yield from _in_folder(wanted, cached, "in the hub's cache", again)


def _cached(wanted: Wanted) -> Path | None:
    """The hub's snapshot on this machine; None where there is none with weights."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        place = snapshot_download(wanted.source, revision=wanted.revision, local_files_only=True)
    except HFValidationError as error:
        raise CheckpointError(f"{wanted.source!r} is no hub id: {error}. Correct the profile.") from error
    except LocalEntryNotFoundError:
        return None
    return Path(place) if list(Path(place).glob("*.safetensors")) else None


def _in_folder(wanted: Wanted, folder: Path, where: str, again: str) -> Iterator[Finding]:
    weights = look_at(folder)
    if weights.faults:
        shown = "; ".join(weights.faults[:3])
        yield Finding(wanted.what, "problem", f"{wanted.source} ({where}) is not whole: {shown}", again)
        return
    seen = f"{wanted.source}, {where}: {in_units(weights.bytes_on_disk)}, {weights.parameters / 1e6:,.1f} M parameters"
    yield Finding(wanted.what, "ok", seen)
    yield from _room(wanted, weights)


def look_at(folder: Path) -> Weights:
    """A folder's weights by their headers, and what is missing or cut off."""
    found = Weights()
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json", "config.yaml")):
        found.faults.append("no config.json")
    files = sorted(path for path in folder.glob("*.safetensors") if not fnmatch(path.name, NOT_FILES[1]))
    if not files:
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
        why = f"only pickled weights ({', '.join(pickled)}), which are never loaded" if pickled else "no *.safetensors"
        found.faults.append(why)
    for index in folder.glob("*.safetensors.index.json"):
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        found.faults += [f"{name} is missing" for name in sorted(named) if not (folder / name).is_file()]
    for path in files:
        _add(path, found)
    return found


def _add(path: Path, found: Weights) -> None:
    """Add what one file's header says; a file that is not as long as its header says is cut off."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size - 8, LONGEST_HEADER_BYTES):
            found.faults.append(f"{path.name} is no safetensors file, or cut off")
            return
        tensors: dict[str, Any] = json.loads(file.read(length))
    tensors.pop("__metadata__", None)
    end = max((one["data_offsets"][1] for one in tensors.values()), default=0)
    if size != 8 + length + end:
        found.faults.append(f"{path.name} has {size:,} bytes, its header says {8 + length + end:,}")
    found.bytes_on_disk += size
    found.stored_bytes += end
    found.parameters += sum(_elements(one["shape"]) for one in tensors.values())


def _elements(shape: Sequence[int]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def _room(wanted: Wanted, weights: Weights) -> Iterator[Finding]:
    """A problem where the weights alone are more than the device's memory."""
    import torch

    on_gpu = torch.cuda.is_available()
    dtype = ("bfloat16" if on_gpu else "float32") if wanted.dtype == "auto" else wanted.dtype
    needed = weights.parameters * (4 if dtype == "float32" else 2)
    total = torch.cuda.mem_get_info()[1] if on_gpu else memory_bytes()[0]
    if needed > total * SHARE:
        seen = (
            f"{in_units(needed)} of weights in {dtype}, and the {'GPU' if on_gpu else 'machine'} has {in_units(total)}"
        )
        smaller = 'dtype = "bfloat16", ' if dtype == "float32" else ""
        remedy = f"{smaller}a larger device, a smaller checkpoint, or a server: profile vllm"
        yield Finding(wanted.what, "problem", seen, remedy)


def _on_hub(wanted: Wanted) -> Finding:
    """What is not on this machine: whether the hub would give it, and whether the disk takes it."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError

    elsewhere = f"hf download {wanted.source}    (elsewhere; then give the folder in the profile)"
    not_here = f"{wanted.source} is not on this machine, and"
    if HF_HUB_OFFLINE:
        return Finding(wanted.what, "problem", f"{not_here} HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE")
    try:
        said = HfApi().model_info(
            wanted.source, revision=wanted.revision, timeout=HUB_SECONDS, files_metadata=True
        )  # fmt: skip
    except HfHubHTTPError as error:
        remedy = "Correct the name; where it is gated: hf auth login"
        return Finding(wanted.what, "problem", f"{not_here} the hub refuses it: {_first_line(error)}", remedy)
    except (httpx2.HTTPError, OSError) as error:
        return Finding(wanted.what, "problem", f"{not_here} the hub cannot be reached: {_first_line(error)}", elsewhere)
    files = {one.rfilename: one.size or 0 for one in said.siblings or [] if _is_taken(one.rfilename)}
    if not any(name.endswith(".safetensors") for name in files):
        remedy = "Convert it with save_pretrained, or take another."
        return Finding(wanted.what, "problem", f"{wanted.source} has no *.safetensors on the hub", remedy)
    there = next(one for one in (Path(HF_HUB_CACHE), *Path(HF_HUB_CACHE).parents) if one.is_dir())
    size, free = sum(files.values()), disk_usage(there).free
    seen = f"{wanted.source} is on the hub, not here yet: the first run fetches {in_units(size)}"
    if size > free:
        return Finding(
            wanted.what, "problem", f"{seen}, and {in_units(free)} are free", "export HF_HOME=/a/larger/disk"
        )
    return Finding(wanted.what, "note", seen, f"hf download {wanted.source}    (now, not in the first run)")


def _is_taken(name: str) -> bool:
    return any(fnmatch(name, one) for one in FILES) and not any(fnmatch(name, one) for one in NOT_FILES)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def server(config: CaptionConfig) -> Iterator[Finding]:
    """A profile's server of models: does it answer, has it the model, does it keep to a grammar?"""
    from tasks.captioners.server import try_grammar

    assert config.server is not None
    quick = replace(config.server, timeout_seconds=SERVER_SECONDS, retries=0)
    kept = try_grammar(replace(config, server=quick))
    seen = f"{quick.url} answers, and has {config.adapter or config.checkpoint}"
    yield Finding("server", "ok", seen + ("; it keeps to a grammar" if kept else ""))

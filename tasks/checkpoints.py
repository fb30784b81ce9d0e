"""Where a model's files are, and a digest of what is in them.

A checkpoint is a hub id or a local folder with config.json and safetensors weights. Pickled weights are refused: they
run code on loading.
"""

import hashlib
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

from tasks.errors import CheckpointError, TransientError

FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.yaml")
"""What is taken of a hub repository: configuration, tokenizer, safetensors weights."""
NOT_FILES = ("*/*", "consolidated*")
"""What is not, all the same: subfolders, and the same weights once more in the format of their makers."""
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

BLOB = re.compile(r"[0-9a-f]{64}")
BUSY = (408, 429)
"""HTTP statuses below 500 that may pass: time out, too many requests."""


@dataclass(frozen=True)
class Checkpoint:
    """A model's files on this machine."""

    source: str
    folder: Path
    digest: str

    @property
    def label(self) -> str:
        """What rows say of it: the hub id or the folder's name, and the start of the digest."""
        name = Path(self.source).name if Path(self.source).exists() else self.source
        return f"{name}@{self.digest[:12]}"


def looks_local(source: str) -> bool:
    """Whether a source can only be a path: no hub id begins with `/`, `.` or `~`, or has two slashes."""
    return source.startswith((".", "~")) or Path(source).is_absolute() or source.count("/") > 1


def find_checkpoint(source: str, revision: str | None = None) -> Checkpoint:
    """A local folder as it is, anything else from the hub or its local cache.

    Raises CheckpointError when there is no such checkpoint or it has no safetensors weights, TransientError when the
    hub cannot be reached. The hub is asked once per process: all of a process's work is on one commit. A local folder
    that is written anew is noticed.
    """
    folder = Path(source).expanduser()
    local = folder.is_dir()
    if not local:
        if looks_local(source):
            raise CheckpointError(
                f"there is no folder {folder.absolute()}. Check the path, or give a hub id (owner/name)."
            )
        folder = _from_hub(source, revision)
    files = _files(folder)
    if not any(path.suffix == ".safetensors" for path in files):
        names = [path.name for path in folder.iterdir()] if local else _names_on_hub(source, revision)
        pickled = sorted(name for name in names if Path(name).suffix in PICKLED)
        why = f"only pickled weights ({', '.join(pickled)})" if pickled else "no weights"
        raise CheckpointError(f"{source} has {why}; *.safetensors are needed. Convert it with save_pretrained.")
    return Checkpoint(source, folder, digest_of(folder))


@lru_cache(maxsize=32)
def _from_hub(source: str, revision: str | None) -> Path:
    import httpx2
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(source, revision=revision, allow_patterns=list(FILES), ignore_patterns=list(NOT_FILES))
        )
    except (httpx2.HTTPError, OSError, ValueError) as error:
        if _may_pass(error):
            raise TransientError(
                f"{source!r} is not a local folder, and the hub cannot be reached: {error}. Try again later, or "
                "download it elsewhere and give the folder."
            ) from error
        raise CheckpointError(
            f"{source!r} is not a local folder, and the hub gave nothing: {error}. "
            "Check the name, the revision and your access to it, or download it elsewhere and give the folder."
        ) from error


def _may_pass(error: BaseException | None) -> bool:
    """Whether what the hub's client raised is the network's or the server's trouble, not the name's."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if isinstance(error, LocalEntryNotFoundError):  # neither asked nor cached; its cause says why it was not asked
        return _may_pass(error.__cause__)
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code in BUSY
    if isinstance(error, OfflineModeIsEnabled):
        return False  # a ConnectionError to its makers, but somebody wants it so
    return isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError)


def _names_on_hub(source: str, revision: str | None) -> list[str]:
    """Files of a repository that was just downloaded, those that were not taken included; asks no network."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return [file.path for file in get_cached_repo_tree(source, revision=revision)]
    except CachedRepoTreeNotFoundError:
        return []


def digest_of(folder: Path) -> str:
    """sha256 over names and contents of a checkpoint's files, as hexadecimal. Read again only when they change."""
    folder = folder.resolve()
    stamps = [(path.name, path.stat()) for path in _files(folder)]
    return _digest(folder, tuple((name, said.st_size, said.st_mtime_ns) for name, said in stamps))


@lru_cache(maxsize=32)
def _digest(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> str:
    total = hashlib.sha256()
    for name, _, _ in stamps:
        total.update(f"{name}:{_file_digest(folder / name)}\n".encode())
    return total.hexdigest()


def _files(folder: Path) -> list[Path]:
    """What belongs to the checkpoint: the same files whether it was downloaded here or cloned as a whole."""
    found = {path for pattern in FILES for path in folder.glob(pattern) if path.is_file()}
    return sorted(path for path in found if not any(fnmatch(path.name, pattern) for pattern in NOT_FILES))


def _file_digest(path: Path) -> str:
    blob = path.resolve().name
    if path.is_symlink() and BLOB.fullmatch(blob):
        return blob  # the hub's cache names large files by their sha256
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

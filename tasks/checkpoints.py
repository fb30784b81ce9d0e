"""Where a model's files are, and a digest of what is in them.

A checkpoint is a hub id or a local folder with config.json and safetensors weights. Pickled weights are refused: they
run code on loading.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tasks.errors import CheckpointError

FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""What is taken of a hub repository: configuration, tokenizer, safetensors weights."""

BLOB = re.compile(r"[0-9a-f]{64}")


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


def find_checkpoint(source: str, revision: str | None = None) -> Checkpoint:
    """A local folder as it is, anything else from the hub (or its local cache). Raises CheckpointError."""
    folder = Path(source).expanduser()
    if not folder.is_dir():
        folder = _from_hub(source, revision)
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        why = f"only pickled weights ({', '.join(pickled)})" if pickled else "no weights"
        raise CheckpointError(f"{source} has {why}; *.safetensors are needed. Convert it with save_pretrained.")
    return Checkpoint(source, folder, digest_of(folder.resolve()))


def _from_hub(source: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(FILES)))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{source!r} is not a local folder, and the hub gave nothing: {error}. "
            "Check the name and the network, or download it elsewhere and give the folder."
        ) from error


@lru_cache(maxsize=32)
def digest_of(folder: Path) -> str:
    """sha256 over names and contents of a checkpoint's files, as hexadecimal. Read once per process."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in FILES for path in folder.glob(pattern)}):
        total.update(f"{path.name}:{_file_digest(path)}\n".encode())
    return total.hexdigest()


def _file_digest(path: Path) -> str:
    blob = path.resolve().name
    if path.is_symlink() and BLOB.fullmatch(blob):
        return blob  # the hub's cache names large files by their sha256
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

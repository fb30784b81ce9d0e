"""Which folder a trained adapter's or checkpoint's name stands for in a store."""

from pathlib import Path

from storage.store import Store
from storage.training_tables import Adapter
from tasks.checkpoints import digest_of
from tasks.errors import CheckpointError


def named_adapter(name: str, store: Store) -> Adapter | None:
    """What a store knows by this name; None where it knows nothing, or the name is a path or a hub id.

    Raises CheckpointError where its folder is gone or holds something else by now.
    """
    if "/" in name or name.startswith((".", "~")) or Path(name).is_dir() or not (ref := store.ref("adapters", name)):
        return None
    (row,) = store.read(ref, Adapter)
    folder = Path(row.path)
    if not folder.is_dir():
        raise CheckpointError(
            f"{name!r} was trained into {row.path}, which is not on this machine. Copy it there, or name its folder."
        )
    if digest_of(folder) != row.digest:
        raise CheckpointError(f"{row.path} is not what was trained as {name!r}: its files changed. Train it again.")
    return row

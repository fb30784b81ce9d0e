"""Where bytes lie: a folder, or a prefix of an object store (any URI that pyarrow's filesystems open).

A file appears whole or not at all. Locally: temporary file in the same folder, fsync, rename, fsync the folder. On an
object store: written locally first, sent under a temporary name, moved to its own (on S3 a copy, which is atomic).
"""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.fs as pafs

from storage.errors import StoreError, TransientError

TEMPORARY = ".tmp"
"""Ending of unfinished files: no `*.parquet` glob ever sees one."""
NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""Said by a filesystem that has none."""
PARQUET_SAYS = ("thrift", "Parquet", "decompress", "Corrupt", "page header", "BYTE_ARRAY", "flatbuffers")
"""Words by which an error of an object store's file is known as one of its content."""


@dataclass(frozen=True)
class Files:
    """A root to read and write under. Paths are relative to it, with forward slashes."""

    filesystem: pafs.FileSystem
    root: str

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def full(self, path: str) -> str:
        """The path as the filesystem wants it."""
        return f"{self.root}/{path}"

    def exists(self, path: str) -> bool:
        """Whether a file stands there."""
        return bool(self.filesystem.get_file_info(self.full(path)).type == pafs.FileType.File)

    def open(self, path: str) -> pa.NativeFile:
        """Open for random reading. Raises FileNotFoundError."""
        return self.filesystem.open_input_file(self.full(path))

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[None]:
        """What goes wrong while a file is opened and read, told as ours.

        Raises StoreError for one that is gone or damaged, TransientError or OSError for a place that cannot be reached.
        """
        try:
            yield
        except FileNotFoundError as error:
            raise StoreError(f"{path} is gone from {self.root}. Run again to make it anew.") from error
        except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as error:
            self._raise_if_unreachable(error)
            why = " ".join(str(error).split()).rstrip(". ")
            raise StoreError(f"{path} in {self.root} is damaged: {why}. Delete it and run again.") from error

    def _raise_if_unreachable(self, error: Exception) -> None:
        """An outage must not count as damage: finished work would be done again. Parquet's own errors are no OSErrors,
        or such without a number; the operating system's have one, an object store's have none either.
        """
        if not isinstance(error, OSError):
            return
        if not self.is_local and not any(word in str(error) for word in PARQUET_SAYS):
            raise TransientError(f"{self.root} cannot be reached: {error}") from error
        if error.errno:
            raise error

    def under(self, prefix: str, ending: str = ".parquet") -> list[str]:
        """Paths of the files below a prefix with an ending, sorted."""
        selector = pafs.FileSelector(self.full(prefix), recursive=True, allow_not_found=True)
        found = self.filesystem.get_file_info(selector)
        skip = len(self.root) + 1
        return sorted(
            info.path[skip:] for info in found if info.type == pafs.FileType.File and info.path.endswith(ending)
        )

    def bytes_under(self, prefix: str) -> int:
        """Bytes of all files below a prefix."""
        selector = pafs.FileSelector(self.full(prefix), recursive=True, allow_not_found=True)
        return sum(info.size or 0 for info in self.filesystem.get_file_info(selector))

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders right below a prefix, sorted."""
        found = self.filesystem.get_file_info(pafs.FileSelector(self.full(prefix), allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == pafs.FileType.Directory)

    def delete(self, path: str) -> None:
        """Delete a file; one that is gone already is fine."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self.full(path))

    @contextlib.contextmanager
    def replacing(self, *paths: str) -> Iterator[list[Path]]:
        """Local temporary files to write; on leaving without an error each takes its place, in order."""
        folders = [Path(self.full(path)).parent if self.is_local else Path(tempfile.gettempdir()) for path in paths]
        drafts = [folder / draft_name(Path(path).name) for folder, path in zip(folders, paths, strict=True)]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        try:
            yield drafts
            for draft, path in zip(drafts, paths, strict=True):
                self._publish(draft, path)
        finally:
            for draft in drafts:
                draft.unlink(missing_ok=True)

    def _publish(self, draft: Path, path: str) -> None:
        with draft.open("rb") as written:
            os.fsync(written.fileno())
            if not self.is_local:
                self._send(written, path)
        if self.is_local:
            place = Path(self.full(path))
            draft.replace(place)
            sync_folder(place.parent)

    def _send(self, written: BinaryIO, path: str) -> None:
        """Closing an upload publishes it, also after an error half way: so first under a name that nobody reads."""
        place = self.full(path)
        folder, _, name = place.rpartition("/")
        draft = f"{folder}/{draft_name(name)}"
        try:
            with self._upload(draft) as target:
                shutil.copyfileobj(written, target, 1 << 20)
            self.filesystem.move(draft, place)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error counts; the draft is swept later
                self.filesystem.delete_file(draft)
            raise

    def _upload(self, full: str) -> pa.NativeFile:
        try:
            return self.filesystem.open_output_stream(full)
        except FileNotFoundError:  # a filesystem with real folders
            self.filesystem.create_dir(full.rpartition("/")[0], recursive=True)
            return self.filesystem.open_output_stream(full)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Others who want to be alone in a folder wait meanwhile: for what is read, changed and written back.

        Not so on an object store, or on a network's filesystem without locks: there the last one to write wins.
        """
        if not self.is_local:
            yield
            return
        Path(self.root).mkdir(parents=True, exist_ok=True)
        folder = os.open(self.root, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
            yield
        finally:
            os.close(folder)  # which ends the lock, as does the end of the process

    def probe(self) -> None:
        """Write and delete a small file. Raises StoreError when nothing can be written there, with the reason."""
        name = f"probe.{secrets.token_hex(4)}"
        try:
            with self.replacing(name) as (draft,):
                draft.write_bytes(b"")
            self.delete(name)
        except OSError as error:
            raise StoreError(
                f"nothing can be written to the store {self.root}: {error}. Give another place."
            ) from error

    def sweep(self) -> int:
        """Delete temporary files that dead processes of this machine left behind; their number."""
        temporary = Path(tempfile.gettempdir()).glob(f".*.parquet.*{TEMPORARY}")
        left = [Path(self.full(path)) for path in self.under("", TEMPORARY)] if self.is_local else list(temporary)
        dead = [path for path in left if owner_is_dead(path.name)]
        for path in dead:
            path.unlink(missing_ok=True)
        return len(dead)


@lru_cache(maxsize=64)
def open_files(location: str) -> Files:
    """Files under a folder or a URI such as s3://bucket/prefix. Raises StoreError with what pyarrow says."""
    if "://" not in location:
        place = os.path.abspath(os.path.expanduser(location))
        if os.path.isfile(place):
            raise StoreError(f"{location} is a file, and a store is a folder. Give another --store.")
        return Files(pafs.LocalFileSystem(), place)
    try:
        filesystem, root = pafs.FileSystem.from_uri(location)
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(f"the store {location!r} cannot be opened: {error}. Give a folder, or a URI.") from error
    return Files(filesystem, root.rstrip("/"))


def draft_name(name: str) -> str:
    """A hidden name beside `name` for what is not finished; it says whose it is, so that what a killed process left is
    known as such.
    """
    return f".{name}.{_host()}.{os.getpid()}.{secrets.token_hex(4)}{TEMPORARY}"


def owner_is_dead(name: str) -> bool:
    """Whether a draft was left behind by a process of this machine that is gone."""
    parts = name.removesuffix(TEMPORARY).split(".")
    if len(parts) < 4 or parts[-3] != _host() or not parts[-2].isdigit():
        return False  # another machine's: it may be alive
    try:
        os.kill(int(parts[-2]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _host() -> str:
    return socket.gethostname().replace(".", "-")


def sync_folder(folder: Path) -> None:
    """Make sure that a rename in a folder outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

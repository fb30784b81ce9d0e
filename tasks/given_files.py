"""What is said of a file that was given and cannot be opened: its path and the remedy, not Python's words."""

import errno
import os


def cannot_open(path: str | os.PathLike[str], error: OSError) -> str:
    """One or two sentences, the remedy last."""
    if os.path.isdir(path):
        return f"{path} is a folder. Give the file itself."
    if isinstance(error, FileNotFoundError | NotADirectoryError) or error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"there is no file {path}. Correct the path."
    return f"{path} cannot be read: {error.strerror or error}. Check its permissions."

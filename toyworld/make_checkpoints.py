"""Make the small embedded checkpoints: `python -m toyworld.make_checkpoints FOLDER`.

Random weights in the real classes and the hub's file layout: FOLDER/detector and FOLDER/captioner.
"""

import sys
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from toyworld.tiny_captioner import build_tiny_captioner
from toyworld.tiny_detector import build_tiny_detector


def make_checkpoints(folder: Path) -> None:
    """Write both checkpoints; with the same libraries the same bytes every time, whatever the CPU."""
    disable_progress_bar()  # save_pretrained draws one for each
    build_tiny_detector(folder / "detector")
    build_tiny_captioner(folder / "captioner")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m toyworld.make_checkpoints FOLDER")
    make_checkpoints(Path(sys.argv[1]))
    print(f"made the small models in {sys.argv[1]}")

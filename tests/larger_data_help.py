"""The mark of tests that read what is too large for the repository."""

import os

import pytest

from benchmarks.larger_data import DATA, VARIABLE

NEEDS_DATA = pytest.mark.skipif(
    VARIABLE not in os.environ and not DATA.is_dir(),
    reason=f"the larger test data is not beside this checkout, and ${VARIABLE} does not name its folder",
)
"""Where a folder is named or there, whatever lacks in it is a failure."""

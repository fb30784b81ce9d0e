"""The test data that is too large for the repository: where it lies."""

import os
from pathlib import Path

VARIABLE = "CAPTION_MOVIES_TEST_DATA"
"""Environment variable that names the folder."""
DATA = Path(os.environ.get(VARIABLE) or Path(__file__).parents[2] / "shared" / "data")
"""By default beside this checkout."""

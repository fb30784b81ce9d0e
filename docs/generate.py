"""Write the generated pages of docs/ anew: `make docs`. A test each fails when one is out of date."""

from pathlib import Path

from storage.documents import tables_markdown
from tasks.consistency import violations_markdown
from tasks.metrics_page import metrics_markdown

PAGES = {"tables.md": tables_markdown, "violations.md": violations_markdown, "metrics.md": metrics_markdown}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (Path(__file__).parent / name).write_text(make(), encoding="utf-8")
        print(f"docs/{name}")

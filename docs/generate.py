"""Write the generated pages of docs/ anew: `make docs`. A test each fails when one is out of date."""

from pathlib import Path

from flows.command_line import command_parser
from flows.describe_commands import commands_markdown
from flows.describe_settings import settings_markdown
from storage.documents import queries_markdown, tables_markdown
from tasks.consistency import violations_markdown
from tasks.metrics_page import metrics_markdown

PAGES = {
    "commands.md": lambda: commands_markdown(command_parser()),
    "settings.md": settings_markdown,
    "tables.md": tables_markdown,
    "queries.md": queries_markdown,
    "violations.md": violations_markdown,
    "metrics.md": metrics_markdown,
}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (Path(__file__).parent / name).write_text(make(), encoding="utf-8")
        print(f"docs/{name}")

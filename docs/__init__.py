"""Documentation; `generate` writes the pages that derive from code."""

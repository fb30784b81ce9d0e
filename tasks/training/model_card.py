"""The README.md of a trained captioner: what it was made of, and what was measured. Every number is of this run."""

import json
from collections.abc import Sequence

from storage.training_tables import Adapter, AdapterScore

TAGS = {"pixtral": "image-text-to-text", "blip": "image-to-text", "blip2": "image-to-text"}
STAGE = "| {name} | {} | {epochs:g} | {learning_rate:g} | {batch} | {schedule} |"
HOW = """    [caption]
    backend = "{backend}"
    checkpoint = "{checkpoint}"
    template = "{template}"
"""


def model_card(row: Adapter, scores: Sequence[AdapterScore]) -> str:
    """Markdown with the header that the hub reads."""
    recipe = json.loads(row.recipe)
    base = recipe["caption"]["checkpoint"]
    hub = base if base.count("/") == 1 and not base.startswith((".", "/", "~")) else ""
    lines = ["---", f"library_name: {'peft' if row.kind == 'adapter' else 'transformers'}"]
    lines += [f"base_model: {hub}"] if hub else []
    lines += [f"pipeline_tag: {TAGS.get(row.backend, 'image-to-text')}", "---", f"# {row.adapter}", ""]
    lines += [f"A {_kind(row, recipe)} on `{row.base}`, trained by caption-movies' `train-captioner`.", ""]
    lines += ["## Use", "", "In a profile of `caption-movies run`:", ""]
    how = HOW.format(
        backend=row.backend, checkpoint=base if row.kind == "adapter" else row.adapter, template=row.template
    )
    how += f'    adapter = "{row.adapter}"\n' if row.kind == "adapter" else ""
    lines += [how, "by its name where the store has it, else by the path of this folder.", ""]
    lines += ["## Training", "", "| stage | captions by | epochs | learning rate | batch | schedule |",
              "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    lines += [
        "| {name} | {} | {epochs:g} | {learning_rate:g} | {batch} | {schedule} |".format(
            ", ".join(one["sources"]), **one
        )
        for one in recipe["stage"]
    ]
    samples, left, movies = (json.loads(one) for one in (row.samples, row.left_out, row.movies))
    lines += ["", f"{row.steps} steps. Loss on the caption's tokens alone. Samples: {_counts(samples)}; left out: "
              f"{_counts(left) or 'none'}. Movies, none in two parts: {_counts(movies)}. Fingerprint of the data: "
              f"`{row.data_fingerprint[:16]}`.", ""]  # fmt: skip
    lines += ["## Measured", "", f"On {row.test_frames} frames with references, of movies that it never saw. Intervals "
              "are 95 %, over resampled frames; that of the difference is paired.", "",
              "| metric | before | after | difference |", "| --- | --- | --- | --- |"]  # fmt: skip
    lines += [_line(one) for one in scores if one.before is not None and one.after is not None]
    return "\n".join(lines) + "\n"


def _kind(row: Adapter, recipe: dict[str, dict[str, object]]) -> str:
    if row.kind == "checkpoint":
        return "checkpoint of which all weights were trained,"
    lora = recipe["lora"]
    return f"LoRA adapter (rank {lora['rank']}, alpha {lora['alpha']}, dropout {lora['dropout']})"


def _counts(values: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(values.items()))


def _line(one: AdapterScore) -> str:
    cells = [
        _value(one.before, one.before_low, one.before_high),
        _value(one.after, one.after_low, one.after_high),
        _value(one.difference, one.low, one.high),
    ]
    return f"| {one.metric} | {' | '.join(cells)} |"


def _value(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")

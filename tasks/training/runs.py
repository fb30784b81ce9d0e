"""The folder of a training: its samples, what it is about, its stages and what it leaves.

<folder>/run.json                what is trained on what; a run goes on only with the recipe and samples it began with
<folder>/samples.arrow           see samples.py
<folder>/features/               see features.py
<folder>/stage-1-<name>/         checkpoints while it runs, then log.json and result/
<folder>/tensorboard/            for `tensorboard --logdir`
<folder>/<name>/                 what `caption-movies` takes, README.md with the measured numbers, curve.png
<folder>/metrics.json            before and after on the test movies, as COCO's caption evaluation names them
<folder>/<name>-merged/          the adapter added into its checkpoint, where that was asked for
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.store import Store, describe
from tasks import trainables
from tasks.checkpoints import find_checkpoint
from tasks.errors import ConfigError
from tasks.training.fitting import SAMPLES, Job
from tasks.training.recipes import Recipe
from tasks.training.samples import VERSION, Gathered, gather_samples, referenced_movies

RUN = "run.json"


@dataclass(frozen=True)
class Prepared:
    """A training whose samples are gathered."""

    job: Job
    gathered: Gathered

    @property
    def name(self) -> str:
        """Of the adapter, and of its captions."""
        return self.job.recipe.caption.name

    @property
    def kind(self) -> str:
        """adapter or checkpoint."""
        return "adapter" if self.job.recipe.lora else "checkpoint"

    @property
    def product(self) -> Path:
        """The folder that `caption-movies` takes."""
        return self.job.folder / self.name


def default_folder(store: Store, name: str) -> Path:
    """In the store where that is a folder, else in the current one."""
    return Path(store.files.root if store.files.is_local else ".") / "training" / name


def prepare(recipe: Recipe, store: Store, folder: Path) -> Prepared:
    """Gather the samples, and begin a training or go on with one.

    Raises ConfigError for a folder that holds a training of another recipe or of other samples, CheckpointError where
    the checkpoint is not of the recipe's captioner, ReferencesError where there is nothing to learn from.
    """
    referenced_movies(store, recipe)  # before a checkpoint of gigabytes is fetched to learn from nothing
    base = find_checkpoint(recipe.caption.checkpoint, recipe.caption.revision)
    reader = trainables.load(recipe.caption.backend).reader(base.folder)
    draft = folder / f".{SAMPLES}.new"
    gathered = gather_samples(store, recipe, reader.length, draft)
    said: dict[str, Any] = {
        "recipe": describe(recipe, hashed_only=True),
        "base": base.digest,
        "samples": gathered.fingerprint,
    }
    said = {"version": VERSION, "key": _digest(said)} | said
    if (before := _read(folder / RUN)) is None:
        if strange := sorted(folder.glob("stage-*")):
            raise ConfigError(f"{strange[0]} is of no training of this project: {folder} has no {RUN}. Name another.")
        os.replace(draft, folder / SAMPLES)
        (folder / f".{RUN}").write_text(json.dumps(said, indent=1), "utf-8")
        os.replace(folder / f".{RUN}", folder / RUN)
    else:
        draft.unlink()
        if before.get("key") != said["key"]:
            what = [name for name in ("recipe", "base", "samples") if before.get(name) != said[name]]
            raise ConfigError(
                f"{folder} holds a training with another {' and '.join(what)}. Give another --name, or delete that "
                "folder to begin anew."
            )
    return Prepared(Job(folder, recipe, store, gathered.fingerprint), gathered)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        said: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    return said


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def put_product(prepared: Prepared) -> Path:
    """The last stage's result as the training's product; it appears as a whole."""
    job, target = prepared.job, prepared.product
    source = job.result(len(job.recipe.stage) - 1)
    if target.exists():
        return target
    draft = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(source, draft)
    os.replace(draft, target)
    return target


def count_samples(gathered: Gathered, part: str) -> int:
    """Samples of a part, of all sources."""
    found: Counter[str] = Counter()
    for name, number in gathered.samples.items():
        found[name.partition("/")[0]] += number
    return found[part]

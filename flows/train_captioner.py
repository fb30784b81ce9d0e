"""references -> samples -> an adapter, stage by stage -> scores without and with it, on movies that it never saw."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prefect import Task, flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.caption_detected import caption_detected, end_run
from flows.caption_movies import THREADS
from flows.caption_store import detected_shards
from flows.escape_markdown import as_cell, as_code
from flows.hold_devices import slots
from flows.name_runs import name_training_run
from flows.publish_artifacts import publish as publish_artifact
from flows.publish_report import MOST_LEFT_OUT, Row
from flows.read_configuration import PipelineConfig
from flows.read_recipe import read_recipe
from flows.run_state import start_on_store
from flows.show_steps import told_steps
from flows.steps import POLICY
from flows.stop_gently import pieces
from flows.train_worker import launch
from storage.errors import ParametersError
from storage.store import Store, TableRef
from storage.training_tables import AdapterScore
from tasks.accelerator import pick_device
from tasks.adapters import CARD, CURVE, adapter_scores, record_adapter
from tasks.checkpoints import find_checkpoint
from tasks.errors import ReferencesError
from tasks.imported_movies import Brought
from tasks.imports import import_data
from tasks.machine import whole_cores
from tasks.plot_style import check_matplotlib
from tasks.training.dataset import SampleFile
from tasks.training.fitting import SAMPLES, processes_on_cpu, train_stage
from tasks.training.models import export_merged
from tasks.training.recipes import Recipe
from tasks.training.runs import Prepared, default_folder, prepare, put_product
from tasks.training.splits import TEST
from tasks.training.validation import check_available

BEFORE = "-before"
"""Ends the name under which the captions of what was trained from stand in the store."""


@dataclass(frozen=True)
class TrainingReport:
    """What a training left."""

    name: str
    store: str
    folder: str
    product: str
    samples: dict[str, int]
    left_out: dict[str, int]
    movies: dict[str, int]
    scores: list[AdapterScore]
    merged: str | None = None
    unused: int = 0
    """Rows of the datasets given as references that could not be used."""
    unused_rows: list[str] = field(default_factory=list)
    """The first MOST_LEFT_OUT of them, with their reason."""


def fit(prepared: Prepared, index: int) -> str:
    """Train one stage: in this process on one device, in one process per device on several, or per share of the CPU."""
    recipe, result = prepared.job.recipe, prepared.job.result(index)
    with pieces.one():
        if result.exists():
            return str(result)
        devices = slots().devices
        wanted = recipe.caption.device
        if wanted == "auto" and len(devices) > 1:
            launch(prepared.job, index, len(devices))
            return str(result)
        with slots().hold(wanted) as device:
            on_cpu = processes_on_cpu(recipe, recipe.stage[index], whole_cores()) if device == "cpu" else 1
            if on_cpu > 1:
                launch(prepared.job, index, on_cpu, whole_cores() // on_cpu)
            else:
                with told_steps() as tell:
                    train_stage(prepared.job, index, tell)
    return str(result)


gather: Task[..., Prepared] = Task(prepare, name="gather-samples", **POLICY)
train: Task[..., str] = Task(fit, name="train-stage", tags=["gpu"], **POLICY)
record: Task[..., TableRef] = Task(record_adapter, name="record-adapter", **POLICY)


@flow(name="train-captioner", flow_run_name=name_training_run, task_runner=THREADS, persist_result=False)
def train_captioner(
    store: str,
    recipe: Recipe | str = "toyworld",
    references: list[str] | None = None,
    name: str = "",
    sources: list[str] | None = None,
    folder: str = "",
    merge: bool = False,
) -> TrainingReport:
    """Train a captioner on a store's references, and leave it where caption-movies takes it by name.

    store: frames, detections, references; here the rows go too. recipe: a ready one (groundcap, blip, blip2, toyworld),
    a TOML file, or the whole recipe. references: datasets of pictures and captions to bring in first. name: of what is
    trained, the recipe's where empty. sources: whose captions every stage learns from, instead of the recipe's. folder:
    of the run. merge: also write a checkpoint with the adapter added into it. Killed, the same call goes on.
    """
    settings = named_recipe(read_recipe(recipe), name, sources or [])
    opened = Store(store)
    check_training(settings, merge=merge)
    brought = bring(references or [], opened)
    place = Path(folder) if folder else default_folder(opened, settings.caption.name)
    prepared = gather(settings, opened, place)
    get_run_logger().info("samples %s, left out %s", dict(prepared.gathered.samples), dict(prepared.gathered.left_out))
    before = settings.caption.name + BEFORE
    caption_tests(prepared, replace(settings.caption, name=before))
    for index in range(len(settings.stage)):
        train(prepared, index)
    product = put_product(prepared)
    trained = {"adapter": str(product)} if settings.lora else {"checkpoint": str(product), "revision": None}
    caption_tests(prepared, replace(settings.caption, **trained))
    record(prepared, before, opened)
    merged = merge_adapter(prepared) if merge else None
    return publish(prepared, brought, merged)


def check_training(recipe: Recipe, *, merge: bool) -> None:
    """What would stand in the way only at a training's end. Raises ConfigError, MissingExtraError, ParametersError."""
    check_available(recipe.validate.metric)
    check_matplotlib()  # for the picture at the end
    if merge and not recipe.lora:
        raise ParametersError(
            f"merge adds an adapter into the checkpoint, and the recipe of {recipe.caption.name!r} trains none: it has "
            "no [lora]. Leave --merge out: what such a recipe trains is a whole checkpoint already."
        )


def named_recipe(recipe: Recipe, name: str, sources: Sequence[str]) -> Recipe:
    """The recipe with another name, or other captions to learn from."""
    if name:
        recipe = replace(recipe, caption=replace(recipe.caption, name=name))
    if sources:
        recipe = replace(recipe, stage=tuple(replace(one, sources=tuple(sources)) for one in recipe.stage))
    return recipe


def bring(references: Sequence[str], store: Store) -> Brought:
    """Import datasets of pictures with captions, whatever format of tasks/imports they have; nothing of none. What they
    brought, and which of their rows could not be used.

    Raises ReferencesError for captions of a store's own frames, with the command that brings those in, and what
    import_data raises.
    """
    for path in references:
        if path.endswith((".csv", ".jsonl", ".ndjson")):
            raise ReferencesError(
                f"{path} has no pictures. Captions of a store's own frames go in with: caption-movies references "
                f"{path} --store {store.location}; then train without --references."
            )
    return import_data(list(references), store) if references else Brought()


def caption_tests(prepared: Prepared, caption: Any) -> None:
    """Caption, check and score the test movies, by the steps of the main job."""
    file = SampleFile(prepared.job.folder / SAMPLES)
    movies = {file[int(number)].movie_id for number in file.numbers(TEST)}
    config = PipelineConfig(caption=caption, score=prepared.job.recipe.score)
    run = start_on_store(prepared.job.store.location, config, movies)
    for frames, detections in detected_shards(run):
        caption_detected(run, frames, detections)
    end_run(run)


def merge_adapter(prepared: Prepared) -> str:
    """Write the merged checkpoint beside the adapter; its folder."""
    job, target = prepared.job, prepared.job.folder / f"{prepared.name}-merged"
    caption = job.recipe.caption
    base = find_checkpoint(caption.checkpoint, caption.revision)
    if not target.exists():
        loss = export_merged(job.recipe, base, prepared.product, target, pick_device(caption.device))
        get_run_logger().info("merged; rounding took %.2f %% of the adapter", 100 * loss)
    return str(target)


def rows_unused(brought: Brought, left_out: Mapping[str, int]) -> list[Row]:
    """Rows of datasets that could not be used, with place and reason; captions not learnt from, by their fault."""
    rows: list[Row] = [
        {"what": "row of the references", "number": 1, "place": as_cell(one.place), "reason": as_cell(one.why)}
        for one in brought.left_out[:MOST_LEFT_OUT]
    ]
    for code, number in sorted(left_out.items()):
        rows.append({"what": "caption", "number": number, "place": "", "reason": as_cell(code)})
    return rows


def publish(prepared: Prepared, brought: Brought, merged: str | None) -> TrainingReport:
    """The report, and the artifacts in Prefect: the card, the loss curve as a picture, what was not learnt from."""
    product, gathered = prepared.product, prepared.gathered
    card = (product / CARD).read_text("utf-8")
    curve = f"![Loss by step](data:image/png;base64,{base64.b64encode((product / CURVE).read_bytes()).decode()})"
    about = f"captioner {as_code(prepared.name)} in {as_code(prepared.job.store.location)}"
    publish_artifact("card", lambda key: create_markdown_artifact(card, key, f"The card of {about}"))
    publish_artifact("curve", lambda key: create_markdown_artifact(curve, key, f"The loss of {about}"))
    rows = rows_unused(brought, gathered.left_out)
    lost = f"Not learnt from: {brought.lost} rows of the references, {gathered.left_out.total()} captions"
    publish_artifact("unused", lambda key: create_table_artifact(rows, key, f"{lost}; {about}"))
    return TrainingReport(
        name=prepared.name,
        store=prepared.job.store.location,
        folder=str(prepared.job.folder),
        product=str(product),
        samples=dict(gathered.samples),
        left_out=dict(gathered.left_out),
        movies=dict(gathered.movies),
        scores=adapter_scores(prepared.name, prepared.job.store),
        merged=merged,
        unused=brought.lost,
        unused_rows=[f"{one.place}: {one.why}" for one in brought.left_out[:MOST_LEFT_OUT]],
    )

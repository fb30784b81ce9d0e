"""The tables that a training leaves in a store; storage/tables.py says what all tables have in common."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from storage.row import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter(Row):
    """One trained captioner: an adapter, or a whole checkpoint. `caption-movies run` takes it by its name."""

    table: ClassVar[str] = "adapters"
    key: ClassVar[tuple[str, ...]] = ("adapter",)
    references: ClassVar[dict[str, str]] = {}

    adapter: Annotated[str, "its name, under which the captions of the trained captioner stand in this store too"]
    kind: Annotated[str, "adapter (LoRA, as PEFT saves it) | checkpoint (all weights)"]
    path: Annotated[str, "the folder it was written into, on the machine that trained it"]
    digest: Annotated[str, "sha256 over names and contents of that folder's files"]
    backend: Annotated[str, "file in tasks/captioners that it is of"]
    base: Annotated[str, "the checkpoint it began with: hub id or folder name, and the start of its digest"]
    base_digest: Annotated[str, "sha256 over that checkpoint's files"]
    template: Annotated[str, "prompt template in tasks/prompts.py that it was trained with"]
    recipe: Annotated[str, "all settings of the training, as JSON"]
    data_fingerprint: Annotated[str, "sha256 over all samples and the files their frames are in"]
    samples: Annotated[str, "JSON object: part/source to samples, of train, validation, test"]
    left_out: Annotated[str, "JSON object: fault to captions that were not learnt from because of it"]
    movies: Annotated[str, "JSON object: part to movies; no movie is in two"]
    steps: Annotated[int, "steps of the optimizer, over all stages"]
    test_frames: Annotated[int, "frames with references that before and after were scored on"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterScore(Row):
    """One metric before and after a training, on the same frames of movies that it never saw."""

    table: ClassVar[str] = "adapter_scores"
    key: ClassVar[tuple[str, ...]] = ("adapter", "metric")
    references: ClassVar[dict[str, str]] = {"adapter": "adapters"}

    adapter: Annotated[str, "adapters.adapter"]
    metric: Annotated[str, "as in summaries"]
    higher_is_better: Annotated[bool | None, "false: lower is; null: neither"]
    before: Annotated[float | None, "of what it was trained from; null where it could not be computed"]
    before_low: Annotated[float | None, "lower bound of its 95 % interval over resampled frames; null without one"]
    before_high: Annotated[float | None, "upper bound of it"]
    after: Annotated[float | None, "of the trained captioner"]
    after_low: Annotated[float | None, "lower bound of its 95 % interval"]
    after_high: Annotated[float | None, "upper bound of it"]
    difference: Annotated[float | None, "after less before"]
    low: Annotated[float | None, "lower bound of the difference's 95 % interval: a paired bootstrap over frames"]
    high: Annotated[float | None, "upper bound of it"]
    p_value: Annotated[float | None, "approximate randomisation: how often chance makes a difference as large"]
    frames: Annotated[int, "frames that both were measured on"]
    reason: Annotated[str | None, "why something is null; null where nothing is"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPoint(Row):
    """One value at one step of a training: the loss curve, the learning rate, the speed, the validation."""

    table: ClassVar[str] = "training_log"
    key: ClassVar[tuple[str, ...]] = ("adapter", "stage", "step", "name")
    references: ClassVar[dict[str, str]] = {"adapter": "adapters"}

    adapter: Annotated[str, "adapters.adapter"]
    stage: Annotated[str, "of the recipe"]
    step: Annotated[int, "steps of the optimizer in this stage, from 1"]
    epoch: Annotated[float, "passes over the stage's samples"]
    name: Annotated[str, "loss | learning_rate | grad_norm | samples_per_second | eval_loss | eval_validation | ..."]
    value: Annotated[float, "its value"]

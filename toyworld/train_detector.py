"""Train the drawn world's detector: `python -m toyworld.train_detector --folder RUN --minutes 120`.

RUN keeps state.safetensors, from which the same command goes on after any interruption, plan.json and log.jsonl.
`--export FOLDER` writes the checkpoint: the averaged weights in half precision, in the hub's files.
`--start FOLDER` begins a new run with the weights of another run, or of a checkpoint, and with scenes as they come.
"""

import dataclasses
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tasks.detectors import DetectConfig
from tasks.detectors.mask2former import Mask2Former, things_of
from toyworld import training_run
from toyworld.detector_data import batches, draw_pool, round_seeds
from toyworld.detector_loss import PixelNaming, Targets, detector_loss
from toyworld.detector_model import SIZE, detector_processor, model_input, new_detector, write_detector
from toyworld.detector_report import measure
from toyworld.fast_cpu import has_bfloat16, keep_freed_memory
from toyworld.faster_attention import faster_attention
from toyworld.seeds import VALIDATION
from toyworld.training_run import (
    STEADY,
    Clock,
    Rhythm,
    add_plan,
    cut_log,
    keep_plan,
    length_of,
    options,
    run_script,
    run_through,
    schedule,
)
from toyworld.training_state import average_in, read_averaged, read_state, write_state
from toyworld.vocabulary import LABELS


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does. Kept in RUN/plan.json; a run goes on only with the plan that it began with."""

    seed: int = 0
    steps: int | None = None
    """Steps in all; None: the length is given in time, and the schedule follows the clock."""
    batch: int = 12
    scenes: int = 1536
    """New scenes in a round."""
    passes: int = 3
    """How often a round goes over them."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 5.0
    """Largest norm of the gradient."""
    warm_up: int = 200
    """Steps until the learning rate is reached."""
    averaging: float = 0.998
    """Decay of the averaged weights, a step."""
    few: tuple[tuple[float, int], ...] = ((0.04, 3), (0.1, 5))
    """(until this part of the run, so many actors at most): few objects first."""
    sizes: tuple[tuple[float, int, int], ...] = ((0.55, 336, 192), (1.0, *SIZE))
    """(until this part of the run, width and height of the detector's input). Small pictures come first: they take
    little more than half the time."""
    small: bool = False
    """A smaller model, for tests."""


@dataclass
class Progress(training_run.Progress):
    """Where a run stands."""

    round: int = 0
    batch: int = 0
    """Batches of the round that are done."""
    actors: tuple[int, int] | None = None
    """How many actors the round's scenes have; None: as they come."""
    size: tuple[int, int] = SIZE
    """(width, height) of the round's pictures as the detector gets them."""


@dataclass
class Trainer:
    """A model in training and all that belongs to it."""

    plan: Plan
    model: Any
    naming: PixelNaming
    """Trained along, see its module; no part of the checkpoint."""
    averaged: dict[str, Tensor]
    """The model's weights, averaged over the last steps."""
    optimizer: torch.optim.Optimizer
    half: bool
    """Whether the forward pass is in bfloat16."""

    @classmethod
    def new(cls, plan: Plan, device: str) -> "Trainer":
        """An untrained one."""
        changes = SMALL if plan.small else {}
        model = new_detector(plan.seed, **changes).to(device).train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            naming = PixelNaming(model.config).to(device)
        trained = [*model.parameters(), *naming.parameters()]
        decayed = [value for value in trained if value.ndim > 1]
        others = [value for value in trained if value.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=plan.learning_rate, betas=plan.betas, fused=True)
        averaged = {name: value.detach().clone() for name, value in model.state_dict().items()}
        half = has_bfloat16() if device == "cpu" else device.startswith("cuda")
        return cls(plan, model, naming, averaged, optimizer, half)

    @property
    def modules(self) -> torch.nn.ModuleDict:
        """All that is trained."""
        return torch.nn.ModuleDict({"detector": self.model, "naming": self.naming})

    def step(self, images: Tensor, targets: Targets, progress: Progress) -> float:
        """One step on a batch; gives back its loss."""
        device = self.model.device
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate * schedule(progress, self.plan.warm_up)
        targets = Targets(targets.classes.to(device), targets.maps.to(device))
        with torch.autocast(device.type, torch.bfloat16) if self.half else nullcontext():
            loss = detector_loss(self.model, model_input(images.to(device)), targets, self.naming)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.modules.parameters(), self.plan.clip)
        self.optimizer.step()
        average_in(self.averaged, self.model, min(self.plan.averaging, (1 + progress.step) / (10 + progress.step)))
        progress.step += 1
        return float(loss.detach())


SMALL = {"backbone": {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 16, 16], "depths": [1] * 5}, "decoder_layers": 2}


def actors_at(plan: Plan, part: float) -> tuple[int, int] | None:
    """How many actors scenes have at this part of the run; None: as they come."""
    return next(((1, most) for until, most in plan.few if part < until), None)


def size_at(plan: Plan, part: float) -> tuple[int, int]:
    """(width, height) of the detector's input at this part of the run."""
    return next(((width, height) for until, width, height in plan.sizes if part < until), SIZE)


def train(
    folder: Path,
    plan: Plan,
    *,
    seconds_left: float | None = None,
    device: str = "cpu",
    start: Path | None = None,
    executor: Executor | None = None,
    looked_at: int = 50,
    rhythm: Rhythm = STEADY,
) -> Progress:
    """Train until the plan is done, from where the folder's state stands; give back the progress.

    A new run begins with the weights of the run or checkpoint `start`, where one is given. The averaged weights are
    measured on `looked_at` scenes kept for it.
    """
    trainer, progress = Trainer.new(plan, device), Progress()
    state, log = folder / "state.safetensors", folder / "log.jsonl"
    if state.exists():
        said = read_state(state, trainer.modules, trainer.averaged, trainer.optimizer)
        progress = Progress(**said | {"actors": said["actors"] and tuple(said["actors"]), "size": tuple(said["size"])})
        cut_log(log, progress.step)
    elif start:
        begin_with(trainer, start)

    def step(batch: tuple[Tensor, Targets]) -> dict[str, float]:
        return {"loss": trainer.step(*batch, progress)}

    def save() -> None:
        write_state(state, trainer.modules, trainer.averaged, trainer.optimizer, dataclasses.asdict(progress))

    with faster_attention(), ThreadPoolExecutor(1) as thread:
        run_through(
            _batches(plan, progress, executor, thread), step, progress, Clock(progress, plan.steps, seconds_left), log,
            look=lambda: look(trainer, VALIDATION[:looked_at], progress.size), save=save, rhythm=rhythm,
        )  # fmt: skip
    return progress


def begin_with(trainer: Trainer, folder: Path) -> None:
    """Take over the averaged weights of another run, or those of a checkpoint."""
    state = folder / "state.safetensors"
    weights = read_averaged(state) if state.exists() else load_file(folder / "model.safetensors")
    trainer.model.load_state_dict(weights)
    for name, value in trainer.model.state_dict().items():
        trainer.averaged[name].copy_(value)


def _batches(
    plan: Plan, progress: Progress, executor: Executor | None, thread: Executor
) -> Iterator[tuple[Tensor, Targets]]:
    """Batches from where the progress stands, without end. Other processes draw the next round meanwhile."""
    if progress.batch == 0:
        _begin_round(plan, progress)
    pool = draw_pool(_seeds(plan, progress), progress.actors, progress.size, executor)
    while True:
        after = dataclasses.replace(progress, round=progress.round + 1, batch=0)
        if executor is not None:
            _begin_round(plan, after)
            coming = thread.submit(draw_pool, _seeds(plan, after), after.actors, after.size, executor)
        for index, batch in enumerate(batches(pool, (plan.seed, progress.round), plan.passes, plan.batch)):
            if index < progress.batch:
                continue
            progress.batch += 1
            yield batch
        progress.round, progress.batch = after.round, 0
        if executor is not None:
            progress.actors, progress.size, pool = after.actors, after.size, coming.result()
        else:
            _begin_round(plan, progress)
            pool = draw_pool(_seeds(plan, progress), progress.actors, progress.size)


def _seeds(plan: Plan, progress: Progress) -> range:
    """The seeds of a round's scenes; runs of other seeds have other scenes."""
    return round_seeds(plan.seed * 1000 + progress.round, plan.scenes)


def _begin_round(plan: Plan, progress: Progress) -> None:
    """Say what the round's scenes are like."""
    part = progress.part
    if plan.steps is not None:  # a resumed run does the same, so it hangs on what is known in advance
        part = progress.round * plan.passes * (plan.scenes // plan.batch) / plan.steps
    progress.actors, progress.size = actors_at(plan, part), size_at(plan, part)


def look(trainer: Trainer, seeds: range, size: tuple[int, int]) -> dict[str, Any]:
    """Panoptic quality of the averaged weights on these seeds, as the pipeline would have it."""
    model = trainer.model
    kept = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(trainer.averaged)
    model.eval()
    things = things_of(model.config, LABELS)
    detector = Mask2Former(model, detector_processor(size), list(LABELS), things, "in training", DetectConfig())
    try:
        measured = measure(detector, seeds)
    finally:
        model.load_state_dict(kept)
        model.train()
    by_label = {label: one["pq"] for label, one in measured.pop("labels").items()}
    return measured | {"labels": by_label}


def export(folder: Path, target: Path, plan: Plan) -> None:
    """Write the checkpoint of a run's averaged weights."""
    write_detector(Trainer.new(plan, "cpu").model, read_averaged(folder / "state.safetensors"), target)


OPTIONS = ("seed", "batch", "scenes", "passes", "learning_rate")
"""Fields of a plan that can be chosen."""


def main() -> None:
    """Train, and export where that is asked for."""
    parser = options(__doc__ or "")
    add_plan(parser, Plan, OPTIONS)
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="begin with another run's or checkpoint's weights")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw; 0: the training draws")
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    plan = Plan(**{name: getattr(given, name) for name in ("steps", *OPTIONS)})
    if given.start:  # who has seen scenes needs no easy ones first
        plan = dataclasses.replace(plan, few=(), sizes=())
    keep_plan(given.folder, plan)
    with ExitStack() as stack:
        executor = None
        if given.workers:
            executor = stack.enter_context(ProcessPoolExecutor(given.workers, get_context("spawn")))
        if length := length_of(given):
            train(given.folder, plan, start=given.start, executor=executor, **length)
    if given.export:
        export(given.folder, given.export, plan)


if __name__ == "__main__":
    run_script(main)

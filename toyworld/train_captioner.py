"""Train the drawn world's captioner: `python -m toyworld.train_captioner --folder RUN --minutes 120`.

RUN keeps state.safetensors, from which the same command goes on after any interruption, the tokenizer, plan.json and
log.jsonl. `--export FOLDER` writes the checkpoint: the averaged weights in half precision, in the hub's files.

The run has three phases: the vision tower learns what patches show; the text model learns which detection is which part
of the picture; then it learns to write. How that is asked for stands in captioner_heads.py.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tasks.pixtral_inputs import PixtralInputs
from toyworld.captioner_examples import RELATIONS, Sample, collate, draw_samples, of_views, tokenizer_sentences
from toyworld.captioner_heads import Batch, Heads
from toyworld.captioner_model import HEIGHT_PX, PATCH_PX, WIDTH_PX, build_captioner, export, write_inputs
from toyworld.captioner_trainer import BINDING, SEEING, TELLING, Trainer
from toyworld.captioner_validation import validate
from toyworld.captioner_views import draw_views
from toyworld.fast_cpu import has_bfloat16, keep_freed_memory
from toyworld.seeds import TRAIN, VALIDATION
from toyworld.training_run import (
    STEADY,
    Clock,
    Progress,
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
from toyworld.training_state import read_averaged, read_state, write_state

LENGTH_NOISE = 20
"""Tokens by which lengths are blurred before samples are sorted by them, so that passes have different batches."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does. Kept in RUN/plan.json; a run goes on only with the plan that it began with."""

    seed: int = 0
    steps: int | None = None
    """Steps in all; None: the length is given in time, and the schedule follows the clock."""
    batch: int = 16
    scenes: int = 1024
    """New scenes in a round."""
    passes: int = 4
    """How often a round goes over them, each time with other detections and another caption."""
    views: int = 4
    """How often while the vision tower learns alone, each time with another view."""
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.02
    warm_up: int = 200
    """Steps until the learning rate is reached."""
    seeing: float = 0.18
    """Part of the run in which the vision tower learns alone."""
    binding: float = 0.28
    """Part of the run at which captions begin."""
    words_from: int = 400
    """Scenes whose captions the tokenizer's words are learnt from."""


@dataclass
class Place(Progress):
    """Where a run stands."""

    round: int = 0
    batch: int = 0
    """Batches of the round that are done, or under way."""
    alone: bool = False
    """Whether the round is for the vision tower alone."""


def train(
    folder: Path,
    plan: Plan,
    *,
    seconds_left: float | None = None,
    device: str = "cpu",
    start: Path | None = None,
    looked_at: int = 96,
    rhythm: Rhythm = STEADY,
) -> Place:
    """Train until the plan is done, from where the folder's state stands; give back the progress.

    A new run begins with the weights of the run `start`, where one is given.

    The averaged weights are tried on `looked_at` scenes kept for it.
    """
    inputs = inputs_of(folder, plan)
    trainer, progress = new_trainer(inputs, plan, device), Place()
    state, log = folder / "state.safetensors", folder / "log.jsonl"
    if state.exists():
        progress = Place(**read_state(state, trainer.trained, trainer.averaged, trainer.optimizer))
        cut_log(log, progress.step)
    elif start:
        begin_with(trainer, inputs, start)
    held_out = draw_samples(VALIDATION[:looked_at], inputs, variants=1)
    padding = inputs.tokenizer.pad_token_id

    def step(batch: Batch) -> dict[str, float]:
        rate = plan.learning_rate * schedule(progress, plan.warm_up)
        losses = trainer.step(batch.to(device), phase_of(plan, progress), rate, progress.step)
        progress.step += 1
        return losses

    def save() -> None:
        write_state(state, trainer.trained, trainer.averaged, trainer.optimizer, dataclasses.asdict(progress))

    run_through(
        batches(plan, progress, inputs), step, progress, Clock(progress, plan.steps, seconds_left), log,
        look=lambda: validate(trainer, held_out, plan.batch, padding), save=save, rhythm=rhythm,
    )  # fmt: skip
    return progress


def inputs_of(folder: Path, plan: Plan) -> PixtralInputs:
    """The run's tokenizer and picture processor, made when they are not there yet."""
    path = folder / "inputs"
    if not (path / "processor_config.json").exists():
        write_inputs(tokenizer_sentences(TRAIN[-plan.words_from :]), path)
    return PixtralInputs(path)


def new_trainer(inputs: PixtralInputs, plan: Plan, device: str) -> Trainer:
    """An untrained model with its heads."""
    model = build_captioner(inputs.tokenizer, plan.seed).to(device).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        heads = Heads(model.config, HEIGHT_PX // PATCH_PX, WIDTH_PX // PATCH_PX, len(RELATIONS)).to(device)
    fast = has_bfloat16() if device == "cpu" else device.startswith("cuda")
    dtype = torch.bfloat16 if fast else torch.float32
    return Trainer.new(model, heads, dtype, weight_decay=plan.weight_decay, rate=plan.learning_rate)


def begin_with(trainer: Trainer, inputs: PixtralInputs, folder: Path) -> None:
    """Take over the averaged weights of another run, or those of a checkpoint, which has no heads. Words' embeddings
    are taken word by word; what has no match stays.
    """
    if (state := folder / "state.safetensors").exists():
        others, before = read_averaged(state), PixtralInputs(folder / "inputs")
    else:
        whole = type(trainer.trained["model"]).from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        others, before = {f"model.{name}": value for name, value in whole.state_dict().items()}, PixtralInputs(folder)
    words, old_words = inputs.tokenizer.get_vocab(), before.tokenizer.get_vocab()
    same = [(words[word], old_words[word]) for word in sorted(words.keys() & old_words.keys())]
    new, old = (torch.tensor(list(ids)) for ids in zip(*same, strict=True))
    own = trainer.trained.state_dict()
    for name, value in others.items():
        if (
            name in own
            and own[name].shape[1:] == value.shape[1:]
            and name.endswith(("embed_tokens.weight", "lm_head.weight"))
        ):
            own[name][new] = value[old]
        elif name in own and own[name].shape == value.shape:
            own[name].copy_(value)
    for name, value in own.items():
        trainer.averaged[name].copy_(value)


def phase_of(plan: Plan, progress: Place) -> str:
    """What is learnt at this part of the run. A round that began with the vision tower alone ends so."""
    if progress.alone if progress.batch else progress.part < plan.seeing:
        return SEEING
    return BINDING if progress.part < plan.binding else TELLING


def batches(plan: Plan, progress: Place, inputs: PixtralInputs) -> Iterator[Batch]:
    """Batches from where the progress stands, without end: any of them can be had again from that alone."""
    while True:
        if progress.batch == 0:
            progress.alone = phase_of(plan, progress) == SEEING
        first = TRAIN.start + (plan.seed * 1000 + progress.round) * plan.scenes
        seeds = range(first, first + plan.scenes)
        for batch in _views(plan, progress, seeds) if progress.alone else _told(plan, progress, seeds, inputs):
            progress.batch += 1
            yield batch
        progress.round, progress.batch = progress.round + 1, 0


def _views(plan: Plan, progress: Place, seeds: range) -> Iterator[Batch]:
    """What is left of a round for the vision tower alone."""
    views = draw_views(seeds, plan.views)
    order = np.random.default_rng((plan.seed, progress.round)).permutation(len(views))
    for start in range(progress.batch * plan.batch, len(views) - plan.batch + 1, plan.batch):
        yield of_views([views[one] for one in order[start : start + plan.batch]])


def _told(plan: Plan, progress: Place, seeds: range, inputs: PixtralInputs) -> Iterator[Batch]:
    """What is left of a round with prompts, and with captions when their time has come."""
    samples = draw_samples(seeds, inputs, variants=plan.passes)
    a_pass = plan.scenes // plan.batch
    for index in range(progress.batch, a_pass * plan.passes):
        variant, place = divmod(index, a_pass)
        order = _order(samples, variant, np.random.default_rng((plan.seed, progress.round, variant)), plan.batch)
        chosen = [samples[one] for one in order[place * plan.batch : (place + 1) * plan.batch]]
        captions = phase_of(plan, progress) == TELLING
        yield collate(chosen, variant, inputs.tokenizer.pad_token_id, captions=captions)


def _order(samples: list[Sample], variant: int, generator: np.random.Generator, batch: int) -> list[int]:
    """All samples by chance, but those of like length in one batch."""
    noise = generator.normal(0, LENGTH_NOISE, len(samples))
    by_length = np.argsort([len(one.told[variant].ids) for one in samples] + noise, kind="stable")
    groups = generator.permutation(len(samples) // batch)
    return [int(one) for group in groups for one in by_length[group * batch : (group + 1) * batch]]


def export_run(folder: Path, target: Path, plan: Plan) -> Path:
    """Write the checkpoint of a run's averaged weights."""
    averaged = read_averaged(folder / "state.safetensors")
    inputs = inputs_of(folder, plan)
    trainer = new_trainer(inputs, plan, "cpu")
    trainer.trained.load_state_dict(averaged)
    return export(trainer.trained["model"], inputs.tokenizer, target)


OPTIONS = ("seed", "batch", "scenes", "passes", "views", "learning_rate", "seeing", "binding")
"""Fields of a plan that can be chosen."""


def main() -> None:
    """Train, and export where that is asked for."""
    parser = options(__doc__ or "")
    add_plan(parser, Plan, OPTIONS)
    parser.add_argument(
        "--start", type=Path, metavar="FOLDER", help="begin with the weights of another run, or of a checkpoint"
    )
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    plan = Plan(**{name: getattr(given, name) for name in ("steps", *OPTIONS)})
    keep_plan(given.folder, plan)
    if length := length_of(given):
        train(given.folder, plan, start=given.start, **length)
    if given.export:
        export_run(given.folder, given.export, plan)


if __name__ == "__main__":
    run_script(main)

"""How far a captioner in training is: cheap figures without writing captions, each beside those with a wrong picture.

The wrong picture is that of another scene of the batch; detections and the caption so far stay. What a model says as
rightly with it, it did not see.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from toyworld.captioner_examples import Sample, collate
from toyworld.captioner_forward import embed, look, multiply, read
from toyworld.captioner_heads import ASKS, ATTRIBUTES, LINE_STATES, LOOK_LAYERS, SIZES, Batch
from toyworld.captioner_trainer import Trainer, normalised

Counts = dict[str, list[float]]
"""Name to (right, asked)."""


@torch.no_grad()
def validate(trainer: Trainer, samples: Sequence[Sample], size: int, pad: int) -> dict[str, dict[str, float]]:
    """Accuracies of the averaged weights, with the right and with a wrong picture.

    `line_*`: a head reads it off a detection's line (of relations the F1); the other names: the caption's next token,
    the truth before it.
    """
    kept = {name: value.detach().clone() for name, value in trainer.trained.state_dict().items()}
    trainer.trained.load_state_dict(trainer.averaged)
    found: dict[str, dict[str, float]] = {}
    try:
        for name, shift in (("right", 0), ("wrong", 1)):
            counts: Counts = defaultdict(lambda: [0.0, 0.0])
            for start in range(0, len(samples), size):
                batch = collate(samples[start : start + size], 0, pad, clean=True).to(
                    str(trainer.trained["model"].device)
                )
                _count(trainer, dataclasses.replace(batch, images=batch.images.roll(shift, 0)), counts)
            found[name] = {key: round(right / max(1, asked), 4) for key, (right, asked) in sorted(counts.items())}
    finally:
        trainer.trained.load_state_dict(kept)
    return found


def _count(trainer: Trainer, batch: Batch, counts: Counts) -> None:
    model: Any = trainer.trained["model"]
    heads: Any = trainer.trained["heads"]
    _, features = look(model, normalised(batch.images), trainer.dtype)
    said = read(model, embed(model, batch.ids, features), trainer.dtype, LOOK_LAYERS)
    sample, place = batch.lines.T
    parts = heads.lines[-1](said.states[LINE_STATES[-1]][sample, place]).split(SIZES, dim=-1)
    for index, (name, part) in enumerate(zip(ATTRIBUTES, parts, strict=True)):
        asked = batch.attributes[:, index] >= 0
        _add(counts, f"line_{name}", (part.argmax(-1) == batch.attributes[:, index])[asked])
    if len(batch.pairs):
        related = heads.relate(said.states, batch)[-1] > 0
        found, wrong = (int((related & (batch.relations == truth)).sum()) for truth in (1, 0))
        counts["line_relations"][0] += 2 * found
        counts["line_relations"][1] += found + wrong + int((batch.relations == 1).sum())
    told = batch.weights[:, 1:] > 0
    logits = multiply(said.states[-1][:, :-1][told], model.lm_head.weight, trainer.dtype).float()
    truth, asks = batch.ids[:, 1:][told], batch.asks[:, 1:][told]
    right = logits.argmax(-1) == truth
    for index, name in enumerate(ASKS):
        _add(counts, name or "other", right[asks == index])
    counts["log_loss"][0] += float(torch.nn.functional.cross_entropy(logits, truth, reduction="sum"))
    counts["log_loss"][1] += len(truth)


def _add(counts: Counts, name: str, right: torch.Tensor) -> None:
    counts[name][0] += float(right.sum())
    counts[name][1] += right.numel()

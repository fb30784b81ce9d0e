"""Drawn scenes as the captioner is trained on them: picture, listed detections, caption, and the truth for its heads.

A scene is drawn and named once and told several times: each time with other mistakes of a detector (boxes that are off,
objects that were not found or are not there), numbered anew, and with another caption.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from storage.tables import Detection
from tasks import prompts
from tasks.boxes import centre
from tasks.object_naming import clean_label
from tasks.pixtral_inputs import PixtralInputs
from toyworld.captioner_heads import ATTRIBUTES, SCENE, Batch
from toyworld.captioner_lists import NOBODY, as_listed, mistaken
from toyworld.captioner_model import HEIGHT_PX, TEMPLATE, WIDTH_PX, line_end_pieces
from toyworld.captioner_patches import (
    Parts,
    attributes_of,
    parts_inside,
    patch_attributes,
    patch_parts,
    quarter_categories,
)
from toyworld.captioner_views import View, photographed, shifted, views_of
from toyworld.captioner_words import spell
from toyworld.captions import write_caption
from toyworld.drawing import draw
from toyworld.facts import RELATIONS, Facts
from toyworld.naming import ids_of, name_picture
from toyworld.picture import Picture
from toyworld.sampling import sample
from toyworld.scene import Scene
from toyworld.seeing import facts_of
from toyworld.vocabulary import LABELS
from toyworld.wordings import AUTOMATIC, HUMAN

LARGER_CHANCE, LARGER = 0.2, 2
"""So many pictures are drawn larger and shrunk, as the picture processor shrinks a movie's frames."""
EXACT_CHANCE = 0.25
"""So many lists of detections are the truth; the others have a detector's mistakes."""
HUMAN_CHANCE = 0.05
"""So many captions are in the human style; the prompt does not say which, so the other one is the captioner's."""
LENGTH_STEP = 16
"""Batches are padded to a multiple of so many tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """One prompt of a scene, and its caption; arrays as in Batch. t tokens, n detections."""

    ids: NDArray[np.int16]
    """(t) up to and with `</s>`."""
    prompt_tokens: int
    weights: NDArray[np.float32]
    asks: NDArray[np.int8]
    lines: NDArray[np.int16]
    """(n) place of the last token of each detection's line."""
    attributes: NDArray[np.int8]
    cells: NDArray[np.int8]
    masks: NDArray[np.float32]
    pointers: NDArray[np.int16]
    """(m, 2) place in the caption, and index of the detection."""
    plans: NDArray[np.int16]
    """Likewise."""
    pairs: NDArray[np.int16]
    """(k, 2) indices of detections."""
    relations: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A scene and the ways it is told."""

    seed: int
    image: NDArray[np.uint8]
    categories: NDArray[np.int8]
    patches: NDArray[np.int8]
    scene: NDArray[np.int8]
    told: list[Told]
    views: list[View]
    """As many as it is told; for the vision tower alone."""


def draw_samples(seeds: Sequence[int], inputs: PixtralInputs, variants: int) -> list[Sample]:
    """The scenes of these seeds, each told so many times; the first time without mistakes, in the automatic style."""
    return [_draw_sample(seed, inputs, variants) for seed in seeds]


def _draw_sample(seed: int, inputs: PixtralInputs, variants: int) -> Sample:
    generator = np.random.default_rng((seed, 1))
    scene = sample(seed)
    picture = draw(scene, WIDTH_PX, HEIGHT_PX)
    parts = patch_parts(picture, inputs.patch_px)
    objects = name_picture(picture)
    true = facts_of(scene, picture, ids_of(objects))
    told = []
    for variant in range(variants):
        listed, facts, style = as_listed(objects), true, AUTOMATIC
        if variant and generator.random() >= EXACT_CHANCE:
            listed = mistaken(objects, generator)
            facts = facts_of(scene, picture, ids_of(one for one in listed if one.segment_id != NOBODY))
        if variant and generator.random() < HUMAN_CHANCE:
            style = HUMAN
        caption = write_caption(facts, style, int(generator.integers(2**31)))
        told.append(tell(listed, facts, caption, inputs, parts))
    return Sample(
        image=_seen(scene, picture, generator),
        seed=seed,
        categories=quarter_categories(picture, inputs.patch_px),
        patches=patch_attributes(picture, parts, {one.actor_id: one for one in true.things}),
        scene=_scene_of(true),
        told=told,
        views=views_of(picture, true.things, variants, np.random.default_rng((seed, 2))),
    )


def _seen(scene: Scene, picture: Picture, generator: np.random.Generator) -> NDArray[np.uint8]:
    """The picture as the picture processor gives it."""
    if generator.random() >= LARGER_CHANCE:
        return picture.image
    large = draw(scene, WIDTH_PX * LARGER, HEIGHT_PX * LARGER).image
    return np.asarray(cv2.resize(large, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_AREA), np.uint8)


def tell(listed: Sequence[Detection], facts: Facts, caption: str, inputs: PixtralInputs, parts: Parts) -> Told:
    """One prompt and its caption as tokens, with the truth about each detection. Raises ValueError where the tokenizer
    does not end each detection's line in a token of its own."""
    rows, columns = HEIGHT_PX // inputs.patch_px, WIDTH_PX // inputs.patch_px
    prompt = inputs.ids(prompts.render(TEMPLATE, listed), rows, columns)
    lines = np.flatnonzero(np.isin(prompt, inputs.tokenizer.convert_tokens_to_ids(line_end_pieces())))
    if len(lines) != len(listed):
        raise ValueError(f"{len(listed)} detections, but {len(lines)} lines: this tokenizer does not know boxes.")
    words = spell(caption, [one.object_id for one in listed], inputs.tokenizer)
    attributes, cells, masks = _truth_of_lines(listed, facts, parts, rows, columns)
    pairs, relations = _pairs(listed, facts)
    start = len(prompt)
    return Told(
        ids=np.array([*prompt, *words.ids], np.int16),
        prompt_tokens=start,
        weights=np.concatenate([np.zeros(start), words.weights]).astype(np.float32),
        asks=np.concatenate([np.zeros(start), words.asks]).astype(np.int8),
        lines=lines.astype(np.int16),
        attributes=attributes,
        cells=cells,
        masks=masks,
        pointers=np.array([(start + place, line) for place, line in words.pointers], np.int16).reshape(-1, 2),
        plans=np.array([(start + place, line) for place, line in words.plans], np.int16).reshape(-1, 2),
        pairs=pairs,
        relations=relations,
    )


def _truth_of_lines(
    listed: Sequence[Detection], facts: Facts, parts: Parts, rows: int, columns: int
) -> tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.float32]]:
    """(attributes, cells, masks) as in Batch."""
    things = {one.object_id: one for one in facts.things}
    attributes = np.full((len(listed), len(ATTRIBUTES)), -1, np.int8)
    cells = np.zeros((len(listed), 2), np.int8)
    masks = np.zeros((len(listed), rows * columns), np.float32)
    for index, one in enumerate(listed):
        x, y = centre(one.box)
        cells[index] = min(rows - 1, int(y * rows)), min(columns - 1, int(x * columns))
        if one.segment_id == NOBODY:
            continue
        masks[index] = parts[:, one.segment_id]
        if one.object_id in things:
            attributes[index] = attributes_of(things[one.object_id])
        else:  # one box of several
            masks[index] *= parts_inside(one.box, rows, columns)
    return attributes, cells, masks


def _pairs(listed: Sequence[Detection], facts: Facts) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """All ordered pairs of things, and what holds between them; 0.5 where it is hard to see."""
    places = {one.object_id: index for index, one in enumerate(listed)}
    things = [places[one.object_id] for one in facts.things]
    pairs = [(one, other) for one in things for other in things if one != other]
    rows = {pair: row for row, pair in enumerate(pairs)}
    relations = np.zeros((len(pairs), len(RELATIONS)), np.float32)
    for claims, value in ((facts.faint, 0.5), (facts.relations, 1.0)):
        for claim in claims:
            relations[rows[places[claim.subject], places[claim.value]], RELATIONS.index(claim.about)] = value
    return np.array(pairs, np.int16).reshape(-1, 2), relations


def _scene_of(facts: Facts) -> NDArray[np.int8]:
    """Indices into the answers of SCENE, -1 where the picture does not tell."""
    answers = [values.index(getattr(facts, name)) if name in facts.seen else -1 for name, values in SCENE.items()]
    return np.array(answers, np.int8)


def tokenizer_sentences(seeds: Sequence[int]) -> list[str]:
    """What the tokenizer's words are learnt from: captions of both styles, tagged, and all labels and small ids."""
    texts = []
    for seed in seeds:
        scene = sample(seed)
        picture = draw(scene, WIDTH_PX, HEIGHT_PX)
        facts = facts_of(scene, picture, ids_of(name_picture(picture)))
        texts += [write_caption(facts, style, seed) for style in (AUTOMATIC, AUTOMATIC, HUMAN)]
    lines = [f"[{clean_label(label)}-{number}: " for label in LABELS for number in range(10)]
    tagged = [f'"{clean_label(label)}" {clean_label(label)}-{number}>' for label in LABELS for number in range(10)]
    return [*texts, *lines, *tagged, prompts.template(TEMPLATE).user]


# --- batches ----------------------------------------------------------------------------------------------------------


def collate(samples: Sequence[Sample], variant: int, pad: int, *, captions: bool = True, clean: bool = False) -> Batch:
    """A batch of samples, each told the variant's way, and a view of each for the vision tower alone.

    Without `captions` the prompts alone; `clean`: pictures as they were drawn, and no views.
    """
    told: list[Told] = [one.told[variant] for one in samples]
    lengths = [len(one.ids) if captions else one.prompt_tokens for one in told]
    longest = -(-max(lengths) // LENGTH_STEP) * LENGTH_STEP
    shape = (len(samples), longest)
    ids, weights, asks = np.full(shape, pad, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.int64)
    for row, (one, length) in enumerate(zip(told, lengths, strict=True)):
        ids[row, :length], weights[row, :length] = one.ids[:length], one.weights[:length]
        asks[row, :length] = one.asks[:length]
    firsts = np.cumsum([0, *(len(one.lines) for one in told)])[:-1]
    views = [] if clean else [one.views[variant] for one in samples]
    images = [one.image if clean else _varied(one, variant) for one in samples]
    return Batch(
        images=torch.from_numpy(np.stack(images + [one.image for one in views])),
        categories=_long([one.categories[None] for one in (*samples, *views)]),
        patches=_long([one.patches[None] for one in (*samples, *views)]),
        ids=torch.from_numpy(ids),
        weights=torch.from_numpy(weights),
        asks=torch.from_numpy(asks),
        lines=_long([np.stack([np.full(len(one.lines), row), one.lines], 1) for row, one in enumerate(told)]),
        attributes=_long([one.attributes for one in told]),
        cells=_long([one.cells for one in told]),
        masks=torch.from_numpy(np.concatenate([one.masks for one in told])),
        pointers=_long([one.pointers + np.array([0, first]) for one, first in zip(told, firsts, strict=True)]),
        plans=_long([one.plans + np.array([0, first]) for one, first in zip(told, firsts, strict=True)]),
        scene=_long([one.scene[None] for one in samples]),
        pairs=_long([one.pairs + first for one, first in zip(told, firsts, strict=True)]),
        relations=torch.from_numpy(np.concatenate([one.relations for one in told])),
    )


def _varied(one: Sample, variant: int) -> NDArray[np.uint8]:
    generator = np.random.default_rng((one.seed, 3, variant))
    return photographed(shifted(one.image, generator), generator)


def of_views(views: Sequence[View]) -> Batch:
    """A batch for the vision tower alone."""
    none = torch.zeros(0, 2, dtype=torch.long)
    tokens = torch.zeros(len(views), 0, dtype=torch.long)
    return Batch(
        images=torch.from_numpy(np.stack([one.image for one in views])),
        categories=_long([one.categories[None] for one in views]),
        patches=_long([one.patches[None] for one in views]),
        ids=tokens, weights=tokens.float(), asks=tokens, lines=none, attributes=none, cells=none, masks=none.float(),
        pointers=none, plans=none,
        scene=none, pairs=none, relations=none.float(),
    )  # fmt: skip


def _long(parts: Sequence[NDArray[Any]]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))

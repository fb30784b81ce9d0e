"""What the captioner is told in training beside the caption: heads and losses that are thrown away at the end.

A caption says little about where the model should have looked: with its loss alone the model reads the detections and
guesses the rest. So it is asked directly, at each stage of the way from a box to a word:
- each patch, by the vision tower: what it shows;
- each image token and each detection line, after the first layer: where in the picture it is. One head for both, so
  that numbers and patches say a place in the same terms;
- attention from a detection line, to the patches of its object; from a caption's words, to the line of their object;
  from where an id is going to be cited, to the line that it is of;
- each detection line, after the layers that looked: kind, colour, action and facing of its object;
- pairs of lines: the relations between their objects; a caption's words with each line: the relations of the object
  they are about to the line's, so that it is known in time whether there is anything to tell, and of whom;
- the end of the picture: place, weather and light.
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from toyworld.captioner_forward import Read
from toyworld.vocabulary import ACTIONS, COLOURS, FACINGS, KINDS, LABELS, LIGHTS, PLACES, WEATHERS

ATTRIBUTES = {
    "kind": tuple(kind for kinds in KINDS.values() for kind in kinds),
    "colour": tuple(COLOURS),
    "action": tuple(dict.fromkeys(action for actions in ACTIONS.values() for action in actions)),
    "facing": FACINGS,
}
"""What is asked of a patch or a line, with the possible answers."""
ASKS = ("", "kind", "colour", "action", "facing", "ground", "relation", "id", "more")
"""What a caption's token may tell that is looked at by itself; `id`: the number of a cited id where there are several
of its label; `relation`: also the tag of whom it is to; `more`: after a tag, whether the sentence goes on and how."""
SCENE = {"place": PLACES, "weather": WEATHERS, "light": LIGHTS}
"""What is asked of the whole picture, with the possible answers."""
MATCHED = 32
"""Numbers by which two lines are matched for each relation."""
SIZES = [len(answers) for answers in ATTRIBUTES.values()]
NOTHING = len(LABELS)
"""The category of a place where no segment is."""
QUARTERS = 4
"""Parts of a patch that are asked for their category: top left, top right, bottom left, bottom right."""
RARE = 4.0
"""What a relation that holds counts beside one that does not: few do."""
LOOK_LAYERS, POINT_LAYERS, PLAN_LAYERS = (1, 2), (2, 3), (3, 4)
"""Where a line's attention is led to patches, a caption's to the line it is about, and to the line it will cite next.
The heads of the first KV head are led, and for what is next those of the second."""
PLACE_STATES, LINE_STATES, PAIR_STATES, TELLS_STATES, SCENE_STATE = (1, 2), (2, 3), (3, 4), (3, 4), 3
"""Indices into Read.states: after so many layers."""


@dataclass
class Batch:
    """So many samples as the model reads them.

    b samples, v >= b pictures, t tokens, p patches of a picture, n detections of all samples together.
    """

    images: Tensor
    """(v, h, w, 3) uint8: the samples', then others that the vision tower alone learns from."""
    categories: Tensor
    """(v, p, QUARTERS) index into LABELS, or NOTHING."""
    patches: Tensor
    """(v, p, len(ATTRIBUTES)) of the thing that covers most of the patch; -1 where there is none, or no answer."""
    ids: Tensor
    """(b, t) tokens, padded on the right."""
    weights: Tensor
    """(b, t) what it counts to say this token rightly; 0 in prompt and padding."""
    asks: Tensor
    """(b, t) index into ASKS of what this token tells."""
    lines: Tensor
    """(n, 2) sample, and place of the last token of the detection's line."""
    attributes: Tensor
    """(n, len(ATTRIBUTES)), -1 where there is no answer."""
    cells: Tensor
    """(n, 2) row and column of the patch in which the box's centre lies."""
    masks: Tensor
    """(n, p) part of each patch that the detection's object covers, inside its box; all 0 where it is unknown."""
    pointers: Tensor
    """(m, 2) place in the caption, and index into `lines` of the detection that is spoken of there."""
    plans: Tensor
    """(l, 2) place in the caption before an id, and index into `lines` of the detection that the id is of."""
    scene: Tensor
    """(b, len(SCENE)), -1 where the picture does not tell."""
    pairs: Tensor
    """(k, 2) indices into `lines`."""
    relations: Tensor
    """(k, relations) 1.0 where a relation holds from the first to the second."""

    def to(self, device: str) -> "Batch":
        """The same on a device."""
        return Batch(**{one.name: getattr(self, one.name).to(device) for one in fields(self)})


class Heads(nn.Module):
    """The heads that are thrown away."""

    def __init__(self, config: Any, rows: int, columns: int, relations: int) -> None:
        super().__init__()
        seen, read = config.vision_config.hidden_size, config.text_config.hidden_size
        self.rows, self.columns = rows, columns
        self.categories = nn.Sequential(nn.LayerNorm(seen), nn.Linear(seen, QUARTERS * (NOTHING + 1)))
        self.patches = nn.Sequential(nn.LayerNorm(seen), nn.Linear(seen, sum(SIZES)))
        self.places = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(read), nn.Linear(read, rows + columns)) for _ in PLACE_STATES
        )
        self.lines = nn.ModuleList(nn.Sequential(nn.LayerNorm(read), nn.Linear(read, sum(SIZES))) for _ in LINE_STATES)
        self.pairs = nn.ModuleList(
            nn.ModuleList(nn.Sequential(nn.LayerNorm(read), nn.Linear(read, relations * MATCHED)) for _ in range(2))
            for _ in PAIR_STATES
        )
        self.tells = nn.ModuleList(
            nn.ModuleList(nn.Sequential(nn.LayerNorm(read), nn.Linear(read, relations * MATCHED)) for _ in range(2))
            for _ in TELLS_STATES
        )
        self.often = nn.Parameter(torch.full((relations,), -2.0))
        self.scene = nn.Sequential(nn.LayerNorm(read), nn.Linear(read, sum(map(len, SCENE.values()))))

    def relate(self, states: list[Tensor], batch: Batch) -> list[Tensor]:
        """Scores (k, relations) of the batch's pairs, by each of PAIR_STATES; a product, as attention is one."""
        found = []
        for (first, second), state in zip(self.pairs, PAIR_STATES, strict=True):
            ends = states[state][batch.lines[:, 0], batch.lines[:, 1]]
            one, other = first(ends)[batch.pairs[:, 0]], second(ends)[batch.pairs[:, 1]]
            product = (one * other).unflatten(-1, (-1, MATCHED)).sum(-1) / MATCHED**0.5
            found.append(product + self.often)
        return found


def vision_losses(heads: Heads, seen: Tensor, batch: Batch) -> dict[str, Tensor]:
    """What patches show. seen (v, p, d)."""
    said = heads.categories(seen).view(*batch.categories.shape, NOTHING + 1)
    losses = {"categories": cross_entropy(said.flatten(0, 2), batch.categories.flatten())}
    answers = attribute_losses(heads.patches(seen).flatten(0, 1), batch.patches.flatten(0, 1))
    return losses | {f"patch_{name}": loss for name, loss in answers.items()}


def attribute_losses(said: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Scores (n, sum of SIZES) against answers (n, len(ATTRIBUTES)); those of -1 are not asked."""
    parts = said.split(SIZES, dim=-1)
    return {
        name: cross_entropy(part, truth[:, index], ignore_index=-1, reduction="sum")
        / (truth[:, index] >= 0).sum().clamp(min=1)
        for index, (name, part) in enumerate(zip(ATTRIBUTES, parts, strict=True))
    }


def binding_losses(heads: Heads, read: Read, batch: Batch, image_id: int) -> dict[str, Tensor]:
    """Places, attention from lines to patches, attributes of lines, relations between them."""
    sample, place = batch.lines.T
    losses = {"place": _place_loss(heads, read, batch, image_id), "look": _look_loss(read, batch, image_id)}
    for head, state in zip(heads.lines, LINE_STATES, strict=True):
        answers = attribute_losses(head(read.states[state][sample, place]), batch.attributes)
        for name, loss in answers.items():
            losses[f"line_{name}"] = losses.get(f"line_{name}", 0) + loss / len(LINE_STATES)
    if len(batch.pairs):
        said = [_rare_loss(one, batch.relations) for one in heads.relate(read.states, batch)]
        losses["relations"] = torch.stack(said).mean()
    end = int((batch.ids[0] == image_id).nonzero()[-1]) + 1
    said = heads.scene(read.states[SCENE_STATE][:, end]).split([len(answers) for answers in SCENE.values()], dim=-1)
    for index, (name, part) in enumerate(zip(SCENE, said, strict=True)):
        truth = batch.scene[:, index]
        right = cross_entropy(part, truth, ignore_index=-1, reduction="sum")
        losses[name] = right / (truth >= 0).sum().clamp(min=1)
    return losses


def _rare_loss(said: Tensor, truth: Tensor) -> Tensor:
    """Scores (n, relations) against what holds."""
    return binary_cross_entropy_with_logits(said, truth, pos_weight=torch.tensor(RARE, device=said.device))


def _place_loss(heads: Heads, read: Read, batch: Batch, image_id: int) -> Tensor:
    """Row and column, of image tokens and of lines."""
    sample, place = batch.lines.T
    b = len(batch.ids)
    cells = torch.cartesian_prod(torch.arange(heads.rows), torch.arange(heads.columns)).to(batch.ids.device)
    truth = torch.cat([cells.repeat(b, 1), batch.cells])
    losses = []
    for head, state in zip(heads.places, PLACE_STATES, strict=True):
        tokens = torch.cat([read.states[state][batch.ids == image_id], read.states[state][sample, place]])
        row, column = head(tokens).split([heads.rows, heads.columns], dim=-1)
        losses.append(cross_entropy(row, truth[:, 0]) + cross_entropy(column, truth[:, 1]))
    return torch.stack(losses).mean()


def _look_loss(read: Read, batch: Batch, image_id: int) -> Tensor:
    """How little of a line's attention falls on the patches of its object: -log of the sum."""
    known = batch.masks.amax(1) > 0
    if not known.any():
        return read.states[0].sum() * 0
    sample, place = batch.lines[known].T
    columns = (batch.ids[0] == image_id).nonzero().flatten()  # the same in every sample: the picture comes first
    aims = (batch.masks[known] / batch.masks[known].amax(1, keepdim=True)).clamp(min=1e-6).log()
    losses = []
    for layer in LOOK_LAYERS:
        logs = _attention_logs(read, layer, sample, place)[..., columns]  # (n, heads, p)
        losses.append(-(logs + aims[:, None]).logsumexp(-1).mean())
    return torch.stack(losses).mean()


def pointer_losses(heads: Heads, read: Read, batch: Batch) -> dict[str, Tensor]:
    """How little of the attention of a caption's words falls on the line they are about, or that is next: -log. And
    which relations that object has."""
    losses = {
        "pointer": _pointer_loss(read, batch.pointers, batch.lines, POINT_LAYERS, 0),
        "plan": _pointer_loss(read, batch.plans, batch.lines, PLAN_LAYERS, 1),
    }
    if len(batch.pairs) and len(batch.pointers):
        losses["tells"] = _tells_loss(heads, read, batch)
    return losses


def _tells_loss(heads: Heads, read: Read, batch: Batch) -> Tensor:
    """Relations of the object that words are about to the object of each line."""
    place, line = batch.pointers.T
    n = len(batch.lines)
    rows = torch.full((n, n), -1, dtype=torch.long, device=place.device)
    rows[batch.pairs[:, 0], batch.pairs[:, 1]] = torch.arange(len(batch.pairs), device=place.device)
    word, other = (rows[line] >= 0).nonzero().T
    truth = batch.relations[rows[line[word], other]]
    losses = []
    for (first, second), state in zip(heads.tells, TELLS_STATES, strict=True):  # type: ignore[misc, call-overload]
        words = first(read.states[state][batch.lines[line, 0], place])[word]
        ends = second(read.states[state][batch.lines[:, 0], batch.lines[:, 1]])[other]
        losses.append(
            _rare_loss((words * ends).unflatten(-1, (-1, MATCHED)).sum(-1) / MATCHED**0.5 + heads.often, truth)
        )
    return torch.stack(losses).mean()


def _pointer_loss(read: Read, pointers: Tensor, lines: Tensor, layers: tuple[int, ...], group: int) -> Tensor:
    if not len(pointers):
        return read.states[0].sum() * 0
    place, line = pointers.T
    sample, end = lines[line].T
    losses = [
        -_attention_logs(read, layer, sample, place, group)[torch.arange(len(place)), :, end].mean() for layer in layers
    ]
    return torch.stack(losses).mean()


def _attention_logs(read: Read, layer: int, sample: Tensor, place: Tensor, group: int = 0) -> Tensor:
    """Log of the attention weights (n, led heads, t) of the tokens at `place` of `sample`; samples in order.

    The led heads are those of one KV head.
    """
    queries, keys = read.queries[layer], read.keys[layer]
    b, led = len(keys), queries.shape[1] // keys.shape[1]
    # Laid out sample by sample, so that no keys are copied for each token.
    counts = torch.bincount(sample, minlength=b)
    slot = torch.arange(len(sample), device=sample.device) - (counts.cumsum(0) - counts)[sample]
    asked = torch.zeros(b, int(counts.max()), dtype=torch.long, device=sample.device)
    asked[sample, slot] = place
    missing = keys.shape[2] - queries.shape[2]  # of the last layer's queries those before the captions
    heads = queries[:, group * led : (group + 1) * led]
    chosen = heads.gather(2, (asked - missing).clamp(min=0)[:, None, :, None].expand(-1, led, -1, queries.shape[-1]))
    scores = chosen @ keys[:, group : group + 1].mT  # (b, led, slots, t)
    later = torch.arange(keys.shape[2], device=scores.device) > asked[..., None]
    return scores.masked_fill(later[:, None], -torch.inf).log_softmax(-1).transpose(1, 2)[sample, slot]


def caption_loss(logits: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over the caption's tokens. logits (n, words) for the tokens ids (n) with weights (n)."""
    return (cross_entropy(logits, ids, reduction="none") * weights).sum() / weights.sum()

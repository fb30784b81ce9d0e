"""Whether a captioner sees: its captions of drawn scenes judged against the truth, each figure beside its controls.

The control that matters is the wrong picture: the same detections with the picture of another scene. What is as good
with it was read off the detections. The other one is the constant answer that would be right most often.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.tables import Detection
from tasks import prompts, tags
from tasks.captioners import Captioner, CaptionRequest
from tasks.consistency import check
from tasks.detectors import Detector
from tasks.java_metrics import tokenize
from tasks.metrics import Cited, Pair, cider, grounding, harmonic_mean, meteor
from tasks.object_naming import clean_label, name_objects
from toyworld.captioner_lists import as_listed
from toyworld.captioner_model import TEMPLATE
from toyworld.captions import write_caption
from toyworld.claim_tally import RELATIONS_ROW, tally
from toyworld.drawing import draw
from toyworld.facts import Facts
from toyworld.naming import ids_of, match, name_picture
from toyworld.picture import Picture
from toyworld.sampling import sample
from toyworld.seeing import facts_of
from toyworld.vocabulary import LABELS
from toyworld.wordings import STYLES

BATCH = 32
JAVA_SECONDS = 600.0
DETECTABLE = frozenset(map(clean_label, LABELS))
BARS = {
    "cited ids with n >= 1: F1": 0.9, "kind of person": 0.85, "colour of clothing": 0.9, "colour of object": 0.9,
    "action of person": 0.85, "action of dog": 0.8, "action of cat": 0.8, RELATIONS_ROW: 0.8,
    "grounding F1 strict": 0.85,
}  # fmt: skip
"""What the project asks for at least."""
WRONG_BELOW = {"kind of person": 0.5, "colour of clothing": 0.5, "colour of object": 0.5}
"""What the figure with the picture of another scene has to stay below."""
WRONG_APART = {"action of person": 0.25, "action of dog": 0.25, "action of cat": 0.25}
"""By how much at least it has to be lower than with the right picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure. None: there is none of that kind."""

    name: str
    value: float
    wrong_picture: float | None = None
    """The same with the picture of another scene."""
    constant: float | None = None
    """What the best constant answer would have."""
    asked: int | None = None
    """Claims that the figure is a part of."""
    told: float | None = None
    """Part of the visible facts that were told rightly: a captioner that says little is right easily."""
    at_least: float | None = None

    @property
    def is_controlled(self) -> bool:
        """Whether the figure with another scene's picture is as low as the project asks; True where it asks nothing."""
        if self.wrong_picture is None:
            return True
        low = self.wrong_picture < WRONG_BELOW.get(self.name, float("inf"))
        return low and self.value - self.wrong_picture >= WRONG_APART.get(self.name, float("-inf"))


@dataclass(frozen=True, slots=True)
class Shown:
    """One scene, what was detected in it, and what is true of that."""

    seed: int
    image: NDArray[np.uint8]
    detections: list[Detection]
    facts: Facts


def measure(
    captioner: Captioner,
    seeds: Sequence[int],
    detector: Detector | None = None,
    *,
    template: str = TEMPLATE,
    texts: bool = True,
) -> list[Row]:
    """Every figure over the scenes of these seeds, with the detector's detections, or the true ones without one.

    `texts`: with the figures that compare words with reference captions, which need Java. Raises what those raise.
    """
    shown = [show(seed, detector) for seed in seeds]
    images = [one.image for one in shown]
    right = write(captioner, shown, images, template)
    wrong = write(captioner, shown, images[1:] + images[:1], template)
    rows = _id_rows(shown, right, wrong) + _claim_rows(shown, right, wrong) + _grounding_rows(shown, right, wrong)
    if texts:
        rows += _text_rows(shown, right, wrong)
    findings = [len(check(text, one.detections).violations) for one, text in zip(shown, right, strict=True)]
    failed = sum(not text for text in right)
    return [
        *rows,
        Row(name="violations per 1,000 captions", value=1000 * sum(findings) / len(shown)),
        Row(name="failed of 1,000 captions", value=1000 * failed / len(shown)),
    ]


def show(seed: int, detector: Detector | None = None) -> Shown:
    """A scene as the captioner gets it."""
    scene = sample(seed)
    picture: Picture = draw(scene)
    if detector is None:
        objects = name_picture(picture)
        return Shown(seed, picture.image, as_listed(objects), facts_of(scene, picture, ids_of(objects)))
    (segments,) = detector([picture.image])
    found = as_listed(name_objects(segments, coco=False))
    return Shown(seed, picture.image, found, facts_of(scene, picture, match(found, picture)))


def write(
    captioner: Captioner, shown: Sequence[Shown], images: Sequence[NDArray[np.uint8]], template: str
) -> list[str]:
    """Captions of the scenes in order, of like length together; a failed one is empty."""
    requests = [
        CaptionRequest(
            frame_id=f"toyworld_{one.seed:08d}",
            frame_number=number,
            candidate=0,
            image=image,
            detections=one.detections,
            prompt=prompts.render(template, one.detections),
            seed=0,
        )
        for number, (one, image) in enumerate(zip(shown, images, strict=True))
    ]
    texts = [""] * len(requests)
    order = sorted(requests, key=lambda one: len(one.detections))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        for request, result in zip(batch, captioner(batch), strict=True):
            texts[request.frame_number] = result.text if result.error is None else ""
    return texts


def _id_rows(shown: Sequence[Shown], right: Sequence[str], wrong: Sequence[str]) -> list[Row]:
    """Ids above 0: cited and there of those cited; cited of those that stand for something true."""
    name = "cited ids with n >= 1: F1"
    value, of_wrong, constant = (_id_f1(shown, texts) for texts in (right, wrong, _every_0(shown)))
    return [Row(name=name, value=value, wrong_picture=of_wrong, constant=constant, at_least=BARS[name])]


def _id_f1(shown: Sequence[Shown], texts: Sequence[str]) -> float:
    cited = correct = found = true = 0
    for one, text in zip(shown, texts, strict=True):
        labels = {detection.object_id: detection.label for detection in one.detections}
        stuff = [object_id for region in one.facts.stuff for object_id in region.object_ids]
        wanted = set(filter(_is_above_0, [*(thing.object_id for thing in one.facts.things), *stuff]))
        said = [
            (object_id, mention.kind == "action" or mention.label == labels.get(object_id))
            for mention in tags.parse(text).mentions
            for object_id in mention.object_ids
            if _is_above_0(object_id)
        ]
        good = [object_id for object_id, agrees in said if agrees and object_id in labels]
        cited, correct = cited + len(said), correct + len(good)
        found, true = found + len(wanted & set(good)), true + len(wanted)
    return harmonic_mean(correct / cited if cited else 1.0, found / true if true else 1.0)


def _is_above_0(object_id: str) -> bool:
    split = tags.split_id(object_id)
    return split is not None and split[1] > 0


def _claim_rows(shown: Sequence[Shown], right: Sequence[str], wrong: Sequence[str]) -> list[Row]:
    facts = [one.facts for one in shown]
    tallies = tally(zip(right, facts, strict=True))
    of_wrong = tally(zip(wrong, facts, strict=True))
    return [
        Row(
            name=name,
            value=one.accuracy,
            wrong_picture=of_wrong[name].accuracy,
            constant=one.best_constant,
            asked=one.asked,
            told=one.recall,
            at_least=BARS.get(name),
        )
        for name, one in tallies.items()
    ]


def _grounding_rows(shown: Sequence[Shown], right: Sequence[str], wrong: Sequence[str]) -> list[Row]:
    """As the pipeline's own metric has it, macro; "cite every -0" as the constant."""
    lazy = _every_0(shown)
    rows = []
    for definition in grounding.DEFINITIONS:
        name = f"grounding F1 {definition}"
        value, of_wrong, constant = (_grounding(shown, texts)[definition] for texts in (right, wrong, lazy))
        rows.append(Row(name=name, value=value, wrong_picture=of_wrong, constant=constant, at_least=BARS.get(name)))
    return rows


def _every_0(shown: Sequence[Shown]) -> list[str]:
    """Captions that cite the first of every label and nothing else."""
    first = ([found for found in one.detections if not _is_above_0(found.object_id)] for one in shown)
    return [" ".join(tags.render("object", one.label, [one.object_id], "one") for one in some) for some in first]


def _grounding(shown: Sequence[Shown], texts: Sequence[str]) -> dict[str, float]:
    """Macro F1 by definition."""
    sums = dict.fromkeys(grounding.DEFINITIONS, 0.0)
    for one, text in zip(shown, texts, strict=True):
        parsed = tags.parse(text)
        values = grounding.each(
            Cited(parsed=parsed, detections=one.detections, labels=DETECTABLE, consistent=True, failed=not text)
        )
        for definition in sums:
            sums[definition] += values[f"grounding_f1_{definition}"]
    return {definition: value / len(shown) for definition, value in sums.items()}


def _text_rows(shown: Sequence[Shown], right: Sequence[str], wrong: Sequence[str]) -> list[Row]:
    """gMETEOR (strict) and CIDEr-D against each style's reference caption."""
    rows = []
    said = {"right": tokenize(list(map(tags.strip, right)), JAVA_SECONDS)}
    said["wrong"] = tokenize(list(map(tags.strip, wrong)), JAVA_SECONDS)
    f1 = {key: _grounding(shown, texts)["strict"] for key, texts in (("right", right), ("wrong", wrong))}
    for style in STYLES:
        references = tokenize([tags.strip(write_caption(one.facts, style, one.seed)) for one in shown], JAVA_SECONDS)
        pairs = {key: _pairs(shown, texts, references) for key, texts in said.items()}
        meteors = {key: meteor.measure(some, JAVA_SECONDS).corpus["meteor"] for key, some in pairs.items()}
        ciders = {key: cider.measure(some, JAVA_SECONDS).corpus["cider_d"] for key, some in pairs.items()}
        gmeteors = {key: harmonic_mean(value, f1[key]) for key, value in meteors.items()}
        for name, values in (("METEOR", meteors), ("gMETEOR", gmeteors), ("CIDEr-D", ciders)):
            rows.append(Row(name=f"{name}, {style}", value=values["right"], wrong_picture=values["wrong"]))
    return rows


def _pairs(shown: Sequence[Shown], texts: Sequence[str], references: Sequence[str]) -> list[Pair]:
    return [
        Pair(caption_id=f"{one.seed}", frame_id=f"{one.seed}", candidate=text, references=(reference,))
        for one, text, reference in zip(shown, texts, references, strict=True)
    ]


def lines(rows: Iterable[Row]) -> Iterable[str]:
    """The figures as a table for people."""
    yield f"{'':32}{'value':>8}{'at least':>10}{'wrong picture':>15}{'constant':>10}{'told':>8}{'asked':>8}"
    for row in rows:
        cells = (
            _cell(row.at_least, 10), _cell(row.wrong_picture, 15), _cell(row.constant, 10), _cell(row.told, 8),
            f"{'' if row.asked is None else row.asked:>8}",
        )  # fmt: skip
        yield f"{row.name:32}{row.value:8.3f}{''.join(cells)}"


def _cell(value: float | None, width: int) -> str:
    return " " * width if value is None else f"{value:{width}.3f}"

"""Are the objects that a caption names there, and does it name those that are there?

A mention is an id cited by a gdo, gda or gdl tag (once per tag); in the `strict` definition also every noun phrase
outside such tags whose head is a detectable class, by its name or a synonym of tasks/lexicon.py. A mention is correct
when the id is among the frame's detections and, for gdo and gdl, the tag's class is the id's label; an untagged phrase
never is. An object is found when some mention of it is correct. GroundCap does not publish what it counts; these
definitions are ours.

precision = correct / mentioned, recall = found / detected, F1 their harmonic mean. Nothing mentioned: precision 1.
Nothing detected: recall 1. F1 is 0 where both are 0. A failed caption has 0 in all three. In pooled counts it is one
mention more, a wrong one: it may not raise precision by saying nothing, which a caption that failed did not choose.
"""

from collections.abc import Mapping

from tasks import lexicon, tags
from tasks.metrics import CaptionMetric, Cited, harmonic_mean

DEFINITIONS = ("cited", "strict")
COUNTS = ("mentioned_cited", "mentioned_strict", "correct", "found", "detected", "failed")


def count(cited: Cited) -> dict[str, int]:
    """The counts of one caption, by the names of COUNTS."""
    label_of = {detection.object_id: detection.label for detection in cited.detections}
    counts = dict.fromkeys(COUNTS, 0) | {"detected": len(label_of), "failed": int(cited.failed)}
    if cited.failed:
        return counts
    found = set()
    for mention in cited.parsed.mentions:
        for object_id in dict.fromkeys(mention.object_ids):
            counts["mentioned_cited"] += 1
            agrees = mention.kind == "action" or mention.label == label_of.get(object_id)
            if object_id in label_of and agrees:
                counts["correct"] += 1
                found.add(object_id)
    untagged = sum(1 for _ in lexicon.named_objects(untagged_text(cited.parsed), cited.labels))
    return counts | {"mentioned_strict": counts["mentioned_cited"] + untagged, "found": len(found)}


def untagged_text(parsed: tags.Parsed) -> str:
    """The plain text with the words of tags that cite something blotted out; places stay as they are."""
    pieces, place = [], 0
    for mention in sorted(parsed.mentions, key=lambda one: one.start):
        if mention.object_ids and mention.end > place:
            start = max(mention.start, place)
            pieces += [parsed.plain_text[place:start], "." * (mention.end - start)]
            place = mention.end
    return "".join([*pieces, parsed.plain_text[place:]])


def ratios(counts: Mapping[str, float], definition: str, captions: float = 1) -> dict[str, float]:
    """Precision, recall and F1 of counts over so many captions, with the conventions of this module."""
    if counts["failed"] == captions:
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    mentioned, detected = counts[f"mentioned_{definition}"] + counts["failed"], counts["detected"]
    precision = counts["correct"] / mentioned if mentioned else 1.0
    recall = counts["found"] / detected if detected else 1.0
    return {"precision": precision, "recall": recall, "f1": harmonic_mean(precision, recall)}


def each(cited: Cited) -> dict[str, float]:
    """Counts and ratios of one caption."""
    counts = {name: float(value) for name, value in count(cited).items()}
    values = {f"grounding_{name}": value for name, value in counts.items()}
    for definition in DEFINITIONS:
        for name, value in ratios(counts, definition).items():
            values[f"grounding_{name}_{definition}"] = value
    return values


def pool(sums: Mapping[str, float], captions: float) -> dict[str, float]:
    """Sums, ratios of the sums (micro), means of the captions' ratios (macro). `sums`: of `each`, over the captions."""
    counts = {name: sums[f"grounding_{name}"] for name in COUNTS}
    values = {f"grounding_{name}_total": value for name, value in counts.items()}
    for definition in DEFINITIONS:
        for name, value in ratios(counts, definition, captions).items():
            column = f"grounding_{name}_{definition}"
            values[f"{column}_micro"] = value
            values[f"{column}_macro"] = sums[column] / captions
    return values


_COUNTED = {
    "mentioned_cited": "ids cited by tags",
    "mentioned_strict": "ids cited by tags, and untagged phrases that name a detectable class",
    "correct": "cited ids that are detected and agree with their tag's class",
    "found": "detected objects that are correctly cited at least once",
    "detected": "objects detected in the frame",
    "failed": "1 where there is no caption",
}
_RATIOS = {"precision": "correct / mentioned", "recall": "found / detected", "f1": "harmonic mean of the two"}

METRIC = CaptionMetric(
    name="grounding",
    values={f"grounding_{name}": said for name, said in _COUNTED.items()}
    | {f"grounding_{name}_{of}": f"{said}, {of}" for of in DEFINITIONS for name, said in _RATIOS.items()},
    pooled={f"grounding_{name}_total": f"sum: {said}" for name, said in _COUNTED.items()}
    | {
        f"grounding_{name}_{of}_{way}": f"{said}, {of}; {how}"
        for of in DEFINITIONS
        for name, said in _RATIOS.items()
        for way, how in {
            "micro": "of the pooled counts",
            "macro": "mean over captions",
        }.items()
    },
    higher_is_better=True,
    version="2",
    convention=(
        "`cited` counts tags only, `strict` also untagged phrases that name a detectable "
        "class; nothing mentioned is precision 1, nothing detected recall 1, a failed caption 0, and one wrong mention "
        "in pooled counts"
    ),
    each=each,
    pool=pool,
)

"""How good a model is while it learns: captions that it writes of validation frames, judged as the scores are.

Not its loss on what people wrote: a model can say well what comes next and still cite what is not there.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from storage.store import Store, path_of
from storage.tables import Detection
from tasks import tags
from tasks.caption_check import check
from tasks.captioners import CaptionConfig, Captioner, CaptionRequest
from tasks.errors import ConfigError, MissingExtraError
from tasks.measuring import tokenise
from tasks.metrics import Cited, Pair, cider, grounding
from tasks.object_naming import clean_label
from tasks.training.dataset import Pictures, SampleFile
from tasks.training.recipes import ValidateConfig
from tasks.training.samples import detections_of
from tasks.training.splits import VALIDATION

AT_ONCE = 32
"""Pictures in memory."""
JAVA_SECONDS = 600.0
GROUNDED = "grounded"
"""The metric that detections are asked for."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One validation frame."""

    number: int
    """Of one of its samples."""
    detections: Sequence[Detection] | None
    """In prompt order; None where detection failed, or was in other frames than those that stand there now."""
    references: tuple[str, ...]
    """Plain."""


@dataclass(frozen=True, kw_only=True)
class ValidationFrames:
    """The frames that checkpoints are compared on, always the same ones."""

    file: SampleFile
    pictures: Pictures
    asked: Sequence[Asked]
    labels: frozenset[str]
    """What the detector can say."""

    def captions(self, captioner: Captioner, at_once: int) -> list[str]:
        """One per frame in order; empty where it failed."""
        texts = []
        for start in range(0, len(self.asked), at_once or AT_ONCE):
            part = self.asked[start : start + (at_once or AT_ONCE)]
            requests = [self._request(one, start + number) for number, one in enumerate(part)]
            texts += ["" if result.error else result.text for result in captioner(requests)]
        return texts

    def _request(self, one: Asked, number: int) -> CaptionRequest:
        sample = self.file[one.number]
        return CaptionRequest(
            frame_id=sample.frame_id, frame_number=number, candidate=0, image=self.pictures(sample),
            detections=one.detections or (), prompt=sample.prompt, seed=0,
        )  # fmt: skip


def choose_frames(
    store: Store, file: SampleFile, pictures: Pictures, sources: Sequence[str], config: ValidateConfig
) -> ValidationFrames:
    """Frames spread evenly over the validation samples of a stage's sources; of all sources where it has none there.

    Raises ConfigError where grounding is to be judged, and what is in the frames is known of none.
    """
    numbers = file.numbers(VALIDATION, sources)
    frames = file.frames((numbers if len(numbers) else file.numbers(VALIDATION)).tolist())
    ids = sorted(frames)
    step = max(1.0, len(ids) / config.frames)
    chosen = [ids[int(place * step)] for place in range(min(len(ids), config.frames))]
    by_shard: dict[str, set[str]] = defaultdict(set)
    for frame_id in chosen:
        by_shard[_shard(file[frames[frame_id][0]].path)].add(frame_id)
    found, labels = _detections(store, by_shard)
    asked = [
        Asked(
            number=frames[frame_id][0],
            detections=found.get(frame_id),
            references=tuple(tags.strip(file[number].text) for number in frames[frame_id]),
        )
        for frame_id in chosen
    ]
    if config.metric == GROUNDED and not found:
        raise ConfigError(
            f"validation by {GROUNDED} needs detections, and there are none of the validation frames as they are now. "
            "Run `caption-movies caption` or `run` on them, or set [validate] metric = 'cider'."
        )
    return ValidationFrames(file=file, pictures=pictures, asked=asked, labels=labels)


def _shard(path: str) -> str:
    return path.removeprefix("frames/movie_id=").removesuffix(".parquet")


def _detections(store: Store, wanted: Mapping[str, set[str]]) -> tuple[dict[str, list[Detection]], frozenset[str]]:
    """Of the wanted frames by shard, those that they are known of; and what the detector can say."""
    found: dict[str, list[Detection]] = {}
    labels: set[str] = set()
    for shard, frame_ids in sorted(wanted.items()):
        frames = store.ref("frames", shard)
        some = detections_of(store, shard, frames.fingerprint, frame_ids) if frames else None
        if some is not None:
            footer = store.footer(path_of("detections", shard))
            labels |= set(map(clean_label, footer.notes.get("labels", []) if footer else []))
            found |= some
    return found, frozenset(labels or {one.label for some in found.values() for one in some})


def check_available(metric: str) -> None:
    """Raises ConfigError or MissingExtraError where captions cannot be judged so here."""
    if metric == "sacrebleu":
        try:
            import sacrebleu  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("validation by sacrebleu", "sacrebleu", INSTALL) from error
    elif lacks := cider.METRIC.missing():
        raise ConfigError(f"validation by {metric} needs CIDEr-D: {lacks}. Or set [validate] metric = 'sacrebleu'.")


INSTALL = "pip install 'caption-movies[train,metrics]'"


def judge(frames: ValidationFrames, texts: Sequence[str], metric: str) -> dict[str, float]:
    """Values by name; `validation` is the one that checkpoints are compared by. Higher is better, of all but faults."""
    references = [one.references for one in frames.asked]
    if metric == "sacrebleu":
        value = _sacrebleu([tags.strip(text) for text in texts], references)
        return {"validation": value, "sacrebleu": value}
    values = {"cider_d": _cider(texts, references)}
    if metric == GROUNDED:
        values |= _grounding(frames, texts)
    values["validation"] = values["cider_d"] + values.get("grounding_f1", 0.0)
    return values


def _sacrebleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    import sacrebleu

    streams: list[Any] = [  # None where a frame has no reference in that place
        [some[place] if place < len(some) else None for some in references]
        for place in range(max(map(len, references)))
    ]
    return float(sacrebleu.corpus_bleu(list(texts), streams).score)


def _cider(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    pairs = [
        Pair(caption_id=str(number), frame_id=str(number), candidate=tags.strip(text), references=tuple(some))
        for number, (text, some) in enumerate(zip(texts, references, strict=True))
    ]
    return float(cider.measure(tokenise(pairs, JAVA_SECONDS), JAVA_SECONDS).corpus["cider_d"])


def _grounding(frames: ValidationFrames, texts: Sequence[str]) -> dict[str, float]:
    """Means over the frames whose detections are known: of the others nobody can say what a caption may cite."""
    f1 = faults = 0.0
    known = 0
    for one, text in zip(frames.asked, texts, strict=True):
        if one.detections is None:
            continue
        known += 1
        found = len(check(text, one.detections).violations) if text else 0
        cited = Cited(
            parsed=tags.parse(text), detections=one.detections, labels=frames.labels, consistent=not found,
            failed=not text, violations=found,
        )  # fmt: skip
        f1 += grounding.each(cited)["grounding_f1_strict"]
        faults += found
    return {"grounding_f1": f1 / known, "faults_per_caption": faults / known}


def validator(
    backend: Any, reader: Any, frames: ValidationFrames, caption: CaptionConfig, metric: str
) -> Callable[[Any], Mapping[str, float]]:
    """What judges a model, wrapped in PEFT or not, as it is at the moment. Draws no random numbers."""
    config = replace(caption, temperature=0.0, candidates=1, top_p=1.0)

    def run(model: Any) -> Mapping[str, float]:
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        was = {module: module.training for module in plain.modules()}
        plain.eval()
        try:
            with torch.no_grad():
                return judge(frames, frames.captions(backend.captioner(plain, reader, config), AT_ONCE), metric)
        finally:
            for module, training in was.items():
                module.training = training

    return run

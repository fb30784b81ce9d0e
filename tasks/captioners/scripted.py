"""A captioner without a model: it plays back a script, or writes a plain grounded caption from the detections alone.

The script is a JSON object, from frame_id or from the frame's number in its shard, to a text, to a list of texts (one
per candidate, the last one for all further), or to null, which stands for a caption that failed. A candidate may have a
list of its own: what is said when it is asked again, likewise. Frames it does not name get the plain caption.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from storage.tables import Detection
from tasks import tags
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult, Origin
from tasks.errors import CheckpointError

ACTIONS = (("stand", "stands"), ("wait", "waits"), ("pause", "pauses"), ("look", "looks around"))
"""(lemma, words) of what the first person may be doing; the seed picks one."""
Texts = list[str | None]
"""What one candidate says: at first, and when it is asked again; the last one for all further."""
MAX_NAMED = 6
"""Different labels named in a caption."""


def identify(config: CaptionConfig) -> Origin:
    """The script's digest, where there is one. Raises CheckpointError when it cannot be read."""
    if not _has_script(config):
        return Origin("scripted")
    digest = hashlib.sha256(_read(config.checkpoint)).hexdigest()
    return Origin(f"{Path(config.checkpoint).name}@{digest[:12]}", weights={"script": digest})


def load(config: CaptionConfig) -> "ScriptedCaptioner":
    """A captioner with the script in hand. Raises CheckpointError when it is not a JSON object of texts."""
    return ScriptedCaptioner(_parse(config.checkpoint) if _has_script(config) else {})


def _has_script(config: CaptionConfig) -> bool:
    return config.checkpoint.endswith(".json")  # the default checkpoint is Pixtral's and means nothing here


def _read(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise CheckpointError(f"the script {path} cannot be read: {error}. Give the path of a JSON file.") from error


def _parse(path: str) -> dict[str, list[Texts]]:
    try:
        said = json.loads(_read(path))
    except ValueError as error:
        raise CheckpointError(f"the script {path} is not JSON: {error}.") from error
    if not isinstance(said, dict):
        raise CheckpointError(f"the script {path} has to be an object from frame to text.")
    script: dict[str, list[Texts]] = {key: [_texts(one) for one in _texts(value)] for key, value in said.items()}
    for key, candidates in script.items():
        if not candidates or not all(one and all(map(_is_text, one)) for one in candidates):
            raise CheckpointError(f"the script {path} says for {key!r} neither a text, nor texts, nor null.")
    return script


def _texts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


class ScriptedCaptioner:
    """Plays back, or composes. Tokens are words."""

    def __init__(self, script: dict[str, list[Texts]]) -> None:
        self.script = script

    @property
    def notes(self) -> dict[str, Any]:
        """Nothing to note."""
        return {}

    def __call__(self, requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        """One result per request, in order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: CaptionRequest) -> CaptionResult:
        text = self._text(request)
        prompt_tokens = len(request.prompt.split())
        if text is None:
            return CaptionResult(prompt_tokens=prompt_tokens, error="the script has null for this frame.")
        return CaptionResult(
            text=text,
            prompt_tokens=prompt_tokens,
            completion_tokens=len(text.split()),
            finish_reason="stop",
            mean_logprob=0.0,  # it never hesitates
        )

    def _text(self, request: CaptionRequest) -> str | None:
        for key in (request.frame_id, str(request.frame_number)):
            if key in self.script:
                candidates = self.script[key]
                texts = candidates[min(request.candidate, len(candidates) - 1)]
                return texts[min(request.attempt, len(texts) - 1)]
        return compose(request.detections, request.seed)


def compose(detections: Sequence[Detection], seed: int) -> str:
    """A well-formed grounded caption of what was detected; the same for the same detections and seed."""
    if not detections:
        return "A quiet scene in which nothing stands out."
    named = list(Counter(one.label for one in detections))[:MAX_NAMED]
    parts = [_object(label, [one.object_id for one in detections if one.label == label]) for label in named]
    sentences = [f"The picture shows {_listed(parts)}."]
    if people := [one for one in detections if one.label == "person"]:
        lemma, words = ACTIONS[seed % len(ACTIONS)]
        who = people[seed // len(ACTIONS) % len(people)].object_id
        sentence = (
            f"{tags.render('object', 'person', [who], 'One person')} {tags.render('action', lemma, [who], words)}"
        )
        if places := [one for one in detections if not one.is_thing]:
            place = places[0]
            words = f"near the {place.label.replace('-', ' ')}"
            sentence += f" {tags.render('location', place.label, [place.object_id], words)}"
        sentences.append(f"{sentence}.")
    return " ".join(sentences)


def _object(label: str, object_ids: list[str]) -> str:
    words = label.replace("-", " ")
    count = len(object_ids)
    article = "an" if words[0] in "aeiou" else "a"
    return tags.render(
        "object", label, object_ids, f"{article} {words}" if count == 1 else f"{words} in {count} places"
    )


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"

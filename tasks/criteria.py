"""The five criteria by which people and models rate captions, and the form in which a model has to answer.

They are those of the PixtralGroundCap model card, which names them and their scale; how they are put to a model, in
tasks/judge_prompts, is ours.
"""

import json
from dataclasses import dataclass
from typing import Any

CRITERIA = ("object_precision", "grounding_recall", "description_accuracy", "language_quality", "overall")
LOWEST, HIGHEST = 1, 5

ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        criterion: {
            "type": "object",
            "properties": {
                "reason": {"type": "string"},
                "score": {"type": "integer", "enum": list(range(LOWEST, HIGHEST + 1))},
            },
            "required": ["reason", "score"],
            "additionalProperties": False,
        }
        for criterion in CRITERIA
    },
    "required": list(CRITERIA),
    "additionalProperties": False,
}
"""JSON Schema of an answer: an object per criterion, the reason before the score, since it is written first. An `enum`
and no `minimum`: that is what every server's strict mode takes."""


@dataclass(frozen=True)
class Opinion:
    """What was answered to one criterion."""

    score: int
    reason: str


def read_answer(text: str) -> dict[str, Opinion]:
    """The opinions by criterion in a model's answer. Raises ValueError, which says where, on all that ANSWER_SCHEMA
    does not take: servers differ in how strictly they keep to it.
    """
    try:
        said = json.loads(text, object_pairs_hook=_no_key_twice)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}: {text[:200]!r}") from error
    _check_keys(said, CRITERIA, "it")
    return {criterion: _opinion(said[criterion], criterion) for criterion in CRITERIA}


def _opinion(said: Any, criterion: str) -> Opinion:
    _check_keys(said, ("reason", "score"), criterion)
    score, reason = said["score"], said["reason"]
    if type(score) is not int or not LOWEST <= score <= HIGHEST:
        raise ValueError(f"{criterion}.score is {score!r}, no whole number from {LOWEST} to {HIGHEST}")
    if not isinstance(reason, str):
        raise ValueError(f"{criterion}.reason is {type(reason).__name__}, no text")
    try:
        reason.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{criterion}.reason is no Unicode text: {error}") from error
    return Opinion(score, reason)


def _check_keys(said: Any, keys: tuple[str, ...], where: str) -> None:
    if not isinstance(said, dict):
        raise ValueError(f"{where} is {type(said).__name__}, no object")
    if lost := [key for key in keys if key not in said]:
        raise ValueError(f"{where} lacks {', '.join(lost)}")
    if strange := [key for key in said if key not in keys]:
        raise ValueError(f"{where} has {', '.join(strange)}, which nobody asked for")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it says a key twice")
    return found

"""What a judge, a model at a server, is asked about one caption, and how its answer is read.

The words stand in tasks/judge_prompts, a file for each version: other words are another file, so that a prompt's name
and hash always mean the same. The form of the answer goes to the server in its own field (`response_format`), which
vLLM, SGLang and OpenAI keep the model to, and is checked here all the same.
"""

import base64
import hashlib
import io
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from PIL import Image as Pillow

from storage.store import EXECUTION
from storage.tables import Caption, Detection, Frame
from tasks import prompts
from tasks.caption_jobs import caption_seed
from tasks.chat_completion import read_completion
from tasks.chat_server import Question
from tasks.criteria import ANSWER_SCHEMA, Opinion, read_answer
from tasks.errors import ConfigError, UnknownNameError
from tasks.frame_work import PictureError, decode
from tasks.raters import DIGITS, check_rater, rater_of_model
from tasks.server_config import ServerConfig

PROMPTS = "judge_prompts"
SAMPLED = 0.7
"""Temperature of a try after a malformed answer: asked greedily again, a model would say the same again. The first try
is greedy."""


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Which model judges, and how it is asked."""

    server: ServerConfig = field(metadata=EXECUTION)
    model: str
    """Its name at the server."""
    rater: str = ""
    """The name its judgements have; empty: the model's, with dashes for what a file's name cannot hold."""
    prompt: str = "criteria-1"
    """File in tasks/judge_prompts."""
    max_tokens: int = 1024
    """Of one answer."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check values. Raises ConfigError, and UnknownNameError for a prompt that is not there."""
        if not self.model:
            raise ConfigError("the judge's model has no name. Give the name that the server knows it by.")
        if not self.rater:
            object.__setattr__(self, "rater", rater_of_model(self.model))
        check_rater(self.rater)
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it has to be at least 1.")
        words_of(self.prompt)


@cache
def words_of(prompt: str) -> str:
    """The words of a prompt: `[IMG]`, `{detections}` and `{caption}` stand in it. Raises UnknownNameError."""
    folder = resources.files("tasks").joinpath(PROMPTS)
    names = [file.name.removesuffix(".txt") for file in folder.iterdir() if file.name.endswith(".txt")]
    if prompt not in names:
        raise UnknownNameError("judge's prompt", prompt, names)
    return folder.joinpath(f"{prompt}.txt").read_text(encoding="utf-8")


def prompt_hash(prompt: str) -> str:
    """Changes with the prompt's words and with the form of the answer."""
    return _digest([words_of(prompt), ANSWER_SCHEMA])


def _digest(value: Any, more: bytes = b"") -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode() + more).hexdigest()[:DIGITS]


@dataclass(frozen=True)
class Asked:
    """All that a judge is asked about a caption."""

    before: str
    """The text before the picture."""
    after: str
    picture: bytes
    """The picture's file, as the store has it."""
    media_type: str
    seed: int
    digest: str
    """Changes with anything of it, with the model, and with how it is asked."""


@dataclass(frozen=True)
class Answer:
    """What a judge said of a caption."""

    opinions: dict[str, Opinion]
    """By criterion."""
    prompt_tokens: int
    completion_tokens: int


def ask_about(
    caption: Caption, frame: Frame, detections: Sequence[Detection], config: JudgeConfig, model: Mapping[str, str]
) -> Asked:
    """The question about a caption; `model` is what is known of who is asked. Raises PictureError."""
    filled = {"detections": prompts.render_detections(detections).strip() or "none", "caption": caption.text}
    before, _, after = words_of(config.prompt).partition(prompts.IMAGE)
    before, after = (re.sub(r"\{(detections|caption)\}", lambda one: filled[one[1]], part) for part in (before, after))
    seed = caption_seed(config.seed, caption.caption_id, 0)
    said = {"model": dict(model), "prompt": prompt_hash(config.prompt), "text": [before, after], "seed": seed}
    picture = frame.image.bytes
    digest = _digest(said | {"max_tokens": config.max_tokens}, picture)
    return Asked(before, after, picture, _media_type(frame), seed, digest)


def _media_type(frame: Frame) -> str:
    decode(frame)  # a file that breaks off has a type too
    with Pillow.open(io.BytesIO(frame.image.bytes)) as picture:
        if found := Pillow.MIME.get(picture.format or ""):
            return found
    raise PictureError(f"the frame's picture is of a kind without a name ({picture.format}). Extract the frames again.")


def question(asked: Asked, config: JudgeConfig, given_up: threading.Event) -> Question[Answer]:
    """The question as it is put to a server."""

    def body() -> dict[str, Any]:
        url = f"data:{asked.media_type};base64,{base64.b64encode(asked.picture).decode()}"
        content = [
            {"type": "text", "text": asked.before.strip()},
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": asked.after.strip()},
        ]
        form = {"name": "judgement", "strict": True, "schema": ANSWER_SCHEMA}
        return {
            "model": config.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": config.max_tokens,
            "temperature": 0.0,
            "seed": asked.seed,
            "response_format": {"type": "json_schema", "json_schema": form},
        }

    def otherwise(body: dict[str, Any], number: int) -> dict[str, Any]:
        return body | {"temperature": SAMPLED, "seed": (asked.seed + number - 1) % 2**63}

    return Question(body, lambda said: _read(said, config), asked.seed, given_up, otherwise)


def _read(said: dict[str, Any], config: JudgeConfig) -> Answer:
    """Raises ValueError for an answer that is none."""
    completion = read_completion(said)
    if completion.refusal is not None:
        raise ValueError(f"the model refuses: {completion.refusal[:200]!r}")
    if completion.finish_reason == "length":
        raise ValueError(f"the answer does not end within max_tokens ({config.max_tokens})")
    if completion.finish_reason is None:
        raise ValueError(f"the server ended the answer with {completion.ended_with!r}, not because it was complete")
    return Answer(read_answer(completion.text), completion.prompt_tokens, completion.completion_tokens)

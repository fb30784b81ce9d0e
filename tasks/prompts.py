"""Detections -> prompt text: one function for inference and for training.

We render Pixtral's chat markup ourselves and do not ask the checkpoint's chat template: the one Pixtral was published
with in 2024 writes the system text only when the user's turn comes last, so that a training sample (system, user,
caption) loses it without a word. What is written here is what that template, and Mistral's own tokenizer, give for a
system and a user turn:

    <s>[INST]system text, blank line, user text[/INST]            then, for training:  caption</s>

`[IMG]` stands once for the picture; the captioner puts as many image tokens there as the picture has.

Captioners that cite nothing are asked without detections and without markup: `[IMG]`, and the words that a caption is
to go on from, if any.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage.tables import Detection
from tasks.errors import ConfigError, UnknownNameError

BEGIN, END = "<s>", "</s>"
OPEN, CLOSE = "[INST]", "[/INST]"
IMAGE, IMAGE_BREAK, IMAGE_END = "[IMG]", "[IMG_BREAK]", "[IMG_END]"
CONTROL = (BEGIN, END, OPEN, CLOSE, IMAGE, IMAGE_BREAK, IMAGE_END)
"""Texts that the tokenizer reads as one token with a meaning. Nothing that is filled in may contain one."""

_SYSTEM = (
    "You are an AI assistant that can see and understand images. I will provide you with an image and the detected "
    "objects in it along with their positions and dimensions in the format [id, x,y,width,height]."
)


@dataclass(frozen=True)
class Template:
    """A prompt's words. `user` has `[IMG]` in it, and `{detections}` when the template is grounded, once each."""

    system: str
    user: str
    grounded: bool = True
    """Whether the detections are listed. If not, the prompt has no chat markup either."""

    @property
    def digest(self) -> str:
        """Changes with the words: sha256, hexadecimal."""
        return hashlib.sha256(f"{self.system}\0{self.user}".encode()).hexdigest()


TEMPLATES = {
    # The format of the PixtralGroundCap model card, which the published adapter was trained with.
    "groundcap-card": Template(
        system=_SYSTEM,
        user=f"[DETECTIONS]\n{{detections}}[/DETECTIONS]\n{IMAGE}",
    ),
    # What the author's later public training code writes: an order at the end of the system text, the picture first.
    "groundcap-story": Template(
        system=f"{_SYSTEM} Please generate a detailed caption that describes the scene.",
        user=f"{IMAGE}\n[DETECTIONS]\n{{detections}}[/DETECTIONS]",
    ),
    "plain": Template(system="", user=IMAGE, grounded=False),
    # What BLIP-2 was trained to go on from, and was evaluated with.
    "a-photo-of": Template(system="", user=f"{IMAGE}a photo of", grounded=False),
}


def template(name: str) -> Template:
    """A template by its name. Raises UnknownNameError."""
    if name not in TEMPLATES:
        raise UnknownNameError("prompt template", name, list(TEMPLATES))
    return TEMPLATES[name]


def render_detections(detections: Sequence[Detection]) -> str:
    """A line `[label-n: x,y,w,h]` per detection in prompt order: fractions of the frame, two digits, x, y top left."""
    return "".join(f"{_line(one)}\n" for one in sorted(detections, key=lambda one: one.object_index))


def _line(detection: Detection) -> str:
    box = detection.box
    return f"[{detection.object_id}: {box.x:.2f},{box.y:.2f},{box.w:.2f},{box.h:.2f}]"


def render(name: str, detections: Sequence[Detection], caption: str | None = None) -> str:
    """The whole text the model reads, from `<s>` on; with a `caption`, a training sample that ends in `</s>`.

    Of a template that is not grounded only its words, see `plain_words`.
    Raises UnknownNameError for a template that is not there, ConfigError when a detection or the caption contains
    one of the tokenizer's control words: it would be read as one, and end or begin something.
    """
    words = template(name)
    listed = render_detections(detections)
    for filled in (listed, caption or ""):
        if found := [word for word in CONTROL if word in filled]:
            raise ConfigError(
                f"{found[0]!r} may not stand in a detection or caption: the tokenizer takes it as a command."
            )
    if not words.grounded:
        return words.user + (caption or "")
    prompt = f"{BEGIN}{OPEN}{words.system}\n\n{words.user.format(detections=listed)}{CLOSE}"
    return prompt if caption is None else answered(prompt, caption)


def answered(prompt: str, caption: str) -> str:
    """A rendered prompt of a grounded template with its caption: what a model reads in training, to `</s>`."""
    return f"{prompt}{caption}{END}"


def plain_words(prompt: str) -> str:
    """The words that a caption is to go on from, of a prompt without detections; may be empty.

    Raises ValueError for a prompt that has chat markup, or does not begin with its one `[IMG]`.
    """
    words = prompt.removeprefix(IMAGE)
    if words == prompt or any(word in words for word in CONTROL):
        raise ValueError(f"the prompt is not {IMAGE} with nothing but words after it. Take a template such as 'plain'.")
    return words


def around_picture(prompt: str) -> tuple[str, str]:
    """What a rendered prompt says before the picture and after it, for servers that write the markup themselves.

    System and user text together: in Pixtral's format both are one turn, and there are chat templates of it that put
    one line break between them, or fail, where the format has two. Raises ValueError when `[IMG]` is not there once.
    """
    before, *after = prompt.removeprefix(BEGIN + OPEN).removesuffix(CLOSE).split(IMAGE)
    if len(after) != 1:
        raise ValueError(f"the prompt has {IMAGE} {len(after)} times, not once.")
    return before, after[0]


def messages(name: str, detections: Sequence[Detection], caption: str) -> list[dict[str, Any]]:
    """A prompt with its caption as chat turns, for tools that write the markup themselves.

    Content is a list of parts, `{"type": "image"}` where the picture is read. Raises what `render` raises, for the same
    words may not stand in it.
    """
    render(name, detections, caption)
    words = template(name)
    turns = [{"role": "system", "content": [_part(words.system)]}] if words.system else []
    before, after = words.user.format(detections=render_detections(detections)).split(IMAGE)
    parts = [_part(before), {"type": "image"}, _part(after)]
    turns.append({"role": "user", "content": [part for part in parts if part.get("text") != ""]})
    return [*turns, {"role": "assistant", "content": [_part(caption)]}]


def _part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def digest(prompt: str) -> str:
    """First 16 hexadecimal digits of sha256 over a rendered prompt."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]

"""The seam to captioners: picture and prompt in, caption out. A backend is one file here; its name is its config value.

A backend has two functions: `identify(config)`, which says what model it would use without loading it, so that finished
work is recognised at once, and `load(config)`. One that can keep to the grammar of a frame says `CONSTRAINS = True`;
one that is asked without detections and cites nothing, `GROUNDED = False`; one that can search with beams,
`BEAMS = True`; one that has to ask somebody who it is, `RECALLS = True`, and its `identify` takes what was said before;
and one whose captions are not as long as Pixtral's has DEFAULTS of its own.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from storage.store import EXECUTION
from storage.tables import Detection
from tasks import backends, prompts
from tasks.errors import ConfigError, UnknownNameError
from tasks.server_config import ServerConfig

__all__ = [
    "CaptionConfig",
    "CaptionRequest",
    "CaptionResult",
    "Captioner",
    "Origin",
    "ServerConfig",
    "StreamingCaptioner",
    "available",
    "can_constrain",
    "completed",
    "identify",
    "load",
]

NAME = re.compile(r"[A-Za-z0-9._-]*")
DTYPES = ("auto", "float32", "bfloat16", "float16")
DECODINGS = ("free", "constrained")
PIXTRAL = "mistral-community/pixtral-12b"
DEFAULTS = {"max_new_tokens": 512, "num_beams": 1}
"""What a backend takes where the configuration leaves it open, unless it has DEFAULTS of its own."""


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """How frames are captioned. The defaults are Pixtral-12B as published, greedy."""

    name: str = ""
    """Under which the captions stand in the store: letters, digits, `._-`. Empty: the backend's name."""
    backend: str = "pixtral"
    """File name in tasks/captioners."""
    checkpoint: str = field(default=PIXTRAL, metadata=EXECUTION)
    """Hub id or folder; for `scripted` a JSON file; for `server` the model's name there. Not hashed: the digest of what
    lies there is, or what the server says of it."""
    revision: str | None = field(default=None, metadata=EXECUTION)
    """Commit, tag or branch of the checkpoint on the hub. Not hashed, likewise. For `server` it is what you know of the
    weights there, in your own words, and hashed: the server does not say."""
    adapter: str | None = field(default=None, metadata=EXECUTION)
    """LoRA adapter on top: hub id or folder of PEFT's; for `server` its name there. Not hashed, likewise."""
    server: ServerConfig | None = field(default=None, metadata=EXECUTION)
    """Where to ask, for the backend `server` only."""
    merge_adapter: bool = False
    """Whether the adapter is added into the checkpoint's weights: as fast as without one, but in bfloat16 much of a
    small adapter is rounded away; the file's notes say how much as `merge_loss`. Else it is computed beside them."""
    template: str = "groundcap-card"
    """Name in tasks/prompts.py."""
    decoding: str = "free"
    """free: what the model says, as it was published, so the default. constrained: only what keeps to the grammar of
    the frame's tags (tasks/tag_grammar.py): no caption has a violation then."""
    max_new_tokens: int = 0
    """A caption is cut off here; then its finish_reason is `length`. 0: the backend's own, 512 for Pixtral."""
    num_beams: int = 0
    """Captions that are pursued side by side, of which the likeliest is taken. 0: the backend's own, 1 for most and
    when sampling."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus mass kept when sampling, above 0 to 1; 1 keeps all."""
    candidates: int = 1
    """Captions per frame."""
    seed: int = 0
    """Every caption's own seed comes from this one, its frame and its candidate number."""
    dtype: str = "auto"
    """Number format of the model: float32, bfloat16, float16; auto is bfloat16 on a GPU, float32 on the CPU."""
    device: str = field(default="auto", metadata=EXECUTION)
    """auto, cpu, cuda, cuda:1 ..."""
    batch_size: int = field(default=0, metadata=EXECUTION)
    """Captions generated at once; 0: as many as the device's memory holds beside the model, where the captioner can
    tell, else 8. Halved by itself when memory does not suffice. Not hashed, although log-probabilities differ in their
    last digits: see Captioner. The file's notes have it, as `rows_at_once` and `rows_halved_to`."""

    def __post_init__(self) -> None:
        """Check ranges. Raises ConfigError, or UnknownNameError for a template or decoding that is not there."""
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"name {self.name!r}: only letters, digits and ._- may stand in a captioner's name.")
        for name, least in {"max_new_tokens": 0, "num_beams": 0, "candidates": 1, "batch_size": 0}.items():
            if (value := getattr(self, name)) < least:
                raise ConfigError(f"{name} is {value}; it has to be at least {least}.")
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature is {self.temperature}; it has to be 0 (greedy) or more.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; it has to be above 0, and at most 1.")
        if self.candidates > 1 and self.temperature == 0:
            raise ConfigError("more than one candidate needs a temperature above 0: greedy ones are all alike.")
        if self.num_beams > 1 and self.temperature > 0:
            raise ConfigError("beams are searched, not sampled: set num_beams = 1, or temperature = 0.")
        if self.decoding not in DECODINGS:
            raise UnknownNameError("decoding", self.decoding, list(DECODINGS))
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype {self.dtype!r} is none of {', '.join(DTYPES)}.")
        if (self.server is None) == (self.backend == "server"):
            raise ConfigError('backend = "server" needs a section [caption.server] with its url; other backends, none.')
        prompts.template(self.template)


@dataclass(frozen=True)
class Origin:
    """What model a captioner is, known without loading it."""

    checkpoint: str
    """Hub id or folder name, and the start of the digest."""
    adapter: str | None = None
    """Likewise; None without one."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Name to digest of everything that decides what it says beside the configuration."""
    asked: bool = field(default=True, compare=False)
    """False: it could not be asked now, and this is what it said when a file was made."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionRequest:
    """One caption that is wanted."""

    frame_id: str
    frame_number: int
    """The frame's place in its shard, from 0."""
    candidate: int
    """From 0 over the captions wanted of this frame."""
    image: NDArray[np.uint8]
    """RGB, (height, width, 3)."""
    detections: Sequence[Detection]
    """In prompt order."""
    prompt: str
    """Rendered by tasks.prompts, `[IMG]` once."""
    seed: int
    """Of this caption's random numbers, 0 to 2^63 - 1."""
    attempt: int = 0
    """From 1 on it is asked again, because the answers before were at fault."""


@dataclass(frozen=True, kw_only=True)
class CaptionResult:
    """One caption, or the reason why there is none."""

    text: str = ""
    """With an error: what was written all the same."""
    original_text: str | None = None
    """What was written, where `text` is not all of it."""
    prompt_tokens: int = 0
    """Image tokens included, padding not."""
    completion_tokens: int = 0
    """The end token included."""
    finish_reason: str = "error"
    """stop | length | error"""
    mean_logprob: float | None = None
    """Natural, over the completion's tokens, under the model as it is: temperature and top_p do not change it."""
    error: str | None = None


class Captioner(Protocol):
    """Writes captions."""

    @property
    def notes(self) -> Mapping[str, Any]:
        """What whoever reads the file's footer should know of the loaded model and of the work; plain JSON values.
        Asked when the work is done.
        """

    def __call__(self, requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        """One result per request, in order.

        The same requests in the same batch on the same machine: the same results, to the bit. In a batch of another
        size or order a request keeps its own random numbers, but sums are rounded in another order: log-probabilities
        differ in their last digits, and where two tokens are as good as equal the other one may be chosen.

        A request that cannot be worked on gets a result with `error`. Raises MemoryError when the batch does not fit:
        ask again with fewer. TransientError when the device is lost.
        """


@runtime_checkable
class StreamingCaptioner(Captioner, Protocol):
    """A captioner that can be given all requests of a shard at once, and decides itself how many are in work."""

    waiting_seconds: float
    """Seconds its model has waited for requests, all streams together."""

    def stream(self, requests: Iterable[CaptionRequest]) -> Iterator[tuple[CaptionRequest, CaptionResult]]:
        """Every request with its result, as soon as there is one, in any order.

        Requests are drawn in another thread, a bounded number ahead: drawing one decodes its picture. What an answer
        may hang on is as for a call; which requests are in work together hangs on their order and not on time.
        Raises what a call raises, and what `requests` raises; then those without a result have to be asked again.
        """


def available() -> list[str]:
    """Names of the backends."""
    return backends.available(sys.modules[__name__])


def identify(config: CaptionConfig, recorded: Mapping[str, str] | None = None) -> Origin:
    """What `load(config)` would load.

    recorded: the weights in the footer of a file that stands there. A model at a server that does not answer now is
    taken for the one that made it, where its names are those of the configuration: so that finished work is found
    without the server. Whoever wants new work has to ask without them: see Origin.asked.

    Raises CheckpointError, UnknownNameError, and ConfigError where the backend cannot decode as asked.
    """
    backend = _backend(config)
    recalls = recorded and getattr(backend, "RECALLS", False)
    origin: Origin = backend.identify(config, recorded) if recalls else backend.identify(config)
    return origin


def load(config: CaptionConfig) -> Captioner:
    """The captioner for a configuration. Models are held by the backend: one per process, whoever asks."""
    captioner: Captioner = _backend(config).load(completed(config))
    return captioner


def completed(config: CaptionConfig) -> CaptionConfig:
    """The configuration with the backend's own values where it leaves them open.

    Raises ConfigError for what the backend cannot do, UnknownNameError when there is no such backend.
    """
    backend = _backend(config)
    grounded = getattr(backend, "GROUNDED", True)
    if prompts.template(config.template).grounded != grounded:
        fitting = [name for name, one in prompts.TEMPLATES.items() if one.grounded == grounded]
        raise ConfigError(
            f"template {config.template!r} {'lists no' if grounded else 'lists'} detections, which the captioner "
            f"{config.backend!r} {'has to be told' if grounded else 'does not read'}. Take {' or '.join(fitting)}."
        )
    if not grounded and config.checkpoint == PIXTRAL:
        raise ConfigError(f"the captioner {config.backend!r} needs a checkpoint: hub id or folder of its model.")
    said = getattr(backend, "DEFAULTS", DEFAULTS)
    beams = config.num_beams or (said["num_beams"] if config.temperature == 0 else 1)
    if beams > 1 and not getattr(backend, "BEAMS", False):
        raise ConfigError(f"the captioner {config.backend!r} cannot search with beams. Set num_beams = 1.")
    return replace(config, max_new_tokens=config.max_new_tokens or said["max_new_tokens"], num_beams=beams)


def can_constrain(backend: str) -> bool:
    """Whether a backend knows constrained decoding: it says so by `CONSTRAINS = True`. Raises UnknownNameError."""
    return getattr(backends.load(sys.modules[__name__], "captioner", backend), "CONSTRAINS", False)


def _backend(config: CaptionConfig) -> ModuleType:
    if config.decoding == "constrained" and not can_constrain(config.backend):
        raise ConfigError(f'the captioner {config.backend!r} cannot be constrained. Set decoding = "free".')
    return backends.load(sys.modules[__name__], "captioner", config.backend)

"""What a training does, as plain values: what is read from a recipe's TOML file, see flows/read_recipe.py.

A recipe names the captioner that is trained as a profile's [caption] does: backend, checkpoint, template. So the very
configuration that is trained is the one that writes afterwards.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from storage.store import EXECUTION
from tasks.captioners import CaptionConfig
from tasks.errors import ConfigError, UnknownNameError
from tasks.score_config import ScoreConfig

SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup")
VALIDATIONS = {
    "grounded": "grounding F1 (strict, mean over captions) + CIDEr-D",
    "cider": "CIDEr-D",
    "sacrebleu": "sacrebleu's corpus BLEU, 0 to 100",
}
"""What generated captions of the validation frames are judged by; higher is better."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which captions are learnt from, and which movies are kept back. A movie is in one part only."""

    validation: float = 0.05
    """Part of the movies that training is validated on."""
    test: float = 0.05
    """Part of the movies that no decision of the training sees; before and after are scored on them."""
    seed: int = 0
    """Which movies these are."""
    validation_movies: tuple[str, ...] = ()
    """Patterns of movie ids, such as `coco_val_*`: these movies instead of a part by chance."""
    test_movies: tuple[str, ...] = ()
    """Likewise."""
    most_tokens: int = 4096
    """Longer samples, prompt, picture and caption together, are left out and counted."""

    def __post_init__(self) -> None:
        """Check ranges. Raises ConfigError."""
        if self.validation <= 0 or self.test <= 0 or self.validation + self.test >= 1:
            raise ConfigError(
                f"validation is {self.validation} and test {self.test}; both have to be above 0, together below 1."
            )


@dataclass(frozen=True, kw_only=True)
class LoraRecipe:
    """A low-rank adapter, as PEFT's LoraConfig has it."""

    rank: int
    """Width of the two matrices beside each module."""
    alpha: int
    """Their product is added times alpha / rank."""
    dropout: float = 0.0
    """Share of their inputs left out at random while training, from 0 to below 1."""
    targets: str | tuple[str, ...]
    """Ends of module paths, or a regular expression of whole paths. Only modules of the text model may match: bare
    names such as q_proj would reach Pixtral's vision tower too."""
    train_tokens: bool = False
    """Whether the rows of the tokens that the captions are written with are learnt too (PEFT's
    trainable_token_indices), as they are read, and as they are written where the model ties the two. A model knows no
    row that it never wrote from another: new words are misspelt for long. vLLM does not load such an adapter; it takes
    the merged checkpoint."""

    def __post_init__(self) -> None:
        """Check ranges. Raises ConfigError."""
        if self.rank < 1 or self.alpha < 1 or not 0 <= self.dropout < 1:
            raise ConfigError("rank and alpha have to be at least 1, dropout at least 0 and below 1.")
        if self.train_tokens and re.search(r"lm_head|embed_tokens", str(self.targets)):
            raise ConfigError(
                "train_tokens learns rows of embed_tokens: take embed_tokens and lm_head out of targets, or leave it "
                "out."
            )


@dataclass(frozen=True, kw_only=True)
class StageRecipe:
    """One stage: captions of some sources, with settings of its own. It goes on from the stage before it."""

    name: str
    """Letters, digits, dashes."""
    sources: tuple[str, ...]
    """references.source of the captions that are learnt from."""
    epochs: float
    """How often each caption is learnt from; parts of an epoch too."""
    learning_rate: float
    """Of AdamW, at its highest."""
    batch: int
    """Samples per step of the optimizer, whatever the memory and the number of devices."""
    micro_batch: int = field(default=8, metadata=EXECUTION)
    """Samples at once on a device, at most. Halved by itself when memory does not suffice and one process trains; the
    batch stays."""
    schedule: str = "linear"
    """Of the learning rate: linear, cosine, constant, constant_with_warmup."""
    warm_up: float = 0.0
    """Part of the steps, below 1, or their number, until the learning rate is reached."""
    weight_decay: float = 0.0
    """Of AdamW."""
    most_norm: float = 1.0
    """Gradients are scaled down to this norm; 0: never."""
    most_steps: int = 0
    """Ends the stage before its epochs are over; 0: it does not."""
    validate_steps: int = 0
    """Steps between two validations, after each of which a checkpoint is kept; 0: at the end of every epoch."""
    patience: int = 0
    """Validations without a better value after which the stage ends; 0: it goes on to its end."""
    log_steps: int = field(default=10, metadata=EXECUTION)
    """Steps that are one point of the loss curve."""

    def __post_init__(self) -> None:
        """Check values. Raises ConfigError, UnknownNameError for a schedule that is not there."""
        if not self.name.replace("-", "").isalnum():
            raise ConfigError(f"a stage is called {self.name!r}; take letters, digits and dashes.")
        if not self.sources:
            raise ConfigError(f"stage {self.name!r} has no sources: name at least one of references.source.")
        for name in ("epochs", "learning_rate", "batch", "micro_batch", "log_steps"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"stage {self.name!r}: {name} is {getattr(self, name)}; it has to be above 0.")
        for name in ("warm_up", "weight_decay", "most_norm", "most_steps", "validate_steps", "patience"):
            if getattr(self, name) < 0:
                raise ConfigError(f"stage {self.name!r}: {name} is {getattr(self, name)}; it has to be 0 or more.")
        if self.schedule not in SCHEDULES:
            raise UnknownNameError("schedule", self.schedule, list(SCHEDULES))


@dataclass(frozen=True, kw_only=True)
class ValidateConfig:
    """How a stage's checkpoints are compared: by captions that they write of the validation frames."""

    metric: str = "grounded"
    """Name in VALIDATIONS."""
    frames: int = 200
    """Of the validation movies, at most, spread evenly over them."""
    keep: int = 2
    """Checkpoints that are kept, the best and the last among them."""

    def __post_init__(self) -> None:
        """Check values. Raises ConfigError, UnknownNameError for a metric that is not there."""
        if self.metric not in VALIDATIONS:
            raise UnknownNameError("validation metric", self.metric, list(VALIDATIONS))
        if self.frames < 2 or self.keep < 2:
            raise ConfigError("frames and keep have to be at least 2: the best checkpoint stands beside the last.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole training."""

    caption: CaptionConfig
    """The captioner that is trained, as in a profile. Its name is that under which the captions of the trained one
    stand in the store, and those of before as `<name>-before`."""
    stage: tuple[StageRecipe, ...]
    lora: LoraRecipe | None = None
    """None: all weights are trained."""
    data: DataConfig = field(default_factory=DataConfig)
    validate: ValidateConfig = field(default_factory=ValidateConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    """What before and after are compared by."""
    freeze_vision: bool = False
    """Without a LoRA adapter: whether the vision encoder stays as it is."""
    reuse_features: bool = False
    """Whether what frozen parts make of a picture is computed once and kept in a file. It needs the room: tokens of a
    picture x width of the text model x 2 bytes each (4 with float32)."""
    gradient_checkpointing: bool = False
    """Activations are computed twice and not kept: less memory, a third slower."""
    seed: int = 0
    """Of new weights, dropout and the order of the samples."""
    cpu_processes: int = field(default=1, metadata=EXECUTION)
    """On a CPU, processes that train together, each with a share of the cores and a model of its own: a small one
    gains by it. As many as divide the batch and there are cores for, at most; 0: as many as that is."""
    workers: int = field(default=0, metadata=EXECUTION)
    """Processes that read samples; 0: none beside the training's own."""

    def __post_init__(self) -> None:
        """Check that the parts fit. Raises ConfigError."""
        if not self.stage:
            raise ConfigError("a recipe has at least one stage: write [[stage]] and its keys below.")
        names = [stage.name for stage in self.stage]
        if len(set(names)) < len(names):
            raise ConfigError(f"two stages have one name: {', '.join(names)}.")
        if not self.caption.name:
            raise ConfigError("[caption] needs a name: the captions of the trained captioner stand under it.")
        if self.caption.adapter or self.caption.server:
            raise ConfigError("[caption] names what training begins with: a checkpoint, without adapter and server.")
        if self.reuse_features and not (self.lora or self.freeze_vision):
            raise ConfigError("reuse_features needs a frozen vision encoder: train with [lora], or set freeze_vision.")

    @property
    def sources(self) -> Sequence[str]:
        """Of all stages, each once."""
        return list(dict.fromkeys(source for stage in self.stage for source in stage.sources))

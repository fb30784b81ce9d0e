"""How captions are scored."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from storage.store import EXECUTION
from tasks.corpora import Models
from tasks.errors import ConfigError
from tasks.metrics import Metric, available, load
from tasks.resampling import RESAMPLES


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Which metrics are computed, and how long the Java programs behind some may take."""

    metrics: Sequence[str] | None = None
    """File names in tasks/metrics; all there are by default."""
    java_timeout_seconds: float = field(default=1800.0, metadata=EXECUTION)
    """For each of PTB tokenizer, METEOR and SPICE. METEOR takes about 3 ms per caption."""

    dual_encoder: str | None = None
    """Hub id or folder of a model that embeds pictures and texts (CLIP, SigLIP), for clipscore and self_retrieval."""
    sentence_encoder: str | None = None
    """Hub id or folder of a sentence-transformers model, for frechet."""
    device: str = field(default="auto", metadata=EXECUTION)
    """Of those models: auto, cpu, cuda, cuda:1, ..."""
    resamples: int = RESAMPLES
    """Of the frames, for the intervals of all summaries; 0: no intervals."""
    seed: int = 0
    """Of the resamples, and of the frames among which a caption has to find its own."""

    def __post_init__(self) -> None:
        """Check values. Raises ConfigError, and UnknownNameError for a metric that is not there."""
        if not self.java_timeout_seconds > 0:
            raise ConfigError(f"java_timeout_seconds is {self.java_timeout_seconds}; it has to be above 0.")
        if self.resamples < 0 or self.resamples == 1:
            raise ConfigError(f"resamples is {self.resamples}; it has to be 0, or 2 and more.")
        if isinstance(self.metrics, str):
            raise ConfigError(f"metrics is the text {self.metrics!r}; it has to be a list of names.")
        if self.metrics is not None:
            object.__setattr__(self, "metrics", tuple(self.metrics))  # a list of a profile would not be hashable
        for name in self.metrics or ():
            load(name)

    @property
    def chosen(self) -> list[Metric]:
        """The metrics, loaded."""
        return [load(name) for name in (available() if self.metrics is None else self.metrics)]

    @property
    def models(self) -> Models:
        """The models that metrics ask."""
        return Models(
            dual_encoder=self.dual_encoder,
            sentence_encoder=self.sentence_encoder,
            device=self.device,
            timeout_seconds=self.java_timeout_seconds,
            seed=self.seed,
        )


DEFAULT = ScoreConfig()

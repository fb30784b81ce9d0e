"""What one run of score-captions knows of itself: whose captions, against which references, under which gates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from prefect import get_run_logger
from prefect.runtime import flow_run

from flows.escape_markdown import as_code
from flows.keep_memory_small import limit_arenas
from flows.publish_progress import ProgressArtifacts
from flows.read_configuration import PipelineConfig, read_configuration
from flows.run_state import Failed, Run, stored_movies
from flows.show_progress import Progress
from flows.steps import check, refer, score, summarise
from storage.errors import ParametersError, UnknownNameError
from storage.store import Store, TableRef, captioners_of
from tasks.baselines import baseline_values, take_baseline
from tasks.counted_captions import live_files
from tasks.errors import ConfigError, GateSyntaxError
from tasks.gates import Gate, read_gate
from tasks.references import Imported, check_place
from tasks.scores import ScoreConfig, former_config

STAGES = ("check", "score")
"""What scoring does of the stages that progress is told of."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for, read and checked."""

    captioners: Sequence[str]
    """Whose captions are scored and judged by the gates."""
    gates: Sequence[Gate]
    baseline: str | None
    """The captioner that is the baseline; None: each captioner's own, of the table baselines."""
    config: ScoreConfig | None
    """None: each captioner's as it was scored before."""

    @property
    def scored(self) -> list[str]:
        """The captioners to score: the baseline too, against the same references."""
        return list(dict.fromkeys([*self.captioners, *([self.baseline] if self.baseline else [])]))

    @property
    def needs_own_baseline(self) -> bool:
        """Whether captioners are compared with what they were."""
        return self.baseline is None and any(gate.needs_baseline for gate in self.gates)

    def config_of(self, captioner: str, store: Store) -> ScoreConfig:
        """The settings for a captioner's scores."""
        return self.config or former_config(captioner, store)


def read_wanted(
    store: Store,
    captioners: Sequence[str] | None,
    config: PipelineConfig | str | None,
    fail_if: Sequence[str],
    baseline: str | None,
    references: str | None = None,
) -> Wanted:
    """Check what is asked for before any work is done.

    Raises MissingPathError where the references are not there, ConfigError for a store without captions;
    UnknownNameError for a captioner that the store does not have, a metric that is not there, or an unknown profile;
    GateSyntaxError for a condition that cannot be read, and a baseline that none asks; ParametersError where no
    captioner is to be scored, or the baseline is one of them.
    """
    if references is not None:
        check_place(references)
    known = captioners_of(store)
    if not known:
        raise ConfigError(f"{store.location} holds no captions. Fill it with `caption-movies run`, or `caption`.")
    for name in (*(captioners or ()), *([baseline] if baseline else [])):
        if name not in known:
            raise UnknownNameError("captioner", name, known)
    gates = [read_gate(text) for text in fail_if]
    if baseline and not any(gate.needs_baseline for gate in gates):
        raise GateSyntaxError(
            f"the baseline is {baseline!r}, and no --fail-if asks it. Such as: bleu4 < 0.95 * baseline"
        )
    chosen = [name for name in known if name != baseline] if captioners is None else list(dict.fromkeys(captioners))
    if baseline in chosen or not chosen:
        whose = f"{baseline} would be compared with itself" if baseline else "no captioner is named"
        raise ParametersError(f"{whose}. Captioners of {store.location}: {', '.join(known)}; name another.")
    return Wanted(chosen, gates, baseline, read_configuration(config).score if config else None)


@dataclass
class ScoringRun:
    """One run of score-captions."""

    run: Run
    wanted: Wanted
    imported: list[Imported] = field(default_factory=list)

    @property
    def store(self) -> Store:
        """The store that is scored."""
        return self.run.store

    def bring(self, references: str | None, source: str | None, captioner: str | None) -> None:
        """Import references where some are given. Raises what bring_references raises: nothing is scored then."""
        if references is not None:
            self.imported.append(refer(references, self.store, source, captioner))

    def score_shards(self, captioner: str) -> None:
        """Check and score every shard of a captioner; what is finished is found finished."""
        config = self.wanted.config_of(captioner, self.store)
        for captions, detections, mended, choices in self._shards(captioner):
            verdicts = check.submit(captions, detections, self.store, mended)
            scores = score.submit(captions, detections, verdicts, self.store, config, mended, choices)
            self.run.follow({"check": verdicts, "score": scores}, f"{captions.shard} of {captioner}")
        self.run.finish()

    def summarise(self, captioner: str) -> None:
        """Sum a captioner up, with the metrics that read references."""
        config = self.wanted.config_of(captioner, self.store)
        self.run.follow({"summarise": summarise.submit(captioner, self.store, config)}, captioner)
        self.run.finish()

    def _shards(self, captioner: str) -> Iterator[tuple[TableRef, TableRef, TableRef | None, TableRef | None]]:
        """Captions with their detections, what mends them, and the choices; one that lacks detections is a failure."""
        live = live_files(captioner, self.store)
        for captions in live.captions:
            detections = self.store.ref("detections", captions.shard)
            footer = self.store.footer(captions.path)
            for stage, ref in (("extract", self.store.ref("frames", captions.shard)), ("detect", detections)):
                self.run.progress.advance(stage, ref.rows if ref else 0, found=True)
            self.run.progress.advance("caption", captions.rows, found=True)
            if detections is not None and footer and detections.fingerprint in footer.inputs:
                yield captions, detections, live.mended.get(captions.shard), live.choices.get(captions.shard)
            else:
                why = (
                    "these captions are of other detections than stand there now; run `caption-movies run` or "
                    "`caption-movies caption` with the captioner's profile"
                )
                self.run.failures.append(Failed(f"score {captions.shard} of {captioner}", why))


def start_scoring(
    store: str,
    captioners: Sequence[str] | None,
    config: PipelineConfig | str | None,
    fail_if: Sequence[str],
    baseline: str | None,
) -> ScoringRun:
    """Check what is asked for, open the store, and keep the first baseline before any summary is made anew.

    Raises what read_wanted raises, and StoreError for a store that cannot be written.
    """
    limit_arenas()
    opened = Store(store, str(flow_run.id or uuid4()))
    wanted = read_wanted(opened, captioners, config, fail_if, baseline)
    movies = stored_movies(opened)
    opened.files.probe()
    opened.files.sweep()
    if wanted.needs_own_baseline:
        for captioner in wanted.captioners:
            if baseline_values(captioner, opened) is None:
                take_baseline(captioner, opened)
    progress = Progress.start(opened.run_id, len(movies), get_run_logger().info, STAGES)
    progress.movies_done.update(movie.movie_id for movie in movies)
    progress.titles.update({movie.movie_id: movie.title for movie in movies})
    artifacts = ProgressArtifacts.begin(progress, f"scores in {as_code(opened.location)}")
    run = Run(movies=movies, store=opened, config=PipelineConfig(), progress=progress, shown_progress=artifacts)
    return ScoringRun(run, wanted)

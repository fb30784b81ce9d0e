"""How far a run is, as progress artifacts in Prefect: one of the whole run and one of each stage."""

import threading
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows.publish_artifacts import SERVER_TROUBLE, artifact_key
from flows.show_progress import Progress

WHOLE = ""
"""Stands for the whole run among the stages."""


@dataclass
class ProgressArtifacts:
    """One artifact per stage, and one of the run. They go forward with `update`, which sends what has changed since.

    So many requests at most go out each time: one per stage and one more. A server that does not answer is logged once,
    and asked again the next time.
    """

    progress: Progress
    about: str
    """What the run does, as Markdown."""
    _ids: dict[str, UUID] = field(default_factory=dict)
    _sent: dict[str, tuple[int, str]] = field(default_factory=dict)
    _troubled: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def begin(cls, progress: Progress, about: str) -> "ProgressArtifacts":
        """Show a run's progress from now on."""
        artifacts = cls(progress, about)
        artifacts.update()
        progress.publish = artifacts.update
        return artifacts

    def update(self) -> None:
        """Bring every artifact up to date. Called by the run at its begin and end, and by its clock in between."""
        with self._lock:
            try:
                for stage in (WHOLE, *self.progress.stages):
                    said = self._said(stage)
                    if said != self._sent.get(stage):
                        self._send(stage, *said)
                        self._sent[stage] = said
                self._troubled = False
            except SERVER_TROUBLE as error:
                if not self._troubled:
                    get_run_logger().warning("progress is not shown in Prefect: %s: %s", type(error).__name__, error)
                self._troubled = True

    def _said(self, stage: str) -> tuple[int, str]:
        """Whole percents, and the description."""
        fraction = self.progress.fraction_of(stage) if stage else self.progress.fraction
        counts = self.progress.of_stage(stage) if stage else self.progress.as_line()
        return int(100 * fraction), f"{counts} ({self.about})"

    def _send(self, stage: str, percent: int, description: str) -> None:
        if stage in self._ids:
            update_progress_artifact(self._ids[stage], progress=percent, description=description)
            return
        key = artifact_key(f"progress-{stage}" if stage else "progress")
        made: Any = create_progress_artifact(progress=percent, key=key, description=description)
        self._ids[stage] = made

"""What a run of score-captions says at its end: the table of each captioner, its alarms, what the gates say."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from prefect.artifacts import create_markdown_artifact

from flows.escape_markdown import as_code
from flows.publish_artifacts import publish
from flows.report_run import FAILED
from flows.run_state import Failed
from flows.start_scoring import ScoringRun
from flows.write_scores import as_markdown
from storage.store import Store
from tasks.alarms import undecided
from tasks.baselines import Known, baseline_values, current_values, take_baseline
from tasks.card_scores import CardTable, card_table
from tasks.errors import CaptionMoviesError
from tasks.gates import Decision, Judge

LEFT_OUT, GATE_FAILED = 3, 4


class ScoringFailedError(CaptionMoviesError):
    """Scores are such that a gate fails, a gate could not be decided, or steps failed; what is scored is safe."""

    def __init__(self, report: "ScoreReport") -> None:
        said = [f"{one.step}: {one.error}" for one in report.failures]
        said += [str(one) for one in report.decisions if one.failed is not False]
        super().__init__("; ".join(said))
        self.report = report


@dataclass(frozen=True)
class ScoreReport:
    """What was scored, and what is to be said of it."""

    store: str
    tables: Sequence[CardTable]
    """None where steps failed: they could be those of an earlier run."""
    decisions: Sequence[Decision]
    computed: int
    """Pieces of work that were done in this run; the rest stood there already."""
    left_out: int = 0
    """References of no frame in the store."""
    shown: Sequence[str] = ()
    """The first of them."""
    failures: Sequence[Failed] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all fine; 1 a step failed, or a gate cannot be decided; 4 a gate failed; 3 references were left out."""
        found = {one.failed for one in self.decisions}
        if self.failures or (None in found and True not in found):
            return FAILED
        if True in found:
            return GATE_FAILED
        return LEFT_OUT if self.left_out else 0


def report_scores(scoring: ScoringRun, *, accept: bool) -> ScoreReport:
    """Judge, publish the artifact, keep the first baselines (with `accept`: new ones), and end the run.

    Raises ScoringFailedError where the report's exit code would be 1 or 4.
    """
    scoring.run.end_progress()
    store, wanted = scoring.store, scoring.wanted
    report = ScoreReport(
        store=store.location,
        tables=[] if scoring.run.failures else [one for name in wanted.scored if (one := card_table(name, store))],
        decisions=[one for name in wanted.captioners for one in _judged(scoring, name)],
        computed=len(store.files.under(f"stage_runs/run_id={store.run_id}")),
        left_out=sum(one.unmatched for one in scoring.imported),
        shown=[line for one in scoring.imported for line in one.shown],
        failures=scoring.run.failures,
    )
    page = as_markdown(report.tables, report.decisions, report.failures)
    about = f"Scores of {', '.join(map(as_code, wanted.scored))} in {as_code(store.location)}"
    publish("summary", lambda key: create_markdown_artifact(page, key, about))
    if not report.failures:
        for captioner in wanted.captioners:
            if accept or (wanted.needs_own_baseline and baseline_values(captioner, store) is None):
                take_baseline(captioner, store)
    if report.exit_code in (FAILED, GATE_FAILED):
        raise ScoringFailedError(report)
    return report


def _judged(scoring: ScoringRun, captioner: str) -> list[Decision]:
    """What every gate says of one captioner. None is decided over scores of which some are missing."""
    wanted = scoring.wanted
    if not wanted.gates or scoring.run.failures:
        return []
    values = _with_counts(captioner, scoring.store, current_values(captioner, scoring.store)) or {}
    if wanted.baseline:
        baseline = _with_counts(wanted.baseline, scoring.store, current_values(wanted.baseline, scoring.store))
        none = f"the baseline {wanted.baseline!r} has no summaries."
    else:
        baseline = _with_captions(baseline_values(captioner, scoring.store))
        none = (
            f"{captioner} has no baseline yet, for nothing was scored before. The scores of this run are the baseline "
            "from now on: run again, or name a captioner with --baseline."
        )
    judge = Judge(captioner, values, baseline, none)
    return [judge.decide(gate) for gate in wanted.gates]


def _with_captions(values: dict[str, Known] | None) -> dict[str, Known] | None:
    """A captioner's own baseline, and how many captions it was of."""
    if not values:
        return values
    captions = max(known.captions for known in values.values())
    return values | {"captions": Known(float(captions), None, "", captions)}


def _with_counts(captioner: str, store: Store, values: dict[str, Known] | None) -> dict[str, Known] | None:
    """The values, and beside them how many captions and alarms there are."""
    table = card_table(captioner, store)
    if values is None or table is None:
        return None
    captions, alarms = table.captions, len(table.alarms)
    open_ = undecided({name: known.reason or "" for name, known in values.items() if known.value is None})
    why = "; ".join(f"no value of {name}: {reason}" for name, reason in open_.items())
    return values | {
        "captions": Known(float(captions), None, "", captions),
        "alarms": Known(float(alarms), why or None, "", alarms, more=len(open_)),
    }

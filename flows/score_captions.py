"""captions and references of a store -> scores, summaries, alarms; a gate for schedules."""

from prefect import flow

from flows.caption_movies import THREADS
from flows.name_runs import name_scores_run
from flows.read_configuration import PipelineConfig
from flows.report_scores import ScoreReport, report_scores
from flows.start_scoring import start_scoring


@flow(name="score-captions", flow_run_name=name_scores_run, task_runner=THREADS, persist_result=False)
def score_captions(
    store: str,
    references: str | None = None,
    source: str | None = None,
    reference_captioner: str | None = None,
    captioners: list[str] | None = None,
    config: PipelineConfig | str | None = None,
    fail_if: list[str] | None = None,
    baseline: str | None = None,
    accept: bool = False,
) -> ScoreReport:
    """Score captions that stand in a store; what is finished is not done again.

    store: a folder, or a URI of an object store. references: a file, or a store whose chosen captions by
    reference_captioner are the references; none: those that were imported already. source: their name, `human` by
    default. captioners: all of the store by default. config: of a profile only its [score] is asked; by default the
    settings that a captioner was scored with before. fail_if: conditions under which the run fails, such as
    `grounding_f1_macro < 0.95 * baseline`. baseline: a captioner of the store; by default each captioner's own scores
    when a condition first asked for them. accept: make these scores that baseline, whatever the conditions say.
    """
    scoring = start_scoring(store, captioners, config, fail_if or [], baseline)
    scoring.bring(references, source, reference_captioner)
    for captioner in scoring.wanted.scored:
        scoring.score_shards(captioner)
        scoring.summarise(captioner)
    return report_scores(scoring, accept=accept)

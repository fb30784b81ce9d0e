"""Every stage wrapped exactly once: name, retries, tags. Not Prefect's cache but the store decides what is done."""

import errno
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from flows.hold_devices import on_device
from flows.name_runs import step_name
from flows.show_progress import watched
from storage.store import TableRef
from tasks import captions, choices, consistency, detections, frames, mending, references, scores
from tasks.errors import TransientError

TRANSIENT_ERRNO = {errno.EAGAIN, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTUNREACH}


def is_transient(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether another try may help: a network or a disk that may come back; never a wrong value or a bug."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, TransientError | ConnectionError | TimeoutError):
        return True
    return isinstance(error, OSError) and error.errno in TRANSIENT_ERRNO


POLICY: Any = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(2),
    "retry_condition_fn": is_transient,
}


def _called(verb: str) -> Any:
    """The policy of a stage's step, and what its runs are called."""
    return POLICY | {"task_run_name": step_name(verb)}


extract = Task(watched(frames.extract_shard, "extract"), name="extract-frames", tags=["decode"], **_called("extract"))
detect: Task[..., TableRef] = Task(
    on_device(watched(detections.detect_objects, "detect")), name="detect-objects", tags=["gpu"], **_called("detect")
)
caption: Task[..., TableRef] = Task(
    on_device(watched(captions.caption_frames, "caption")), name="caption-frames", tags=["gpu"], **_called("caption")
)
mend: Task[..., TableRef] = Task(
    on_device(watched(mending.mend_captions, "mend"), needed=lambda *args: args[-2].regenerates),
    name="mend-captions", tags=["gpu"], **_called("mend"),
)  # fmt: skip
check: Task[..., TableRef] = Task(
    watched(consistency.check_captions, "check"), name="check-captions", **_called("check")
)
choose: Task[..., TableRef] = Task(
    on_device(watched(choices.choose_captions, "choose"), needed=lambda *args: args[-1].uses_model),
    name="choose-captions", tags=["gpu"], **_called("choose"),
)  # fmt: skip
refer: Task[..., references.Imported] = Task(
    watched(references.bring_references, "refer"), name="import-references", **_called("import references")
)
score: Task[..., TableRef] = Task(watched(scores.score_captions, "score"), name="score-captions", **_called("score"))
summarise: Task[..., TableRef] = Task(
    watched(scores.summarise_captions, "summarise"), name="summarise-captions", **_called("summarise")
)

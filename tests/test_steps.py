"""What Prefect adds to the stages: retries for what may pass, one slot per device, progress."""

import threading
import time
from dataclasses import dataclass

import pytest
from prefect import flow, task

from flows.hold_devices import DeviceSlots
from flows.show_progress import Progress, watched
from flows.steps import POLICY, caption, check, detect, extract, score, summarise
from tasks.errors import CheckpointError, TransientError

QUICK = POLICY | {"retry_delay_seconds": 0}


@pytest.mark.usefixtures("on_server")
@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (TransientError("busy"), 3),
        (ConnectionResetError("gone"), 3),
        (CheckpointError("no"), 1),
        (ValueError("bug"), 1),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, tries: int) -> None:
    calls = []

    def work() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise error
        return 7

    @flow
    def run() -> bool:
        return bool(task(work, **QUICK).submit().wait() or True)

    run()
    assert len(calls) == tries


def test_every_step_has_the_policy_and_model_steps_the_gpu_tag() -> None:
    for step in (extract, detect, caption, check, score, summarise):
        assert step.retries == 3
        assert step.retry_condition_fn is not None
        assert not step.persist_result
    assert [step.name for step in (extract, detect, caption, check, score) if "gpu" in step.tags] == [
        "detect-objects",
        "caption-frames",
    ]


def test_one_holder_per_device_and_as_many_as_devices() -> None:
    slots = DeviceSlots(["cuda:0", "cuda:1"])
    here: list[str] = []
    most: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        with slots.hold() as device:
            with lock:
                assert device not in here
                here.append(device)
                most.append(len(here))
            time.sleep(0.01)
            with lock:
                here.remove(device)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 2


def test_a_device_by_name_waits_for_that_device() -> None:
    slots = DeviceSlots(["cuda:0", "cuda:1"])
    with slots.hold("cuda:1") as first, slots.hold() as second:
        assert (first, second) == ("cuda:1", "cuda:0")


def test_a_slot_is_given_back_after_an_error() -> None:
    slots = DeviceSlots(["cpu"])

    def fails() -> None:
        with slots.hold():
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        fails()
    with slots.hold() as device:
        assert device == "cpu"


@dataclass
class Ref:
    rows: int


@dataclass
class FakeStore:
    run_id: str


def test_progress_counts_shards_and_estimates_the_rest() -> None:
    progress = Progress.start("run", movies=2)
    try:
        for stage in ("extract", "detect", "caption", "check", "score"):
            watched(lambda store: Ref(rows=10), stage)(FakeStore("run"))
        assert progress.rows["caption"] == 10
        assert progress.fraction == 0  # no movie is decoded to its end
        progress.movie_done("a")
        assert progress.fraction == 0.5
        progress.movie_done("b")
        assert progress.fraction == 1
    finally:
        progress.finish()

"""What Prefect adds to the stages: retries for what may pass, one slot per device, progress."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pytest
from prefect import flow, task
from rows import movie

from flows.hold_devices import DeviceSlots, on_device, slots
from flows.show_progress import EVERY_SECONDS, Progress, watched
from flows.steps import POLICY, caption, check, detect, extract, score, summarise
from storage.store import Store, TableRef
from storage.tables import Movie
from tasks.captioners import CaptionConfig, ServerConfig
from tasks.errors import CheckpointError, TransientError

REPOSITORY = Path(__file__).parents[1]
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


def test_what_asks_a_server_holds_no_device_and_two_shards_may_at_once() -> None:
    at_once = threading.Barrier(2)

    def stage(shard: int, config: CaptionConfig) -> str:
        at_once.wait(60)  # were one after the other, it would wait for ever
        return config.device

    asking = on_device(stage)
    config = CaptionConfig(backend="server", server=ServerConfig(url="http://localhost:1/v1"))
    with slots().hold(), ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda shard: asking(shard, config), range(2))) == ["auto", "auto"]


@dataclass
class Ref:
    rows: int
    found: bool = False


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


class FakeClock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def said(progress: Progress, heard: list[str], clock: FakeClock, rounds: int) -> list[str]:
    """What is said in so many rounds of ten seconds, in which nothing happens before the first of them."""
    heard.clear()
    for _ in range(rounds):
        clock.seconds += EVERY_SECONDS
        progress.say_if_due()
    return list(heard)


def test_a_line_comes_when_something_changed_and_every_half_minute_anyway() -> None:
    clock, heard = FakeClock(), list[str]()
    progress = Progress("run", 2, heard.append, clock=clock)
    start = "0 of 2 movies decoded, 0 frames; shards extracted 0, detected 0"
    silence = said(progress, heard, clock, 6)
    assert [line.partition(" ")[0] for line in silence] == ["0:00:30", "0:01:00"]
    assert all(start in line and line.endswith("; time left not known yet") for line in silence)
    progress.advance("extract", 10)
    assert [line.partition(" ")[0] for line in said(progress, heard, clock, 4)] == ["0:01:10", "0:01:40"]


def test_lines_say_the_rate_of_this_run_and_the_time_left() -> None:
    """What stood there finished counts for neither."""
    clock, heard = FakeClock(), list[str]()
    progress = Progress("run", 2, heard.append, clock=clock)
    for shard in range(4):
        for stage in ("extract", "caption", "score") if shard < 2 else ("extract",):
            progress.advance(stage, 100, found=shard < 2)
    progress.movie_done("a")
    assert said(progress, heard, clock, 1)[0].endswith("scored 2 (2 found finished); time left not known yet")
    progress.advance("caption", 100)
    assert said(progress, heard, clock, 1)[0].endswith("; 5.0 captions a second; time left not known yet")
    progress.advance("score", 100)
    # Half of the movies have 4 shards, so all have 8: 5 are left, at one in 20 seconds and 10 more until it is said.
    assert said(progress, heard, clock, 1)[0].endswith("; 3.3 captions a second; about 0:02:30 left")
    clock.seconds = 1000.0
    assert progress.rate() == "6.0 captions a minute"
    clock.seconds = 1_000_000.0
    assert progress.time_left() == "about 58 days left"
    progress.movie_done("b")
    progress.advance("score", 100)
    clock.seconds = 40.0
    assert progress.fraction == 1
    assert progress.time_left() == ""


def test_progress_is_said_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.show_progress.EVERY_SECONDS", 0.01)
    heard: SimpleQueue[str] = SimpleQueue()
    progress = Progress.start("run", 2, heard.put)
    watched(lambda store: Ref(rows=10, found=True), "extract")(FakeStore("run"))
    watched(lambda store: Ref(rows=30), "detect")(FakeStore("run"))
    expected = (
        "1 of 2 movies decoded, 10 frames; shards extracted 1 (1 found finished), detected 1, captioned 0, mended 0, "
        "checked 0, chosen 0, scored 0"
    )
    progress.movie_done("a")
    while not (line := heard.get(timeout=60)).endswith(f"{expected}; time left not known yet"):
        assert "movies decoded" in line  # said between two of the lines above
    progress.finish()
    while not (line := heard.get(timeout=60)).endswith(f"done: {expected}"):
        assert expected in line  # now and then the same again
    progress.finish()
    assert heard.empty()


def test_a_run_goes_on_when_nobody_reads_its_lines() -> None:
    """As with `2>&1 | head`."""
    said = """
import sys
from flows.show_in_terminal import shown_progress
from flows.show_progress import Progress
with shown_progress(verbose=False):
    for _ in range(2):
        Progress.lines[0]("a line")
print("last words", file=sys.stderr)
print("done")
"""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([sys.executable, "-c", said], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=write)
    finally:
        os.close(write)
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_work_that_stood_there_is_known_from_work_that_was_done(tmp_path: Path) -> None:
    store = Store(str(tmp_path))

    def stage() -> TableRef:
        output = store.output([Movie], stage="movies", shard="mabc", version=1, config={})
        if not output.is_current():
            with output.writer() as write:
                write(movie())
        return output.ref

    first, again = stage(), stage()
    assert (first.found, again.found) == (False, True)
    assert first == again

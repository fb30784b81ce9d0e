"""What both trainings share: the loop, its log, and what its commands say of wrong options."""

import json
import sys
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

from toyworld import train_captioner, train_detector
from toyworld.training_run import Clock, Progress, Rhythm, cut_log, keep_plan, run_script, run_through, schedule


def go(folder: Path, progress: Progress, steps: int, save_steps: int = 0) -> list[str]:
    """Run to so many steps; what was done, in order."""
    done: list[str] = []

    def step(number: int) -> dict[str, float]:
        progress.step += 1
        done.append("step")
        return {"loss": float(number)}

    def look() -> dict[str, float]:
        done.append("look")
        return {"seen": 1.0}

    run_through(
        count(), step, progress, Clock(progress, steps, None), folder / "log.jsonl",
        look=look, save=lambda: done.append("save"), rhythm=Rhythm(save_steps=save_steps),
    )  # fmt: skip
    return done


def test_a_run_does_its_steps_then_looks_and_saves(tmp_path: Path) -> None:
    progress = Progress()
    assert go(tmp_path, progress, 3, save_steps=2) == ["step", "step", "save", "step", "look", "save"]
    assert (progress.step, progress.part) == (3, 1.0)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line.get("loss") for line in lines] == [1.0, None]
    assert lines[-1]["seen"] == 1.0


def test_of_a_finished_run_nothing_changes(tmp_path: Path) -> None:
    progress = Progress()
    go(tmp_path, progress, 2)
    assert go(tmp_path, progress, 2) == []
    assert progress.step == 2


def test_a_log_loses_what_will_be_done_again_and_a_torn_line(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste', "utf-8")
    cut_log(log, 2)
    assert log.read_text("utf-8") == '{"step": 1}\n{"step": 2}\n'
    cut_log(tmp_path / "none.jsonl", 2)


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [schedule(Progress(step=step, part=step / 100), warm_up=10) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0)


@pytest.mark.parametrize("script", [train_detector, train_captioner])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--until", "25:99"], "error: "),
        (["--seed", "7"], "holds a run of another plan"),
        (["--export", "out"], "No such file"),
    ],
)
def test_wrong_options_are_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: ModuleType, options: list[str], says: str
) -> None:
    keep_plan(tmp_path, script.Plan())
    monkeypatch.setattr("toyworld.train_captioner.inputs_of", lambda *_: pytest.fail("work began"))
    monkeypatch.setattr(sys, "argv", ["train", "--folder", str(tmp_path), *options])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=says):
        run_script(script.main)

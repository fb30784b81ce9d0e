"""Several processes train one stage together, as on several GPUs: here on CPU, over gloo."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from process_watch import needs_proc, running, wait_for
from safetensors.torch import load_file
from tiny_blip import build_tiny_blip
from training_making import SHORT, movie_store, plain_recipe, stage

from flows import train_captioner
from flows.train_captioner import fit
from flows.train_worker import failure, put_job, work
from storage.store import Store
from tasks.errors import ConfigError, TransientError
from tasks.training.fitting import LOG, processes_on_cpu, train_stage
from tasks.training.recipes import LoraRecipe, Recipe
from tasks.training.runs import Prepared, prepare

LEARNING = stage(SHORT, epochs=1, batch=4, micro_batch=4, most_steps=2)  # whole batches only
BEGUN = """
import sys
from pathlib import Path
from test_training_processes import two_at_once
from flows.train_worker import launch
launch(two_at_once(Path(sys.argv[1])).job, 0, 2)
"""


def recipe(folder: Path) -> Recipe:
    return plain_recipe("blip", folder / "blip", LEARNING)


def two_at_once(folder: Path) -> Prepared:
    return prepare(replace(recipe(folder), cpu_processes=0), Store(str(folder / "store")), folder / "together")


@needs_proc
def test_on_a_cpu_two_processes_learn_what_one_learns_and_end_with_who_began_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = movie_store(tmp_path)
    build_tiny_blip(tmp_path / "blip")
    together = two_at_once(tmp_path)
    begun = subprocess.Popen([sys.executable, "-c", BEGUN, str(tmp_path)], cwd=Path(__file__).parent)
    try:
        wait_for(lambda: len(running(str(together.job.folder))) == 3)  # one that watches over two
    finally:
        begun.kill()
        begun.wait()
    wait_for(lambda: not running(str(together.job.folder)))
    assert not together.job.result(0).exists()

    monkeypatch.setattr(train_captioner, "whole_cores", lambda: 3)
    two = load_file(Path(fit(together, 0)) / "model.safetensors")
    alone = prepare(recipe(tmp_path), store, tmp_path / "alone")
    one = load_file(train_stage(alone.job, 0) / "model.safetensors")
    logs = [json.loads((each.job.stage_folder(0) / LOG).read_text()) for each in (alone, together)]
    assert [(said["steps"], said["micro_batch"]) for said in logs] == [(2, 4), (2, 2)]  # half of a batch each
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-4)


def test_what_a_process_finds_wrong_is_told_on_and_a_death_without_words_too(tmp_path: Path) -> None:
    nothing = LoraRecipe(rank=2, alpha=2, targets=("nothing_is_called_so",))
    wrong = replace(plain_recipe("blip", build_tiny_blip(tmp_path / "blip"), LEARNING), lora=nothing)
    job = prepare(wrong, movie_store(tmp_path), tmp_path / "run").job
    put_job(job)
    assert isinstance(killed := failure(job, 0, -9), TransientError)
    assert "'short' ended with -9" in str(killed)
    with pytest.raises(ConfigError) as raised:
        work(job.folder, 0)
    assert isinstance(told := failure(job, 0, 1), ConfigError)
    assert str(told) == str(raised.value)
    assert "nothing_is_called_so" in str(told)
    put_job(job)
    assert isinstance(failure(job, 0, 1), TransientError)


@pytest.mark.parametrize(
    ("wanted", "cores", "batch", "processes"),
    [(1, 8, 8, 1), (0, 2, 8, 2), (0, 6, 8, 4), (3, 6, 8, 2), (0, 64, 8, 8), (0, 1, 8, 1), (2, 1, 8, 1), (0, 5, 7, 1)],
)
def test_so_many_processes_train_on_a_cpu(wanted: int, cores: int, batch: int, processes: int, tmp_path: Path) -> None:
    learning = replace(LEARNING, batch=batch)
    assert processes_on_cpu(replace(recipe(tmp_path), cpu_processes=wanted), learning, cores) == processes

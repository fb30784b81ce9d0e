"""Several processes train one stage together, as on several GPUs: here on CPU, over gloo."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from tiny_blip import build_tiny_blip
from training_making import SHORT, movie_store, plain_recipe, stage

from flows.train_worker import launch
from storage.store import Store
from tasks import trainables
from tasks.training.fitting import LOG, SAMPLES, Job, train_stage
from tasks.training.recipes import Recipe
from tasks.training.samples import gather_samples


def job(recipe: Recipe, store: Store, folder: Path) -> Job:
    reader = trainables.load(recipe.caption.backend).reader(Path(recipe.caption.checkpoint))
    found = gather_samples(store, recipe, reader.length, folder / SAMPLES)
    return Job(folder, recipe, store, found.fingerprint)


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    store = movie_store(tmp_path)
    learning = stage(SHORT, epochs=1, batch=4, micro_batch=4, most_steps=2)  # whole batches only
    recipe = plain_recipe("blip", build_tiny_blip(tmp_path / "blip"), learning)
    alone, together = job(recipe, store, tmp_path / "alone"), job(recipe, store, tmp_path / "together")
    one = load_file(train_stage(alone, 0) / "model.safetensors")
    launch(together, 0, 2)
    two = load_file(together.result(0) / "model.safetensors")
    logs = [json.loads((each.stage_folder(0) / LOG).read_text()) for each in (alone, together)]
    assert [(said["steps"], said["micro_batch"]) for said in logs] == [(2, 4), (2, 2)]  # half of a batch each
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-4)

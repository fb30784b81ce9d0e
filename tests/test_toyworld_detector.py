"""The drawn world's detector: how it is measured, its loss, and its training."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.mask2former import modeling_mask2former as stock

from tasks import detectors
from tasks.detectors import DetectConfig
from tasks.detectors.mask2former import CONFIGURATIONS
from toyworld import train_detector
from toyworld.detector_data import MOVIE_SIZE, WORLD_SIZE, batches, draw_pool, round_seeds
from toyworld.detector_loss import PixelNaming, Targets, detector_loss
from toyworld.detector_model import SIZE, detector_processor, model_input, new_detector
from toyworld.detector_report import lines, measure, picture_counts
from toyworld.drawing import draw
from toyworld.faster_attention import deformable_attention
from toyworld.naming import segments_of
from toyworld.sampling import sample
from toyworld.seeds import TEST, TRAIN, VALIDATION
from toyworld.train_detector import SMALL, Plan, Progress, Trainer, actors_at, export, size_at, train
from toyworld.training_run import Rhythm, keep_plan, schedule
from toyworld.vocabulary import LABELS


def test_faster_attention_is_the_stock_one_in_values_and_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3), (4, 6)]
    inputs = [
        torch.rand(size, dtype=torch.float64, generator=generator).requires_grad_()
        for size in ((2, 30, 4, 8), (2, 5, 4, 2, 3, 2), (2, 5, 4, 2, 3))
    ]
    expected = stock.multi_scale_deformable_attention(inputs[0], shapes, *inputs[1:])
    given = deformable_attention(inputs[0], shapes, *inputs[1:])
    torch.testing.assert_close(given, expected)
    along = torch.rand(expected.shape, dtype=torch.float64, generator=generator)
    for one, other in zip(
        torch.autograd.grad(given, inputs, along), torch.autograd.grad(expected, inputs, along), strict=True
    ):
        torch.testing.assert_close(one, other)


class TestLoss:
    def targets(self) -> Targets:
        maps = torch.zeros(2, 192, 336, dtype=torch.uint8)
        maps[0, :96], maps[0, 96:] = 1, 2
        maps[0, 40:80, 32:72] = 3  # along the masks' cells
        maps[1] = 1
        return Targets(torch.tensor([[12, 13, 0], [16, -1, -1]]), maps)

    def test_coverage_is_the_part_of_each_cell(self) -> None:
        maps = torch.zeros(1, 4, 8, dtype=torch.uint8)
        maps[0, 1:, 1:] = 1
        covered = Targets(torch.tensor([[5]]), maps).coverage(4)
        assert covered.shape == (1, 1, 1, 2)
        assert covered.flatten().tolist() == [9 / 16, 12 / 16]

    def test_is_near_the_stock_one(self) -> None:
        """Points are drawn there, all are taken here; the scale and what it is made of are the same."""
        model, targets = new_detector(0, **SMALL).train(), self.targets()
        pixels = torch.randn(2, 3, 192, 336, generator=torch.Generator().manual_seed(1))
        masks = [
            torch.stack([targets.maps[row] == 1 + number for number in range(count)]).float()
            for row, count in enumerate((3, 1))
        ]
        classes = [targets.classes[0], targets.classes[1, :1]]
        with torch.no_grad():
            expected = model(pixel_values=pixels, mask_labels=masks, class_labels=classes).loss
            given = detector_loss(model, pixels, targets)
        assert float(given) == pytest.approx(float(expected), rel=0.1)

    def test_pixels_of_the_features_learn_their_category(self) -> None:
        model, targets = new_detector(0, **SMALL).train(), self.targets()
        naming = PixelNaming(model.config)
        pixels = torch.randn(2, 3, 192, 336, generator=torch.Generator().manual_seed(1))
        added = detector_loss(model, pixels, targets, naming) - detector_loss(model, pixels, targets).detach()
        assert 4 < float(added.detach()) / model.config.class_weight < 4 * 6, (
            "four maps, about the logarithm of 20 each"
        )
        added.backward()
        assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in naming.parameters())

    def test_truth_itself_costs_next_to_nothing_and_is_matched(self) -> None:
        model, targets = PerfectModel(self.targets()), self.targets()
        assert float(detector_loss(model, torch.zeros(2, 3, 192, 336), targets)) < 0.05


class PerfectModel:
    """Says the truth, its queries in reverse order of the segments."""

    def __init__(self, targets: Targets):
        self.config = new_detector(0, **SMALL).config
        self.targets = targets

    def model(self, pixel_values: torch.Tensor, output_hidden_states: bool) -> "PerfectModel":
        assert output_hidden_states
        assert len(pixel_values) == 2
        self.masks_queries_logits = [40 * self.targets.coverage(4).flip(1) - 20] * 2
        self.transformer_decoder_intermediate_states = [self.targets.classes.flip(1).T[..., None].float()] * 2
        return self

    def class_predictor(self, states: torch.Tensor) -> torch.Tensor:
        category = states[..., 0].long() % (len(LABELS) + 1)  # -1, nothing, is the last
        return 20 * torch.nn.functional.one_hot(category, len(LABELS) + 1).float()


class TestTraining:
    def plan(self, **changes: object) -> Plan:
        sizes = ((0.5, 224, 128), (1.0, 336, 192))
        return Plan(small=True, sizes=sizes, batch=4, scenes=8, passes=2, warm_up=2, **changes)  # type: ignore[arg-type]

    def test_reduces_the_loss_on_one_batch(self) -> None:
        trainer = Trainer.new(self.plan(steps=40, learning_rate=4e-3), "cpu")
        images, targets = next(batches(draw_pool(TRAIN[:4]), (0,), 1, 4))
        progress = Progress()
        losses = [trainer.step(images, targets, progress) for _ in range(12)]
        assert losses[-1] < 0.8 * losses[0]

    def test_a_killed_run_goes_on_to_the_same_weights(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        plan = self.plan(steps=7)
        whole, cut = tmp_path / "whole", tmp_path / "cut"
        keep_plan(whole, plan), keep_plan(cut, plan)
        train(whole, plan, looked_at=1)

        class Killed(BaseException):
            pass

        step = Trainer.step

        def dying(self: Trainer, images: torch.Tensor, targets: Targets, progress: Progress) -> float:
            if progress.step == 6:
                raise Killed
            return step(self, images, targets, progress)

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "step", dying)
            with pytest.raises(Killed):  # in the second round, a step after a state was written
                train(cut, plan, looked_at=1, rhythm=Rhythm(save_steps=5))
        assert train(cut, plan, looked_at=1).step == 7
        one, other = (train_detector.read_averaged(run / "state.safetensors") for run in (whole, cut))
        assert all(torch.equal(one[name], other[name]) for name in one)
        said = [json.loads(line) for line in (cut / "log.jsonl").read_text("utf-8").splitlines()]
        assert [line["step"] for line in said] == [7, 7]
        assert "loss" in said[0]
        assert "pq" in said[1]

    def test_another_plan_is_refused(self, tmp_path: Path) -> None:
        keep_plan(tmp_path, self.plan(steps=7))
        keep_plan(tmp_path, self.plan(steps=7))
        with pytest.raises(ValueError, match="another plan"):
            keep_plan(tmp_path, self.plan(steps=8))

    def test_exports_what_the_pipeline_loads(self, tmp_path: Path) -> None:
        plan = self.plan(steps=2)
        keep_plan(tmp_path / "run", plan)
        train(tmp_path / "run", plan, looked_at=1)
        export(tmp_path / "run", tmp_path / "checkpoint", plan)
        detector = detectors.load(DetectConfig(checkpoint=str(tmp_path / "checkpoint"), device="cpu", threshold=0.0))
        assert detector.labels == list(LABELS)
        said = logging.LogRecord("", logging.WARNING, "", 0, "Backbone resnet is not a supported model ...", None, None)
        assert not CONFIGURATIONS.filter(said), "transformers' warning of a backbone that works is not passed on"
        picture = draw(sample(TEST.start))
        (found,) = detector([picture.image])
        assert all(segment.is_thing == (segment.category_id < 12) for segment in found)
        measured = measure(detector, TEST[:2])
        assert measured["scenes"] == 2
        assert measured["pq"] >= 0
        table = "\n".join(lines(measured))
        assert all(label in table for label in measured["labels"])

    def test_the_input_is_what_the_processor_makes(self) -> None:
        same = []
        for seed in TRAIN[:8]:  # drawn at either size; those that were compressed are left out
            pool = draw_pool([seed])
            expected = [
                detector_processor()(images=image, input_data_format="channels_last", return_tensors="pt")
                for image in (draw(sample(seed), *size).image for size in (WORLD_SIZE, MOVIE_SIZE))
            ]
            given = model_input(torch.from_numpy(pool.images))
            nearest = min(float((given - one["pixel_values"]).abs().max()) for one in expected)
            assert nearest < 1e-5 or nearest > 0.1
            same.append(nearest < 1e-5)
        assert sum(same) >= 4

    def test_the_schedule_warms_up_and_ends_at_nothing(self) -> None:
        assert schedule(Progress(step=0, part=0.0), 10) == 0.1
        assert schedule(Progress(step=10, part=0.0), 10) == 1.0
        assert schedule(Progress(step=50, part=1.0), 10) == pytest.approx(0.0)

    def test_few_objects_first(self) -> None:
        plan = Plan(few=((0.1, 2), (0.5, 4)))
        assert [actors_at(plan, part) for part in (0.0, 0.1, 0.7)] == [(1, 2), (1, 4), None]

    def test_small_pictures_first_and_the_processors_in_the_end(self) -> None:
        plan = Plan(sizes=((0.5, 224, 128), (1.0, *SIZE)))
        assert [size_at(plan, part) for part in (0.0, 0.5, 1.0)] == [(224, 128), SIZE, SIZE]
        processor = detector_processor()
        assert (processor.size["width"], processor.size["height"]) == SIZE


class TestData:
    def test_seeds_for_training_validation_and_test_share_none(self) -> None:
        assert max(TEST) < min(VALIDATION)
        assert max(VALIDATION) < TRAIN.start
        assert set(round_seeds(0, 8)).isdisjoint(round_seeds(1, 8))
        with pytest.raises(ValueError, match="beyond the seeds"):
            round_seeds(10**9, 8)

    def test_a_batch_is_its_scenes_mirrored_by_chance(self) -> None:
        pool = draw_pool(TRAIN[:6])
        drawn = {seed: draw(sample(seed)) for seed in TRAIN[:6]}
        truths = {tuple(region.category_id for region in picture.regions) for picture in drawn.values()}
        both = list(batches(pool, (3,), 2, 3))
        assert len(both) == 4
        for _, targets in both:
            for row, classes in zip(targets.maps.numpy(), targets.classes.numpy(), strict=True):
                assert set(np.unique(row)) - {0} == {1 + index for index, one in enumerate(classes) if one >= 0}
                assert tuple(int(one) for one in classes if one >= 0) in truths

    def test_the_truth_against_itself_is_perfect(self) -> None:
        picture = draw(sample(TEST.start))
        counts = picture_counts(picture, segments_of(picture))
        assert all(one.quality == 1.0 for one in counts.values())
        assert len(counts) > 1

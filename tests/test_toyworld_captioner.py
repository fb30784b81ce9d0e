"""The drawn world's captioner: its tokens, its layers beside transformers' own, and its training."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks import captioners, prompts, tags
from tasks.captioners import CaptionConfig, CaptionRequest
from tasks.captioners.pixtral import image_features
from tasks.pixtral_inputs import PixtralInputs
from toyworld import captioner_examples, train_captioner
from toyworld.captioner_examples import collate, draw_samples, of_views, tokenizer_sentences
from toyworld.captioner_forward import embed, look, multiply, read
from toyworld.captioner_heads import ASKS, ATTRIBUTES, LOOK_LAYERS, NOTHING, _attention_logs
from toyworld.captioner_lists import NOBODY, as_listed, mistaken, numbered
from toyworld.captioner_model import TEMPLATE, build_captioner, write_inputs
from toyworld.captioner_trainer import BINDING, SEEING, TELLING, losses, normalised
from toyworld.captioner_views import draw_views, views_of
from toyworld.captioner_words import WEIGHTS, spell
from toyworld.captions import write_caption
from toyworld.drawing import draw
from toyworld.grounding_report import show
from toyworld.naming import name_picture
from toyworld.sampling import sample
from toyworld.seeds import TRAIN, VALIDATION
from toyworld.train_captioner import Plan, export_run, new_trainer, train
from toyworld.training_run import Rhythm, keep_plan

FLOAT_NOISE = 1e-4
PLAN = Plan(steps=6, batch=4, scenes=8, passes=2, views=2, seeing=0.2, binding=0.4, warm_up=2, words_from=6)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> PixtralInputs:
    return PixtralInputs(write_inputs(tokenizer_sentences(TRAIN[-8:]), tmp_path_factory.mktemp("inputs")))


@pytest.fixture(scope="module")
def model(inputs: PixtralInputs) -> Any:
    return build_captioner(inputs.tokenizer).eval()


@pytest.fixture(scope="module")
def samples(inputs: PixtralInputs) -> list[captioner_examples.Sample]:
    return draw_samples(TRAIN[:4], inputs, variants=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps, done."""
    folder = tmp_path_factory.mktemp("run")
    keep_plan(folder, PLAN)
    train(folder, PLAN, looked_at=4)
    return folder


class TestTokens:
    def test_a_detection_line_is_six_tokens_and_the_system_text_few(self, inputs: PixtralInputs) -> None:
        line = "[dining-table-1: 0.05,1.00,0.30,0.99]\n"
        assert inputs.tokenizer.tokenize(line) == ["[dining-table", "-1:Ġ", "0.05,", "1.00,", "0.30,", "0.99]\n"]
        assert len(inputs.tokenizer.tokenize(prompts.template(TEMPLATE).system)) == 5

    @pytest.mark.parametrize("style", ["automatic", "human"])
    def test_a_caption_is_read_back_as_it_was(self, inputs: PixtralInputs, style: str) -> None:
        caption = write_caption(show(7).facts, style, 0)
        ids = inputs.tokenizer(caption, add_special_tokens=False)["input_ids"]
        assert inputs.text([*ids, inputs.tokenizer.eos_token_id]) == caption
        assert len(ids) < len(caption) / 3

    def test_embeddings_of_near_numbers_are_alike(self, inputs: PixtralInputs, model: Any) -> None:
        ids = inputs.tokenizer.convert_tokens_to_ids(["0.50,", "0.51,", "0.80,"])
        one, near, far = model.get_input_embeddings().weight[ids].detach()
        assert torch.cosine_similarity(one, near, dim=0) > torch.cosine_similarity(one, far, dim=0)


class TestExamples:
    def test_what_is_asked_is_the_caption_and_its_end_and_nothing_else(
        self, inputs: PixtralInputs, samples: list[captioner_examples.Sample]
    ) -> None:
        told = samples[0].told[0]
        shown = show(TRAIN.start)
        asked = told.ids[told.weights > 0].tolist()
        assert inputs.tokenizer.decode(asked).removesuffix("</s>") == inputs.text(asked)
        assert asked[-1] == inputs.tokenizer.eos_token_id
        assert tags.parse(inputs.text(asked)).mentions
        whole = prompts.render(TEMPLATE, shown.detections, inputs.text(asked))
        assert told.ids.tolist() == inputs.ids(whole, 8, 14), "the prompt and the caption, as inference would read them"

    def test_the_captions_loss_is_of_the_tokens_that_are_asked_alone(
        self, inputs: PixtralInputs, samples: list[captioner_examples.Sample]
    ) -> None:
        batch, trained = collate(samples, 0, 11, clean=True), new_trainer(inputs, PLAN, "cpu").trained
        with torch.no_grad():
            given = losses(trained, batch, TELLING, torch.float32)["caption"]["caption"]
            model: Any = trained["model"]
            features = look(model, normalised(batch.images), torch.float32)[1]
            logits = model(inputs_embeds=embed(model, batch.ids, features)).logits[:, :-1]
            each = torch.nn.functional.cross_entropy(logits.mT, batch.ids[:, 1:], reduction="none")
        expected = (each * batch.weights[:, 1:]).sum() / batch.weights.sum()
        assert float(given) == pytest.approx(float(expected), rel=1e-5)
        for row, one in enumerate(samples):
            assert batch.weights[row, : one.told[0].prompt_tokens].sum() == 0
            assert batch.weights[row, len(one.told[0].ids) :].sum() == 0, "padding"

    def test_words_that_need_a_look_count_more_and_point_to_their_object(
        self, inputs: PixtralInputs, samples: list[captioner_examples.Sample]
    ) -> None:
        told = samples[0].told[0]
        shown = show(TRAIN.start)
        words: dict[str, set[str]] = {name: set() for name in ASKS}
        for token, ask, weight in zip(told.ids, told.asks, told.weights, strict=True):
            if weight:
                assert weight == np.float32(WEIGHTS[ASKS[ask]])
                words[ASKS[ask]].add(inputs.tokenizer.decode([int(token)]).strip())
        assert {one.colour for one in shown.facts.things if one.colour} & words["colour"]
        for place, index in told.pointers:
            before = inputs.tokenizer.decode(told.ids[: place + 1].tolist())
            sentence = re.split(r"[.!?] ", before)[-1]
            assert f" {shown.detections[index].object_id}>" in sentence
        for place, index in told.plans:
            after = inputs.tokenizer.decode(told.ids[place + 1 :].tolist())
            cited = re.search(r"-\d+", after)
            assert cited
            said = inputs.tokenizer.decode(told.ids[: place + 1].tolist()).rpartition("<gd")[2] + after
            number = shown.detections[index].object_id.rpartition("-")[2]
            assert cited.group() == f"-{number}"
            assert shown.detections[index].object_id in said

    def test_after_a_tag_it_is_known_whom_the_sentence_is_about(self, inputs: PixtralInputs) -> None:
        caption = (
            '<gdo class="person" person-0>A man</gdo> <gda class="sit" person-0>is sitting</gda> '
            '<gdl class="grass" grass-0>on the grass</gdl>, <gdl class="tree" tree-0>behind a tree</gdl>. '
            '<gdo class="dog" dog-0 dog-1>Two dogs</gdo> <gda class="run" dog-0 dog-1>are running</gda>.'
        )
        words = spell(caption, ["person-0", "dog-0", "dog-1", "grass-0", "tree-0"], inputs.tokenizer)
        about = dict(words.pointers)
        pieces = [inputs.tokenizer.decode([one]) for one in words.ids]
        closings = [place for place, piece in enumerate(pieces) if piece == "</gdl>"]
        assert [about[place] for place in closings] == [0, 0], "the man, neither the grass nor the tree"
        assert about[closings[0] + 1] == 0, "the comma"
        assert closings[1] + 1 not in about, "the full stop"
        assert pieces[closings[1] + 1] == "."
        assert not {1, 2} & set(about.values()), "of several nobody is pointed to"
        asked = {piece for piece, ask in zip(pieces, words.asks, strict=True) if ASKS[ask] == "more"}
        assert asked >= {",", "."}

    def test_lines_know_their_objects(self, samples: list[captioner_examples.Sample]) -> None:
        shown, told = show(TRAIN.start), samples[0].told[0]
        for index, detection in enumerate(shown.detections):
            thing = shown.facts.thing(detection.object_id)
            for answer, (name, answers) in zip(told.attributes[index], ATTRIBUTES.items(), strict=True):
                value = getattr(thing, name) if thing else None
                assert value == (answers[answer] if answer >= 0 else None)
            row, column = told.cells[index]
            centre = detection.box.x + detection.box.w / 2, detection.box.y + detection.box.h / 2
            assert (column, row) == (int(centre[0] * 14), int(centre[1] * 8))
            assert told.masks[index].sum() > 0

    def test_mistakes_keep_order_and_ids(self) -> None:
        objects = name_picture(draw(sample(3)))
        for seed in range(30):
            listed = mistaken(objects, np.random.default_rng(seed))
            assert listed == numbered(listed)
            assert [one.object_index for one in listed] == list(range(len(listed)))
            for one in listed:
                assert 0 <= one.box.x < 1
                assert 0 < one.box.w <= 1.01
                assert one.segment_id != NOBODY or one.is_thing
        assert as_listed(objects) == numbered(as_listed(objects)), "the pipeline's own order"

    def test_a_mirrored_view_is_mirrored_in_all_it_says(self) -> None:
        facing = list(ATTRIBUTES).index("facing")
        left, right, front = (ATTRIBUTES["facing"].index(one) for one in ("left", "right", "front"))
        turned = {left: right, right: left, front: front}
        faced = []
        for seed in TRAIN[:6]:
            shown, picture = show(seed).facts.things, draw(sample(seed))
            (plain,), (mirrored,) = (views_of(picture, shown, 1, Chosen(chance)) for chance in (0.9, 0.1))
            expected = plain.categories.reshape(8, 14, 2, 2)[:, ::-1, :, ::-1].reshape(112, 4)
            assert np.mean(mirrored.categories == expected) > 0.95, "but for the pixels at borders"
            before = plain.patches.reshape(8, 14, -1)[:, ::-1].reshape(112, -1)[:, facing].tolist()
            pairs = zip(before, mirrored.patches[:, facing].tolist(), strict=True)
            faced += [(turned[one], other) for one, other in pairs if min(one, other) >= 0]
        assert {one for one, _ in faced} >= {left, right}
        assert np.mean([one == other for one, other in faced]) > 0.9

    def test_views_are_of_the_vocabulary_and_the_same_again(self) -> None:
        views, again = draw_views(TRAIN[:2], 2), draw_views(TRAIN[:2], 2)
        assert all(view.categories.min() >= 0 and view.categories.max() <= NOTHING for view in views)
        assert all((one.image == other.image).all() for one, other in zip(views, again, strict=True))
        assert len({view.image.tobytes() for view in views}) == len(views)


class TestForward:
    """The same numbers as the classes that will run the checkpoint."""

    def test_a_batch_of_pictures_is_the_stock_towers(self, model: Any) -> None:
        pixels = torch.randn(3, 3, 128, 224, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            stock = model.get_image_features(pixels, image_sizes=torch.tensor([[128, 224]] * 3)).pooler_output
            seen, features = look(model, pixels, torch.float32)
        assert torch.allclose(features, torch.stack(list(stock)), atol=FLOAT_NOISE)
        assert torch.allclose(features, image_features(model, pixels), atol=FLOAT_NOISE)
        assert seen.shape == (3, 112, model.config.vision_config.hidden_size)

    def test_text_and_its_gradients_are_the_stock_models(
        self, model: Any, samples: list[captioner_examples.Sample]
    ) -> None:
        batch = collate(samples, 0, 11, clean=True)
        features = look(model, normalised(batch.images), torch.float32)[1].detach()
        mask = (batch.ids != 11).long()
        stock = model(inputs_embeds=embed(model, batch.ids, features), attention_mask=mask).logits
        states = read(model, embed(model, batch.ids, features), torch.float32).states[-1]
        own = multiply(states, model.lm_head.weight, torch.float32)
        assert torch.allclose(own[mask > 0], stock[mask > 0], atol=FLOAT_NOISE)
        wanted = [one for name, one in model.named_parameters() if "language_model.layers" in name]
        last = read(model, embed(model, batch.ids, features), torch.float32, first=150).states[-1]
        assert torch.allclose(last, states[:, 150:], atol=FLOAT_NOISE)
        truth = torch.autograd.grad(stock[mask > 0].square().mean(), wanted)
        for one, other in zip(torch.autograd.grad(own[mask > 0].square().mean(), wanted), truth, strict=True):
            assert torch.allclose(one, other, atol=FLOAT_NOISE, rtol=1e-3)

    def test_watched_attention_is_what_the_layer_does(
        self, model: Any, samples: list[captioner_examples.Sample]
    ) -> None:
        batch = collate(samples, 0, 11, clean=True)
        with torch.no_grad():
            embeddings = embed(model, batch.ids, look(model, normalised(batch.images), torch.float32)[1])
            said = read(model, embeddings, torch.float32, LOOK_LAYERS)
            model.set_attn_implementation("eager")
            stock = model.model.language_model(inputs_embeds=embeddings, output_attentions=True).attentions
            model.set_attn_implementation("sdpa")
        sample_, place = batch.lines.T
        for layer in LOOK_LAYERS:
            logs = _attention_logs(said, layer, sample_, place)
            expected = stock[layer][sample_, :3, place]
            assert torch.allclose(logs.exp(), expected, atol=FLOAT_NOISE)

    def test_pictures_are_normalised_as_the_processor_does(self, inputs: PixtralInputs) -> None:
        image = draw(sample(5)).image
        expected = inputs("[IMG]", image).pixels
        assert torch.allclose(normalised(torch.from_numpy(image)[None])[0], expected, atol=1e-5)


class TestTraining:
    @pytest.mark.parametrize("phase", [SEEING, BINDING, TELLING])
    def test_every_phase_reduces_its_losses(
        self, inputs: PixtralInputs, samples: list[captioner_examples.Sample], phase: str
    ) -> None:
        trainer = new_trainer(inputs, PLAN, "cpu")
        batch = of_views(draw_views(TRAIN[:2], 2)) if phase == SEEING else collate(samples, 0, 11, clean=True)
        steps = [trainer.step(batch, phase, 2e-3, number) for number in range(8)]
        asked = {SEEING: "patch_colour", BINDING: "place", TELLING: "caption"}[phase]
        assert steps[-1][asked] < 0.9 * steps[0][asked]
        assert ("look" in steps[0]) == (phase != SEEING)
        assert ("pointer" in steps[0]) == (phase == TELLING)

    def test_a_killed_run_goes_on_to_the_same_weights(
        self, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep_plan(tmp_path, PLAN)
        for step in (2, 5):  # in the tower's own round, and in one with captions
            with monkeypatch.context() as patched:
                patched.setattr(train_captioner.Trainer, "step", killed_at(step))
                with pytest.raises(Killed):
                    train(tmp_path, PLAN, looked_at=4, rhythm=Rhythm(save_steps=1))
        train(tmp_path, PLAN, looked_at=4, rhythm=Rhythm(save_steps=1))
        one, other = (train_captioner.read_averaged(folder / "state.safetensors") for folder in (run, tmp_path))
        assert all(torch.equal(value, other[name]) for name, value in one.items())
        steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert steps == [6, 6]

    def test_another_plan_does_not_go_on(self, run: Path) -> None:
        with pytest.raises(ValueError, match="another plan"):
            keep_plan(run, dataclasses.replace(PLAN, batch=5))

    def test_another_runs_words_are_taken_over_by_their_text(
        self, run: Path, inputs: PixtralInputs, tmp_path: Path
    ) -> None:
        trainer = new_trainer(inputs, PLAN, "cpu")
        train_captioner.begin_with(trainer, inputs, run)
        others = train_captioner.read_averaged(run / "state.safetensors")
        old = PixtralInputs(run / "inputs").tokenizer.convert_tokens_to_ids("0.37,")
        new = inputs.tokenizer.convert_tokens_to_ids("0.37,")
        name = "model.model.language_model.embed_tokens.weight"
        assert torch.equal(trainer.averaged[name][new], others[name][old])

    def test_a_checkpoint_s_weights_can_begin_another(self, run: Path, tmp_path: Path) -> None:
        folder = export_run(run, tmp_path / "captioner", PLAN)
        inputs = PixtralInputs(run / "inputs")
        trainer = train_captioner.new_trainer(inputs, PLAN, "cpu")
        train_captioner.begin_with(trainer, inputs, folder)
        others = train_captioner.read_averaged(run / "state.safetensors")
        taken = [name for name in others if name.startswith("model.")]
        assert len(taken) > 80
        for name in taken:
            assert torch.equal(trainer.averaged[name], others[name].half().float()), name

    def test_the_log_has_the_wrong_picture_beside_the_right_one(self, run: Path) -> None:
        last = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
        assert last["right"].keys() == last["wrong"].keys()
        assert {"line_colour", "colour", "relation", "id", "log_loss"} <= last["right"].keys()

    def test_the_export_loads_as_hub_checkpoints_do_and_writes(self, run: Path, tmp_path: Path) -> None:
        folder = export_run(run, tmp_path / "captioner", PLAN)
        assert sum(path.stat().st_size for path in folder.iterdir()) < 8.5e6
        config = CaptionConfig(checkpoint=str(folder), template=TEMPLATE, max_new_tokens=8, device="cpu")
        shown = show(VALIDATION.start)
        request = CaptionRequest(
            frame_id="a", frame_number=0, candidate=0, image=shown.image, detections=shown.detections,
            prompt=prompts.render(TEMPLATE, shown.detections), seed=0,
        )  # fmt: skip
        captioner = captioners.load(config)
        (result,) = captioner([request])
        assert result.error is None
        assert result.completion_tokens > 0
        large = dataclasses.replace(request, image=draw(sample(VALIDATION.start), 448, 256).image)
        assert captioner([large])[0].prompt_tokens == result.prompt_tokens, "larger pictures are shrunk"


class Chosen(np.random.Generator):
    """Numbers by seed 0, but for chances, which are all the same."""

    def __init__(self, chance: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.chance = chance

    def random(self, *_: Any, **__: Any) -> Any:
        return self.chance


class Killed(Exception):  # noqa: N818 - it is none
    pass


def killed_at(step: int) -> Any:
    original = train_captioner.Trainer.step

    def work(self: Any, batch: Any, phase: str, rate: float, number: int) -> Any:
        if number == step:
            raise Killed
        return original(self, batch, phase, rate, number)

    return work

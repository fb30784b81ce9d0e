"""BLIP and BLIP-2 on small random checkpoints: real classes, the hub's files, compared with the stock `generate`."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import adapter_making
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_captioners import alike, mixed, request
from test_captions import frame, people, put, rows
from tiny_blip import build_tiny_blip, build_tiny_blip2
from transformers import Blip2ForConditionalGeneration, BlipForConditionalGeneration

from storage.store import Store
from storage.tables import Verdict
from tasks import captioners, consistency, plain_captions, tags
from tasks.adapter_weights import CONFIG, WEIGHTS
from tasks.captioners import CaptionConfig, blip, blip2
from tasks.captions import caption_frames
from tasks.errors import CheckpointError, ConfigError
from tasks.metrics import Cited, grounding
from tasks.plain_captions import Inputs

FLOAT_NOISE = 1e-4
KINDS = ("blip", "t5", "opt")
CLASSES: dict[str, Any] = {
    "blip": BlipForConditionalGeneration, "t5": Blip2ForConditionalGeneration, "opt": Blip2ForConditionalGeneration,
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("blips")
    return {"blip": build_tiny_blip(root / "blip")} | {
        text: build_tiny_blip2(root / text, text) for text in ("t5", "opt")
    }


@pytest.fixture(params=KINDS)
def config(request: pytest.FixtureRequest, folders: dict[str, Path]) -> CaptionConfig:
    return config_of(request.param, folders[request.param])


def config_of(kind: str, folder: Path, **more: Any) -> CaptionConfig:
    backend = "blip" if kind == "blip" else "blip2"
    return CaptionConfig(backend=backend, checkpoint=str(folder), template="a-photo-of", device="cpu", **more)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that a test spoils are not met again."""
    for module in (blip, blip2):
        monkeypatch.setattr(module, "_models", replace(module._models, held=dict(module._models.held)))


def kind_of(config: CaptionConfig) -> str:
    return Path(config.checkpoint).name


def stock(config: CaptionConfig, template: str, **settings: Any) -> list[tuple[str, int]]:
    """Text and tokens that transformers' own `generate` gives for each of the mixed requests alone."""
    kind, folder = kind_of(config), Path(config.checkpoint)
    model, inputs = CLASSES[kind].from_pretrained(folder).eval(), Inputs(folder)
    text = model.config.text_config
    words = inputs.ids("" if template == "plain" else "a photo of")
    if kind == "blip":
        ids, begun = [text.bos_token_id, *words, text.sep_token_id], len(words) + 1  # it cuts the end token off itself
    elif kind == "t5":
        ids, begun = [*[model.config.image_token_index] * 4, *words, text.eos_token_id], 1
    else:
        ids = [*[model.config.image_token_index] * 4, text.bos_token_id, *words]
        begun = len(ids)
    end = text.sep_token_id if kind == "blip" else text.eos_token_id
    found = []
    for one in mixed(template):
        out = model.generate(pixel_values=inputs.pixels([one.image]), input_ids=torch.tensor([ids]), **settings)
        made = out[0].tolist()[begun:]
        length = made.index(end) + 1 if end in made else len(made)
        found.append((inputs.text(made[: length - (end in made)]), length))
    return found


@pytest.mark.parametrize("template", ["plain", "a-photo-of"])
def test_captions_are_the_stock_generates_with_the_cards_settings(config: CaptionConfig, template: str) -> None:
    settings = {"max_new_tokens": 30, "num_beams": 5 if config.backend == "blip" else 1, "do_sample": False}
    results = captioners.load(replace(config, template=template))(mixed(template))
    assert [(one.text, one.completion_tokens) for one in results] == stock(config, template, **settings)
    assert len({one.text for one in results}) > 3, "the picture reaches the text"
    assert not any("<" in one.text or "[" in one.text for one in results)


def test_beams_are_the_stock_generates_and_change_captions(config: CaptionConfig) -> None:
    results = captioners.load(replace(config, num_beams=3))(mixed("plain"))
    assert [(one.text, one.completion_tokens) for one in results] == stock(
        config, "plain", max_new_tokens=30, num_beams=3
    )
    greedy = captioners.load(replace(config, num_beams=1))(mixed("plain"))
    assert [one.text for one in results] != [one.text for one in greedy]


def test_the_log_probability_is_that_of_the_unchanged_model(config: CaptionConfig) -> None:
    """Greedy, against the scores that the stock `generate` hands out; the same text sampled coldly has the same."""
    one = request(0, template="plain")
    (result,) = captioners.load(replace(config, num_beams=1))([one])
    captioner = captioners.load(config)
    assert isinstance(captioner, plain_captions.PlainCaptioner)
    loaded = captioner.loaded
    ids = torch.tensor([[*loaded.model.before, *loaded.model.after]])
    question = loaded.model.ask(loaded.inputs.pixels([one.image]), ids)
    settings = plain_captions.SETTINGS(
        max_new_tokens=30, eos_token_id=list(loaded.model.ends), pad_token_id=loaded.model.pad,
        decoder_start_token_id=loaded.model.start, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    made = question.writer.generate(**question.inputs, generation_config=settings)
    tokens = made.sequences[0, question.begun :]
    logprobs = [step[0].log_softmax(-1)[token] for step, token in zip(made.logits, tokens, strict=True)]
    assert result.mean_logprob == pytest.approx(float(torch.stack(logprobs).mean()), abs=FLOAT_NOISE)
    (cold,) = captioners.load(replace(config, temperature=1e-4))([one])
    assert alike(result, cold)


def test_the_words_are_asked_and_are_no_part_of_the_caption(config: CaptionConfig) -> None:
    captioner = captioners.load(config)
    plain, with_words = captioner(mixed("plain")), captioner(mixed("a-photo-of"))
    assert [one.text for one in plain] != [one.text for one in with_words]
    assert {two.prompt_tokens - one.prompt_tokens for one, two in zip(plain, with_words, strict=True)} == {
        len(Inputs(Path(config.checkpoint)).ids("a photo of"))
    }
    together = captioner([*mixed("plain"), *mixed("a-photo-of")])
    assert all(alike(one, other) for one, other in zip([*plain, *with_words], together, strict=True))


def test_seeds_decide_and_both_ways_to_finish_are_met(config: CaptionConfig) -> None:
    captioner = captioners.load(replace(config, temperature=1.0))
    same = [request(0, seed=seed, template="plain") for seed in (7, 8, 7, 2**63 - 1)]
    one, two, three, four = (result.text for result in captioner(same))
    assert one == three
    assert len({one, two, four}) == 3
    many = captioner([request(index, template="plain") for index in range(24)])
    assert {result.finish_reason for result in many} == {"stop", "length"}
    assert all((result.completion_tokens == 30) or result.finish_reason == "stop" for result in many)


def test_a_prompt_that_lists_detections_is_an_error_of_its_own(config: CaptionConfig) -> None:
    captioner = captioners.load(config)
    bad, good = captioner([request(0), request(1, template="plain")])
    assert "nothing but words" in (bad.error or "")
    assert alike(captioner([request(1, template="plain")])[0], good)


# --- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "tokens", "beams"),
    [
        ({"backend": "blip"}, 30, 5), ({"backend": "blip2"}, 30, 1), ({"backend": "pixtral"}, 512, 1),
        ({"backend": "scripted"}, 512, 1), ({"backend": "blip", "temperature": 1.0}, 30, 1),
        ({"backend": "blip2", "num_beams": 4, "max_new_tokens": 9}, 9, 4),
    ],
)  # fmt: skip
def test_what_is_left_open_is_the_backends_own(said: dict[str, Any], tokens: int, beams: int) -> None:
    template = "plain" if said["backend"].startswith("blip") else "groundcap-card"
    config = captioners.completed(CaptionConfig(checkpoint="a/b", template=template, **said))
    assert (config.max_new_tokens, config.num_beams) == (tokens, beams)
    assert captioners.completed(config) == config


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"backend": "blip"}, "Take plain or a-photo-of"),
        ({"backend": "pixtral", "template": "plain"}, "Take groundcap-card or groundcap-story"),
        ({"backend": "pixtral", "num_beams": 2}, "cannot search with beams"),
        ({"backend": "blip", "template": "plain", "decoding": "constrained"}, "cannot be constrained"),
        ({"backend": "blip2", "template": "plain", "checkpoint": captioners.PIXTRAL}, "needs a checkpoint"),
    ],
)
def test_what_a_backend_cannot_do_is_refused_with_the_remedy(said: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        captioners.load(CaptionConfig(**({"checkpoint": "a/b"} | said)))


# --- the stages ------------------------------------------------------------------------------------------------------


def test_a_plain_caption_cites_nothing_which_is_no_violation(folders: dict[str, Path], tmp_path: Path) -> None:
    store, config = Store(str(tmp_path / "store")), config_of("blip", folders["blip"], name="b")
    frames, detections = put(store, [frame(index) for index in range(3)], people(0))
    ref = caption_frames(frames, detections, store, config)
    captions = rows(store, ref)
    assert {(one.text == one.plain_text, one.error, one.prompt_template) for one in captions} == {
        (True, None, "a-photo-of")
    }
    assert len({one.prompt_digest for one in captions}) == 1
    footer = store.footer(ref.path)
    assert footer is not None
    assert (footer.config["max_new_tokens"], footer.config["num_beams"]) == (30, 5)
    checked = consistency.check_captions(ref, detections, store)
    verdicts = list(store.read(checked, Verdict))
    assert [(one.verdict, one.mentions, one.violations) for one in verdicts] == [("ok", 0, 0)] * 3


def test_grounding_of_a_plain_caption_is_by_class_words_in_the_strict_definition_only() -> None:
    found = people(0)
    cited = Cited(
        parsed=tags.parse("two people near a wall"), detections=found, labels=frozenset({"person", "wall"}),
        consistent=True, failed=False,
    )  # fmt: skip
    values = grounding.each(cited)
    assert (values["grounding_mentioned_cited"], values["grounding_mentioned_strict"]) == (0, 2)
    assert values["grounding_precision_cited"] == 1, "by convention: nothing mentioned"
    assert (values["grounding_precision_strict"], values["grounding_recall_strict"]) == (0, 0)


def test_candidates_differ(folders: dict[str, Path], tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    config = config_of("t5", folders["t5"], candidates=3, temperature=1.0)
    captions = rows(store, caption_frames(*put(store, [frame(0)], people(0)), store, config))
    assert len({one.text for one in captions}) == 3
    assert [one.candidate for one in captions] == [0, 1, 2]


# --- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(config: CaptionConfig, tmp_path: Path) -> Path:
    return Path(shutil.copytree(config.checkpoint, tmp_path / kind_of(config)))


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without(folder: Path, part: str) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if part not in key}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: without(folder, "vision_model.post_layernorm"), "does not have all"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json"),
        (lambda folder: (folder / "preprocessor_config.json").write_text("["), "cannot be read"),
        (lambda folder: change(folder / "preprocessor_config.json", size={"height": 48, "width": 48}), "48 x 48"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100), "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "only pickled"),
    ],
    ids=["weights", "tokenizer", "pictures", "size", "config", "damaged", "pickled"],
)
@pytest.mark.parametrize("config", ["t5"], indirect=True)
def test_a_checkpoint_that_is_not_whole_is_refused(config: CaptionConfig, copied: Path, spoil: Any, words: str) -> None:
    spoil(copied)
    with pytest.raises(CheckpointError, match=words):
        captioners.load(replace(config, checkpoint=str(copied)))


def test_a_checkpoint_of_another_family_is_refused(folders: dict[str, Path]) -> None:
    for backend, kind in (("blip", "t5"), ("blip2", "blip")):
        with pytest.raises(CheckpointError):
            captioners.load(CaptionConfig(backend=backend, checkpoint=str(folders[kind]), template="plain"))


@pytest.mark.parametrize("config", ["t5", "opt"], indirect=True)
def test_an_older_checkpoint_without_an_image_token_says_the_same(config: CaptionConfig, copied: Path) -> None:
    said = json.loads((copied / "config.json").read_text())
    assert said.pop("image_token_index") is not None
    (copied / "config.json").write_text(json.dumps(said))
    (copied / "processor_config.json").unlink()
    older = captioners.load(replace(config, checkpoint=str(copied)))
    assert older(mixed("plain")) == captioners.load(config)(mixed("plain"))


def test_settings_of_the_checkpoint_change_nothing(config: CaptionConfig, copied: Path) -> None:
    surprising = {
        "do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0, "max_length": 3, "min_new_tokens": 20,
        "num_beams": 3, "no_repeat_ngram_size": 1, "length_penalty": 4.0, "_from_model_config": False,
    }  # fmt: skip
    (copied / "generation_config.json").write_text(json.dumps(surprising))
    told = captioners.load(replace(config, checkpoint=str(copied)))(mixed("plain"))
    assert told == captioners.load(config)(mixed("plain"))


def test_scores_that_are_not_numbers_are_errors_not_captions(config: CaptionConfig, copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    norm = next(key for key in sorted(weights) if "vision_model.post_layernorm.weight" in key)
    weights[norm] *= float("nan")
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    (result,) = captioners.load(replace(config, checkpoint=str(copied)))([request(0, template="plain")])
    assert "not a number" in (result.error or "")
    assert result.text == ""


@pytest.mark.parametrize("config", ["blip", "opt"], indirect=True)
def test_what_does_not_fit_the_models_positions_is_an_error(config: CaptionConfig) -> None:
    (result,) = captioners.load(replace(config, max_new_tokens=64))([request(0, template="plain")])
    assert "more than the model's 64" in (result.error or "")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_number_formats_run(config: CaptionConfig, dtype: str) -> None:
    captioner = captioners.load(replace(config, dtype=dtype))
    assert captioner.notes["dtype"] == dtype
    assert all(one.error is None for one in captioner(mixed("plain")))


# --- adapters of BLIP-2 ----------------------------------------------------------------------------------------------


def save_adapter(folder: Path, target: Any, onto: Path) -> Path:
    model: Any = Blip2ForConditionalGeneration.from_pretrained(folder)
    return adapter_making.save_adapter(model, onto, target, std=0.5, lora_alpha=16)


DECODER = r"language_model\.decoder\..*\.(q|k|v)"


@adapter_making.PEFT_ASKS
@pytest.mark.parametrize(
    ("kind", "target", "modules", "outside"),
    [
        ("t5", DECODER, 2 * 2 * 3, 0),
        ("opt", r"language_model\.model\.decoder\..*\.(q|k|v)_proj", 2 * 3, 0),
        ("t5", ["query", "key", "value"], None, None),
    ],
    ids=["t5", "opt", "q-former"],
)
def test_an_adapter_is_applied_whole_and_changes_captions(
    folders: dict[str, Path], tmp_path: Path, kind: str, target: Any, modules: int | None, outside: int | None
) -> None:
    config = config_of(kind, folders[kind])
    adapter = save_adapter(folders[kind], target, tmp_path / "lora")
    adapted = captioners.load(replace(config, adapter=str(adapter)))
    noted = adapted.notes["adapter"]
    assert noted["present"] == noted["applied"] == 2 * noted["modules"] == len(load_file(adapter / WEIGHTS))
    assert (noted["ignored"], noted["renamed"]) == (0, 0)
    assert noted["modules"] == (modules or noted["modules"])
    assert noted["outside_text_model"] == (noted["modules"] if outside is None else outside)
    assert [one.text for one in adapted(mixed("plain"))] != [
        one.text for one in captioners.load(config)(mixed("plain"))
    ]
    merged = captioners.load(replace(config, adapter=str(adapter), merge_adapter=True))
    for one, other in zip(adapted(mixed("plain")), merged(mixed("plain")), strict=True):
        assert alike(one, other)
    assert set(captioners.identify(replace(config, adapter=str(adapter))).weights) == {"checkpoint", "adapter"}


@adapter_making.PEFT_ASKS
def test_an_adapter_that_is_not_applied_whole_is_an_error_that_names_it(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    adapter = save_adapter(folders["t5"], DECODER, tmp_path / "lora")
    weights = load_file(adapter / WEIGHTS)
    save_file({key.replace("block.1", "block.9"): value for key, value in weights.items()}, adapter / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"12 of 24 adapter tensors have no module.*decoder\.block\.9"):
        captioners.load(config_of("t5", folders["t5"], adapter=str(adapter)))
    assert (adapter / CONFIG).exists()

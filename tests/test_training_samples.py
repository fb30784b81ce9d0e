"""What is learnt from: which captions, split how, and which of their tokens."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_blip import build_tiny_blip, build_tiny_blip2
from training_making import CAPTIONER, copy_of, movie_store, pixtral_recipe, plain_recipe, stage

from storage.store import Store
from storage.tables import Detection, Reference
from tasks import prompts, trainables
from tasks.errors import ConfigError, ReferencesError
from tasks.references import write_references
from tasks.token_labels import IGNORED
from tasks.training.dataset import Pictures, SampleFile, SampleSet
from tasks.training.recipes import DataConfig, Recipe
from tasks.training.samples import Gathered, gather_samples
from tasks.training.splits import split_movies


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return movie_store(tmp_path_factory.mktemp("movies"))


@pytest.fixture(scope="module")
def pixtral() -> Any:
    return trainables.load("pixtral").reader(CAPTIONER)


def gathered(store: Store, recipe: Recipe, target: Path, reader: Any) -> tuple[Gathered, SampleFile]:
    found = gather_samples(store, recipe, reader.length, target)
    return found, SampleFile(target)


class TestWhatIsLearnt:
    """The sample is what inference asks, and then the caption; only the caption is learnt."""

    @pytest.fixture
    def sample_set(self, store: Store, tmp_path: Path, pixtral: Any) -> SampleSet:
        recipe = pixtral_recipe()
        _, file = gathered(store, recipe, tmp_path / "samples.arrow", pixtral)
        return SampleSet(file, file.numbers("train"), pixtral, Pictures(store))

    def test_the_learnt_text_is_the_caption_and_the_rest_is_what_inference_asks(
        self, sample_set: SampleSet, store: Store, pixtral: Any
    ) -> None:
        sample, encoded = sample_set.file[int(sample_set.numbers[0])], sample_set[0]
        learnt = [label for label in encoded.labels if label != IGNORED]
        assert pixtral.inputs.tokenizer.decode(learnt) == f"{sample.text}</s>"
        masked = [token for token, label in zip(encoded.ids, encoded.labels, strict=True) if label == IGNORED]
        shown = pixtral.inputs.tokenizer.decode(masked).replace("[IMG_BREAK]", "").replace("[IMG_END]", "")
        assert shown.replace("[IMG]", "") == sample.prompt.replace("[IMG]", "")
        assert prompts.template("groundcap-story").system in shown
        ref = store.ref("detections", f"{sample.movie_id}/00000")
        assert ref
        listed = [one for one in store.read(ref, Detection) if one.frame_id == sample.frame_id]
        assert sample.prompt == prompts.render("groundcap-story", listed)
        assert prompts.answered(sample.prompt, sample.text) == prompts.render("groundcap-story", listed, sample.text)

    def test_a_prompt_has_the_tokens_that_inference_reads(self, sample_set: SampleSet, pixtral: Any) -> None:
        for index in range(4):
            sample, encoded = sample_set.file[int(sample_set.numbers[index])], sample_set[index]
            asked = pixtral.inputs(sample.prompt, sample_set.pictures(sample))
            assert encoded.ids[: len(asked.ids)] == asked.ids
            assert encoded.labels[: len(asked.ids)] == [IGNORED] * len(asked.ids)
            assert torch.equal(encoded.pixels, asked.pixels)
            assert len(encoded.ids) == pixtral.length(sample.prompt, sample.text, sample.height, sample.width)

    def test_a_batch_asks_for_scores_of_captions_only(self, sample_set: SampleSet, pixtral: Any) -> None:
        samples = [sample_set[index] for index in range(4)]
        batch = pixtral.collate(samples)
        learnt = [sum(label != IGNORED for label in one.labels) for one in samples]
        assert batch["labels"].shape == (4, max(learnt) + 1)
        assert batch["logits_to_keep"] == max(learnt) + 1
        assert batch["labels"].ne(IGNORED).sum(1).tolist() == learnt
        assert batch["labels"][:, 0].eq(IGNORED).all()  # nothing is lost where scores are about the token after
        for row, one in zip(batch["input_ids"], samples, strict=True):
            assert row[-len(one.ids) :].tolist() == one.ids

    @pytest.mark.parametrize("backend", ["blip", "blip2"])
    def test_a_plain_captioner_learns_plain_captions(self, backend: str, store: Store, tmp_path: Path) -> None:
        folder = {"blip": build_tiny_blip, "blip2": build_tiny_blip2}[backend](tmp_path / backend)
        reader = trainables.load(backend).reader(folder)
        recipe = plain_recipe(backend, folder)
        _, file = gathered(store, recipe, tmp_path / "samples.arrow", reader)
        samples = SampleSet(file, file.numbers("train"), reader, Pictures(store))
        batch = reader.collate([samples[index] for index in range(3)])
        for index, row in enumerate(batch["labels"]):
            sample = file[int(samples.numbers[index])]
            assert "<" not in sample.text
            learnt = row[row != IGNORED].tolist()
            assert learnt[:-1] == reader.inputs.ids(sample.text)
        if backend == "blip":  # the decoder's own padding is no label either
            assert (batch["labels"] == IGNORED).sum() >= (batch["attention_mask"] == 0).sum()
        else:
            for row, before in zip(batch["labels"], batch["decoder_input_ids"], strict=True):
                learnt = row[row != IGNORED].tolist()
                assert before[: len(learnt)].tolist() == [0, *learnt[:-1]]


class TestWhichCaptions:
    def test_what_contradicts_its_own_detections_is_left_out_and_counted(
        self, store: Store, tmp_path: Path, pixtral: Any
    ) -> None:
        store = copy_of(store, tmp_path)
        recipe = pixtral_recipe()
        before, _ = gathered(store, recipe, tmp_path / "before.arrow", pixtral)
        movie = min(path.split("=")[1].split("/")[0] for path in store.files.under("references"))
        ref = store.ref("references", f"{movie}/automatic")
        assert ref
        told = [(row.frame_id, row.text) for row in store.read(ref, Reference)]
        bad = {0: '<gdo class="person" person-77>a man</gdo> waves.', 1: "A man waves.", 2: "A man </s> waves."}
        changed = [(frame_id, bad.get(number, text)) for number, (frame_id, text) in enumerate(told)]
        write_references(movie, [*changed, (f"{movie}_999999", "Nothing.")], store, "automatic")
        after, file = gathered(store, recipe, tmp_path / "after.arrow", pixtral)
        assert after.left_out == {"unknown-object": 1, "cites-nothing": 1, "special-token": 1, "no-frame": 1}
        assert sum(after.samples.values()) == sum(before.samples.values()) - 3 == len(file)
        assert after.fingerprint != before.fingerprint

    def test_too_long_samples_are_left_out(self, store: Store, tmp_path: Path, pixtral: Any) -> None:
        recipe = pixtral_recipe(data=DataConfig(validation=0.2, test=0.2, most_tokens=5))
        with pytest.raises(ReferencesError, match=r"left out: too-long \d+"):
            gathered(store, recipe, tmp_path / "samples.arrow", pixtral)
        assert not list(tmp_path.glob("*.arrow"))

    def test_a_source_that_nobody_wrote_is_said_with_the_remedy(
        self, store: Store, tmp_path: Path, pixtral: Any
    ) -> None:
        recipe = pixtral_recipe(stage(sources=("nobody",)))
        with pytest.raises(ReferencesError, match="no references by nobody"):
            gathered(store, recipe, tmp_path / "samples.arrow", pixtral)
        both = pixtral_recipe(stage(), stage("b", sources=("nobody",)))
        with pytest.raises(ReferencesError, match="stage 'b' has no caption by nobody"):
            gathered(store, both, tmp_path / "samples.arrow", pixtral)

    def test_detections_of_other_frames_do_not_count(self, store: Store, tmp_path: Path, pixtral: Any) -> None:
        store = copy_of(store, tmp_path)
        for path in store.files.under("detections"):
            store.files.delete(path)
        with pytest.raises(ReferencesError, match="not-detected"):
            gathered(store, pixtral_recipe(), tmp_path / "samples.arrow", pixtral)

    def test_the_same_store_gives_the_same_file(self, store: Store, tmp_path: Path, pixtral: Any) -> None:
        recipe = pixtral_recipe()
        made = [gathered(store, recipe, tmp_path / f"{number}.arrow", pixtral)[0] for number in range(2)]
        assert made[0] == made[1]
        assert (tmp_path / "0.arrow").read_bytes() == (tmp_path / "1.arrow").read_bytes()


class TestSplit:
    MOVIES = tuple(f"m{number}" for number in range(40))

    def test_every_movie_is_in_one_part_whatever_the_order(self) -> None:
        config = DataConfig(validation=0.1, test=0.2)
        parts = split_movies(self.MOVIES, config)
        assert sorted(parts) == sorted(self.MOVIES)
        assert sorted(parts.values()) == ["test"] * 8 + ["train"] * 28 + ["validation"] * 4
        assert split_movies(self.MOVIES[::-1], config) == parts
        assert split_movies(self.MOVIES, replace(config, seed=1)) != parts

    def test_no_movie_is_in_two_parts_of_the_samples(self, store: Store, tmp_path: Path, pixtral: Any) -> None:
        _, file = gathered(store, pixtral_recipe(), tmp_path / "samples.arrow", pixtral)
        movies = [{file[int(one)].movie_id for one in file.numbers(part)} for part in ("train", "validation", "test")]
        assert all(movies)
        assert sum(map(len, movies)) == len(set.union(*movies))

    def test_movies_can_be_named(self) -> None:
        config = DataConfig(test_movies=("m1*",), validation_movies=("m2",))
        parts = split_movies(self.MOVIES, config)
        assert {one for one, part in parts.items() if part == "test"} == {"m1", *(f"m1{n}" for n in range(10))}
        assert [one for one, part in parts.items() if part == "validation"] == ["m2"]

    @pytest.mark.parametrize(
        ("movies", "config", "said"),
        [
            (("a", "b"), DataConfig(), "2 movies .* cannot be split"),
            (("a", "b", "c"), DataConfig(test_movies=("x*",)), "no movie .* is called 'x\\*'"),
            (("a", "b", "c"), DataConfig(test_movies=("a",), validation_movies=("a",)), "movie a is named for"),
        ],
    )
    def test_what_cannot_be_split_is_said(self, movies: tuple[str, ...], config: DataConfig, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            split_movies(movies, config)


def test_pictures_are_read_by_their_row_and_few_are_kept(store: Store, tmp_path: Path) -> None:
    reader = trainables.load("pixtral").reader(CAPTIONER)
    _, file = gathered(store, pixtral_recipe(), tmp_path / "samples.arrow", reader)
    pictures = Pictures(store)

    def shapes() -> Iterator[tuple[str, bytes]]:
        for number in (*range(len(file)), *reversed(range(len(file)))):
            yield file[number].frame_id, pictures(file[number]).tobytes()

    found: dict[str, set[bytes]] = {}
    for frame_id, picture in shapes():
        found.setdefault(frame_id, set()).add(picture)
    assert all(len(some) == 1 for some in found.values())
    assert len(set.union(*found.values())) == len(found)  # every frame has its own
    assert len(json.dumps(file[0].prompt)) > 10
    assert np.array_equal(file.numbers("train"), np.sort(file.numbers("train")))


def test_a_picture_that_is_none_is_named(store: Store, tmp_path: Path) -> None:
    reader = trainables.load("pixtral").reader(CAPTIONER)
    _, file = gathered(store, pixtral_recipe(), tmp_path / "samples.arrow", reader)
    pictures, sample = Pictures(store), file[0]
    pictures(sample)
    for group in pictures._groups.values():
        group[sample.row]["bytes"] = b"no picture"
    with pytest.raises(ReferencesError, match=f"{sample.frame_id}: the frame's picture cannot be decoded"):
        pictures(sample)

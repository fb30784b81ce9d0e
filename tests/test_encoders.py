"""Metrics that ask models: dual encoders and sentence encoders with random weights, in the hub's file layout."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rows
import torch
from tiny_clip import DIMENSIONS, build_tiny_clip
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    CLIPModel,
)

from storage.tables import Frame, Image
from tasks.corpora import Corpus, Models, Told
from tasks.embedded_captions import embed
from tasks.encoders import DualEncoder, SentenceEncoder
from tasks.errors import CheckpointError, MetricUnavailableError
from tasks.measuring import Measuring
from tasks.metrics import CorpusMetric, clipscore, frechet, load, self_retrieval
from tasks.pictures import jpeg


@pytest.fixture(scope="module")
def dual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of two layers."""
    return build_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with the files that sentence-transformers lays beside it: mean pooling, normalised."""
    folder = tmp_path_factory.mktemp("sentences")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *["a", "man", "dog", "cat", "walks", "sits", "runs", "on", "red", "blue"],
    ]
    words += [f"n{number}" for number in range(60)]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=16).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=DIMENSIONS,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(folder)
    write_modules(folder, ["Transformer", "Pooling", "Normalize"])
    return folder


def write_modules(folder: Path, kinds: Sequence[str], pooling: str = "pooling_mode_mean_tokens") -> None:
    paths = ["", *(f"{place}_{kind}" for place, kind in enumerate(kinds[1:], 1))]
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    said = {"word_embedding_dimension": DIMENSIONS, pooling: True, "pooling_mode_max_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(said))


def picture(number: int) -> bytes:
    return jpeg(np.random.default_rng(number).integers(0, 255, (36, 48, 3), dtype=np.uint8), 95)


def corpus(count: int, models: Models, *, same: int = 0, shots: int = 4) -> Corpus:
    """Captions of random letters; the second is empty, the last has no references. `same` frames share a picture."""
    random = np.random.default_rng(5)
    texts = ["".join(chr(97 + one) for one in random.integers(0, 26, 6)) for _ in range(count)]
    texts[1] = ""
    told = [
        Told(caption_id=f"m_{n:06}/c/0", frame_id=f"m_{n:06}", text=text,
             references=("a man walks", texts[n - 1]) if n < count - 1 else ())
        for n, text in enumerate(texts)
    ]  # fmt: skip

    def frames() -> Iterator[Frame]:
        for n in range(count):
            shown = Image(bytes=picture(n if n >= same else 0), path="x.jpg")
            yield replace(rows.frame(n, "m"), shot_index=n % shots, image=shown)

    return Corpus(captions=lambda: iter(told), frames=frames, models=models)


def test_clipscore_is_its_formula_over_the_model_s_own_vectors(dual: Path) -> None:
    asked = corpus(5, Models(dual_encoder=str(dual), device="cpu"))
    found = clipscore.measure(asked)
    encoder, model = DualEncoder.load(str(dual), "cpu"), CLIPModel.from_pretrained(dual).eval()
    told = list(asked.captions())
    with torch.inference_mode():
        for place, one in enumerate(told):
            if not one.text:
                assert found.each["clipscore"][place] == found.each["refclipscore"][place] == 0
                continue
            frame = list(asked.frames())[place]
            pixels = encoder.pictures(images=[_decoded(frame)], return_tensors="pt")
            view = model.get_image_features(**pixels).pooler_output[0]

            def text(words: str) -> torch.Tensor:
                given = encoder.tokenizer([f"A photo depicts {words}"], return_tensors="pt")
                return model.get_text_features(**given).pooler_output[0]

            score = 2.5 * max(0, float(torch.cosine_similarity(text(one.text), view, dim=0)))
            assert found.each["clipscore"][place] == pytest.approx(score, abs=1e-5)
            if one.references:
                best = max(float(torch.cosine_similarity(text(one.text), text(r), dim=0)) for r in one.references)
                mean = 2 * score * max(best, 0) / (score + max(best, 0)) if score + max(best, 0) else 0
                assert found.each["refclipscore"][place] == pytest.approx(mean, abs=1e-5)
    assert np.isnan(found.each["refclipscore"][4])
    assert found.corpus["clipscore"] == pytest.approx(np.mean(found.each["clipscore"]))
    assert found.corpus["refclipscore"] == pytest.approx(np.nanmean(found.each["refclipscore"]))
    assert found.statistics
    sums = dict(found.statistics.values(found.statistics.rows.sum(axis=0, keepdims=True)))
    assert {name: values[0] for name, values in sums.items()} == pytest.approx(found.corpus)


def _decoded(frame: Frame) -> np.ndarray:
    from tasks.frame_work import decode

    return decode(frame)


def test_self_retrieval_by_hand(dual: Path) -> None:
    """104 frames: each caption against the rank of its own picture among 99 others, and among its shot."""
    asked = corpus(104, Models(dual_encoder=str(dual), device="cpu"), shots=52)
    found, vectors = self_retrieval.measure(asked), embed(asked)
    similar = vectors.captions @ vectors.pictures.T
    for place in (0, 1, 50, 103):
        others = [one for one in range(104) if one != place and one % 52 == place % 52]
        won = place != 1 and all(similar[place, place] > similar[place, one] for one in others)
        assert found.each["self_retrieval_shot"][place] == float(won)
        best_of_all = similar[place].argmax() == place and place != 1
        assert found.each["self_retrieval_random"][place] >= float(best_of_all)
    assert found.corpus["self_retrieval_random"] == pytest.approx(np.mean(found.each["self_retrieval_random"]))
    assert self_retrieval.measure(replace(asked, kept={})).each == found.each, "not the same frames again"
    assert self_retrieval._others(7, 104, "0/m_000007") != self_retrieval._others(7, 104, "1/m_000007")
    assert len(set(self_retrieval._others(7, 104, "0/m_000007")) - {7}) == 99


def test_equal_pictures_share_the_hit_and_few_frames_are_refused(dual: Path) -> None:
    asked = corpus(3, Models(dual_encoder=str(dual), device="cpu"), same=3, shots=1)
    found = self_retrieval.measure(asked)
    assert found.each["self_retrieval_shot"] == [pytest.approx(1 / 3), 0, pytest.approx(1 / 3)]
    assert "self_retrieval_random" not in found.corpus
    assert found.reasons
    assert "100 frames" in found.reasons["self_retrieval_random"]


def test_a_picture_that_cannot_be_decoded_spoils_no_other(dual: Path) -> None:
    asked = corpus(3, Models(dual_encoder=str(dual), device="cpu"))

    def frames() -> Iterator[Frame]:
        for place, frame in enumerate(asked.frames()):
            yield replace(frame, image=Image(bytes=b"no", path="x")) if place == 1 else frame

    damaged = replace(asked, frames=frames, kept={})
    scores = [clipscore.measure(one).each["clipscore"] for one in (asked, damaged)]
    assert scores[0] == pytest.approx(scores[1])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_sentence_vectors_are_pooled_as_the_folder_says(sentences: Path, tmp_path: Path, pooling: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sentences, folder)
    key = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}[pooling]
    write_modules(folder, ["Transformer", "Pooling"], key)
    encoder, model = SentenceEncoder.load(str(folder), "cpu"), BertModel.from_pretrained(folder).eval()
    texts = ["a man walks on", "a dog"]
    found = encoder.of_texts(texts)
    for text, vector in zip(texts, found, strict=True):
        with torch.inference_mode():
            states = model(**encoder.tokenizer([text], return_tensors="pt")).last_hidden_state[0]
        expected = states.mean(0) if pooling == "mean" else states[0]
        assert vector == pytest.approx(expected.numpy(), abs=1e-5)


def test_frechet_distance(sentences: Path) -> None:
    random = np.random.default_rng(6)
    texts = [" ".join(random.choice([f"n{n}" for n in range(60)], 4)) for _ in range(120)]

    def of(captions: list[str]) -> Corpus:
        told = [
            Told(caption_id=f"m_{n:06}/c/0", frame_id=f"m_{n:06}", text=text, references=(texts[n],))
            for n, text in enumerate(captions)
        ]
        models = Models(sentence_encoder=str(sentences), device="cpu")
        return Corpus(captions=lambda: iter(told), frames=lambda: iter(()), models=models)

    assert frechet.measure(of(texts)).corpus["frechet_distance"] == pytest.approx(0, abs=1e-6)
    far, near = frechet.measure(of(["a dog"] * 60 + texts[60:])), frechet.measure(of(["a dog"] * 6 + texts[6:]))
    assert far.corpus["frechet_distance"] > near.corpus["frechet_distance"] > 0
    assert far.intervals
    low, high = far.intervals["frechet_distance"]
    assert low < far.corpus["frechet_distance"] < high
    with pytest.raises(MetricUnavailableError, match=r"15 captions .* need 16 of each"):
        frechet.measure(of(texts[:15]))


def test_the_distance_is_that_of_normal_distributions() -> None:
    """Against scipy's matrix root, as the usual implementations take it."""
    from scipy.linalg import sqrtm

    random = np.random.default_rng(7)
    one, other = random.normal(0, 1, (50, 4)), random.normal(0.5, 2, (60, 4))
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    expected = np.sum((one.mean(0) - other.mean(0)) ** 2) + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert frechet.distance(one.mean(0), first, other.mean(0), second) == pytest.approx(expected)


def test_models_that_cannot_be_used_say_why(dual: Path, sentences: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"does not embed pictures and texts|image processor"):
        DualEncoder.load(str(sentences), "cpu")
    with pytest.raises(CheckpointError, match=r"no sentence-transformers model: modules\.json"):
        SentenceEncoder.load(str(dual), "cpu")
    folder = tmp_path / "model"
    shutil.copytree(sentences, folder)
    write_modules(folder, ["Transformer", "Pooling", "Dense"])
    with pytest.raises(CheckpointError, match="Transformer, Pooling, Dense"):
        SentenceEncoder.load(str(folder), "cpu")
    write_modules(folder, ["Transformer", "Pooling"], "pooling_mode_max_tokens_of_all")
    with pytest.raises(CheckpointError, match="one of cls and mean"):
        SentenceEncoder.load(str(folder), "cpu")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickled"):
        SentenceEncoder.load(str(folder), "cpu")


def test_every_corpus_metric_gives_values_or_reasons(dual: Path, sentences: Path) -> None:
    """Conformance: of captions with pictures, references and models, each value or why there is none."""
    named = ["capture", "clipscore", "distinct", "frechet", "self_retrieval"]
    metrics = [metric for metric in map(load, named) if isinstance(metric, CorpusMetric)]
    assert len(metrics) == len(named)
    models = Models(dual_encoder=str(dual), sentence_encoder=str(sentences), device="cpu")
    outcomes = Measuring(60, resamples=50).corpora(metrics, corpus(20, models))
    for metric in metrics:
        outcome = outcomes[metric.name]
        for name in metric.values:
            assert (name in outcome.measured.corpus) != bool(outcome.why(name)), name
        assert all(len(values) == 20 for values in outcome.measured.each.values())
    assert "CAPTURE" in str(outcomes["capture"].reason)
    for metric in metrics:
        if metric.name not in ("distinct", "capture"):
            assert "score." in str(metric.missing(Models()))
            assert len(next(iter(metric.weights(models).values()))) == 64

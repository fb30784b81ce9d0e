"""Every text metric against pycocoevalcap's own code, on captions made at random."""

import subprocess

import pytest
from caption_making import captions, tokenised_pairs

from tasks.java_metrics import coco, java
from tasks.metrics import Pair, bleu, cider, rouge_l

EXACT = 1e-12
"""Sums in another order differ in the sixteenth digit."""


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, list[str]]]:
    return captions(80)


@pytest.fixture(scope="module")
def pairs(rows: list[tuple[str, list[str]]]) -> list[Pair]:
    return tokenised_pairs(rows)


def theirs(pairs: list[Pair]) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """References and candidates as pycocoevalcap takes them."""
    return (
        {place: list(pair.references) for place, pair in enumerate(pairs)},
        {place: [pair.candidate] for place, pair in enumerate(pairs)},
    )


def test_tokens_are_pycocoevalcap_s(rows: list[tuple[str, list[str]]], pairs: list[Pair],
                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Its own tokenizer, on the Java that comes along; an empty caption at the end would shift its lines."""
    start = subprocess.Popen

    def with_our_java(command: list[str], **options: object) -> object:
        return start([java(), *command[1:]], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", with_our_java)
    asked = {place: [{"caption": text} for text in references] for place, (_, references) in enumerate(rows)}
    found = coco("tokenizer.ptbtokenizer").PTBTokenizer().tokenize(asked)
    assert [tuple(found[place]) for place in range(len(rows))] == [pair.references for pair in pairs]


def test_bleu_is_pycocoevalcap_s_to_the_last_digit(pairs: list[Pair]) -> None:
    corpus, each = coco("bleu.bleu").Bleu(4).compute_score(*theirs(pairs), verbose=0)
    found = bleu.measure(pairs, 1)
    assert list(found.corpus.values()) == corpus
    assert list(found.each.values()) == each


def test_rouge_l_is_pycocoevalcap_s_to_the_last_digit(pairs: list[Pair]) -> None:
    corpus, each = coco("rouge.rouge").Rouge().compute_score(*theirs(pairs))
    found = rouge_l.measure(pairs, 1)
    assert found.corpus["rouge_l"] == corpus
    assert found.each["rouge_l"] == each.tolist()


def test_cider_d_is_pycocoevalcap_s(pairs: list[Pair]) -> None:
    corpus, each = coco("cider.cider").Cider().compute_score(*theirs(pairs))
    found = cider.measure(pairs, 1)
    assert found.corpus["cider_d"] == pytest.approx(corpus, abs=EXACT)
    assert found.each["cider_d"] == pytest.approx(each.tolist(), abs=EXACT)

"""Metrics against published figures, and against what is known to hang or to shift captions."""

import gzip
import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import rows
from caption_making import captions, tokenised_pairs

from storage.tables import Detection
from tasks import java_metrics, lexicon, meteor_in_java, metrics, spice_models, tags
from tasks.errors import MetricUnavailableError, TransientError, UnknownNameError
from tasks.java_metrics import Conversation, tokenize
from tasks.measuring import WORDLESS
from tasks.metrics import CaptionMetric, Cited, DerivedMetric, Measured, Pair, TextMetric
from tasks.metrics import meteor as meteor_file
from tasks.metrics import spice as spice_file
from tasks.metrics.grounding import count, each, pool, untagged_text
from tasks.metrics_page import metrics_markdown

DATA = Path(__file__).parent / "data" / "captions"
PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
SECONDS = 120.0

PUBLISHED = {
    "nlg-eval": {"bleu1": 0.55, "bleu2": 0.428174, "bleu3": 0.284043, "bleu4": 0.201143, "meteor": 0.295797,
                 "rouge_l": 0.522104, "cider_d": 1.242192},
    "clipscore": {"bleu1": 0.6667, "bleu2": 0.4899, "bleu3": 0.3469, "bleu4": 0.0, "meteor": 0.3444, "rouge_l": 0.4280,
                  "cider_d": 0.5637},
    "coco-caption": {"bleu1": 0.712766, "bleu4": 0.222340, "meteor": 0.234868, "rouge_l": 0.512030,
                     "cider_d": 1.079718},
}  # fmt: skip
"""What the data's own projects print, to as many digits; see tests/data/ATTRIBUTION.md."""
DIGITS = {"nlg-eval": 6, "clipscore": 4, "coco-caption": 6}


def read(name: str) -> list[tuple[str, list[str]]]:
    """(candidate, references) as published, with capitals and punctuation."""
    folder = DATA / name
    if name == "nlg-eval":
        columns = [(folder / file).read_text().splitlines() for file in ("hyp.txt", "ref1.txt", "ref2.txt")]
        return [(candidate, list(references)) for candidate, *references in zip(*columns, strict=True)]
    files = ("good_captions.json", "refs.json") if name == "clipscore" else ("debug.hypo.json", "debug.ref.json")
    candidates, references = (json.loads((folder / file).read_text()) for file in files)
    told = {key: one if isinstance(one, str) else one[0] for key, one in candidates.items()}
    return [(told[key], references[key]) for key in told]


TEXT_METRICS = [name for name in metrics.available() if isinstance(metrics.load(name), TextMetric)]
NEEDS = {"spice": pytest.mark.skipif(not spice_models.find_models(), reason=str(spice_file.missing()))}
"""The one metric whose files the test environment may lack."""
QUICK = [pytest.param(name, marks=NEEDS.get(name, ())) for name in TEXT_METRICS if name != "meteor"]
"""METEOR takes seconds to start and to choose its paraphrases: the tests here share one."""


@pytest.fixture(scope="module")
def meteor() -> Iterator[Conversation]:
    """METEOR under a comma locale, with which it would never answer if its language were not forced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=de -Duser.country=DE")
        with meteor_file.start(10 * SECONDS, threads=2) as conversation:  # of all tests together, not of each
            patch.undo()
            yield conversation


def measure(name: str, pairs: list[Pair]) -> Measured:
    metric = metrics.load(name)
    assert isinstance(metric, TextMetric)
    return metric.measure(pairs, SECONDS)


@pytest.mark.parametrize("data", PUBLISHED)
def test_published_figures(data: str, meteor: Conversation) -> None:
    pairs = tokenised_pairs(read(data))
    found = dict(meteor_file.evaluate(meteor, pairs).corpus)
    for name in ("bleu", "rouge_l", "cider"):
        found |= measure(name, pairs).corpus
    for name, value in PUBLISHED[data].items():
        assert found[name] == pytest.approx(value, abs=0.51 * 10 ** -DIGITS[data]), name


@pytest.mark.parametrize("name", QUICK)
def test_conformance_of_text_metrics(name: str) -> None:
    """A value per caption; a failed caption stays in and lowers the corpus; a perfect one is best."""
    rows = [("a black dog sleeps on the red couch", ["a black dog sleeps on the red couch", "there is a dog"]),
            ("two men ride horses over a field", ["two men ride horses over a field"])]  # fmt: skip
    good, half = measure(name, tokenised_pairs(rows)), measure(name, tokenised_pairs([rows[0], ("", rows[1][1])]))
    metric = metrics.load(name)
    assert set(good.corpus) == set(good.each) == set(metric.values)
    for value in metric.values:
        assert [len(measured.each[value]) for measured in (good, half)] == [2, 2]
        assert all(math.isfinite(one) for one in (*half.each[value], half.corpus[value]))
        assert half.each[value][1] == pytest.approx(0, abs=1e-6)
        assert half.corpus[value] < good.corpus[value]
        assert half.each[value][0] > 0


def test_corpus_bleu_is_not_the_mean_of_sentence_bleu() -> None:
    bleu = measure("bleu", tokenised_pairs(read("coco-caption")))
    assert abs(bleu.corpus["bleu4"] - sum(bleu.each["bleu4"]) / 10) > 0.01


def test_line_breaks_of_every_kind_stay_in_their_caption() -> None:
    breaks = ["\n", "\r", "\r\n", "\u2028", "\u2029", "\x0b", "\x0c", "\x85", "\x1c", "\x00"]
    texts = [f"A man{one}sits." for one in breaks]
    assert tokenize([*texts, "", "...", "Last"], SECONDS) == ["a man sits"] * len(texts) + ["", "", "last"]


def test_only_spaces_part_words() -> None:
    """As in pycocoevalcap: PTB makes one word of a fraction, with a no-break space inside."""
    assert tokenize(["1 1/2 cups of tea", "..."], SECONDS) == ["1\u00a01/2 cups of tea", ""]


def test_tokens_do_not_depend_on_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    """pycocoevalcap lets brackets through: it looks for -LRB- after all was made lower case. So do we, to agree."""
    monkeypatch.setenv("LC_ALL", "C")
    assert tokenize(["Café naïve, it's (small) – ok…"], SECONDS) == ["café naïve it 's -lrb- small -rrb- ok"]


def test_meteor_answers_to_hostile_captions(meteor: Conversation) -> None:
    rows = [("a ||| man\nsits", ["a man ||| sits", "..."]), ("...", ["a man"]), ("a man", ["a man"])]
    nothing = Pair(caption_id="c", frame_id="f", candidate="", references=(WORDLESS,))
    measured = meteor_file.evaluate(meteor, [*tokenised_pairs(rows), nothing])
    assert set(measured.corpus) == set(measured.each) == {"meteor"}
    assert 0 < measured.corpus["meteor"] < 1
    assert measured.each["meteor"][0] > 0
    assert (measured.each["meteor"][1], measured.each["meteor"][3]) == (0, 0)
    assert measured.each["meteor"][2] == pytest.approx(1)


PLAIN = [
    ("2 men ride 12 horses", ["two men ride a dozen horses", "2 men on horses"]),
    ("dotmulti a i e no mr smith", ["dotdotmulti a i e no mr smith", "mr smith"]),
    ("a man walks the dog", ["isn't this a well-known dog – walked by a man", "a man is walking a dog"]),
]
"""Lines of letters and digits alone, which are not given to METEOR's normalizer, and lines that are."""


def paraphrased(count: int) -> list[Pair]:
    """Captions that say METEOR's own paraphrases of what their references say, from the middle of its table."""
    with gzip.open(java_metrics.coco_folder() / "meteor" / "data" / "paraphrase-en.gz") as table:
        table.seek(120_000_000)
        lines = table.read(2_000_000).decode(errors="replace").splitlines()
    numbers = [place for place, line in enumerate(lines[:-2]) if re.fullmatch(r"0\.\d{9,}", line)]
    told = [lines[place + 1 : place + 3] for place in numbers[1 :: len(numbers) // count]]
    assert len(told) >= count
    return [
        Pair(
            caption_id=f"p_{place:06}/c/0",
            frame_id=f"p_{place:06}",
            candidate=f"the {one} is near",
            references=(f"near is the {other}", f"the {other} is near"),
        )
        for place, (one, other) in enumerate(told)
    ]


def test_meteor_of_many_threads_is_pycocoevalcap_s(meteor: Conversation) -> None:
    """METEOR's own program with all its paraphrases, line by line as pycocoevalcap asks, against ours."""
    pairs = [*tokenised_pairs([*captions(60), *PLAIN]), *paraphrased(100)]
    again = [*pairs, pairs[5], pairs[5]]
    found = meteor_file.evaluate(meteor, again)
    jar = java_metrics.coco_folder() / "meteor" / "meteor-1.5.jar"
    official = ["-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    said = []
    with Conversation(official, "METEOR", SECONDS) as one:
        for pair in again:
            one.say(" ||| ".join(["SCORE", *pair.references, pair.candidate]))
            said.append(one.hear())
        by_paraphrase = sum(float(line.split()[16]) for line in said)
        assert by_paraphrase > 100, "the table would not be missed"
        one.say(" ||| ".join(["EVAL", *said]))
        assert [float(one.hear()) for _ in again] == found.each["meteor"]
        assert float(one.hear()) == found.corpus["meteor"]


def test_paraphrases_are_those_of_the_texts_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [("0.5", "a b", "c"), ("0.25", "a b", "b a"), ("1", "0.5", "a"), ("0.1", "b", "é 0.5"), ("2", "c d", "a")]
    table = tmp_path / "table.gz"
    table.write_bytes(gzip.compress("".join(f"{line}\n" for entry in entries for line in entry).encode()))

    def kept(*words: str) -> list[str]:
        found = meteor_in_java.paraphrases(table, {word.encode() for word in words})
        return [entry.decode() for entry in found]

    for size in (1, 7, 1 << 22):
        monkeypatch.setattr(meteor_in_java, "BLOCK_BYTES", size)
        assert kept("a", "b") == ["0.25\na b\nb a\n"]
        assert kept("a", "b", "c", "0.5") == ["0.5\na b\nc\n", "0.25\na b\nb a\n", "1\n0.5\na\n"]
        assert kept("é", "0.5", "b") == ["0.1\nb\né 0.5\n"]
        assert kept() == []


def test_nothing_of_meteor_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with meteor_file.start(SECONDS, threads=1) as one:
        one.say("SCORE ||| a man ||| a man\nALIGN")
        deadline = time.monotonic() + SECONDS
        while not list(tmp_path.rglob("*.gz")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert list(tmp_path.rglob("*.gz")), "killed while it reads"
    assert not list(tmp_path.iterdir())


def test_meteor_of_added_statistics_is_the_java_one_s(meteor: Conversation) -> None:
    """What intervals are computed with, over a corpus, parts of it and single captions."""
    pairs = tokenised_pairs(captions(60))
    for part in (pairs, pairs[:1], pairs[1:2], pairs[2:3], pairs[2:9]):
        found = meteor_file.evaluate(meteor, part)
        assert found.statistics
        added = found.statistics.values(found.statistics.rows.sum(axis=0, keepdims=True))
        assert added["meteor"][0] == pytest.approx(found.corpus["meteor"], abs=1e-12)


def test_a_program_that_does_not_answer_is_given_up() -> None:
    jar = java_metrics.coco_folder() / "meteor" / "meteor-1.5.jar"
    command = ["-jar", str(jar), "-", "-", "-stdio", "-l", "en"]
    with Conversation(command, "METEOR", 0.2) as program, pytest.raises(TransientError, match=r"within 0\.2"):
        program.hear()
    with pytest.raises(TransientError, match=r"within 0\.01"):
        tokenize(["a"], 0.01)


def test_a_program_that_dies_says_why() -> None:
    expected = pytest.raises(TransientError, match=r"METEOR ended early: .*nowhere\.jar")
    with Conversation(["-jar", "nowhere.jar"], "METEOR", SECONDS) as program, expected:
        program.hear()


def test_without_java_the_reason_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_java() -> str:
        raise MetricUnavailableError(f"METEOR needs Java: {java_metrics.INSTALL}")

    monkeypatch.setattr(java_metrics, "java", no_java)
    assert "pip install" in str(java_metrics.missing())


def test_cider_of_one_frame_is_no_number() -> None:
    with pytest.raises(MetricUnavailableError, match="two frames"):
        measure("cider", tokenised_pairs([("a man", ["a man"])]))


def test_spice_without_its_models_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spice_models, "coco_folder", lambda: tmp_path)  # as if not there, also where they are
    monkeypatch.setenv("CAPTION_MOVIES_CACHE", str(tmp_path))
    spice = metrics.load("spice")
    assert isinstance(spice, TextMetric)
    assert spice.missing() is not None
    with pytest.raises(MetricUnavailableError, match=r"caption-movies setup spice|pip install"):
        spice.measure([], SECONDS)


def test_gmeteor_is_the_card_s() -> None:
    metric = metrics.load("gmeteor")
    assert isinstance(metric, DerivedMetric)
    values = {"meteor": 0.23, "grounding_f1_strict_macro": 0.69, "grounding_f1_cited_macro": 0.0}
    assert metric.derive(values) == {"gmeteor_strict": pytest.approx(0.345), "gmeteor_cited": 0.0}


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == metrics_markdown(), "run: python -m docs.generate"


def test_an_unknown_metric_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="meteor"):
        metrics.load("meteo")


def test_names_of_values_are_unique_and_signed() -> None:
    loaded = [metrics.load(name) for name in metrics.available()]
    names = [value for metric in loaded for value in metric.values]
    names += [value for metric in loaded if isinstance(metric, CaptionMetric) for value in metric.pooled]
    assert len(names) == len(set(names))
    assert [metric.name for metric in loaded] == metrics.available()
    assert all(len(metrics.signature(metric)) > 20 for metric in loaded)


# Grounding ----------------------------------------------------------------------------------------------------------


def detection(object_id: str) -> Detection:
    return rows.detection(object_id, frame_id="m_000000")


def cited(text: str, ids: list[str], failed: bool = False) -> Cited:
    return Cited(
        parsed=tags.parse(text),
        detections=[detection(one) for one in ids],
        labels=lexicon.LABELS,
        consistent=True,
        failed=failed,
    )


MAN = '<gdo class="person" person-0>the man</gdo>'


@pytest.mark.parametrize(
    ("text", "ids", "mentioned_cited", "mentioned_strict", "correct", "found"),
    [
        (f"{MAN} waits", ["person-0", "dog-0"], 1, 1, 1, 1),
        (f"{MAN} with a dog waits", ["person-0", "dog-0"], 1, 2, 1, 1),
        (f'{MAN} <gda class="run" person-0>runs</gda>', ["person-0"], 2, 2, 2, 1),
        (f'{MAN} <gda class="run" person-1>runs</gda>', ["person-0"], 2, 2, 1, 1),
        ('<gdo class="dog" person-0>the dog</gdo>', ["person-0"], 1, 1, 0, 0),
        ('<gdo class="person" person-0 person-0>two men</gdo>', ["person-0"], 1, 1, 1, 1),
        ('<gdo class="person" person-0 person-1>two men</gdo>', ["person-0", "person-1"], 2, 2, 2, 2),
        ('<gdo class="person" person>a man</gdo>', ["person-0"], 1, 1, 0, 0),
        ('<gdo class="person">a man</gdo>', ["person-0"], 0, 1, 0, 0),
        ("an empty scene", [], 0, 0, 0, 0),
    ],
)
def test_grounding_counts(text: str, ids: list[str], mentioned_cited: int, mentioned_strict: int, correct: int,
                          found: int) -> None:  # fmt: skip
    assert count(cited(text, ids)) == {
        "mentioned_cited": mentioned_cited,
        "mentioned_strict": mentioned_strict,
        "correct": correct,
        "found": found,
        "detected": len(ids),
        "failed": 0,
    }


def ratios(values: dict[str, float], ending: str) -> list[float]:
    return [values[f"grounding_{name}_{ending}"] for name in ("precision", "recall", "f1")]


def test_grounding_conventions() -> None:
    assert ratios(each(cited("nothing", [])), "strict") == [1, 1, 1]
    assert ratios(each(cited("nothing", ["dog-0"])), "strict") == [1, 0, 0]
    assert ratios(each(cited(MAN, [])), "cited") == [0, 1, 0]
    assert ratios(each(cited("", [], failed=True)), "cited") == [0, 0, 0]
    assert ratios(each(cited(f"{MAN} and a dog", ["person-0"])), "strict") == [0.5, 1, pytest.approx(2 / 3)]


def pooled(rows: list[dict[str, float]]) -> dict[str, float]:
    return pool({name: sum(row[name] for row in rows) for name in rows[0]}, len(rows))


def test_a_failed_caption_stays_in_the_mean_and_costs_pooled_precision() -> None:
    good, failed = each(cited(MAN, ["person-0"])), each(cited("", ["person-0"], failed=True))
    values = pooled([good, failed])
    assert ratios(values, "cited_macro") == [0.5, 0.5, 0.5]
    assert ratios(values, "cited_micro") == [0.5, 0.5, 0.5]
    assert (values["grounding_failed_total"], values["grounding_mentioned_cited_total"]) == (1, 1)
    assert ratios(pooled([good] + [failed] * 99), "strict_micro") == pytest.approx([0.01, 0.01, 0.01])
    assert ratios(pooled([failed]), "cited_micro") == [0, 0, 0]
    assert ratios(pooled([each(cited("", [], failed=True))]), "cited_micro") == [0, 0, 0]
    assert ratios(pooled([each(cited("A bare caption.", ["person-0"]))]), "cited_micro") == [1, 0, 0]


def test_pooled_ratios_come_from_pooled_counts() -> None:
    rows = [each(cited(MAN, ["person-0"])), each(cited(f"{MAN} a dog, a cat, two cars", ["person-0", "cow-0"]))]
    values = pooled(rows)
    assert ratios(values, "strict_micro")[:2] == [2 / 5, 2 / 3]
    assert ratios(values, "strict_macro")[:2] == [(1 + 0.25) / 2, (1 + 0.5) / 2]
    metric = metrics.load("grounding")
    assert isinstance(metric, CaptionMetric)
    assert set(values) == set(metric.pooled)
    assert set(rows[0]) == set(metric.values)


def test_words_of_tags_are_no_untagged_mentions() -> None:
    parsed = tags.parse(f'The dog and {MAN} <gdl class="couch">on a couch</gdl>')
    assert untagged_text(parsed) == "The dog and ....... on a couch"


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Two women and a child", ["person", "person"]), ("a traffic light", ["traffic-light"]),
        ("the car door", ["door-stuff"]), ("an orange shirt and an orange.", ["orange"]),
        ("the person's dogs", ["person", "dog"]), ("knives, buses", ["knife", "bus"]), ("a light blue wall", ["wall"]),
        ("the manner of carpets", ["rug"]), ("on DINING TABLES", ["dining-table"]), ("", []),
        ("a dinner-table", ["dining-table"]), ("the lamp", ["light"]),
    ],
)  # fmt: skip
def test_named_objects(text: str, labels: list[str]) -> None:
    found = list(lexicon.named_objects(text, lexicon.LABELS))
    assert [label for label, _, _ in found] == labels
    assert all(text[start:end].strip() for _, start, end in found)


def test_only_detectable_classes_are_looked_for() -> None:
    assert list(lexicon.named_objects("A man and a dog", ["dog"])) == [("dog", 12, 15)]


def test_the_lexicon_knows_only_classes_that_exist() -> None:
    assert set(lexicon.SYNONYMS) <= lexicon.LABELS
    assert [lexicon.plural(one) for one in ("box", "policewoman", "wine glass", "toy", "lady", "sheep")] == [
        "boxes", "policewomen", "wine glasses", "toys", "ladies", "sheep",
    ]  # fmt: skip

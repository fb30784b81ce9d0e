"""The choice among a frame's captions: clean ones first, then the score, then the captioner's own order."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import rows
from test_captions import SHARD, frame, people, put
from tiny_clip import build_tiny_clip

from storage.store import MENDING, Store
from storage.tables import Caption, Choice
from tasks import selectors
from tasks.choices import ChooseConfig, choose_captions
from tasks.consistency import check_captions
from tasks.errors import CheckpointError, ConfigError, UnknownNameError

ONE = '<gdo class="person" person-0>A man</gdo> walks.'
BOTH = '<gdo class="person" person-0 person-1>Two men</gdo> walk.'
UNKNOWN = '<gdo class="person" person-9>A man</gdo> walks.'
WORSE = f"{UNKNOWN} {UNKNOWN}"
FAILED = ""
WORDS = ["[UNK]", "[PAD]", "A", "Two", "man", "men", "walks", "walk", "."]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def written(text: str, candidate: int, logprob: float, attempt: int = 0) -> Caption:
    """A caption of the first frame; the empty text is one that failed."""
    made = rows.caption("m000_000000", text, error=None if text else "no memory")
    identity = f"m000_000000/scripted/{candidate}" + (f".{attempt}" if attempt else "")
    return replace(made, caption_id=identity, candidate=candidate, attempt=attempt,
                   mean_logprob=logprob if text else None)  # fmt: skip


def chosen(
    store: Store, captions: Sequence[Caption], config: ChooseConfig, mended: Sequence[Caption] = (),
    quarantine: bool = False,
) -> list[Choice]:  # fmt: skip
    """The rows of the choice, best first, for one frame with two people."""
    frames, detections = put(store, [frame(0)], people(0))
    refs = []
    for stage, made in (("caption", captions), (MENDING, mended)):
        output = store.output([Caption], stage=stage, shard=SHARD, version=1, config={"rows": repr(made)},
                              captioner="scripted")  # fmt: skip
        with output.writer() as write:
            for one in made:
                write(one)
        refs.append(output.ref)
    checked = check_captions(refs[0], detections, store, refs[1])
    ref = choose_captions(frames, refs[0], refs[1], detections, checked, store, quarantine, config)
    return list(store.read(ref, Choice))


def order(found: Sequence[Choice]) -> list[str]:
    assert [one.rank for one in found] == list(range(len(found)))
    assert not any(one.chosen for one in found[1:])
    return [one.caption_id.rpartition("/")[2] for one in found]


def test_clean_ones_come_first_then_the_least_at_fault_then_failed_ones(store: Store) -> None:
    captions = [written(FAILED, 0, 0), written(WORSE, 1, -0.1), written(UNKNOWN, 2, -0.2), written(ONE, 3, -9.0)]
    found = chosen(store, captions, ChooseConfig())
    assert order(found) == ["3", "2", "1", "0"]
    assert found[0].chosen
    assert [one.reasons for one in found] == [[], ["unknown-object"], ["unknown-object"], ["failed"]]
    assert [one.value for one in found] == [-9.0, -0.2, -0.1, None]


def test_among_equals_the_value_decides_and_then_who_came_first(store: Store) -> None:
    captions = [written(ONE, 0, -0.5), written(ONE, 1, -0.25), written(ONE, 2, -0.25), written(UNKNOWN, 3, -0.1)]
    mended = [written(ONE, 3, -0.25, attempt=1)]
    assert order(chosen(store, captions, ChooseConfig(), mended)) == ["1", "2", "3.1", "0", "3"]


def test_grounding_f1_prefers_the_caption_that_cites_more(store: Store) -> None:
    found = chosen(store, [written(ONE, 0, -0.1), written(BOTH, 1, -0.9)], ChooseConfig(select="grounding_f1"))
    assert order(found) == ["1", "0"]
    assert [one.value for one in found] == [1.0, round(2 / 3, 4)]


@pytest.mark.parametrize(("quarantine", "is_chosen"), [(False, True), (True, False)])
def test_only_quarantine_leaves_the_frame_without_a_caption(store: Store, quarantine: bool, is_chosen: bool) -> None:
    found = chosen(store, [written(UNKNOWN, 0, -0.1)], ChooseConfig(), quarantine=quarantine)
    assert [(one.rank, one.chosen, one.reasons) for one in found] == [(0, is_chosen, ["unknown-object"])]
    clean = chosen(store, [written(ONE, 0, -0.1)], ChooseConfig(), quarantine=quarantine)
    assert [one.chosen for one in clean] == [True]


def test_a_failed_caption_is_never_chosen(store: Store) -> None:
    assert [one.chosen for one in chosen(store, [written(FAILED, 0, 0)], ChooseConfig())] == [False]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP with random weights, in the hub's file layout."""
    return build_tiny_clip(tmp_path_factory.mktemp("clip"))


def test_image_text_is_the_cosine_of_a_dual_encoder(store: Store, clip: Path) -> None:
    config = ChooseConfig(select="image_text", checkpoint=str(clip), device="cpu", batch_size=2)
    captions = [
        written(ONE, 0, 0.0),
        written(BOTH, 1, 0.0),
        written(FAILED, 2, 0.0),
        written(ONE + " walks" * 40, 3, 0),
    ]
    found = chosen(store, captions, config)
    values = {one.caption_id[-1]: one.value for one in found}
    assert values["2"] is None
    assert values["0"] != values["1"]
    assert all(value is None or -1 <= value <= 1 for value in values.values())
    assert sorted(order(found)[:3]) == ["0", "1", "3"]
    clean = [one.value for one in found[:3]]
    assert clean == sorted(clean, reverse=True)  # type: ignore[type-var]
    one_by_one = chosen(store, captions, replace(config, batch_size=1))
    assert one_by_one == found  # the batch decides nothing
    tags_count_nothing = chosen(store, [written("A man walks.", 0, 0.0)], config)
    assert tags_count_nothing[0].value == values["0"]
    assert selectors.identify(config)["image_text"]


def test_a_checkpoint_that_is_no_dual_encoder_says_so(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        selectors.load(ChooseConfig(select="image_text", checkpoint=str(tmp_path)))
    for path in clip.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "bert", "vocab_size": 9, "hidden_size": 12}')
    with pytest.raises(CheckpointError, match=r"lacks \d+ tensors"):
        selectors.load(ChooseConfig(select="image_text", checkpoint=str(tmp_path), device="cpu"))


def test_impossible_configurations_say_why() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'grounding_f1'"):
        ChooseConfig(select="grounding_f2")
    with pytest.raises(ConfigError, match="needs a checkpoint"):
        ChooseConfig(select="image_text")
    with pytest.raises(ConfigError, match="one captioner only"):
        ChooseConfig(among=["a", "b"])
    for among in (["a"], ["a", "a"]):
        with pytest.raises(ConfigError, match="two different"):
            ChooseConfig(select="grounding_f1", among=among)
    with pytest.raises(ConfigError, match="list"):
        ChooseConfig(select="grounding_f1", among="a")

"""What is done about captions at fault: every mode at the stage, and what of it is done twice."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_captions import Answer, frame, people, put, use

from storage.store import Store, TableRef
from storage.tables import Caption, Verdict
from tasks.caption_jobs import caption_seed
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult
from tasks.captions import caption_frames
from tasks.consistency import check_captions
from tasks.errors import ConfigError, UnknownNameError
from tasks.mending import MendConfig, asked_again, mend_captions

__all__ = ["use"]

GOOD = '<gdo class="person" person-0>A man</gdo> walks.'
UNKNOWN = '<gdo class="person" person-9>A man</gdo> walks.'
WRONG = '<gdo class="dog" person-0>A man</gdo> walks.'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"), "run-1")


def scripted(tmp_path: Path, said: object, **more: object) -> CaptionConfig:
    path = tmp_path / "said.json"
    path.write_text(json.dumps(said))
    return CaptionConfig(backend="scripted", checkpoint=str(path), **more)  # type: ignore[arg-type]


def shard(store: Store, config: CaptionConfig) -> tuple[TableRef, TableRef, TableRef]:
    """Three frames with two people each: frames, detections, captions."""
    frames, detections = put(store, [frame(n) for n in range(3)], [one for n in range(3) for one in people(n)])
    return frames, detections, caption_frames(frames, detections, store, config)


def mended(store: Store, config: CaptionConfig, mend: MendConfig) -> tuple[list[Caption], dict[str, str], TableRef]:
    """The added captions, the verdict on every caption, and the file."""
    frames, detections, captions = shard(store, config)
    ref = mend_captions(frames, detections, captions, store, mend, config)
    checked = check_captions(captions, detections, store, ref)
    verdicts = {one.caption_id: one.verdict for one in store.read(checked, Verdict)}
    return list(store.read(ref, Caption)), verdicts, ref


@pytest.mark.parametrize("mode", ["keep", "quarantine"])
def test_nothing_is_added_where_captions_are_kept_or_quarantined(mode: str, store: Store, tmp_path: Path) -> None:
    config = scripted(tmp_path, {"0": UNKNOWN, "1": WRONG, "2": GOOD})
    added, verdicts, ref = mended(store, config, MendConfig(on_violation=mode))
    assert added == []
    assert ref.path == "captions/captioner=scripted/movie_id=m000/000-mended.parquet"
    assert Counter(verdicts.values()) == {"violations": 2, "ok": 1}


def test_both_do_the_same_work_and_it_is_done_once(store: Store, tmp_path: Path) -> None:
    config = scripted(tmp_path, {"0": UNKNOWN})
    refs = [mended(store, config, MendConfig(on_violation=mode))[2] for mode in ("keep", "quarantine")]
    assert refs[0].fingerprint == refs[1].fingerprint
    assert refs[1].found


def test_a_repaired_caption_stands_beside_the_one_it_was_made_from(store: Store, tmp_path: Path) -> None:
    config = scripted(tmp_path, {"0": UNKNOWN, "1": WRONG, "2": None})
    (added,), verdicts, _ = mended(store, config, MendConfig(on_violation="repair"))
    first = "m000_000000/scripted/0"
    assert (added.caption_id, added.mended_from, added.attempt) == (f"{first}.1", first, 1)
    assert (added.text, added.plain_text) == ("A man walks.", "A man walks.")
    assert added.repairs == ["drop-markup person-9"]
    assert verdicts == {
        first: "violations", f"{first}.1": "ok", "m000_000001/scripted/0": "violations",
        "m000_000002/scripted/0": "failed",
    }  # fmt: skip


def test_the_captioner_is_asked_again_until_an_answer_is_clean_or_enough(store: Store, tmp_path: Path) -> None:
    said = {"0": [[UNKNOWN, GOOD, "never asked"]], "1": [[UNKNOWN, None, WRONG, "never asked"]], "2": GOOD}
    config = scripted(tmp_path, said)
    added, verdicts, ref = mended(store, config, MendConfig(on_violation="regenerate"))
    assert [(one.caption_id, one.text, one.repairs) for one in added] == [
        ("m000_000000/scripted/0.1", GOOD, []), ("m000_000001/scripted/0.1", "", []),
        ("m000_000001/scripted/0.2", WRONG, []),
    ]  # fmt: skip
    assert [verdicts[one.caption_id] for one in added] == ["ok", "failed", "violations"]
    assert {one.mended_from for one in added} == {"m000_000000/scripted/0", "m000_000001/scripted/0"}
    seeds = [caption_seed(0, one.frame_id, 0, one.attempt) for one in added]
    assert [one.seed for one in added] == seeds
    assert len({*seeds, *(caption_seed(0, f"m000_00000{n}", 0) for n in range(3))}) == 6
    assert store.footer(ref.path).config["captioner"]["name"] == "scripted"  # type: ignore[union-attr]


def test_a_greedy_captioner_is_asked_to_sample(store: Store, tmp_path: Path, use: Callable[[Answer], None]) -> None:
    """Greedily it would say the same again. What is drawn hangs on the derived seed alone."""
    config = scripted(tmp_path, {"0": UNKNOWN, "1": UNKNOWN, "2": UNKNOWN})
    asked: list[tuple[str, int, int]] = []
    frames, detections, captions = shard(store, config)

    def say(requests: list[CaptionRequest]) -> list[CaptionResult]:
        asked.extend((one.frame_id, one.attempt, one.seed) for one in requests)
        return [
            CaptionResult(text=f"{UNKNOWN} {one.seed}", finish_reason="stop", mean_logprob=-1.0) for one in requests
        ]

    use(say)  # type: ignore[arg-type]
    mend = MendConfig(on_violation="regenerate", max_regenerations=3, temperature=0.5)
    ref = mend_captions(frames, detections, captions, store, mend, config)
    rows = list(store.read(ref, Caption))
    assert Counter(attempt for _, attempt, _ in asked) == {1: 3, 2: 3, 3: 3}
    assert {one.temperature for one in rows} == {0.5}
    assert len({one.text for one in rows}) == 9
    Path(store.files.full(ref.path)).unlink()
    before, asked[:] = list(asked), []
    again = mend_captions(frames, detections, captions, store, mend, config)
    assert asked == before
    assert list(store.read(again, Caption)) == rows
    asked.clear()
    assert mend_captions(frames, detections, captions, store, mend, config).found
    assert asked == []  # not done twice


def test_a_captioner_that_can_is_held_to_the_grammar_first_greedily() -> None:
    config = CaptionConfig(backend="pixtral")
    mend = MendConfig(on_violation="regenerate", temperature=0.5)
    first, second = (asked_again(config, mend, attempt) for attempt in (1, 2))
    assert (first.decoding, first.temperature) == ("constrained", 0.0)
    assert (second.decoding, second.temperature) == ("constrained", 0.5)
    bound = replace(config, decoding="constrained")
    assert asked_again(bound, mend, 1).temperature == 0.5
    warm = replace(config, temperature=1.2)
    assert [asked_again(warm, mend, attempt).temperature for attempt in (1, 2)] == [1.2, 1.2]
    beams = CaptionConfig(backend="blip", num_beams=5)
    assert asked_again(beams, mend, 1) == replace(beams, temperature=0.5, num_beams=0)


def test_only_what_the_stage_reads_makes_it_work_anew(store: Store, tmp_path: Path) -> None:
    config = scripted(tmp_path, {"0": UNKNOWN})
    refs = shard(store, config)

    def fingerprint(mend: MendConfig, captioner: CaptionConfig = config) -> str:
        return mend_captions(*refs, store, mend, captioner).fingerprint

    repair = MendConfig(on_violation="repair")
    assert fingerprint(repair) == fingerprint(replace(repair, max_regenerations=5), replace(config, temperature=1.0))
    again = MendConfig(on_violation="regenerate")
    assert fingerprint(again) != fingerprint(replace(again, max_regenerations=5))
    assert fingerprint(again) != fingerprint(again, replace(config, max_new_tokens=9))
    assert fingerprint(again) == fingerprint(again, replace(config, batch_size=3))
    assert len({fingerprint(one) for one in (repair, again, MendConfig())}) == 3


def test_impossible_configurations_say_why() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'repair'"):
        MendConfig(on_violation="repairs")
    with pytest.raises(ConfigError, match="max_regenerations"):
        MendConfig(max_regenerations=0)
    with pytest.raises(ConfigError, match="temperature"):
        MendConfig(temperature=0)

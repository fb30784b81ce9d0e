"""The stage: one row per frame and candidate, whatever happens. Against captioners that can be told what to do."""

import hashlib
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from test_prompts import detection

from storage.store import Store, TableRef
from storage.tables import Caption, Detection, Failure, Frame, Image
from tasks import captioners, prompts
from tasks.captioners import CaptionRequest, CaptionResult
from tasks.captions import CaptionConfig, caption_frames, caption_seed, captioner_name
from tasks.errors import CheckpointError, ConfigError, TransientError

SHARD = "m000/000"
SCRIPTED = CaptionConfig(backend="scripted")
Answer = Callable[[Sequence[CaptionRequest]], list[CaptionResult]]


def jpeg(width: int, height: int, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def frame(index: int, size: tuple[int, int] = (32, 24), data: bytes | None = None) -> Frame:
    return Frame(
        frame_id=f"m000_{index:06}",
        movie_id="m000",
        shot_index=0,
        frame_index=index,
        pts_seconds=index / 25,
        width=size[0],
        height=size[1],
        image=Image(bytes=data if data is not None else jpeg(*size, seed=index), path=f"{index}.jpg"),
    )


def people(index: int, count: int = 2) -> list[Detection]:
    return [detection(f"person-{n}", (0.1 * n, 0.2, 0.3, 0.4), n, f"m000_{index:06}") for n in range(count)]


def put(
    store: Store, frames: Sequence[Frame], found: Sequence[Detection], failures: Sequence[Failure] = ()
) -> tuple[TableRef, TableRef]:
    """Write a shard of frames and its detections as the stages before would."""
    pictures = store.output([Frame], stage="extract", shard=SHARD, version=1, config={"n": len(frames)})
    with pictures.writer() as write:
        for one in frames:
            write(one)
    objects = store.output(
        [Detection, Failure], stage="detect", shard=SHARD, version=1, config={}, inputs=[pictures.fingerprint]
    )
    with objects.writer() as write:
        for row in (*found, *failures):
            write(row)
    return pictures.ref, objects.ref


def rows(store: Store, ref: TableRef) -> list[Caption]:
    return list(store.read(ref, Caption))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """Put a function in the captioner's place."""

    class Told:
        def __init__(self, answer: Answer) -> None:
            self.answer, self.notes = answer, {"told": True}

        def __call__(self, requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
            return self.answer(requests)

    return lambda answer: monkeypatch.setattr(captioners, "load", lambda _config: Told(answer))


def said(request: CaptionRequest) -> CaptionResult:
    text = f"frame {request.frame_number}, {request.image.shape[1]} wide, candidate {request.candidate}"
    return CaptionResult(text=text, prompt_tokens=5, completion_tokens=7, finish_reason="stop", mean_logprob=-0.5)


def test_every_frame_has_a_caption_also_without_detections(store: Store) -> None:
    refs = put(store, [frame(0), frame(1), frame(2)], people(1))
    ref = caption_frames(*refs, store, SCRIPTED)
    got = rows(store, ref)
    assert (ref.table, ref.captioner, ref.rows) == ("captions", "scripted", 3)
    assert ref.path == "captions/captioner=scripted/movie_id=m000/000.parquet"
    assert [one.frame_id for one in got] == ["m000_000000", "m000_000001", "m000_000002"]
    assert [one.caption_id for one in got][1] == "m000_000001/scripted/0"
    assert all(one.error is None and one.finish_reason == "stop" and one.text for one in got)
    assert "person-1" in got[1].text
    assert "person-1" not in got[1].plain_text
    assert got[1].prompt_digest == prompts.digest(prompts.render("groundcap-card", people(1)))
    assert got[0].prompt_digest == got[2].prompt_digest != got[1].prompt_digest


def test_what_did_not_work_is_a_row_with_a_reason(store: Store, tmp_path: Path) -> None:
    lost = Failure(frame_id="m000_000002", stage="detect", error="the detector saw nothing but noise")
    script = tmp_path / "script.json"
    texts = {"3": None, "4": " \n", "m000_000005": "as written,  with <no tag and \u00e9", "6": "half of \ud800"}
    script.write_text(json.dumps(texts))
    frames = [
        frame(0),
        frame(1, data=b"no picture"),
        *(frame(n) for n in range(2, 7)),
        frame(7, data=jpeg(32, 24)[:200]),
    ]
    refs = put(store, frames, people(0), [lost])
    got = rows(store, caption_frames(*refs, store, replace(SCRIPTED, checkpoint=str(script))))
    assert [one.frame_id for one in got] == [one.frame_id for one in frames]
    reasons = [one.error for one in got]
    assert [reason is None for reason in reasons] == [True, False, False, False, False, True, False, False]
    for index, words in {
        1: "cannot be decoded",
        2: "nothing but noise",
        3: "null",
        4: "a word",
        6: "Unicode",
        7: "decoded",
    }.items():
        row = got[index]
        assert words in (row.error or "")
        assert (row.text, row.plain_text, row.finish_reason, row.mean_logprob) == ("", "", "error", None)
    assert got[5].text == "as written,  with <no tag and \u00e9"
    assert got[2].prompt_digest == ""
    assert got[1].prompt_digest != ""


def test_the_same_again_is_not_done_again_and_gives_the_same_bytes(
    store: Store, tmp_path: Path, use: Callable[[Answer], None]
) -> None:
    frames = [frame(n) for n in range(5)]
    refs = put(store, frames, people(1))
    ref = caption_frames(*refs, store, SCRIPTED)
    content = (Path(store.location) / ref.path).read_bytes()
    other = Store(str(tmp_path / "other"))
    again = caption_frames(*put(other, frames, people(1)), other, SCRIPTED)
    assert (Path(other.location) / again.path).read_bytes() == content
    assert [*rows(other, again)] == [*rows(store, ref)]
    assert again.fingerprint == ref.fingerprint

    def never(requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        raise AssertionError("it is finished")

    use(never)
    assert caption_frames(*refs, store, replace(SCRIPTED, batch_size=3)) == ref
    assert (Path(store.location) / ref.path).read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [
        {"template": "groundcap-story"}, {"seed": 1}, {"max_new_tokens": 9}, {"temperature": 0.5}, {"name": "another"},
        {"merge_adapter": True},
    ],
)  # fmt: skip
def test_a_change_that_matters_changes_the_fingerprint(store: Store, change: dict[str, object]) -> None:
    refs = put(store, [frame(0)], people(0))
    before = caption_frames(*refs, store, SCRIPTED)
    assert caption_frames(*refs, store, replace(SCRIPTED, **change)).fingerprint != before.fingerprint  # type: ignore[arg-type]


def test_the_words_of_a_template_and_of_a_script_are_in_the_fingerprint_not_their_place(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = put(store, [frame(0)], people(0))
    here, there = tmp_path / "a.json", tmp_path / "b.json"
    here.write_text('{"0": "one"}')
    there.write_text('{"0": "one"}')
    first = caption_frames(*refs, store, replace(SCRIPTED, checkpoint=str(here)))
    assert caption_frames(*refs, store, replace(SCRIPTED, checkpoint=str(there))) == first
    there.write_text('{"0": "two"}')
    second = caption_frames(*refs, store, replace(SCRIPTED, checkpoint=str(there)))
    assert second.fingerprint != first.fingerprint
    assert rows(store, second)[0].text == "two"
    changed = replace(prompts.TEMPLATES["groundcap-card"], system="Look.")
    monkeypatch.setitem(prompts.TEMPLATES, "groundcap-card", changed)
    assert caption_frames(*refs, store, replace(SCRIPTED, checkpoint=str(there))).fingerprint != second.fingerprint


def test_candidates_have_seeds_of_their_own(store: Store) -> None:
    config = replace(SCRIPTED, candidates=3, temperature=0.7, seed=5)
    got = rows(store, caption_frames(*put(store, [frame(0), frame(1)], people(0)), store, config))
    assert [(one.frame_id[-1], one.candidate) for one in got] == [
        ("0", 0),
        ("0", 1),
        ("0", 2),
        ("1", 0),
        ("1", 1),
        ("1", 2),
    ]
    assert len({one.seed for one in got}) == 6
    assert len({one.caption_id for one in got}) == 6
    assert [one.seed for one in got] == [caption_seed(5, one.frame_id, one.candidate) for one in got]
    digest = hashlib.sha256(b"5/m000_000001/2").digest()
    assert got[-1].seed == int.from_bytes(digest[:8], "big") // 2 < 2**63


def test_batches_are_of_one_size_of_picture_and_rows_keep_the_frames_order(
    store: Store, use: Callable[[Answer], None]
) -> None:
    shapes: list[list[int]] = []

    def answer(requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        shapes.append([request.image.shape[1] for request in requests])
        return [said(request) for request in requests]

    use(answer)
    frames = [frame(n, (32, 24) if n % 2 else (48, 24)) for n in range(8)]
    ref = caption_frames(*put(store, frames, []), store, replace(SCRIPTED, batch_size=4))
    assert shapes == [[32] * 4, [48] * 4]
    assert [one.text.split(",")[0] for one in rows(store, ref)] == [f"frame {n}" for n in range(8)]
    footer = store.footer(ref.path)
    assert footer is not None
    assert footer.notes == {"told": True}


def test_a_batch_that_does_not_fit_is_halved_and_so_are_those_after_it(
    store: Store, use: Callable[[Answer], None]
) -> None:
    sizes: list[int] = []

    def answer(requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        sizes.append(len(requests))
        if len(requests) > 3:
            raise MemoryError("no room")
        return [said(request) for request in requests]

    use(answer)
    ref = caption_frames(*put(store, [frame(n) for n in range(20)], []), store, replace(SCRIPTED, batch_size=16))
    assert sizes == [16, 8, 4] + [2] * 10
    assert [one.error for one in rows(store, ref)] == [None] * 20


def test_a_caption_that_does_not_fit_alone_is_an_error_with_the_remedy(
    store: Store, use: Callable[[Answer], None]
) -> None:
    def answer(requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        if any(request.frame_number == 2 for request in requests):
            raise MemoryError("no room")
        return [said(request) for request in requests]

    use(answer)
    got = rows(store, caption_frames(*put(store, [frame(n) for n in range(5)], []), store, SCRIPTED))
    assert [one.error is None for one in got] == [True, True, False, True, True]
    assert "lower max_new_tokens" in (got[2].error or "")


def test_a_frame_the_captioner_fails_on_fails_alone(store: Store, use: Callable[[Answer], None]) -> None:
    def answer(requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        if any(request.frame_number == 1 for request in requests):
            raise RuntimeError("a kernel that does not like this frame")
        return [said(request) for request in requests]

    use(answer)
    ref = caption_frames(*put(store, [frame(n) for n in range(4)], []), store, SCRIPTED)
    got = rows(store, ref)
    assert [one.error is None for one in got] == [True, False, True, True]
    assert "does not like" in (got[1].error or "")


@pytest.mark.parametrize("last", [None, b"no picture"])
@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (RuntimeError("broken"), RuntimeError),
        (MemoryError("full"), TransientError),
        (TransientError("lost"), TransientError),
    ],
)
def test_a_captioner_that_fails_on_everything_leaves_nothing_behind_as_finished(
    store: Store, use: Callable[[Answer], None], raised: Exception, expected: type[Exception], last: bytes | None
) -> None:
    def answer(requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        raise raised

    use(answer)
    with pytest.raises(expected):
        caption_frames(*put(store, [frame(0), frame(1), frame(2, data=last)], []), store, SCRIPTED)
    assert store.ref("captions", SHARD, "scripted") is None


@pytest.mark.parametrize("raised", [TransientError("the device failed"), ConfigError("a value that cannot be")])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_what_is_about_no_frame_is_no_failure_of_a_frame(
    store: Store, use: Callable[[Answer], None], raised: Exception, batch_size: int
) -> None:
    def answer(requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        if any(request.frame_number > 2 for request in requests):
            raise raised
        return [said(request) for request in requests]

    use(answer)
    with pytest.raises(type(raised)):
        caption_frames(*put(store, [frame(n) for n in range(5)], []), store, replace(SCRIPTED, batch_size=batch_size))
    assert store.ref("captions", SHARD, "scripted") is None


def test_log_probabilities_are_written_without_the_digits_that_hang_on_the_batch(
    store: Store, use: Callable[[Answer], None]
) -> None:
    use(lambda requests: [replace(said(request), mean_logprob=-0.123456789) for request in requests])
    (row,) = rows(store, caption_frames(*put(store, [frame(0)], []), store, SCRIPTED))
    assert row.mean_logprob == -0.1235


def test_tokens_frames_and_seconds_are_counted(store: Store, use: Callable[[Answer], None]) -> None:
    def answer(requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        time.sleep(0.01)
        return [said(request) for request in requests]

    use(answer)
    caption_frames(*put(store, [frame(n) for n in range(3)], []), store, SCRIPTED)
    import duckdb

    log = duckdb.sql(
        f"""select tokens, prompt_tokens, frames, rows, asking_seconds >= 0.01 and asking_seconds <= seconds,
                   waiting_seconds > 0 and waiting_seconds < asking_seconds
            from '{store.location}/stage_runs/**/*.parquet' where stage = 'caption'"""
    )
    assert log.fetchall() == [(21, 15, 3, 3, True, True)]


def test_an_empty_shard_is_an_empty_file(store: Store) -> None:
    assert caption_frames(*put(store, [], []), store, SCRIPTED).rows == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a/b"}, {"name": "a b"}, {"max_new_tokens": -1}, {"num_beams": -1}, {"candidates": 0},
        {"batch_size": -1}, {"num_beams": 2, "temperature": 0.5},
        {"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.1}, {"candidates": 2},
        {"dtype": "int8"},
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        CaptionConfig(**wrong)  # type: ignore[arg-type]


def test_the_name_in_the_store() -> None:
    assert captioner_name(CaptionConfig()) == "pixtral"
    assert captioner_name(CaptionConfig(name="Mine.2_b-c")) == "Mine.2_b-c"


@pytest.mark.parametrize("content", ["[]", "{", '{"0": 3}', '{"0": []}'])
def test_a_script_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    script = tmp_path / "script.json"
    script.write_text(content)
    with pytest.raises(CheckpointError):
        captioners.load(replace(SCRIPTED, checkpoint=str(script)))


def test_decoded_pictures_of_a_shard_are_not_held_together(store: Store, use: Callable[[Answer], None]) -> None:
    import weakref

    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def answer(requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        nonlocal most
        alive.extend(weakref.ref(request.image) for request in requests)
        most = max(most, sum(one() is not None for one in alive))
        return [said(request) for request in requests]

    use(answer)
    caption_frames(*put(store, [frame(n) for n in range(12)], []), store, replace(SCRIPTED, batch_size=2))
    assert most == 2


def test_seeds_hang_on_run_frame_and_candidate_alone() -> None:
    seeds = {
        caption_seed(seed, f"f{index}", candidate) for seed in (0, 1) for index in range(3) for candidate in range(3)
    }
    assert len(seeds) == 18
    assert all(0 <= seed < 2**63 for seed in seeds)

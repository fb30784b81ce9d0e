"""Asking again that fails: the clean captions of the shard do not wait for it. And what the run log says of asking."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pipeline_help import files_of
from test_captions import Answer, frame, people, put, use

from storage import catalog
from storage.store import Store, TableRef
from storage.tables import Caption, StageRun, Verdict
from tasks import captioners
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult
from tasks.captions import caption_frames
from tasks.consistency import check_captions
from tasks.errors import TransientError
from tasks.frames import FramesConfig, extract_shard, identify_movies
from tasks.mending import MendConfig, mend_captions

__all__ = ["use"]

UNKNOWN = '<gdo class="person" person-9>A man</gdo> walks.'
PLAIN = "A man walks."
AGAIN = MendConfig(on_violation="regenerate")
SCRIPTED = CaptionConfig(backend="scripted")
CLIP = Path(__file__).parent / "data" / "videos" / "sintel140_h264.mp4"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"), "run-1")


def first_answers(requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
    """Frames 0 and 1 are at fault, the others clean."""
    return [
        CaptionResult(text=UNKNOWN if one.frame_number < 2 else PLAIN, completion_tokens=3, finish_reason="stop")
        for one in requests
    ]


def clean_answers(requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
    return [CaptionResult(text=PLAIN, completion_tokens=3, finish_reason="stop") for one in requests]


def failing(error: Exception) -> Answer:
    def answer(_requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        raise error

    return answer


def mended(store: Store) -> tuple[TableRef, list[Caption], dict[str, str]]:
    """What is made of four frames, and the verdict on every caption."""
    shard = put(store, [frame(n) for n in range(4)], [one for n in range(4) for one in people(n)])
    captions = caption_frames(*shard, store, SCRIPTED)
    ref = mend_captions(*shard, captions, store, AGAIN, SCRIPTED)
    checked = check_captions(captions, shard[1], store, ref)
    verdicts = {one.caption_id: one.verdict for one in store.read(checked, Verdict)}
    return ref, list(store.read(ref, Caption)), verdicts


def caption_files(store: Store) -> dict[str, tuple[int, int]]:
    return {path: stamp for path, stamp in files_of(Path(store.location)).items() if path.startswith("captions")}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("shapes do not match"), "RuntimeError: shapes do not match"),
        (MemoryError("24 GiB"), "memory does not suffice for a single frame: 24 GiB"),
        (TransientError("the server is gone. Run again."), "the server is gone. Run again."),
    ],
    ids=["every one fails", "memory", "the captioner as such"],
)
def test_clean_captions_are_checked_when_asking_again_fails_and_the_next_run_asks(
    error: Exception, words: str, store: Store, use: Callable[[Answer], None]
) -> None:
    use(first_answers)
    shard = put(store, [frame(n) for n in range(4)], [one for n in range(4) for one in people(n)])
    caption_frames(*shard, store, SCRIPTED)
    use(failing(error))
    _, rows, verdicts = mended(store)
    assert [(one.attempt, one.text, one.finish_reason) for one in rows] == [(1, "", "error")] * 2
    assert all(words in (one.error or "") and "the next run will" in (one.error or "") for one in rows)
    assert sorted(verdicts.values()) == ["failed", "failed", "ok", "ok", "violations", "violations"]
    with catalog.connect(store.location) as connection:
        query = catalog.queries()["quarantined_captions"].sql
        assert connection.sql(f"select count(*) from ({query}) where error like '%{words}%'").fetchall() == [(2,)]
    use(clean_answers)
    ref, rows, verdicts = mended(store)
    assert [(one.attempt, one.text) for one in rows] == [(1, PLAIN)] * 2
    assert verdicts[rows[0].caption_id] == "ok"
    before = caption_files(store)
    use(failing(AssertionError("nothing is asked about finished work")))
    assert mended(store)[0] == ref
    assert caption_files(store) == before


def test_memory_that_is_short_for_the_only_caption_at_fault_is_short_for_now(
    store: Store, use: Callable[[Answer], None]
) -> None:
    def first(requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        return [CaptionResult(text=PLAIN if one.frame_number else UNKNOWN, finish_reason="stop") for one in requests]

    use(first)
    shard = put(store, [frame(n) for n in range(4)], [one for n in range(4) for one in people(n)])
    caption_frames(*shard, store, SCRIPTED)
    use(failing(MemoryError("24 GiB")))
    _, rows, _ = mended(store)
    assert ["the next run will: memory does not suffice now" in (one.error or "") for one in rows] == [True]
    use(clean_answers)
    _, rows, _ = mended(store)
    assert [(one.attempt, one.text, one.error) for one in rows] == [(1, PLAIN, None)]


def test_a_captioner_that_cannot_be_loaded_again_fails_no_clean_caption(
    store: Store, use: Callable[[Answer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(first_answers)
    shard = put(store, [frame(n) for n in range(4)], [one for n in range(4) for one in people(n)])
    caption_frames(*shard, store, SCRIPTED)

    def unloadable(_config: CaptionConfig) -> None:
        raise TransientError("no memory for the model now.")

    monkeypatch.setattr(captioners, "load", unloadable)
    _, rows, verdicts = mended(store)
    assert ["no memory for the model now." in (one.error or "") for one in rows] == [True, True]
    assert list(verdicts.values()).count("ok") == 2


def test_what_was_answered_before_the_captioner_failed_is_kept(store: Store, use: Callable[[Answer], None]) -> None:
    use(first_answers)
    shard = put(store, [frame(n) for n in range(4)], [one for n in range(4) for one in people(n)])
    caption_frames(*shard, store, SCRIPTED)
    config = CaptionConfig(backend="scripted", batch_size=1)
    given = [1]

    def answer(requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        if not given:
            raise TransientError("the server is gone.")
        given.pop()
        return clean_answers(requests)

    use(answer)
    captions = store.ref("captions", "m000/000", "scripted")
    assert captions is not None
    rows = list(store.read(mend_captions(*shard, captions, store, AGAIN, config), Caption))
    assert [one.text for one in rows] == [PLAIN, ""]


def runs(store: Store) -> dict[str, StageRun]:
    """By stage, the only piece of work each has done."""
    paths = store.files.under("stage_runs")
    found = [one for path in paths for one in store.read(TableRef("stage_runs", "", path, 0, ""), StageRun)]
    assert len({one.stage for one in found}) == len(found)
    return {one.stage: one for one in found}


def test_the_run_log_says_what_was_asked_again(store: Store, use: Callable[[Answer], None]) -> None:
    use(first_answers)
    mended(store)
    done = runs(store)
    assert (done["caption"].frames, done["mend"].frames, done["check"].frames) == (4, 2, 0)
    assert (done["mend"].rows, done["mend"].tokens) == (4, 12)  # two captions, twice at fault
    assert 0 < done["mend"].waiting_seconds < done["mend"].asking_seconds < done["mend"].seconds


def test_the_run_log_says_how_many_frames_were_taken(store: Store) -> None:
    (movie,) = identify_movies([str(CLIP)])
    taken = extract_shard(movie, 0, store, FramesConfig(longest_edge=64)).frames.rows
    assert runs(store)["extract"].frames == taken > 0

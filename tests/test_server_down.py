"""A finished store while the server is down: all is found, scored and summarised anew, and nothing is made up."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_server as wrong
import pytest
from hostile_server import Asked, Behaviour, Hostile, completion
from pipeline_help import files_of
from server_asking import config
from test_captions import frame, people, put, rows

from storage.store import Store, TableRef
from storage.tables import Caption, Verdict
from tasks import chat_server
from tasks.captioners import CaptionConfig
from tasks.captions import caption_frames
from tasks.choices import choose_captions
from tasks.consistency import check_captions
from tasks.errors import CheckpointError, TransientError
from tasks.mending import MendConfig, mend_captions
from tasks.score_config import ScoreConfig
from tasks.scores import score_captions, summarise_captions
from tasks.selectors import ChooseConfig

pytestmark = pytest.mark.usefixtures("quick_retries")

AGAIN = MendConfig(on_violation="regenerate", max_regenerations=1)
UNKNOWN = '<gdo class="person" person-9>A man</gdo> walks.'
PLAIN = "A man walks."


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def nobody() -> str:
    """An address where no server is. It is not hashed: the same captioner, at a server that is down."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def answer(asked: Asked) -> None:
    """At fault for one of four, and clean when it is held to the grammar."""
    held = "structured_outputs" in asked.body
    asked.send(200, completion(PLAIN if held or asked.seed % 4 else UNKNOWN))


def shard(store: Store) -> tuple[TableRef, TableRef]:
    refs = (store.ref("frames", "m000/000"), store.ref("detections", "m000/000"))
    if refs[0] and refs[1]:
        return refs[0], refs[1]
    return put(store, [frame(n) for n in range(8)], [one for n in range(8) for one in people(n)])


def work(store: Store, how: CaptionConfig, score: ScoreConfig) -> dict[str, TableRef]:
    """Every stage on one shard, as a flow does it."""
    frames, detections = shard(store)
    captions = caption_frames(frames, detections, store, how)
    mended = mend_captions(frames, detections, captions, store, AGAIN, how)
    verdicts = check_captions(captions, detections, store, mended)
    choices = choose_captions(frames, captions, mended, detections, verdicts, store, False, ChooseConfig())
    scores = score_captions(captions, detections, verdicts, store, score, mended, choices)
    summaries = summarise_captions(captions.captioner, store, score)
    return {
        "captions": captions, "mended": mended, "verdicts": verdicts, "choices": choices, "scores": scores,
        "summaries": summaries,
    }  # fmt: skip


def made(store: Store) -> dict[str, tuple[int, int]]:
    return {path: stamp for path, stamp in files_of(Path(store.location)).items() if path.startswith("captions")}


def test_a_finished_store_is_found_and_scored_anew(
    store: Store, nobody: str, start: Callable[[Behaviour], Hostile]
) -> None:
    first = work(store, config(start(answer)), ScoreConfig(metrics=("grounding",)))
    assert 0 < first["mended"].rows < first["captions"].rows
    before = made(store)
    again = work(store, config(nobody), ScoreConfig(metrics=("grounding",)))
    assert all(ref.found for ref in again.values())
    scored = work(store, config(nobody), ScoreConfig(metrics=("grounding", "length")))
    assert [stage for stage, ref in scored.items() if not ref.found] == ["scores", "summaries"]
    assert made(store) == before


def test_the_footer_says_what_the_server_said_when_the_rows_were_made(
    store: Store, nobody: str, start: Callable[[Behaviour], Hostile]
) -> None:
    work(store, config(start(answer)), ScoreConfig(metrics=("grounding",)))
    ref = work(store, config(nobody), ScoreConfig(metrics=("grounding",)))["captions"]
    footer = store.footer(ref.path)
    assert footer is not None
    assert (footer.weights["checkpoint id"], footer.weights["checkpoint root"]) == ("m", "org/m")


def test_what_is_to_be_made_needs_the_server(store: Store, nobody: str, start: Callable[[Behaviour], Hostile]) -> None:
    caption_frames(*shard(store), store, config(start(answer)))
    before = made(store)
    for changes in ({"temperature": 0.5}, {"checkpoint": "other"}, {"adapter": "lora"}, {"revision": "c0ffee"}):
        with pytest.raises(TransientError, match="Start it"):
            caption_frames(*shard(store), store, config(nobody, **changes))
    assert made(store) == before


def test_a_damaged_file_needs_the_server(store: Store, nobody: str, start: Callable[[Behaviour], Hostile]) -> None:
    ref = caption_frames(*shard(store), store, config(start(answer)))
    Path(store.files.full(ref.path)).write_bytes(b"PAR1")
    with pytest.raises(TransientError, match="Start it"):
        caption_frames(*shard(store), store, config(nobody))


def test_a_server_that_answers_is_believed(store: Store, start: Callable[[Behaviour], Hostile]) -> None:
    server = start(answer)
    ref = caption_frames(*shard(store), store, config(server))
    server.models = {"data": [wrong.MODELS[0] | {"root": "org/other"}]}
    other = caption_frames(*shard(store), store, config(server))
    assert not other.found
    assert other.fingerprint != ref.fingerprint
    server.models = {"data": [wrong.MODELS[0] | {"id": "another one"}]}  # it does not serve the model any more
    assert caption_frames(*shard(store), store, config(server)) == other
    with pytest.raises(CheckpointError, match="another one"):
        caption_frames(*shard(store), store, config(server, temperature=0.5))


def test_a_dead_server_is_asked_once_for_a_store_of_many_shards(
    store: Store, nobody: str, start: Callable[[Behaviour], Hostile], monkeypatch: pytest.MonkeyPatch
) -> None:
    caption_frames(*shard(store), store, config(start(answer)))
    tries: list[str] = []
    send = chat_server.ChatServer._send

    def count(self: Any, method: str, path: str, body: Any = None) -> Any:
        tries.append(path)
        return send(self, method, path, body)

    monkeypatch.setattr(chat_server.ChatServer, "_send", count)
    for _ in range(5):
        assert caption_frames(*shard(store), store, config(nobody)).found
    assert tries == ["/models"] * chat_server.LOOK_TRIES
    monkeypatch.setattr(chat_server, "SILENT_SECONDS", 0.0)
    assert caption_frames(*shard(store), store, config(nobody)).found
    assert tries == ["/models"] * chat_server.LOOK_TRIES * 2


def test_a_server_that_died_before_it_was_asked_again_costs_no_clean_caption(
    store: Store, nobody: str, start: Callable[[Behaviour], Hostile]
) -> None:
    server = start(answer)
    captions = caption_frames(*shard(store), store, config(server))
    frames, detections = shard(store)
    ref = mend_captions(frames, detections, captions, store, AGAIN, config(nobody))
    verdicts = list(store.read(check_captions(captions, detections, store, ref), Verdict))
    assert all("Start it" in (one.error or "") for one in rows(store, ref))
    assert 0 < ref.rows == sum(one.verdict == "failed" for one in verdicts) < 4
    assert sum(one.verdict == "ok" for one in verdicts) == 8 - ref.rows
    mended = list(store.read(mend_captions(frames, detections, captions, store, AGAIN, config(server)), Caption))
    assert {one.text for one in mended} == {PLAIN}
    assert len(mended) == ref.rows


def test_new_captions_are_said_to_be_of_the_model_that_wrote_them_not_of_the_one_remembered(
    store: Store, start: Callable[[Behaviour], Hostile], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(answer)
    caption_frames(*shard(store), store, config(server))
    monkeypatch.setattr(chat_server.ChatServer, "is_silent", True)
    server.models = {"data": [wrong.MODELS[0] | {"root": "org/other"}]}
    footer = store.footer(caption_frames(*shard(store), store, config(server, temperature=0.5)).path)
    assert footer is not None
    assert footer.weights["checkpoint root"] == "org/other"


def test_a_model_that_changed_while_it_was_away_does_not_mend_anothers_captions(
    store: Store, start: Callable[[Behaviour], Hostile], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(answer)
    captions = caption_frames(*shard(store), store, config(server))
    monkeypatch.setattr(chat_server.ChatServer, "is_silent", True)
    server.models = {"data": [wrong.MODELS[0] | {"root": "org/other"}]}
    ref = mend_captions(*shard(store), captions, store, AGAIN, config(server))
    assert ref.rows > 0
    assert all("another model by now" in (one.error or "") for one in rows(store, ref))

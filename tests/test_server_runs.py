"""The stage with a real server as captioner: the captions of the model in this process, and a server that dies."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pipeline_help import files_of, rows_of
from test_captions import frame, people, put, rows

from storage.store import Store, TableRef
from storage.tables import Detection, Failure, Frame
from tasks import chat_server
from tasks.captioners import CaptionConfig, ServerConfig, server
from tasks.captions import caption_frames
from tasks.errors import TransientError
from toyworld.tiny_captioner import build_tiny_captioner

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_captioner(tmp_path_factory.mktemp("tiny") / "captioner")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_captions_are_those_of_the_model_in_this_process(
    temperature: float, folder: Path, tmp_path: Path, serve: Callable[..., tuple[str, Any]]
) -> None:
    local = CaptionConfig(checkpoint=str(folder), max_new_tokens=24, temperature=temperature, device="cpu")
    url, engine = serve({"tiny": local})
    away = replace(local, backend="server", checkpoint="tiny", server=ServerConfig(url=url))
    store = Store(str(tmp_path / "store"))
    shard = put(
        store,
        [frame(n, (40, 24) if n % 3 else (24, 40)) for n in range(9)],
        [one for n in range(9) for one in people(n, n)],
    )
    here, there = (rows(store, caption_frames(*shard, store, config)) for config in (local, away))
    for one, other in zip(here, there, strict=True):
        assert one.mean_logprob is not None
        assert other.mean_logprob == pytest.approx(one.mean_logprob, abs=2e-4)
        who = {"captioner": one.captioner, "caption_id": one.caption_id, "checkpoint": one.checkpoint}
        assert replace(other, mean_logprob=one.mean_logprob, **who) == one
        assert one.error is None
    assert len(engine.batches) < len(there), "nothing was worked on together"


def test_a_model_that_does_not_load_is_told_to_whoever_asks_it_and_stops_nobody_else(
    folder: Path, tmp_path: Path, serve: Callable[..., tuple[str, Any]]
) -> None:
    (tmp_path / "broken").mkdir()
    shutil.copy(folder / "config.json", tmp_path / "broken")
    good, broken = (CaptionConfig(checkpoint=str(one), device="cpu") for one in (folder, tmp_path / "broken"))
    url, _ = serve({"broken": broken, "good": good})

    def ask(model: str) -> httpx.Response:
        turn = {"role": "user", "content": "Describe the picture."}
        body = {"model": model, "messages": [turn], "max_tokens": 4}
        return httpx.post(f"{url}/chat/completions", json=body, timeout=60)

    for _ in range(2):
        refused = ask("broken")
        assert refused.status_code == 500
        said = refused.json()["error"]["message"]
        assert said.startswith("CheckpointError: ")
        assert "*.safetensors are needed" in said
    answered = ask("good")
    assert answered.status_code == 200, answered.text
    assert answered.json()["usage"]["completion_tokens"] > 0


@contextmanager
def process(folder: Path, port: int = 0) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The server as a process of its own: its url, and itself. One caption at a time: so no digit hangs on time."""
    command = [sys.executable, "-m", "benchmarks.caption_server", str(folder), "--name", "tiny"]
    command += ["--max-batch", "1", "--port", str(port)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as one:
        assert one.stdout is not None
        try:
            url = one.stdout.readline().strip()
            assert url, "the server did not start"
            yield url, one
        finally:
            one.kill()


def shards(store: Store) -> list[tuple[TableRef, TableRef]]:
    """Three shards of five frames, with their detections."""
    made = []
    for number in range(3):
        frames = [frame(n) for n in range(5 * number, 5 * number + 5)]
        found = [one for n in range(5 * number, 5 * number + 5) for one in people(n, n % 4)]
        shard = f"m000/{number:05}"
        pictures = store.output([Frame], stage="extract", shard=shard, version=1, config={})
        objects = store.output([Detection, Failure], stage="detect", shard=shard, version=1, config={})
        for output, some in ((pictures, frames), (objects, found)):
            with output.writer() as write:
                for one in some:
                    write(one)
        made.append((pictures.ref, objects.ref))
    return made


def test_a_server_that_dies_amid_a_run_and_comes_back(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_server, "FIRST_WAIT_SECONDS", 0.001)
    undisturbed, store = Store(str(tmp_path / "undisturbed")), Store(str(tmp_path / "store"))
    answers, read = [0], server._read

    def run(store: Store, work: list[tuple[TableRef, TableRef]]) -> list[str]:
        """Every shard, as a flow does it; gives what failed."""
        failed = []
        for shard in work:
            try:
                caption_frames(*shard, store, config)
            except TransientError as error:
                failed.append(str(error))
        return failed

    with process(folder) as (url, dying):
        asked = ServerConfig(url=url, requests_in_flight=2, retries=1)
        config = CaptionConfig(backend="server", checkpoint="tiny", max_new_tokens=16, server=asked)
        assert run(undisturbed, shards(undisturbed)) == []

        def count(said: dict[str, Any]) -> Any:
            answers[0] += 1
            if answers[0] == 8:  # amid the second shard
                dying.kill()
                dying.wait()
            return read(said)

        monkeypatch.setattr(server, "_read", count)
        work = shards(store)
        failed = run(store, work)
    assert len(failed) == 2
    assert all(url in one and "Connect" in one for one in failed)
    finished = {path: stamp for path, stamp in files_of(Path(store.location)).items() if path.startswith("captions")}
    assert len(finished) == 1
    with process(folder, int(url.split(":")[2].split("/")[0])):
        assert run(store, work) == []
    assert finished.items() <= files_of(Path(store.location)).items(), "finished work was done again"
    assert rows_of(Path(store.location)) == rows_of(Path(undisturbed.location))

"""Where checkpoints come from: folders, the hub (its client stood in for), and what goes wrong there."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import errors as hub

from tasks import checkpoints
from tasks.checkpoints import digest_of, find_checkpoint
from tasks.errors import CheckpointError, TransientError

REQUEST = httpx2.Request("GET", "https://hub.example/api")
COMMIT = "a" * 40
Files = dict[str, str]


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Each test is a process of its own to the cache."""
    checkpoints._from_hub.cache_clear()
    yield
    checkpoints._from_hub.cache_clear()


def write(folder: Path, files: Files) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def on_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Files], list[tuple[str, str | None]]]:
    """Put a repository on a hub whose client downloads into a cache, as the real one does; gives the list of calls."""
    cache = tmp_path / "hub" / "models--a--b"

    def put(files: Files) -> list[tuple[str, str | None]]:
        calls = []

        def download(
            source: str, *, revision: str | None, allow_patterns: list[str], ignore_patterns: list[str]
        ) -> str:
            calls.append((source, revision))
            wanted = huggingface_hub.utils.filter_repo_objects(
                files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
            )
            return str(write(cache / "snapshots" / COMMIT, {name: files[name] for name in wanted} | {"README": ""}))

        def listing(source: str, *, revision: str | None) -> list[Any]:
            return [huggingface_hub.hf_api.RepoFile(path=name, size=1, oid="0") for name in files]

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        monkeypatch.setattr(huggingface_hub, "get_cached_repo_tree", listing)
        return calls

    return put


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_args: Any, **_given: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)


def answered(kind: type[hub.HfHubHTTPError], status: int) -> hub.HfHubHTTPError:
    return kind(f"status {status}", response=httpx2.Response(status, request=REQUEST))


def uncached(cause: Exception) -> hub.LocalEntryNotFoundError:
    error = hub.LocalEntryNotFoundError("not cached")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        answered(hub.RepositoryNotFoundError, 404),
        answered(hub.GatedRepoError, 403),
        answered(hub.RevisionNotFoundError, 404),
        answered(hub.HfHubHTTPError, 401),
        hub.HFValidationError("not a repo id"),
        uncached(hub.OfflineModeIsEnabled("HF_HUB_OFFLINE")),
        uncached(answered(hub.HfHubHTTPError, 403)),
        hub.LocalEntryNotFoundError("not cached, nor asked"),
        PermissionError("the cache is not ours"),
    ],
    ids=repr,
)
def test_a_checkpoint_the_hub_does_not_give_is_an_error_for_good(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing(monkeypatch, error)
    with pytest.raises(CheckpointError, match="gave nothing"):
        find_checkpoint("a/b")


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ConnectError("no route"),
        httpx2.ReadTimeout("slow"),
        httpx2.RemoteProtocolError("cut off"),
        httpx2.ProxyError("no proxy"),
        answered(hub.HfHubHTTPError, 503),
        answered(hub.HfHubHTTPError, 429),
        uncached(httpx2.ConnectError("no route")),
        uncached(answered(hub.HfHubHTTPError, 500)),
        ConnectionResetError("reset"),
    ],
    ids=repr,
)
def test_a_hub_that_cannot_be_reached_is_transient(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    failing(monkeypatch, error)
    with pytest.raises(TransientError, match="cannot be reached"):
        find_checkpoint("a/b")


def test_the_real_client_offline_on_purpose_is_an_error_for_good() -> None:
    assert huggingface_hub.constants.HF_HUB_OFFLINE, "tests never go out"
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE"):
        find_checkpoint("nobody/nothing-of-this-name")


def test_the_real_client_without_a_network_is_transient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_args: Any, **_given: Any) -> Any:
        raise httpx2.ConnectError("no route to host")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", unreachable)
    with pytest.raises(TransientError, match="no route to host"):
        find_checkpoint("nobody/nothing-of-this-name")


def test_a_failure_is_not_remembered(monkeypatch: pytest.MonkeyPatch, on_hub: Any) -> None:
    with monkeypatch.context() as patch:
        failing(patch, httpx2.ConnectError("no route"))
        with pytest.raises(TransientError):
            find_checkpoint("a/b")
    on_hub({"model.safetensors": "w"})
    assert find_checkpoint("a/b").source == "a/b"


def test_the_hub_is_asked_once_per_source_and_revision(on_hub: Any) -> None:
    calls = on_hub({"config.json": "{}", "model.safetensors": "w"})
    first = [find_checkpoint("a/b") for _ in range(3)]
    find_checkpoint("a/b", "v2")
    find_checkpoint("a/b", "v2")
    assert calls == [("a/b", None), ("a/b", "v2")]
    assert len(set(first)) == 1


def test_what_is_taken_of_a_repository(on_hub: Any) -> None:
    on_hub({
        "config.json": "{}", "config.yaml": "a: 1", "model.safetensors": "w", "tokenizer.model": "t",
        "consolidated.safetensors": "twice", "original/model.safetensors": "thrice", "pytorch_model.bin": "pickle",
        "onnx/config.json": "{}",
    })  # fmt: skip
    folder = find_checkpoint("a/b").folder
    taken = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert taken == ["README", "config.json", "config.yaml", "model.safetensors", "tokenizer.model"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": "{}", "pytorch_model.bin": "x"}, r"only pickled weights \(pytorch_model\.bin\)"),
        ({"config.json": "{}"}, "no weights"),
        ({"config.json": "{}", "consolidated.safetensors": "x"}, "no weights"),
    ],
)
def test_a_repository_without_safetensors_says_what_it_has(on_hub: Any, files: Files, words: str) -> None:
    on_hub(files)
    with pytest.raises(CheckpointError, match=words):
        find_checkpoint("a/b")


def test_a_repository_whose_files_are_not_known_has_no_weights(on_hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    on_hub({"config.json": "{}"})

    def unknown(*_args: Any, **_given: Any) -> Any:
        raise hub.CachedRepoTreeNotFoundError("none")

    monkeypatch.setattr(huggingface_hub, "get_cached_repo_tree", unknown)
    with pytest.raises(CheckpointError, match="no weights"):
        find_checkpoint("a/b")


def test_the_digest_is_of_the_content_and_not_of_the_place(tmp_path: Path) -> None:
    files = {"config.json": "{}", "model.safetensors": "w", "notes.md": "not of the model"}
    one, other = write(tmp_path / "one", files), write(tmp_path / "other", files)
    (other / "notes.md").unlink()
    write(other, {"consolidated.safetensors": "cloned as a whole", "original/config.json": "{}"})
    assert find_checkpoint(str(one)).digest == find_checkpoint(str(other)).digest
    write(other, {"config.yaml": "a: 1"})
    assert find_checkpoint(str(one)).digest != find_checkpoint(str(other)).digest


def test_a_folder_that_is_written_anew_is_seen_in_the_same_process(tmp_path: Path) -> None:
    folder = write(tmp_path, {"config.json": json.dumps({"a": 1}), "model.safetensors": "before"})
    before = find_checkpoint(str(folder)).digest
    assert find_checkpoint(str(folder)).digest == before
    write(folder, {"model.safetensors": "after!"})  # as many bytes
    assert find_checkpoint(str(folder)).digest != before


def test_files_that_did_not_change_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, {"config.json": "{}", "model.safetensors": "w"})
    before = digest_of(folder)
    monkeypatch.setattr(checkpoints, "_file_digest", lambda path: pytest.fail(f"{path} was read again"))
    assert digest_of(folder) == before


def test_the_hubs_cache_is_believed_about_its_blobs(tmp_path: Path) -> None:
    blob = write(tmp_path / "blobs", {"f" * 64: "w"}) / ("f" * 64)
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    os.symlink(blob, snapshot / "model.safetensors")
    copy = Path(shutil.copytree(snapshot, tmp_path / "copy"))
    assert digest_of(snapshot) != digest_of(copy), "the stand-in's name is not its digest"


def test_the_small_checkpoints_are_the_same_bytes_on_other_cpus(tmp_path: Path, checkpoints: Path) -> None:
    """torch takes other instructions, and its own draws then differ in their last bits."""
    subprocess.run(
        [sys.executable, "-m", "toyworld.make_checkpoints", str(tmp_path)],
        env=os.environ | {"ATEN_CPU_CAPABILITY": "avx2"}, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    for name in ("detector", "captioner"):
        assert digest_of(tmp_path / name) == digest_of(checkpoints / name), name


@pytest.mark.parametrize("source", ["/no/such", "./no-such", "~/no-such", "a/b/c"])
def test_a_path_where_nothing_is_is_not_asked_of_the_hub(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, AssertionError("the hub was asked"))
    with pytest.raises(CheckpointError, match="there is no folder /"):
        find_checkpoint(source)

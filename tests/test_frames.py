"""The extract stage: one sequence in five containers, hostile files, resuming, and what lies in the store."""

import dataclasses
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from storage.errors import StoreError
from storage.store import Store
from storage.tables import Frame, Movie, Shot
from tasks.errors import ConfigError, MovieError
from tasks.frames import Extracted, FramesConfig, extract_shard, find_movies, identify_movies
from tasks.movie_files import missing, nearest, passed_over

VIDEOS = Path(__file__).parent / "data" / "videos"
SINTEL = ("h264.mp4", "hevc10_aac.mp4", "vp9_opus.webm", "rot90.mp4", "vfr_24_12.mp4")
SMALL = FramesConfig(longest_edge=128)


@dataclasses.dataclass
class Result:
    movie: Movie
    shots: list[Shot]
    frames: list[Frame]
    shards: int

    def picture(self, index: int) -> np.ndarray:
        return np.asarray(PIL.Image.open(io.BytesIO(self.frames[index].image.bytes)))


def extract(path: Path | str, store: Store, config: FramesConfig = SMALL) -> Result:
    (movie,) = identify_movies([str(path)])
    done: list[Extracted] = []
    while not done or not done[-1].last:
        done.append(extract_shard(movie, len(done), store, config))
    return read(movie.movie_id, store, len(done))


def read(movie_id: str, store: Store, shards: int) -> Result:
    shards_of = [f"{movie_id}/{number:05d}" for number in range(shards)]
    frames = [row for shard in shards_of for row in store.read(store.ref("frames", shard), Frame)]
    shots = [row for shard in shards_of for row in store.read(store.ref("shots", shard), Shot)]
    (movie,) = store.read(store.ref("movies", movie_id), Movie)
    return Result(movie, shots, frames, shards)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


# ------------------------------------------------------------------------------------------- five containers


@pytest.fixture(scope="module")
def sintel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    store = Store(str(tmp_path_factory.mktemp("sintel")))
    config = FramesConfig(mode="every_frame", longest_edge=96, shard_frames=64)
    return {name: extract(VIDEOS / f"sintel140_{name}", store, config) for name in SINTEL}


def starts(result: Result) -> list[int]:
    return list(np.cumsum([0] + [shot.frames for shot in result.shots])[:-1])


@pytest.mark.parametrize("name", SINTEL)
def test_same_sequence_gives_same_cuts_in_every_container(sintel: dict[str, Result], name: str) -> None:
    found = starts(sintel[name])
    assert found[:4] == [0, 23, 73, 110]
    assert len(found) == 5
    assert 124 <= found[4] <= 139, "the fade from black to the last shot counts once"
    assert found == starts(sintel["h264.mp4"])


@pytest.mark.parametrize(("name", "time_base"), [("hevc10_aac.mp4", 1 / 12288), ("vp9_opus.webm", 1 / 1000)])
def test_frame_times_agree_to_within_the_time_base(sintel: dict[str, Result], name: str, time_base: float) -> None:
    times = [frame.pts_seconds for frame in sintel[name].frames]
    assert len(times) == 140
    assert times[0] == 0
    assert np.allclose(times, np.arange(140) / 24, atol=time_base, rtol=0)


def test_variable_frame_rate_has_its_own_times_and_the_same_frames(sintel: dict[str, Result]) -> None:
    varying, constant = sintel["vfr_24_12.mp4"], sintel["h264.mp4"]
    steps = np.diff([frame.pts_seconds for frame in varying.frames])
    assert sorted(set(np.round(steps * 24))) == [1, 2]
    difference = [np.abs(varying.picture(i).astype(int) - constant.picture(i)).mean() for i in range(0, 140, 10)]
    assert max(difference) < 4


def test_rotation_is_applied(sintel: dict[str, Result]) -> None:
    turned, upright = sintel["rot90.mp4"], sintel["h264.mp4"]
    assert (turned.movie.width, turned.movie.height) == (240, 426)
    assert (turned.frames[0].width, turned.frames[0].height) == (54, 96)
    again = np.rot90(turned.picture(30), k=-1).astype(int)
    assert np.abs(again - upright.picture(30)).mean() < 4
    assert np.abs(np.rot90(again, k=2) - upright.picture(30)).mean() > 10, "the picture is not symmetric"


def test_shots_cover_the_movie(sintel: dict[str, Result]) -> None:
    for result in sintel.values():
        assert [shot.shot_index for shot in result.shots] == list(range(len(result.shots)))
        assert sum(shot.frames for shot in result.shots) == result.movie.decoded_frames == 140
        ends = [shot.end_seconds for shot in result.shots]
        assert [shot.start_seconds for shot in result.shots] == [0, *ends[:-1]]
        assert ends[-1] == result.movie.duration_seconds
        assert {frame.shot_index for frame in result.frames} == {shot.shot_index for shot in result.shots}


# ------------------------------------------------------------------------------------------------ keyframes


def test_three_keyframes_a_shot_near_start_middle_end(store: Store) -> None:
    result = extract(VIDEOS / "sintel140_h264.mp4", store)
    assert [round(frame.pts_seconds * 24) for frame in result.frames[:6]] == [3, 11, 19, 26, 47, 69]
    assert [frame.shot_index for frame in result.frames] == [i for i in range(5) for _ in range(3)]
    assert [frame.frame_index for frame in result.frames] == list(range(15))
    assert result.frames[7].frame_id == f"{result.movie.movie_id}_000007"


@pytest.mark.parametrize(("count", "expected"), [(1, 5), (2, 10), (7, 34)])  # the last shot has 8 frames
def test_number_of_keyframes(store: Store, count: int, expected: int) -> None:
    config = dataclasses.replace(SMALL, keyframes_per_shot=count)
    frames = extract(VIDEOS / "sintel140_h264.mp4", store, config).frames
    assert len(frames) == expected == len({frame.pts_seconds for frame in frames})


def test_a_movie_of_one_frame(store: Store) -> None:
    result = extract(VIDEOS / "one_frame.mp4", store)
    assert [frame.pts_seconds for frame in result.frames] == [0]
    assert result.movie.status == "ok"
    assert result.movie.duration_seconds == pytest.approx(1 / 24)


def test_every_seconds_takes_the_first_frame_at_or_after_each_multiple(store: Store) -> None:
    config = FramesConfig(mode="every_seconds", every_seconds=0.5, longest_edge=64, shard_frames=4)
    result = extract(VIDEOS / "sintel140_vp9_opus.webm", store, config)
    times = np.array([frame.pts_seconds for frame in result.frames])
    multiples = np.arange(12) * 0.5
    assert len(times) == 12
    assert np.all(times >= multiples)
    assert np.all(times < multiples + 1 / 24)


# ---------------------------------------------------------------------------------------- shards and resuming


@pytest.mark.parametrize("mode", ["keyframes_per_shot", "every_seconds", "every_frame"])
def test_where_shards_end_changes_nothing(tmp_path: Path, mode: str) -> None:
    configs = [
        FramesConfig(mode=mode, every_seconds=0.1, keyframes_per_shot=9, longest_edge=48, shard_frames=shard_frames)  # type: ignore[arg-type]
        for shard_frames in (9, 30, 1000)
    ]
    results = [extract(VIDEOS / "sintel140_h264.mp4", Store(str(tmp_path / str(i))), c) for i, c in enumerate(configs)]
    assert results[0].shards > results[1].shards >= results[2].shards == 1
    for result in results[:2]:
        assert result.frames == results[2].frames
        assert result.shots == results[2].shots
        assert result.movie == results[2].movie


def test_a_killed_run_goes_on_where_it_was(store: Store) -> None:
    config = FramesConfig(mode="every_frame", longest_edge=48, shard_frames=50)
    whole = extract(VIDEOS / "sintel140_h264.mp4", store, config)
    assert whole.shards == 3
    root, movie_id = Path(store.location), whole.movie.movie_id
    kept = [root / table / f"movie_id={movie_id}" / "00000.parquet" for table in ("frames", "shots")]
    written = [path.stat().st_mtime_ns for path in kept]
    for path in [*root.glob("*/movie_id=*/0000[12].parquet"), *root.glob("movies/*")]:
        path.unlink()
    assert extract(VIDEOS / "sintel140_h264.mp4", store, config) == whole
    assert [path.stat().st_mtime_ns for path in kept] == written


def test_a_missing_shots_file_is_made_again(store: Store) -> None:
    whole = extract(VIDEOS / "sintel140_h264.mp4", store)
    next(Path(store.location).glob("shots/*/00000.parquet")).unlink()
    assert extract(VIDEOS / "sintel140_h264.mp4", store) == whole


def test_nothing_is_written_when_nothing_changed(store: Store) -> None:
    extract(VIDEOS / "sintel140_h264.mp4", store)
    before = {path: path.stat().st_mtime_ns for path in Path(store.location).rglob("*.parquet")}
    again = Store(store.location, run_id="again")
    extract(VIDEOS / "sintel140_h264.mp4", again, dataclasses.replace(SMALL, threads=1))
    assert {path: path.stat().st_mtime_ns for path in Path(store.location).rglob("*.parquet")} == before


def test_shards_of_an_older_configuration_go_also_downstream(store: Store) -> None:
    old = FramesConfig(mode="every_frame", longest_edge=48, shard_frames=50)
    movie_id = extract(VIDEOS / "sintel140_h264.mp4", store, old).movie.movie_id
    downstream = Path(store.location) / "captions" / "captioner=x" / f"movie_id={movie_id}"
    downstream.mkdir(parents=True)
    for name in ("00000.parquet", "00002.parquet"):
        (downstream / name).touch()
    extract(VIDEOS / "sintel140_h264.mp4", store, dataclasses.replace(old, shard_frames=100))
    assert [path.name for path in sorted(downstream.iterdir())] == ["00000.parquet"]
    left = sorted(path.name for path in Path(store.location).glob("frames/*/*"))
    assert left == ["00000.parquet", "00001.parquet"]


def test_a_shard_needs_the_one_before_it(store: Store) -> None:
    (movie,) = identify_movies([str(VIDEOS / "sintel140_h264.mp4")])
    with pytest.raises(StoreError, match="Extract it before 00001"):
        extract_shard(movie, 1, store, SMALL)
    assert extract_shard(movie, 0, store, SMALL).last
    with pytest.raises(StoreError, match="last shard"):
        extract_shard(movie, 1, store, SMALL)


# -------------------------------------------------------------------------------------------- hostile files


def hostile(tmp_path: Path) -> dict[str, Callable[[], Path]]:
    def written(name: str, content: bytes) -> Callable[[], Path]:
        def write() -> Path:
            (tmp_path / name).write_bytes(content)
            return tmp_path / name

        return write

    whole = (VIDEOS / "sintel140_h264.mp4").read_bytes()
    return {
        "empty": written("empty.mp4", b""),
        "text": written("text.mp4", b"This is no movie.\n" * 40),
        "no index": written("no_index.mp4", whole.replace(b"moov", b"gone")),
        "missing": lambda: tmp_path / "missing.mp4",
        "folder": lambda: tmp_path,
        "audio only": lambda: VIDEOS / "audio_only.m4a",
        "subtitles": lambda: VIDEOS / "subtitles-unicode.srt",
    }


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("empty", "unreadable", "FFmpeg cannot open it"),
        ("text", "unreadable", "FFmpeg cannot open it"),
        ("no index", "unreadable", "Copy it again"),
        ("missing", "unreadable", "No such file"),
        ("folder", "unreadable", "cannot be read"),
        ("audio only", "no_video", "only audio"),
        ("subtitles", "no_video", "only subtitle"),
    ],
)
def test_an_unusable_file_is_a_row_with_a_reason(
    store: Store, tmp_path: Path, kind: str, status: str, reason: str
) -> None:
    result = extract(hostile(tmp_path)[kind](), store)
    assert result.movie.status == status
    assert reason in (result.movie.error or "")
    assert (result.frames, result.shots, result.shards) == ([], [], 1)
    assert result.movie.duration_seconds is None


def test_a_cut_off_file_keeps_its_good_frames(store: Store) -> None:
    result = extract(VIDEOS / "trunc60_faststart.mp4", store)
    assert result.movie.status == "truncated"
    assert "2.96 s of the 5.83 s" in (result.movie.error or "")
    assert result.movie.decoded_frames == 71
    assert len(result.frames) == 6


def test_damage_in_the_middle_keeps_what_is_good(store: Store, tmp_path: Path) -> None:
    content = bytearray((VIDEOS / "sintel140_h264.mp4").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 6000] = bytes(6000)
    (tmp_path / "damaged.mp4").write_bytes(content)
    result = extract(tmp_path / "damaged.mp4", store)
    assert result.movie.status == "truncated"
    assert "damaged" in (result.movie.error or "")
    assert result.movie.damaged_frames > 0
    assert 70 < result.movie.decoded_frames < 140
    assert result.shots[-1].end_seconds > 5, "what comes after the damage is there too"


def test_strange_but_good_files(store: Store) -> None:
    dash, endless = (extract(VIDEOS / name, store).movie for name in ("-video-with-dash-.mp4", "no_duration.webm"))
    assert (dash.status, dash.width, dash.height, dash.title) == ("ok", 1, 1, "-video-with-dash-")
    assert (endless.status, endless.decoded_frames) == ("ok", 74)
    assert endless.duration_seconds == pytest.approx(4.938, abs=0.05)


def test_a_file_that_appears_replaces_its_unreadable_row(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "late.mp4"
    lost = extract(path, store).movie
    shutil.copy(VIDEOS / "one_frame.mp4", path)
    found = extract(path, store).movie
    assert (lost.status, found.status) == ("unreadable", "ok")
    assert {file.name for file in Path(store.location).glob("movies/*")} == {f"{found.movie_id}.parquet"}
    assert not list(Path(store.location).glob(f"frames/movie_id={lost.movie_id}/*"))


def test_a_file_that_changed_since_it_was_identified(store: Store, tmp_path: Path) -> None:
    path = Path(shutil.copy(VIDEOS / "one_frame.mp4", tmp_path / "changing.mp4"))
    (movie,) = identify_movies([str(path)])
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(MovieError, match="changed while we worked"):
        extract_shard(movie, 0, store, SMALL)
    path.unlink()
    with pytest.raises(MovieError, match="went away"):
        extract_shard(movie, 0, store, SMALL)
    assert not list(Path(store.location).rglob("*.parquet"))


# ------------------------------------------------------------------------------------------------- pictures


def test_datasets_shows_pictures(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract(VIDEOS / "sintel140_h264.mp4", store)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets  # here: it takes a second, and reads the environment

    files = [str(path) for path in Path(store.location).glob("frames/*/*.parquet")]
    rows = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
    assert isinstance(rows.features["image"], datasets.Image)
    assert rows[0]["image"].size == (128, 72)


@pytest.mark.parametrize("edge", [0, None, 4000])
def test_pictures_are_never_enlarged(store: Store, edge: int | None) -> None:
    frame = extract(VIDEOS / "one_frame.mp4", store, FramesConfig(longest_edge=edge)).frames[0]
    assert (frame.width, frame.height) == (426, 240)
    assert PIL.Image.open(io.BytesIO(frame.image.bytes)).size == (426, 240)
    assert frame.image.path == f"{frame.frame_id}.jpg"


# ---------------------------------------------------------------------------------------------- which movies


def test_the_same_bytes_are_one_movie_and_a_name_does_not_matter(store: Store, tmp_path: Path) -> None:
    first = Path(shutil.copy(VIDEOS / "one_frame.mp4", tmp_path / "b.mp4"))
    shutil.copy(first, tmp_path / "a.mp4")
    told: list[tuple[int, int]] = []
    paths = [str(first), str(tmp_path / "a.mp4"), str(first)]
    (movie,) = identify_movies(paths, lambda done, of: told.append((done, of)))
    assert told == [(1, 2), (2, 2)]
    assert (movie.title, movie.path, movie.other_paths) == ("a", str(tmp_path / "a.mp4"), (str(first),))
    before = extract(first, store).movie
    first.rename(tmp_path / "renamed.mp4")
    after = extract(tmp_path / "renamed.mp4", store).movie
    assert after.movie_id == before.movie_id == movie.movie_id
    assert (before.title, after.title) == ("b", "renamed")
    assert after.sha256.startswith(after.movie_id[1:])


def test_find_movies(tmp_path: Path) -> None:
    for name in ("z.mp4", "deep/a.MKV", "deep/notes.txt", "deep/er/b.webm", "._z.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    named = [str(tmp_path / "deep/notes.txt"), str(tmp_path), str(tmp_path / "gone.mp4"), str(tmp_path / "z.mp4")]
    found = [str(Path(path).relative_to(tmp_path)) for path in find_movies(named)]
    assert found == ["deep/notes.txt", "deep/a.MKV", "deep/er/b.webm", "z.mp4", "gone.mp4"]


def test_a_missing_path_is_told_from_one_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "movies").mkdir()
    (tmp_path / "movies" / "holiday.mp4").touch()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nowhere.mp4")
    there = [str(tmp_path), str(tmp_path / "movies" / "holiday.mp4")]
    gone = [str(tmp_path / name) for name in ("holiday.mp4", "link.mp4", "movies/holiday.mp4/x.mp4", "a\0b.mp4")]
    assert missing([*gone, *there, ""]) == [*gone, ""]
    assert nearest(str(tmp_path / "moveis" / "holiday.mp4")) == there[1]
    assert nearest(str(tmp_path / "moveis" / "other" / "trip.mp4")) == str(tmp_path / "movies")
    assert nearest(str(tmp_path / "movies" / "holliday.mp4")) == there[1]
    assert [nearest(one) for one in ("", gone[2], str(tmp_path / "qqqq.mp4"), gone[3])] == [None] * 4

    def refuse(_path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.stat", refuse)
    assert missing(there) == []


def test_files_passed_over_are_counted_by_their_ending(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.mp4", "sound.M4A", "deep/b.txt", "c.txt", "README", ".hidden", "named.txt"):
        (tmp_path / name).touch()
    given = [str(tmp_path), str(tmp_path / "deep"), str(tmp_path / "named.txt"), str(tmp_path / "gone.txt")]
    assert list(passed_over(given).items()) == [(".txt", 2), ("", 1), (".m4a", 1)]
    assert passed_over([str(tmp_path / "a.mp4")]) == {}


@pytest.mark.parametrize(
    "values",
    [{"mode": "all"}, {"keyframes_per_shot": 0}, {"every_seconds": 0}, {"jpeg_quality": 101}, {"shard_frames": 0},
     {"longest_edge": 3}, {"threads": -1}],
)  # fmt: skip
def test_configuration_is_checked(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        FramesConfig(**values)  # type: ignore[arg-type]

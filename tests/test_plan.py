"""The command `plan`: what it says of movies, stores and times is what a run does."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from movie_making import write_movie
from pipeline_help import scripted_profile

from flows.command_line import main
from flows.plan_run import make_plan
from flows.read_configuration import PipelineConfig, read_configuration
from flows.show_steps import _Steps
from storage.store import Store
from tasks.captions import caption_frames, captioner_name
from tasks.consistency import check_captions
from tasks.detections import detect_objects
from tasks.frames import FramesConfig, extract_shard
from tasks.movie_files import MovieFile, identify_movies
from tasks.planning import plan as planning
from tasks.planning.measure import measure_stages
from tasks.planning.movies import measure_length, sample_movie, spread
from tasks.planning.rates import known_from_store

CLIPS = Path(__file__).parent / "data" / "videos"
SINTEL = CLIPS / "sintel140_h264.mp4"
SCENES, SCENE_FRAMES, RATE = 12, 37, 10


def movie_of(path: Path) -> MovieFile:
    return identify_movies([str(path)])[0]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> MovieFile:
    """44 seconds in 12 scenes, each of another noise."""

    def pictures() -> Iterator[np.ndarray]:
        for scene in range(SCENES):
            coarse = np.random.default_rng(scene).integers(0, 255, (6, 8, 3), np.uint8)
            yield from [np.kron(coarse, np.ones((12, 12, 1), np.uint8))] * SCENE_FRAMES

    path = tmp_path_factory.mktemp("scenes") / "scenes.mp4"
    return movie_of(write_movie(path, pictures(), rate=RATE, options={"g": "10"}))


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    return read_configuration(str(scripted_profile(tmp_path)))


def take(movie: MovieFile, store: Store, config: FramesConfig, most: int = 10_000) -> list[Any]:
    """The movie's shards, as a run takes them."""
    taken = []
    for number in range(most):
        one = extract_shard(movie, number, store, config)
        taken.append(one.frames)
        if one.last:
            break
    return taken


def silent(_what: str, _done: int, _of: int) -> None:
    pass


def plan(movies: list[MovieFile], store: Store, config: PipelineConfig, *, measure: bool = False) -> planning.Plan:
    return make_plan(movies, store, config, silent, measure=measure)[0]


MODES = {
    "keyframes": FramesConfig(longest_edge=96, shard_frames=6),
    "seconds": FramesConfig(mode="every_seconds", every_seconds=0.3, longest_edge=96, shard_frames=7),
    "all": FramesConfig(mode="every_frame", longest_edge=96, shard_frames=50),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("clip", [SINTEL.name, "sintel140_vfr_24_12.mp4", "sintel140_vp9_opus.webm", "chaplin.mp4"])
def test_what_is_planned_is_what_is_taken(mode: str, clip: str, tmp_path: Path, config: PipelineConfig) -> None:
    config, movie = replace(config, frames=MODES[mode]), movie_of(CLIPS / clip)
    store = Store(str(tmp_path / "store"))
    (planned,) = plan([movie], store, config).movies
    assert not Path(store.location).exists()
    taken = take(movie, store, config.frames)
    assert planned.frames == sum(ref.rows for ref in taken)
    assert abs(planned.shards - len(taken)) <= 1  # a shard ends with a shot
    (after,) = plan([movie], store, config).movies
    assert (after.how, after.extracted, after.shards) == ("finished in the store", planned.frames, len(taken))


def test_a_length_is_that_of_what_is_there_not_of_the_header() -> None:
    cut = measure_length(movie_of(CLIPS / "trunc60_faststart.mp4"))
    assert (cut.error, cut.frames) == (None, 74)
    assert cut.note == "it ends at 3.1 s of the 5.8 s its header states"
    assert measure_length(movie_of(CLIPS / "no_duration.webm")).seconds == pytest.approx(4.94, abs=0.01)


def test_movies_that_cannot_be_used_are_listed_with_the_reason(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "text.mp4").write_text("no movie at all\n" * 100)
    bad = [str(tmp_path / "text.mp4"), str(CLIPS / "empty.mp4"), str(CLIPS / "audio_only.m4a")]
    store, profile = tmp_path / "store", scripted_profile(tmp_path)
    assert main(["plan", str(SINTEL), *bad, "--store", str(store), "--profile", str(profile)]) == 3
    said = capsys.readouterr().out
    assert all(f"cannot be used: {path}: " in said for path in bad)
    assert "no video stream in it, only audio" in said
    assert "1 movie " in said
    assert not store.exists()


def test_finished_shards_are_reused_and_others_are_not(tmp_path: Path, config: PipelineConfig) -> None:
    movie, store = movie_of(SINTEL), Store(str(tmp_path / "store"))
    fresh = plan([movie], store, config)
    first, second = take(movie, store, config.frames, most=2)
    found = detect_objects(first, store, config.detect)
    caption_frames(first, found, store, config.caption)
    half = plan([movie], store, config)
    assert half.total("frames") == fresh.total("frames")
    assert half.total("extracted") == first.rows + second.rows
    assert (half.total("detected"), half.total("captioned")) == (first.rows, first.rows)
    assert half.stages[2].frames == fresh.total("frames") - first.rows
    assert half.total("decoded_frames") < fresh.total("decoded_frames") == 140
    other = replace(config, caption=replace(config.caption, temperature=0.5))
    assert plan([movie], store, other).total("captioned") == 0
    assert plan([movie], store, replace(config, frames=MODES["all"])).total("extracted") == 0


class TestSamples:
    def test_all_of_it_where_there_is_time(self, scenes: MovieFile) -> None:
        found = sample_movie(scenes, measure_length(scenes), MODES["keyframes"], 600.0)
        assert (found.exact, found.frames, found.cuts) == (True, SCENES * SCENE_FRAMES, SCENES - 1)
        assert found.keyframes == 3 * SCENES
        assert found.picture_bytes[0] > 500

    def test_windows_of_it_where_there_is_not(self, scenes: MovieFile, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tasks.planning.movies.LEAST_SECONDS", 0.0)
        length = measure_length(scenes)
        one = sample_movie(scenes, length, MODES["keyframes"], 1e-9, clock=iter([0.0, 1.0, 2.0]).__next__)
        assert not one.exact
        assert one.seconds_of_movie == pytest.approx(12.0, abs=1.5)
        found = sample_movie(scenes, length, MODES["keyframes"], 1e-9, clock=lambda: 0.0)
        assert found.seconds_of_movie == pytest.approx(length.seconds, rel=0.1)
        assert found.cuts / found.seconds_of_movie == pytest.approx((SCENES - 1) / length.seconds, rel=0.2)

    def test_any_first_windows_are_spread_over_all(self) -> None:
        for size in (1, 2, 7, 600):
            order = list(spread(size))
            assert sorted(order) == list(range(size))
        assert list(spread(8))[:4] == [0, 4, 2, 6]


class TestTimes:
    @pytest.fixture
    def ran(self, tmp_path: Path, config: PipelineConfig) -> Store:
        movie, store = movie_of(SINTEL), Store(str(tmp_path / "store"), "run-1")
        for frames in take(movie, store, config.frames):
            detections = detect_objects(frames, store, config.detect)
            check_captions(caption_frames(frames, detections, store, config.caption), detections, store)
        return store

    def test_they_are_those_of_this_store_and_configuration(self, ran: Store, config: PipelineConfig) -> None:
        known = known_from_store(ran, config.detect, config.caption)
        assert {"detect", "caption", "check"} <= known.rates.keys()
        assert known.rates["detect"].how == "3 shards of 1 run here"
        assert 0 < known.rates["detect"].seconds_each < 1
        assert known.bytes_each
        assert 0 < known.beside <= 1
        slower = replace(config.detect, max_detections=7)
        assert "detect" not in known_from_store(ran, slower, config.caption).rates
        assert known_from_store(Store("/nowhere/at/all"), config.detect, config.caption).rates == {}

    def test_a_stage_that_runs_did_over_again_counts_once(self, ran: Store, config: PipelineConfig) -> None:
        once = known_from_store(ran, config.detect, config.caption).rates["check"].seconds_each
        for path in ran.files.under("stage_runs"):
            copy = path.replace("run-1", "run-2")
            if "check-" in path:
                Path(ran.files.full(copy)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ran.files.full(path), ran.files.full(copy))
        twice = known_from_store(ran, config.detect, config.caption).rates["check"]
        assert twice.seconds_each == pytest.approx(once)

    def test_another_movie_is_planned_by_them(self, ran: Store, config: PipelineConfig) -> None:
        known = known_from_store(ran, config.detect, config.caption)
        made = plan([movie_of(CLIPS / "chaplin.mp4")], ran, config)
        stages = {one.stage: one for one in made.stages}
        frames = made.total("frames")
        rate = known.rates["detect"]
        assert stages["detect"].seconds == pytest.approx(frames * rate.seconds_each + rate.once)
        assert stages["summarise"].seconds is made.seconds is None
        assert made.bytes == made.picture_bytes + made.other_bytes  # type: ignore[operator]

    def test_measured_ones_know_every_stage_and_leave_nothing(
        self, tmp_path: Path, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scratch, said = tmp_path / "scratch", list[str]()
        scratch.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(scratch))
        parts = (config.detect, config.caption, config.mend, config.choose, config.score)
        known = measure_stages(movie_of(SINTEL), config.frames, *parts, said.append)
        assert set(known.rates) == {"detect", "caption", "check", "summarise"}
        assert all(rate.seconds_each > 0 or rate.once > 0 for rate in known.rates.values())
        assert known.bytes_each
        assert said[0] == "measuring: loading the detector"
        assert list(scratch.iterdir()) == []

    def test_the_command_measures_when_asked_and_answers_in_json(self, tmp_path: Path, capsys: Any) -> None:
        store, profile = tmp_path / "store", scripted_profile(tmp_path)
        given = ["plan", str(SINTEL), "--store", str(store), "--profile", str(profile), "--json"]
        assert main(given) == 0
        assert json.loads(capsys.readouterr().out)["seconds"] is None
        assert main([*given, "--measure"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["seconds"] > 0
        assert said["bytes"] > said["picture_bytes"] > 0
        assert said["movies"][0]["title"] == SINTEL.stem
        assert not store.exists()

    def test_a_disk_that_is_too_small_is_a_warning_and_exit_code_1(
        self, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(planning.shutil, "disk_usage", lambda _: usage._replace(free=1000))
        profile = scripted_profile(tmp_path)
        assert main(["plan", str(SINTEL), "--store", str(tmp_path / "s"), "--profile", str(profile)]) == 1
        said = capsys.readouterr().out
        assert "WARNING   that is not enough" in said
        assert "time      not known: " in said


def test_models_that_are_not_here_are_said_and_not_fetched(tmp_path: Path, config: PipelineConfig) -> None:
    movie, store = movie_of(SINTEL), Store(str(tmp_path / "store"))
    take(movie, store, config.frames)
    gone = replace(config, detect=replace(config.detect, backend="mask2former", checkpoint="nobody/knows-this"))
    made = plan([movie], store, gone)
    assert made.total("extracted") == made.total("frames")
    assert made.total("detected") == 0
    assert "nobody/knows-this" in made.unknown["detect"]
    assert captioner_name(gone.caption) == "scripted"


def test_lines_in_a_log_say_rate_and_time_left() -> None:
    now = [0.0]
    steps = _Steps(clock=lambda: now[0])
    assert steps.due() == ""
    steps.note("reading", 0, 100)
    now[0] = 2.5
    assert steps.due() == "reading: 0 of 100"
    steps.note("reading", 50, 100)
    now[0] = 5.0
    assert steps.due() == ""  # not every moment
    now[0] = 25.0
    assert steps.due() == "reading: 50 of 100; 2.0 a second; about 0:00:25 left"
    now[0] = 54.0
    assert steps.due() == ""
    now[0] = 56.0
    assert steps.due().startswith("reading: 50 of 100; 53.6 a minute")
    steps.note("writing", 1, 0)
    assert steps.due() == "writing: 1"

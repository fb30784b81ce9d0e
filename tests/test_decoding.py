"""Decoding: what containers and codecs say about a picture, a stream or a time is applied or survived."""

import dataclasses
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from movie_making import moving_square, write_movie

from tasks import pictures
from tasks.decoding import UnusableMovieError, open_movie
from tasks.movie_files import identify_movies
from tasks.shot_detection import ShotsConfig
from tasks.timeline import Continuation, Timed, Timeline

VIDEOS = Path(__file__).parent / "data" / "videos"


def timeline(path: Path, start: Continuation | None = None) -> tuple[list[Timed], Timeline]:
    """All frames of a movie. Their pictures outlive the container."""
    with open_movie(str(path)) as opened:
        line = Timeline(opened, start or Continuation(), ShotsConfig())
        return list(line.frames()), line


def rgb(timed: Timed) -> np.ndarray:
    return pictures.picture(timed.picture, timed.upright_size, timed.rotation, timed.matrix)


def test_sample_aspect_ratio_stretches_the_width(tmp_path: Path) -> None:
    def wide(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)

    path = write_movie(tmp_path / "pal.mp4", moving_square(704, 576, 3), setup=wide)
    frames, line = timeline(path)
    assert (line.place.width, line.place.height) == (1024, 576)
    assert rgb(frames[0]).shape == (576, 1024, 3)


@pytest.mark.parametrize("ratio", [Fraction(0), Fraction(1000, 1), Fraction(1, 1000)])
def test_an_absurd_sample_aspect_ratio_is_not_believed(ratio: Fraction) -> None:
    with open_movie(str(VIDEOS / "one_frame.mp4")) as opened:

        class Stream:
            sample_aspect_ratio = ratio

        assert dataclasses.replace(opened, stream=Stream()).sample_aspect_ratio == 1


@pytest.mark.parametrize(("width", "height"), [(35, 21), (1, 1), (2, 200), (333, 5)])
def test_odd_sizes(tmp_path: Path, width: int, height: int) -> None:
    path = write_movie(tmp_path / "odd.mkv", moving_square(width, height, 4), codec="ffv1", pixels="yuv444p")
    frames, line = timeline(path)
    assert (line.place.width, line.place.height) == (width, height)
    assert rgb(frames[3]).shape == (height, width, 3)


def test_interlaced_frames_are_deinterlaced(tmp_path: Path) -> None:
    whole = list(moving_square(320, 240, 24))
    woven = [np.where((np.arange(240) % 2 == 0)[:, None, None], whole[2 * i], whole[2 * i + 1]) for i in range(12)]

    def fields(stream: Any) -> None:
        stream.codec_context.options = {"flags": "+ildct+ilme", "top": "1"}

    def combs(picture: np.ndarray) -> float:
        lines = picture[80:128].astype(int).mean(axis=2)
        return float(np.abs(2 * lines[1:-1] - lines[:-2] - lines[2:]).mean())

    path = write_movie(
        tmp_path / "fields.mpg", woven, codec="mpeg2video", setup=fields, options={"flags": "+ildct+ilme", "b": "8M"}
    )
    with av.open(str(path)) as container:
        plain = list(container.decode(video=0))
        assert plain[5].interlaced_frame, "the file has to be interlaced for this test to mean anything"
        combed = plain[5].to_ndarray(format="rgb24")
    frames, line = timeline(path)
    assert len(frames) == 12
    assert line.place.deinterlacing
    assert combs(rgb(frames[5])) < combs(combed) / 2


def test_cover_art_is_not_the_video(tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as output:
        cover, video = output.add_stream("mjpeg", rate=1), output.add_stream("mpeg4", rate=25)
        cover.width, cover.height, cover.pix_fmt = 640, 640, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        add(output, cover, moving_square(640, 640, 1))
        add(output, video, moving_square(64, 48, 10))
    with av.open(str(path)) as container:
        art = [one for one in container.streams.video if one.disposition & av.stream.Disposition.attached_pic]
        assert art[0].width == 640
    frames, line = timeline(path)
    assert (len(frames), line.place.width) == (10, 64)


def test_only_cover_art_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as output:
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        add(output, cover, moving_square(64, 64, 1))
    with pytest.raises(UnusableMovieError, match="no video stream") as raised, open_movie(str(path)):
        pass
    assert raised.value.status == "no_video"


def test_the_largest_picture_wins(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as output:
        small, large = output.add_stream("mpeg4", rate=25), output.add_stream("mpeg4", rate=25)
        small.width, small.height, large.width, large.height = 64, 48, 128, 96
        add(output, small, moving_square(64, 48, 5))
        add(output, large, moving_square(128, 96, 7))
    frames, line = timeline(path)
    assert (len(frames), line.place.width, line.place.height) == (7, 128, 96)


def add(output: Any, stream: Any, images: Any) -> None:
    for number, picture in enumerate(images):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=stream.pix_fmt)
        frame.pts, frame.time_base = number, 1 / Fraction(stream.codec_context.framerate)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def test_times_count_from_the_first_frame(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "late.ts", moving_square(64, 48, 30), codec="mpeg2video", container="mpegts",
                       times=lambda number: number + 250)  # fmt: skip
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).time > 1, "MPEG-TS starts late"
    frames, line = timeline(path)
    assert np.allclose([one.seconds for one in frames], np.arange(len(frames)) / 25, atol=1 / 90000)
    assert line.place.end_seconds == pytest.approx(len(frames) / 25, abs=1e-4)


def test_irregular_times_are_kept(tmp_path: Path) -> None:
    stamps = [0, 1, 2, 10, 11, 30]
    path = write_movie(
        tmp_path / "vfr.mkv", moving_square(64, 48, 6), codec="ffv1", pixels="yuv444p", times=stamps.__getitem__
    )
    frames, _ = timeline(path)
    assert [round(one.seconds * 25, 1) for one in frames] == stamps


def test_frames_without_times_follow_each_other(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "raw.m4v", moving_square(64, 48, 12), container="m4v")
    frames, _ = timeline(path)
    assert len(frames) == 12
    steps = np.diff([one.seconds for one in frames])
    assert np.allclose(steps, 1 / 25)


def test_time_never_runs_backwards() -> None:
    with open_movie(str(VIDEOS / "one_frame.mp4")) as opened:
        (decoded,) = opened.frames()
        line = Timeline(opened, Continuation(), ShotsConfig())
        given = [5.0, 5.04, 5.04, 4.0, None, 5.2]
        small = pictures.detection_picture(decoded.picture, 144)
        line._detector.push(small)
        seconds = [line._timed(dataclasses.replace(decoded, seconds=one), small).seconds for one in given]
    assert seconds == pytest.approx([0, 0.04, 0.04, 0.04, 0.04 + 1 / 24, 0.2])


@pytest.mark.parametrize("name", ["h264_10bits.mp4", "h265_10bits.mp4"])
def test_ten_bits(name: str) -> None:
    frames, _ = timeline(VIDEOS / name)
    picture = rgb(frames[0])
    assert picture.dtype == np.uint8
    assert picture.std() > 40, "the test picture has strong colours"


def test_hdr_is_brought_to_sdr() -> None:
    nits = np.array([0.0, 1.0, 20.0, 203.0, 1000.0, 10000.0])
    power = (nits / 10000) ** 0.1593017578125
    codes = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    grey = np.rint(codes * 65535).astype(np.uint16)[None, :, None].repeat(3, axis=2)
    shown = pictures.tone_map(grey, hlg=False)[0]
    assert np.ptp(shown.astype(int), axis=1).max() <= 1, "grey stays grey"
    levels = shown[:, 0].astype(int)
    assert levels[0] == 0
    assert 160 < levels[3] < 200, "reference white leaves room for highlights"
    assert levels[4] >= 250
    assert list(levels) == sorted(levels)


@pytest.mark.parametrize(
    "transfer", [av.video.reformatter.ColorTrc.SMPTE2084, av.video.reformatter.ColorTrc.ARIB_STD_B67]
)
def test_hdr_tagged_frames_are_tone_mapped(transfer: Any) -> None:
    ramp = np.linspace(0, 60000, 64, dtype=np.uint16)[None, :, None].repeat(64, axis=0).repeat(3, axis=2)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(ramp), format="rgb48le").reformat(format="yuv420p10le")
    plain = pictures.picture(frame, (64, 64), 0)
    tagged = frame.reformat(format="yuv420p10le", dst_color_trc=transfer)
    tagged.color_trc = transfer
    mapped = pictures.picture(tagged, (64, 64), 0)
    assert mapped.shape == plain.shape
    assert np.abs(mapped.astype(int) - plain).mean() > 5
    assert np.all(np.diff(mapped.mean(axis=(0, 2))) >= -1)


def test_untagged_hd_colours_are_bt709(tmp_path: Path) -> None:
    red = np.zeros((720, 64, 3), np.uint8)
    red[..., 0] = 200
    frame = av.VideoFrame.from_ndarray(red, format="rgb24").reformat(format="yuv444p", dst_colorspace="ITU709")
    frame.colorspace = pictures.UNSPECIFIED_MATRIX
    shown = pictures.picture(frame, (64, 720), 0, pictures.matrix_of(frame))[100, 30].astype(int)
    assert np.abs(shown - [200, 0, 0]).max() <= 6


def test_pictures_of_a_size() -> None:
    assert pictures.fitted_size(1920, 1080, 1024) == (1024, 576)
    assert pictures.fitted_size(1, 5000, 100) == (1, 100)
    assert pictures.fitted_size(64, 48, 1024) == pictures.fitted_size(64, 48, None) == (64, 48)
    assert pictures.upright_size(720, 576, Fraction(16, 15), 270) == (576, 768)


def test_a_seek_that_lies_is_noticed() -> None:
    path = VIDEOS / "sintel140_h264.mp4"
    frames, line = timeline(path)
    with open_movie(str(path)) as opened:
        first = Timeline(opened, Continuation(), ShotsConfig())
        for number, _ in enumerate(first.frames()):
            if number == 100:
                break
        place = first.continuation()
    assert place.decoded == 100
    wrong = dataclasses.replace(place, warm_up=[[pts, 1] for pts, _ in place.warm_up])
    for start in (place, wrong):
        again, end = timeline(path, start)
        assert [one.seconds for one in again] == [one.seconds for one in frames[100:]]
        assert [one.starts_shot for one in again] == [one.starts_shot for one in frames[100:]]
        assert where_it_is(end) == where_it_is(line)


def where_it_is(line: Timeline) -> Continuation:
    return dataclasses.replace(line.place, warm_up=[], seek_pts=None)


def test_identify_reads_no_more_than_it_must(tmp_path: Path) -> None:
    big = tmp_path / "big.mp4"
    with big.open("wb") as file:
        file.truncate(64 << 20)
    (movie,) = identify_movies([str(big)])
    assert (movie.size_bytes, movie.error) == (64 << 20, None)

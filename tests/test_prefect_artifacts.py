"""What people read in Prefect of a run: artifacts and names, read back through the API of a real server."""

import base64
import io
import json
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from pipeline_help import scripted_profile
from prefect_help import Api, using_server
from test_flow import CLIPS
from test_mended_flow import PLANTED

from flows.caption_movies import caption_movies
from flows.publish_report import MOST_LEFT_OUT, MOST_PICTURE_BYTES
from flows.report_run import Report
from flows.show_progress import STAGES
from gallery.shards import select_frames
from gallery.static_site import write_site
from storage import catalog
from storage.store import Store
from tasks.contact_sheet import CELL_WIDTH, COLUMNS, GAP
from tasks.errors import ConfigError
from tasks.violation_codes import CODES

MOVIES = ["sintel140_h264.mp4", "trunc60_faststart.mp4", "empty.mp4"]
KEYS = {
    "caption-movies-summary": "table", "caption-movies-report": "markdown", "caption-movies-left-out": "table",
    "caption-movies-frames": "markdown", "caption-movies-gallery": "markdown", "caption-movies-progress": "progress",
}  # fmt: skip


@dataclass(frozen=True)
class Ran:
    """A run, its report, and what it left in Prefect."""

    store: Path
    movies: Path
    profile: Path
    flow_run_id: str
    report: Report
    artifacts: Mapping[str, Any]

    def table(self, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.artifacts[f"caption-movies-{what}"]["data"])
        return found

    def numbers(self) -> dict[tuple[str, str], float]:
        return {(row["part"], row["what"]): row["number"] for row in self.table("summary")}


def run(store: Path, movies: Path, profile: Path, environment: Mapping[str, str], **more: str) -> Ran:
    with using_server(environment):
        state: Any = caption_movies([str(movies)], str(store), str(profile), **more, return_state=True)
    flow_run_id = str(state.state_details.flow_run_id)
    return Ran(store, movies, profile, flow_run_id, state.result(), Api(environment).artifacts(flow_run_id))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, prefect_environment: dict[str, str]) -> Ran:
    """A run with a movie that is cut short, one that is none, and captions that are planted at fault."""
    folder = tmp_path_factory.mktemp("artifacts")
    movies, script = folder / "trailers", folder / "script.json"
    movies.mkdir()
    for name in MOVIES:
        shutil.copy(CLIPS / name, movies)
    script.write_text(json.dumps(PLANTED))
    profile = scripted_profile(folder, name="planted", script=str(script))
    return run(folder / "my store", movies, profile, prefect_environment)


def asked(ran: Ran, sql: str) -> list[tuple[Any, ...]]:
    with catalog.connect(str(ran.store)) as store:
        return catalog.ask(store, sql).fetchall()


def test_a_run_leaves_an_artifact_of_each_kind_under_keys_that_stay(ran: Ran) -> None:
    stages = {f"caption-movies-progress-{stage}": "progress" for stage in STAGES}
    assert {key: one["type"] for key, one in ran.artifacts.items()} == KEYS | stages
    about = f"captions by `planted` in `{ran.store}`"
    assert all(about in ran.artifacts[f"caption-movies-{what}"]["description"] for what in ("summary", "frames"))


def test_every_stage_ends_at_its_last_shard(ran: Ran) -> None:
    (shards,), (frames,) = (
        asked(ran, "select count(*) from files where \"table\" = 'frames'"),
        asked(ran, "from frames select count(*)"),
    )
    for stage in STAGES[1:]:
        artifact = ran.artifacts[f"caption-movies-progress-{stage}"]
        assert artifact["data"] == 100
        assert artifact["description"].startswith(f"{shards[0]} of {shards[0]} shards ")
        assert "3 of 3 movies decoded" in artifact["description"]
    first = ran.artifacts["caption-movies-progress-extract"]
    assert first["data"] == ran.artifacts["caption-movies-progress"]["data"] == 100
    assert f"3 of 3 movies decoded; {shards[0]} shards, {frames[0]} frames" in first["description"]


def test_the_summary_is_what_the_store_says(ran: Ran) -> None:
    numbers = ran.numbers()
    counts = "select (select count(*) from shots), (select count(*) from frames), (select count(*) from detections)"
    assert [numbers["frames", name] for name in ("shots", "frames", "detections")] == list(asked(ran, counts)[0])
    for status, number in asked(ran, "select status, count(*) from movies group by 1"):
        assert numbers["movies", status] == number == 1
    assert numbers["captions", "captions"] == asked(ran, "select count(*) from captions")[0][0]
    assert numbers["captions", "ok"] == asked(ran, "select count(*) from captions_ok")[0][0] > 0
    verdicts = dict(asked(ran, "select verdict, count(*) from verdicts group by 1"))
    assert numbers["captions", "at fault"] == verdicts["violations"] > 0
    assert numbers["captions", "failed"] == verdicts["failed"] > 0
    outcomes = ("ok", "at fault", "failed")
    assert sum(numbers["captions", name] for name in outcomes) == numbers["captions", "captions"]
    for code, number in asked(ran, "select code, count(distinct caption_id) from violations group by 1"):
        assert numbers["captions with", code] == number
    tokens = asked(ran, "select sum(prompt_tokens), sum(completion_tokens) from captions")[0]
    assert (numbers["tokens", "read"], numbers["tokens", "written"]) == tokens
    made = dict(asked(ran, "select stage, count(*) from stage_runs group by 1"))
    assert {stage: numbers["shards made", stage] for stage in STAGES} == {stage: made.get(stage, 0) for stage in STAGES}
    assert numbers["speed", "frames a second"] > 0


def test_the_page_has_the_same_numbers_and_says_what_codes_mean(ran: Ran) -> None:
    page = ran.artifacts["caption-movies-report"]["data"]
    for (part, what), number in ran.numbers().items():
        assert f"| {part} | {what} | {number:,} |" in page
    assert f"| unknown-object | {CODES['unknown-object'].meaning} | {CODES['unknown-object'].remedy} |" in page


def test_what_is_left_out_stands_there_with_reason_and_remedy(ran: Ran) -> None:
    rows = ran.table("left-out")
    wanted = [
        (code, caption or frame or movie) for _, code, movie, _, _, frame, caption, _ in asked(ran, "quarantined")
    ]
    assert [(row["code"], row["id"]) for row in rows] == wanted[:MOST_LEFT_OUT]
    assert [row["what"] for row in rows[:2]] == ["movie", "movie"]
    cut = next(row for row in rows if row["code"] == "truncated")
    assert cut["movie"] == "trunc60_faststart"
    assert cut["reason"] == "it ends at 2.96 s of the 5.83 s its header states"
    assert "copy the movie again" in cut["remedy"]
    unknown = next(row for row in rows if row["code"] == "unknown-object")
    assert unknown["remedy"] == CODES["unknown-object"].remedy
    assert "person-99" in unknown["reason"]
    description = ran.artifacts["caption-movies-left-out"]["description"]
    assert description.startswith(f"{len(rows)} of {len(wanted)} reasons")
    assert f"`caption-movies sql quarantined --store {ran.store}`" in description


def test_the_picture_of_frames_is_a_small_jpeg_with_the_captions_below(ran: Ran) -> None:
    page = ran.artifacts["caption-movies-frames"]["data"]
    (picture,) = re.findall(r"!\[[^]]*\]\(data:image/jpeg;base64,([A-Za-z0-9+/=]+)\)", page)
    encoded = base64.b64decode(picture)
    image = PIL.Image.open(io.BytesIO(encoded))
    assert image.format == "JPEG"
    assert image.width == COLUMNS * (CELL_WIDTH + GAP) + GAP
    assert len(encoded) < MOST_PICTURE_BYTES
    shown = re.findall(r"- `(m[0-9a-f]+_\d{6})` at [\d.]+ s: `(.*)`", page)
    assert 1 < len(shown) <= 4
    ok = dict(asked(ran, "select frame_id, text from captions_ok"))
    assert all(ok[frame_id] == text for frame_id, text in shown)


def test_names_say_movies_captioner_and_shard(ran: Ran, prefect_environment: dict[str, str]) -> None:
    api = Api(prefect_environment)
    assert api.name(ran.flow_run_id) == "trailers (3) · planted"
    names = api.step_names(ran.flow_run_id)
    shards = sorted(
        shard for (shard,) in asked(ran, "select movie_id || '/' || shard from files where \"table\" = 'frames'")
    )
    titles = dict(asked(ran, "select movie_id, title from movies"))
    spoken = [f"{titles[shard.partition('/')[0]]} {shard.partition('/')[2]}" for shard in shards]
    for verb, captioner in (("extract", ""), ("detect", ""), ("caption", ""), ("mend", ""), ("check", " · planted")):
        assert {f"{verb} {one}{captioner}" for one in spoken} <= set(names)
    assert "summarise planted" in names


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_without_an_address_the_gallery_is_explained_and_with_one_it_is_linked(
    ran: Ran, tmp_path: Path, prefect_environment: dict[str, str]
) -> None:
    told = ran.artifacts["caption-movies-gallery"]["data"]
    assert f"`caption-movies serve --store {ran.store}`" in told
    assert "](" not in told
    write_site(select_frames(Store(str(ran.store)), None), tmp_path / "site")
    with served(tmp_path / "site") as url:
        again = run(ran.store, ran.movies, ran.profile, prefect_environment, gallery_url=url)
    gallery = again.artifacts["caption-movies-gallery"]
    assert gallery["data"] == f"[Open the gallery]({url})"
    assert gallery["description"].endswith("It answered when the run ended.")
    frames = re.findall(r"- \[`(m[0-9a-f]+_\d{6})`\]\(([^)]*)\)", again.artifacts["caption-movies-frames"]["data"])
    assert frames
    assert all(link == f"{url}#view=frame&frame={frame_id}" for frame_id, link in frames)
    numbers = again.numbers()
    assert {numbers["shards made", stage] for stage in STAGES} == {0}  # nothing was done again
    assert {stage: numbers["shards reused", stage] for stage in STAGES} == ran.report.made
    assert numbers["tokens", "written"] == 0
    progress = again.artifacts["caption-movies-progress-caption"]
    assert (progress["data"], "found finished" in progress["description"]) == (100, True)


def test_an_address_that_is_none_ends_the_run_before_it_begins(ran: Ran, prefect_environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="gallery_url is 'file:///tmp/site', which is no http address"):
        run(ran.store, ran.movies, ran.profile, prefect_environment, gallery_url="file:///tmp/site")

"""Plots: what stands in them, that nothing is cut off or lies over another, that they are the same each time."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from plot_making import BAD, plotted_store, write_scores, write_training
from rows import caption, frame, movie, write
from score_making import store_of

from flows.command_line import main
from storage import catalog
from storage.store import Store
from storage.tables import Summary
from tasks import plots
from tasks.compare_captioners import compare_captioners
from tasks.drawn_frames import HUES
from tasks.errors import MissingExtraError, PlotError, UnknownNameError
from tasks.plot_data import Asked, known_captioners
from tasks.plot_style import PALETTE, check_matplotlib, drawing, labels, legible, number, save, shades
from tasks.plots.differences import Difference, difference_of
from tasks.plots.throughput import Work, _done, _stretches
from tasks.plots.training import curves_figure
from tasks.score_config import ScoreConfig

REPOSITORY = Path(__file__).parents[1]
LONG = [
    "pixtral-12b-groundcap-lora-r16-stage-two-human-captions", "pixtral-12b-groundcap-lora-r16-stage-one-automatic",
    "blip", "blip2-opt-2.7b", "qwen", "vllm-pixtral-large-2411-at-the-office", "demo", "scripted",
]  # fmt: skip
HOSTILE = ["<script>alert(1)<", '$x^2$ & "q" onload=alert(2)', "_nolegend_", "漢字\u202e]]>"]
PLOTS = plots.available()
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    """By what is special in them."""
    folder = tmp_path_factory.mktemp("plotted")
    made = {
        name: plotted_store(folder / name, captioners)
        for name, captioners in {"two": ["alpha", "beta"], "many": LONG, "hostile": HOSTILE, "one": ["alone"]}.items()
    }
    for name in ("alpha", "beta"):
        write_training(made["two"], name)
    for name in LONG:
        write_training(made["many"], name)
    write_training(made["hostile"], HOSTILE[1])
    write_training(made["one"], "alone")
    return made


def texts(svg: Path) -> list[str]:
    """What is written in a picture."""
    return ["".join(one.itertext()) for one in ElementTree.parse(svg).iter(f"{SVG}text")]


def drawn(store: Store, name: str, place: Path, **options: Any) -> Path:
    (path,) = plots.draw_plot(store.location, name, str(place), force=True, **options).written
    return path


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_a_picture_that_names_store_captioners_and_how_many_captions(
    name: str, stores: dict[str, Store], tmp_path: Path
) -> None:
    with Image.open(drawn(stores["two"], name, tmp_path / "plot.png")) as picture:
        assert picture.format == "PNG"
        assert picture.width == 1000
        assert 200 < picture.height < 2000
        colours = picture.convert("RGB").getcolors(1 << 20)
    assert colours
    assert len(colours) > 50
    said = texts(drawn(stores["two"], name, tmp_path / "plot.svg"))
    assert any("two" in one.split() for one in said)
    assert all(any(captioner in one for one in said) for captioner in ("alpha", "beta"))
    if name in ("scores", "captioners", "violations"):
        assert any("alpha: 60 captions, beta: 60 captions" in one for one in said)


@pytest.mark.parametrize("which", ["many", "hostile", "one"])
@pytest.mark.parametrize("name", PLOTS)
def test_no_text_is_cut_off_or_runs_into_another(name: str, which: str, stores: dict[str, Store]) -> None:
    location = stores[which].location
    with drawing(), catalog.connect(location) as connection:
        figure = plots.load(name).draw(
            Asked(connection=connection, location=location, known=known_captioners(connection))
        )
        figure.savefig(io.BytesIO(), format="png")
        boxes = list(_boxes_of_texts(figure))
        edge = figure.bbox
    assert len(boxes) > 5
    for text, box in boxes:
        assert box.x0 >= edge.x0 - 1, text
        assert box.x1 <= edge.x1 + 1, text
        assert box.y0 >= edge.y0 - 1, text
        assert box.y1 <= edge.y1 + 1, text
    lying_over = [
        (one, other)
        for (one, a), (other, b) in combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 2 and min(a.y1, b.y1) - max(a.y0, b.y0) > 2
    ]
    assert lying_over == []


def _boxes_of_texts(figure: Any) -> Iterator[tuple[str, Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    renderer = FigureCanvasAgg(figure).get_renderer()
    beyond = set()  # ticks that are there and not drawn, because the axis ends before them
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        beyond |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    for one in set(figure.findobj(Text)) - beyond:
        box = one.get_window_extent(renderer)
        if one.get_visible() and one.get_text().strip() and box.width:
            yield one.get_text(), box


@pytest.mark.parametrize("name", PLOTS)
def test_names_are_never_markup_nor_formulas(name: str, stores: dict[str, Store], tmp_path: Path) -> None:
    path = drawn(stores["hostile"], name, tmp_path / "plot.svg")
    tags = {one.tag.rpartition("}")[2] for one in ElementTree.parse(path).iter()}
    assert tags <= {
        "svg", "metadata", "RDF", "Work", "type", "format", "defs", "style", "g", "path", "use", "text", "tspan",
        "clipPath", "rect",
    }  # fmt: skip
    attributes = {key for one in ElementTree.parse(path).iter() for key in one.attrib}
    assert not any(key.lower().startswith("on") for key in attributes)
    said = "\n".join(texts(path))
    assert '$x^2$ & "q' in said
    if name not in ("differences", "training"):  # there one of them was trained
        assert "<script>" in said
        assert "_nolegend_" in said
        assert "[U+6F22]" in said


def test_the_same_store_gives_the_same_bytes_in_another_process_and_beside_settings_of_the_machine(
    stores: dict[str, Store], tmp_path: Path
) -> None:
    import matplotlib

    location = stores["two"].location
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "matplotlibrc").write_text("lines.linewidth: 9\nfont.family: serif\n")
    program = (
        "import sys\nfrom tasks.plots import draw_plot\n"
        "draw_plot(sys.argv[1], 'all', sys.argv[2], ending='.svg')\n"
        "draw_plot(sys.argv[1], 'scores', f'{sys.argv[2]}/scores.png')"
    )
    with subprocess.Popen(  # both draw at the same time, which halves the wait
        [sys.executable, "-c", program, location, str(tmp_path / "again")], cwd=REPOSITORY,
        env=os.environ | {"MATPLOTLIBRC": str(tmp_path / "settings"), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
    ) as other, matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "other", "axes.facecolor": "red"}):  # fmt: skip
        assert main(["plot", "all", "--store", location, "--out", str(tmp_path / "all"), "--format", "svg"]) == 0
        drawn(stores["two"], "scores", tmp_path / "all" / "scores.png")
    assert other.returncode == 0
    first, again = (
        {path.name: path.read_bytes() for path in (tmp_path / folder).glob("*.*g")} for folder in ("all", "again")
    )
    assert sorted(first) == sorted([*(f"{name}.svg" for name in PLOTS), "scores.png"])
    assert [name for name in first if first[name] != again[name]] == []


def test_the_numbers_are_those_that_sql_gives(stores: dict[str, Store], tmp_path: Path) -> None:
    with catalog.connect(stores["two"].location) as connection:
        rates = {(a, b): e for a, b, _, _, e in catalog.ask(connection, "violations_by_code").fetchall()}
        means = connection.sql("select value from summaries where metric = 'meteor' order by captioner").fetchall()
        ((speed,),) = connection.sql(
            "select sum(frames) / sum(seconds) from stage_runs where stage = 'extract' and run_id = 'one'"
        ).fetchall()
    said = texts(drawn(stores["two"], "violations", tmp_path / "a.svg"))
    assert rates["alpha", "no-id"] == 250
    assert ("beta", "no-id") not in rates
    assert {number(rate) for rate in rates.values()} | {"0"} <= set(said)
    for plot in ("captioners", "scores"):
        assert {number(mean) for (mean,) in means} <= set(texts(drawn(stores["two"], plot, tmp_path / "b.svg")))
    said = texts(drawn(stores["two"], "throughput", tmp_path / "c.svg"))
    assert number(speed) in said
    assert any(f"{runs} runs from 2026-01-01 12:00 UTC" in one for one in said for runs in (3, 4, 5))


def test_captioners_and_metrics_are_chosen(
    stores: dict[str, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "plot.svg")
    ask = ["plot", "captioners", "--store", stores["many"].location, "--out", out]
    assert main([*ask, "--captioners", "qwen", "blip", "--metric", "length_words", "cider_d"]) == 0
    assert capsys.readouterr().out == f"written   {out}\n"
    said = texts(tmp_path / "plot.svg")
    assert said.index("qwen") < said.index("blip")
    assert "demo" not in said
    assert "length_words_macro" in said
    assert "meteor" not in said
    assert main(ask) == 1
    assert "stands there already. Give --force" in capsys.readouterr().err
    ask.append("--force")
    for wrong, code, says in (
        (["--captioners", "qwenn"], 2, "unknown captioner 'qwenn'. Did you mean 'qwen'?"),
        (["--metrics", "meteorr"], 2, "unknown metric 'meteorr'. Did you mean 'meteor'?"),
        (["--metrics", "spice"], 1, "no values of spice that this plot could show. Compute them with: caption-movies"),
    ):
        assert main([*ask, *wrong]) == code
        assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["scors", "--out", "a.png"], 2, "unknown plot 'scors'. Did you mean 'scores'?"),
        (["scores"], 2, "say where to: --out scores.png"),
        (["scores", "--out", "a.pdf"], 1, "has to end with .png or .svg"),
        (["scores", "--out", "s3://bucket/a.png"], 1, "is no path of this machine"),
        (["violations", "--out", "a.png", "--metrics", "meteor"], 2, "leave --metrics out"),
    ],
)
def test_wrong_words_say_the_remedy(
    arguments: list[str], code: int, says: str, stores: dict[str, Store], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", *arguments, "--store", stores["two"].location]) == code
    assert says in capsys.readouterr().err


def test_without_a_name_the_plots_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot"]) == 0
    said = capsys.readouterr().out
    assert all(f"{name}\n    {plots.load(name).QUESTION}\n" in said for name in PLOTS)


def test_where_nothing_can_be_shown_there_is_no_picture_but_what_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(str(tmp_path / "store"))
    write(store, [movie()], shard="mabc")
    for name in PLOTS:
        assert main(["plot", name, "--store", store.location, "--out", str(tmp_path / "plot.png")]) == 1
        assert f"caption-movies: {store.location} has no " in (said := capsys.readouterr().err)
        assert f"--store {store.location}" in said
    assert main(["plot", "all", "--store", store.location, "--out", str(tmp_path / "plots")]) == 1
    assert "there is nothing to draw" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


def test_all_draws_what_there_is_and_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(str(tmp_path / "store"))
    write(store, [movie()], shard="mabc")
    write(store, [frame(number) for number in range(60)])
    write(store, [caption(f"mabc_{number:06d}", captioner="tiny") for number in range(60)], captioner="tiny")
    write_scores(store, "tiny", 0)
    ask = ["plot", "all", "--store", store.location, "--out", str(tmp_path / "plots"), "--format", "svg"]
    assert main(ask) == 0
    said = capsys.readouterr()
    assert {path.name for path in (tmp_path / "plots").glob("*.svg")} == {"captioners.svg", "scores.svg"}
    assert "not drawn training" in said.err
    assert "not drawn violations" in said.err
    assert main(ask) == 1
    assert main([*ask, "--force"]) == 0


def test_captions_without_a_fault_are_no_empty_picture(tmp_path: Path) -> None:
    from gallery_making import GOOD, write_movie

    store = Store(str(tmp_path / "store"))
    write_movie(store, {"clean": [GOOD], "faulty": [GOOD, *BAD]}, frames=6)
    with pytest.raises(PlotError, match="no caption has a violation, of clean: 6 captions"):
        drawn(store, "violations", tmp_path / "a.png", captioners=["clean"])
    assert "faulty" in texts(drawn(store, "violations", tmp_path / "a.svg"))
    with pytest.raises(PlotError, match=r"no training log of clean\. Train one: caption-movies train"):
        drawn(store, "training", tmp_path / "a.png", captioners=["clean"])
    with pytest.raises(UnknownNameError, match="unknown captioner 'x'"):
        drawn(store, "training", tmp_path / "a.png", captioners=["x"])


def test_without_matplotlib_the_install_line_is_said(
    monkeypatch: pytest.MonkeyPatch, stores: dict[str, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError):
        check_matplotlib()
    assert main(["plot", "scores", "--store", stores["two"].location, "--out", str(tmp_path / "a.png")]) == 1
    assert "pip install 'caption-movies[plots]'" in capsys.readouterr().err


def test_a_training_leaves_the_same_picture_with_its_stages_named(tmp_path: Path) -> None:
    first = {"loss": [(1, 3.0), (2, 2.0)], "eval_loss": [(2, 2.5)], "eval_validation": [(2, 0.5)]}
    log = [("early", first), ("late", {"loss": [(1, 1.0)]})]
    with drawing():
        save(curves_figure({"mine": log}, "Training of mine"), tmp_path / "curve.svg", ".svg")
    said = texts(tmp_path / "curve.svg")
    assert "Training of mine" in said
    assert {"Loss", "Validation", "Learning rate", "Speed", "early", "late", "nothing was logged"} <= set(said)
    assert any("mine: early 2, late 1" in one for one in said)


def test_compare_draws_its_differences_and_says_which_are_more_than_chance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = ["grounding", "length", "violation_rate"]
    config = ScoreConfig(metrics=metrics, resamples=200)
    said = {"good": ['<gdo class="dog" dog-0>a dog</gdo>'] * 20, "bad": ['<gdo class="cat" cat-0>a cat</gdo>'] * 20}
    store = store_of(tmp_path / "store", said, config, references=False)
    out = tmp_path / "plot.svg"
    ask = ["compare", store.location, "--captioners", "good", "bad", "--metrics", *metrics, "--plot"]
    assert main([*ask, str(out)]) == 0
    assert "grounding_f1_strict_macro" in capsys.readouterr().out
    found = compare_captioners("good", "bad", store, config)
    looks = {row.metric: one.verdict for row in found if (one := difference_of(row))}
    assert looks["grounding_f1_strict_macro"] == "better"
    assert looks["violation_rate_macro"] == "better"
    assert looks["length_words_macro"] == "chance"
    written = texts(out)
    assert "Differences: good less bad" in written
    assert "found / detected, strict;" in " ".join(written)
    assert main([*ask, str(out)]) == 1
    assert "Give --force" in capsys.readouterr().err
    assert main(["compare", store.location, "--captioners", "good", "bad", "--metrics", "length", "--force", "--plot",
                 str(out)]) == 0  # fmt: skip
    assert {"length_words_macro", "length_characters_macro"} <= set(texts(out))
    assert main([*ask, str(tmp_path / "plot.gif")]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plot.svg", "store"]


def test_what_is_better_hangs_on_direction_and_chance() -> None:
    def verdict(difference: float, p_value: float | None, higher: bool | None) -> str:
        row = Difference(difference=difference, low=None, high=None, p_value=p_value, higher_is_better=higher)
        return row.verdict

    assert [verdict(-1, 0.01, one) for one in (True, False, None)] == ["worse", "better", "differs"]
    assert [verdict(1, one, True) for one in (0.01, 0.05, None)] == ["better", "chance", "chance"]


def test_time_at_work_leaves_pauses_out_and_shards_side_by_side_add_up() -> None:
    shards = Work(np.array([0.0, 0.0, 100.0]), np.array([10.0, 10.0, 110.0]), np.array([20.0, 20.0, 5.0]))
    stretches = _stretches([shards], pause=1.0)
    assert stretches.tolist() == [[0, 10], [100, 110]]
    assert _stretches([shards], pause=90.0).tolist() == [[0, 110]]
    assert _done(shards, stretches, np.array([0.0, 5.0, 10.0, 15.0, 20.0])).tolist() == [0, 20, 40, 42.5, 45]


def test_colours_are_the_gallerys_and_names_stay_apart() -> None:
    known = {"#{:02x}{:02x}{:02x}".format(*hue) for hue in HUES}
    assert set(PALETTE[:-1]) <= known
    names = [f"captioner-{place}" for place in range(24)]
    assert len(set(shades(names).values())) == 24
    twins = ["a" * 20 + one + "b" * 20 for one in "xyz"]
    assert len(set(labels(twins).values())) == 3
    assert all(len(one) < 36 for one in labels(twins).values())
    assert legible("a\u202e\n漢é") == "a[U+202E]⏎[U+6F22]é"
    assert [number(one) for one in (0, 0.5, 1234.5, 1e-9)] == ["0", "0.5", "1,234", "<0.001"]


def test_who_has_none_of_the_scores_has_no_row(tmp_path: Path) -> None:
    store = plotted_store(tmp_path / "here", ["alpha", "beta"])
    panoptic = Summary(
        captioner="detector", metric="panoptic_quality", group="all", value=0.5, low=None, high=None, captions=9,
        signature="s", reason=None,
    )  # fmt: skip
    write(store, [panoptic], shard="all", captioner="detector")
    said = texts(drawn(store, "captioners", tmp_path / "plot.svg"))
    assert any("alpha: 60 captions, beta: 60 captions" in one for one in said)
    assert "detector" not in said

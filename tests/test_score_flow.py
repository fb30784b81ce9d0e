"""`caption-movies score` and its flow, on a store of a real clip, against a real Prefect server."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from pipeline_help import files_of, rows_of, scripted_profile
from rows import asked
from score_making import caption, store_of

from flows.command_line import main
from flows.start_scoring import read_wanted
from storage.checks import check_store
from storage.errors import ParametersError
from storage.store import Store
from tasks.scores import ScoreConfig

CLIP = Path(__file__).parent / "data" / "videos" / "big_buck_bunny_432_433.webm"
CARD_ORDER = ["P", "R", "F1", "BLEU-4", "METEOR", "CIDEr", "SPICE", "ROUGE-L", "gMETEOR"]
QUICK = ScoreConfig(metrics=["grounding", "meteor", "gmeteor", "bleu", "rouge_l", "cider", "spice"], resamples=20)
ISSUE = "grounding_f1_macro < 0.95 * baseline"
GOOD = [f'A <gdo class="dog" dog-0>dog</gdo> waits near object number {number}.' for number in range(12)]
WRONG = ['A <gdo class="dog" dog-99>dog</gdo> stands there.'] * 12


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with two captioners, one of which is at fault in every caption; no references."""
    store_of(tmp_path / "store", {"good": GOOD, "bad": WRONG}, QUICK, references=False)
    return tmp_path / "store"


def references(store: Path, folder: Path, *, more: str = "") -> Path:
    file = folder / "references.jsonl"
    ids = [frame_id for (frame_id,) in asked(store, "select frame_id from frames order by 1")]
    told = [json.dumps({"frame_id": one, "caption": f"A big rabbit in meadow {n}."}) for n, one in enumerate(ids)]
    file.write_text("\n".join([*told, more]))
    return file


def order_of(said: str) -> list[str]:
    """The first words of a table's rows, in the terminal or in Markdown."""
    rows = (line.strip(" |").split("|")[0].split() for line in said.splitlines())
    return [row[0] for row in rows if row and row[0] in CARD_ORDER]


@pytest.mark.usefixtures("on_server")
def test_references_in_a_table_in_the_card_s_order_out(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], prefect_environment: dict[str, str]
) -> None:
    file = references(store, tmp_path, more='{"frame_id": "m_000099", "caption": "elsewhere"}')
    ask = ["score", "--store", str(store), "--references", str(file), "--captioner", "good"]
    assert main(ask) == 3
    said = capsys.readouterr()
    assert order_of(said.out) == CARD_ORDER
    assert "1 reference is of no frame in the store, and left out" in said.err
    assert "caption-movies sql summaries_by_captioner" in said.out
    values = dict(asked(store, "select metric, value from summaries where captioner = 'good' and \"group\" = 'all'"))
    assert (
        f"METEOR {values['meteor']:7.3f}".split()
        == next(line for line in said.out.splitlines() if "METEOR" in line).split()[:2]
    )
    assert values["spice"] is not None or "no SPICE: SPICE needs" in said.out
    api = prefect_environment["PREFECT_API_URL"]
    page = httpx.get(f"{api}/artifacts/score-captions-summary/latest", timeout=60).raise_for_status().json()["data"]
    assert order_of(page) == CARD_ORDER
    assert f"{values['meteor']:.3f}" in page
    assert "PixtralGroundCap" in page
    assert check_store(str(store)) == []
    before, rows = files_of(store), rows_of(store)
    assert main(ask) == 3
    assert (files_of(store), rows_of(store)) == (before, rows), "scored again where all was finished"


@pytest.mark.usefixtures("on_server")
def test_a_store_s_own_captions_as_references_give_alarms(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--store", str(store), "--references", str(store)]) == 1
    assert "has captions by bad, good. Say whose" in capsys.readouterr().err
    ask = ["score", "--store", str(store), "--references", str(store), "--reference-captioner", "good"]
    assert main([*ask, "--captioner", "good"]) == 0
    said = capsys.readouterr().out
    assert "ALARM equals_reference" in said
    assert "leakage" in said
    assert ("equals_reference", 1.0) in asked(store, "select code, value from alarms where captioner = 'good'")
    assert main(["score", "--store", str(store), "--captioner", "good", "--fail-if", "alarms > 0"]) == 4


@pytest.mark.usefixtures("on_server")
def test_a_gate_against_another_captioner(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["score", "--store", str(store), "--fail-if", ISSUE, "--baseline", "good"]
    assert main(ask) == 4
    said = capsys.readouterr().out
    assert f"gate      bad: {ISSUE}: FAILED: grounding_f1_macro is 0, baseline is " in said
    assert "Scores of good" in said, "the baseline is scored too"
    assert asked(store, "select * from baselines") == []
    turned = ["score", "--store", str(store), "--captioner", "good", "--fail-if", ISSUE, "--baseline", "bad"]
    assert main(turned) == 0
    assert "passed" in capsys.readouterr().out


@pytest.mark.usefixtures("on_server")
def test_a_gate_against_what_the_captioner_was(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It stays failed when asked again, also after `run` made the summaries anew; --accept moves the baseline."""
    ask = ["score", "--store", str(store), "--captioner", "good", "--fail-if", ISSUE]
    assert main(ask) == 0
    (before,) = asked(store, "select value from baselines where metric = 'grounding_f1_strict_macro'")
    files = files_of(store)
    assert main(ask) == 0
    assert files_of(store) == files, "the same baseline is not written again"
    caption(Store(str(store)), "good", WRONG, QUICK)  # as `run` does it
    for _ in range(2):
        capsys.readouterr()
        assert main(ask) == 4
        assert f"is 0, baseline is {before[0]:.6g}" in capsys.readouterr().out
    assert main([*ask, "--accept"]) == 4
    assert main(ask) == 0
    assert check_store(str(store)) == []


@pytest.mark.usefixtures("on_server")
def test_a_slow_slide_does_not_pass(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A captioner that loses a caption in twelve each time, under a gate that lets a tenth go: the baseline stays."""
    quick, slide = ScoreConfig(metrics=["grounding"], resamples=20), "grounding_f1_macro < 0.9 * baseline"
    ask = ["score", "--store", str(store), "--captioner", "good", "--fail-if", slide]
    shutil.rmtree(store / "summaries")
    codes = []
    for lost in range(3):
        caption(Store(str(store)), "good", WRONG[:lost] + GOOD[lost:], quick)
        if not lost:
            shutil.rmtree(store / "summaries")  # so that the first run has nothing to be held against
        codes.append(main(ask))
    assert codes == [1, 0, 4]
    said = capsys.readouterr().out
    assert "The scores of this run are the baseline from now on" in said
    assert "grounding_f1_macro is 0.833333, baseline is 1" in said
    assert main([*ask, "--accept"]) == 4
    assert main(ask) == 0


@pytest.mark.usefixtures("on_server")
def test_what_cannot_be_decided_and_what_is_wrong(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit codes other than a failed gate's, with the remedy."""
    ask = ["score", "--store", str(store), "--captioner", "good"]
    for more, code, says in (
        (["--fail-if", "bleu4 < 0.9"], 1, "CANNOT BE DECIDED: good has no value of bleu4: no frame with a caption has"),
        (
            ["--fail-if", "alarms > 0"],
            1,
            "good has 0 alarms, and perhaps more: no value of bleu4: no frame with",
        ),
        (["--fail-if", "alarms > 2 or alarms < 0"], 0, "passed: alarms is 0"),
        (["--fail-if", "chair_s_macro > 0"], 1, "not among the metrics that were computed"),
        (["--fail-if", "blue4 < 0.9"], 2, "Did you mean 'bleu4'"),
        (["--fail-if", "bleu4"], 2, "compares nothing"),
        (["--fail-if", "bleu4 < 1", "--baseline", "bad"], 2, "no --fail-if asks it"),
        (["--fail-if", ISSUE, "--baseline", "god"], 2, "Did you mean 'good'"),
        (["--fail-if", ISSUE, "--baseline", "good"], 2, "good would be compared with itself"),
        (["--profile", "groundcp"], 2, "Did you mean 'groundcap'"),
        (["--references", str(store / "nothing.csv")], 2, "there is nothing at"),
    ):
        assert main([*ask, *more]) == code, more
        said = capsys.readouterr()
        assert says in said.out + said.err
    assert main(["score", "--store", str(store), "--captioner", "nobody"]) == 2
    with pytest.raises(ParametersError, match=r"no captioner is named. Captioners of .*: bad, good"):
        read_wanted(Store(str(store)), [], None, [ISSUE], None)
    assert main(["score", "--store", f"{store}-not-there"]) == 1
    shutil.rmtree(store / "summaries")
    assert main([*ask, "--fail-if", ISSUE]) == 1
    assert "good has no baseline yet" in capsys.readouterr().out
    assert main([*ask, "--fail-if", ISSUE]) == 0


@pytest.mark.usefixtures("on_server")
def test_captions_of_detections_that_are_gone_fail_with_the_remedy(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    next((store / "detections").rglob("*.parquet")).unlink()
    assert main(["score", "--store", str(store), "--captioner", "good", "--fail-if", "alarms > 0"]) == 1
    said = capsys.readouterr().out
    assert "these captions are of other detections than stand there now" in said
    assert "Scores of" not in said, "they may be those of an earlier run"


def test_compare_takes_the_store_as_the_issue_spells_it(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--captioners", "good", "bad", "--metrics", "grounding"]
    assert main(["compare", str(store), *asked]) == 0
    said = capsys.readouterr().out
    assert "a = good, b = bad" in said
    assert main(["compare", "--store", str(store), *asked]) == 0
    assert capsys.readouterr().out == said


def test_compare_says_each_reason_once(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without references: bleu has four values, and gmeteor is derived of another."""
    asked = ["--captioners", "good", "bad", "--metrics", "grounding", "bleu", "meteor", "gmeteor"]
    assert main(["compare", str(store), *asked]) == 0
    said = capsys.readouterr().out
    assert said.count("no frame with a caption has references") == 1
    lines = {words[0]: line for line in said.splitlines() if (words := line.split())}
    assert lines["bleu1"].endswith("higher  [1]")
    assert lines["bleu4"].endswith("higher  [1]")
    assert lines["meteor"].endswith("higher  [1]")
    assert lines["gmeteor_strict"].endswith("higher  [2]")
    assert lines["grounding_f1_strict_macro"].endswith("higher")
    assert lines["[1]"].startswith("[1] no frame with a caption has references; add them")
    assert lines["[2]"] == "[2] it needs meteor: see [1]"


@pytest.mark.usefixtures("on_server")
def test_run_ends_with_the_short_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--store", str(tmp_path / "store"), "--profile", str(scripted_profile(tmp_path, name="good"))]
    assert main(["run", str(CLIP), *given]) == 0
    said = capsys.readouterr().out
    assert order_of(said) == CARD_ORDER
    assert "no BLEU-4, METEOR, CIDEr, SPICE, ROUGE-L, gMETEOR: no frame" in said
    assert "all scores: caption-movies sql summaries_by_captioner" in said


def test_the_command_is_quiet_in_a_process_of_its_own(store: Path, prefect_environment: dict[str, str]) -> None:
    environment = {name: value for name, value in prefect_environment.items() if name != "PREFECT_LOGGING_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.command_line", "score", "--store", str(store), "--captioner", "good"],
        env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "INFO" not in done.stderr
    said = "12 captions; shards checked 1 (1 found finished), scored 1 (1 found finished)"
    assert done.stderr.splitlines()[-1].endswith(f"done: {said}")
    assert order_of(done.stdout) == CARD_ORDER

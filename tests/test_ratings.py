"""People's ratings from CSV: into the table of judgements, with every bad cell named."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hostile_server import Behaviour, Hostile
from judge_asking import captions_to_judge, config, judge, judgements
from pipeline_help import files_of

from flows.command_line import main
from storage.checks import check_store
from storage.store import Store
from tasks.criteria import CRITERIA
from tasks.errors import ConfigError, RatingsError
from tasks.judgements import judge_captions
from tasks.raters import text_digest
from tasks.ratings import Rated, import_ratings

ONE, TWO = "mabc_000000/one/0", "mabc_000003/one/0"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "store"))
    captions_to_judge(made)
    return made


def given(store: Store, tmp_path: Path, text: str, rater: str = "") -> Rated:
    (tmp_path / "r.csv").write_text(text, encoding="utf-8")
    return import_ratings(str(tmp_path / "r.csv"), store, rater)


def scores(store: Store) -> dict[tuple[str, str, str], float | None]:
    return {(row.rater, row.caption_id, row.criterion): row.score for row in judgements(store)}


def test_ratings_stand_beside_those_of_models_in_one_table(store: Store, tmp_path: Path) -> None:
    rated = given(
        store, tmp_path,
        "\ufeffcaption_id, rater ,overall,language_quality,reason,text,day\n"
        f'{ONE},ann,4,,"short, but true",a  dog 0,Monday\n'
        f"{TWO},ann,2.5,5,,,\n"
        f"{ONE},bob,1,1,,,\n"
        ",,,,,,\n",
    )  # fmt: skip
    assert (rated.raters, rated.captions, rated.scores, rated.ignored) == (["ann", "bob"], 3, 5, ["day"])
    assert scores(store) == {
        ("ann", ONE, "overall"): 4.0, ("ann", TWO, "overall"): 2.5, ("ann", TWO, "language_quality"): 5.0,
        ("bob", ONE, "overall"): 1.0, ("bob", ONE, "language_quality"): 1.0,
    }  # fmt: skip
    row = judgements(store)[0]
    assert (row.rater_kind, row.reason, row.text_digest) == ("person", "short, but true", text_digest("a dog 0"))
    assert (row.model, row.prompt, row.prompt_hash, row.asked_digest, row.error) == (None,) * 5
    assert store.files.under("judgements") == [
        f"judgements/captioner=one/movie_id=mabc/{rater}.parquet" for rater in ("ann", "bob")
    ]
    assert check_store(store.location) == []


def test_a_later_file_replaces_what_it_says_and_nothing_else(store: Store, tmp_path: Path) -> None:
    given(store, tmp_path, f"caption_id,overall,language_quality\n{ONE},4,5\n{TWO},3,3\n", "ann")
    given(store, tmp_path, f"caption_id,overall,language_quality\n{ONE},2,\n", "ann")
    assert list(scores(store).values()) == [5.0, 2.0, 3.0, 3.0]
    before = files_of(Path(store.location))
    given(store, tmp_path, f"caption_id,overall\n{ONE},2\n", "ann")
    assert files_of(Path(store.location)) == before, "written again without need"


def test_imports_of_one_rater_at_the_same_time_lose_nothing(store: Store, tmp_path: Path) -> None:
    told = [(caption_id, criterion) for caption_id in (ONE, TWO) for criterion in CRITERIA]
    paths = [tmp_path / f"{number}.csv" for number in range(len(told))]
    for path, (caption_id, criterion) in zip(paths, told, strict=True):
        path.write_text(f"caption_id,{criterion}\n{caption_id},3\n")
    with ThreadPoolExecutor(len(told)) as pool:
        list(pool.map(lambda path: import_ratings(str(path), store, "ann"), paths))
    assert scores(store) == {("ann", caption_id, criterion): 3.0 for caption_id, criterion in told}


def test_bad_cells_are_named_by_line_and_column_and_nothing_is_imported(store: Store, tmp_path: Path) -> None:
    text = (
        "caption_id,rater,overall,language_quality,text\n"
        f"{ONE},ann,4,6,\n"  # line 2
        f"{ONE},a b,4,4,\n"
        f",ann,4,4,\n"
        f"{TWO},ann,,,\n"
        f"{TWO},bob,good,nan,\n"  # line 6
        f"{TWO},eve,4,4,a dog 9\n"
        f"{ONE},eve,4,4,\n"
        f"{ONE},eve,5,5,\n"
        f"{TWO},eve,4,4,4,4\n"
    )
    with pytest.raises(RatingsError) as error:
        given(store, tmp_path, text)
    said = str(error.value)
    assert said.startswith("9 bad cells in ")
    assert "line 2, column language_quality: '6' is no number from 1 to 5" in said
    assert "line 3, column rater: the rater's name is 'a b'" in said
    assert "line 4, column caption_id: it is empty" in said
    assert "line 5, columns language_quality, overall: none has a rating" in said
    assert "line 6, column language_quality: 'nan' is no number" in said
    assert said.endswith("; and 4 more. Correct them, then import again.")
    assert judgements(store) == []
    for kept, why in (
        (5, "^2 bad cells in .*: .*; line 2, column overall: 'good' is no number from 1 to 5"),
        (9, "^1 bad cell in .*: line 2: more fields than the header has"),
    ):
        lines = text.splitlines()
        with pytest.raises(RatingsError, match=why):
            given(store, tmp_path, "\n".join([lines[0], lines[kept]]))
    with pytest.raises(RatingsError, match="line 2, column text: the caption in the store is another: 'a dog 3'"):
        given(store, tmp_path, "\n".join([text.splitlines()[0], text.splitlines()[6]]))
    with pytest.raises(RatingsError, match=f"line 3, column caption_id: eve rates '{ONE}' on line 2 already"):
        given(store, tmp_path, "\n".join([text.splitlines()[0], *text.splitlines()[7:9]]))


@pytest.mark.parametrize(
    ("header", "rater", "why"),
    [
        ("rater,overall", "", "line 1: column caption_id is missing"),
        ("caption_id,overall", "", "column rater is missing: add it, or name who rated with --rater"),
        ("caption_id,rater,overall", "ann", "do not give --rater too"),
        ("caption_id,overal", "ann", "column overal is not known; did you mean overall"),
        ("caption_id,note", "ann", "none of the criteria has a column: object_precision"),
        ("caption_id,overall,overall", "ann", "column overall stands there twice"),
        ("", "ann", "column caption_id is missing"),
    ],
)
def test_a_wrong_header_is_said(header: str, rater: str, why: str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(RatingsError, match=why):
        given(store, tmp_path, header + "\n", rater)


def test_files_that_cannot_be_read_say_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(RatingsError, match="cannot be read"):
        import_ratings(str(tmp_path / "nothing.csv"), store, "ann")
    (tmp_path / "r.csv").write_bytes(b"caption_id,overall\n\xff\xfe,1\n")
    with pytest.raises(RatingsError, match="in UTF-8"):
        import_ratings(str(tmp_path / "r.csv"), store, "ann")
    with pytest.raises(RatingsError, match="no row"):
        given(store, tmp_path, "caption_id,overall\n", "ann")


def test_rows_of_no_caption_are_left_out_and_named(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.csv").write_text(f"caption_id,overall\n{ONE},4\nmxyz_000000/one/0,4\n")
    assert main(["ratings", str(tmp_path / "r.csv"), "--rater", "ann", "--store", store.location]) == 3
    said = capsys.readouterr()
    assert said.out.startswith(f"1 score of 1 caption by ann in {store.location}\n")
    assert said.err.splitlines() == [
        "caption-movies: 1 row is of no caption in the store, and left out:",
        "    line 3: caption 'mxyz_000000/one/0' is not in the store",
    ]
    with pytest.raises(RatingsError, match="none of the 1 rows is of a caption in"):
        given(store, tmp_path, "caption_id,overall\nmxyz_000000/one/0,4\n", "ann")


def test_a_person_cannot_rate_under_a_model_s_name(
    store: Store, tmp_path: Path, start: Callable[[Behaviour], Hostile]
) -> None:
    judge_captions(["one"], store, config(start(judge)))
    with pytest.raises(ConfigError, match="'m' is the name of a model"):
        given(store, tmp_path, f"caption_id,overall\n{ONE},4\n", "m")

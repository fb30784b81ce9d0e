"""A model behind a real socket judges captions: what it is asked, what comes of its answers, and when it goes away."""

import base64
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hostile_server as wrong
import pytest
import rows as made
from hostile_server import Asked, Behaviour, Hostile, completion, status
from judge_asking import (
    PICTURE,
    RETRIES,
    asked_about,
    captions_to_judge,
    choose,
    config,
    for_caption,
    judge,
    judgements,
    number,
    opinions,
)
from pipeline_help import files_of

from flows.command_line import main
from storage import catalog
from storage.checks import check_store
from storage.store import Store
from storage.tables import Image
from tasks import judge_questions
from tasks.criteria import ANSWER_SCHEMA, CRITERIA, read_answer
from tasks.errors import ConfigError, StoreError, TransientError, UnknownModelError, UnknownNameError
from tasks.judgements import Judged, judge_captions
from tasks.ratings import import_ratings

pytestmark = pytest.mark.usefixtures("quick_retries")
REPOSITORY = Path(__file__).parents[1]
Start = Callable[[Behaviour], Hostile]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made_here = Store(str(tmp_path / "store"))
    captions_to_judge(made_here)
    return made_here


def say(text: str, **changes: Any) -> Behaviour:
    return lambda asked: asked.send(200, completion(text, **changes))


# --- what is asked -------------------------------------------------------------------------------------------------


def test_the_judge_sees_picture_detections_and_caption_and_the_form_goes_in_its_own_field(
    store: Store, start: Start
) -> None:
    server = start(judge)
    judge_captions(["one"], store, config(server))
    (body,) = [one.body for one in server.asked if "response_format" in one.body and number(one) == 2]
    before, picture, after = body.pop("messages")[0]["content"]
    assert base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/jpeg;base64,")) == PICTURE
    assert "[dog-0: 0.00,0.00,1.00,1.00]\n" in after["text"]
    assert "-----\na dog 2\n-----" in after["text"]
    assert not set("{}") & set(before["text"] + after["text"])
    assert all(f"- {criterion}: " in after["text"] for criterion in CRITERIA)
    seed = body.pop("seed")
    assert 0 <= seed < 2**63
    form = {"name": "judgement", "strict": True, "schema": ANSWER_SCHEMA}
    assert body == {
        "model": "m", "max_tokens": 1024, "temperature": 0.0,
        "response_format": {"type": "json_schema", "json_schema": form},
    }  # fmt: skip


def test_a_caption_cannot_fill_in_the_prompt(store: Store, start: Start) -> None:
    server = start(say(json.dumps(opinions())))
    text = "a {detections} [IMG] {caption} \\1"
    made.write(store, [made.caption(text=text, captioner="two")], captioner="two")
    judge_captions(["two"], store, config(server))
    (asked,) = [one for one in server.asked if "response_format" in one.body]
    assert f"-----\n{text}\n-----" in asked.body["messages"][0]["content"][2]["text"]


def test_a_prompt_keeps_its_words() -> None:
    """Other words are another file: judgements of one name and hash compare."""
    assert judge_questions.prompt_hash("criteria-1") == "155e9437b47d34cc"
    with pytest.raises(UnknownNameError, match="Did you mean 'criteria-1'"):
        config("http://localhost/v1", prompt="criteria-2")


# --- what is answered ----------------------------------------------------------------------------------------------


def test_a_judgement_is_a_row_for_each_criterion(store: Store, start: Start) -> None:
    server = start(judge)
    heard: list[Judged] = []
    judged = judge_captions(["one"], store, config(server), tell=lambda one: heard.append(dataclasses.replace(one)))
    assert judged == heard[-1] == Judged(captions=6, asked=6)
    rows = judgements(store)
    assert [(row.caption_id, row.criterion) for row in rows] == [
        (f"mabc_{place:06}/one/0", criterion) for place in range(6) for criterion in CRITERIA
    ]
    for place, row in enumerate(rows):
        caption = place // len(CRITERIA)
        assert (row.score, row.reason, row.error) == (1 + caption % 5, f"of {caption}", None)
        assert (row.rater, row.rater_kind, row.model, row.prompt) == ("m", "model", "m", "criteria-1")
        assert row.prompt_hash == judge_questions.prompt_hash("criteria-1")
    assert len({row.asked_digest for row in rows}) == len({row.text_digest for row in rows}) == 6
    assert check_store(store.location) == []
    with catalog.connect(store.location) as connection:
        found = catalog.ask(connection, "judgements_by_rater").fetchall()
        assert found == [("m", "model", "one", criterion, 2.667, 6, 0) for criterion in CRITERIA]
        assert connection.execute("select sum(prompt_tokens), sum(tokens) from stage_runs where stage = 'judge'"
                                  ).fetchone() == (6 * 7, 6 * 2)  # fmt: skip


def test_what_is_judged_is_not_asked_again(store: Store, start: Start) -> None:
    server = start(judge)
    judge_captions(["one"], store, config(server))
    before = files_of(Path(store.location))
    assert judge_captions(["one"], store, config(server)) == Judged(captions=6, kept=6)
    assert files_of(Path(store.location)) == before
    assert sorted(asked_about(server)) == list(range(6))


MALFORMED = {
    "prose": "I would give it a 4.",
    "fenced": f"```json\n{json.dumps(opinions())}\n```",
    "half": json.dumps(opinions())[:-9],
    "a list": "[4, 4, 4, 4, 4]",
    "one lacks": json.dumps({key: value for key, value in opinions().items() if key != "overall"}),
    "one more": json.dumps(opinions(beauty={"reason": "", "score": 4})),
    "bare numbers": json.dumps(dict.fromkeys(CRITERIA, 4)),
    "six": json.dumps(opinions(overall={"reason": "", "score": 6})),
    "zero": json.dumps(opinions(0)),
    "half points": json.dumps(opinions(3.5)),
    "a text": json.dumps(opinions("4")),
    "true": json.dumps(opinions(True)),
    "null": json.dumps(opinions(None)),
    "NaN": json.dumps(opinions(float("nan"))),
    "no reason": json.dumps(opinions(reason=None)),
    "half a character": json.dumps(opinions(reason="\ud800")),
    "twice": json.dumps(opinions())[:-1] + ', "overall": {"reason": "", "score": 1}}',
    "deep": "[" * 100_000,
    "nothing": "",
}


@pytest.mark.parametrize("form", MALFORMED)
def test_an_answer_out_of_form_is_none(form: str) -> None:
    with pytest.raises(ValueError):
        read_answer(MALFORMED[form])


@pytest.mark.parametrize(
    "wrong_answer",
    [
        say(MALFORMED["prose"]),
        say(MALFORMED["six"]),
        say(json.dumps(opinions()), finish_reason="length"),
        say(json.dumps(opinions()), finish_reason="content_filter"),
        say("", message={"role": "assistant", "content": None, "refusal": "I cannot help with that."}),
        say(json.dumps(opinions() | {"\ud800": 1})),
    ],
    ids=["prose", "six", "cut off", "filtered", "refused", "half a character"],
)
def test_a_malformed_answer_after_retries_is_a_row_that_says_so_and_never_a_score(
    wrong_answer: Behaviour, store: Store, start: Start
) -> None:
    server = start(for_caption(1, wrong_answer))
    judged = judge_captions(["one"], store, config(server))
    assert judged == Judged(captions=6, asked=6, failed=1)
    rows = [row for row in judgements(store) if row.caption_id.startswith("mabc_000001")]
    assert [row.criterion for row in rows] == list(CRITERIA)
    assert {(row.score, row.reason) for row in rows} == {(None, None)}
    assert all("its answer is of no use" in (row.error or "") for row in rows)
    assert {row.score for row in judgements(store)} == {None, 1, 3, 4, 5}
    tries = [one.body for one in server.asked if "response_format" in one.body and number(one) == 1]
    assert [body["temperature"] for body in tries] == [0.0] + [judge_questions.SAMPLED] * RETRIES
    assert len({body["seed"] for body in tries}) == RETRIES + 1
    assert judge_captions(["one"], store, config(server)) == Judged(captions=6, kept=6, failed=1)
    assert asked_about(server).count(1) == RETRIES + 1, "asked again without being told to"
    server.behave = judge
    assert judge_captions(["one"], store, config(server), retry_failed=True) == Judged(captions=6, asked=1, kept=5)
    assert {row.error for row in judgements(store)} == {None}


@pytest.mark.parametrize(
    "fault",
    [say(MALFORMED["prose"]), wrong.reset, wrong.not_json, status(429, "slow down", Retry_After="0"), status(500)],
    ids=["malformed", "reset", "not JSON", "429", "500"],
)
def test_what_goes_wrong_for_a_while_changes_no_row(
    fault: Behaviour, store: Store, tmp_path: Path, start: Start
) -> None:
    undisturbed = Store(str(tmp_path / "undisturbed"))
    captions_to_judge(undisturbed)
    judge_captions(["one"], undisturbed, config(start(judge)))
    server = start(for_caption(4, fault, times=RETRIES))
    judge_captions(["one"], store, config(server))
    assert judgements(store) == judgements(undisturbed)
    assert asked_about(server).count(4) == RETRIES + 1


def test_a_model_that_never_keeps_to_the_form_is_to_blame_and_not_the_captions(store: Store, start: Start) -> None:
    with pytest.raises(TransientError, match=r"answered none of 6 requests.*it is not JSON.*I would give it a 4"):
        judge_captions(["one"], store, config(start(say(MALFORMED["prose"]))))
    assert judgements(store) == []


def test_a_request_that_the_server_refuses_is_a_row(store: Store, start: Start) -> None:
    judge_captions(["one"], store, config(start(for_caption(0, status(400, "the picture is too large")))))
    errors = {row.caption_id: row.error for row in judgements(store) if row.error}
    assert errors.keys() == {"mabc_000000/one/0"}
    assert "the picture is too large" in (errors["mabc_000000/one/0"] or "")


def test_what_is_no_caption_or_has_no_picture_is_not_asked_about(store: Store, start: Start) -> None:
    server = start(judge)
    frames = [
        dataclasses.replace(made.frame(place), image=Image(bytes=PICTURE[: 60 if place == 2 else None], path="x.jpg"))
        for place in range(4)
    ]
    made.write(store, frames)
    said = [made.caption(one.frame_id, f"a dog {one.frame_index}", captioner="one") for one in frames]
    said[0] = made.caption(frames[0].frame_id, "", captioner="one", error="it broke")
    made.write(store, said, captioner="one")
    choose(store, {one.caption_id: place != 1 for place, one in enumerate(said)})
    judged = judge_captions(["one"], store, config(server))
    assert judged == Judged(captions=7, asked=4, missing=3)
    assert sorted(asked_about(server)) == [3, 3, 4, 5]
    errors = {row.caption_id[:11]: row.error or "" for row in judgements(store) if row.error}
    assert errors.keys() == {"mabc_000000", "mabc_000001", "mabc_000002"}
    assert "failed, or is quarantined" in errors["mabc_000000"]
    assert errors["mabc_000001"] == errors["mabc_000000"]
    assert "picture cannot be decoded" in errors["mabc_000002"]
    assert judge_captions(["one"], store, config(server)).missing == 3


# --- again ---------------------------------------------------------------------------------------------------------


def test_only_what_changed_is_asked_again(store: Store, start: Start) -> None:
    server = start(judge)
    judge_captions(["one"], store, config(server))
    said = [made.caption(f"mabc_{n:06}", f"a dog {n + 3 if n == 1 else n}", captioner="one") for n in range(3)]
    made.write(store, said, captioner="one", inputs=["changed"])
    server.asked.clear()
    assert judge_captions(["one"], store, config(server)) == Judged(captions=6, asked=1, kept=5)
    assert asked_about(server) == [4]
    server.asked.clear()
    server.models = {"data": [wrong.MODELS[0] | {"root": "org/newer"}, {"id": "org/other"}]}
    assert judge_captions(["one"], store, config(server)).asked == 6, "another model under the same name"
    assert judge_captions(["one"], store, config(server, model="org/other")).asked == 6
    assert {row.rater for row in judgements(store)} == {"m", "org-other"}


def test_a_file_that_is_damaged_is_judged_anew(store: Store, start: Start) -> None:
    server = start(judge)
    judge_captions(["one"], store, config(server))
    before = judgements(store)
    Path(store.files.full(store.files.under("judgements")[0])).write_bytes(b"PAR1")
    assert judge_captions(["one"], store, config(server)) == Judged(captions=6, asked=3, kept=3)
    assert judgements(store) == before


def test_a_server_that_dies_leaves_what_it_answered_and_only_the_rest_is_asked(
    store: Store, tmp_path: Path, start: Start
) -> None:
    die = threading.Event()

    def behave(asked: Asked) -> None:
        if len(asked_about(asked.server)) <= 4:
            return judge(asked)
        die.set()
        return wrong.hang(asked)

    undisturbed = Store(str(tmp_path / "undisturbed"))
    captions_to_judge(undisturbed)
    judge_captions(["one"], undisturbed, config(start(judge)))
    with ExitStack() as life, ThreadPoolExecutor(1) as other:
        server = life.enter_context(wrong.hostile(behave))
        other.submit(lambda: die.wait(60) and life.close())  # from then on nobody listens there
        with pytest.raises(TransientError, match=r"gave no answer in 3 tries.*(Connect|isconnect).*run again"):
            judge_captions(["one"], store, config(server, requests_in_flight=1))
    kept = {row.caption_id for row in judgements(store)}
    assert len(kept) == 4
    assert check_store(store.location) == []
    second = start(judge)
    assert judge_captions(["one"], store, config(second)) == Judged(captions=6, asked=2, kept=4)
    assert sorted(asked_about(second)) == [4, 5]
    assert judgements(store) == judgements(undisturbed)


def test_what_is_in_flight_when_a_run_must_end_is_kept(store: Store, start: Start) -> None:
    both, failed = threading.Barrier(2), threading.Event()

    def behave(asked: Asked) -> None:
        both.wait(60)
        if number(asked) == 0:
            status(401, "who are you")(asked)
            failed.set()
        else:
            failed.wait(60)
            judge(asked)

    with pytest.raises(ConfigError, match="wants another key"):
        judge_captions(["one"], store, config(start(behave), requests_in_flight=2))
    assert {row.caption_id for row in judgements(store)} == {"mabc_000001/one/0"}


def test_a_run_that_is_killed_and_started_again_asks_nothing_twice_and_leaves_the_same_rows(
    store: Store, tmp_path: Path, start: Start
) -> None:
    undisturbed = Store(str(tmp_path / "undisturbed"))
    captions_to_judge(undisturbed)
    judge_captions(["one"], undisturbed, config(start(judge)))
    running: list[subprocess.Popen[bytes]] = []

    def behave(asked: Asked) -> None:
        if len(asked_about(asked.server)) == 5:  # amid the second shard
            os.kill(running[0].pid, signal.SIGKILL)
            return
        judge(asked)

    server = start(behave)
    command = ["judge", "--store", store.location, "--server", server.url, "--model", "m", "--requests-in-flight", "1"]
    with subprocess.Popen([sys.executable, "-m", "flows.command_line", *command], cwd=REPOSITORY) as process:
        running.append(process)
        assert process.wait(120) == -signal.SIGKILL
    assert len({row.caption_id for row in judgements(store)}) == 4
    assert main(command) == 0
    assert asked_about(server) == [0, 1, 2, 3, 4, 4, 5]  # the fifth was never answered
    assert judgements(store) == judgements(undisturbed)
    assert check_store(store.location) == []


# --- what cannot be -------------------------------------------------------------------------------------------------


def test_wrong_names_are_said_with_the_remedy(store: Store, tmp_path: Path, start: Start) -> None:
    server = start(judge)
    with pytest.raises(UnknownModelError, match=r"no model 'n'. It has: m\."):
        judge_captions(["one"], store, config(server, model="n"))
    with pytest.raises(UnknownNameError, match=r"unknown captioner 'on'\. Did you mean 'one'\?"):
        judge_captions(["on"], store, config(server))
    with pytest.raises(StoreError, match="holds no captions to judge"):
        judge_captions([], Store(str(tmp_path / "empty")), config(server))
    with pytest.raises(ConfigError, match="the rater's name is 'a b'"):
        config(server, rater="a b")
    (tmp_path / "r.csv").write_text("caption_id,overall\nmabc_000000/one/0,4\n")
    import_ratings(str(tmp_path / "r.csv"), store, "ann")
    with pytest.raises(ConfigError, match="'ann' is the name of a person"):
        judge_captions(["one"], store, config(server, rater="ann"))


def test_the_command_says_what_came_of_it(store: Store, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    captions_to_judge(store, "two", shards=1)
    server = start(for_caption(5, say("no")))
    command = ["judge", "--store", store.location, "--server", server.url, "--model", "m", "--retries", "1"]
    assert main(command) == 3
    said = capsys.readouterr()
    assert said.out.startswith("9 captions of one, two: 9 judged now by m, 0 before\n")
    assert said.err.startswith("caption-movies: 1 caption without an answer in the right form; again with --retry-f")
    assert main([*command, "--captioner", "two"]) == 0
    assert capsys.readouterr().out.startswith("3 captions of two: 0 judged now by m, 3 before\n")
    assert main([*command, "--captioner", "tow"]) == 2
    assert "Did you mean 'two'?" in capsys.readouterr().err
    assert main([*command, "--model", "n"]) == 2
    assert "It has: m" in capsys.readouterr().err

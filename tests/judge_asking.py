"""A store with captions to be judged, and a server that judges, as the tests of judges need them."""

import dataclasses
import json
import re
from typing import Any

import numpy as np
import rows as made
from hostile_server import Asked, Behaviour, Hostile, completion

from storage.store import Store
from storage.tables import Choice, Image, Judgement
from tasks.criteria import CRITERIA
from tasks.judge_questions import JudgeConfig
from tasks.pictures import jpeg
from tasks.server_config import ServerConfig

RETRIES = 2
PICTURE = jpeg(np.full((8, 12, 3), 90, np.uint8), 90)


def captions_to_judge(store: Store, captioner: str = "one", shards: int = 2, each: int = 3) -> None:
    """Frames, detections and captions `a dog 0`, `a dog 1`, ... by one captioner."""
    made.write(store, [made.movie()], "mabc")
    for number in range(shards):
        shard, places = f"mabc/{number:05}", range(number * each, (number + 1) * each)
        frames = [dataclasses.replace(made.frame(n), image=Image(bytes=PICTURE, path="x.jpg")) for n in places]
        pictures = made.write(store, frames, shard)
        found = [made.detection(frame_id=one.frame_id) for one in frames]
        objects = made.write(store, found, shard, inputs=[pictures.fingerprint])
        said = [made.caption(one.frame_id, f"a dog {one.frame_index}", captioner=captioner) for one in frames]
        made.write(store, said, shard, captioner=captioner, inputs=[objects.fingerprint])


def choose(store: Store, chosen: dict[str, bool], shard: str = "mabc/00000", captioner: str = "one") -> None:
    """Of these captions say whether each may be used: the others of the shard do not count."""
    (captions,) = [ref for ref in [store.ref("captions", shard, captioner)] if ref]
    choices = [
        Choice(
            captioner=captioner, frame_id=key.split("/")[0], caption_id=key, rank=0, chosen=good,
            selected_by="mean_logprob", value=None, verdict="ok", reasons=[],
        )
        for key, good in chosen.items()
    ]  # fmt: skip
    made.write(store, choices, shard, captioner=captioner, inputs=[captions.fingerprint])


def config(server: Hostile | str, **changes: Any) -> JudgeConfig:
    how = {key: changes.pop(key) for key in ("timeout_seconds", "requests_in_flight", "retries") if key in changes}
    url = server if isinstance(server, str) else server.url
    asked = ServerConfig(url=url, **({"retries": RETRIES, "requests_in_flight": 4} | how))
    return JudgeConfig(**({"server": asked, "model": "m"} | changes))


def number(asked: Asked) -> int:
    """Which caption is asked about, by its text."""
    text = "".join(part.get("text", "") for part in asked.body["messages"][0]["content"])
    found = re.search(r"-----\na dog (\d+)\n-----", text)
    assert found, text
    return int(found[1])


def opinions(score: Any = 4, reason: Any = "fine", **changes: Any) -> dict[str, Any]:
    return {criterion: {"reason": reason, "score": score} for criterion in CRITERIA} | changes


def judge(asked: Asked) -> None:
    """Gives caption n the score 1 + n modulo 5, by every criterion."""
    place = number(asked)
    asked.send(200, completion(json.dumps(opinions(1 + place % 5, f"of {place}"))))


def for_caption(place: int, wrong: Behaviour, times: int | None = None) -> Behaviour:
    """One caption is treated so, as often as said or for ever; all others are judged."""
    tries = [0]

    def behave(asked: Asked) -> None:
        if number(asked) != place:
            return judge(asked)
        tries[0] += 1
        return (wrong if times is None or tries[0] <= times else judge)(asked)

    return behave


def asked_about(server: Hostile) -> list[int]:
    """The captions asked about, in order of asking."""
    return [number(one) for one in server.asked if "response_format" in one.body]


def judgements(store: Store) -> list[Judgement]:
    """All rows, by file and in the order of their files."""
    rows = []
    for path in store.files.under("judgements"):
        captioner, movie, name = path.split("/")[1:]
        ref = store.ref(
            "judgements", f"{movie.partition('=')[2]}/{name.removesuffix('.parquet')}", captioner.partition("=")[2]
        )
        assert ref
        rows += list(store.read(ref, Judgement))
    return rows

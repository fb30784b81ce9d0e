"""A small store with captions by several captioners and references, for tests of scores: no movie, no model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import rows

from storage.store import Store
from storage.tables import Reference
from tasks.consistency import check_captions
from tasks.scores import ScoreConfig, score_captions, summarise_captions

PEOPLE = ["man", "woman", "boy", "girl", "waiter", "rider", "player", "child"]
PLACES = ["street", "beach", "kitchen", "bridge", "garden", "station", "field", "market"]
SHARD = "m/0000"


def told(number: int) -> str:
    """What the reference says of a frame."""
    return f"a {PEOPLE[number % 8]} waits in the {PLACES[number // 8 % 8]} near object number {number}"


def store_of(place: Path, said: Mapping[str, Sequence[str]], config: ScoreConfig, *, references: bool = True) -> Store:
    """A store in which captioners say something of every frame, scored, and summed up where there are references.

    In every frame a dog is detected.
    """
    store = Store(str(place))
    ids = [f"m_{number:06}" for number in range(len(next(iter(said.values()))))]
    rows.write(store, [rows.movie("m")], "m")
    frames = rows.write(store, [rows.frame(number, "m") for number in range(len(ids))], SHARD)
    rows.write(store, [rows.detection("dog-0", frame_id=one) for one in ids], SHARD, inputs=[frames.fingerprint])
    if references:
        written = [
            Reference(reference_id=f"{one}/human/0", frame_id=one, source="human", text=told(n), plain_text=told(n))
            for n, one in enumerate(ids)
        ]
        rows.write(store, list(written), "m/human")
    for captioner, texts in said.items():
        caption(store, captioner, texts, config)
    return store


def caption(store: Store, captioner: str, texts: Sequence[str], config: ScoreConfig) -> None:
    """Give every frame another caption by a captioner, check and score them, and sum them up."""
    detections, frames = store.ref("detections", SHARD), store.ref("frames", SHARD)
    assert detections
    assert frames
    captions = rows.write(
        store, [rows.caption(f"m_{n:06}", text, captioner=captioner) for n, text in enumerate(texts)], SHARD,
        captioner=captioner, inputs=[frames.fingerprint, detections.fingerprint, *texts],
    )  # fmt: skip
    score_captions(captions, detections, check_captions(captions, detections, store), store, config)
    summarise_captions(captioner, store, config)

"""Stores to look at in tests: drawn frames with masks, two captioners, every kind of fault, hostile texts."""

import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import rows

from storage.store import Store
from storage.tables import Box, Caption, Detection, Frame, Image, Metric, Reference, Score, Shot, Summary
from tasks import masks
from tasks.consistency import check_captions

WIDTH, HEIGHT = 320, 180
PERSON, DOG, SKY = (100, 50, 60, 110), (200, 100, 80, 60), (0, 0, 320, 60)
"""(left, top, width, height) in pixels."""
GOOD = (
    '<gdo class="person" person-0>A man</gdo> <gda class="walk" person-0>walks</gda> with '
    '<gdo class="dog" dog-0>his dog</gdo> <gdl class="sky" sky-0>under a wide sky</gdl>.'
)
PLAIN = 'There is <gdo class="person" person-0>somebody</gdo> outdoors.'
HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'> <svg/onload=window.hacked=3>",
    '"); window.hacked = 4; //\\"); window.hacked = 4; \u2028\u2029 ${window.hacked = 5} `',
    '<gdo class="__proto__" constructor-0 "><img src=x onerror=window.hacked=6>>the</gdo> \u202etxet \x00 &lt;b&gt;',
    '<gdo class="x" onmouseover=window.hacked=7 style=top:0 person-0>man</gdo> <!-- ]]> --> javascript:alert(1)',
    '<GDO class="dog" dog-9 person-0 person-0>two <gda class="run" person-0>nested</gdo> crossing</gda> &#60;b&#62;',
)
FAULTS = json.loads((Path(__file__).parent / "golden" / "violations.json").read_text("utf-8"))
HOSTILE_TITLE = "<b onclick=alert(1)>Film</b> \"&' \u202e"


def picture(number: int) -> bytes:
    """A man, a dog and the sky; the number makes the ground another colour."""
    image = PIL.Image.new("RGB", (WIDTH, HEIGHT), (90, 60 + number % 100, 60))
    draw = PIL.ImageDraw.Draw(image)
    for (left, top, width, height), colour in ((SKY, "lightblue"), (PERSON, "saddlebrown"), (DOG, "gray")):
        draw.rectangle((left, top, left + width - 1, top + height - 1), fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def detections_of(frame_id: str) -> list[Detection]:
    found = []
    for place, (object_id, area) in enumerate({"person-0": PERSON, "dog-0": DOG, "sky-0": SKY}.items()):
        left, top, width, height = area
        pixels = np.zeros((HEIGHT, WIDTH), dtype=bool)
        pixels[top : top + height, left : left + width] = True
        mask = masks.encode(pixels)
        found.append(
            dataclasses.replace(
                rows.detection(object_id, frame_id=frame_id, is_thing=object_id != "sky-0"),
                object_index=place, segment_id=place + 1, score=0.9 - place / 10, mask=mask.counts,
                box=Box(x=left / WIDTH, y=top / HEIGHT, w=width / WIDTH, h=height / HEIGHT),
                mask_width=WIDTH, mask_height=HEIGHT,
            )
        )  # fmt: skip
    return found


def frame(movie_id: str, number: int, per_shot: int, image: bytes) -> Frame:
    return dataclasses.replace(
        rows.frame(number, movie_id), shot_index=number // per_shot, pts_seconds=number / 2, width=WIDTH,
        height=HEIGHT, image=Image(bytes=image, path=f"{number}.jpg"),
    )  # fmt: skip


def write_movie(
    store: Store,
    texts: dict[str, list[str]],
    *,
    movie_id: str = "mabc",
    title: str = "A walk",
    frames: int = 60,
    shard_frames: int = 40,
    per_shot: int = 10,
) -> None:
    """One movie with what captioners say of its frames, in turn, checked by the real check."""
    movie = dataclasses.replace(rows.movie(movie_id), title=title, duration_seconds=frames / 2)
    rows.write(store, [movie], shard=movie_id)
    shots = [
        Shot(movie_id=movie_id, shot_index=index, start_seconds=index * per_shot / 2,
             end_seconds=min(frames, (index + 1) * per_shot) / 2, frames=per_shot)
        for index in range(-(-frames // per_shot))
    ]  # fmt: skip
    rows.write(store, list(shots), shard=f"{movie_id}/00000")
    image = picture(0)
    for start in range(0, frames, shard_frames):
        shard = f"{movie_id}/{start // shard_frames:05d}"
        numbers = range(start, min(frames, start + shard_frames))
        made = [frame(movie_id, number, per_shot, picture(number) if frames < 100 else image) for number in numbers]
        frames_ref = rows.write(store, list(made), shard=shard)
        seen = [one for row in made for one in detections_of(row.frame_id)]
        found = rows.write(store, list(seen), shard=shard, inputs=[frames_ref.fingerprint])
        for captioner, said in texts.items():
            captions = [
                rows.caption(row.frame_id, said[number % len(said)], captioner=captioner)
                for number, row in zip(numbers, made, strict=True)
            ]
            ref = rows.write(store, list(captions), shard=shard, captioner=captioner)
            check_captions(ref, found, store)
            write_scores(store, captions, shard, captioner)
    references = [
        Reference(reference_id=f"{movie_id}_000000/human/0", frame_id=f"{movie_id}_000000", source="human",
                  text="A man and a dog.", plain_text="A man and a dog.")
    ]  # fmt: skip
    rows.write(store, list(references), shard=f"{movie_id}/human")


def write_scores(store: Store, captions: list[Caption], shard: str, captioner: str) -> None:
    """Words in tenths, and a metric in which the longer caption is the better one."""
    scores = [
        Score(caption_id=one.caption_id, metric=metric, value=value)
        for one in captions
        for metric, value in (("words", len(one.plain_text.split())), ("gain", min(len(one.plain_text) / 100, 1.0)))
    ]
    rows.write(store, list(scores), shard=shard, captioner=captioner)


def write_summary(store: Store, captioner: str) -> None:
    rows.write(
        store,
        [Summary(captioner=captioner, metric="gain_macro", group="all", value=0.5, low=0.4, high=0.6, captions=60,
                 signature="s", reason=None)],
        shard="all", captioner=captioner,
    )  # fmt: skip
    known = {"family": "gain", "reads": "captions", "version": "1", "tokenizer": "", "settings": "", "libraries": ""}
    metric = Metric(captioner=captioner, metric="gain", meaning="length of the caption, capped", higher_is_better=True,
                    models="{}", references_digest="", resamples=0, **known)  # fmt: skip
    rows.write(store, [metric], shard="all", captioner=captioner)


def small_store(folder: Path) -> Store:
    """Two movies, one of them with a hostile title; captioner 'alpha' is at fault in every way, 'beta' never."""
    store = Store(str(folder))
    alpha = [GOOD, *HOSTILE, *(one["failing"] for one in FAULTS)]
    write_movie(store, {"alpha": alpha, "beta": [GOOD, PLAIN]})
    write_movie(store, {"alpha": [GOOD], "beta": [PLAIN]}, movie_id="mdef", title=HOSTILE_TITLE, frames=12)
    for captioner in ("alpha", "beta"):
        write_summary(store, captioner)
    return store


SCRIPT = re.compile(r'gallery\.receive\(("(?:[^"\\]|\\.)*"),("(?:[^"\\]|\\.)*")\);\n')


def said_by(script: bytes) -> tuple[str, object]:
    """Name and payload of a data file, read as a browser reads its literals."""
    found = SCRIPT.fullmatch(script.decode("ascii"))
    assert found
    name, text = map(json.loads, found.groups())
    return name, json.loads(text)

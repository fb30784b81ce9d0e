"""Caption metrics here and in pycocoevalcap's own loop, on the same captions in one run: seconds, and equal numbers.

    python -m benchmarks.scores --captions 10000 --references 5

SPICE is left out: both start the same Java for it. pycocoevalcap is given the same Java. Wall time is what a machine
that does nothing else shows; processor time also says what one that is busy would need.
"""

import argparse
import os
import random
import resource
import subprocess
import time
from collections.abc import Callable
from unittest import mock

from tasks.java_metrics import coco, java, missing
from tasks.measuring import Measuring
from tasks.metrics import Pair, TextMetric, load

METRICS = ("bleu", "cider", "meteor", "rouge_l")
TIMEOUT_SECONDS = 3600.0
SUBJECTS = [
    "man",
    "woman",
    "boy",
    "girl",
    "child",
    "dog",
    "cat",
    "horse",
    "bird",
    "couple",
    "group",
    "player",
    "rider",
    "driver",
    "waiter",
]
VERBS = [
    "stands",
    "sits",
    "walks",
    "runs",
    "looks",
    "waits",
    "rides",
    "holds",
    "carries",
    "watches",
    "reads",
    "plays",
    "eats",
    "sleeps",
    "turns",
]
PLACES = [
    "street",
    "table",
    "field",
    "beach",
    "kitchen",
    "room",
    "bench",
    "car",
    "train",
    "bridge",
    "river",
    "house",
    "garden",
    "couch",
    "window",
]
ADJECTIVES = [
    "red",
    "blue",
    "small",
    "large",
    "old",
    "young",
    "black",
    "white",
    "wooden",
    "bright",
    "dark",
    "wet",
    "green",
    "tall",
    "empty",
]
PREPOSITIONS = ["on", "near", "beside", "behind", "under", "across", "at", "in", "by", "past"]


def captions(count: int, references: int, seed: int = 0) -> list[Pair]:
    """Drawn captions of 8 to 20 words; references of a frame share words with each other."""
    made = random.Random(seed)

    def text(words: list[list[str]]) -> str:
        pick = [made.choice(kind) if made.random() < 0.5 else kind[0] for kind in words]
        one, place = f"a {pick[0]} {pick[1]} {pick[2]}", f"{pick[3]} the {pick[4]} {pick[5]}"
        rest = f" while another {made.choice(SUBJECTS)} {made.choice(VERBS)} nearby" if made.random() < 0.5 else ""
        return f"{one} {place}{rest}."

    def frame(number: int) -> Pair:
        kinds = [ADJECTIVES, SUBJECTS, VERBS, PREPOSITIONS, ADJECTIVES, PLACES]
        words = [made.sample(kind, 4) for kind in kinds]
        told = tuple(text(words) for _ in range(references))
        name = f"m_{number:06}"
        return Pair(caption_id=f"{name}/c/0", frame_id=name, candidate=text(words), references=told)

    return [frame(number) for number in range(count)]


def ours(pairs: list[Pair]) -> dict[str, float]:
    metrics = [metric for metric in map(load, METRICS) if isinstance(metric, TextMetric)]
    measuring = Measuring(TIMEOUT_SECONDS)
    outcomes = measuring.texts(metrics, *measuring.tokenised(pairs, metrics))
    return {name: value for one in outcomes.values() for name, value in one.measured.corpus.items()}


def theirs(pairs: list[Pair]) -> dict[str, float]:
    """The loop of pycocoevalcap's eval.py."""
    tokenizer = coco("tokenizer.ptbtokenizer").PTBTokenizer()
    references = tokenizer.tokenize({one.frame_id: [{"caption": text} for text in one.references] for one in pairs})
    candidates = tokenizer.tokenize({one.frame_id: [{"caption": one.candidate}] for one in pairs})
    found: dict[str, float] = {}
    scorers = [(coco("bleu.bleu").Bleu(4), ["bleu1", "bleu2", "bleu3", "bleu4"]),
               (coco("meteor.meteor").Meteor(), ["meteor"]),
               (coco("rouge.rouge").Rouge(), ["rouge_l"]), (coco("cider.cider").Cider(), ["cider_d"])]  # fmt: skip
    for scorer, names in scorers:
        values, _ = scorer.compute_score(references, candidates)
        found |= dict(zip(names, values if len(names) > 1 else [values], strict=True))
    return found


def timed(work: Callable[[], dict[str, float]]) -> tuple[dict[str, float], float, float]:
    """(what it gives, seconds on the wall, seconds of the processors)."""
    wall, processor = time.perf_counter(), _processor_seconds()
    found = work()
    return found, time.perf_counter() - wall, _processor_seconds() - processor


def _processor_seconds() -> float:
    used = [resource.getrusage(whom) for whom in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--captions", type=int, default=10_000)
    parser.add_argument("--references", type=int, default=5)
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    if lack := missing():
        raise SystemExit(lack)
    pairs = captions(options.captions, options.references)
    print(f"{len(pairs)} captions, {options.references} references each, {os.cpu_count()} cores")
    here, wall, processor = timed(lambda: ours(pairs))
    print(f"here            {wall:8.1f} s   {processor:8.1f} s of processors", flush=True)
    start = subprocess.Popen
    settings = ["-Duser.language=en"]
    with mock.patch("subprocess.Popen", lambda command, **given: start([java(), *settings, *command[1:]], **given)):
        there, their_wall, their_processor = timed(lambda: theirs(pairs))
    print(f"pycocoevalcap   {their_wall:8.1f} s   {their_processor:8.1f} s of processors")
    print(f"ratio           {their_wall / wall:8.2f}     {their_processor / processor:8.2f}")
    for name, value in there.items():
        print(f"{name:8} {here[name]:.15f} {value:.15f}   difference {abs(here[name] - value):.1e}")
    measuring = Measuring(TIMEOUT_SECONDS, options.resamples)
    metrics = [metric for metric in map(load, ("bleu", "cider", "rouge_l")) if isinstance(metric, TextMetric)]
    outcomes = measuring.texts(metrics, pairs, None)
    _, wall, processor = timed(lambda: measuring.resample(outcomes.values()) or {})
    print(f"{options.resamples} resamples of BLEU, CIDEr-D, ROUGE-L: {wall:.1f} s, {processor:.1f} s of processors")


if __name__ == "__main__":
    main()

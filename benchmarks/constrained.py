"""What constrained decoding costs: the same frames captioned free and constrained, in turn, by the embedded model.

    python -m benchmarks.constrained [CHECKPOINT] [--frames 48] [--rounds 6] [--batch-size 16]

Each round writes all captions both ways, the way that begins changing from round to round, and gives the ratio of
tokens per second of processor time (other work on the machine moves it less than the clock's) and of the clock. Said is
the median of the rounds. Compiled grammars are thrown away before each round.

Captions that differ, differ in length, and so in how full the batch is. So the cost is also said of the frames whose
free caption has no violation: both ways write them with the same tokens.
"""

import argparse
import statistics
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from tasks import prompts
from tasks.caption_check import check
from tasks.captioners import CaptionConfig, CaptionRequest
from tasks.captioners.pixtral import PixtralCaptioner, load
from toyworld.grounding_report import show

CHECKPOINT = Path(__file__).parent.parent / "toyworld" / "checkpoints" / "captioner"
WAYS = ("free", "constrained")


@dataclass
class Round:
    """One way of writing all captions once."""

    tokens: int
    seconds: float
    processor_seconds: float
    faulty: int
    codes: Counter[str]


def requests(frames: int, template: str) -> list[CaptionRequest]:
    """Drawn scenes with their true objects."""
    made = []
    for number in range(frames):
        shown = show(10_000_000 + number)
        made.append(
            CaptionRequest(
                frame_id=f"m_{number:06}",
                frame_number=number,
                candidate=0,
                image=shown.image,
                detections=shown.detections,
                prompt=prompts.render(template, shown.detections),
                seed=number,
            )
        )
    return made


def write(captioner: PixtralCaptioner, asked: list[CaptionRequest]) -> Round:
    """All captions once."""
    captioner.loaded.grammars.compiled.clear()
    wall, processor = time.perf_counter(), time.process_time()
    results = captioner(asked)
    seconds, processor_seconds = time.perf_counter() - wall, time.process_time() - processor
    assert not any(result.error for result in results), [result.error for result in results]
    found = [check(result.text, one.detections).codes for one, result in zip(asked, results, strict=True)]
    tokens = sum(result.completion_tokens for result in results)
    codes = Counter(code for codes in found for code in codes)
    return Round(tokens, seconds, processor_seconds, sum(map(bool, found)), codes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default=str(CHECKPOINT))
    parser.add_argument("--template", default="groundcap-story")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    asked_for = parser.parse_args()
    config = CaptionConfig(
        checkpoint=asked_for.checkpoint,
        template=asked_for.template,
        batch_size=asked_for.batch_size,
        temperature=asked_for.temperature,
        max_new_tokens=asked_for.max_new_tokens,
    )
    captioners = {way: load(replace(config, decoding=way)) for way in WAYS}
    asked = requests(asked_for.frames, asked_for.template)
    for way in WAYS:
        write(captioners[way], asked[: asked_for.batch_size])  # warm up
    free = captioners["free"](asked)
    clean = [one for one, result in zip(asked, free, strict=True) if not check(result.text, one.detections).violations]
    for name, some in (("all frames", asked), ("frames captioned alike both ways", clean)):
        print(f"{name}: {len(some)}")
        compare(captioners, some, asked_for.rounds)


def compare(captioners: dict[str, PixtralCaptioner], asked: list[CaptionRequest], count: int) -> None:
    """Some rounds, and the medians."""
    rounds: list[dict[str, Round]] = []
    for number in range(count):
        order = WAYS if number % 2 == 0 else WAYS[::-1]
        found = {way: write(captioners[way], asked) for way in order}
        rounds.append(found)
        for way in WAYS:
            one = found[way]
            print(
                f"round {number} {way:12} {one.tokens} tokens, {one.tokens / one.seconds:.0f} per second, "
                f"{one.tokens / one.processor_seconds:.0f} per processor second; {one.faulty} of {len(asked)} captions "
                f"with violations {dict(one.codes)}",
                flush=True,
            )
    for name in ("processor_seconds", "seconds"):
        ratios = sorted(cost(one["constrained"], name) / cost(one["free"], name) - 1 for one in rounds)
        said = ", ".join(f"{ratio:+.1%}" for ratio in ratios)
        print(f"cost by {name.replace('_', ' ')}: median {statistics.median(ratios):+.1%} of {said}")


def cost(one: Round, name: str) -> float:
    """Seconds of a token."""
    return float(getattr(one, name)) / one.tokens


if __name__ == "__main__":
    main()

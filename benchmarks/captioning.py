"""Captions a second: transformers' `generate` one by one and in batches, beside ours free, constrained and served.

    python -m benchmarks.captioning [--frames 96] [--rounds 3] [--rows 0] [--batch 16] [--device cpu] [--threads 1]
                                    [--checkpoint FOLDER] [--adapter FOLDER] [--max-new-tokens 256]
                                    [--detector FOLDER] [--in-flight 32] [--random]

Every way gets the same drawn frames as JPEG, with what the detector finds in them, and does all the work from there:
decoding, preprocessing, generation, text. The ways take turns, so that what else the machine does hits all of them, and
the process's own CPU seconds are counted too: they leave out what others took. `one at a time` gets every sixth frame
only. Texts are compared with its (greedy): in float32 they agree but for rounding.

`server` is the captioner `server`, with up to --in-flight requests on the way to benchmarks.caption_server: the same
model, in threads of this process, so its CPU seconds count too. It works on --batch of what waits, and begins the next
batch when all of one are written. It is no vLLM: what is measured is our side of the socket and the way over it.

Last come the violations of tasks.caption_check. With --random also those of a network of random weights at temperature
1, which nobody taught the grammar.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.caption_server import served
from tasks import captioners, detectors, prompts
from tasks.caption_check import check
from tasks.captioners import (
    CaptionConfig,
    CaptionRequest,
    CaptionResult,
    ServerConfig,
    StreamingCaptioner,
    completed,
    pixtral,
)
from tasks.detections import detection_row
from tasks.detectors import DetectConfig
from tasks.object_naming import is_coco, name_objects
from tasks.pictures import jpeg

TEMPLATE = "groundcap-story"
CHECKPOINT = "toyworld/checkpoints/captioner"
DETECTOR = "toyworld/checkpoints/detector"
EVERY = 6
WIDTH_PX, HEIGHT_PX = 448, 256
"""Of a frame: the drawn movies' own."""
SERVED = "served"
"""The model's name at the server."""
DECODINGS = ("free", "constrained")

Frames = Sequence[tuple[bytes, CaptionRequest]]
Way = Callable[[Frames], list[tuple[str, int, int]]]
"""Frames -> (text, prompt tokens, tokens written) each."""


def drawn_frames(count: int, config: DetectConfig) -> Frames:
    """(JPEG, request without a picture) of scenes nobody was trained on, in the order in which the stage asks.

    Their detections are the detector's, as the stage before would store them.
    """
    from toyworld.drawing import draw
    from toyworld.sampling import sample
    from toyworld.seeds import TEST

    detector = detectors.load(config)
    coco = is_coco(detector.labels)
    frames = []
    for number, seed in enumerate(TEST[:count]):
        data = jpeg(draw(sample(seed), WIDTH_PX, HEIGHT_PX).image, 90)
        (segments,) = detector([decoded(data)])
        named = name_objects(segments, coco=coco, max_detections=config.max_detections, stuff_boxes=config.stuff_boxes)
        frame_id = f"m0_{number:06}"
        listed = [detection_row(frame_id, one, masks=False) for one in named]
        request = CaptionRequest(
            frame_id=frame_id,
            frame_number=number,
            candidate=0,
            image=np.empty((0, 0, 3), np.uint8),
            detections=listed,
            prompt=prompts.render(TEMPLATE, listed),
            seed=number,
        )
        frames.append((data, request))
    return sorted(frames, key=lambda one: len(one[1].prompt))


def decoded(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def by_generate(captioner: pixtral.PixtralCaptioner, batch: int) -> Way:
    """Batches padded on the left, by transformers' model, vision tower, cache and loop."""
    from transformers import GenerationConfig

    loaded, config = captioner.loaded, captioner.config
    tokenizer, model = loaded.inputs.tokenizer, loaded.model
    make: Any = GenerationConfig
    settings = make(
        max_new_tokens=config.max_new_tokens,
        do_sample=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )

    @torch.inference_mode()
    def write(frames: Frames) -> list[tuple[str, int, int]]:
        found = []
        for first in range(0, len(frames), batch):
            read = [loaded.inputs(request.prompt, decoded(data)) for data, request in frames[first : first + batch]]
            longest = max(len(one.ids) for one in read)
            missing = [longest - len(one.ids) for one in read]
            ids = [[tokenizer.pad_token_id] * pad + one.ids for pad, one in zip(missing, read, strict=True)]
            mask = [[0] * pad + [1] * len(one.ids) for pad, one in zip(missing, read, strict=True)]
            made = model.generate(
                input_ids=torch.tensor(ids, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                pixel_values=torch.stack([one.pixels for one in read]).to(model.device, model.dtype),
                image_sizes=torch.tensor([one.pixels.shape[1:] for one in read], device=model.device),
                generation_config=settings,
            )[:, longest:].tolist()
            for one, tokens in zip(read, made, strict=True):
                end = tokens.index(settings.eos_token_id) + 1 if settings.eos_token_id in tokens else len(tokens)
                found.append((loaded.inputs.text(tokens[:end]), len(one.ids), end))
        return found

    return write


def by_stream(captioner: StreamingCaptioner) -> Way:
    """Ours, given all frames at once, as the stage does it."""

    def write(frames: Frames) -> list[tuple[str, int, int]]:
        requests = (replace(request, image=decoded(data)) for data, request in frames)
        answers: dict[str, CaptionResult] = {one.frame_id: result for one, result in captioner.stream(requests)}
        results = [answers[request.frame_id] for _, request in frames]
        assert not [one.error for one in results if one.error]
        return [(one.text, one.prompt_tokens, one.completion_tokens) for one in results]

    return write


def options_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    for name, default in {
        "frames": 96, "rounds": 3, "rows": 0, "batch": 16, "in-flight": 32, "threads": 1, "max-new-tokens": 256,
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--checkpoint", default=CHECKPOINT)
    parser.add_argument("--adapter")
    parser.add_argument("--detector", default=DETECTOR)
    parser.add_argument("--random", action="store_true", help="count a random network's violations too")
    options = parser.parse_args()
    if min(options.frames, options.rounds, options.batch, options.threads, options.max_new_tokens) < 1:
        parser.error("--frames, --rounds, --batch, --threads and --max-new-tokens have to be at least 1.")
    return options


def main() -> None:
    options = options_of(
        argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    )
    torch.set_num_threads(options.threads)
    config = CaptionConfig(
        checkpoint=options.checkpoint,
        adapter=options.adapter,
        template=TEMPLATE,
        max_new_tokens=options.max_new_tokens,
        batch_size=options.rows,
        device=options.device,
    )
    frames = drawn_frames(options.frames, DetectConfig(checkpoint=options.detector, device=options.device))
    free, constrained = (load(replace(config, decoding=decoding)) for decoding in DECODINGS)
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads, {free.notes}")
    with served({SERVED: config}, options.batch) as (url, engine):
        server = captioners.load(
            replace(
                config,
                backend="server",
                checkpoint=SERVED,
                adapter=None,
                server=ServerConfig(url=url, requests_in_flight=options.in_flight),
            )
        )
        assert isinstance(server, StreamingCaptioner)
        ways: dict[str, Way] = {
            "one at a time": by_generate(free, 1),
            f"batches of {options.batch}": by_generate(free, options.batch),
            "ours, free": by_stream(free),
            "ours, constrained": by_stream(constrained),
            "server": by_stream(server),
        }
        texts = report(ways, frames, options.rounds)
        print(f"ours waited {free.waiting_seconds:.1f} s for pictures; the server's batches: {engine.batches}")
    for name, written in texts.items():
        if len(written) == len(frames):
            say_violations(name, written, frames)
    if options.random:
        report_random(config, frames)


def load(config: CaptionConfig) -> pixtral.PixtralCaptioner:
    return pixtral.load(completed(config))


def report_random(config: CaptionConfig, frames: Frames) -> None:
    """Violations of a small network of random weights that samples at temperature 1."""
    from transformers.utils.logging import disable_progress_bar

    from toyworld.tiny_captioner import build_tiny_captioner

    disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = str(build_tiny_captioner(Path(folder)))
        for decoding in DECODINGS:
            asked = replace(config, checkpoint=checkpoint, adapter=None, temperature=1.0, decoding=decoding)
            written = [text for text, _, _ in by_stream(load(asked))(frames)]
            say_violations(f"random, {decoding}", written, frames)


def say_violations(name: str, texts: Sequence[str], frames: Frames) -> None:
    checked = [check(text, request.detections) for text, (_, request) in zip(texts, frames, strict=True)]
    codes = Counter(violation.code for one in checked for violation in one.violations)
    faulty = sum(bool(one.violations) for one in checked)
    print(
        f"{name:19} {1000 * codes.total() / len(checked):8.1f} violations per 1,000 captions; "
        f"{faulty} of {len(checked)} captions have any {dict(codes.most_common())}"
    )


def report(ways: Mapping[str, Way], frames: Frames, rounds: int) -> dict[str, list[str]]:
    """Let the ways take turns, and print what they cost. Gives each way's texts of the last round."""
    some = frames[::EVERY]
    texts: dict[str, list[str]] = {}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    by_cpu: dict[str, list[float]] = {name: [] for name in ways}
    read: dict[str, float] = {}
    seen: dict[str, float] = {}
    for way in ways.values():
        way(some[:2])  # first-call costs
    for _ in range(rounds):
        for name, way in ways.items():
            given = some if name == "one at a time" else frames
            start, cpu_start = time.perf_counter(), time.process_time()
            found = way(given)
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
            texts[name] = [text for text, _, _ in found]
            written = sum(tokens for _, _, tokens in found)
            rates[name].append(written / seconds)
            by_cpu[name].append(written / cpu_seconds)
            read[name] = sum(tokens for _, tokens, _ in found) / seconds
            seen[name] = len(found) / seconds
    lengths = sorted(written for _, _, written in found)
    print(f"{len(frames)} frames; tokens a caption: {lengths[0]} to {lengths[-1]}, median {lengths[len(lengths) // 2]}")
    print("way                 output tokens/s (rounds)           x one  x batches  prompt tok/s  frames/s  same texts")
    print("                    and a CPU second: tokens                  likewise")
    names = list(ways)
    for name, found_rates in rates.items():
        ratios = [_ratio(found_rates, rates[other]) for other in names[:2]]
        cpu_ratios = [_ratio(by_cpu[name], by_cpu[other]) for other in names[:2]]
        mine = texts[name] if name == "one at a time" else texts[name][::EVERY]
        same = sum(a == b for a, b in zip(mine, texts["one at a time"], strict=True))
        shown = " ".join(f"{rate:.0f}" for rate in found_rates)
        print(
            f"{name:18}  {statistics.median(found_rates):6.0f} ({shown:24})  {ratios[0]:5.1f}  {ratios[1]:9.2f}"
            f"  {read[name]:12.0f}  {seen[name]:8.2f}  {same} of {len(mine)}\n"
            f"{'':18}  {statistics.median(by_cpu[name]):6.0f} {'':26}  {cpu_ratios[0]:5.1f}  {cpu_ratios[1]:9.2f}"
        )
    return texts


def _ratio(some: list[float], others: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(some, others, strict=True))


if __name__ == "__main__":
    main()

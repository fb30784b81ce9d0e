"""Panoptic post-processing, ours beside transformers': time and peak memory of one picture, in one run.

    python -m benchmarks.panoptic [--device cuda] [--repeat 3]

Logits are drawn like a trained model's: a fifth of the queries is sure of a class, each mask is one blob. Every
measurement has its own process; memory is what the process (on a GPU: torch's allocator) held above its state before
the call, counted as 1 MB where it is less. Both answers are compared to the bit.
"""

import argparse
import hashlib
import multiprocessing
import resource
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

OPTIONS: dict[str, Any] = {"threshold": 0.7, "mask_threshold": 0.5, "overlap_mask_area_threshold": 0.8}
CASES = [(100, 240, 426), (100, 720, 1280), (100, 1080, 1920), (200, 1080, 1920), (200, 2160, 3840)]


def trained_like(queries: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(class logits (queries, 134), mask logits (queries, 96, 96))."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(queries, 134, generator=generator)
    chosen = torch.full((queries,), 133)
    chosen[::5] = torch.randint(0, 133, (len(chosen[::5]),), generator=generator)
    classes[torch.arange(queries), chosen] += 12
    x, y, radius = (torch.rand(queries, 1, 1, generator=generator) for _ in range(3))
    rows, columns = torch.meshgrid(*[torch.linspace(0, 1, 96)] * 2, indexing="ij")
    masks = (0.05 + radius / 5 - ((columns - x) ** 2 + (rows - y) ** 2).sqrt()) * 60
    return classes.to(device), masks.to(device)


def ours(classes: torch.Tensor, masks: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, int]:
    from tasks.panoptic import panoptic_map

    found = panoptic_map(classes, masks, size, **OPTIONS)
    return found.ids, len(found.regions)


def stock(classes: torch.Tensor, masks: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, int]:
    from transformers import Mask2FormerImageProcessorPil

    outputs = SimpleNamespace(class_queries_logits=classes[None], masks_queries_logits=masks[None])
    (said,) = Mask2FormerImageProcessorPil().post_process_panoptic_segmentation(
        outputs, label_ids_to_fuse=set(), target_sizes=[size], **OPTIONS
    )
    return said["segmentation"], len(said["segments_info"])


def measure(work: Callable[..., Any], case: tuple[int, int, int], device: str, repeat: int, pipe: Any) -> None:
    """Send (median seconds, peak bytes, digest of the answer, segments)."""
    queries, *size = case
    inputs = trained_like(queries, device)
    work(*(one[:5] for one in inputs), (8, 8))  # imports and first-call costs
    before = peak(device)
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        ids, segments = work(*inputs, tuple(size))
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    held = peak(device) - before
    digest = hashlib.sha256(ids.to("cpu", torch.int32).clamp(min=0).numpy().tobytes()).hexdigest()
    pipe.send((sorted(seconds)[repeat // 2], held, digest, segments))


def peak(device: str) -> int:
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_own_process(*arguments: Any) -> tuple[float, int, str, int]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(*arguments, there))
    process.start()
    there.close()
    answer: tuple[float, int, str, int] = here.recv()
    process.join()
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads")
    print("queries  picture    segments  |  seconds: transformers, ours, ratio  |  peak MB, likewise        |  same")
    for case in CASES:
        theirs, own = (in_own_process(work, case, options.device, options.repeat) for work in (stock, ours))
        same = "yes" if theirs[2:] == own[2:] else "NO"
        speed, space = theirs[0] / own[0], theirs[1] / max(own[1], 1e6)
        print(
            f"{case[0]:7}  {case[2]:4}x{case[1]:<4}  {own[3]:8}  |  {theirs[0]:12.3f} {own[0]:11.3f} {speed:10.1f}"
            f"  |  {theirs[1] / 1e6:8.0f} {own[1] / 1e6:8.0f} {space:6.1f}  |  {same}"
        )


if __name__ == "__main__":
    main()

"""One slot per device: model steps take turns on a GPU, everything else runs beside them.

Not Prefect's concurrency limits: those cost about a second per hand-over, and the device's name has to be handed over.
Each device also has one thread of its own that does all its work: memory allocators keep what a thread frees for that
thread, so a model that moved through all of Prefect's threads would hold its peak once for each.

A stage that asks a server holds no device: it takes one of a few places beside them.
"""

import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")
GPU_FILES = ("nvidia[0-9]*", "kfd", "dxg")
"""What Linux has in /dev for a GPU of NVIDIA, of AMD, or under WSL."""
AT_SERVERS = ["server:0", "server:1"]
"""Shards that ask a server at once: while the last answers of one come in, the next one's requests keep it busy."""


class DeviceSlots:
    """Who works on which device of this process."""

    def __init__(self, devices: list[str]) -> None:
        self.devices = devices
        self._busy: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, wanted: str = "auto") -> Iterator[str]:
        """Wait for a device and hold it: the first free one, or the one named. Gives its name."""
        choices = self.devices if wanted == "auto" else ["cuda:0" if wanted == "cuda" else wanted]
        with self._changed:
            self._changed.wait_for(lambda: any(name not in self._busy for name in choices))
            mine = next(name for name in choices if name not in self._busy)
            self._busy.add(mine)
        try:
            yield mine
        finally:
            with self._changed:
                self._busy.remove(mine)
                self._changed.notify_all()


@cache
def slots() -> DeviceSlots:
    """The slots of this process: one per GPU, or one for the CPU."""
    if not any(list(Path("/dev").glob(pattern)) for pattern in GPU_FILES):
        return DeviceSlots(["cpu"])  # known without importing torch, which takes seconds
    from tasks.accelerator import list_devices

    return DeviceSlots(list_devices())


@cache
def places_at_servers() -> DeviceSlots:
    """The places of this process for what is computed elsewhere."""
    return DeviceSlots(AT_SERVERS)


def on_device(stage: Callable[P, T], needed: Callable[..., bool] = lambda *_args: True) -> Callable[P, T]:
    """Run a stage, whose last argument is its configuration, on the device it gets, or beside them all at a server.

    `needed`, asked with the stage's arguments: whether it works with a model now. Else it waits for no device.
    """

    @wraps(stage)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if not needed(*args):
            return stage(*args, **kwargs)
        *others, config = args
        context = contextvars.copy_context()  # so that Prefect knows whose log lines these are
        work = partial(context.run, cast(Callable[..., T], stage), *others)
        if getattr(config, "server", None):
            with places_at_servers().hold() as place:
                return _thread_of(place).submit(work, config, **kwargs).result()
        with slots().hold(config.device) as device:  # type: ignore[attr-defined]
            told = replace(config, device=device)  # type: ignore[type-var]
            return _thread_of(device).submit(work, told, **kwargs).result()

    return run


@cache
def _thread_of(place: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"device-{place}")

"""One slot per device: model steps take turns on a GPU, everything else runs beside them.

Not Prefect's concurrency limits: those cost about a second per hand-over, and the device's name has to be handed over.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, wraps
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


class DeviceSlots:
    """Who works on which device of this process."""

    def __init__(self, devices: list[str]) -> None:
        self.devices = devices
        self._busy: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, wanted: str = "auto") -> Iterator[str]:
        """Wait for a device and hold it: the first free one, or the one named. Gives its name."""
        choices = self.devices if wanted == "auto" else [wanted]
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
    from tasks.accelerator import list_devices

    return DeviceSlots(list_devices())


def on_device(stage: Callable[P, T]) -> Callable[P, T]:
    """Run a stage, whose last argument is its configuration, on the device it gets."""

    @wraps(stage)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        *others, config = args
        with slots().hold(config.device) as device:  # type: ignore[attr-defined]
            return cast(Callable[..., T], stage)(*others, replace(config, device=device), **kwargs)  # type: ignore[type-var]

    return run

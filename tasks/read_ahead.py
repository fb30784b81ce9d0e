"""Work that is done in a thread while its results are being used, in order and a bounded number ahead."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class ReadAhead(Generic[A, B]):
    """`map(work, items)` in order: items are drawn and worked on in a thread, at most `ahead` before they are asked.

    What an item or its work raises is raised when its turn comes, so that the results hang on no timing. Use as a
    context: leaving it ends the thread.
    """

    def __init__(self, work: Callable[[A], B], items: Iterable[A], ahead: int) -> None:
        self.waiting_seconds = 0.0
        """Seconds that whoever asks has waited for a result."""
        self._work, self._items = work, iter(items)
        self._ahead = ahead
        self._begun: deque[Future[tuple[B] | None]] = deque()
        self._pool = ThreadPoolExecutor(1, "read-ahead")

    def __enter__(self) -> "ReadAhead[A, B]":
        """Begin."""
        for _ in range(self._ahead):
            self._begun.append(self._pool.submit(self._one))
        return self

    def __exit__(self, *_error: object) -> None:
        """End the thread; what was not asked for is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[B]:
        """Itself."""
        return self

    def __next__(self) -> B:
        """The next result. Raises what made it fail."""
        if not self._begun:
            raise StopIteration
        future = self._begun.popleft()
        start = time.perf_counter()
        try:
            result = future.result()
        finally:
            self.waiting_seconds += time.perf_counter() - start
        if result is None:
            self._begun.clear()
            raise StopIteration
        self._begun.append(self._pool.submit(self._one))
        return result[0]

    def _one(self) -> tuple[B] | None:
        for item in self._items:
            return (self._work(item),)
        return None

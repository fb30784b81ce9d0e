"""Ctrl-C and SIGTERM: the shards in work are finished, none is begun after them, and the run ends within seconds.

Not left to Prefect alone: when the signal went to the whole process group, its server is gone too, and Prefect asks it
for minutes. What is finished is safe in the store at any moment, so nothing is lost by an end without Prefect.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from storage.errors import CaptionMoviesError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 5.0
"""What Prefect gets after the last piece to write down that the run was stopped."""
LAST_WORDS = "caption-movies: stopped. What is finished is safe; run the same again to go on."


class Stopped(KeyboardInterrupt):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class StoppedBeforeError(CaptionMoviesError):
    """A piece of work that was not begun any more."""


class Pieces:
    """The pieces of work that are being done in this process: each is one stage on one shard."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._in_work = 0
        self._closed = False

    @contextmanager
    def one(self) -> Iterator[None]:
        """Around one piece. Raises StoppedBeforeError when none may begin any more."""
        with self._changed:
            if self._closed:
                raise StoppedBeforeError("the run was stopped before this shard. Run the same again to go on.")
            self._in_work += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_work -= 1
                self._changed.notify_all()

    def open(self) -> None:
        """Let pieces begin."""
        self._closed = False

    def close(self) -> None:
        """Let none begin any more. Safe in a signal's handler: takes no lock."""
        self._closed = True

    def wait(self) -> None:
        """Wait until none is in work."""
        with self._changed:
            self._changed.wait_for(lambda: not self._in_work)


pieces = Pieces()


class stop_gently:  # noqa: N801  a context manager, used like a function
    """While it is open, the first signal raises Stopped in the main thread, and the second one ends the process."""

    def __enter__(self) -> "stop_gently":
        pieces.open()
        self._stopped: Stopped | None = None
        self._left = threading.Event()
        self._main = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self.listen()
        return self

    def listen(self, _progress: object = None) -> None:
        """Put the handlers in place, again when others put theirs there: Prefect does when its flow begins."""
        if not self._main or threading.current_thread() is not threading.main_thread() or self._stopped:
            return
        self._handle(self._first)

    def _handle(self, handler: Callable[[int, FrameType | None], None]) -> None:
        for number, before in self._before.items():
            if before is not signal.SIG_IGN:  # a job in the background of a script, which Ctrl-C does not mean
                signal.signal(number, handler)

    def _first(self, number: int, _frame: FrameType | None) -> None:
        self._stopped = Stopped(number)
        pieces.close()
        self._handle(self._second)
        _write("\nstopping after the shards in work; once more stops at once")
        threading.Thread(target=self._end_anyway, daemon=True).start()
        raise self._stopped

    def _second(self, number: int, _frame: FrameType | None) -> None:
        leave_at_once(128 + number, LAST_WORDS)

    def _end_anyway(self) -> None:
        pieces.wait()
        if not self._left.wait(GRACE_SECONDS) and self._stopped:
            leave_at_once(self._stopped.exit_code, LAST_WORDS)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._left.set()
        if self._main:
            for number, handler in self._before.items():
                signal.signal(number, handler)
        if self._stopped and error is not self._stopped:
            raise self._stopped from None  # what broke because of the stop is not worth telling


def leave_at_once(code: int, last_words: str = "") -> NoReturn:
    """End the process without waiting for anyone."""
    kill_server()
    if last_words:
        _write(last_words)
    os._exit(code)


def kill_server() -> None:
    """Kill the server that Prefect brought up for this process; nothing when there is none."""
    server = getattr(sys.modules.get("prefect.server.api.server"), "SubprocessASGIServer", None)
    if server and (process := server().server_process):
        process.kill()


def _write(text: str) -> None:
    """Not with print, which is not safe in a signal's handler. Ctrl-C may have ended the reader of stderr (tee)."""
    with suppress(OSError):
        os.write(2, f"{text}\n".encode())

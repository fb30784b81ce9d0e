"""Many questions to one server: sent as places become free, answered in any order; and who is to blame for silence."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Generic, TypeVar

from tasks.chat_server import ChatServer, Question, RefusedError
from tasks.errors import CaptionMoviesError, ConfigError, TransientError

K = TypeVar("K")
"""What a question is about."""
T = TypeVar("T")
HOPELESS = 8
"""So many questions given up after several tries each, and none answered: the server is to blame."""


class Conversation(Generic[K, T]):
    """Questions to a server, and what came of those before."""

    def __init__(self, server: ChatServer, *, answered: bool = False) -> None:
        self.server = server
        self.answered = answered
        """Whether it has ever answered: then a question that it refuses is to blame itself."""
        self.waiting_seconds = 0.0
        """Seconds in which a question could have been sent, and was still being made."""

    def answers(
        self, about: Iterable[K], ask: Callable[[K, threading.Event], Question[T]]
    ) -> Iterator[list[tuple[K, T | RefusedError]]]:
        """Every question's answer, those together that are there together. `ask` makes the question about something.

        At most requests_in_flight are drawn and unanswered. A question that the server does not answer has RefusedError
        for its answer, unless there are several and it answers none: then they are not to blame, and ConfigError or
        TransientError is raised. Before any error, what was in flight and is answered still comes out.
        """
        given_up = threading.Event()
        asked: dict[Future[T], K] = {}
        refused: list[tuple[K, RefusedError]] = []  # kept back until something is answered
        try:
            for done in self._rounds(iter(about), ask, asked, given_up):
                answers, failed = _sort(done, asked, refused)
                self.answered |= bool(answers)
                if self.answered:
                    answers += refused
                    refused.clear()
                if answers:
                    yield answers
                if failed:
                    raise failed
                if sum(error.tried > 1 for _, error in refused) >= HOPELESS:
                    _blame_server([error for _, error in refused])
            if len(refused) > 1:
                _blame_server([error for _, error in refused])
            if refused:
                yield list(refused)
        except (CaptionMoviesError, KeyboardInterrupt):
            if last := _end(asked, given_up):
                yield last
            raise
        finally:
            _end(asked, given_up)

    def _rounds(
        self,
        about: Iterator[K],
        ask: Callable[[K, threading.Event], Question[T]],
        asked: dict[Future[T], K],
        given_up: threading.Event,
    ) -> Iterator[set[Future[T]]]:
        """Send questions, as many at once as may be; give those that are done. Keeps `asked`, from which they go."""
        more = True
        while more or asked:
            while more and len(asked) < self.server.config.requests_in_flight:
                start = time.perf_counter()
                try:
                    one = next(about)
                except StopIteration:
                    more = False
                else:
                    asked[self.server.submit(ask(one, given_up))] = one
                finally:
                    self.waiting_seconds += time.perf_counter() - start
            if asked:
                yield wait(asked, return_when=FIRST_COMPLETED).done


def _sort(
    done: Iterable[Future[T]], asked: dict[Future[T], K], refused: list[tuple[K, RefusedError]]
) -> tuple[list[tuple[K, T | RefusedError]], CaptionMoviesError | None]:
    """The answers, and an error that ends it all; what was refused goes to `refused`."""
    answers: list[tuple[K, T | RefusedError]] = []
    failed: CaptionMoviesError | None = None
    for future in done:
        one = asked.pop(future)
        try:
            answers.append((one, future.result()))
        except RefusedError as error:
            refused.append((one, error))
        except CaptionMoviesError as error:
            failed = failed or error
    return answers, failed


def _end(asked: Mapping[Future[T], K], given_up: threading.Event) -> list[tuple[K, T | RefusedError]]:
    """Send nothing more, wait for what is in flight, and give what of it is answered."""
    given_up.set()
    for future in asked:
        future.cancel()
    wait(asked)
    return [(one, future.result()) for future, one in asked.items() if not (future.cancelled() or future.exception())]


def _blame_server(errors: Sequence[RefusedError]) -> None:
    first = errors[0]
    if any(error.tried > 1 for error in errors):
        raise TransientError(f"the server answered none of {len(errors)} requests. See to it, and run again. {first}")
    raise ConfigError(f"the server refused all of {len(errors)} requests: {first}. Correct what it complains of.")

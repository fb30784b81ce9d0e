"""Asking a server for chat completions over HTTP: many at once, each with a time limit and a bounded number of tries.

Who is to blame when no answer comes is said by the kind of error. The server's trouble is a TransientError: it may come
back. A wrong address or key is a ConfigError, a name that it does not have an UnknownModelError. A request that it does
not answer although it answers others is a RefusedError, and only that request's.
"""

import atexit
import contextlib
import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar

from tasks.errors import ConfigError, MissingExtraError, TransientError, UnknownModelError
from tasks.server_config import ServerConfig

try:
    import httpx
except ImportError as error:
    raise MissingExtraError("asking a server", "httpx", "pip install 'caption-movies[server]'") from error

T = TypeVar("T")
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0
"""Before the second try, and before any: the wait doubles from try to try."""
LONGEST_RETRY_AFTER_SECONDS = 120.0
"""A server that asks for more patience than this is given up for now."""
CONNECT_SECONDS = 10.0
LOOK_TRIES = 3
"""Of a question about the server itself: a run that cannot begin shall say so soon."""
SILENT_SECONDS = 60.0
"""For so long after it gave no answer, a server is not asked by those who can do without one."""
LARGEST_ANSWER_BYTES = 64 << 20
BUSY = (429, 503)
"""The server is fine and has too much to do: no request is to blame."""
AGAIN = (408, 425, *BUSY)
"""Beside every other status of 500 and above."""
SAID_CHARACTERS = 300
"""Of a server's own words in an error."""

log = logging.getLogger(__name__)


class RefusedError(ValueError):
    """The server does not answer this request. Never leaves a captioner: it becomes that request's result."""

    def __init__(self, message: str, *, tried: int) -> None:
        super().__init__(message)
        self.tried = tried
        """How often: once when the server says that the request is wrong."""


class _TryAgainError(Exception):
    """One try has failed, another may not."""

    def __init__(self, message: str, *, busy: bool = False, after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.busy, self.after_seconds = busy, after_seconds


@dataclass(frozen=True)
class Question(Generic[T]):
    """A chat completion that is wanted."""

    body: Callable[[], dict[str, Any]]
    """Makes the request's JSON object, when its turn has come: so only requests in flight are held as text."""
    read: Callable[[dict[str, Any]], T]
    """Takes the answer's JSON object. Raises ValueError when it is not of the form it has to be."""
    seed: int
    """Of the jitter of waits. It decides nothing else."""
    given_up: threading.Event
    """Set when nobody wants the answer any more."""
    otherwise: Callable[[dict[str, Any], int], dict[str, Any]] | None = None
    """Makes the body for the next try (its number, from 2) after an answer that `read` did not take; None: the same."""


class ChatServer:
    """A server, the threads that wait for it, and its connections. Safe to be used by many threads."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.url = config.url.rstrip("/")
        at_once = config.requests_in_flight
        seconds = httpx.Timeout(config.timeout_seconds, connect=min(CONNECT_SECONDS, config.timeout_seconds), pool=None)
        limits = httpx.Limits(max_connections=at_once + 1, max_keepalive_connections=at_once)
        self._client = httpx.Client(timeout=seconds, limits=limits)
        self._threads = ThreadPoolExecutor(at_once, "chat-server")
        self._silent_since: float | None = None
        atexit.register(self._client.close)

    def submit(self, question: Question[T]) -> "Future[T]":
        """Ask as soon as a place is free.

        The future's exception is RefusedError, or an error of our own tree as described above.
        """
        return self._threads.submit(self._ask, question)

    @property
    def is_silent(self) -> bool:
        """Whether it gave no answer when it was asked last, a moment ago."""
        return self._silent_since is not None and time.monotonic() - self._silent_since < SILENT_SECONDS

    def models(self) -> dict[str, dict[str, Any]]:
        """What the server offers: id to all it says of that model.

        Raises TransientError when it gives no list of them, ConfigError when it wants a key or url is wrong.
        """

        def once() -> dict[str, dict[str, Any]]:
            return _read_models(self._send("GET", "/models"))

        self._silent_since = None
        try:
            return self._tried(once, LOOK_TRIES, random.Random(0), threading.Event())
        except _TryAgainError as error:
            self._silent_since = time.monotonic()
            raise TransientError(
                f"the server at {self.url} does not say what models it has: {error}. Start it, or correct its address."
            ) from error

    def _ask(self, question: Question[T]) -> T:
        tries, unread = self.config.retries + 1, 0
        body: dict[str, Any] = {}

        def once() -> T:
            nonlocal body, unread
            said = self._send("POST", "/chat/completions", body)
            try:
                return question.read(said)
            except ValueError:
                unread += 1
                body = question.otherwise(body, unread + 1) if question.otherwise else body
                raise

        if not question.given_up.is_set():
            body = question.body()
        try:
            return self._tried(once, tries, random.Random(question.seed), question.given_up)
        except _TryAgainError as error:
            if not error.busy and self._works(body["model"]):
                raise RefusedError(
                    f"the server answers others, but not this request, {tries} times: {error}.", tried=tries
                ) from error
            last = str(error).rstrip(".")
            raise TransientError(
                f"the server at {self.url} gave no answer in {tries} tries, the last: {last}. See to it, and run "
                "again: what is finished is kept. If it has too much to do, lower requests_in_flight."
            ) from error

    def _tried(self, once: Callable[[], T], tries: int, jitter: random.Random, given_up: threading.Event) -> T:
        """Its result, after as many tries. Raises _TryAgainError when all have failed, and what else `once` raises."""
        for number in range(1, tries + 1):
            if given_up.is_set():
                break
            try:
                return once()
            except ValueError as error:
                if isinstance(error, RefusedError | ConfigError):
                    raise
                failed = _TryAgainError(f"its answer is of no use: {error}")
            except _TryAgainError as error:
                failed = error
            if number == tries or failed.after_seconds > LONGEST_RETRY_AFTER_SECONDS:
                raise failed
            log.info("try %d of %d at %s: %s", number, tries, self.url, failed)
            given_up.wait(_wait_seconds(number, failed.after_seconds, jitter))
        raise _TryAgainError("nobody waits for the answer any more", busy=True)

    def _works(self, model: str) -> bool:
        """Whether the server answers the least that can be asked: then what it does not answer is to blame itself."""
        least = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "temperature": 0}
        try:
            self._send("POST", "/chat/completions", least)
        except (_TryAgainError, RefusedError):
            return False
        return True

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One try. Raises _TryAgainError, RefusedError, ConfigError, UnknownModelError."""
        end = time.monotonic() + self.config.timeout_seconds
        try:
            with self._client.stream(method, self.url + path, json=body, headers=self._key()) as response:
                status, received, said = response.status_code, response.headers, self._read(response, end)
        except httpx.TimeoutException as error:
            raise _TryAgainError(f"no answer within {self.config.timeout_seconds:g} s") from error
        except (httpx.RequestError, OSError) as error:
            raise _TryAgainError(f"{type(error).__name__}: {error}") from error
        if status != httpx.codes.OK:
            raise self._failure(status, received, _words(said), body["model"] if body else None)
        try:
            answer = json.loads(said)
        except ValueError as error:
            raise _TryAgainError(f"its answer is not JSON but {_words(said)!r}") from error
        if not isinstance(answer, dict):
            raise _TryAgainError(f"its answer is no JSON object but {_words(said)!r}")
        return answer

    def _key(self) -> dict[str, str]:
        key = os.environ.get(self.config.api_key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"the environment variable {self.config.api_key_variable} holds what cannot be a key.")
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _read(self, response: httpx.Response, end: float) -> bytes:
        """The whole body. httpx limits the time between two bytes only, and nothing limits their number."""
        parts, size = [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > LARGEST_ANSWER_BYTES:
                raise _TryAgainError(f"its answer has more than {LARGEST_ANSWER_BYTES} bytes")
            if time.monotonic() > end:
                raise _TryAgainError(f"no whole answer within {self.config.timeout_seconds:g} s")
        return b"".join(parts)

    def _failure(self, status: int, headers: Any, said: str, model: str | None) -> Exception:
        """What a status that is not 200 means."""
        words = f"it says {status}: {said or 'nothing more'}"
        if status in (401, 403):
            return ConfigError(
                f"the server at {self.url} wants another key; {words}. Set the environment variable "
                f"{self.config.api_key_variable} to it."
            )
        if status in AGAIN or status >= 500:
            return _TryAgainError(words, busy=status in BUSY, after_seconds=_retry_after(headers.get("Retry-After")))
        if model is not None and status == 404:
            return UnknownModelError(f"the server at {self.url}", model, f"; {words}. {self._offer()}")
        if model is None or status in (404, 405) or 300 <= status < 400:
            return ConfigError(
                f"at {self.url} there is no server of the OpenAI protocol; {words}. Correct url, /v1 included."
            )
        return RefusedError(f"the server refuses this request; {words}", tried=1)

    def _offer(self) -> str:
        try:
            return say_offer(_read_models(self._send("GET", "/models")))
        except (_TryAgainError, ValueError):
            return "It does not say what it has; see whether url ends in /v1."


_servers: dict[ServerConfig, ChatServer] = {}
_lock = threading.Lock()


def server_of(config: ServerConfig) -> ChatServer:
    """The one of this process: all its work shares the connections and the limit of requests in flight."""
    with _lock:
        if config not in _servers:
            _servers[config] = ChatServer(config)
        return _servers[config]


def say_offer(models: dict[str, dict[str, Any]]) -> str:
    """The remedy of an unknown name."""
    return f"It has: {', '.join(sorted(models)) or 'none'}. Correct the model's name, or serve it under that one."


def _read_models(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    listed = said.get("data")
    if not isinstance(listed, list) or not all(
        isinstance(one, dict) and isinstance(one.get("id"), str) for one in listed
    ):
        raise ValueError(f"no list of models but {str(said)[:SAID_CHARACTERS]!r}")
    return {one["id"]: one for one in listed}


def _wait_seconds(tries: int, asked_for: float, jitter: random.Random) -> float:
    """Half of the doubled wait to all of it, so that not all come back at once; at least what the server asks for."""
    doubled = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (tries - 1)) * jitter.uniform(0.5, 1)
    return float(max(doubled, asked_for * jitter.uniform(1, 1.1)))


def _retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for: a number, or a date (RFC 9110, 10.2.3); 0 for anything else."""
    if not value:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    with contextlib.suppress(ValueError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return 0.0


def _words(said: bytes) -> str:
    """The message in a body of an error, or the beginning of the body; what Unicode forbids in it as escapes."""
    text = said.decode(errors="replace").strip()
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        for key in ("error", "message", "detail"):
            if isinstance(found, dict) and key in found:
                found = found[key]
        text = found if isinstance(found, str) else json.dumps(found)
    return text[:SAID_CHARACTERS].encode(errors="backslashreplace").decode()

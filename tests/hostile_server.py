"""A server that does what it is told to, byte by byte: what goes wrong on real networks, over a real socket."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

MODELS = [{"id": "m", "owned_by": "vllm", "root": "org/m", "parent": None, "created": 1, "max_model_len": 4096}]
Behaviour = Callable[["Asked"], None]


@dataclass
class Asked:
    """One request, as it came, and the connection to answer on."""

    connection: socket.socket
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    server: "Hostile"

    @property
    def seed(self) -> int:
        """-1 for what is no caption's request."""
        return int(self.body.get("seed", -1))

    def send(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()] + ["Connection: close"]
        self.connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


@dataclass
class Hostile:
    """What it was asked, and what it does about the captions asked for: `behave` is called in a thread for each."""

    behave: Behaviour
    url: str = ""
    models: Any = field(default_factory=lambda: {"object": "list", "data": MODELS})
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def tries(self) -> list[int]:
        """The seeds of the captions asked for, in the order they came."""
        return [one.seed for one in self.asked if one.path.endswith("/chat/completions") and one.seed >= 0]


def completion(text: str = "a dog", **changes: Any) -> bytes:
    choice = {
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
        "logprobs": {"content": [{"token": "a", "logprob": -0.5}, {"token": "", "logprob": -0.25}]},
    }
    said = {"choices": [choice | changes], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    return json.dumps(said).encode()


# --- what it may do -----------------------------------------------------------------------------------------------


def answer(asked: Asked) -> None:
    asked.send(200, completion(f"caption {asked.seed}"))


def hang(asked: Asked) -> None:
    asked.server.closing.wait()


def reset(asked: Asked) -> None:
    asked.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def say_nothing(asked: Asked) -> None:
    """The connection is closed in good order."""


def half_a_body(asked: Asked) -> None:
    asked.send(200, completion()[:20], length=len(completion()))


def not_json(asked: Asked) -> None:
    asked.send(200, b"<html>Welcome to the proxy</html>", Content_Type="text/html")


def no_object(asked: Asked) -> None:
    asked.send(200, b"[1, 2]")


def no_choices(asked: Asked) -> None:
    asked.send(200, b'{"choices": []}')


def wrong_shape(asked: Asked) -> None:
    asked.send(200, b'{"choices": [{"message": "a dog"}]}')


def status(code: int, said: str = "", **headers: str) -> Behaviour:
    def behave(asked: Asked) -> None:
        asked.send(code, json.dumps({"error": {"message": said}}).encode(), **headers)

    return behave


def for_seed(seed: int, wrong: Behaviour, times: int | None = None) -> Behaviour:
    """One request is treated so, as often as said or for ever; all else is answered."""

    def behave(asked: Asked) -> None:
        tries = asked.server.tries.count(seed)
        (wrong if asked.seed == seed and (times is None or tries <= times) else answer)(asked)

    return behave


# --- the server itself ----------------------------------------------------------------------------------------------


@contextmanager
def hostile(behave: Behaviour) -> Iterator[Hostile]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        server = Hostile(behave, f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
        accepting = threading.Thread(target=_accept, args=(listening, server))
        accepting.start()
        try:
            yield server
        finally:
            server.closing.set()
            with socket.create_connection(listening.getsockname()):
                accepting.join()


def _accept(listening: socket.socket, server: Hostile) -> None:
    threads = []
    while True:
        connection, _ = listening.accept()
        if server.closing.is_set():
            connection.close()
            break
        threads.append(threading.Thread(target=_serve, args=(connection, server)))
        threads[-1].start()
    for thread in threads:
        thread.join()


def _serve(connection: socket.socket, server: Hostile) -> None:
    with connection:
        read = connection.makefile("rb")
        try:
            asked = _request(read, connection, server)
        except OSError:
            return
        finally:
            read.close()
        if asked is None:
            return
        with server.lock:
            server.asked.append(asked)
        try:
            if asked.path.endswith("/models"):
                asked.send(200, json.dumps(server.models).encode())
            elif asked.seed < 0:
                answer(asked) if server.behave is not hang else hang(asked)
            else:
                server.behave(asked)
        except OSError:
            return  # whoever asked has gone


def _request(read: Any, connection: socket.socket, server: Hostile) -> Asked | None:
    if not (first := read.readline()):
        return None
    _, path, _ = first.decode().split(" ")
    headers = {}
    while line := read.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = read.read(int(headers.get("content-length", 0)))
    return Asked(connection, path, headers, json.loads(body) if body else {}, server)

"""A server of chat completions over a small Pixtral: what tests and benchmarks ask instead of vLLM.

    python -m benchmarks.caption_server CHECKPOINT --name NAME     (its first line says the url)

Requests that wait together are worked on together. It speaks as much of vLLM's protocol as a captioner needs: models,
one user turn with one picture as a data URL, max_tokens, temperature, top_p, seed, logprobs, a grammar in EBNF. Every
token is given the mean log-probability of its caption. Of a grammar it knows the text alone, as vLLM does: it closes
nothing when the limit of tokens comes.
"""

import argparse
import base64
import io
import os
import queue
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from llguidance import LLMatcher, LLParserLimits
from llguidance.gbnf_to_lark import any_to_lark
from numpy.typing import NDArray
from PIL import Image

from tasks import captioners, prompts
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult, pixtral
from tasks.captioners.pixtral import PixtralCaptioner
from tasks.token_vocabulary import Mask, Vocabulary

MAX_BATCH = 16
THREADS = 256
"""Requests that may wait at once."""
LIMITS = LLParserLimits(step_max_items=50_000_000, max_items_in_row=1_000_000)
"""llguidance is made for words, and gives up early on EBNF, which goes letter by letter."""
KEY_VARIABLE = "CAPTION_SERVER_KEY"
"""Environment variable with the key that is wanted of whoever asks; empty: none."""

Asked = tuple[CaptionRequest, CaptionConfig, str, "Future[CaptionResult]"]
"""The last but one is the grammar's text."""


class TextLimit:
    """What a caption may go on with by a grammar's text; like token_limits.TokenLimit, but blind to what is left."""

    def __init__(self, vocabulary: Vocabulary, grammar: str) -> None:
        self.matcher = LLMatcher(vocabulary.grammar_tokenizer, any_to_lark(grammar), log_level=0, limits=LIMITS)
        self.vocabulary = vocabulary
        self.error: str | None = self.matcher.get_error() or None

    def take(self, token: int, _left: int) -> bool:
        return self.error is not None or self.matcher.validate_tokens([token]) == 1

    def allowed(self, _left: int) -> Mask:
        bits = np.frombuffer(self.matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.unpackbits(bits, count=len(self.vocabulary.tokens), bitorder="little").astype(np.bool_)
        if not mask.any() or self.matcher.is_error():
            self.error = f"the grammar lets nothing follow: {self.matcher.get_error()}"
            mask[self.vocabulary.eos] = True
        return mask

    def accept(self, token: int) -> None:
        if self.error is None and not self.matcher.consume_token(token):
            self.error = f"token {token} may not follow: {self.matcher.get_error()}"


class ByText(PixtralCaptioner):
    """Pixtral, with the grammar of each request as the text it came with."""

    def __init__(self, captioner: PixtralCaptioner, grammars: Mapping[CaptionRequest, str]) -> None:
        super().__init__(captioner.loaded, captioner.config)
        self.grammars = grammars

    def _limit(self, request: CaptionRequest) -> Any:
        if self.config.decoding == "free":
            return None
        return partial(TextLimit, self.loaded.grammars.vocabulary, self.grammars[request])


class Engine:
    """One thread that works on whatever waits, as much as fits a batch, settings of one kind at a time."""

    def __init__(self, checkpoints: dict[str, CaptionConfig], max_batch: int = MAX_BATCH) -> None:
        self.checkpoints, self.max_batch = checkpoints, max_batch
        self.batches: list[int] = []
        """Size of every batch so far."""
        self._waiting: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._writer = ThreadPoolExecutor(1)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def ask(self, request: CaptionRequest, config: CaptionConfig, grammar: str) -> CaptionResult:
        future: Future[CaptionResult] = Future()
        self._waiting.put((request, config, grammar, future))
        return future.result()

    def stop(self) -> None:
        self._waiting.put(None)
        self._thread.join()
        self._writer.shutdown()

    def _run(self) -> None:
        left: list[Asked] = []
        while True:
            while not self._waiting.empty() or not left:
                if (one := self._waiting.get()) is None:
                    return
                left.append(one)
            config = left[0][1]
            batch = [one for one in left if one[1] == config][: self.max_batch]
            left = [one for one in left if one not in batch]
            self._work(batch, config)

    def _work(self, batch: Sequence[Asked], config: CaptionConfig) -> None:
        self.batches.append(len(batch))
        written = self._writer.submit(_write, batch, config)
        error = written.exception()
        for index, (_, _, _, future) in enumerate(batch):
            if error is not None:  # whatever it is: who asked waits in another thread, and is told
                future.set_exception(error)
            else:
                future.set_result(written.result()[index])


def _write(batch: Sequence[Asked], config: CaptionConfig) -> list[CaptionResult]:
    """The captions of a batch, in its order. Raises whatever the captioner raises."""
    captioner = ByText(pixtral.load(config), {request: grammar for request, _, grammar, _ in batch})
    return captioner([request for request, _, _, _ in batch])


def make_app(engine: Engine) -> FastAPI:
    """The protocol around an engine."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        import anyio.to_thread

        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        yield
        engine.stop()

    app = FastAPI(lifespan=lifespan)

    @app.exception_handler(HTTPException)
    async def say(_request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": {"message": error.detail, "code": error.status_code}}, error.status_code)

    @app.exception_handler(Exception)
    async def say_any(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": {"message": f"{type(error).__name__}: {error}", "code": 500}}, 500)

    def check_key(request: Request) -> None:
        key = os.environ.get(KEY_VARIABLE)
        if key and request.headers.get("Authorization") != f"Bearer {key}":
            raise HTTPException(401, "Unauthorized")

    @app.get("/v1/models")
    def models(request: Request) -> dict[str, Any]:
        check_key(request)
        return {"object": "list", "data": [_card(name, config) for name, config in engine.checkpoints.items()]}

    @app.post("/v1/chat/completions")
    def complete(request: Request, body: dict[str, Any]) -> dict[str, Any]:
        check_key(request)
        name = body["model"]
        if name not in engine.checkpoints:
            raise HTTPException(404, f"The model `{name}` does not exist.")
        asked, config = _read_body(body, engine.checkpoints[name])
        grammar = body.get("structured_outputs", {}).get("grammar", "")
        result = engine.ask(asked, replace(config, decoding="constrained" if grammar else "free"), grammar)
        if result.error is not None:
            raise HTTPException(400, result.error)
        return _completion(name, result)

    return app


def _card(name: str, config: CaptionConfig) -> dict[str, Any]:
    card = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "vllm"}
    return card | {"root": Path(config.adapter or config.checkpoint).name, "parent": None, "max_model_len": 131072}


def _read_body(body: dict[str, Any], config: CaptionConfig) -> tuple[CaptionRequest, CaptionConfig]:
    prompt, image = _render(body["messages"])
    asked = CaptionRequest(
        frame_id="", frame_number=0, candidate=0, image=image, detections=[], prompt=prompt, seed=body.get("seed", 0)
    )
    said = {"max_new_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p"}
    return asked, replace(config, **{ours: body[theirs] for ours, theirs in said.items() if theirs in body})


def _render(messages: Sequence[dict[str, Any]]) -> tuple[str, NDArray[np.uint8]]:
    """One user turn as Pixtral's chat templates write it, and its picture. A turn without one is shown a grey one."""
    (message,) = messages
    text, image = "", np.full((16, 16, 3), 128, np.uint8)
    parts = message["content"]
    for part in [{"type": "text", "text": parts}] if isinstance(parts, str) else parts:
        if part["type"] == "text":
            text += part["text"]
        else:
            text += prompts.IMAGE
            image = _picture(part["image_url"]["url"])
    if prompts.IMAGE not in text:
        text += prompts.IMAGE
    return f"{prompts.BEGIN}{prompts.OPEN}{text}{prompts.CLOSE}", image


def _picture(url: str) -> NDArray[np.uint8]:
    _, _, data = url.partition(";base64,")
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        return np.asarray(picture.convert("RGB"))


def _completion(name: str, result: CaptionResult) -> dict[str, Any]:
    tokens = [{"token": "", "logprob": result.mean_logprob}] * result.completion_tokens
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": result.text},
        "logprobs": {"content": tokens},
        "finish_reason": result.finish_reason,
    }
    total = result.prompt_tokens + result.completion_tokens
    usage = {"prompt_tokens": result.prompt_tokens, "completion_tokens": result.completion_tokens}
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": name,
        "choices": [choice],
        "usage": usage | {"total_tokens": total},
    }


def _server(engine: Engine) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(make_app(engine), log_level="warning", ws="none"))


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()  # who comes before the server runs waits
    return listening


def _url(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


@contextmanager
def served(checkpoints: dict[str, CaptionConfig], max_batch: int = MAX_BATCH) -> Iterator[tuple[str, Engine]]:
    """A server in a thread of this process: its url and its engine."""
    engine, listening = Engine(checkpoints, max_batch), _listen(0)
    server = _server(engine)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield _url(listening), engine
    finally:
        server.should_exit = True
        thread.join()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", help="folder of a small Pixtral")
    parser.add_argument("--name", help="under which it is served (default: the folder's)")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--max-batch", type=int, default=MAX_BATCH, help="default: %(default)s")
    options = parser.parse_args()
    config = CaptionConfig(checkpoint=options.checkpoint, device="cpu")
    captioners.load(config)
    listening = _listen(options.port)
    print(_url(listening), flush=True)
    _server(Engine({options.name or Path(options.checkpoint).name: config}, options.max_batch)).run(sockets=[listening])


if __name__ == "__main__":
    main()

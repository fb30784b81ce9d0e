"""Any server of the OpenAI protocol, through chat completions: vLLM, SGLang, `transformers serve`.

What decides a caption is said in every request, as far as the protocol goes. The picture goes as PNG, so that the
server's model sees the very pixels that a model in this process would see.

A server tells the names of its models, and where it took them from, but nothing of their weights. So captions are made
anew when those names change, and not when other weights are put in their place; `revision` is the place to say which
weights they are. While it does not answer, finished work counts as what it said when that was made; docs/server.md
says why that is true of the rows.

Constrained, every request carries the grammar of its frame in the field that the server reads. Servers do not close
what is open when the limit of tokens comes, so the rest of a caption that was cut off inside a tag is left out here;
and what they give is looked at, because a server passes over a field it does not know. What they wrote is kept beside.
"""

import base64
import io
import logging
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from tasks import caption_check, prompts, tag_grammar, tags
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult, Origin
from tasks.chat_answers import Conversation
from tasks.chat_completion import read_completion
from tasks.chat_server import ChatServer, Question, RefusedError, say_offer, server_of
from tasks.errors import CaptionMoviesError, CheckpointError, ConfigError, UnknownModelError
from tasks.server_config import DIALECTS

CONSTRAINS = True
"""Whether captions can be kept to their grammar; see tasks.captioners.can_constrain."""
RECALLS = True
DECIDING = ("id", "root", "parent")
"""What a server says of a model that hangs on the model alone: its name there, where it was taken from, and for an
adapter what it stands on. `created` is when the server was started."""
GRAMMAR_FIELDS = {"vllm": "structured_outputs.grammar", "sglang": "ebnf"}
"""Who the server says it is, and where it reads a grammar."""
LARK_LINE = "%llguidance {}\n"
"""By this first line llama.cpp tells Lark from its own dialect. To llguidance it says nothing."""
CUTS = 2
"""A caption that keeps to the grammar until it is cut off has so many `<` too many at most: a tag's two brackets."""
HALF_A_CHARACTER = "\ufffd"
"""What servers write for the bytes of a character that was cut off."""
TRIAL_ANSWER, TRIAL_TOKENS = "grammars", 16
TRIAL_GRAMMARS = {"ebnf": 'root ::= "{}"', "lark": 'start: "{}"'}
"""By dialect."""
PNG_LEVEL = 1
"""Of zlib: a higher one costs far more time than it saves."""

Models = dict[str, dict[str, Any]]
log = logging.getLogger(__name__)


def identify(config: CaptionConfig, recorded: Mapping[str, str] | None = None) -> Origin:
    """What the server says of the model, and `revision`.

    Where it cannot be asked, what it said before, as `recorded` has it; then Origin.asked is false. Without that raises
    TransientError when it does not answer, UnknownModelError when it does not have the model, ConfigError for a wrong
    address or key.
    """
    server, known = _server(config), _said_before(recorded or {}, config)
    if known and server.is_silent:
        return _origin(known, config, asked=False)
    try:
        models = server.models()
        _check(models, config)
    except CaptionMoviesError as error:
        if not known:
            raise
        log.warning("finished captions are taken as they are, though nobody says whose: %s", error)
        return _origin(known, config, asked=False)
    said: dict[str, str] = {}
    for what, name in (("checkpoint", config.checkpoint), ("adapter", config.adapter)):
        told = models.get(name or "", {})
        said |= {f"{what} {key}": told[key] for key in DECIDING if isinstance(told.get(key), str) and told[key]}
    return _origin(said, config, asked=True)


def _said_before(recorded: Mapping[str, str], config: CaptionConfig) -> dict[str, str]:
    """What a file says that the server said of the models with the configuration's names; else nothing."""
    if (recorded.get("checkpoint id"), recorded.get("adapter id")) != (config.checkpoint, config.adapter):
        return {}
    return {key: value for key, value in recorded.items() if key.startswith(("checkpoint ", "adapter "))}


def _origin(said: Mapping[str, str], config: CaptionConfig, *, asked: bool) -> Origin:
    weights = dict(said)
    if config.revision:
        weights["revision"] = config.revision
    if config.decoding == "constrained" and config.server and config.server.grammar_dialect != DIALECTS[0]:
        weights["grammar dialect"] = config.server.grammar_dialect
    label = f"{config.checkpoint}@{config.revision}" if config.revision else config.checkpoint
    return Origin(label, config.adapter, weights, asked)


def load(config: CaptionConfig) -> "ServerCaptioner":
    """The captioner. Raises what `identify` raises."""
    server = _server(config)
    models = server.models()
    _check(models, config)
    model = models[config.adapter or config.checkpoint]
    if config.decoding == "constrained" and not _grammar_field(server, model):
        raise ConfigError(
            f"the server at {server.url} is none of {', '.join(GRAMMAR_FIELDS)}, so how it wants a grammar is not "
            "known. Say it by grammar_field and grammar_dialect in [caption.server], serve the model with one of them, "
            'or set decoding = "free" (and on_violation to another than "regenerate", which asks again with the '
            "grammar)."
        )
    return ServerCaptioner(server, config, model)


def try_grammar(config: CaptionConfig) -> bool:
    """Whether the server, asked one question of a few tokens, keeps to a grammar; False where none is asked of it.

    Raises what `load` raises, ConfigError where the server passes over the grammar, and what asking raises.
    """
    captioner = load(config)
    if config.decoding != "constrained":
        return False
    grammar = TRIAL_GRAMMARS[captioner.server.config.grammar_dialect].format(TRIAL_ANSWER)
    body = {
        "model": config.adapter or config.checkpoint,
        "messages": [{"role": "user", "content": "What is one and one?"}],
        "max_tokens": TRIAL_TOKENS,
        "temperature": 0,
        "seed": 0,
    } | captioner.field_with(grammar)
    question = Question(lambda: body, lambda said: read_completion(said).text or "", 0, threading.Event())
    try:
        said = captioner.server.submit(question).result()
    except RefusedError as error:
        raise ConfigError(f"asked with a grammar, {error}. Correct grammar_field in [caption.server].") from error
    if said != TRIAL_ANSWER:
        raise ConfigError(
            f"the server did not keep to a grammar that permits {TRIAL_ANSWER!r} alone: it said {said[:80]!r}. Correct "
            "grammar_field and grammar_dialect in [caption.server], or serve the model with vLLM or SGLang."
        )
    return True


def _grammar_field(server: ChatServer, model: Mapping[str, Any]) -> str:
    """Where the server reads a grammar; empty where that is not known."""
    return server.config.grammar_field or GRAMMAR_FIELDS.get(str(model.get("owned_by")), "")


def _server(config: CaptionConfig) -> ChatServer:
    if config.server is None:
        raise ConfigError("the captioner `server` needs a section [caption.server] with its url.")
    return server_of(config.server)


def _check(models: Models, config: CaptionConfig) -> None:
    for name in filter(None, (config.checkpoint, config.adapter)):
        if name not in models:
            raise UnknownModelError("the server", name, f". {say_offer(models)}")
    if config.adapter and (parent := models[config.adapter].get("parent")) and parent != config.checkpoint:
        base = models[config.checkpoint]
        if models.get(parent, {}).get("root", parent) != base.get("root", config.checkpoint):
            raise CheckpointError(
                f"at the server {config.adapter!r} stands on {parent!r}, not on {config.checkpoint!r}. Correct one."
            )


class ServerCaptioner:
    """A model at a server, with one set of sampling settings."""

    def __init__(self, server: ChatServer, config: CaptionConfig, model: dict[str, Any]) -> None:
        self.server, self.config, self.model = server, config, model
        self.waiting_seconds = 0.0
        """Seconds in which a request could have been sent, and was still being made."""

    @property
    def notes(self) -> dict[str, Any]:
        """What the server says of itself and the model, as far as it decides no caption."""
        said = {"server": self.model.get("owned_by"), "max_model_len": self.model.get("max_model_len")}
        return {key: value for key, value in said.items() if isinstance(value, str | int)}

    def __call__(self, requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        """One result per request, in order; see the protocol."""
        made = {id(request): result for request, result in self.stream(requests)}
        return [made[id(request)] for request in requests]

    def stream(self, requests: Iterable[CaptionRequest]) -> Iterator[tuple[CaptionRequest, CaptionResult]]:
        """Every request with its result, as soon as there is one; see the protocol.

        A request that the server does not answer has an error for its result; for the rest, and what is raised, see
        Conversation.answers.
        """
        conversation: Conversation[CaptionRequest, CaptionResult] = Conversation(self.server)
        try:
            for answers in conversation.answers(requests, self._question):
                for request, result in answers:
                    yield request, CaptionResult(error=str(result)) if isinstance(result, RefusedError) else result
        finally:
            self.waiting_seconds += conversation.waiting_seconds

    def _question(self, request: CaptionRequest, given_up: threading.Event) -> Question[CaptionResult]:
        def read(said: dict[str, Any]) -> CaptionResult:
            result = _read(said)
            return _kept(result, request) if self.config.decoding == "constrained" else result

        return Question(lambda: self._body(request), read, request.seed, given_up)

    def _body(self, request: CaptionRequest) -> dict[str, Any]:
        try:
            turn = content(request)
        except ValueError as error:
            raise RefusedError(f"the server cannot be asked this: {error}", tried=1) from error
        body = {
            "model": self.config.adapter or self.config.checkpoint,
            "messages": [{"role": "user", "content": turn}],
            "max_tokens": self.config.max_new_tokens,
            "temperature": self.config.temperature,
            "top_p": self.config.top_p,
            "seed": request.seed,
            "logprobs": True,
        }
        if self.config.decoding == "constrained":
            body |= self._grammar(request)
        return body

    def _grammar(self, request: CaptionRequest) -> dict[str, Any]:
        """The field with the grammar of the request's frame."""
        dialect = self.server.config.grammar_dialect
        return self.field_with(tag_grammar.text_for(request.detections, dialect))

    def field_with(self, grammar: str) -> dict[str, Any]:
        """A grammar in the field in which the server reads it."""
        said: Any = LARK_LINE + grammar if self.server.config.grammar_dialect == "lark" else grammar
        for name in reversed(_grammar_field(self.server, self.model).split(".")):
            said = {name: said}
        return dict(said)


def content(request: CaptionRequest) -> list[dict[str, Any]]:
    """The user's turn: the picture, and the prompt's text before and after it, where there is any."""
    before, after = prompts.around_picture(request.prompt)
    texts = [[{"type": "text", "text": text}] if text else [] for text in (before, after)]
    return [*texts[0], {"type": "image_url", "image_url": {"url": data_url(request.image)}}, *texts[1]]


def data_url(image: NDArray[np.uint8]) -> str:
    """A picture, RGB (height, width, 3), as a data URL of a PNG file: lossless."""
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "PNG", compress_level=PNG_LEVEL)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _read(said: dict[str, Any]) -> CaptionResult:
    """The result in a chat completion. Raises ValueError when it is none."""
    completion = read_completion(said)
    result = CaptionResult(
        text=completion.text or completion.refusal or "",
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
    )
    if completion.refusal and not completion.text:
        return replace(result, error="the model refused; its words stand in original_text. Try another model.")
    if completion.finish_reason is None:
        ended = f"the server ended the caption with {completion.ended_with!r}"
        return replace(result, error=f"{ended}, not because it was complete or at its limit.")
    logprob = _mean_logprob(completion.logprobs)
    return replace(result, finish_reason=completion.finish_reason, mean_logprob=logprob)


def _kept(result: CaptionResult, request: CaptionRequest) -> CaptionResult:
    """A constrained caption: without what is half of it; an error when the server kept to no grammar."""
    if result.error is not None:
        return result
    text = _without_half(result.text, request) if result.finish_reason == "length" else result.text
    if text and (violations := caption_check.check(text, request.detections).violations):
        error = (
            f"the server did not keep to the grammar: {violations[0].message}. Serve the model with vLLM or SGLang, or "
            "correct grammar_field and grammar_dialect in [caption.server]."
        )
        return replace(result, error=error)
    return result if text == result.text else replace(result, text=text, original_text=result.text)


def _without_half(text: str, request: CaptionRequest) -> str:
    """A text that was cut off, without the half of a character or tag at its end; empty when no word is left.

    As it is where a whole tag would have to go: that one is at fault itself, and nobody kept to the grammar.
    """
    kept = text.rstrip(HALF_A_CHARACTER)
    for _ in range(CUTS):
        if "<" in kept and caption_check.check(kept, request.detections).violations:
            kept = kept[: kept.rfind("<")]
    if any(tag_grammar.closing(kind) in text[len(kept) :] for kind in tags.NAMES):
        return text
    return kept if any(character.isalnum() for character in kept) else ""


def _mean_logprob(logprobs: Any) -> float | None:
    """None where the server does not give every token's."""
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list) or not tokens:
        return None
    values = [token.get("logprob") if isinstance(token, dict) else None for token in tokens]
    numbers = [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return math.fsum(numbers) / len(numbers) if len(numbers) == len(tokens) else None

"""Where a server reads a grammar, and in which dialect: what arrives in a request, and what llguidance makes of it."""

from collections.abc import Callable
from typing import Any

import hostile_server as wrong
import pytest
from hostile_server import Behaviour, Hostile, completion
from llguidance import LLMatcher, grammar_from
from server_asking import config, load
from test_captioners import request
from test_constrained import grammars

from tasks import captioners, tag_grammar, tags
from tasks.captioners import ServerConfig
from tasks.errors import ConfigError, UnknownNameError
from tasks.mending import MendConfig, asked_again

pytestmark = pytest.mark.usefixtures("quick_retries")

FOUND = request(0).detections
GOOD = "Here " + tags.render("object", "person", ["person-0"], "a man") + " waits."
BAD = "Here " + tags.render("object", "person", ["person-9"], "a man") + " waits."


def arrived(start: Callable[[Behaviour], Hostile], who: str | None, **settings: str) -> dict[str, Any]:
    """The body of a constrained request as it came over the socket."""
    server = start(lambda asked: asked.send(200, completion("a dog")))
    server.models = {"data": [wrong.MODELS[0] | {"owned_by": who}]}
    load(server, decoding="constrained", **settings)([request(0)])
    return server.asked[-1].body


def compiled(text: str) -> Callable[[str], bool]:
    """Whether the grammar takes a whole text; read by llguidance as vLLM and SGLang have it read."""
    grammar = grammar_from("ebnf", text)
    assert not LLMatcher.validate_grammar(grammar)
    vocabulary = grammars().vocabulary

    def takes(caption: str) -> bool:
        matcher = LLMatcher(vocabulary.grammar_tokenizer, grammar, log_level=0)
        tokens = list(vocabulary.shortest(caption.encode())[0])
        return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()

    return takes


@pytest.mark.parametrize("dialect", ["ebnf", "lark"])
@pytest.mark.parametrize(
    ("who", "field", "at"),
    [
        ("vllm", "", ["structured_outputs", "grammar"]),
        ("sglang", "", ["ebnf"]),
        ("llamacpp", "grammar", ["grammar"]),
        (None, "extra.guided.grammar", ["extra", "guided", "grammar"]),
        ("vllm", "guided_grammar", ["guided_grammar"]),
    ],
)
def test_the_grammar_arrives_where_it_was_said_in_the_dialect_that_was_said(
    who: str | None, field: str, at: list[str], dialect: str, start: Callable[[Behaviour], Hostile]
) -> None:
    text: Any = arrived(start, who, grammar_field=field, grammar_dialect=dialect)
    for name in at:
        text = text[name]
    assert isinstance(text, str)
    assert text.removeprefix("%llguidance {}\n") == tag_grammar.text_for(FOUND, dialect)
    assert text.startswith("%llguidance {}\n") == (dialect == "lark")
    takes = compiled(text)
    assert takes(GOOD)
    assert not takes(BAD)
    assert not takes(GOOD + "<")


def test_nothing_else_in_the_request_hangs_on_it(start: Callable[[Behaviour], Hostile]) -> None:
    first = arrived(start, "vllm")
    second = arrived(start, None, grammar_field="grammar", grammar_dialect="lark")
    del first["structured_outputs"], second["grammar"]
    assert first == second


def test_a_server_of_unknown_make_says_which_settings_to_give(start: Callable[[Behaviour], Hostile]) -> None:
    with pytest.raises(ConfigError, match="grammar_field and grammar_dialect"):
        arrived(start, "llamacpp")
    with pytest.raises(ConfigError, match="grammar_field and grammar_dialect"):
        arrived(start, None, grammar_dialect="lark")


def test_the_dialect_decides_constrained_captions_and_no_others(start: Callable[[Behaviour], Hostile]) -> None:
    """So does asking again, which is constrained; where the grammar goes decides nothing."""
    server = start(wrong.answer)

    def weights(decoding: str, **settings: str) -> dict[str, str]:
        return dict(captioners.identify(config(server, decoding=decoding, **settings)).weights)

    assert weights("constrained", grammar_dialect="lark") == weights("constrained") | {"grammar dialect": "lark"}
    assert weights("constrained", grammar_field="grammar") == weights("constrained") == weights("free")
    assert weights("free", grammar_dialect="lark") == weights("free")
    again = asked_again(config(server, grammar_dialect="lark"), MendConfig(on_violation="regenerate"), 1)
    assert captioners.identify(again).weights["grammar dialect"] == "lark"


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"grammar_field": "a..b"}, ConfigError, "structured_outputs.grammar"),
        ({"grammar_field": "a b"}, ConfigError, "no field"),
        ({"grammar_field": "messages.grammar"}, ConfigError, "another 'messages' already"),
        ({"grammar_dialect": "larks"}, UnknownNameError, "Did you mean 'lark'"),
    ],
)
def test_impossible_settings_say_why(settings: dict[str, str], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        ServerConfig(url="http://localhost:8000/v1", **settings)  # type: ignore[arg-type]

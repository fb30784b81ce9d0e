"""How to reach a server of models: where it is, how patiently to ask it, and how it wants a grammar."""

import math
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from tasks.errors import ConfigError, UnknownNameError

FIELD = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
TAKEN = ("model", "messages", "max_tokens", "temperature", "top_p", "seed", "logprobs")
"""Fields of a request that are ours."""
DIALECTS = ("ebnf", "lark")
"""Of tasks/tag_grammar.py."""


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """A server of the OpenAI protocol. No value is part of a fingerprint, since a server may move, but the dialect of
    constrained captions: Lark permits a little more than EBNF."""

    url: str
    """Up to and with the version, as its own documentation gives it: http://localhost:8000/v1."""
    api_key_variable: str = "CAPTION_MOVIES_API_KEY"
    """Environment variable that holds the key, where the server wants one. The key itself is written nowhere."""
    requests_in_flight: int = 32
    """Requests the server has at any time from this process, however many shards are in work; the others wait here."""
    timeout_seconds: float = 300.0
    """For one request, from sending it to the last byte of the answer."""
    retries: int = 6
    """Further tries of a request that the server was too busy for, or that broke on the way."""
    grammar_field: str = ""
    """Field of a request in which the server reads a grammar, dots before fields within: structured_outputs.grammar
    (vLLM), ebnf (SGLang), grammar (llama.cpp). Empty: vLLM's or SGLang's, by what it says it is."""
    grammar_dialect: str = "ebnf"
    """ebnf: for a server on xgrammar, as vLLM and SGLang are unless told otherwise, and llama.cpp. lark: for one that
    reads grammars with llguidance, which gives up on EBNF when the vocabulary is large."""

    def __post_init__(self) -> None:
        """Check ranges. Raises ConfigError."""
        try:
            parts = urlsplit(self.url)
            host, user = parts.hostname, parts.username
            _ = parts.port  # raises ValueError when it is no number
        except ValueError as error:
            raise ConfigError(
                f"url {self.url!r} is no address: {error}. Give one like http://localhost:8000/v1."
            ) from error
        if user is not None or parts.query or parts.fragment:
            raise ConfigError(
                "url has more in it than scheme, host, port and path. A key does not belong there, since it is stored "
                "with the captions: put it into the environment variable that api_key_variable names."
            )
        if parts.scheme not in ("http", "https") or not host:
            raise ConfigError(f"url {self.url!r} is no address of a server. Give one like http://localhost:8000/v1.")
        if self.requests_in_flight < 1:
            raise ConfigError(f"requests_in_flight is {self.requests_in_flight}; it has to be at least 1.")
        if not 0 < self.timeout_seconds < math.inf:
            raise ConfigError(f"timeout_seconds is {self.timeout_seconds}; it has to be above 0.")
        if self.retries < 0:
            raise ConfigError(f"retries is {self.retries}; it has to be 0 or more.")
        if self.grammar_field and not FIELD.fullmatch(self.grammar_field):
            raise ConfigError(
                f"grammar_field {self.grammar_field!r} is no field: give a name, or names with dots between them, "
                "such as structured_outputs.grammar."
            )
        if (first := self.grammar_field.partition(".")[0]) in TAKEN:
            raise ConfigError(f"grammar_field {self.grammar_field!r}: every request has another {first!r} already.")
        if self.grammar_dialect not in DIALECTS:
            raise UnknownNameError("grammar_dialect", self.grammar_dialect, list(DIALECTS))

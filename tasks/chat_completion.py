"""What stands in a chat completion of the OpenAI protocol."""

from dataclasses import dataclass
from typing import Any

FINISH_REASONS = {"stop": "stop", "eos": "stop", "eos_token": "stop", "length": "length"}
"""What servers say, and what it is here. Anything else is no good end."""
SAID_CHARACTERS = 300
"""Of a server's own words in an error."""
MOST_TOKENS = 1 << 40
"""A larger count is nonsense, and may not fit into the 64 bits of its column."""


@dataclass(frozen=True)
class Completion:
    """The first choice of an answer, and what it took."""

    text: str
    finish_reason: str | None
    """stop | length; None when it ended for another reason, which is `ended_with`."""
    ended_with: Any
    """The server's own word for it."""
    refusal: str | None
    """The model's words where it would not answer, from servers that tell that apart."""
    logprobs: Any
    prompt_tokens: int
    """0 where the server does not say; `completion_tokens` likewise."""
    completion_tokens: int


def read_completion(said: dict[str, Any]) -> Completion:
    """What a server's JSON object says. Raises ValueError when it is no chat completion."""
    choices = said.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError(f"it has no choices but {str(said)[:SAID_CHARACTERS]!r}")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, dict) else None
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(text, str | None):
        raise ValueError(f"its choice has no message with a text but {str(choice)[:SAID_CHARACTERS]!r}")
    refusal, ended_with, usage = message.get("refusal"), choice.get("finish_reason"), said.get("usage")
    return Completion(
        text=text or "",
        finish_reason=FINISH_REASONS.get(ended_with) if isinstance(ended_with, str) else None,
        ended_with=ended_with,
        refusal=refusal if isinstance(refusal, str) and refusal else None,
        logprobs=choice.get("logprobs"),
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
    )


def _count(usage: Any, key: str) -> int:
    value = usage.get(key) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and 0 <= value <= MOST_TOKENS else 0

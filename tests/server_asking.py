"""The captioner that asks a server, as its tests ask it."""

from typing import Any

from hostile_server import Hostile
from test_captioners import request

from tasks import captioners
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult, ServerConfig
from tasks.captioners.server import ServerCaptioner

KEY = "CAPTION_MOVIES_API_KEY"
RETRIES = 2
ASKING = ("timeout_seconds", "requests_in_flight", "retries", "grammar_field", "grammar_dialect")


def config(server: Hostile | str, **changes: Any) -> CaptionConfig:
    how = {key: changes.pop(key) for key in ASKING if key in changes}
    url = server if isinstance(server, str) else server.url
    asked = ServerConfig(url=url, **({"retries": RETRIES} | how))
    return CaptionConfig(**({"backend": "server", "checkpoint": "m", "max_new_tokens": 24, "server": asked} | changes))


def load(server: Hostile, **changes: Any) -> ServerCaptioner:
    captioner = captioners.load(config(server, **changes))
    assert isinstance(captioner, ServerCaptioner)
    return captioner


def requests(count: int) -> list[CaptionRequest]:
    return [request(index) for index in range(count)]


def texts(results: list[CaptionResult]) -> list[str]:
    return [result.text or str(result.error) for result in results]

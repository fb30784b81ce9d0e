"""Is Prefect fit for a run: its server where one is named, the worker pools there, settings that hurt.

Prefect itself is imported only where its folder is there already: importing it makes one.
"""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tasks.doctor import Finding

SECONDS = 5.0
UNSET = "prefect config unset PREFECT_API_URL; unset PREFECT_API_URL    (to run without a server)"
POOLS = ("gpu", "cpu")
"""Of prefect.yaml."""
NO, YES = ("false", "0", "no", "off"), ("true", "1", "yes", "on")
EPHEMERAL = ("PREFECT_SERVER_EPHEMERAL_ENABLED", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE")
DATABASES = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")


def settings() -> dict[str, str]:
    """What is set, in the environment or in Prefect's profile, by name."""
    said = {name: value for name, value in os.environ.items() if name.startswith("PREFECT_")}
    if not home(said).is_dir():
        return said
    from prefect.settings import get_current_settings

    found = get_current_settings().to_environment_variables(exclude_unset=True, include_secrets=True)
    return {name: str(value) for name, value in found.items()} | said


def home(said: Mapping[str, str]) -> Path:
    """Prefect's folder, which need not be there yet."""
    return Path(said.get("PREFECT_HOME") or "~/.prefect").expanduser()


def check_prefect() -> Iterator[Finding]:
    """All that is to be said of Prefect."""
    said = settings()
    yield from check_settings(said)
    if url := said.get("PREFECT_API_URL"):
        yield from check_server(url.rstrip("/"), said)
    else:
        seen = "no PREFECT_API_URL: a run brings up a small server of its own"
        yield Finding("Prefect server", "ok", seen)


def check_settings(said: Mapping[str, str]) -> Iterator[Finding]:
    """Settings under which a run fails, or gets slow."""
    place = home(said)
    there = next(one for one in (place, *place.parents) if one.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        yield Finding("Prefect", "problem", f"its folder {place} cannot be written", "export PREFECT_HOME=/a/folder")
    if said.get("PREFECT_API_URL"):
        return
    off = [name for name in EPHEMERAL if said.get(name, "").lower() in NO]
    if off:
        seen = f"{off[0]} is off, and there is no PREFECT_API_URL: a run has no server"
        remedy = f"unset {off[0]}; prefect config unset {off[0]}"
        yield Finding("Prefect", "problem", seen, remedy)
    if shared := [name for name in DATABASES if said.get(name)]:
        seen = f"{shared[0]} is set: runs at the same time wait for each other's locks"
        yield Finding("Prefect", "note", seen, f"unset {shared[0]}    (each run then has a database of its own)")


def check_server(url: str, said: Mapping[str, str]) -> Iterator[Finding]:
    """Does the server answer, is it of our version, are there pools with workers?"""
    try:
        theirs = str(_ask(url, "/admin/version", said))
    except HTTPError as error:
        remedy = "export PREFECT_API_KEY=... or PREFECT_API_AUTH_STRING=..." if error.code in (401, 403) else UNSET
        yield Finding("Prefect server", "problem", f"{url} says {error.code} {error.reason}", remedy)
        return
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        yield Finding("Prefect server", "problem", f"{url} does not answer: {why}", f"prefect server start, or {UNSET}")
        return
    ours = metadata.version("prefect")
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        remedy = f"pip install 'prefect=={theirs}' here, or 'prefect=={ours}' there"
        yield Finding("Prefect server", "problem", f"{url} is Prefect {theirs}, this machine has {ours}", remedy)
    else:
        yield Finding("Prefect server", "ok", f"{url} answers: Prefect {theirs}, here {ours}")
    yield from _pools(url, said)


def _pools(url: str, said: Mapping[str, str]) -> Iterator[Finding]:
    pools = {one["name"]: one for one in _ask(url, "/work_pools/filter", said, {})}
    lines = [f"{name} ({str(one.get('status') or 'unknown').lower().replace('_', ' ')})" for name, one in pools.items()]
    seen = f"pools: {', '.join(lines) or 'none'}"
    lacking = [name for name in POOLS if name not in pools]
    remedy = "; ".join(f"prefect work-pool create {name} --type process" for name in lacking)
    if not lacking and not any(one.get("status") == "READY" for one in pools.values()):
        remedy = "prefect worker start --pool gpu --limit 1"
    yield Finding("Prefect pools", "note" if remedy else "ok", seen, remedy and f"{remedy}    (for deployments only)")


def _ask(url: str, path: str, said: Mapping[str, str], body: Any = None) -> Any:
    """What the server says there, as JSON. Raises HTTPError, OSError, ValueError."""
    headers = {"Content-Type": "application/json", "User-Agent": "caption-movies"}
    if key := said.get("PREFECT_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    elif words := said.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(words.encode()).decode()}"
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url + path, data, headers), timeout=SECONDS) as answer:
        return json.loads(answer.read())

"""Artifacts in Prefect: how they are called, and that a server that stumbles costs an artifact, never the run."""

from collections.abc import Callable

from httpx import HTTPError
from prefect import get_run_logger
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run

from tasks.errors import CaptionMoviesError
from tasks.frame_work import PictureError

SERVER_TROUBLE = (PrefectException, HTTPError)
"""What a request to Prefect's server raises, after Prefect's own retries, when it is away, busy or does not want it."""


def artifact_key(what: str) -> str:
    """`caption-movies-summary` of `summary`: one key per flow and kind, so that the versions of a key are its runs.

    Not one per store or captioner: a fixed key is what scripts, automations and people can name, and the description
    and the run's name say which store and captioner a version is of.
    """
    return f"{flow_run.flow_name}-{what}"


def publish(what: str, make: Callable[[str], object]) -> None:
    """Make an artifact of the run, by a function that takes its key; what stands in the way is logged."""
    key = artifact_key(what)
    try:
        make(key)
    except (*SERVER_TROUBLE, CaptionMoviesError, PictureError) as error:
        get_run_logger().warning("no artifact %s: %s: %s", key, type(error).__name__, error)

"""The tree of errors. Every message carries the remedy; foreign errors are translated where they enter.

CaptionMoviesError
├── StoreError                 a store, or a file in it, is not what it has to be        (storage/errors.py)
│   ├── ParametersError        values for a query's parameters are missing, or not its   (storage/errors.py)
│   ├── ReadOnlyError          a question that would write, load or change something     (storage/errors.py)
│   └── SchemaError            a row or a file does not match its table                  (storage/errors.py)
├── UnknownNameError           a name that is not there; says the nearest one            (storage/errors.py)
│   └── MissingPathError       a path that was given, and where nothing is               (storage/errors.py)
├── ConfigError                a configuration value that cannot be
│   └── GateSyntaxError        a condition of --fail-if cannot be read
├── GateError                  a gate cannot be decided: its metric or its baseline has no value
├── MissingExtraError          an optional library is not installed; says the pip line
├── CheckpointError            weights or configuration of a model cannot be used
│   └── UnknownModelError      a model that a server does not have; is an UnknownNameError too
├── ReferencesError            a file of reference captions cannot be read, or has bad rows
├── RatingsError               a file of people's ratings cannot be read, or has bad rows
├── PanopticError              panoptic ground truth or predictions cannot be used
├── ExchangeError              data cannot go to another tool's format, or come from it
├── PlotError                  there is nothing that a plot could show; says what to run
├── SetupError                 files that a metric needs cannot be fetched, or are not what they should be
├── MovieError                 a movie cannot be opened or decoded
├── MetricUnavailableError     a metric cannot be computed here; becomes a `reason`, never a number
└── TransientError             worth another try: a network or a server that may come back
"""

from storage.errors import (
    CaptionMoviesError,
    MissingPathError,
    SchemaError,
    StoreError,
    TransientError,
    UnknownNameError,
)

__all__ = [
    "CaptionMoviesError",
    "CheckpointError",
    "ConfigError",
    "ExchangeError",
    "GateError",
    "GateSyntaxError",
    "MetricUnavailableError",
    "MissingExtraError",
    "MissingPathError",
    "MovieError",
    "PanopticError",
    "PlotError",
    "RatingsError",
    "ReferencesError",
    "SchemaError",
    "SetupError",
    "StoreError",
    "TransientError",
    "UnknownModelError",
    "UnknownNameError",
]


class ConfigError(CaptionMoviesError, ValueError):
    """A configuration value that cannot be."""


class GateSyntaxError(ConfigError):
    """A condition of --fail-if that cannot be read."""


class GateError(CaptionMoviesError):
    """A gate that cannot be decided: its metric or its baseline has no value."""


class MissingExtraError(CaptionMoviesError):
    """An optional library is not installed."""

    def __init__(self, what: str, library: str, install: str) -> None:
        """`what` needs `library`; `install` is the whole command that brings it."""
        super().__init__(f"{what} needs {library}, which is not installed. Install it with: {install}")


class CheckpointError(CaptionMoviesError):
    """Weights or configuration of a model cannot be used."""


class UnknownModelError(CheckpointError, UnknownNameError):
    """A name under which a server has no model."""

    def __init__(self, server: str, name: str, said: str) -> None:
        """`server` says who was asked, `said` what it has, and the remedy."""
        CaptionMoviesError.__init__(self, f"{server} has no model {name!r}{said}")


class ReferencesError(CaptionMoviesError):
    """A file of reference captions cannot be read, or has bad rows."""


class RatingsError(CaptionMoviesError):
    """A file of people's ratings cannot be read, or has bad rows."""


class PanopticError(CaptionMoviesError):
    """Panoptic ground truth or predictions cannot be used."""


class ExchangeError(CaptionMoviesError):
    """Data cannot go to another tool's format, or come from it."""


class PlotError(CaptionMoviesError):
    """There is nothing that a plot could show, or too much for one."""


class SetupError(CaptionMoviesError):
    """Files that a metric needs cannot be fetched, or are not what they should be."""


class MovieError(CaptionMoviesError):
    """A movie cannot be opened or decoded."""


class MetricUnavailableError(CaptionMoviesError):
    """A metric cannot be computed here, and why."""

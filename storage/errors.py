"""What can go wrong with a store. The whole tree of errors is drawn in `tasks.errors`."""


class CaptionMoviesError(Exception):
    """Base of every error this project raises on purpose. The message says what to do about it."""


class StoreError(CaptionMoviesError):
    """A store, or a file in it, is not what it has to be."""


class SchemaError(StoreError):
    """A row or a file does not match its table."""


class ParametersError(StoreError):
    """Values for a query's parameters are missing, or the query has no such parameters."""


class ReadOnlyError(StoreError):
    """A question that would write, load or change something."""


class TransientError(CaptionMoviesError):
    """Worth another try: a network, a disk or a server that may come back."""


class UnknownNameError(CaptionMoviesError):
    """A name that is not there: a backend, a profile, a query, a configuration key."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        """`kind` is what was looked for ("detector"), `known` what there is; the nearest one is suggested."""
        import difflib

        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Known: {', '.join(sorted(known)) or 'none'}.")
        self.kind, self.name, self.known = kind, name, known


class MissingPathError(UnknownNameError):
    """Paths that were given, and where nothing is."""

    def __init__(self, paths: list[str], near: str | None = None) -> None:
        """`near` is a path that is there, and may be meant by the first of them."""
        listed = ", ".join(repr(path) for path in paths)
        hint = f" Did you mean {near!r}?" if near else ""
        CaptionMoviesError.__init__(self, f"there is nothing at {listed}.{hint} Nothing was begun: correct the path.")
        self.paths = paths

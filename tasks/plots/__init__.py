"""The seam to plots: a picture of what stands in a store. A plot is one file here; its name is what `plot` takes.

A plot says of itself what it shows, and draws it:

    QUESTION    what it answers, in one line
    METRICS     whether metrics can be chosen
    draw(asked) -> Figure

`asked` has the store's catalog, the captioners and the metrics (tasks/plot_data.py); how plots look is in
tasks/plot_style.py. A plot never comes out empty: what is missing is a PlotError with the command that makes it. The
same store gives the same bytes.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from storage import catalog
from storage.errors import ParametersError
from storage.whole_output import appearing, mark
from tasks import backends
from tasks.errors import ConfigError, PlotError
from tasks.plot_data import Asked, known_captioners
from tasks.plot_style import ENDINGS, check_ending, check_matplotlib, drawing, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALL = "all"
"""Every plot, into a folder."""


class Plot(Protocol):
    """A module of this package."""

    QUESTION: str
    METRICS: bool

    def draw(self, asked: Asked) -> "Figure":
        """The picture. Raises PlotError where there is nothing to show, UnknownNameError for names the store lacks."""


@dataclass
class Drawn:
    """Which files were written, and why others were not."""

    written: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """By the plot's name."""


def available() -> list[str]:
    """Names of the plots."""
    return backends.available(sys.modules[__name__])


def load(name: str) -> Plot:
    """One plot. Raises UnknownNameError with the list."""
    plot: Plot = backends.load(sys.modules[__name__], "plot", name.replace("-", "_"))
    return plot


def draw_plot(
    location: str, name: str, place: str, *, captioners: Sequence[str] = (), metrics: Sequence[str] = (),
    ending: str = ENDINGS[0], force: bool = False,
) -> Drawn:  # fmt: skip
    """Draw one plot of a store into the file `place`, or ALL into the folder `place`, each file with that ending.

    Raises UnknownNameError for a plot, captioner or metric that is not there, PlotError where there is nothing to
    show, ParametersError for metrics where none can be chosen, ConfigError for an ending that is no format's,
    StoreError where the store cannot be read or the place is taken, MissingExtraError without matplotlib.
    """
    target = _local(place)
    if name != ALL:
        check_ending(target)
        if metrics and not load(name).METRICS:
            raise ParametersError(f"plot {name!r} shows no metrics that could be chosen: leave --metrics out.")
    with drawing(), catalog.connect(location) as connection:
        asked = Asked(
            connection=connection, location=location, captioners=tuple(captioners), metrics=tuple(metrics),
            known=known_captioners(connection),
        )  # fmt: skip
        if name == ALL:
            return _draw_all(asked, target, ending, force)
        with picture(place, force=force) as write:
            write(load(name).draw(asked))
    return Drawn([target])


@contextmanager
def picture(place: str, *, force: bool) -> Iterator[Callable[["Figure"], object]]:
    """Takes the figure that is to stand at `place`, once. Whether it may stand there is known before it is drawn.

    Raises ConfigError for a place or ending that cannot be, StoreError for one that is taken, MissingExtraError.
    """
    check_matplotlib()
    target = _local(place)
    ending = check_ending(target)
    with appearing(target, folder=False, force=force) as draft:
        yield lambda figure: save(figure, draft, ending)


def _local(place: str) -> Path:
    if "://" in place:
        raise ConfigError(f"{place} is no path of this machine. Plot into a file here, and copy it from there.")
    return Path(place).absolute()


def _draw_all(asked: Asked, target: Path, ending: str, force: bool) -> Drawn:
    done = Drawn()
    with appearing(target, folder=True, force=force) as draft:
        for name in available():
            try:
                figure = load(name).draw(asked)
            except PlotError as error:
                done.left_out[name] = str(error)
                continue
            save(figure, draft / f"{name}{ending}", ending)
            done.written.append(target / f"{name}{ending}")
        if not done.written:
            raise PlotError("there is nothing to draw. " + " ".join(dict.fromkeys(done.left_out.values())))
        mark(draft, {"plots": [path.name for path in done.written]})
    return done

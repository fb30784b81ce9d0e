"""The shell of `caption-movies sql`: a question, its answer, the next one."""

import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from flows.complete_sql import Names, in_text, keywords, suggest, without_texts
from flows.describe_store import show_queries, show_table, show_tables
from flows.show_answers import MOST_ROWS, Visible, answer_console, show_answer
from storage import catalog
from storage.answers import TEXT_FORMATS, write_text
from storage.descriptions import column_names, describe, summaries
from storage.errors import CaptionMoviesError, ParametersError
from tasks.errors import MissingExtraError
from tasks.visible_text import visible

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer

TABLE = "table"
HELP = """
SELECT ...;                  a question; it may have several lines, and ends with ;
NAME PARAMETER=VALUE ...;    a ready query
.queries                     the ready queries
.tables                      the tables, and how many rows they have
.describe TABLE              columns of a table, with meaning and values
.show ID                     a frame or a caption: picture, boxes, words
.format table|csv|json|markdown
.rows N                      rows of a table to show; 0: all
.help                        this
.quit                        leave; so does Ctrl-D. Ctrl-C drops the line, or stops a question
""".strip()


@dataclass
class Shell:
    """One conversation with one store."""

    location: str
    console: Console = field(default_factory=answer_console)
    format: str = TABLE
    most_rows: int | None = None

    def obey(self, line: str) -> None:
        """Answer one input: a command with a dot, a ready query, or SQL. Raises CaptionMoviesError, EOFError."""
        text = line.strip()
        if text.startswith("."):
            name, *rest = _words(text.removesuffix(";"))
            if name not in self.commands:
                raise ParametersError(f"there is no {name}. There are {', '.join(self.commands)}.")
            self.commands[name](rest)
        elif text.strip("; \n"):
            self._ask(text)

    @property
    def commands(self) -> dict[str, Callable[[list[str]], None]]:
        """What can be asked with a dot."""
        return {
            ".help": lambda _: self.console.print(Text(HELP)),
            ".tables": lambda _: self._tables(),
            ".describe": self._describe,
            ".queries": lambda _: show_queries(self.console),
            ".show": self._show,
            ".format": self._format,
            ".rows": self._rows,
            ".quit": self._quit,
        }

    def _ask(self, text: str) -> None:
        # anew each time: a run may have brought tables since
        with catalog.connect(self.location) as store, stopped_by_ctrl_c(store.interrupt):
            question, parameters = _ready_query(text)
            for one in [question] if parameters is not None else catalog.split(store, text):
                answer = catalog.answer(store, one, parameters)
                if self.format == TABLE:
                    rows = show_answer(answer, self.console, self.most_rows).rows
                else:
                    rows = write_text(answer, self.format, Visible(self.console.file))
                if not rows:
                    self.console.print(Text("no rows", style="yellow"))

    def _tables(self) -> None:
        with catalog.connect(self.location) as store:
            show_tables(summaries(store), self.console)

    def _describe(self, words: list[str]) -> None:
        if len(words) != 1:
            raise ParametersError(".describe wants one table: .tables lists them.")
        with catalog.connect(self.location) as store:
            show_table(describe(store, words[0]), self.console)

    def _show(self, words: list[str]) -> None:
        from flows.show_frame import show_in_terminal

        if len(words) != 1:
            raise ParametersError(".show wants one frame_id or caption_id.")
        show_in_terminal(self.location, words[0], self.console)

    def _format(self, words: list[str]) -> None:
        if len(words) != 1 or words[0] not in (TABLE, *TEXT_FORMATS):
            raise ParametersError(f".format wants one of {', '.join((TABLE, *TEXT_FORMATS))}; it is {self.format} now.")
        self.format = words[0]

    def _rows(self, words: list[str]) -> None:
        if len(words) != 1 or not words[0].isdecimal():
            now = MOST_ROWS if self.most_rows is None else self.most_rows
            raise ParametersError(f".rows wants a number, 0 for all; it is {now} now.")
        self.most_rows = int(words[0])

    def _quit(self, words: list[str]) -> None:
        raise EOFError


@contextmanager
def stopped_by_ctrl_c(interrupt: Callable[[], None]) -> Iterator[None]:
    """While it is open, Ctrl-C calls `interrupt` at once, from another thread, besides raising KeyboardInterrupt.

    DuckDB looks for signals between two pieces of its work only, and one that the main thread took may last minutes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told)

    def listen() -> None:
        while (number := os.read(heard, 1)) != b"\0":
            if number[0] == signal.SIGINT:
                interrupt()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.write(told, b"\0")
        listener.join()
        os.close(heard)
        os.close(told)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ParametersError(f"a quote is not closed: {error}.") from error


def _ready_query(text: str) -> tuple[str, dict[str, Any] | None]:
    """A ready query's name and values; (text, None) for anything else."""
    found = re.fullmatch(r"([A-Za-z_]\w*)((?:\s+\w+=.*)?)\s*;?", text, re.DOTALL)
    if not found or found[1] not in catalog.queries():
        return text, None
    given = _words(found[2].strip().removesuffix(";"))
    wrong = [one for one in given if "=" not in one]
    if wrong:
        raise ParametersError(f"{wrong[0]!r} is not NAME=VALUE. Put a value with blanks in quotes: NAME='a b'.")
    return found[1], dict(one.split("=", 1) for one in given)


def is_whole(text: str) -> bool:
    """Whether Enter ends the input: nothing, a command, or a question that ends with a semicolon."""
    told = without_texts(text).strip()
    return not text.strip() or told.startswith(".") or (told.endswith(";") and not in_text(text.rstrip()))


def open_shell(shell: Shell) -> int:
    """Talk until the user leaves; the exit code. Raises StoreError without a store, MissingExtraError."""
    with catalog.connect(shell.location) as store:
        names = _names(column_names(store))
    session = make_session(names, history_file())
    shell.console.print(
        Text(f"{shell.location}: {len(names.columns)} tables. .help says what there is, .quit leaves.\n")
    )
    converse(shell, session)
    return 0


def converse(shell: Shell, session: "PromptSession[str]") -> None:
    """Ask for input and answer it, until Ctrl-D or .quit. Errors are told, and the shell goes on."""
    while True:
        try:
            line = session.prompt()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        try:
            shell.obey(line)
        except EOFError:
            return
        except KeyboardInterrupt:
            shell.console.print(Text("stopped", style="yellow"))
        except CaptionMoviesError as error:
            shell.console.print(Text(visible(str(error)), style="red"))


def _names(columns: dict[str, list[str]]) -> Names:
    given: dict[str, tuple[str, ...]] = {
        ".describe": tuple(columns), ".format": (TABLE, *TEXT_FORMATS),
    }  # fmt: skip
    commands = {name: given.get(name, ()) for name in Shell("").commands}
    return Names(columns, catalog.queries(), commands, keywords())


def history_file() -> Path | None:
    """Where questions are kept between two conversations: in the user's state folder; None where that cannot be."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    place = Path(state) / "caption-movies" / "sql_history"
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.touch(mode=0o600)
    except OSError as error:
        print(f"caption-movies: questions are not kept: {place} cannot be written ({error.strerror})", file=sys.stderr)
        return None
    return place


def make_session(names: Names, history: Path | None) -> "PromptSession[str]":
    """The line editor. Raises MissingExtraError."""
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.application import get_app
        from prompt_toolkit.filters import Condition
        from prompt_toolkit.history import FileHistory, InMemoryHistory
        from prompt_toolkit.lexers import PygmentsLexer
        from pygments.lexers.sql import SqlLexer
    except ImportError as error:
        raise MissingExtraError("the shell", "prompt_toolkit", "pip install 'caption-movies[shell]'") from error
    return PromptSession(
        message="sql> ",
        prompt_continuation="...> ",
        multiline=Condition(lambda: not is_whole(get_app().current_buffer.text)),
        completer=make_completer(names),
        complete_while_typing=False,
        history=FileHistory(str(history)) if history else InMemoryHistory(),
        lexer=PygmentsLexer(SqlLexer),
        enable_open_in_editor=True,
    )


def make_completer(names: Names) -> "Completer":
    """What the Tab key offers."""
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document

    class Words(Completer):
        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
            for one in suggest(document.text_before_cursor, document.text_after_cursor, names):
                yield Completion(one.word, -one.typed, display_meta=one.kind)

    return Words()

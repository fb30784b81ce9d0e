"""The shell of `caption-movies sql`: completion, commands, errors, history, and a real terminal."""

import errno
import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console
from rows import caption, frame, movie, write

from flows import open_shell
from flows.complete_sql import Names, keywords, suggest
from flows.open_shell import Shell, converse, history_file, is_whole, make_completer, make_session
from storage import catalog
from storage.descriptions import column_names
from storage.errors import ParametersError
from storage.store import Store
from tasks.errors import MissingExtraError

REPOSITORY = Path(__file__).parents[1]
WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = Store(str(tmp_path_factory.mktemp("shell") / "store"), "run-1")
    write(made, [movie()], shard="mabc")
    write(made, [frame(0), frame(1)])
    write(made, [caption()], captioner="scripted")
    return made.location


@pytest.fixture(scope="module")
def names(store: str) -> Names:
    with catalog.connect(store) as connection:
        return open_shell._names(column_names(connection))


def talk(store: str, *lines: str) -> str:
    """What the shell says to these inputs."""
    shell = Shell(store, Console(file=io.StringIO(), width=100))
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("".join(f"{line}\r" for line in lines) + "\x04")
        converse(shell, make_session(Names({}, {}, {}, []), None))
    return shell.console.file.getvalue()  # type: ignore[attr-defined]


def words(before: str, names: Names, after: str = "") -> list[str]:
    return [one.word for one in suggest(before, after, names)]


def test_columns_of_the_named_tables_come_first(names: Names) -> None:
    assert words("select pts", names, " from frames") == ["pts_seconds"]
    found = suggest("select ca", " from captions", names)
    assert [one.word for one in found][:3] == ["caption_id", "captioner", "candidate"]
    assert [one.kind for one in found if one.word in ("case", "captions_ok")] == ["keyword", "table"]
    assert "mask_width" not in words("select ma", names, " from captions")
    assert "mask_width" in words("select ma", names)


def test_an_alias_gives_its_own_columns(names: Names) -> None:
    assert words("select c.plain", names, " from captions as c join frames f using (frame_id)") == ["plain_text"]
    assert words("select c.pts", names, " from captions c") == []
    assert words('select "frames".pts', names, " from frames") == ["pts_seconds"]
    assert words("select f.frame_", names, " from captions c join frames f on true") == ["frame_id", "frame_index"]


def test_tables_come_after_from(names: Names) -> None:
    assert words("select * from capt", names) == ["captions", "captions_chosen", "captions_ok"]
    assert words("from captions JOIN vio", names) == ["violations"]
    assert words("summarize sco", names) == ["scores"]
    assert words("select 1; select * from mov", names) == ["movies"]


def test_ready_queries_come_at_the_beginning_and_then_their_parameters(names: Names) -> None:
    assert "shot_captions" in words("sho", names)
    assert words("shot_captions ", names) == ["movie_id=", "shot_index="]
    assert words("shot_captions movie_id=x sh", names) == ["shot_index="]
    assert words("movie_status ", names) == []


def test_keywords_and_commands(names: Names) -> None:
    assert "select" in words("sel", names)
    assert "where" in words("from movies whe", names)
    assert words(".d", names) == [".describe"]
    assert words(".describe fra", names) == ["frames"]
    assert words(".format m", names) == ["markdown"]
    assert "qualify" in keywords()


@pytest.mark.parametrize("before", ["select 'cap", "select 1 -- cap", "select /* cap", "select 'it''s cap"])
def test_nothing_is_offered_inside_texts_and_comments(before: str, names: Names) -> None:
    assert words(before, names) == []
    closed = {"select '": "select 'x' as a, cap", "select 1 --": "select 1 -- x\n, cap"}
    assert all("caption_id" in words(one, names, " from captions") for one in closed.values())


def test_the_tab_key_offers_them_in_place_of_what_is_typed(names: Names) -> None:
    document = Document("select * from capti", 19)
    found = list(make_completer(names).get_completions(document, CompleteEvent()))
    assert (found[0].text, found[0].start_position) == ("captions", -5)


@pytest.mark.parametrize(("text", "whole"), [
    ("", True), (".help", True), ("select 1;", True), ("select 1; ", True), ("select 1", False), ("select ';", False),
    ("select ';';", True), ("select 1 -- ;", False), ("/* ; */", False), ("movie_status;", True),
    ("movie_status", False),
])  # fmt: skip
def test_enter_ends_what_is_whole(text: str, whole: bool) -> None:
    assert is_whole(text) is whole


def test_questions_over_several_lines_ready_queries_and_commands_are_answered(store: str) -> None:
    said = talk(
        store, "select title,\r 'x' as b from movies;", "shot_captions movie_id=mabc shot_index=0;", ".tables",
        ".describe shots", ".queries", ".help", ".show mabc_000000", ".format json", "select 1 as a;", ".quit",
        "select 'unseen';",
    )  # fmt: skip
    for expected in (
        "title", "a dog", " frames ", "shots, 0 rows", "shot_captions movie_id=... shot_index=...", ".describe TABLE",
        "mabc_000000 at 0.00 s", '{"a": 1}',
    ):  # fmt: skip
        assert expected in said
    assert "unseen" not in said


def test_errors_are_told_and_the_shell_goes_on(store: str) -> None:
    said = talk(
        store, "select nothing from nowhere;", "shot_captions movie_id=mabc;", "movie_statu;", ".show", ".show no-id",
        ".wrong", ".describe nothing", ".format x", ".rows x", "copy movies to 'x';", "shot_captions a='x;", "';",
        ".describe 'a", "shot_captions mabc;", "select 'still ' || 'there' as said;",
    )  # fmt: skip
    for expected in (
        "nowhere does not exist", "missing: shot_index", "Did you mean 'movie_status'", ".show wants one", "'no-id'",
        "there is no .wrong", "unknown table 'nothing'", ".format wants", ".rows wants", "COPY asks nothing",
        "a quote is not closed", "still there",
    ):  # fmt: skip
        assert expected in said, expected


def test_rows_and_no_rows(store: str) -> None:
    said = talk(store, ".rows 2", "select i, i as j from range(5) r(i);", "select 1 where false;")
    assert "3 more rows not shown, 2 shown" in said
    assert "no rows" in said


def test_the_number_of_rows_is_told_as_it_is(store: str) -> None:
    assert "it is 200 now" in talk(store, ".rows x")
    assert "it is 0 now" in talk(store, ".rows 0", ".rows x")


@pytest.mark.parametrize("form", ["table", "csv", "json", "markdown"])
def test_nothing_in_a_store_steers_the_terminal(form: str, store: str) -> None:
    said = talk(store, f".format {form}", "select chr(27) || '[2J' as x;", "select (chr(27) || '[2J')::int;")
    assert "\x1b[2J" not in said
    assert said.count("[U+001B]") == (1 if form == "json" else 2)  # JSON has its own way: \u001b


def test_ctrl_c_drops_the_line_and_ctrl_d_leaves(store: str) -> None:
    said = talk(store, "select 'dropped\x03select 'kept' as said;")
    assert "kept" in said
    assert "dropped" not in said


def test_tables_that_a_run_brings_are_there_at_the_next_question(tmp_path: Path) -> None:
    made = Store(str(tmp_path / "store"), "run-1")
    write(made, [movie()], shard="mabc")
    shell = Shell(made.location, Console(file=io.StringIO(), width=100))
    shell.obey("select count(*) as before from frames;")
    write(made, [frame(0)])
    shell.obey("select count(*) as after from frames;")
    assert re.findall(r"(before|after) +(\d)", shell.console.file.getvalue()) == [("before", "0"), ("after", "1")]  # type: ignore[attr-defined]


def test_history_is_kept_in_the_state_folder_for_the_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    place = history_file()
    assert place == tmp_path / "state" / "caption-movies" / "sql_history"
    assert place.stat().st_mode & 0o077 == 0
    assert place.parent.stat().st_mode & 0o077 == 0
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert history_file() is None
    assert "questions are not kept" in capsys.readouterr().err


def test_without_the_library_the_install_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prompt_toolkit", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'caption-movies\[shell\]'"):
        make_session(Names({}, {}, {}, []), None)
    with pytest.raises(ParametersError):
        Shell("").obey(".nothing")


AGAIN_SECONDS = 4.0


class Terminal:
    """The real command in a pseudo-terminal."""

    def __init__(self, arguments: list[str], state: Path) -> None:
        self.master, slave = pty.openpty()
        environment = os.environ | {
            "XDG_STATE_HOME": str(state), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40",
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.command_line", *arguments], stdin=slave, stdout=slave, stderr=slave,
            cwd=REPOSITORY, env=environment, start_new_session=True, preexec_fn=lambda: _take_terminal(slave),
        )  # fmt: skip
        os.close(slave)
        self.said = ""

    def wait_for(self, pattern: str, again: str = "") -> str:
        """Read until the pattern is seen after what was seen before; gives what was read.

        `again` is typed every AGAIN_SECONDS: what is typed before the terminal is ready for it may be lost.
        """
        now = time.monotonic()
        end, next_time = now + WAIT_SECONDS, now
        while not (found := re.search(pattern, self.said, re.DOTALL)):
            assert time.monotonic() < end, f"waited in vain for {pattern!r} in {self.said!r}"
            if again and time.monotonic() >= next_time:
                self.type(again)
                next_time = time.monotonic() + AGAIN_SECONDS
            if select.select([self.master], [], [], 1)[0]:
                self.said += os.read(self.master, 65536).decode(errors="replace")
        before, self.said = self.said[: found.end()], self.said[found.end() :]
        return before

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def exit_code(self) -> int:
        """Read to the end, and wait."""
        try:
            while os.read(self.master, 65536):
                pass
        except OSError as error:
            if error.errno != errno.EIO:  # Linux says so where the other end is closed
                raise
        return self.process.wait(WAIT_SECONDS)


def _take_terminal(slave: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that run in the background of a script have it ignored


@pytest.fixture
def terminal(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    made = Terminal(["sql", "--store", store, *getattr(request, "param", [])], tmp_path)
    yield made
    if made.process.poll() is None:
        os.killpg(made.process.pid, signal.SIGKILL)
        made.process.wait()
    os.close(made.master)


@pytest.mark.parametrize("terminal", [["--format", "csv"], ["--rows", "2"]], indirect=True)
def test_format_and_rows_of_the_command_are_those_of_the_shell(
    terminal: Terminal, request: pytest.FixtureRequest
) -> None:
    terminal.wait_for(r"\.help says what there is.*sql>")
    terminal.type("select i, i as j from range(5) r(i);\r")
    terminal.wait_for(r"i,j\r\n0,0\r\n" if "csv" in request.node.callspec.params["terminal"] else "3 more rows")


def test_in_a_real_terminal(terminal: Terminal, tmp_path: Path) -> None:
    terminal.wait_for(r"\.help says what there is.*sql>")
    terminal.type("select titl")
    terminal.wait_for("titl")
    terminal.type("\t")
    terminal.wait_for("e")
    terminal.type(" from movies;\r")
    terminal.wait_for(r"movies;.*A\r\n.*sql>")
    terminal.type("select count(*) from range(100000000) a(i), range(100000) b(j) where (i * j) % 7 = 3;\r")
    terminal.wait_for(r"\?2004l")  # the line editor has let go of the terminal: the question is being answered
    terminal.wait_for(r"stopped.*sql>", again="\x03")
    terminal.type("select 'on' || 'ward' as said;\r")
    terminal.wait_for(r"onward.*sql>")
    terminal.type("\x04")
    assert terminal.exit_code() == 0
    kept = (tmp_path / "caption-movies" / "sql_history").read_text(encoding="utf-8")
    assert "+select title from movies;" in kept
    assert "'on' || 'ward'" in kept

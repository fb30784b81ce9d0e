"""Every block of README and docs is run: commands, queries, programs, page by page in order, on the demo's real store.

What cannot be run here is marked so with the reason, and its commands are read by whatever knows them; what is shown as
printed is compared with what is printed. tests/docs_blocks.py says how a block is marked.
"""

import contextlib
import dataclasses
import difflib
import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from docs_blocks import LANGUAGES, REPOSITORY, SHELL, Block, blocks, pages, read, split

from flows.command_line import main
from flows.read_configuration import PipelineConfig
from flows.read_toml import check_section
from storage.files import open_files
from tasks import captioners, detectors, metrics
from tasks.training.recipes import Recipe

EXIT_CODE = re.compile(r"exit codes? (\d)")
"""In a line's comment: with which code the command may end, beside 0."""
NEARLY = 0.85
"""Part of the words that has to be printed where what is printed hangs a little on the machine."""
RUN = (*SHELL, "sql", "python")
INDENTED = re.compile(r"^ {4}(?:\.venv/bin/)?(?:caption-movies|python|pip|prefect|make|\[\w+\]$)", re.MULTILINE)
MARKED = [block for page in pages() for block in blocks(page)]


@dataclass
class Demo:
    """What `make demo` made, and what it said."""

    folder: Path
    said: str


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, prefect_environment: dict[str, str]) -> Demo:
    """The real demo, once, in a process of its own as `make demo` runs it; on the tests' Prefect server."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "flows.command_line", "demo", "--store", "demo-store"]
    environment = prefect_environment | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "160"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Demo(folder, done.stdout)


@dataclass
class Reader:
    """Somebody who types what a page says, block by block, in one folder."""

    folder: Path
    demo: Demo
    names: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def follow(self, block: Block) -> str:
        """Run a block, or write the file it is. Gives what it prints on stdout, and fails when it fails."""
        if block.title:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            return ""
        if block.language in SHELL:
            return "".join(self._type(line, block) for line in block.commands)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            if block.language == "sql":
                assert main(["sql", block.text]) == 0, block.place
            elif block.language == "python":
                exec(compile(block.text, block.place, "exec"), self.names)
        return said.getvalue()

    def _type(self, line: str, block: Block) -> str:
        commands = split(line)
        program, words = Path(commands[0][0]).name, commands[0][1:]
        if [program, *words] == ["make", "demo"]:
            return self.demo.said
        codes = {0, *map(int, EXIT_CODE.findall(line.partition("#")[2]))}
        globs = any("*" in word and " " not in word for word in words)  # with a blank it was quoted
        if program == "caption-movies" and len(commands) == 1 and not globs:
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                code = main(words)
            output = said.getvalue()
        else:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", line], capture_output=True, text=True)
            code, output = done.returncode, done.stdout + ("" if done.returncode == 0 else done.stderr)
        assert code in codes, f"{block.place}: {line}\nended with {code}: {output[-2000:]}"
        return output


@pytest.fixture
def reader(
    demo: Demo, tmp_path: Path, on_server: None, prefect_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Reader]:
    """In a folder with the demo's store and movie, and with the commands on the path."""
    for name in ("demo-store", "demo-movies"):
        shutil.copytree(demo.folder / name, tmp_path / name)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").touch()
    for name, module in (("caption-movies", "-m flows.command_line"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("PREFECT_API_URL", "PREFECT_HOME"):
        monkeypatch.setenv(name, prefect_environment[name])
    for package in (captioners, detectors, metrics):  # a page's own files count as if they stood in the clone
        own = tmp_path / package.__name__.replace(".", "/")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(own)])
    open_files.cache_clear()  # it keeps what `demo-store` was in the folder of the page before
    before = set(sys.modules)
    yield Reader(tmp_path, demo)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.timeout(1200)  # the first one waits for the demo, which a busy machine takes minutes for
@pytest.mark.parametrize("page", pages())
def test_what_a_page_says_can_be_done(page: str, request: pytest.FixtureRequest) -> None:
    found = [block for block in blocks(page) if not block.not_run and (block.title or block.language in RUN)]
    if not found:
        return  # nothing is to be typed on this page
    reader: Reader = request.getfixturevalue("reader")
    for block in found:
        printed = reader.follow(block)
        if block.language == "console":
            compare(block, printed)


def compare(block: Block, printed: str) -> None:
    """What the block shows has to be printed, in order; `...` stands for anything, and blanks are all alike."""
    shown = [line for line in block.text.replace("\\\n", "").splitlines() if not line.startswith("$ ")]
    wanted, there = " ".join(shown).split(), printed.split()
    if block.nearly:
        wanted = [word for word in wanted if word != "..."]
        matched = difflib.SequenceMatcher(None, wanted, there, autojunk=False).get_matching_blocks()
        same = sum(one.size for one in matched)
        assert same >= NEARLY * len(wanted), f"{block.place} shows\n{' '.join(wanted)}\nprinted is\n{printed}"
    else:
        pattern = r"\s+".join(re.escape(word).replace(r"\.\.\.", ".*?") for word in wanted)
        assert re.search(pattern, printed, re.DOTALL), f"{block.place} shows\n{' '.join(wanted)}\nprinted is\n{printed}"


@pytest.mark.parametrize("block", MARKED, ids=lambda block: block.place)
def test_a_block_is_what_it_says(block: Block) -> None:
    assert block.language in LANGUAGES, f"{block.place}: name the fence's language, one of {', '.join(LANGUAGES)}"
    if block.language in SHELL:
        assert block.commands, block.place
        wrong = {line: read(words) for line in block.commands for words in split(line)}
        assert {line: why for line, why in wrong.items() if why} == {}, block.place
    if block.language == "toml":
        read_toml(block)
    if block.language == "python":
        compile(block.text, block.place, "exec")


def read_toml(block: Block) -> None:
    """A part of a profile, or of a recipe where it has a [[stage]] or a section that only recipes have."""
    said = tomllib.loads(block.text)
    hints = get_type_hints(PipelineConfig) if said.keys() <= get_type_hints(PipelineConfig).keys() else None
    for section, values in said.items():
        if hints:
            check_section(hints[section], section, values, Path(block.page))
        else:
            assert section in get_type_hints(Recipe), f"{block.place}: [{section}] is of neither a profile nor a recipe"


@pytest.mark.parametrize("page", pages())
def test_commands_stand_in_fences_and_in_words_as_they_are(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not INDENTED.search(prose), "put commands and settings into a fence, ```sh or ```toml: then they are tested"
    for said in re.findall(r"`caption-movies ([a-z]+)[^`]*`", prose):
        assert read(["caption-movies", said, "--help"]) is None, said
    for said in re.findall(r"`(prefect deployment run [^`]+)`", prose):
        assert read(said.split()) is None, said


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("caption-movies run movies --stroe S", "required: --store"),
        ("caption-movies rum movies", "invalid choice"),
        ("caption-movies status --stroe S | cat", "unrecognized arguments: --stroe"),
        ("caption-movies sql movie_statuses", "no ready query"),
        ("A=1 .venv/bin/caption-movies check --all", "unrecognized arguments: --all"),
        ("prefect deployment run caption-movies/gpus", "prefect.yaml has no deployment"),
        ("prefect deployment run caption-movies/gpu --param movie=1", "no parameters ['movie']"),
        ("make demos", "the Makefile has no ['demos']"),
        ("python -m toyworld.films", "no module toyworld.films"),
        ("pip install 'caption-movies[gpu]'", "no extras ['gpu']"),
        ("capton-movies status", "what is capton-movies?"),
    ],
)
def test_a_wrong_command_is_found(line: str, why: str) -> None:
    said = [read(words) for words in split(line)]
    assert any(why in one for one in said if one), said


def test_what_a_block_shows_has_to_be_printed() -> None:
    shown = Block("page", 1, "console", "$ count\none  two\n...\nthree\n")
    compare(shown, "zero\none two\nand so on\nthree\nfour\n")
    with pytest.raises(AssertionError, match="page:1 shows"):
        compare(shown, "one two four")
    nearly = dataclasses.replace(shown, text="$ count\n1 2 3 4 5 6 7 8 9 10\n", nearly="numbers")
    compare(nearly, "1 2 3 4 5 6 7 8 9 11")
    with pytest.raises(AssertionError, match="page:1 shows"):
        compare(nearly, "1 2 3 4")

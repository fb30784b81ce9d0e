"""`caption-movies completion`: real shells complete commands, options, names and files with what it prints.

bash is everywhere. Where zsh and fish are not, tests/test_completion_scripts.py has still read what they are given.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from flows.command_line import command_parser, main
from flows.complete_words import SHELLS
from flows.describe_commands import commands_markdown
from flows.read_configuration import profiles
from storage.catalog import queries

ASK_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_shtab_caption_movies "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
ASK_ZSH = 'autoload -Uz compinit && compinit -u -D && eval "$(cat $1)" && print $_comps[caption-movies]'
CASES = {
    "run --profile ": set(profiles()),
    "sql capt": {name for name in queries() if name.startswith("capt")},
    "plot thr": {"throughput"},
    "export --format gr": {"groundcap"},
    "sco": {"score"},
    "score --fail": {"--fail-if"},
    "sql --format c": {"csv"},
    "run mov": {"movies-of-mine"},
}


def needs(shell: str) -> str:
    """A shell that not every machine has, and that no package of Python's brings. bash is always there."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    return shell


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", request.param]) == 0
    path = tmp_path / "completion"
    path.write_text(capsys.readouterr().out)
    (tmp_path / "movies-of-mine").mkdir()
    return path


def answer(command: list[str], folder: Path) -> list[str]:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("script", ["bash"], indirect=True)
@pytest.mark.parametrize("words", CASES)
def test_bash(script: Path, words: str) -> None:
    typed = ["caption-movies", *words.split(" ")]
    said = {line.strip() for line in answer(["bash", "-c", ASK_BASH, "_", str(script), *typed], script.parent)}
    assert CASES[words] <= said
    assert typed[-1] or said == CASES[words] | {"movies-of-mine", "completion"}  # any file may be a profile


@pytest.mark.parametrize("script", ["fish"], indirect=True)
@pytest.mark.parametrize("words", CASES)
def test_fish(script: Path, words: str) -> None:
    ask = f"source {script}; complete -C 'caption-movies {words}'"
    said = {
        line.split("\t")[0].rstrip("/") for line in answer([needs("fish"), "--no-config", "-c", ask], script.parent)
    }
    assert CASES[words] <= said


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_takes_it(script: Path) -> None:
    assert answer([needs("zsh"), "-f", "-c", ASK_ZSH, "_", str(script)], script.parent) == ["_shtab_caption_movies"]


def test_the_help_says_the_line_that_installs_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["completion", "--help"])
    said = capsys.readouterr().out
    assert """bash  echo 'eval "$(caption-movies completion bash)"' >> ~/.bashrc""" in said
    assert "exit codes" in said


def test_the_page_of_commands_has_these_lines_as_code() -> None:
    entry = commands_markdown(command_parser()).partition("\n## completion\n")[2].partition("\n## ")[0]
    lines = "".join(f"    {shell:5} {line}\n" for shell, line in SHELLS.items())
    assert f"then open a new shell:\n\n{lines}\nExit codes: 0 all fine;" in entry

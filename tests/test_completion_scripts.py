"""The scripts for zsh and fish, read as text: what each command offers is what the parser takes, on every machine.

tests/test_completion.py asks the shells themselves, where they are installed. Here an argument's offer is

    FLAG      nothing: it takes no value
    VALUE     a value that nobody knows beforehand
    PATHS     files
    a tuple   these words
    a text    the shell's function of that name, which offers names and files
"""

import argparse
import re
import shlex
from collections.abc import Callable

import pytest

from flows.command_line import command_parser, main
from flows.complete_words import NAMES, is_file, known_names

Offer = str | tuple[str, ...]
FLAG, VALUE, PATHS = "takes no value", "any value", "files"
OFFERED = {key.replace(" ", "_"): names for key, names in known_names().items()}
"""What each of the shell's functions offers beside files, by what stands after NAMES in its name."""
SOME_OFFERED = {
    "profile": {"demo", "groundcap"},
    "recipe": {"blip", "blip2", "groundcap", "toyworld"},
    "sql_query": {"captions_and_verdicts", "summaries_by_captioner"},
    "plot_name": {"throughput", "all"},
    "export_format": {"groundcap"},
    "import_form": {"groundcap"},
    "compare_metrics": {"cider", "gmeteor"},
}
"""What must be among them at least: the right names stand behind the right argument."""
HEAD = "_shtab_caption_movies"
ZSH_SPEC = re.compile(
    r"""(?:\((?:-\ :\ )?\*\))?\*?                # what it excludes; that it may be given several times
    (?P<options>\{[^{}]+\}|-[\w-]+|)             # {-h,--help} or --store; nothing: an argument by its place
    (?:\[(?P<told>(?:\\.|[^][\\:])*)\])?         # [what it is], in which a bracket or colon would be the end
    (?::{1,2}(?P<said>(?:\\.|[^:\\])*):(?P<action>(?:\\.|[^:\\])*))?""",
    re.VERBOSE,
)
FISH_WORD = r"""(?:'(?:\\['\\]|[^'\\])*'|"[^"\\$]*"|[\w./-]++)++"""
"""Text in which fish finds one word and expands nothing. Nothing is tried twice: a wrong line is long."""
FISH_LINE = re.compile(rf"complete(?: {FISH_WORD})++")


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, and the one before all of them under an empty name."""
    whole = command_parser()
    (group,) = [one for one in whole._actions if isinstance(one, argparse._SubParsersAction)]
    return {"": whole, **group.choices}


def offer(command: str, action: argparse.Action) -> Offer:
    """What the parser would have offered for an argument."""
    if action.nargs == 0:
        return FLAG
    if action.choices:
        return tuple(action.choices)
    for name in (action.dest, f"{command}_{action.dest}"):
        if name in OFFERED:
            return NAMES + name
    return PATHS if is_file(action) else VALUE


def expected() -> dict[str, dict[str, Offer]]:
    """By command: what stands for each option, in each spelling, and for each argument by its place, from 1."""
    said: dict[str, dict[str, Offer]] = {}
    for command, parser in commands().items():
        by_place = [action for action in parser._actions if not action.option_strings and command]
        said[command] = {str(place): offer(command, action) for place, action in enumerate(by_place, 1)}
        for action in parser._actions:
            said[command] |= dict.fromkeys(action.option_strings, offer(command, action))
    return said


def in_zsh(text: str) -> dict[str, dict[str, Offer]]:
    """What the script for zsh offers by command, as `expected` has it."""
    blocks = dict(re.findall(rf"^{HEAD}_(\w*)options=\(\n(.*?)^\)$", text, re.MULTILINE | re.DOTALL))
    arms = dict(re.findall(rf"^ +([\w-]+)\) _arguments -C -s \${HEAD}_(\w+)options ;;$", text, re.MULTILINE))
    arms[""] = ""  # before a command, on a line of its own
    assert f"\n  _arguments -C -s ${HEAD}_options\n" in text
    assert sorted(blocks) == sorted(arms.values())
    said: dict[str, dict[str, Offer]] = {}
    for command, block in arms.items():
        said[command], place = {}, 0
        for line in blocks[block].splitlines():
            assert not re.search(r"(?<!\\)[$`]", line), f"zsh expands something in {line}"
            (word,) = shlex.split(line)
            spec = ZSH_SPEC.fullmatch(word)
            assert spec, f"_arguments cannot read {word}"
            names = [one for one in spec["options"].strip("{}").split(",") if one]
            place += not names
            found = _zsh_action(spec["action"])
            said[command] |= dict.fromkeys(names or [str(place)], found)
    return said


def _zsh_action(action: str | None) -> Offer:
    if action is None or action in ("", "_files"):
        return FLAG if action is None else PATHS if action else VALUE
    return tuple(action[1:-1].split()) if action.startswith("(") else action


def in_fish(text: str) -> dict[str, dict[str, Offer]]:
    """What the script for fish offers by command, as `expected` has it."""
    said: dict[str, dict[str, Offer]] = {"": {}}
    for line in text.splitlines():
        if not line.startswith("complete"):
            continue
        assert FISH_LINE.fullmatch(line), f"fish finds other words in {line}"
        one = _fish_words(shlex.split(line))
        if "-n" not in one:
            continue  # that what was said before is forgotten, and that no files are offered unasked
        when = re.fullmatch(rf"{HEAD}_using ?([\w-]*)(?:; and test \${HEAD}_npos -(?:eq|ge) (\d+))?", one["-n"])
        assert when, f"this is no condition of the script's: {line}"
        command, before = when.groups()
        if "-a" in one:
            said[one["-a"]] = {}
            continue
        action = one.get("-xka", one.get("-ka"))
        found = _fish_action(action) if action else VALUE if "-x" in one else FLAG
        names = [dash + one[key] for key, dash in (("-s", "-"), ("-l", "--")) if key in one]
        said[command] |= dict.fromkeys(names or [str(int(before) + 1)], found)
    return said


def _fish_words(words: list[str]) -> dict[str, str]:
    """The options of fish's own command `complete`, with their values."""
    assert words[:3] == ["complete", "-c", "caption-movies"]
    rest, found = iter(words[3:]), {}
    for word in rest:
        assert word.startswith("-")
        found[word] = "" if word in ("-x", "-f", "-e") else next(rest)
    return found


def _fish_action(action: str) -> Offer:
    if not action.startswith("("):
        return tuple(action.split())
    return PATHS if action == "(__fish_complete_path (commandline -ct))" else action[1:-1]


READERS: dict[str, Callable[[str], dict[str, dict[str, Offer]]]] = {"zsh": in_zsh, "fish": in_fish}
FUNCTION = {
    "zsh": rf"^({NAMES}\w+)\(\) {{ _alternative 'names:name:\(([^()']*)\)' 'files:file:_files' }}$",
    "fish": rf"^function ({NAMES}\w+); printf '%s\\n' ([^;']*); __fish_complete_path \(commandline -ct\); end$",
}


@pytest.mark.parametrize("shell", READERS)
def test_each_command_offers_what_the_parser_takes(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    said, wanted = READERS[shell](script(shell, capsys)), expected()
    if shell == "fish":  # is told nothing of an argument by its place that takes any value: there is nothing to offer
        wanted = {
            command: {key: one for key, one in offers.items() if not (key.isdigit() and one == VALUE)}
            for command, offers in wanted.items()
        }
    assert said == wanted
    assert len(said) > 20


@pytest.mark.parametrize("shell", READERS)
def test_files_are_offered_where_one_is_asked_for(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = READERS[shell](script(shell, capsys))
    for command, argument in (
        ("run", "1"), ("import", "1"), ("compare", "--plot"), ("compare", "1"), ("score", "--references"),
        ("setup", "--from"), ("show", "--out"), ("demo", "--movies"), ("panoptic", "1"), ("train", "--references"),
    ):  # fmt: skip
        assert said[command][argument] == PATHS, (command, argument)
    for command, argument in (
        ("train-demo", "--movies"), ("export", "--movies"), ("export", "--references"), ("train", "--sources"),
    ):  # fmt: skip
        assert said[command][argument] == VALUE, (command, argument)  # a number, or names that are in a store


@pytest.mark.parametrize("shell", READERS)
def test_names_are_those_of_the_files_that_are_there(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    functions = dict(re.findall(FUNCTION[shell], script(shell, capsys), re.MULTILINE))
    assert {name: words.split() for name, words in functions.items()} == {
        NAMES + name: list(words) for name, words in OFFERED.items()
    }
    assert OFFERED.keys() == SOME_OFFERED.keys()
    for name, some in SOME_OFFERED.items():
        assert some <= set(OFFERED[name]), name


def test_zsh_lists_the_commands_and_closes_what_it_opens(capsys: pytest.CaptureFixture[str]) -> None:
    text = script("zsh", capsys)
    listed = text.partition("local _commands=(\n")[2].partition("\n  )\n")[0]
    told = [shlex.split(line) for line in listed.splitlines()]
    assert all(len(line) == 1 for line in told)
    assert {line[0].split(":")[0] for line in told} == commands().keys() - {""}
    assert all(line[0].partition(":")[2] for line in told)
    words = shlex.split(text, comments=True)  # an open quote is a ValueError
    for opened, closed in (("{", "}"), ("if", "fi"), ("case", "esac")):
        assert words.count(opened) == words.count(closed)
    assert text.startswith("#compdef caption-movies\n")
    assert f"compdef {HEAD} -N caption-movies" in text


def test_fish_lists_the_commands_and_closes_what_it_opens(capsys: pytest.CaptureFixture[str]) -> None:
    text = script("fish", capsys)
    lists = dict(re.findall(rf"^set -g {HEAD}_(commands|opts_with_value) (.*)$", text, re.MULTILINE))
    assert set(lists["commands"].split()) == commands().keys() - {""}
    valued = {key for offers in expected().values() for key, one in offers.items() if key[0] == "-" and one != FLAG}
    assert set(lists["opts_with_value"].split()) == valued
    open_blocks = 0
    for statement in re.split(r"[;\n]", re.sub(r"'[^']*'|\"[^\"]*\"|^\s*#.*$", "", text, flags=re.MULTILINE)):
        first = (statement.split() or [""])[0]
        open_blocks += (first in ("function", "if", "for", "while", "switch", "begin")) - (first == "end")
        assert open_blocks >= 0
    assert open_blocks == 0
    assert len(shlex.split(text, comments=True)) > len(commands())

"""docs/commands.md, from the parser itself: every command with its arguments."""

import argparse
from collections.abc import Iterator
from itertools import groupby

PREFACE = """\
# Commands

Made from the command's own parser by `make docs`; do not edit. `caption-movies COMMAND --help` says the same in the
terminal. Arguments in capitals are values of yours; those that may be repeated have `...` behind them.
"""
LITERAL = str.maketrans({"|": r"\|", "<": "&lt;", "*": r"\*", "_": r"\_"})


def commands_markdown(parser: argparse.ArgumentParser) -> str:
    """The page docs/commands.md, of a parser with subcommands."""
    commands = dict(_commands(parser))
    parts = [PREFACE, f"{_sentence(parser.epilog or '')}\n", "| command | what it does |", "|---|---|"]
    parts += [f"| [{name}](#{name}) | {as_text(text)} |" for name, (_, text) in commands.items()]
    for name, (command, _) in commands.items():
        parts += [f"\n## {name}\n", f"{_sentence(command.description or '')}\n"]
        parts += ["| argument | meaning | when it is left out |", "|---|---|---|"]
        parts += [f"| `{_shown(one)}` | {_meaning(one)} | {_left_out(one)} |" for one in _arguments(command)]
        if command.epilog and command.epilog != parser.epilog:
            parts += [f"\n{block}" for block in _blocks(command.epilog)]
    return "\n".join(parts) + "\n"


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, tuple[argparse.ArgumentParser, str]]]:
    """Name, parser and help of every command, in order of the help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {one.dest: one.help or "" for one in action._choices_actions}
            yield from ((name, (command, texts.get(name, ""))) for name, command in action.choices.items())


def _arguments(command: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """What stands without a name first, as it is written."""
    wanted = [one for one in command._actions if one.help != argparse.SUPPRESS and one.dest != "help"]
    return iter(sorted(wanted, key=lambda one: bool(one.option_strings)))


def _shown(action: argparse.Action) -> str:
    """As it is typed, without the backticks."""
    value = ""
    if action.nargs != 0:
        one = action.metavar if isinstance(action.metavar, str) else None
        if one is None and action.choices is not None:
            one = ",".join(map(str, action.choices))
        value = one or action.dest.upper()
        value += " ..." if action.nargs in ("+", "*") else ""
    names = ", ".join(action.option_strings)
    return " ".join(filter(None, (names, value))).replace("|", " or ")


def _meaning(action: argparse.Action) -> str:
    text = (action.help or "") % {"default": action.default}
    return as_text(text)


def _left_out(action: argparse.Action) -> str:
    """What happens without it, where the help does not say so itself."""
    if action.required and action.nargs != "*":
        return "not possible"
    if "default" in (action.help or "") or action.default in (None, [], False, argparse.SUPPRESS):
        return ""
    return f"`{action.default}`"


def _blocks(text: str) -> Iterator[str]:
    """The paragraphs of a text, and as code what stands indented in it."""
    for part in text.strip().split("\n\n"):
        for indented, lines in groupby(part.splitlines(), key=lambda line: line.startswith(" ")):
            said = list(lines)
            yield "\n".join(f"    {line.strip()}" for line in said) if indented else _sentence(" ".join(said))


def _sentence(text: str) -> str:
    words = as_text(text.strip())
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", ":")) else ".")


def as_text(text: str) -> str:
    """Free text, with nothing in it that markdown would read as markup; what stands in backticks stays."""
    parts = " ".join(text.split()).split("`")
    return "`".join(part if place % 2 else part.translate(LITERAL) for place, part in enumerate(parts))

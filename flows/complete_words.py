"""The command `completion`: what a shell has to read so that TAB completes commands, options and their values.

shtab makes it of the parser itself, once: the shell asks no Python when TAB is pressed.
"""

import argparse
from collections.abc import Callable, Iterator

from flows.bring_data import Add
from tasks.errors import MissingExtraError

SHELLS = {
    "bash": "echo 'eval \"$(caption-movies completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'autoload -Uz compinit && compinit && eval \"$(caption-movies completion zsh)\"' >> ~/.zshrc",
    "fish": "caption-movies completion fish > ~/.config/fish/completions/caption-movies.fish",
}
"""The line that installs it for good."""
FILES = frozenset({"DIR", "FILE", "FILE.png", "MOVIES", "PATH", "STORE", "TRUTH"})
"""Arguments that are files or folders, by a word that stands for their values in the help."""
NAMES = "_caption_movies_"
"""What the shell functions begin with that complete a name or a file."""


def add_completion(add: Add, parser: Callable[[], argparse.ArgumentParser]) -> None:
    """Add the command to the parser; `parser` gives the whole one."""
    completion = add("completion", "print what makes a shell complete the words of this command with TAB")
    completion.formatter_class = argparse.RawDescriptionHelpFormatter
    lines = "\n".join(f"  {shell:5} {line}" for shell, line in SHELLS.items())
    completion.epilog = f"once and for all, in one line, then open a new shell:\n{lines}\n\n{completion.epilog}"
    completion.add_argument("shell", choices=tuple(SHELLS), help="which shell")
    completion.set_defaults(run=lambda options: _completion(options.shell, parser()))


def _completion(shell: str, parser: argparse.ArgumentParser) -> int:
    try:
        import shtab
    except ImportError as error:
        raise MissingExtraError("shell completion", "shtab", "pip install 'caption-movies[shell]'") from error

    known = known_names()
    for command, action in _actions(parser):
        key = action.dest if action.dest in known else f"{command} {action.dest}"
        if key in known:
            function = NAMES + key.replace(" ", "_")
            action.complete = {"bash": function, "zsh": function, "fish": f"({function})"}  # type: ignore[attr-defined]
        elif is_file(action):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    functions = "\n".join(_function(shell, NAMES + key.replace(" ", "_"), names) for key, names in known.items())
    print(shtab.complete(parser, shell, preamble=functions))
    return 0


def is_file(action: argparse.Action) -> bool:
    """Whether an argument may be a file or a folder."""
    return isinstance(action.metavar, str) and bool(FILES & set(action.metavar.split("|")))


def known_names() -> dict[str, list[str]]:
    """Names that are files of the project, by the argument that takes them, or by command and argument."""
    from flows.read_configuration import profiles
    from flows.read_toml import ready_files
    from storage.catalog import queries
    from tasks import exports, imports, metrics, plots

    return {
        "profile": list(profiles()),
        "recipe": list(ready_files("recipes")),
        "sql query": list(queries()),
        "plot name": [*plots.available(), plots.ALL],
        "export format": exports.available(),
        "import form": imports.available(),
        "compare metrics": metrics.available(),
    }


def _actions(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    for group in parser._actions:
        if isinstance(group, argparse._SubParsersAction):
            for command, one in group.choices.items():
                yield from ((command, action) for action in one._actions)


def _function(shell: str, name: str, names: list[str]) -> str:
    """A function of the shell that offers these names, and files: a path stands in the place of many of them."""
    words = " ".join(names)
    if shell == "bash":
        return f'{name}() {{ compgen -W "{words}" -- "$1"; compgen -f -- "$1"; }}'
    if shell == "zsh":
        return f"{name}() {{ _alternative 'names:name:({words})' 'files:file:_files' }}"
    return f"function {name}; printf '%s\\n' {words}; __fish_complete_path (commandline -ct); end"

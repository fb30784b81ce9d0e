"""The blocks of README and docs: found, and their commands read by whatever knows them. See test_docs_blocks.py.

Before a block's fence a comment may stand: `<!-- not run: REASON -->`, where it cannot be run here (a GPU, somebody's
server, a model hub); its commands are read all the same. `<!-- nearly: REASON -->`, where what is printed differs a
little from machine to machine. A fence with a title (```toml title="mine.toml") is a file for the commands after it.
"""

import ast
import contextlib
import importlib.util
import io
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import yaml

from docs.generate import PAGES
from flows.command_line import command_parser
from storage import catalog

REPOSITORY = Path(__file__).parents[1]
SHELL = ("sh", "bash", "console")
LANGUAGES = (*SHELL, "sql", "python", "toml", "json", "text", "mermaid", "csv")
"""Of a fence. sh: commands; console: commands after `$ `, and what they print; text: what is neither."""
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\S*)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
MARK = re.compile(r"<!-- (not run|nearly): (.+?) -->\s*\Z", re.DOTALL)
FOREIGN = {
    "aws", "cat", "cd", "conda", "cp", "curl", "docker", "echo", "export", "find", "git", "head", "ls", "mkdir", "mv",
    "nvidia-smi", "sed", "source", "ssh", "systemctl", "tensorboard", "unzip", "vllm", "xdg-open",
}  # fmt: skip
"""Programs of others, which are not read."""
END = {"|", "||", "&&", ";", "&", ">", ">>", "<"}


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    title: str = ""
    not_run: str = ""
    nearly: str = ""

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The command lines, without prompts and what is printed; lines that end in a backslash are joined."""
        lines = self.text.replace("\\\n", "").splitlines()
        if self.language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def pages() -> list[str]:
    """README and every written page of docs/; the generated ones are made from what is tested elsewhere."""
    written = [path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").rglob("*.md")]
    return ["README.md", *sorted(set(written) - {f"docs/{name}" for name in PAGES})]


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        indent = len(found["indent"])
        body = "".join(line[indent:] for line in found["text"].splitlines(keepends=True))
        mark = MARK.search(text[: found.start()])
        said = {mark[1].replace(" ", "_"): mark[2]} if mark else {}
        yield Block(page, text[: found.start()].count("\n") + 1, found["language"], body, found["title"] or "", **said)


def split(line: str) -> list[list[str]]:
    """The commands of a line: pipes, redirections and comments cut it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if word in END:
            found.append([] if word not in (">", ">>", "<") else ["cat"])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def read(words: list[str]) -> str | None:
    """What is wrong with a command, or None."""
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # a variable for one command
        words = words[1:]
    program, rest = Path(words[0]).name, words[1:]
    known = {"caption-movies": _own, "prefect": _prefect, "make": _make, "python": _python, "pip": _pip}
    if program in known:
        return known[program](rest)
    return None if program in FOREIGN else f"what is {program}? If it is right, add it to FOREIGN in {__name__}.py"


def _own(words: list[str]) -> str | None:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            options = command_parser().parse_args(words)
    except SystemExit as end:
        return said.getvalue().strip().splitlines()[-1] if end.code else None
    query = getattr(options, "query", None) or ""
    if words[0] == "sql" and re.fullmatch(r"\w+", query) and query not in catalog.queries():
        return f"no ready query is called {query}"
    return None


def _prefect(words: list[str]) -> str | None:
    if words[:2] != ["deployment", "run"]:
        return None
    known = deployments()
    if words[2] not in known:
        return f"prefect.yaml has no deployment {words[2]}, but {', '.join(known)}"
    given = [word.partition("=")[0] for flag, word in pairwise(words) if flag in ("--param", "-p")]
    wrong = set(given) - known[words[2]]
    return f"{words[2]} has no parameters {sorted(wrong)}, but {sorted(known[words[2]])}" if wrong else None


@cache
def deployments() -> dict[str, set[str]]:
    """`flow/deployment` to the names of the flow's parameters, as prefect.yaml and the flow's file have them."""
    found = {}
    for one in yaml.safe_load((REPOSITORY / "prefect.yaml").read_text("utf-8"))["deployments"]:
        path, _, name = one["entrypoint"].partition(":")
        tree = ast.parse((REPOSITORY / path).read_text("utf-8"))
        flow = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
        parameters = [*flow.args.posonlyargs, *flow.args.args, *flow.args.kwonlyargs]
        found[f"{name.replace('_', '-')}/{one['name']}"] = {parameter.arg for parameter in parameters}
    return found


def _make(words: list[str]) -> str | None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    missing = [word for word in words if "=" not in word and not re.search(rf"^{word}:", makefile, re.MULTILINE)]
    return f"the Makefile has no {missing}" if missing else None


def _python(words: list[str]) -> str | None:
    if words[:1] == ["-m"] and importlib.util.find_spec(words[1]) is None:
        return f"there is no module {words[1]}"
    return None


def _pip(words: list[str]) -> str | None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    asked = {extra for word in words for extra in re.findall(r"[\w-]+", (re.findall(r"\[(.+)\]", word) or [""])[0])}
    return f"pyproject.toml has no extras {sorted(asked - extras.keys())}" if asked - extras.keys() else None

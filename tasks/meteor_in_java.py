"""METEOR's own classes, asked by many threads at once. A program of its own: a Java machine ends with its process only.

    python -P meteor_in_java.py JVM HEAP_MB THREADS JAR

Lines "SCORE ||| reference ||| ... ||| caption" are kept until a line "ALIGN", and then answered in their order with 23
statistics each, as METEOR's own `-stdio` does with the same settings, and the score of these; "EVAL ||| statistics" is
answered by their score. METEOR's own main class works with one thread; its scorer can be copied for others, which share
what it read.

Most of METEOR's time went into three things that change no number:
- It reads five million paraphrases before it answers. One can match only where all its words stand in the texts, so the
  others are left out before Java reads them, as METEOR's own FilterParaphrase does.
- Its normalizer separates, moves and strips what is neither letter nor digit (from its source, util/Normalizer.java):
  a line of PLAIN comes out as it went in, so only the other lines are given to it.
- Java compiles what runs often a second time, more slowly and better; METEOR ends before that pays.
"""

import gzip
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

AHEAD = 2000
"""Captions that threads are given at once."""
BLOCK_BYTES = 1 << 22
AS_PYCOCOEVALCAP = ("-", "-", "-stdio", "-l", "en", "-norm")
PLAIN = re.compile(r"[0-9a-z]+(?: [0-9a-z]+)*")
"""Lines that the normalizer leaves as they are: lower case, for it marks dots with words in capitals."""


def main(arguments: list[str]) -> None:
    """Start Java and answer until the input ends."""
    jvm, heap_mb, threads, jar = arguments
    jpype = _java(jvm, heap_mb, int(threads), jar)
    meteor = _Meteor(jpype, Path(jar).parent / "data" / "paraphrase-en.gz")
    waiting: list[list[str]] = []
    with ThreadPoolExecutor(int(threads)) as pool:
        for line in sys.stdin.buffer:
            kind, *parts = (part.strip() for part in line.decode("utf-8", errors="replace").split("|||"))
            if kind == "SCORE":
                waiting.append([part if PLAIN.fullmatch(part) else meteor.normalized(part) for part in parts])
                continue
            for answer in map(meteor.score, parts) if kind == "EVAL" else meteor.align(waiting, pool):
                sys.stdout.buffer.write(answer.encode() + b"\n")
            sys.stdout.buffer.flush()


def paraphrases(table: Path, words: set[bytes]) -> Iterator[bytes]:
    """The entries of a table in METEOR's format that have no word but these, in their order; UTF-8.

    An entry is three lines: a number, a phrase, a paraphrase of it. Entries of one phrase follow each other.
    """
    known, rest, lines = words.issuperset, b"", list[bytes]()
    with gzip.open(table) as source:
        while block := source.read(BLOCK_BYTES):
            *more, rest = (rest + block).split(b"\n")
            lines += more
            whole = len(lines) // 3 * 3
            phrase, wanted = b"", False
            for number, one, other in zip(lines[0:whole:3], lines[1:whole:3], lines[2:whole:3], strict=True):
                if one != phrase:
                    phrase, wanted = one, known(one.split())
                if wanted and known(other.split()):
                    yield b"%b\n%b\n%b\n" % (number, one, other)
            del lines[:whole]


def _java(jvm: str, heap_mb: str, threads: int, jar: str) -> Any:
    import jpype

    settings = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8", "-Djava.awt.headless=true")
    collector = "-XX:+UseSerialGC" if threads < 4 else "-XX:+UseParallelGC"
    quickly = "-XX:TieredStopAtLevel=1"
    native = "--enable-native-access=ALL-UNNAMED"
    jpype.startJVM(jvm, f"-Xmx{heap_mb}m", native, collector, quickly, *settings, classpath=[jar])
    return jpype


class _Meteor:
    """METEOR's scorer. It has no paraphrases before `align` reads those of its captions."""

    def __init__(self, jpype: Any, table: Path) -> None:
        self._jpype, self._table = jpype, table
        self._classes = jpype.JPackage("edu").cmu.meteor.scorer
        with _entries([]) as nothing:
            settings = [*AS_PYCOCOEVALCAP, "-a", nothing]
            properties = jpype.JClass("Meteor").createPropertiesFromArgs(settings, 2)
            self._scorer = self._classes.MeteorScorer(self._classes.MeteorConfiguration(properties))
        self.normalized = self._normalizer()
        self._words: set[bytes] = set()

    def align(self, captions: list[list[str]], pool: ThreadPoolExecutor) -> Iterator[str]:
        """Statistics and score of each caption, which is the last of its texts. Leaves none of them in the list."""
        self._read(set(chain.from_iterable(text.encode().split() for texts in captions for text in texts)))
        own = threading.local()

        def answer(texts: Sequence[str]) -> str:
            if not hasattr(own, "scorer"):
                own.scorer = self._classes.MeteorScorer(self._scorer)
            *references, caption = texts
            found = own.scorer.getMeteorStats(caption, self._jpype.java.util.ArrayList(references))
            return f"{found.toString()} {float(found.score)!r}"

        while captions:
            yield from pool.map(answer, captions[:AHEAD])
            del captions[:AHEAD]

    def score(self, statistics: str) -> str:
        """The score of a line of statistics."""
        found = self._classes.MeteorStats(statistics)
        self._scorer.computeMetrics(found)
        return repr(float(found.score))

    def _read(self, words: set[bytes]) -> None:
        if words <= self._words:
            return
        self._words |= words
        aligner = self._field("edu.cmu.meteor.scorer.MeteorScorer", "aligner").get(self._scorer)
        with _entries(paraphrases(self._table, self._words)) as wanted:
            address = self._jpype.java.io.File(wanted).toURI().toURL()
            read = self._jpype.JClass("edu.cmu.meteor.aligner.ParaphraseTransducer")(address)
        self._field("edu.cmu.meteor.aligner.Aligner", "paraphrase").set(aligner, read)

    def _normalizer(self) -> Callable[[str], str]:
        """METEOR's own, as the scorer would call it, in lower case; the scorer and its copies do so no more."""
        names = ("normalize", "langID", "keepPunctuation")
        fields = {name: self._field("edu.cmu.meteor.scorer.MeteorScorer", name) for name in names}
        _, language, punctuation = (fields[name].get(self._scorer) for name in names)
        fields["normalize"].set(self._scorer, self._jpype.java.lang.Boolean(False))
        normalize = self._jpype.JClass("edu.cmu.meteor.util.Normalizer").normalizeLine
        return lambda line: str(normalize(line, language, punctuation).toLowerCase())

    def _field(self, kind: str, name: str) -> Any:
        field = self._jpype.JClass(kind).class_.getDeclaredField(name)
        field.setAccessible(True)
        return field


@contextmanager
def _entries(entries: Iterable[bytes]) -> Iterator[str]:
    """The path of a table of paraphrases as METEOR reads it; the file is gone afterwards."""
    with tempfile.NamedTemporaryFile(suffix=".gz") as file:
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as packed:
            packed.writelines(entries)
        file.flush()
        yield file.name


if __name__ == "__main__":
    main(sys.argv[1:])

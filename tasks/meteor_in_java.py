"""METEOR's own classes, asked by many threads at once. A program of its own: a Java machine ends with its process only.

    python -P meteor_in_java.py JVM HEAP_MB THREADS JAR

It speaks as METEOR's own `-stdio` does, with the same settings: a line "SCORE ||| reference ||| ... ||| caption" is
answered by 23 statistics, "EVAL ||| statistics ||| ..." by the score of each and then of all, a line each. Answers come
in the order of the lines. METEOR's own main class works with one thread; its scorer can be copied for others, which
share what it read.

METEOR's normalizer takes a quarter of its time. It separates, moves and strips what is neither letter nor digit (from
its source, util/Normalizer.java), so a line of PLAIN comes out as it went in: only the other lines are given to it.
"""

import queue
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

AHEAD = 2000
"""Lines that are read before they are answered."""
AS_PYCOCOEVALCAP = ("-", "-", "-stdio", "-l", "en", "-norm")
PLAIN = re.compile(r"[0-9a-z]+(?: [0-9a-z]+)*")
"""Lines that the normalizer leaves as they are: lower case, for it marks dots with words in capitals."""


def main(arguments: list[str]) -> None:
    """Start Java and answer until the input ends."""
    import jpype

    jvm, heap_mb, threads, jar = arguments
    settings = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8", "-Djava.awt.headless=true")
    collector = "-XX:+UseSerialGC" if int(threads) < 4 else "-XX:+UseParallelGC"
    native = "--enable-native-access=ALL-UNNAMED"
    jpype.startJVM(jvm, f"-Xmx{heap_mb}m", native, collector, *settings, classpath=[jar])
    package = jpype.JPackage("edu").cmu.meteor.scorer
    properties = jpype.JClass("Meteor").createPropertiesFromArgs(list(AS_PYCOCOEVALCAP), 2)
    scorer = package.MeteorScorer(package.MeteorConfiguration(properties))
    normalized = _normalizer(scorer, jpype)
    own = threading.local()

    def answer(line: str) -> str:
        kind, *parts = (part.strip() for part in line.split("|||"))
        if kind != "SCORE":
            return "\n".join(evaluate(parts))
        if not hasattr(own, "scorer"):
            own.scorer = package.MeteorScorer(scorer)
        *references, caption = (part if PLAIN.fullmatch(part) else normalized(part) for part in parts)
        return str(own.scorer.getMeteorStats(caption, jpype.java.util.ArrayList(references)).toString())

    def evaluate(statistics: list[str]) -> Iterator[str]:
        total = package.MeteorStats()
        for line in statistics:
            one = package.MeteorStats(line)
            scorer.computeMetrics(one)
            yield repr(float(one.score))
            total.addStats(one)
        scorer.computeMetrics(total)
        yield repr(float(total.score))

    with ThreadPoolExecutor(int(threads)) as pool:
        waiting: queue.Queue[Future[str] | None] = queue.Queue(AHEAD)
        reader = threading.Thread(target=_read, args=(waiting, pool, answer), daemon=True)
        reader.start()
        while (future := waiting.get()) is not None:
            sys.stdout.buffer.write(future.result().encode() + b"\n")
            if waiting.empty():
                sys.stdout.buffer.flush()


def _normalizer(scorer: Any, jpype: Any) -> Callable[[str], str]:
    """METEOR's own, as this scorer would call it; the scorer and its copies do so no more."""
    kind = jpype.JClass("edu.cmu.meteor.scorer.MeteorScorer").class_
    fields = {name: kind.getDeclaredField(name) for name in ("normalize", "langID", "keepPunctuation")}
    for field in fields.values():
        field.setAccessible(True)
    asked, language, punctuation = (fields[name].get(scorer) for name in fields)
    fields["normalize"].set(scorer, jpype.java.lang.Boolean(False))
    normalize = jpype.JClass("edu.cmu.meteor.util.Normalizer").normalizeLine
    return lambda line: str(normalize(line, language, punctuation)) if asked else line


def _read(waiting: "queue.Queue[Future[str] | None]", pool: ThreadPoolExecutor, answer: Any) -> None:
    for line in sys.stdin.buffer:
        waiting.put(pool.submit(answer, line.decode("utf-8", errors="replace")))
    waiting.put(None)


if __name__ == "__main__":
    main(sys.argv[1:])

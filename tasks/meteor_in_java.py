"""METEOR's own classes, asked by many threads at once. A program of its own: a Java machine ends with its process only.

    python -P meteor_in_java.py JVM HEAP_MB THREADS JAR

It speaks as METEOR's own `-stdio` does, with the same settings: a line "SCORE ||| reference ||| ... ||| caption" is
answered by 23 statistics, "EVAL ||| statistics ||| ..." by the score of each and then of all, a line each. Answers come
in the order of the lines. METEOR's own main class works with one thread; its scorer can be copied for others, which
share what it read.
"""

import queue
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

AHEAD = 2000
"""Lines that are read before they are answered."""
AS_PYCOCOEVALCAP = ("-", "-", "-stdio", "-l", "en", "-norm")


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
    own = threading.local()

    def answer(line: str) -> str:
        kind, *parts = (part.strip() for part in line.split("|||"))
        if kind != "SCORE":
            return "\n".join(evaluate(parts))
        if not hasattr(own, "scorer"):
            own.scorer = package.MeteorScorer(scorer)
        references = jpype.java.util.ArrayList()
        for reference in parts[:-1]:
            references.add(reference)
        return str(own.scorer.getMeteorStats(parts[-1], references).toString())

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


def _read(waiting: "queue.Queue[Future[str] | None]", pool: ThreadPoolExecutor, answer: Any) -> None:
    for line in sys.stdin.buffer:
        waiting.put(pool.submit(answer, line.decode("utf-8", errors="replace")))
    waiting.put(None)


if __name__ == "__main__":
    main(sys.argv[1:])

"""SPICE's own classes, called one after the other. A program of its own: a Java machine cannot be ended in a process.

    python -P spice_in_java.py JVM HEAP_MB THREADS GIVEN ANSWER JARS...

Its own main class is not used: to write its answer it asks Java for a JavaScript engine, which there is none of since
Java 15, and fails. What it does besides (scoreBatch in SpiceScorer.java, which stands in the jar) is done here: parse
the references of all pairs into scene graphs, then the captions, then compare. In batches, so that memory does not grow
with their number: each holds about BATCH_WORDS words of captions and references.

GIVEN is a JSON list of {"test", "refs"}; ANSWER becomes a JSON list of SPICE's scores in the same order.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BATCH_WORDS = 20_000


def main(arguments: list[str]) -> None:
    """Start Java and score what is given."""
    import jpype

    jvm, heap_mb, threads, given, answer, *jars = arguments
    settings = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8", "-Djava.awt.headless=true")
    jpype.startJVM(jvm, f"-Xmx{heap_mb}m", "--enable-native-access=ALL-UNNAMED", *settings, classpath=jars)
    pairs = json.loads(Path(given).read_text("utf-8"))
    scores = [one for batch in batches(pairs) for one in score(batch, _parser(jpype, int(threads)), jpype)]
    Path(answer).write_text(json.dumps(scores), "utf-8")


def batches(pairs: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The pairs in order, about BATCH_WORDS words at a time."""
    batch: list[dict[str, Any]] = []
    words = 0
    for pair in pairs:
        batch.append(pair)
        words += sum(len(text.split()) for text in (pair["test"], *pair["refs"]))
        if words >= BATCH_WORDS:
            yield batch
            batch, words = [], 0
    if batch:
        yield batch


_parsers: list[Any] = []


def _parser(jpype: Any, threads: int) -> Any:
    """One parser for all batches: its models take long to load."""
    if not _parsers:
        spice = jpype.JPackage("edu").anu.spice
        _parsers.append(spice.SpiceParser(None, threads, True))
    return _parsers[0]


def score(batch: list[dict[str, Any]], parser: Any, jpype: Any) -> list[dict[str, Any]]:
    """What SPICE says of each pair: `All`, with f, pr, re, tp, fp, fn."""
    java = jpype.java
    references, sizes, captions = java.util.ArrayList(), java.util.ArrayList(), java.util.ArrayList()
    for pair in batch:
        captions.add(jpype.JString(pair["test"]))
        sizes.add(java.lang.Integer(len(pair["refs"])))
        for reference in pair["refs"]:
            references.add(jpype.JString(reference))
    wanted = parser.parseCaptions(references, sizes)
    found = parser.parseCaptions(captions)
    stats = jpype.JPackage("edu").anu.spice.SpiceStats(java.util.HashMap(), java.lang.Boolean(False))
    for number in range(len(batch)):
        stats.score(java.lang.Integer(number), found.get(number), wanted.get(number), True)
    return [one["scores"] for one in json.loads(str(stats.toJSONString()))]


if __name__ == "__main__":
    main(sys.argv[1:])

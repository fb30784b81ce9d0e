"""SPICE: setting up its models from a server and from files, and running it within the memory there is."""

import hashlib
import http.server
import io
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks import java_metrics, spice_in_java, spice_models, spice_runs
from tasks.downloads import fetch
from tasks.errors import SetupError, TransientError
from tasks.metrics import Pair
from tasks.spice_models import NEEDED, find_models, setup

REPOSITORY = Path(__file__).parents[1]
SECONDS = 120.0
CODE, MODELS = NEEDED


def jar(name: str, lacking: str = "") -> bytes:
    """A jar with the entries that are looked for, and nothing real in them."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for entry in (*NEEDED[name], "META-INF/MANIFEST.MF"):
            if entry != lacking:
                archive.writestr(zipfile.ZipInfo(entry), f"{entry} " * 2000)  # without the time of now
    return packed.getvalue()


def archive(**jars: bytes) -> bytes:
    """An archive like the published one."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr("stanford-corenlp-full-2015-12-09/README.txt", "CoreNLP")
        for name, content in ({CODE: jar(CODE), MODELS: jar(MODELS)} | jars).items():
            made.writestr(f"stanford-corenlp-full-2015-12-09/{name}", content)
    return packed.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves one file, the rest of it on request; may end early or stand still."""

    content = b""
    tag = '"one"'
    sends_at_most: int | None = None
    stands_still = False
    sent: list[int]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.sent, self.let_go = [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/corenlp.zip"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path != "/corenlp.zip":
            self.send_error(404)
            return
        start = 0
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range") == self.server.tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        rest = self.server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            size = len(self.server.content)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", self.server.tag)
        self.end_headers()
        some = rest[: self.server.sends_at_most]
        self.wfile.write(some)
        self.wfile.flush()
        self.server.sent.append(len(some))
        if self.server.stands_still:
            self.server.let_go.wait(SECONDS)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    made.content = archive()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.let_go.set()
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAPTION_MOVIES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def written(tmp_path: Path, content: bytes, name: str = "given.zip") -> str:
    (tmp_path / name).write_bytes(content)
    return str(tmp_path / name)


class TestSetup:
    def test_from_a_server_puts_both_jars_in_place_and_says_how_they_were_verified(
        self, server: Server, cache: Path
    ) -> None:
        said: list[str] = []
        installed = setup([server.url], say=said.append)
        assert {one.path.name for one in installed} == set(NEEDED)
        assert all(one.verified.startswith("structure (no digest is known") for one in installed)
        assert [path.read_bytes() for path in find_models()] == [jar(CODE), jar(MODELS)]
        noted = json.loads((cache / "corenlp-3.6.0" / "installed.json").read_text())
        assert noted[CODE]["sha256"] == sha256_of(jar(CODE))
        assert sorted(path.name for path in (cache / "corenlp-3.6.0").iterdir()) == sorted([*NEEDED, "installed.json"])
        assert server.url in said[0]

    def test_a_digest_that_is_given_is_checked_first(self, tmp_path: Path, cache: Path) -> None:
        file = written(tmp_path, archive())
        digest = sha256_of(archive())
        with pytest.raises(SetupError, match=f"has sha256 {digest}, not {'0' * 64}.*Nothing was put in place"):
            setup([file], ["0" * 64])
        assert find_models() == []
        assert setup([file], [digest.upper()])[0].verified.startswith("sha256 as given")
        with pytest.raises(SetupError, match="2 digests for 1 files"):
            setup([file], [digest, digest])

    def test_the_jars_alone_will_do_one_by_one(self, tmp_path: Path) -> None:
        code, models = written(tmp_path, jar(CODE), "a.jar"), written(tmp_path, jar(MODELS), "b.jar")
        with pytest.raises(SetupError, match=f"{MODELS} is still missing"):
            setup([code])
        assert [one.path.name for one in setup([models])] == [MODELS]
        assert len(find_models()) == 2

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (archive()[:5000], "no whole zip"),
            (b"<html>not found</html>", "no whole zip"),
            (archive()[:60_000] + b"?" + archive()[60_001:], "damaged"),
            (archive(**{MODELS: jar(MODELS, NEEDED[MODELS][0])}), "lacks edu/stanford/nlp/models"),
            (archive(**{CODE: jar(CODE)[:900]}), "no whole zip"),
        ],
    )  # fmt: skip
    def test_what_is_not_it_is_refused_with_the_reason(self, content: bytes, says: str, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match=says):
            setup([written(tmp_path, content)])
        assert find_models() == []

    def test_a_zip_without_the_jars_and_a_path_without_a_file(self, tmp_path: Path) -> None:
        other = io.BytesIO()
        with zipfile.ZipFile(other, "w") as made:
            made.writestr("README", "nothing")
        with pytest.raises(SetupError, match="holds neither stanford-corenlp"):
            setup([written(tmp_path, other.getvalue())])
        with pytest.raises(SetupError, match="there is no file"):
            setup([str(tmp_path / "not-there.zip")])


class TestFetch:
    def test_a_download_that_ended_early_goes_on(self, server: Server, tmp_path: Path) -> None:
        server.sends_at_most = 3000
        with pytest.raises(TransientError, match=r"ended after 3,000 of [\d,]+ bytes. Run the same again"):
            fetch(server.url, tmp_path / "x.zip")
        assert not (tmp_path / "x.zip").exists()
        server.sends_at_most = None
        fetch(server.url, tmp_path / "x.zip")
        assert (tmp_path / "x.zip").read_bytes() == server.content
        assert server.sent == [3000, len(server.content) - 3000]
        assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]

    def test_a_file_that_changed_meanwhile_begins_anew(self, server: Server, tmp_path: Path) -> None:
        server.sends_at_most = 3000
        with pytest.raises(TransientError):
            fetch(server.url, tmp_path / "x.zip")
        server.sends_at_most, server.tag, server.content = None, '"two"', b"other bytes " * 999
        fetch(server.url, tmp_path / "x.zip")
        assert (tmp_path / "x.zip").read_bytes() == server.content

    def test_a_killed_process_is_gone_on_with(self, server: Server, tmp_path: Path) -> None:
        server.sends_at_most, server.stands_still = 4000, True
        program = f"from pathlib import Path; from tasks.downloads import fetch; fetch({server.url!r}, Path('x.zip'))"
        part = tmp_path / "x.zip.part"
        process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); {program}"], cwd=tmp_path
        )
        while not part.exists():
            assert process.poll() is None
        process.kill()
        process.wait()
        here = part.stat().st_size
        server.let_go.set()
        server.sends_at_most, server.stands_still = None, False
        fetch(server.url, tmp_path / "x.zip")
        assert (tmp_path / "x.zip").read_bytes() == server.content
        assert server.sent[-1] == len(server.content) - here

    def test_what_a_server_or_a_network_refuses(self, server: Server, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match="404"):
            fetch(server.url + "x", tmp_path / "x.zip")
        with pytest.raises(SetupError, match="no http"):
            fetch("ftp://127.0.0.1/x", tmp_path / "x.zip")
        with pytest.raises(TransientError, match=r"could not be fetched.*run the same again"):
            fetch("http://127.0.0.1:9/x.zip", tmp_path / "x.zip")


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pair(number: int, words: int = 3) -> Pair:
    return Pair(
        caption_id=f"m_{number:06}/c/0", frame_id=f"m_{number:06}", candidate=f"{number} " + "dog " * words,
        references=("a dog",),
    )  # fmt: skip


SCRIPTED = """
import json, sys
jvm, heap, threads, given, answer, *jars = sys.argv[1:]
pairs = json.load(open(given))
with open({log!r}, "a") as log:
    log.write(f"{{len(pairs)}} {{threads}}\\n")
longest = max(len(one["test"].split()) for one in pairs)
if len(pairs) > 3:
    print("java.lang.OutOfMemoryError: Java heap space", file=sys.stderr)
    sys.exit(1)
if longest > 50:
    print("WARNING: Parsing of sentence ran out of memory (length=60).", file=sys.stderr)
json.dump([{{"All": {{"f": int(one["test"].split()[0]) / 100}}}} for one in pairs], open(answer, "w"))
"""
"""In the place of SPICE: it has memory for three pairs at a time, and skips sentences of more than 50 words."""


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    log = tmp_path / "runs.txt"
    child = tmp_path / "child.py"
    child.write_text(SCRIPTED.format(log=str(log)))
    monkeypatch.setattr(spice_runs, "CHILD", child)
    monkeypatch.setattr(spice_runs, "free_mb", lambda: 8000)
    return log


class TestRuns:
    def test_a_run_without_memory_is_split_and_the_order_kept(self, scripted: Path) -> None:
        found = spice_runs.scores([pair(number) for number in range(8)], [], SECONDS)
        assert found == [number / 100 for number in range(8)]
        assert [line.split()[0] for line in scripted.read_text().splitlines()] == ["8", "4", "2", "2", "4", "2", "2"]

    def test_a_skipped_sentence_is_an_error_that_names_the_caption(self, scripted: Path) -> None:
        with pytest.raises(TransientError, match=r"6,000 MB do not suffice .* m_000001/c/0 .* 61 words.*more free mem"):
            spice_runs.scores([pair(0), pair(1, 60), pair(2)], [], SECONDS)
        assert scripted.read_text().splitlines()[-1] == "1 1", "the last try is a caption alone, on one thread"

    def test_java_itself_runs_and_what_it_lacks_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the CoreNLP that the PTB tokenizer brings: the same classes, and no models."""
        monkeypatch.setattr(spice_runs, "free_mb", lambda: 4000)
        classes = java_metrics.coco_folder() / "tokenizer" / "stanford-corenlp-3.4.1.jar"
        with pytest.raises(TransientError, match="englishPCFG"):
            spice_runs.scores([pair(0)], [classes], SECONDS)

    def test_scene_graphs_are_compared_by_spice_itself(self, tmp_path: Path) -> None:
        """SPICE's own classes on graphs made by hand, for which no model is needed."""
        coco = java_metrics.coco_folder()
        jars = [coco / "spice" / "spice-1.0.jar", *(coco / "spice" / "lib").glob("*.jar")]
        jars.append(coco / "tokenizer" / "stanford-corenlp-3.4.1.jar")
        script = tmp_path / "graphs.py"
        script.write_text(GRAPHS.format(jvm=str(java_metrics.jvm()), jars=list(map(str, jars)), here=str(REPOSITORY)))
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        scores = [one["All"] for one in json.loads(done.stdout.splitlines()[-1])]
        assert [one["f"] for one in scores] == [0.5, pytest.approx(2 / 3), 0.0, 0.0]
        assert (scores[0]["tp"], scores[0]["fp"], scores[0]["fn"]) == (1, 1, 1)

    def test_memory_that_does_not_suffice_is_said_before(self) -> None:
        assert spice_runs.heap_mb(4000) == 3000
        assert spice_runs.heap_mb(64_000) == 8192
        with pytest.raises(TransientError, match=r"needs 2,731 MB of free memory, and 1,500 are free"):
            spice_runs.heap_mb(1500)
        assert spice_runs.free_mb() > 0


GRAPHS = """
import sys
sys.path.insert(0, {here!r})
import jpype, json
from tasks import spice_in_java
jpype.startJVM({jvm!r}, "--enable-native-access=ALL-UNNAMED", classpath={jars!r})
java, edu = jpype.java, jpype.JPackage("edu")
where = str(jpype.JClass("edu.cmu.meteor.util.Constants").DEFAULT_SYN_DIR_URL)
lists = [java.net.URL(f"{{where}}/english.{{name}}") for name in ("exceptions", "synsets", "relations")]
synonyms = jpype.JClass("edu.cmu.meteor.aligner.SynonymDictionary")(*lists)

class ByHand:
    def parseCaptions(self, texts, sizes=None):
        texts = [str(one) for one in texts]
        sizes = [int(one) for one in sizes] if sizes is not None else [1] * len(texts)
        graphs = java.util.ArrayList()
        for size in sizes:
            graph = edu.anu.spice.SceneGraph(synonyms, True)
            for text in [texts.pop(0) for _ in range(size)]:
                for words in filter(None, text.split(",")):
                    graph.addTuple(java.util.ArrayList(java.util.Arrays.asList(*map(jpype.JString, words.split()))))
            graphs.add(graph)
        return graphs

asked = [("dog,dog brown", ["dog,cat"]), ("dog,cat", ["dog", "dog"]), ("house", ["dog"]), ("", [""])]
print(json.dumps(spice_in_java.score([{{"test": a, "refs": b}} for a, b in asked], ByHand(), jpype)))
"""


def test_batches_hold_every_pair_once_and_are_bounded() -> None:
    pairs = [{"test": "a " * 600, "refs": ["b " * 600] * 5} for _ in range(20)]
    found = list(spice_in_java.batches(pairs))
    assert [len(batch) for batch in found] == [6, 6, 6, 2]
    assert [one for batch in found for one in batch] == pairs
    assert list(spice_in_java.batches([])) == []


def test_the_remedy_names_the_command() -> None:
    assert "caption-movies setup spice" in spice_models.REMEDY

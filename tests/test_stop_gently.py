"""Ctrl-C and SIGTERM: who may go on, what the process says and with which code it ends."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline_help import hear_ctrl_c

from flows.stop_gently import LAST_WORDS, Pieces, StoppedBeforeError

REPOSITORY = Path(__file__).parents[1]
PROGRAM = """
import signal, sys, threading, time
from flows import stop_gently as sg
sg.GRACE_SECONDS = 60
def say(word): print(word, flush=True)
def wait():
    while True: time.sleep(0.05)
{body}
"""


def ends(body: str, *signals: signal.Signals, before: Callable[[], object] = hear_ctrl_c) -> tuple[int, str, str]:
    """Run a program, send it a signal at each line it prints; gives exit code, stdout, stderr."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=before,
    )  # fmt: skip
    said = ""
    for number in signals:
        said += process.stdout.readline()  # type: ignore[union-attr]
        os.kill(process.pid, number)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said + out, err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_raises_with_its_exit_code(number: signal.Signals, code: int) -> None:
    body = """
try:
    with sg.stop_gently():
        say("up"); wait()
except sg.Stopped as stopped:
    say("caught"); sys.exit(stopped.exit_code)
"""
    rc, out, err = ends(body, number)
    assert (rc, out.split()) == (code, ["up", "caught"])
    assert "stopping after the shards in work" in err
    assert "Traceback" not in err


def test_it_stops_also_when_the_reader_of_its_last_words_is_gone() -> None:
    """As with `2>&1 | tee log`: Ctrl-C ends tee too, and often sooner."""
    body = """
import os
sg.GRACE_SECONDS = 0.1
read, write = os.pipe(); os.close(read); os.dup2(write, 2)
with sg.stop_gently():
    try: say("up"); wait()
    finally: wait()
"""
    assert ends(body, signal.SIGINT)[:2] == (130, "up\n")


def test_ctrl_c_stays_ignored_where_it_was() -> None:
    """As in a job in the background of a script: the Ctrl-C is meant for the one in front."""
    body = """
with sg.stop_gently():
    say("up"); time.sleep(0.2); say("still here")
"""
    rc, out, err = ends(body, signal.SIGINT, before=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert (rc, out.split("\n")[:2], err) == (0, ["up", "still here"], "")


def test_the_second_signal_ends_at_once() -> None:
    body = """
with sg.stop_gently():
    try: say("up"); wait()
    finally: say("waiting for a piece"); wait()
"""
    rc, _, err = ends(body, signal.SIGINT, signal.SIGTERM)
    assert rc == 143
    assert err.rstrip().endswith(LAST_WORDS)
    assert "Traceback" not in err


def test_it_ends_when_the_pieces_are_done_whoever_else_is_still_busy() -> None:
    body = """
sg.GRACE_SECONDS = 0.1
def work():
    with sg.pieces.one():
        say("up"); time.sleep(0.5); say("the piece is done")
with sg.stop_gently():
    try: threading.Thread(target=work).start(); wait()
    finally: wait()  # as Prefect does when its server is gone
"""
    rc, out, err = ends(body, signal.SIGTERM)
    assert (rc, out.splitlines()) == (143, ["up", "the piece is done"])
    assert err.rstrip().endswith(LAST_WORDS)


def test_what_breaks_because_of_the_stop_is_not_told() -> None:
    body = """
try:
    with sg.stop_gently():
        try: say("up"); wait()
        finally: raise ConnectionError("the server is gone")
except sg.Stopped as stopped:
    sys.exit(stopped.exit_code)
"""
    rc, _, err = ends(body, signal.SIGTERM)
    assert rc == 143
    assert "the server is gone" not in err


def test_handlers_that_others_put_in_place_are_replaced_and_the_old_ones_come_back() -> None:
    body = """
before = signal.getsignal(signal.SIGTERM)
try:
    with sg.stop_gently() as signals:
        signal.signal(signal.SIGTERM, lambda *_: say("Prefect's"))
        signals.listen(); say("up"); wait()
except sg.Stopped:
    assert signal.getsignal(signal.SIGTERM) is before
"""
    assert ends(body, signal.SIGTERM)[:2] == (0, "up\n")


def test_no_piece_begins_after_the_stop_and_those_in_work_are_waited_for() -> None:
    pieces = Pieces()
    begun, end, waited = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        with pieces.one():
            begun.set()
            end.wait(60)

    def wait() -> None:
        pieces.wait()
        waited.set()

    threads = [threading.Thread(target=work), threading.Thread(target=wait)]
    threads[0].start()
    assert begun.wait(60)
    pieces.close()
    threads[1].start()
    with pytest.raises(StoppedBeforeError, match="again"), pieces.one():
        pass
    assert not waited.is_set()
    end.set()
    for thread in threads:
        thread.join(60)
    assert waited.is_set()
    pieces.open()
    with pieces.one():
        pass

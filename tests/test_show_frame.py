"""The command `show`: words, verdicts, and pictures in terminals of every kind, read back as these read them."""

import base64
import io
import os
import pty
import re
import sys
import threading
import tty
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from gallery_making import FAULTS, GOOD, HEIGHT, HOSTILE, WIDTH, write_movie
from rich.console import Console
from rows import frame, movie, write

from flows import draw_in_terminal, show_frame
from flows.command_line import main
from flows.draw_in_terminal import BLOCKS, KITTY, NONE, SIXEL, choose_way, draw, fitted_cells, kitty, says_sixel, sixel
from flows.show_frame import drawn, find, show
from storage.errors import StoreError
from storage.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = Store(str(tmp_path_factory.mktemp("show") / "store"))
    texts = {"alpha": [GOOD, *HOSTILE, *(one["failing"] for one in FAULTS)], "beta": [GOOD]}
    write_movie(made, texts, frames=44, shard_frames=20)
    return made.location


def console(width: int = 100, **options: object) -> Console:
    given = {"force_terminal": True, "color_system": "truecolor", "height": 40, "legacy_windows": False} | options
    return Console(file=io.StringIO(), width=width, **given)  # type: ignore[arg-type]


def said_by(to: Console) -> str:
    return to.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def picture() -> PIL.Image.Image:
    """Colours in every corner, and a size that is no multiple of six."""
    columns, rows = np.meshgrid(np.arange(50), np.arange(31))
    pixels = np.stack([columns * 5, rows * 8, (columns + rows) * 3], axis=-1)
    return PIL.Image.fromarray(pixels.astype(np.uint8))


def pixels_of_sixels(code: str) -> np.ndarray:
    """What a terminal draws, by DEC's manual."""
    found = re.fullmatch(r'\x1bP0;1;0q"1;1;(\d+);(\d+)(.*)\x1b\\', code, re.DOTALL)
    assert found
    width, height = int(found[1]), int(found[2])
    drawn_pixels = np.full((height + 6, width, 3), -1.0)
    palette, colour, x, y, end = {}, 0, 0, 0, 0
    for part in re.finditer(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|(?:!(\d+))?([?-~])|(\$)|(-)", found[3]):
        assert part.start() == end
        end = part.end()
        if part[1]:
            palette[int(part[1])] = [int(part[place]) * 2.55 for place in (2, 3, 4)]
        elif part[5]:
            colour = int(part[5])
        elif part[7]:
            times = int(part[6] or 1)
            for bit in range(6):
                if (ord(part[7]) - 63) >> bit & 1:
                    drawn_pixels[y + bit, x : x + times] = palette[colour]
            x += times
        else:
            x, y = 0, y + (6 if part[9] else 0)
    assert end == len(found[3])
    assert (drawn_pixels[height:] == -1).all()
    assert len(palette) <= 256
    return drawn_pixels[:height]


def test_sixels_draw_every_pixel_in_nearly_its_colour() -> None:
    image = picture()
    seen = pixels_of_sixels(sixel(image))
    assert (seen >= 0).all()
    assert np.abs(seen - np.asarray(image, dtype=float)).mean() < 8


def test_kitty_is_given_the_picture_in_pieces() -> None:
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))
    pieces = [re.fullmatch(r"\x1b_G([^;]*);([^\x1b]{1,4096})\x1b\\", one) for one in kitty(noise, 40, 15)]
    assert all(pieces)
    heads = [one[1] for one in pieces if one]
    assert heads == ["a=T,f=100,q=2,c=40,r=15,m=1", *["m=1"] * (len(heads) - 2), "m=0"]
    sent = PIL.Image.open(io.BytesIO(base64.b64decode("".join(one[2] for one in pieces if one))))
    assert sent.tobytes() == noise.tobytes()


def test_half_blocks_have_two_pixels_a_cell() -> None:
    to = console(width=10)
    draw(picture(), to, BLOCKS)
    cells = re.findall(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m▀", said_by(to))
    columns, lines = fitted_cells(picture(), to)
    assert len(cells) == columns * lines
    assert columns == 10
    small = np.asarray(picture().resize((columns, 2 * lines), PIL.Image.Resampling.LANCZOS))
    assert [int(one) for one in cells[0]] == [*small[0, 0], *small[1, 0]]
    few = console(width=10, color_system="256")
    draw(picture(), few, BLOCKS)
    assert "38;5;" in said_by(few)
    assert "38;2;" not in said_by(few)


@pytest.mark.parametrize(("environment", "way"), [
    ({"KITTY_WINDOW_ID": "1", "TERM": "xterm-kitty"}, KITTY), ({"TERM_PROGRAM": "WezTerm"}, KITTY),
    ({"TERM": "xterm-kitty"}, KITTY), ({"KITTY_WINDOW_ID": "1", "TERM": "tmux-256color"}, BLOCKS),
    ({"KITTY_WINDOW_ID": "1", "TMUX": "/tmp/x"}, BLOCKS), ({"TERM": "xterm-256color"}, SIXEL),
])  # fmt: skip
def test_the_terminal_decides(environment: dict[str, str], way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw_in_terminal, "says_sixel", lambda: True)
    assert choose_way(console(), environment) == way
    assert choose_way(console(force_terminal=False), environment) == NONE
    assert choose_way(console(no_color=True, color_system=None), environment) == NONE
    monkeypatch.setattr(draw_in_terminal, "says_sixel", lambda: False)
    assert choose_way(console(), environment) == (BLOCKS if way == SIXEL else way)


@pytest.mark.parametrize(("answer", "can"), [
    (b"\x1b[?62;4;22c", True), (b"\x1b[?64;1;2;4c", True), (b"\x1b[?4;1c", False), (b"\x1b[?62;22;44c", False),
    (b"typed\x1b[?62;4c", True), (b"", False),
])  # fmt: skip
def test_a_terminal_says_whether_it_draws_sixels(answer: bytes, can: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real pseudo-terminal whose other end answers, or does not."""
    master, slave = pty.openpty()
    tty.setraw(master)
    end = os.fdopen(slave, "r+b", buffering=0)

    def reply() -> None:
        asked = b""
        while b"\x1b[c" not in asked:
            asked += os.read(master, 64)
        os.write(master, answer)

    thread = threading.Thread(target=reply)
    thread.start()
    monkeypatch.setattr(sys, "stdin", end)
    monkeypatch.setattr(sys, "stdout", end)
    try:
        found = says_sixel(seconds=30 if answer else 0.2)
    finally:
        monkeypatch.undo()
        thread.join()
        end.close()
        os.close(master)
    assert found is can


def test_no_terminal_is_asked_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert says_sixel() is False
    assert capsys.readouterr().out == ""


def test_words_stand_in_the_colours_of_their_objects_with_ids_behind(store: str) -> None:
    to = console()
    show(find(store, "mabc_000000/alpha/0"), to, NONE)
    said = said_by(to)
    assert "A man [person-0] walks [person-0 walk] with his dog [dog-0] under a wide sky [sky-0]." in plain(said)
    assert re.search(r"\x1b\[1;38;2;230;159;0mA man\x1b", said)
    assert re.search(r"\x1b\[1;38;2;86;180;233mhis dog\x1b", said)
    assert "mabc_000000 at 0.00 s, shot 0, 320x180" in plain(said)
    assert "person-0 0.90" in plain(said)


def test_of_a_frame_every_captioner_and_every_fault_is_shown(store: str) -> None:
    for number in range(len(HOSTILE) + len(FAULTS) + 1):
        to = console()
        seen = find(store, f"mabc_{number:06d}")
        show(seen, to, NONE)
        said = plain(said_by(to))
        assert [caption.captioner for caption, _ in seen.captions] == ["alpha", "beta"]
        alpha, told = seen.captions[0]
        for fault in told.violations.get(alpha.caption_id, []):
            assert f"⚠ {fault.code}:" in said
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", said)


def test_what_a_caption_cites_stands_out_in_the_picture(store: str) -> None:
    frame_picture, caption_picture = (drawn(find(store, one)) for one in ("mabc_000020", "mabc_000020/beta/0"))
    assert (
        frame_picture.size
        == caption_picture.size
        == (show_frame.LONGEST_EDGE, show_frame.LONGEST_EDGE * HEIGHT // WIDTH)
    )
    assert frame_picture.tobytes() != caption_picture.tobytes()


def test_the_command_shows_and_writes_and_opens(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["show", "mabc_000025", "--store", store]
    assert main(ask) == 0
    assert "A man [person-0]" in capsys.readouterr().out
    place = tmp_path / "frame.png"
    assert main([*ask, "--out", str(place)]) == 0
    assert place.read_bytes().startswith(b"\x89PNG")
    assert main([*ask, "--out", str(place)]) == 1
    assert main([*ask, "--out", str(place), "--force"]) == 0
    assert main([*ask, "--picture", "sixel"]) == 0
    assert "\x1bP0;1;0q" in capsys.readouterr().out
    viewer = tmp_path / ("open" if sys.platform == "darwin" else "xdg-open")
    viewer.write_text(f'#!/bin/sh\ncp "$1" "{tmp_path}/opened.png"\n')
    viewer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main([*ask, "--open"]) == 0
    assert (tmp_path / "opened.png").read_bytes() == place.read_bytes()
    viewer.write_text("#!/bin/sh\nexit 3\n")
    assert main([*ask, "--open"]) == 1
    assert "does not open pictures here" in capsys.readouterr().err


def test_ids_that_are_not_there_and_pictures_that_are_none(
    tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for wanted in ("mabc_999999", "mabc_000000/alpha/7", "x' or '1'='1", ""):
        assert main(["show", wanted, "--store", store]) == 2
        assert "captions_and_verdicts" in capsys.readouterr().err
    made = Store(str(tmp_path / "broken"), "run-1")
    write(made, [movie()], shard="mabc")
    write(made, [frame(0)])
    with pytest.raises(StoreError, match="cannot be decoded"):
        drawn(find(made.location, "mabc_000000"))
    to = console()
    show(find(made.location, "mabc_000000"), to, BLOCKS)
    assert all(word in plain(said_by(to)) for word in ("cannot be decoded", "nothing detected", "no captions"))

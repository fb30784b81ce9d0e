"""Without a browser the gallery's tests fail; they are skipped only where none is to be had."""

from pathlib import Path

import browser_help
import pytest


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a browser; gives where `make browser` leaves that it got none."""
    monkeypatch.delenv("CAPTION_MOVIES_BROWSER", raising=False)
    monkeypatch.setattr(browser_help, "NAMES", ())
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    monkeypatch.setattr(browser_help, "NONE_TO_BE_HAD", tmp_path / "no-browser")
    return tmp_path / "no-browser"


@pytest.mark.usefixtures("nowhere")
def test_a_browser_that_nobody_tried_to_get_is_a_failure_with_the_remedy() -> None:
    with pytest.raises(pytest.fail.Exception, match="`make browser` brings one"), browser_help.headless_chromium():
        pass


def test_where_none_is_to_be_had_the_test_is_skipped(nowhere: Path) -> None:
    nowhere.write_text("no headless Chromium can be installed here\n")
    with pytest.raises(pytest.skip.Exception, match="can be installed here"), browser_help.headless_chromium():
        pass


def test_a_browser_that_does_not_start_is_neither(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere.write_text("no headless Chromium can be installed here\n")
    monkeypatch.setenv("CAPTION_MOVIES_BROWSER", str(nowhere))
    with pytest.raises(browser_help.Error), browser_help.headless_chromium():
        pass

"""Folders and defaults; the log keeps neither keys nor what people wrote."""

import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mediator import log, settings
from mediator.errors import InputError

KEY = "sk-ant-test-0123456789"
VIEW = "The secret of the neighbours is the pear tree."


@pytest.fixture
def log_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EVENHAND_LOG_FOLDER", str(tmp_path / "log"))
    yield tmp_path / "log"
    for name in ("mediator", "trainer", "ui"):
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            handler.close()
        logger.handlers, logger.propagate = [], True


@pytest.mark.parametrize(
    ("variable", "folder"),
    [
        ("EVENHAND_DATA_FOLDER", settings.data_folder),
        ("EVENHAND_CACHE_FOLDER", settings.cache_folder),
        ("EVENHAND_LOG_FOLDER", settings.log_folder),
    ],
)
def test_a_folder_is_the_platforms_unless_the_environment_names_one(variable, folder, tmp_path, monkeypatch):
    platforms = folder()
    assert platforms.is_absolute()
    assert "evenhand" in platforms.parts

    monkeypatch.setenv(variable, f"  {tmp_path / 'mine'} ")
    assert folder() == tmp_path / "mine"
    assert not folder().exists()

    monkeypatch.setenv(variable, "~/mine")
    assert folder() == Path.home() / "mine"

    monkeypatch.setenv(variable, "  ")
    assert folder() == platforms


def test_defaults_can_be_set_in_the_environment(monkeypatch):
    assert (settings.default_model(), settings.default_encoder()) == ("drafter", "bundled")
    monkeypatch.setenv("EVENHAND_MODEL", " claude ")
    monkeypatch.setenv("EVENHAND_ENCODER", "/a/file.gguf")
    assert (settings.default_model(), settings.default_encoder()) == ("claude", "/a/file.gguf")


def _fail() -> None:
    try:
        raise FileNotFoundError(2, "No such file or directory", VIEW)
    except FileNotFoundError as error:
        raise InputError(f"{VIEW} {KEY}", VIEW) from error


def test_the_log_has_the_traceback_without_messages_and_keys(log_folder, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    log.start_logging()
    try:
        _fail()
    except InputError as error:
        log.log_error(error)
        logging.getLogger("mediator.somewhere").warning("with its traceback, and %s", KEY, exc_info=error)
    written = (log_folder / "evenhand.log").read_text(encoding="utf-8")
    assert written.count("mediator.errors.InputError") == 2
    assert "in _fail" in written
    assert "FileNotFoundError (No such file or directory)" in written
    assert "with its traceback, and [OPENAI_API_KEY]" in written
    assert "pear tree" not in written.replace('raise InputError(f"{VIEW} {KEY}", VIEW)', "")
    assert KEY not in written


def test_the_log_is_for_its_owner_only_and_takes_no_foreign_records(log_folder):
    log.start_logging()
    log.start_logging()
    logging.getLogger("httpx").error(VIEW)
    logging.getLogger("mediator").info("once")
    path = log_folder / "evenhand.log"
    assert path.read_text(encoding="utf-8").count("once") == 1
    assert VIEW not in path.read_text(encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EVENHAND_LOG_FOLDER", str(tmp_path / "file" / "log"))
    log.start_logging()
    logging.getLogger("mediator").error("lost")
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_shows_no_traceback(tmp_path, monkeypatch, capsys):
    (tmp_path / "evenhand.log").symlink_to("/dev/full")
    monkeypatch.setenv("EVENHAND_LOG_FOLDER", str(tmp_path))
    log.start_logging()
    logging.getLogger("mediator").error("lost")
    assert capsys.readouterr().err == ""


def test_a_home_that_is_not_there_is_a_path_like_any_other(monkeypatch):
    assert settings.user_path("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    monkeypatch.setenv("HOME", "/home/of/mine")
    monkeypatch.setenv("USERPROFILE", "/home/of/mine")
    assert settings.user_path("~/x") == Path("/home/of/mine/x")


def test_verbose_shows_the_log_without_keys(log_folder, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    log.start_logging(verbose=True)
    logging.getLogger("mediator.test").debug("a detail with %s", KEY)
    assert "DEBUG mediator.test: a detail with [OPENAI_API_KEY]" in capsys.readouterr().err


def test_verbose_shows_a_traceback_without_what_somebody_wrote(log_folder, capsys):
    log.start_logging(verbose=True)
    try:
        raise ValueError("what somebody wrote")
    except ValueError as error:
        logging.getLogger("ui.test").info("it failed", exc_info=error)
    shown = capsys.readouterr().err
    assert "INFO ui.test: it failed" in shown
    assert "builtins.ValueError" in shown
    assert "in test_verbose_shows" in shown
    for text in (shown, (log_folder / "evenhand.log").read_text(encoding="utf-8")):
        assert 'raise ValueError("what somebody wrote")' in text  # our own source, which a traceback quotes
        assert text.count("what somebody wrote") == 1

"""Files that are there whole or not at all: a failure, a kill -9 or a second writer leaves no part under the name."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mediator.atomic_file import whole_file, write_whole

posix = pytest.mark.skipif(os.name != "posix", reason="the rights and the signals of POSIX")


@pytest.mark.parametrize("synced", [True, False])
def test_a_file_is_replaced_as_a_whole(tmp_path: Path, synced: bool) -> None:
    path = tmp_path / "a"
    write_whole(path, "old", synced=synced)
    with whole_file(path, synced=synced) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    write_whole(path, "naïve\n", synced=synced)
    assert path.read_bytes() == "naïve\n".encode()
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a"
    write_whole(path, "old")

    def breaks() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        breaks()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_is_there_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_whole(path, "first", replace=False)
    with pytest.raises(FileExistsError):
        write_whole(path, "second", replace=False)
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["a"]


def test_a_disk_without_links_keeps_a_name_only_for_what_is_whole(tmp_path: Path, monkeypatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", refused)
    write_whole(tmp_path / "b", "whole", replace=False)
    assert (tmp_path / "b").read_text() == "whole"
    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "a", "half", replace=False)
    assert os.listdir(tmp_path) == ["b"]


@posix
@pytest.mark.parametrize(("private", "rights"), [(True, 0o600), (False, 0o640)])
def test_who_may_read_it(tmp_path: Path, private: bool, rights: int) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", "text", private=private)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == rights


@posix
def test_kill_9_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_whole(path, "old")
    program = (
        "import os, signal, sys; from pathlib import Path; from mediator.atomic_file import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as file:\n"
        "    file.write(b'x' * (1 << 20)); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    source = str(Path(__file__).resolve().parents[2])
    ended = subprocess.run(
        [sys.executable, "-c", program, str(path)], env={**os.environ, "PYTHONPATH": source}, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    part = next(other for other in tmp_path.iterdir() if other != path)
    assert part.name.startswith(".a.")
    assert part.stat().st_size == 1 << 20

"""Downloads from a real server: resumed, checked, cancelled, one at a time, on a full disk and from a bad network."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hub_server import COMMIT, Hub, hub_server
from support.patience import PATIENCE, until
from support.tiny_models import tiny_llama_gguf

from mediator import downloads, transfer
from mediator.cancellation import Cancellation, Cancelled
from mediator.catalogue import Downloadable
from mediator.download_jobs import DownloadJobs
from mediator.downloads import AlreadyRunning, DiskFull, Patience, Progress, WrongChecksum, begun, download, installed
from mediator.errors import EvenhandError, InputError, ModelFileError
from mediator.hub import HubUnreachable, NotOffered, UnsafeAddress

QUICK = Patience(connect=2.0, stall=0.4, retries=2, first_wait=0.01, longest_wait=0.05)
REPOSITORY = Path(__file__).resolve().parents[2]


def entry_of(**changes) -> Downloadable:
    return Downloadable(
        **{
            "name": "tiny", "title": "Tiny", "repository": "somebody/Tiny-GGUF", "file": "tiny.gguf",
            "revision": "main", "licence": "Apache-2.0", "licence_url": "https://example.org", "size": 1, "memory": 1,
            "recommended_from": 1, "quality": {"en": "Tiny."}, **changes,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A real GGUF file of about 2 MB."""
    path = tiny_llama_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf", vocabulary=3000)
    assert path.stat().st_size > 1_500_000
    return path.read_bytes()


@pytest.fixture
def hub(model: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server(model) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_model_is_downloaded_checked_and_recorded(hub, model, tmp_path):
    seen: list[Progress] = []
    hub.pause = 0.02
    path = download(entry_of(), tmp_path / "models", seen.append, patience=QUICK)
    assert path == tmp_path / "models" / "tiny.gguf"
    assert path.read_bytes() == model
    assert names(path.parent) == {"tiny.gguf", "tiny.gguf.json"}
    record = installed(entry_of(), path.parent)
    assert record is not None
    assert (record.sha256, record.size, record.commit) == (hashlib.sha256(model).hexdigest(), len(model), COMMIT)
    # What was checked is what was fetched: the bytes come from the commit that the Hub named.
    assert [(method, target) for method, target, _ in hub.requests] == [
        ("HEAD", "/somebody/Tiny-GGUF/resolve/main/tiny.gguf"),
        ("GET", f"/somebody/Tiny-GGUF/resolve/{COMMIT}/tiny.gguf"),
        ("GET", "/bytes/file"),
    ]
    assert [report.stage for report in (seen[0], seen[-1])] == ["asking", "checking"]
    loading = [report for report in seen if report.stage == "loading"]
    assert loading
    assert all(0 < report.received <= report.total == len(model) for report in loading)
    assert loading[-1].sha256 == record.sha256
    assert loading[-1].speed > 0
    assert loading[-1].seconds_left is not None

    asked = len(hub.requests)
    assert download(entry_of(), path.parent) == path
    assert len(hub.requests) == asked  # it is there already


def test_a_dropped_connection_is_taken_up_where_it_broke(hub, model, tmp_path):
    hub.breaks = [300_000, 500_000]
    path = download(entry_of(), tmp_path, patience=QUICK)
    assert path.read_bytes() == model
    first, second, third = hub.ranges_asked()
    assert first == ""
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 300_000
    assert int(third.removeprefix("bytes=").rstrip("-")) <= 800_000


def test_a_connection_that_always_breaks_at_once_gives_up_and_the_next_attempt_goes_on(hub, model, tmp_path):
    hub.breaks, hub.always_breaks = [400_000], 0
    with pytest.raises(HubUnreachable, match=r"was lost, 3 times in a row\. 0\.\d MB have come and are kept") as caught:
        download(entry_of(), tmp_path, patience=QUICK)
    assert caught.value.retryable
    kept = begun(entry_of(), tmp_path)
    assert 300_000 < kept <= 400_000
    assert "tiny.gguf" not in names(tmp_path)
    hub.always_breaks = None
    seen: list[Progress] = []
    path = download(entry_of(), tmp_path, seen.append, patience=QUICK)
    assert path.read_bytes() == model
    assert hub.ranges_asked()[-1] == f"bytes={kept}-"
    assert begun(entry_of(), tmp_path) == 0


def test_a_silent_server_is_given_up_after_its_time(hub, tmp_path):
    hub.always_breaks, hub.stalls = 0, True
    with pytest.raises(HubUnreachable, match=r"127\.0\.0\.1 was silent for 0\.4 seconds, 3 times in a row"):
        download(entry_of(), tmp_path, patience=QUICK)
    until(lambda: hub.left == 3, "each time, the download went away before the server did")


def test_a_wrong_checksum_deletes_what_came(hub, model, tmp_path):
    hub.data = model[:-1] + bytes([model[-1] ^ 1])
    with pytest.raises(WrongChecksum, match=r"tiny\.gguf did not arrive as it was sent: its SHA-256 .*deleted"):
        download(entry_of(), tmp_path, patience=QUICK)
    assert names(tmp_path) <= {"tiny.gguf.part.json"}
    hub.data = model
    assert download(entry_of(), tmp_path, patience=QUICK).read_bytes() == model


def test_a_resumed_part_is_checked_too(hub, model, tmp_path):
    hub.breaks, hub.always_breaks = [400_000], 0
    with pytest.raises(HubUnreachable):
        download(entry_of(), tmp_path, patience=QUICK)
    part = tmp_path / "tiny.gguf.part"
    spoiled = bytearray(part.read_bytes())
    spoiled[1000] ^= 1
    part.write_bytes(spoiled)
    hub.always_breaks = None
    with pytest.raises(WrongChecksum):
        download(entry_of(), tmp_path, patience=QUICK)
    assert hub.ranges_asked()[-1].startswith("bytes=")
    assert not part.exists()


def test_a_pinned_checksum_wins_over_the_hubs(hub, model, tmp_path):
    with pytest.raises(NotOffered, match=r"offers another tiny\.gguf than the one that Evenhand knows"):
        download(entry_of(sha256="0" * 64), tmp_path, patience=QUICK)
    assert hub.ranges_asked() == []
    hub.sha256 = ""
    with pytest.raises(WrongChecksum):
        download(entry_of(sha256="0" * 64), tmp_path, patience=QUICK)
    assert download(entry_of(sha256=hashlib.sha256(model).hexdigest()), tmp_path, patience=QUICK).is_file()


def test_a_file_that_nobody_vouches_for_is_not_fetched(hub, tmp_path):
    hub.sha256 = ""
    with pytest.raises(NotOffered, match=r"does not say the SHA-256 of tiny\.gguf"):
        download(entry_of(), tmp_path, patience=QUICK)
    assert hub.ranges_asked() == []


@pytest.mark.parametrize("change", ["ranges", "tag"])
def test_a_server_that_sends_all_of_it_again_is_taken_at_its_word(hub, model, tmp_path, change):
    hub.breaks, hub.always_breaks = [400_000], 0
    with pytest.raises(HubUnreachable):
        download(entry_of(), tmp_path, patience=QUICK)
    hub.always_breaks = None
    if change == "ranges":
        hub.ranges = False
    else:
        hub.tag = '"two"'
    assert download(entry_of(), tmp_path, patience=QUICK).read_bytes() == model
    assert hub.ranges_asked()[-1].startswith("bytes=")


def test_another_file_under_the_same_name_starts_from_the_beginning(hub, model, tmp_path):
    hub.breaks, hub.always_breaks = [400_000], 0
    with pytest.raises(HubUnreachable):
        download(entry_of(), tmp_path, patience=QUICK)
    hub.always_breaks = None
    other = tiny_llama_gguf(tmp_path / "other", vocabulary=3000, seed=1).read_bytes()
    hub.data, hub.sha256 = other, hashlib.sha256(other).hexdigest()
    assert download(entry_of(), tmp_path, patience=QUICK).read_bytes() == other
    assert hub.ranges_asked()[-1] == ""


@pytest.mark.parametrize("length", [len, lambda data: len(data) // 2])
def test_a_file_of_another_size_than_the_hub_says(hub, model, tmp_path, length):
    hub.size = length(model) - 1
    with pytest.raises(WrongChecksum, match="The server has"):
        download(entry_of(), tmp_path, patience=QUICK)


def test_a_truncated_file(hub, model, tmp_path):
    hub.data = model[: len(model) // 2]  # all of it arrives; it is just not all
    hub.size = len(model)
    with pytest.raises(HubUnreachable, match="fewer bytes than it said"):
        download(entry_of(), tmp_path, patience=QUICK)


def test_what_is_no_gguf_file_is_not_installed(hub, tmp_path):
    hub.data = b"<html>" + bytes(1_000_000)
    hub.sha256 = hashlib.sha256(hub.data).hexdigest()
    with pytest.raises(ModelFileError, match=r"What came is of no use: tiny\.gguf is not a GGUF file"):
        download(entry_of(), tmp_path, patience=QUICK)
    assert installed(entry_of(), tmp_path) is None
    assert names(tmp_path) <= {"tiny.gguf.part.json"}


@pytest.mark.parametrize(
    ("status", "kind", "sentence"),
    [
        (
            401,
            NotOffered,
            r"does not give Tiny to everybody \(status 401\)\. Accept its licence at http.*somebody/Tiny",
        ),
        (403, NotOffered, r"does not give Tiny to everybody"),
        (404, NotOffered, r"has no file tiny\.gguf in somebody/Tiny-GGUF"),
        (400, NotOffered, r"refused the request \(status 400\)"),
        (503, HubUnreachable, r"cannot answer now \(status 503\)"),
        (429, HubUnreachable, r"cannot answer now \(status 429\)"),
    ],
)
def test_what_the_hub_refuses_is_a_sentence(hub, tmp_path, status, kind, sentence):
    hub.statuses = [status] * 9
    with pytest.raises(kind, match=sentence):
        download(entry_of(), tmp_path, patience=QUICK)
    assert len(hub.requests) == (1 if kind is NotOffered else 1 + QUICK.retries)


def test_a_busy_server_is_asked_again(hub, model, tmp_path):
    hub.statuses, hub.byte_statuses = [503, 429], [500, 502]
    assert download(entry_of(), tmp_path, patience=QUICK).read_bytes() == model


def test_nobody_there(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match=r"127\.0\.0\.1 cannot be reached\. Check the network"):
        download(entry_of(), tmp_path, patience=QUICK)


def test_only_encrypted_addresses_and_this_computer(hub, tmp_path, monkeypatch):
    hub.redirect = "http://example.org/file"
    with pytest.raises(UnsafeAddress, match=r"http://example\.org, which is not encrypted"):
        download(entry_of(), tmp_path, patience=QUICK)
    monkeypatch.setenv("HF_ENDPOINT", "http://example.org")
    with pytest.raises(UnsafeAddress):
        download(entry_of(), tmp_path, patience=QUICK)
    monkeypatch.setenv("HF_ENDPOINT", "ftp://example.org")
    with pytest.raises(InputError, match="HF_ENDPOINT is not the address of a server"):
        download(entry_of(), tmp_path, patience=QUICK)


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../tiny.gguf"}, {"file": "/etc/tiny.gguf"}, {"file": "a/../../tiny.gguf"}, {"file": "a\\tiny.gguf"},
        {"file": "tiny.bin"}, {"file": ".gguf"}, {"file": "a\0.gguf"}, {"file": "C:tiny.gguf"}, {"name": "../x"},
        {"repository": "a/b/c"}, {"repository": "../b"}, {"repository": "a"}, {"revision": "../x"}, {"revision": "a?b"},
        {"sha256": "zz"},
    ],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused(changes):
    with pytest.raises(InputError, match="names no file of the Hub"):
        entry_of(**changes)


def test_a_cancel_is_heard_between_two_pieces_and_keeps_what_came(hub, model, tmp_path):
    hub.pause = 0.05
    cancel, seen = Cancellation(), []

    def report(progress: Progress) -> None:
        assert not cancel.cancelled, "nothing is reported after a cancel"
        seen.append(progress)
        if progress.received > 200_000:
            cancel.cancel()

    with pytest.raises(Cancelled):
        download(entry_of(), tmp_path, report, cancel, QUICK)
    until(lambda: hub.left == 1, "the download went away in the middle of the file")
    kept = begun(entry_of(), tmp_path)
    assert seen[-1].received <= kept < len(model)
    hub.pause = 0.0
    assert download(entry_of(), tmp_path, patience=QUICK).read_bytes() == model
    assert hub.ranges_asked()[-1] == f"bytes={kept}-"


def test_a_cancel_is_heard_while_the_server_is_silent(hub, tmp_path):
    hub.always_breaks, hub.stalls = 0, True
    cancel = Cancellation()

    def press() -> None:
        until(hub.ranges_asked)
        time.sleep(0.2)  # for the download to begin its wait
        cancel.cancel()

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(Cancelled):
        download(entry_of(), tmp_path, cancel=cancel, patience=Patience(stall=3 * PATIENCE, retries=0))
    until(lambda: hub.left == 1, "it waited until the server gave up")


def child(folder: Path, before: str = "") -> subprocess.Popen[str]:
    """Download in a process of its own."""
    code = (
        f"import sys; sys.path[:0] = [{str(REPOSITORY)!r}, {str(REPOSITORY / 'tests')!r}]\n"
        "from pathlib import Path\nfrom dataclasses import replace\n"
        "from mediator.catalogue import Downloadable\nfrom mediator.downloads import *\n"
        f"{before}\n"
        "entry = Downloadable('tiny', 'Tiny', 'somebody/Tiny-GGUF', 'tiny.gguf', 'main', '', '', 1, 1, 1, {})\n"
        "try:\n"
        f"    print(download(entry, Path({str(folder)!r}), lambda report: print(report.received, flush=True)))\n"
        "except DownloadError as error:\n    print(type(error).__name__, error)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_two_downloads_of_one_file_are_refused_and_a_killed_one_leaves_no_lock(hub, model, tmp_path):
    hub.pause = 0.1
    other = child(tmp_path)
    until(lambda: begun(entry_of(), tmp_path) > 300_000)
    with pytest.raises(AlreadyRunning, match=rf"being downloaded already \(by process {other.pid}\)"):
        download(entry_of(), tmp_path, patience=QUICK)
    with pytest.raises(AlreadyRunning):
        downloads.remove(entry_of(), tmp_path)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    hub.pause = 0.0
    assert download(entry_of(), tmp_path, patience=QUICK).read_bytes() == model
    assert hub.ranges_asked()[-1].startswith("bytes=")


def test_a_full_disk_is_said_and_what_came_is_kept(hub, model, tmp_path):
    # A limit on the size of files stands in for the end of a disk: the same system call fails in the same place.
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))"
    said, _ = child(tmp_path, limit).communicate(timeout=60)
    assert said.splitlines()[-1].startswith(f"DiskFull The disk of {tmp_path} is full: 0.7 MB of Tiny have come")
    assert begun(entry_of(), tmp_path) == 700_000
    assert download(entry_of(), tmp_path, patience=QUICK).read_bytes() == model
    assert hub.ranges_asked()[-1] == "bytes=700000-"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte, where mounting is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this machine does not let us mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_in_the_middle(hub, small_disk, monkeypatch):
    monkeypatch.setattr(transfer, "_MARGIN", -10_000_000)  # as if somebody else filled it after we looked
    with pytest.raises(DiskFull, match=r"is full: .* of Tiny have come and are kept"):
        download(entry_of(), small_disk, patience=QUICK)
    assert 500_000 < begun(entry_of(), small_disk) <= 1 << 20


def test_room_on_the_disk_is_looked_at_before_anything_is_fetched(hub, tmp_path):
    hub.size = shutil.disk_usage(tmp_path).free + 1
    with pytest.raises(DiskFull, match=r"Tiny needs .* GB more on the disk of .*, .* GB are free\. Make room"):
        download(entry_of(), tmp_path, patience=QUICK)
    assert hub.ranges_asked() == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written(hub, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(EvenhandError, match="cannot be written"):
        download(entry_of(), tmp_path / "models", patience=QUICK)


def test_a_folder_that_is_a_file(hub, tmp_path):
    (tmp_path / "models").write_text("")
    with pytest.raises(EvenhandError, match=r"models cannot be written"):
        download(entry_of(), tmp_path / "models", patience=QUICK)


def test_removing_deletes_the_file_its_record_and_its_part(hub, tmp_path):
    assert not downloads.remove(entry_of(), tmp_path / "nowhere")
    assert not downloads.remove(entry_of(), tmp_path)
    download(entry_of(), tmp_path, patience=QUICK)
    (tmp_path / "tiny.gguf.part").write_bytes(b"x")
    (tmp_path / "mine.gguf").write_bytes(b"x")
    assert downloads.remove(entry_of(), tmp_path)
    assert names(tmp_path) == {"mine.gguf"}


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"size": 1}', "\0\xff"])
def test_a_damaged_record_means_not_installed(hub, model, tmp_path, content):
    path = download(entry_of(), tmp_path, patience=QUICK)
    (tmp_path / "tiny.gguf.json").write_text(content, encoding="latin-1")
    assert installed(entry_of(), tmp_path) is None
    assert download(entry_of(), tmp_path, patience=QUICK).read_bytes() == model
    assert json.loads((tmp_path / "tiny.gguf.json").read_text())["size"] == path.stat().st_size


@pytest.mark.parametrize("content", ["", "{}", "[1]", "null"])
def test_a_damaged_note_beside_a_part_starts_over(hub, model, tmp_path, content):
    (tmp_path / "tiny.gguf.part").write_bytes(b"something")
    (tmp_path / "tiny.gguf.part.json").write_text(content)
    assert download(entry_of(), tmp_path, patience=QUICK).read_bytes() == model


def test_jobs_go_on_by_themselves_and_can_be_stopped_and_resumed(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path))
    jobs, name = DownloadJobs(), "qwen2.5-1.5b"
    hub.pause = 0.05
    with pytest.raises(InputError):
        jobs.start("no such model")
    jobs.start(name)
    jobs.start(name)
    until(lambda: (state := jobs.state(name)) and state.progress and state.progress.received > 200_000)
    assert jobs.running()
    jobs.stop(name)
    until(lambda: not jobs.running())
    state = jobs.state(name)
    assert state is not None
    assert (state.stopped, state.problem) == (True, "")
    hub.pause = 0.0
    jobs.start(name)
    until(lambda: not jobs.running())
    state = jobs.state(name)
    assert state is not None
    assert (state.stopped, state.problem) == (False, "")
    hub.statuses = [404]
    jobs.start("qwen3-4b")
    until(lambda: not jobs.running())
    state = jobs.state("qwen3-4b")
    assert state is not None
    assert "has no file Qwen3-4B-Instruct-2507-Q4_K_M.gguf" in state.problem

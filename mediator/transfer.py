"""Fetching one file from the Hub: resumed where it broke off, patient with a bad network, checked before it counts."""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from mediator.atomic_file import sync_file, sync_folder, write_whole
from mediator.catalogue import Downloadable
from mediator.errors import ModelFileError
from mediator.hub import (
    MOST_REDIRECTS,
    DownloadError,
    HubUnreachable,
    NotOffered,
    Offer,
    ask,
    check_safe,
    check_status,
    redirected,
    resolve_address,
)
from mediator.memory import gigabytes
from mediator.writers.gguf_file import check_gguf_file
from mediator.writers.remote import is_this_computer

if TYPE_CHECKING:
    import httpx

Stage = Literal["asking", "reading", "loading", "checking"]
"""Asking the Hub; reading what an earlier attempt left, for its checksum; fetching; checking the whole."""

_PIECE = 1 << 20  # bytes read, hashed and written at once
_MARGIN = 256 << 20  # bytes that a download leaves free on the disk
_REPORTS = 0.2  # seconds between two reports of progress
_SPEED_OVER = 5.0  # seconds over which the speed is averaged


class DiskFull(DownloadError):
    """There is too little room on the disk."""

    retryable = True


class WrongChecksum(DownloadError):
    """What came is not what the Hub said it would be; it has been deleted."""

    retryable = True


@dataclass(frozen=True)
class Progress:
    """How far a download is.

    Attributes:
        stage: see `Stage`.
        received: bytes that are here, those of earlier attempts included.
        total: bytes in all; 0 while that is not known.
        speed: bytes per second over the last seconds; 0 while that is not known.
        seconds_left: None while that is not known.
        sha256: what the Hub says the file's checksum is; empty while that is not known.
    """

    stage: Stage
    received: int = 0
    total: int = 0
    speed: float = 0.0
    seconds_left: float | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Patience:
    """How long and how often a download tries.

    Attributes:
        connect: seconds to establish a connection.
        stall: seconds without a byte after which a connection counts as lost.
        retries: attempts in a row that bring nothing before it gives up.
        first_wait: seconds before the first of them; doubled each time.
        longest_wait: seconds; also the most that a server may ask to wait.
    """

    connect: float = 10.0
    stall: float = 30.0
    retries: int = 5
    first_wait: float = 1.0
    longest_wait: float = 30.0


@dataclass(frozen=True)
class Installed:
    """A model that was downloaded and checked. What is recorded beside its file.

    Attributes:
        repository, file, commit: where it comes from.
        sha256: of the file.
        size: bytes.
        licence: as in the catalogue at that time.
        downloaded_at: in UTC, ISO 8601.
    """

    repository: str
    file: str
    commit: str
    sha256: str
    size: int
    licence: str
    downloaded_at: str


class _Lost(Exception):
    """Internal: the connection ended before the file did; worth another attempt."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.wait = wait


class Transfer:
    """One download. It runs on an event loop of its own, whose task can be cancelled whatever it waits for."""

    def __init__(self, entry: Downloadable, target: Path, patience: Patience) -> None:
        self._entry, self._target, self._patience = entry, target, patience
        self._part = part_of(target)
        self._hash = hashlib.sha256()
        self._received = 0
        self._offer: Offer | None = None
        self._moments: list[tuple[float, int]] = []
        self._reported = 0.0

    async def run(self) -> AsyncGenerator[Progress, None]:
        """Ask, fetch, check, install; yield reports on the way."""
        import httpx

        yield Progress("asking")
        local = is_this_computer(httpx.URL(resolve_address(self._entry)).host)
        limits = httpx.Timeout(self._patience.stall, connect=self._patience.connect)
        async with httpx.AsyncClient(timeout=limits, follow_redirects=False, trust_env=not local) as client:
            self._offer = await self._patiently_asked(client)
            self._check_room()
            async for report in self._kept_part():
                yield report
            async for report in self._patiently_fetched(client):
                yield report
        yield self._report("checking")
        await self._install()

    async def _patiently_asked(self, client: "httpx.AsyncClient") -> Offer:
        import httpx

        failures = 0
        while True:
            try:
                return await ask(client, self._entry)
            except (httpx.TransportError, HubUnreachable) as error:
                failures += 1
                if failures > self._patience.retries:
                    if isinstance(error, HubUnreachable):
                        raise
                    raise HubUnreachable(
                        f"{httpx.URL(resolve_address(self._entry)).host} cannot be reached.", "Check the network."
                    ) from error
            await asyncio.sleep(self._wait(failures))

    def _wait(self, failures: int, asked: float | None = None) -> float:
        wait = self._patience.first_wait * 2.0 ** (failures - 1) if asked is None else asked
        return min(wait, self._patience.longest_wait)

    def _check_room(self) -> None:
        offer = self._offered()
        missing = offer.size - _size(self._part) + _MARGIN
        free = shutil.disk_usage(self._target.parent).free
        if missing > free:
            raise DiskFull(
                f"{self._entry.title} needs {gigabytes(missing)} more on the disk of {self._target.parent}, "
                f"{gigabytes(free)} are free.",
                "Make room, or choose a smaller model.",
            )

    async def _kept_part(self) -> AsyncGenerator[Progress, None]:
        """Take over what an earlier attempt left of this very file; throw away what it left of another one."""
        offer = self._offered()
        try:
            origin = json.loads(origin_of(self._target).read_bytes())
            same = origin["sha256"] == offer.sha256 and self._part.stat().st_size <= offer.size
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            same = False
        if not same:
            self._start_over()
            _write_json(origin_of(self._target), {"sha256": offer.sha256, "size": offer.size, "commit": offer.commit})
            return
        with self._part.open("rb") as file:
            while piece := file.read(_PIECE):
                self._hash.update(piece)
                self._received += len(piece)
                if self._due():
                    yield self._report("reading")
                await asyncio.sleep(0)  # where a cancel is heard

    async def _patiently_fetched(self, client: "httpx.AsyncClient") -> AsyncGenerator[Progress, None]:
        import httpx

        offer, failures, furthest = self._offered(), 0, self._received
        while self._received < offer.size:
            try:
                async for report in self._fetched(client):
                    yield report
                if self._received < offer.size:
                    raise _Lost("broke off the connection")
            except (httpx.TransportError, _Lost) as error:
                # Not since the last attempt: a server that makes us start over again and again must not go on for ever.
                failures = 0 if self._received > furthest else failures + 1
                furthest = max(furthest, self._received)
                if failures > self._patience.retries:
                    raise self._gave_up(error) from error
                wait = self._wait(max(failures, 1), error.wait if isinstance(error, _Lost) else None)
                self._moments.clear()
            else:
                return
            await asyncio.sleep(wait)

    def _gave_up(self, error: Exception) -> HubUnreachable:
        import httpx

        host = httpx.URL(self._offered().url).host
        if isinstance(error, httpx.ReadTimeout):
            what = f"{host} was silent for {self._patience.stall:g} seconds"
        elif isinstance(error, _Lost):
            what = f"{host} {error.why}"
        else:
            what = f"The connection to {host} was lost"
        kept = f"{gigabytes(self._received)} have come and are kept: the next attempt goes on from there."
        return HubUnreachable(f"{what}, {self._patience.retries + 1} times in a row.", kept if self._received else "")

    async def _fetched(self, client: "httpx.AsyncClient") -> AsyncGenerator[Progress, None]:
        """Fetch what is missing in one request."""
        offer = self._offered()
        url, headers = offer.url, {"Accept-Encoding": "identity"}
        if self._received:
            headers["Range"] = f"bytes={self._received}-"
            # A server that has another file under this address by now sends all of it instead of a part.
            if tag := _read_tag(self._target):
                headers["If-Range"] = tag
        for _ in range(MOST_REDIRECTS):
            async with client.stream("GET", url, headers=headers) as answer:
                if answer.is_redirect:
                    url = redirected(url, answer)
                    continue
                if answer.status_code == 416:
                    self._start_over()
                    raise _Lost("has fewer bytes than it said")
                if answer.status_code == 429 or answer.status_code >= 500:
                    raise _Lost(f"answers with status {answer.status_code}", _retry_after(answer))
                check_safe(str(answer.url))
                check_status(answer, self._entry)
                self._take_answer(answer)
                with self._part.open("ab") as file:
                    async for report in self._written(answer, file):
                        yield report
                return
        raise NotOffered("The download is redirected without end.", "Try again later.")

    def _take_answer(self, answer: "httpx.Response") -> None:
        """See which part of the file this answer is: the missing one, or once more the whole."""
        offer = self._offered()
        start, whole = 0, answer.headers.get("content-length", "")
        if answer.status_code == 206:
            unit, _, rest = answer.headers.get("content-range", "").partition(" ")
            span, _, whole = rest.partition("/")
            first = span.partition("-")[0]
            start = int(first) if unit == "bytes" and first.isdigit() else -1
        if start not in (0, self._received):
            self._start_over()
            raise _Lost("sent another part of the file than was asked for")
        if start == 0:
            self._start_over()
        if whole.isdigit() and int(whole) > offer.size:
            raise WrongChecksum(
                f"The server has {gigabytes(int(whole))} where the Hub says {gigabytes(offer.size)}.",
                "Try again later.",
            )
        _write_tag(self._target, answer.headers.get("etag", ""))

    async def _written(self, answer: "httpx.Response", file: IO[bytes]) -> AsyncGenerator[Progress, None]:
        offer = self._offered()
        try:
            async for piece in answer.aiter_raw():
                if self._received + len(piece) > offer.size:
                    raise self._wrong("more came than the Hub said")
                file.write(piece)
                self._hash.update(piece)
                self._received += len(piece)
                if self._due():
                    yield self._report("loading")
        finally:
            with contextlib.suppress(OSError):  # a full disk; the next attempt counts what is really there
                file.flush()

    async def _install(self) -> None:
        """Check the whole, make it last, and give it its name."""
        offer = self._offered()
        if self._hash.hexdigest() != offer.sha256:
            raise self._wrong(f"its SHA-256 is {self._hash.hexdigest()[:12]}…, not {offer.sha256[:12]}…")
        try:
            check_gguf_file(self._part)
        except ModelFileError as error:
            self._start_over()
            message = error.message.replace(str(self._part), self._entry.file_name)
            raise ModelFileError(f"What came is of no use: {message}", "Choose another model.") from error
        await asyncio.to_thread(sync_file, self._part)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        entry = self._entry
        record = Installed(entry.repository, entry.file, offer.commit, offer.sha256, offer.size, entry.licence, made)
        _write_json(record_of(self._target), asdict(record))
        os.replace(self._part, self._target)
        origin_of(self._target).unlink(missing_ok=True)
        sync_folder(self._target.parent)

    def _wrong(self, why: str) -> WrongChecksum:
        self._start_over()
        return WrongChecksum(
            f"{self._entry.file_name} did not arrive as it was sent: {why}. It has been deleted.", "Download it again."
        )

    def _start_over(self) -> None:
        self._part.unlink(missing_ok=True)
        self._hash, self._received = hashlib.sha256(), 0
        self._moments.clear()

    def _offered(self) -> Offer:
        if self._offer is None:
            raise RuntimeError("nothing was offered yet")
        return self._offer

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._reported < _REPORTS:
            return False
        self._reported = now
        return True

    def _report(self, stage: Stage) -> Progress:
        offer, now = self._offered(), time.monotonic()
        self._moments.append((now, self._received))
        while now - self._moments[0][0] > _SPEED_OVER:
            self._moments.pop(0)
        seconds, came = now - self._moments[0][0], self._received - self._moments[0][1]
        speed = came / seconds if seconds > 0 and stage == "loading" else 0.0
        left = (offer.size - self._received) / speed if speed > 0 else None
        return Progress(stage, self._received, offer.size, speed, left, offer.sha256)


def part_of(target: Path) -> Path:
    """Where the file is while it is not whole."""
    return target.with_name(f"{target.name}.part")


def origin_of(target: Path) -> Path:
    """Beside a part: of which file it is a part."""
    return target.with_name(f"{target.name}.part.json")


def record_of(target: Path) -> Path:
    """Beside the file: where it comes from, see `Installed`."""
    return target.with_name(f"{target.name}.json")


def _read_tag(target: Path) -> str:
    try:
        return str(json.loads(origin_of(target).read_bytes()).get("tag", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _write_tag(target: Path, tag: str) -> None:
    """Remember the tag of what the part is a part of; a weak one promises too little to continue by."""
    try:
        origin = json.loads(origin_of(target).read_bytes())
    except (OSError, ValueError):
        return
    tag = "" if tag.startswith("W/") else tag
    if isinstance(origin, dict) and origin.get("tag", "") != tag:
        _write_json(origin_of(target), {**origin, "tag": tag})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=1))


def _retry_after(answer: "httpx.Response") -> float | None:
    value = answer.headers.get("retry-after", "")
    return float(value) if value.isdigit() else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

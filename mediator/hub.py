"""The Hugging Face Hub: where a file lies, and what the Hub says about it (size, SHA-256, commit) before a download."""

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from mediator.addresses import origin, split_address
from mediator.catalogue import Downloadable
from mediator.errors import EvenhandError, InputError
from mediator.writers.remote import is_this_computer

if TYPE_CHECKING:
    import httpx

HUB = "https://huggingface.co"
HUB_VARIABLE = "HF_ENDPOINT"
MOST_REDIRECTS = 5


class DownloadError(EvenhandError):
    """A download failed. ``retryable``: the same one may succeed later, and goes on from what has come."""

    retryable = False


class NotOffered(DownloadError):
    """The Hub has no such file, does not give it to everybody, or says too little about it."""


class UnsafeAddress(DownloadError):
    """An address that is not https: anybody on the way could change what comes."""


class HubUnreachable(DownloadError):
    """No connection to the Hub, or none that lasts."""

    retryable = True


@dataclass(frozen=True)
class Offer:
    """What the Hub says about a file.

    Attributes:
        url: where to fetch it: the resolve address of the commit.
        size: bytes.
        sha256: 64 hexadecimal digits.
        commit: 40 hexadecimal digits; empty where the Hub does not say.
    """

    url: str
    size: int
    sha256: str
    commit: str


def hub_address() -> str:
    """Return the Hub's address: HF_ENDPOINT, else huggingface.co.

    Raises `InputError` when HF_ENDPOINT is no address, and `UnsafeAddress` when it is not https (nor this computer).
    """
    named = os.environ.get(HUB_VARIABLE, "").strip().rstrip("/") or HUB
    parts = split_address(named)
    if parts is None or parts.username is not None or parts.query or parts.fragment:
        raise InputError(f"{HUB_VARIABLE} is not the address of a server.", f"Write it like {HUB}.")
    check_safe(named)
    return named


def check_safe(url: str) -> None:
    """Raise `UnsafeAddress` for anything but https, or http on this computer."""
    parts = split_address(url)
    host = parts.hostname if parts else None
    if parts is None or not host or (parts.scheme != "https" and not is_this_computer(host)):
        raise UnsafeAddress(
            f"The download leads to {origin(url) or 'an address'}, which is not encrypted.", "Use an https address."
        )


def resolve_address(entry: Downloadable, revision: str = "") -> str:
    """Return the address under which the Hub gives out a file."""
    path = "/".join(quote(part) for part in (entry.repository, "resolve", revision or entry.revision, entry.file))
    return f"{hub_address()}/{path}"


async def ask(client: "httpx.AsyncClient", entry: Downloadable) -> Offer:
    """Ask the Hub for a file's size, SHA-256 and commit, by HEAD on its resolve address.

    Raises:
        NotOffered: see there.
        UnsafeAddress: a redirection leads to an address without encryption.
        HubUnreachable: the Hub is failing (status 5xx or 429).
        httpx.TransportError: no connection.
    """
    url = resolve_address(entry)
    for _ in range(MOST_REDIRECTS):
        answer = await client.head(url, headers={"Accept-Encoding": "identity"})
        # The Hub answers with a redirection to where the bytes are, and says in it what they are. A repository that was
        # renamed is a redirection that says nothing.
        if answer.is_redirect and "x-linked-etag" not in answer.headers:
            url = redirected(url, answer)
            continue
        check_status(answer, entry)
        return _offer(answer, entry)
    raise NotOffered(f"{_host(url)} redirects without end.", "Try again later.")


def redirected(url: str, answer: "httpx.Response") -> str:
    """Return where a redirection leads. Raises `UnsafeAddress`."""
    target = urljoin(url, str(answer.headers.get("location", "")))
    check_safe(target)
    if is_this_computer(urlsplit(target).hostname or "") and not is_this_computer(urlsplit(url).hostname or ""):
        raise UnsafeAddress(f"{_host(url)} leads the download to this computer itself.", "Choose another model.")
    return target


def check_status(answer: "httpx.Response", entry: Downloadable) -> None:
    """Raise what a status that is an error means."""
    status, host = answer.status_code, _host(str(answer.url))
    if status in (401, 403):
        raise NotOffered(
            f"{host} does not give {entry.title} to everybody (status {status}).",
            f"Accept its licence at {hub_address()}/{entry.repository}, download {entry.file_name} in the browser, and "
            "add it by its path.",
        )
    if status in (404, 410):
        raise NotOffered(f"{host} has no file {entry.file} in {entry.repository} (any more).", "Choose another model.")
    if status == 429 or status >= 500:
        raise HubUnreachable(f"{host} cannot answer now (status {status}).", "Try again in a few minutes.")
    if status >= 400:
        raise NotOffered(f"{host} refused the request (status {status}).", "Choose another model.")


def _offer(answer: "httpx.Response", entry: Downloadable) -> Offer:
    headers, host = answer.headers, _host(str(answer.url))
    commit = headers.get("x-repo-commit", "")
    commit = commit if re.fullmatch(r"[0-9a-f]{40}", commit) else ""
    size = headers.get("x-linked-size") or headers.get("content-length") or ""
    stated = (headers.get("x-linked-etag") or headers.get("etag") or "").removeprefix("W/").strip('"').lower()
    stated = stated if re.fullmatch(r"[0-9a-f]{64}", stated) else ""
    if not size.isdigit() or int(size) == 0:
        raise NotOffered(f"{host} does not say how large {entry.file_name} is.", "Choose another model.")
    if not (entry.sha256 or stated):
        raise NotOffered(
            f"{host} does not say the SHA-256 of {entry.file_name}, so it could not be checked.",
            "Choose another model.",
        )
    if entry.sha256 and stated and entry.sha256 != stated:
        raise NotOffered(
            f"{host} offers another {entry.file_name} than the one that Evenhand knows.",
            "Choose another model, or a newer version of Evenhand.",
        )
    return Offer(resolve_address(entry, commit), int(size), entry.sha256 or stated, commit)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]

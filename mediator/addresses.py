"""The addresses of servers: reading one, and the part of it that a key belongs to."""

import os
from urllib.parse import SplitResult, urlsplit

ANTHROPIC = "https://api.anthropic.com"
"""Where Claude is asked unless ANTHROPIC_BASE_URL names another place."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


def split_address(url: str) -> SplitResult | None:
    """Return the parts of an ``http://`` or ``https://`` address, or None for anything else."""
    try:
        parts = urlsplit(url.strip())
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.hostname else None


def origin(url: str) -> str | None:
    """Return scheme, host and port as a browser compares them, or None where ``url`` is no address of the web.

    Example:
        >>> origin("HTTPS://api.example.org:443/v1/")
        'https://api.example.org'
    """
    parts = split_address(url)
    if parts is None or parts.hostname is None:
        return None
    host = parts.hostname.rstrip(".").lower()
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def claude_origin() -> str:
    """The origin that Anthropic's SDK will ask; it obeys ANTHROPIC_BASE_URL."""
    return origin(os.environ.get("ANTHROPIC_BASE_URL", "")) or ANTHROPIC

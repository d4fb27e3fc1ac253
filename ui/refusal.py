"""How a request is refused: a status, a sentence, and no more of that connection."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Send

_REASONS = {
    400: "This request makes no sense.",
    401: "Log in first.",
    403: "Evenhand does not answer other sites.",
    404: "There is nothing here.",
    405: "This cannot be done here.",
    408: "This took too long to arrive.",
    413: "This is too large.",
    415: "Evenhand does not read this kind of content.",
    421: "Evenhand does not answer under this name.",
    429: "Too many wrong passwords. Wait a while.",
}


async def refuse(send: "Send", status: int, headers: "Iterable[tuple[bytes, bytes]]" = ()) -> None:
    """Answer a request with one of the statuses above."""
    body = f"{_REASONS[status]}\n".encode()
    own = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        # The rest of a body that nobody reads must not be taken for the next request.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})

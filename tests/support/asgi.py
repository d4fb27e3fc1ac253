"""One request through an ASGI app, without a server: what goes in, and what is sent back."""

import asyncio
from concurrent.futures import ThreadPoolExecutor


def ask(guard, path="/", method="GET", headers=(), raw_path=None, query=b"", body=(b"",), server=("127.0.0.1", 7860)):
    """Send one request through a guard; return what was sent back: the start message and the body."""
    sent = []
    arriving = list(body)

    async def receive():
        if not arriving:
            await asyncio.sleep(3600)
        part = arriving.pop(0)
        if isinstance(part, float):
            await asyncio.sleep(part)
            part = b"."
        return {"type": "http.request", "body": part, "more_body": bool(arriving)}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "scheme": "http", "server": server, "client": ("127.0.0.1", 5),
        "raw_path": path.encode() if raw_path is None else raw_path, "query_string": query,
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }  # fmt: skip
    # In a thread of its own: Playwright, once started by another test, keeps an event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, guard(scope, receive, send)).result()
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:])


class Reached:
    """An app that says that it was reached, and with what."""

    def __init__(self, headers=(), html=b"private"):
        self.headers, self.html = list(headers), html
        self.scopes, self.bodies = [], []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        message = await receive()
        self.bodies.append(message.get("body", b""))
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.html})

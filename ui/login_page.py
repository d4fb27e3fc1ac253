"""The page that asks for the password: plain HTML that runs no script and loads nothing."""

from functools import cache
from html import escape
from types import SimpleNamespace

from mediator.resources import asset
from ui.content_policy import hash_of
from ui.strings import language_of, say


def login_page(accepted: str, action: str, wrong: bool, seconds: int, secure: bool) -> bytes:
    """Return the page.

    Args:
        accepted: the browser's Accept-Language.
        action: the address that the form is sent to.
        wrong: whether the password typed before was wrong.
        seconds: how long to wait before the next try; 0 for not at all.
        secure: whether the connection is encrypted.
    """
    language = language_of(SimpleNamespace(headers={"accept-language": accepted}))

    def words(key: str, **values: object) -> str:
        return escape(say(language, f"login.{key}", **values))

    problem = words("wait", count=seconds) if seconds else words("wrong") if wrong else ""
    alert = f'<p role="alert" id="problem">{problem}</p>' if problem else ""
    described = ' aria-describedby="problem" aria-invalid="true"' if problem else ""
    plain = "" if secure else f"<p>{words('plain')}</p>"
    return f"""<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{words("title")}</title>
<link rel="manifest" href="/manifest.json">
<link rel="icon" href="/favicon.ico">
<style>{_style()}</style>
</head>
<body>
<main>
{asset("icon.svg").read_text(encoding="utf-8")}
<h1>{words("title")}</h1>
<p>{words("lead")}</p>
{alert}
<form method="post" action="{escape(action)}">
<label for="password">{words("password")}</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus{described}>
<button>{words("enter")}</button>
</form>
{plain}
</main>
</body>
</html>
""".encode()


@cache
def login_policy() -> bytes:
    """Return the Content-Security-Policy of the page: its own style, the icon, and a form to this server."""
    return (
        f"default-src 'none'; style-src '{hash_of(_style().encode())}'; img-src 'self'; manifest-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ).encode()


@cache
def _style() -> str:
    return asset("login.css").read_text(encoding="utf-8")

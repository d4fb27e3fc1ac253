"""A session to take along: as Markdown, as one HTML page that prints well, and as JSON that can be imported again."""

from mediator.report_parts import Parts
from mediator.session import Session
from mediator.session_file import LARGEST_FILE, SessionFileError, as_json, from_json

__all__ = ["LARGEST_FILE", "Parts", "SessionFileError", "as_html", "as_json", "as_markdown", "from_json"]


def as_markdown(session: Session, language: str = "en", redacted: bool = False, parts: Parts | None = None) -> str:
    """Write a session as CommonMark with tables.

    ``language`` is that of the page's own words, ``en`` or ``de``; ``redacted`` has the page say that words of it were
    replaced. Ratings, notes, feedback and earlier wordings are left out unless ``parts`` asks for them.
    """
    from mediator.report_content import content_of
    from mediator.report_markdown import markdown

    return markdown(content_of(session, language, redacted, parts))


def as_html(session: Session, language: str = "en", redacted: bool = False, parts: Parts | None = None) -> str:
    """Write a session as one HTML page that needs nothing else: no script, no other file, no network.

    ``language``, ``redacted`` and ``parts`` as of `as_markdown`.
    """
    from mediator.report_content import content_of
    from mediator.report_html import page

    return page(content_of(session, language, redacted, parts))

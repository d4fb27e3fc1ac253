"""`evenhand sessions export`: a session as a file, and what of it goes into the file."""

import argparse
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Only light imports here: `evenhand --help` must not wait for what it does not need.
from mediator.atomic_file import write_whole
from mediator.cli_output import DONE, add_action, add_verbose, clean, say
from mediator.errors import EvenhandError, InputError
from mediator.report_parts import Parts
from mediator.settings import user_path

if TYPE_CHECKING:
    from mediator.session import Session

_FORMATS = ("markdown", "html", "json")
_ENDINGS = {".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html", ".json": "json"}


class OutputFileError(EvenhandError):
    """A file cannot be written: its folder is missing or closed to us, or the disk is full."""


def add_export(actions: Any, id_help: str) -> None:
    """Add ``export`` to the actions of a parser; it sets ``handler``."""
    parser = add_action(
        actions,
        "export",
        "write a session as Markdown, as one HTML page that prints well, or as JSON that imports again",
        example='evenhand sessions export 1f3a --out table.html --redact "Anna Muster=Neighbour A" --redact Bern',
    )
    parser.add_argument("id", metavar="ID", help=id_help)
    parser.add_argument(
        "--format", choices=_FORMATS, help="the format (default: by the ending of --out, else markdown)"
    )
    parser.add_argument("--out", metavar="FILE", help="the file to write (default: standard output)")
    parser.add_argument("--force", action="store_true", help="replace FILE if there is one")
    parser.add_argument("--language", choices=("en", "de"), default="en", help="the headings' language (default: en)")
    parser.add_argument(
        "--redact",
        action="append",
        default=[],
        metavar="WORD[=REPLACEMENT]",
        help="a name or place to replace throughout, by [name 1] and so on where no REPLACEMENT is given; "
        "may be given several times",
    )
    page = parser.add_argument_group(
        "what is on the page",
        "HTML and Markdown hold both views, the summary, the proposals kept and who wrote them,\nand what is asked for "
        "here; never what was dropped. JSON always holds everything.",
    )
    page.add_argument("--ratings", action="store_true", help="how each proposal was taken, and the notes on that")
    page.add_argument(
        "--history", action="store_true", help="feedback, earlier wordings, and how the proposals came about"
    )
    page.add_argument("--audit", action="store_true", help="what came of running the dispute with A and B exchanged")
    page.add_argument(
        "--others",
        action=argparse.BooleanOptionalAction,
        help="the proposals neither kept nor dropped (default: only if none was kept)",
    )
    add_verbose(parser)
    parser.set_defaults(handler=export_command)


def export_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand sessions export`."""
    from mediator.store import default_store

    words = [_redaction(clean(given)) for given in arguments.redact]
    out = None if arguments.out in (None, "-") else user_path(arguments.out)
    chosen = arguments.format or (_ENDINGS.get(out.suffix.lower()) if out else None) or "markdown"
    if out is not None and not arguments.force and os.path.lexists(out):
        raise _already_there(out)
    with closing(default_store()) as store:
        session = store.get(store.find(clean(arguments.id)))
    if words:
        from mediator.redaction import occurrences, redact

        for (word, _), times in zip(words, occurrences(session, words), strict=True):
            if not times:
                say(f"{word!r} occurs nowhere in the session, so nothing was replaced for it.")
        session = redact(session, words)
    parts = Parts(arguments.ratings, arguments.history, arguments.audit, arguments.others)
    text = _report(session, chosen, arguments.language, bool(words), parts)
    if out is None:
        _print_text(text)
    else:
        write_file(out, text, replace=arguments.force)
        say(f"Written to {out}.")
    say(_contents(session, chosen, parts))
    return DONE


def write_file(path: Path, text: str, replace: bool) -> None:
    """Write a text that only its owner may read: the whole of it, or nothing.

    Raises:
        InputError: there is a file and ``replace`` is false, or ``path`` cannot be a file.
        OutputFileError: the disk or the rights to it.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder.", "Name a file in it.")
        write_whole(path, text, private=True, replace=replace)
    except FileExistsError as error:
        raise _already_there(path) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"There is no folder {path.parent}.", "Make it, or name another one.") from error
    except ValueError as error:  # a zero byte in the name
        raise InputError(f"{str(path)!r} cannot be the name of a file.") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputFileError(f"{path} cannot be written ({reason}).", "Name a file elsewhere.") from error


def _already_there(path: Path) -> InputError:
    return InputError(f"There is already a file {path}.", "Give another name, or --force to replace it.")


def _contents(session: "Session", chosen: str, parts: Parts) -> str:
    """Say what is in a file that somebody may hand out, or what is left out of it."""
    if chosen == "json":
        return (
            "The file holds everything: every rating, note, feedback, earlier wording and audit, and what was dropped."
        )
    kept = sum(proposal.mark == "kept" for entry in session.rounds for proposal in entry.proposals)
    left = [] if parts.ratings else ["ratings and notes (--ratings)"]
    left += [] if parts.history else ["feedback and earlier wordings (--history)"]
    left += ["the swap audit (--audit)"] if session.audits and not parts.audit else []
    left += [] if parts.with_others(kept) else ["proposals not kept (--others)"]
    return f"Left out: {', '.join([*left, 'what was dropped'])}."


def _report(session: "Session", chosen: str, language: str, redacted: bool, parts: Parts) -> str:
    from mediator.report import as_html, as_json, as_markdown

    if chosen == "json":
        return as_json(session)
    if chosen == "html":
        return as_html(session, language, redacted, parts)
    return as_markdown(session, language, redacted, parts)


def _print_text(text: str) -> None:
    """Print a report. A terminal gets nothing that it would obey; a file or a pipe gets UTF-8, as the HTML says."""
    if not text.endswith("\n"):
        text += "\n"
    if sys.stdout.isatty() or not hasattr(sys.stdout, "buffer"):
        from mediator.terminal import safe

        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        sys.stdout.write(safe(text).encode(encoding, "replace").decode(encoding))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def _redaction(given: str) -> tuple[str, str]:
    word, _, replacement = given.partition("=")
    if not word.strip():
        raise InputError(f"--redact {given!r} names no word.", "Write --redact WORD or --redact WORD=REPLACEMENT.")
    return word.strip(), replacement.strip()

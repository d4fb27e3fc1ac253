"""`evenhand sessions`: list, show, export, import and delete what the app keeps."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Only light imports here: `evenhand --help` must not wait for what it does not need.
from mediator.atomic_file import write_whole
from mediator.cli_output import DONE, add_action, add_output, add_verbose, clean, picture, print_json, say
from mediator.errors import EvenhandError, InputError
from mediator.settings import user_path

if TYPE_CHECKING:
    from mediator.session import Proposal, Round, Session, SessionSummary, SideForm
    from mediator.store import Store
    from mediator.terminal import Picture

_SHOWN_ID = 8  # characters; of 2,000 sessions hardly two begin alike
_FORMATS = ("markdown", "html", "json")
_ENDINGS = {".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html", ".json": "json"}

_ID_HELP = "the session's id, or at least four characters of its beginning"


class OutputFileError(EvenhandError):
    """A file cannot be written: its folder is missing or closed to us, or the disk is full."""


def add_sessions(commands: Any) -> None:
    """Add ``sessions`` with its actions to a parser's sub-commands; each sets ``handler``."""
    parser = commands.add_parser(
        "sessions",
        help="list, show, export, import and delete the sessions of the app",
        description="List, show, export, import and delete the sessions that the app keeps on this computer.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_list(actions)
    _add_show(actions)
    _add_export(actions)
    _add_import(actions)
    _add_delete(actions)


def _add_list(actions: Any) -> None:
    parser = add_action(
        actions,
        "list",
        "list the sessions, the one changed last first",
        example='evenhand sessions list --search "quiet library"',
    )
    parser.add_argument(
        "--search", metavar="WORDS", default="", help="only sessions in which every one of these words occurs"
    )
    add_output(parser)
    parser.set_defaults(handler=list_command)


def _add_show(actions: Any) -> None:
    parser = add_action(actions, "show", "show a session: the views, every round, its proposals")
    parser.add_argument("id", metavar="ID", help=_ID_HELP)
    add_output(parser)
    parser.set_defaults(handler=show_command)


def _add_export(actions: Any) -> None:
    parser = add_action(
        actions,
        "export",
        "write a session as Markdown, as one HTML page that prints well, or as JSON that imports again",
        example='evenhand sessions export 1f3a --out table.html --redact "Anna Muster=Neighbour A" --redact Bern',
    )
    parser.add_argument("id", metavar="ID", help=_ID_HELP)
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
    add_verbose(parser)
    parser.set_defaults(handler=export_command)


def _add_import(actions: Any) -> None:
    parser = add_action(actions, "import", "take in a session that was exported as JSON")
    parser.add_argument("file", metavar="FILE", help="the JSON file, or - for standard input")
    add_output(parser)
    parser.set_defaults(handler=import_command)


def _add_delete(actions: Any) -> None:
    parser = add_action(actions, "delete", "delete a session for good")
    parser.add_argument("id", metavar="ID", help=_ID_HELP)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_output(parser)
    parser.set_defaults(handler=delete_command)


def list_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand sessions list`."""
    with _store() as store:
        found = store.list(clean(arguments.search))
    if arguments.json:
        print_json([summary.model_dump(mode="json") for summary in found])
        return DONE
    shown = picture(sys.stdout)
    if not found:
        shown.line("No session has these words." if arguments.search.strip() else "There are no sessions yet.")
    for summary in found:
        shown.line(_summary_line(summary, shown.width))
    return DONE


def show_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand sessions show`."""
    with _store() as store:
        session = store.get(store.find(clean(arguments.id)))
    if arguments.json:
        print_json(session.model_dump(mode="json"))
        return DONE
    shown = picture(sys.stdout)
    shown.line(session.title or "(no title)")
    shown.line(f"{session.id}, changed {_day(session.updated_at)}")
    for letter, side in (("A", session.form.side_a), ("B", session.form.side_b)):
        _show_side(shown, letter, side)
    if session.form.summary:
        shown.line(f"Summary: {session.form.summary}")
    for entry in session.rounds:
        _show_round(shown, entry)
    return DONE


def export_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand sessions export`."""
    words = [_redaction(clean(given)) for given in arguments.redact]
    out = None if arguments.out in (None, "-") else user_path(arguments.out)
    chosen = arguments.format or (_ENDINGS.get(out.suffix.lower()) if out else None) or "markdown"
    if out is not None and not arguments.force and os.path.lexists(out):
        raise _already_there(out)
    with _store() as store:
        session = store.get(store.find(clean(arguments.id)))
    if words:
        from mediator.redaction import occurrences, redact

        for (word, _), times in zip(words, occurrences(session, words), strict=True):
            if not times:
                say(f"{word!r} occurs nowhere in the session, so nothing was replaced for it.")
        session = redact(session, words)
    text = _report(session, chosen, arguments.language, redacted=bool(words))
    if out is None:
        _print_text(text)
    else:
        write_file(out, text, replace=arguments.force)
        say(f"Written to {out}.")
    return DONE


def import_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand sessions import`."""
    from mediator.report import from_json

    name = "standard input" if arguments.file == "-" else arguments.file
    session = from_json(_read(arguments.file, name), name)
    with _store() as store:
        kept = store.add(session)
    if arguments.json:
        print_json({"id": kept.id})
    else:
        picture(sys.stdout).line(f"Imported as {kept.id}: {kept.title or '(no title)'}")
    return DONE


def delete_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand sessions delete`."""
    with _store() as store:
        found = store.find(clean(arguments.id))
        # From the list, which can be read also where a session itself is damaged.
        if not arguments.yes and not _agreed(next(entry for entry in store.list() if entry.id == found)):
            say("Nothing was deleted.")
            return DONE
        store.delete(found)
    if arguments.json:
        print_json({"deleted": found})
    else:
        picture(sys.stdout).line(f"Deleted {found}.")
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


@contextmanager
def _store() -> "Iterator[Store]":
    from mediator.store import default_store

    store = default_store()
    try:
        yield store
    finally:
        store.close()


def _report(session: "Session", chosen: str, language: str, redacted: bool) -> str:
    from mediator.report import as_html, as_json, as_markdown

    if chosen == "json":
        return as_json(session)
    if chosen == "html":
        return as_html(session, language, redacted)
    return as_markdown(session, language, redacted)


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


def _read(named: str, name: str) -> str:
    from mediator.report import LARGEST_FILE

    try:
        if named == "-":
            content = sys.stdin.buffer.read(LARGEST_FILE + 1)
        else:
            with user_path(named).open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {name}.", "Name a session that was exported as JSON.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name cannot be one of a file"
        raise InputError(f"{name!r} cannot be read ({reason}).", "Name a session that was exported as JSON.") from error
    if len(content) > LARGEST_FILE:
        raise InputError(f"{name} has more than {LARGEST_FILE / 1e6:.0f} MB.", "It is no exported session.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is no UTF-8 text.", "Name a session that was exported as JSON.") from error


def _agreed(summary: "SessionSummary") -> bool:
    if not sys.stdin.isatty():
        raise InputError("Nobody can be asked here whether to delete the session.", "Give --yes.")
    say(f"{_summary_line(summary)} It cannot be brought back. Delete it? [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _summary_line(summary: "SessionSummary", width: int = 200) -> str:
    """Say what a session is in one line of ``width`` characters, as far as the counts leave room for its name."""
    start = f"{summary.id[:_SHOWN_ID]} {_day(summary.updated_at)} "
    counts = f" ({_counted(summary.rounds, 'round')}, {_counted(summary.proposals, 'proposal')}, {summary.kept} kept)"
    name = " ".join((summary.title or summary.opening or "(empty)").split())
    room = max(12, width - len(start) - len(counts))
    return f"{start}{name if len(name) <= room else name[: room - 1] + '…'}{counts}"


def _show_side(shown: "Picture", letter: str, side: "SideForm") -> None:
    parts = (side.text,) if side.form == "text" else (side.place, side.reason, side.suggestion)
    said = " ".join(part.strip() for part in parts if part.strip()) or "(nothing yet)"
    shown.line(f"View {letter}{f', {side.label}' if side.label else ''}: {said}")


def _show_round(shown: "Picture", entry: "Round") -> None:
    number = _counted(len(entry.proposals), "proposal")
    shown.line("")
    shown.print("")
    shown.line(f"Round {entry.number}, {entry.state}: {entry.strategy} by {entry.model}, {number}")
    if entry.comment:
        shown.line(f"Comment: {entry.comment}")
    if entry.problem:
        shown.line(entry.problem)
    for proposal in entry.selected:
        _show_proposal(shown, proposal.rank or 0, proposal)
    rest = [proposal for proposal in entry.rest if proposal.mark == "kept" or proposal.edited or proposal.ratings]
    for place, proposal in enumerate(rest, start=len(entry.selected) + 1):
        _show_proposal(shown, place, proposal)
    if hidden := len(entry.rest) - len(rest):
        shown.line(f"{_counted(hidden, 'other')} not selected; an export has them all.")


def _show_proposal(shown: "Picture", number: int, proposal: "Proposal") -> None:
    current = proposal.current
    notes: list[str] = [proposal.mark] if proposal.mark else []
    notes += ["edited"] if proposal.edited else []
    notes += [f"rated {rating.value} of 5 by {rating.rater}" for rating in proposal.ratings]
    remark = "; ".join(notes)
    if current.scores is None:
        shown.line(f"{number}. {current.text}{f' ({remark})' if remark else ''}")
    else:
        shown.scored(number, current.text, current.scores, remark)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _day(time: Any) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M}"

"""`evenhand sessions`: list, show, export, import and delete what the app keeps."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

# Only light imports here: `evenhand --help` must not wait for what it does not need.
from mediator.cli_output import DONE, add_action, add_output, clean, picture, print_json, say
from mediator.errors import InputError
from mediator.sessions_export_cli import add_export
from mediator.settings import user_path

if TYPE_CHECKING:
    from mediator.session import Proposal, Round, SessionSummary, SideForm
    from mediator.store import Store
    from mediator.terminal import Picture

_SHOWN_ID = 8  # characters; of 2,000 sessions hardly two begin alike
_ID_HELP = "the session's id, or at least four characters of its beginning"


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
    add_export(actions, _ID_HELP)
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


@contextmanager
def _store() -> "Iterator[Store]":
    from mediator.store import default_store

    store = default_store()
    try:
        yield store
    finally:
        store.close()


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
        shown.line(f"{_counted(hidden, 'other')} not selected; an export as JSON has them all.")


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

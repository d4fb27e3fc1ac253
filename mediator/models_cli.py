"""The sub-command `evenhand models`: list what there is, download a model, remove one."""

import argparse
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mediator.cli_output import add_action, add_output, picture, print_json, say
from mediator.durations import duration

if TYPE_CHECKING:
    from mediator.catalogue import Downloadable
    from mediator.downloads import Progress

_BETWEEN_LINES = 10.0  # seconds between two lines of progress where there is no terminal to draw on


def add_models(commands: Any) -> None:
    """Add `models` to a parser's sub-commands."""
    parser = commands.add_parser(
        "models",
        help="what can write and what can score; download and remove models",
        description="What can write and what can score; download and remove models.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = add_action(
        actions, "list", "list the models: installed or not and why, size, licence, and where the text goes"
    )
    add_output(listing)
    listing.set_defaults(handler=models_list_command)
    download = add_action(
        actions,
        "download",
        "download a model of the list from the Hugging Face Hub, check it, and keep it in Evenhand's data folder",
        notes="A download that was interrupted goes on where it stopped.\n"
        "The name is the one after `gguf:` in `evenhand models list`. HF_ENDPOINT names another hub.",
    )
    download.add_argument("name", metavar="NAME", help="e.g. qwen3-4b")
    add_output(download)
    download.set_defaults(handler=models_download_command)
    removal = add_action(actions, "remove", "delete a downloaded model, and what an unfinished download left")
    removal.add_argument("name", metavar="NAME", help="e.g. qwen3-4b")
    add_output(removal)
    removal.set_defaults(handler=models_remove_command)


def models_list_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand models list`."""
    from dataclasses import asdict

    from mediator.models import catalogue

    entries = catalogue()
    if arguments.json:
        print_json([asdict(entry) for entry in entries])
    else:
        picture(sys.stdout).catalogue(entries)
    return 0


def models_download_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand models download`: returns 0 when the model is there and sound. Ctrl-C keeps what has come."""
    from mediator.downloads import download, installed

    entry = _entry(arguments.name)
    from_before = installed(entry) is not None
    path = download(entry, progress=_shown(entry))
    record = installed(entry)
    if arguments.json:
        about = {"size": record.size, "sha256": record.sha256, "commit": record.commit} if record else {}
        print_json({"name": f"gguf:{entry.name}", "path": str(path), **about})
        return 0
    print(f"{entry.title} {'was there already' if from_before else 'is installed'}: {path}")
    if record is not None:
        print(f"SHA-256 {record.sha256}; commit {record.commit or 'not stated'}; licence: {entry.licence}")
    print(f"Use it with: evenhand propose library-hours --model gguf:{entry.name}")
    return 0


def models_remove_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand models remove`."""
    from mediator.downloads import remove

    entry = _entry(arguments.name)
    found = remove(entry)
    if arguments.json:
        print_json({"name": f"gguf:{entry.name}", "removed": found})
    else:
        print(f"{entry.title} {'has been removed' if found else 'is not downloaded: there is nothing to remove'}.")
    return 0


def _entry(named: str) -> "Downloadable":
    from mediator.catalogue import downloadable

    return downloadable(named.strip().removeprefix("gguf:"))


def _shown(entry: "Downloadable") -> "Callable[[Progress], None]":
    """Return what draws progress on stderr: one line that changes on a terminal, else a line now and then."""
    from mediator.memory import gigabytes

    terminal = sys.stderr.isatty()
    last = time.monotonic() - _BETWEEN_LINES

    def show(progress: "Progress") -> None:
        nonlocal last
        now = time.monotonic()
        if not terminal and now - last < _BETWEEN_LINES:
            return
        last = now
        words = {"asking": "asking the Hub", "reading": "reading what is here already", "checking": "checking"}
        line = words.get(progress.stage, "downloading")
        if progress.total:
            percent = 100 * progress.received // progress.total
            line += f" {percent} % ({gigabytes(progress.received)} of {gigabytes(progress.total)})"
        if progress.speed and progress.seconds_left is not None:
            line += f", {progress.speed / 1e6:.1f} MB/s, {duration(progress.seconds_left)} left"
        if terminal:
            sys.stderr.write(f"\r\x1b[K{entry.name}: {line}" if progress.stage != "checking" else "\r\x1b[K")
            sys.stderr.flush()
        else:
            say(f"{entry.name}: {line}")

    return show

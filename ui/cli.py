"""The one command line, `evenhand`: composes the sub-commands of the packages; without any, it opens the app."""

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from mediator import cli as mediator_cli
from trainer.dataset.cli import add_dataset
from trainer.evaluate.cli import add_evaluate
from trainer.export.cli import add_export
from trainer.runs.cli import add_runs
from trainer.train_cli import add_train


def main(argv: Sequence[str] | None = None) -> int:
    """Run `evenhand` and return what to exit with: 0 done, 1 the work failed, 2 bad usage or bad input, 130 Ctrl-C.

    ``argv`` are the arguments without the program's name; None for those of the process.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = build_parser().parse_args(_with_command(given))
    except SystemExit as end:  # argparse has printed its help (0) or what is wrong with the usage (2)
        return int(end.code or 0)
    return mediator_cli.run_guarded(arguments.handler, arguments)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all sub-commands."""
    parser = argparse.ArgumentParser(
        prog="evenhand",
        description="Drafts compromises between two opposing points of view and shows how close each comes to both.",
        epilog="Without a command the app opens in the browser. "
        "Everything stays on this computer unless you choose a remote model.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_ui(commands)
    mediator_cli.add_commands(commands)
    add_dataset(commands)
    add_train(commands)
    add_runs(commands)
    add_evaluate(commands)
    add_export(commands)
    return parser


def _with_command(given: list[str]) -> list[str]:
    """Return the arguments with the command that nobody needs to write: `evenhand --window` opens the app."""
    option = given[0].partition("=")[0] if given else ""
    return given if given and option not in _UI_OPTIONS else ["ui", *given]


def ui_command(arguments: argparse.Namespace) -> int:
    """Run `evenhand ui`: serve the app until Ctrl-C, or until its window is closed."""
    from ui.listening import find_place
    from ui.password import find_password

    # Before the app is loaded: who is asked for a password does not want to wait for the question.
    password = find_password(arguments.password_file, needed=not find_place(arguments.host).loopback)
    from ui.app import launch

    launch(
        host=arguments.host,
        port=arguments.port,
        open_browser=not arguments.no_browser,
        allow_hosts=arguments.allow_host,
        password=password,
        certificate=arguments.certificate,
        key=arguments.key,
        window=arguments.window,
    )
    return mediator_cli.DONE


_UI_OPTIONS = (
    *("--host", "--port", "--allow-host", "--password-file", "--certificate", "--key"),
    *("--window", "--no-browser", "--verbose"),
)


def _add_ui(commands: Any) -> None:
    parser = commands.add_parser(
        "ui",
        help="open the app in the browser (what evenhand does without a command)",
        description="Open the app in the browser. It serves this computer only, unless --host says otherwise; "
        "Ctrl-C stops it.",
        epilog="""\
A host that other computers can reach needs a password of at least 12 characters: in EVENHAND_PASSWORD, in a file, or
asked for on the terminal. At 127.0.0.1 it is optional.

examples:
  evenhand ui --window
  evenhand ui --host 192.168.1.5 --certificate cert.pem --key key.pem
  evenhand ui --host 0.0.0.0 --allow-host mediation.example --password-file password.txt

exit status: 0 stopped; 1 it cannot be shown or served; 2 bad usage or bad input""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="where to serve (default: 127.0.0.1, this computer only)"
    )
    parser.add_argument("--port", type=int, metavar="N", help="the port (default: the first free one from 7860)")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name under which browsers reach the app; may be given several times",
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="a file that only you may read; its first line is the password",
    )
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="a certificate (PEM): encrypts the connection")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the key of the certificate (PEM)")
    parser.add_argument("--window", action="store_true", help="open a window instead of the browser (needs pywebview)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--verbose", action="store_true", help="print the log on stderr")
    parser.set_defaults(handler=ui_command)


class _Version(argparse.Action):
    """Prints the version. Looks it up only when asked: the look-up reads the metadata of the installed packages."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: str | None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=kwargs.get("help"))

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        try:
            version = metadata.version("evenhand")
        except metadata.PackageNotFoundError:
            version = "(not installed: run from its source tree)"
        print(f"evenhand {version}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())

"""What all sub-commands share: exit codes, the options for the output, lines on stderr, JSON and pictures on stdout."""

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from mediator.settings import ENCODER_VARIABLE, without_keys

if TYPE_CHECKING:
    from mediator.terminal import Picture

Handler = Callable[[argparse.Namespace], int]

DONE = 0
FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
"""What a shell calls a program that Ctrl-C ended: 128 + SIGINT."""

EXIT_STATUS = "exit status: 0 done; 1 the work failed; 2 bad usage or bad input"
"""How most commands end, for the end of their help."""


def add_action(
    actions: Any, name: str, what: str, *, notes: str = "", example: str = "", exit_status: str = EXIT_STATUS
) -> argparse.ArgumentParser:
    """Add one action to those of a sub-command and return its parser.

    Args:
        actions: what ``add_subparsers`` gave.
        name: of the action.
        what: it does, without a capital at the beginning and a full stop at the end.
        notes: paragraphs of the help that follow the options.
        example: a command line.
        exit_status: the end of the help.
    """
    parts = (notes, f"example:\n  {example}" if example else "", exit_status)
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog="\n\n".join(filter(None, parts)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def add_encoder(parser: argparse.ArgumentParser) -> None:
    """Add --encoder."""
    parser.add_argument(
        "--encoder",
        metavar="NAME",
        help="what scores: bundled, a GGUF file, or a sentence-transformers folder or hub name "
        f"(default: ${ENCODER_VARIABLE} or bundled)",
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add --json and --verbose."""
    parser.add_argument("--json", action="store_true", help="print machine-readable JSON on stdout and nothing else")
    add_verbose(parser)


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Add --verbose."""
    parser.add_argument("--verbose", action="store_true", help="print the log on stderr")


def say(message: str) -> None:
    """Write one line on stderr, without keys and without anything that a terminal would obey."""
    from mediator.terminal import safe

    line = f"evenhand: {safe(without_keys(message))}\n"
    encoding = getattr(sys.stderr, "encoding", None) or "ascii"
    with suppress(OSError, ValueError):
        sys.stderr.write(line.encode(encoding, "replace").decode(encoding))
        sys.stderr.flush()


def print_json(value: object) -> None:
    """Print a value as JSON on stdout, in ASCII where stdout is not UTF-8."""
    plain = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") != "utf8"
    sys.stdout.write(json.dumps(value, ensure_ascii=plain, indent=2) + "\n")


def picture(stream: IO[str]) -> "Picture":
    """Return what draws on a stream."""
    from mediator.terminal import Picture

    return Picture(stream)


def clean(text: str) -> str:
    """Mend bytes of the command line that were no text in its encoding."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

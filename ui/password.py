"""The password of the app: where it is read from, and the check of what somebody types."""

import getpass
import hmac
import os
import secrets
import stat
import sys
import unicodedata
from pathlib import Path

from mediator.errors import InputError

SHORTEST = 12
"""Characters of a password, at least."""

LONGEST = 256

VARIABLE = "EVENHAND_PASSWORD"
"""The environment variable that may hold it. It is taken out of the environment when read."""

_TRIES = 3
_LARGEST_FILE = 16_384  # bytes


class PasswordError(InputError):
    """No password is there where one is needed, or the one given cannot be used. Never quotes it."""


class Password:
    """A password that can be compared with and not read out: only a keyed digest of it is kept."""

    def __init__(self, text: str) -> None:
        """Take the password. Raises `PasswordError` when it is too short or too long."""
        if len(text) < SHORTEST:
            raise PasswordError(f"The password has fewer than {SHORTEST} characters.", "Choose a longer one.")
        if len(text) > LONGEST:
            raise PasswordError(f"The password has more than {LONGEST} characters.", "Choose a shorter one.")
        self._key = secrets.token_bytes(32)
        self._digest = self._digest_of(text)

    def matches(self, typed: str) -> bool:
        """Whether this is it. Takes the same time whatever is wrong with it."""
        return hmac.compare_digest(self._digest, self._digest_of(typed))

    def _digest_of(self, text: str) -> bytes:
        # Keyboards write the same letter in two ways: é as one character, or as e and an accent.
        normal = unicodedata.normalize("NFC", text).encode("utf-8", "replace")
        return hmac.digest(self._key, normal, "sha256")


def find_password(file: Path | None, needed: bool) -> Password | None:
    """Return the password: of the file, else of the environment, else, where one is needed, asked for on the terminal.

    Args:
        file: its first line is the password; only its owner may have any right to it.
        needed: whether the app may not be served without one.

    Raises:
        PasswordError: the file cannot be read or others may read it; the password is too short; one is needed and
            nobody is there to ask.
    """
    if file is not None:
        return Password(_from_file(file))
    # A process that is started from here has no business with it.
    if given := os.environ.pop(VARIABLE, ""):
        return Password(given)
    return _asked() if needed else None


def _from_file(path: Path) -> str:
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise PasswordError(f"The password file {path} cannot be read: {error.strerror}.") from error
    try:
        about = os.fstat(handle)
        if stat.S_ISDIR(about.st_mode):
            raise PasswordError(f"The password file {path} is a folder.", "Name a file.")
        # Of the file that was opened, not of the name: the name may point elsewhere by now. Windows has no such bits.
        if os.name == "posix" and stat.S_ISREG(about.st_mode):
            if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise PasswordError(f"Others may read the password file {path}.", f"Call chmod 600 {path} first.")
            if about.st_uid not in (0, os.geteuid()):
                raise PasswordError(f"The password file {path} belongs to somebody else.", "Use one of your own.")
        content = os.read(handle, _LARGEST_FILE)
    finally:
        os.close(handle)
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise PasswordError(f"The password file {path} is not a text in UTF-8.") from None
    if not lines or not lines[0]:
        raise PasswordError(f"The first line of the password file {path} is empty.", "Write the password there.")
    return lines[0]


def _asked() -> Password:
    if not sys.stdin.isatty():
        raise PasswordError(
            "Other computers can reach Evenhand at this address, so it needs a password.",
            f"Give it with --password-file or in {VARIABLE}, or start Evenhand in a terminal, where it asks for one.",
        )
    print("Other computers can reach Evenhand at this address, so it needs a password.", file=sys.stderr)
    for _ in range(_TRIES):
        try:
            first = getpass.getpass(f"New password (at least {SHORTEST} characters): ")
            password = Password(first)
            if password.matches(getpass.getpass("Once more: ")):
                return password
            print("The two differ.", file=sys.stderr)
        except PasswordError as error:
            print(error, file=sys.stderr)
        except EOFError:
            break
    raise PasswordError("No password was set.", "Start Evenhand again and type the same password twice.")

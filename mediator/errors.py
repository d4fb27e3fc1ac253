"""The failures a user can cause or meet, one type per cause, each with a sentence on how to mend it."""


class EvenhandError(Exception):
    """A failure with one clear sentence for the screen. The traceback belongs in the log.

    Attributes:
        message: what is wrong and where (file, line, field).
        hint: what the user can do about it; may be empty when the message already says so.
        exit_code: what the command line exits with: 1 the work failed, 2 bad usage or bad input.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InputError(EvenhandError):
    """What the user gave cannot be used: an empty view, a bad file, an unknown option value."""

    exit_code = 2


class DisputeFileError(InputError):
    """A dispute file cannot be read; the message names the file and, where known, the line and the field."""


class UnknownModelError(InputError):
    """A model name does not fit ``drafter | bundled | claude[:MODEL] | gguf:PATH | hf:... | openai:MODEL@URL``."""


class ModelFileError(EvenhandError):
    """A model file is missing, truncated or of a kind that cannot serve this purpose."""


class MissingExtraError(EvenhandError):
    """A feature needs an optional install (``pip install 'evenhand[hf]'``) that is not there."""

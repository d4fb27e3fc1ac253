"""The file that a build of a data set writes: begun with settings, resumed with the same ones, torn by no kill."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from mediator.atomic_file import write_whole
from mediator.errors import InputError
from mediator.file_lock import Locked, locked
from mediator.schema import Record, StrategyChoice
from trainer.dataset.data import DatasetError, DatasetWriteError, Example, append_example, read_examples


class BuildSettings(Record):
    """What decides the content of a built data set; a resumed build must have the same.

    Attributes:
        model: who writes, as in ``--model``.
        encoder: what scores, with the fingerprint of its weights.
        strategy: how the writer is asked; ``all`` selects from the common pool of the four.
        count: candidates written in each round, and selected.
        rounds: the most rounds of `cot-feedback`.
        seed: of the writer.
    """

    model: str
    encoder: str
    strategy: StrategyChoice
    count: int
    rounds: int
    seed: int


class OtherSettings(InputError):
    """The output was begun with other settings than are given now, or by something else than a build."""


class OutputInUse(InputError):
    """Another build writes the same output."""


class BuildOutput:
    """The output of one build while it is open; see `open_output`.

    Attributes:
        path: of the data set.
        done: the ids of the disputes that are in it.
        mended: bytes of a torn last line that were cut off.
    """

    def __init__(self, path: Path, done: set[str], mended: int) -> None:
        self.path, self.done, self.mended = path, done, mended

    def add(self, example: Example) -> None:
        """Append a finished dispute; when this returns, it outlives a kill. Raises `DatasetWriteError`."""
        append_example(self.path, example)
        self.done.add(example.id)


def settings_file(path: Path) -> Path:
    """Return the side file that keeps the settings of the build that writes ``path``."""
    return path.with_name(path.name + ".build.json")


@contextmanager
def open_output(path: Path, settings: BuildSettings) -> Iterator[BuildOutput]:
    """Begin an output, or go on with it; nobody else can while the block runs.

    A last line that a kill has torn is cut off.

    Raises:
        OutputInUse: another build is at it.
        OtherSettings: it was begun with other settings, or not by a build.
        DatasetError: a line of it is bad.
        DatasetWriteError: it cannot be written.
    """
    if path.is_dir():
        raise DatasetError(f"{path} is a folder.", "Name the JSONL file to write.")
    try:
        with locked(path.with_name(path.name + ".lock")):
            mended = mend(path)
            filled = path.exists() and path.stat().st_size > 0
            _check_settings(path, settings, filled)
            done = {example.id for example in read_examples(path)} if filled else set()
            yield BuildOutput(path, done, mended)
    except Locked as error:
        raise OutputInUse(
            f"{path} is being written by another build (process {error.process}).",
            "Wait for it, or name another file.",
        ) from error
    except OSError as error:
        raise DatasetWriteError(
            f"{path} cannot be written ({error.strerror or error}).", "Check its folder and the space on the disk."
        ) from error


def mend(path: Path) -> int:
    """Cut off a last line that a kill has torn, or complete a whole one; return the bytes that were cut off.

    Raises `OSError`.
    """
    if not path.exists() or path.stat().st_size == 0:
        return 0
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return 0
        content = path.read_bytes()
        start = content.rfind(b"\n") + 1
        tail = content[start:]
        try:
            json.loads(tail)
        except ValueError:  # a part of an object is never a whole one
            file.truncate(start)
            cut = len(tail)
        else:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
            cut = 0
        file.flush()
        os.fsync(file.fileno())
    return cut


def _check_settings(path: Path, settings: BuildSettings, filled: bool) -> None:
    side = settings_file(path)
    if not filled:
        write_whole(side, settings.model_dump_json(indent=2) + "\n")
        return
    try:
        begun = BuildSettings.model_validate_json(side.read_bytes())
    except FileNotFoundError as error:
        raise OtherSettings(
            f"{path} is there already, and it was not begun by `evenhand dataset build` ({side.name} is missing).",
            "Name another --output.",
        ) from error
    except ValidationError as error:
        raise OtherSettings(f"{side} cannot be read as the settings of a build.", "Name another --output.") from error
    different = [
        f"{name} {getattr(begun, name)!r}, now {getattr(settings, name)!r}"
        for name in BuildSettings.model_fields
        if getattr(begun, name) != getattr(settings, name)
    ]
    if different:
        raise OtherSettings(
            f"{path} was begun with other settings: {'; '.join(different)}.",
            "Give the same ones, or name another --output.",
        )

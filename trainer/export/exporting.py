"""An export from beginning to end: check the room, write the file, quantise it, check it, put it in its place."""

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field

from mediator.errors import InputError
from mediator.file_lock import Locked, locked
from mediator.schema import Record
from mediator.settings import user_path
from trainer.evaluate.forgetting import read_prose
from trainer.export.base import Precision
from trainer.export.families import Checkpoint, Details, family_of, open_checkpoint
from trainer.export.planning import Plan, plan
from trainer.export.quantise import Kind, Quantised, quantise
from trainer.export.self_check import check, require_packages
from trainer.export.self_check_result import SelfCheck
from trainer.preflight.check import NotEnoughDisk
from trainer.progress import Stopped

__all__ = [
    "Export", "NotEnoughDisk", "OutputExists", "OutputInUse", "OutputUnwritable", "Plan", "Reporter", "Result", "Stage",
    "Stopped",
]  # fmt: skip

Stage = Literal["writing", "quantising", "checking"]


class OutputExists(InputError):
    """There is a file already where the export would lie."""


class OutputInUse(InputError):
    """Another export is writing this very file."""


class OutputUnwritable(InputError):
    """The file cannot be written where it shall lie."""


class Reporter(Protocol):
    """Where an export tells what it does, and how it learns that it shall stop."""

    def phase(self, name: Stage, done: int = 0, total: int = 0) -> None:
        """Tell what is being done, and how much of it: bytes, then weights, then texts; 0 of 0 for unknown."""

    def should_stop(self) -> bool:
        """Whether somebody asked the export to stop; cheap."""


class Result(Record):
    """What became of an export.

    Attributes:
        file: the file; of one that failed its check, under the name that it was put aside with.
        model: what to give to ``--model``; empty for an encoder and for a file that failed.
        kind: how it is quantised.
        size: bytes.
        checkpoint: what it was made from.
        adapter: the adapter that was merged into it; empty for none.
        quantised: what llama.cpp's quantiser did; None for a kind that is written at once.
        check: the self-check; None when it was left out.
        passed: whether the file may be used: the check passed, or was left out.
        seconds: that each stage took.
    """

    file: str
    model: str
    kind: Kind
    size: int
    checkpoint: str
    adapter: str = ""
    quantised: Quantised | None = None
    check: SelfCheck | None = None
    passed: bool
    seconds: dict[str, float] = Field(default_factory=dict)


class Export(Record):
    """A checkpoint that shall become a GGUF file.

    Attributes:
        checkpoint: the folder of a Hugging Face checkpoint.
        quant: how to quantise it, one of `trainer.export.quantise.KINDS`.
        output: the file to write; by default beside the checkpoint (or the adapter), called after it and the kind.
        adapter: the folder of a LoRA adapter to merge into it.
        name: the model's name in the metadata; by default the folder's.
        licence: SPDX identifier for the metadata.
        text: prose on which the perplexities are compared, such as WikiText-2's test.txt; by default a short story of
            our own (and for f16 none).
        windows: the most windows of 512 tokens of it; 0 for what takes some minutes.
        check: whether the file is checked.
        force: whether a file that is there already is replaced.
    """

    checkpoint: Path
    quant: Kind = "q4_k_m"
    output: Path | None = None
    adapter: Path | None = None
    name: str = ""
    licence: str = ""
    text: Path | None = None
    windows: int = Field(default=0, ge=0)
    check: bool = True
    force: bool = False

    @property
    def target(self) -> Path:
        """The file that will be written."""
        if self.output is not None:
            return user_path(self.output)
        named = user_path(self.adapter or self.checkpoint).resolve()
        return named.parent / f"{named.name}-{self.quant}.gguf"

    @property
    def failed_target(self) -> Path:
        """Where a file is put that does not pass its check."""
        return self.target.with_name(f"{self.target.name.removesuffix('.gguf')}.failed.gguf")

    def plan(self) -> Plan:
        """Look whether the export can work, before anything is written.

        Raises:
            ModelFileError: the checkpoint or adapter is damaged, or of a kind that cannot be exported.
            OutputExists: there is a file at `target`, and ``force`` is not set.
            TooShortError: the text for the perplexity cannot be read, or is empty.
            NotEnoughDisk: the disk has no room for it.
            MissingExtraError: a package is not installed.
        """
        return self._plan(self._open())

    def run(self, reporter: Reporter) -> Result:
        """Do it.

        The file appears under its name only when it has passed its check; one that has not is kept as
        ``NAME.failed.gguf``. Whatever else happens, nothing is left behind; after a kill -9 there are ``NAME*.part``
        files, which the next export replaces.

        Raises: what `plan` raises; `OutputInUse`; `QuantisingFailed`; `OutputUnwritable`; `Stopped`.
        """
        checkpoint = self._open()
        planned = self._plan(checkpoint)
        try:
            with self._alone(self.target), _removed(self.target):
                return self._run(checkpoint, planned, self.target, reporter)
        except OSError as error:
            if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
                raise NotEnoughDisk(
                    f"The disk of {self.target.parent} became full; nothing was kept.",
                    "Make room, or name a file on another disk with --output.",
                ) from error
            raise OutputUnwritable(
                f"{self.target} cannot be written: {error.strerror or error}.", "Name another place with --output."
            ) from error

    def _open(self) -> Checkpoint:
        return open_checkpoint(user_path(self.checkpoint), self._adapter())

    def _plan(self, checkpoint: Checkpoint) -> Plan:
        outputs = family_of(checkpoint).list_outputs(checkpoint)
        target = self.target
        if self.check:
            require_packages()
            if self.text is not None:
                read_prose(user_path(self.text))
        if target.is_dir():
            raise OutputUnwritable(f"{target} is a folder.", "Name the file to write with --output.")
        above = next((folder for folder in target.absolute().parents if folder.exists()), target)
        if not above.is_dir():
            raise OutputUnwritable(f"{above} is a file, so that {target} cannot lie in it.", "Name another place.")
        if target.exists() and not self.force:
            raise OutputExists(f"{target} is there already.", "Name another with --output, or replace it with --force.")
        return plan(checkpoint, outputs, self.quant, target, adapted=self.adapter is not None, checked=self.check)

    def _run(self, checkpoint: Checkpoint, planned: Plan, target: Path, reporter: Reporter) -> Result:
        part = _part(target)
        seconds: dict[str, float] = {}
        made: Quantised | None = None
        with _timed(seconds, "writing"):
            first = _part(target, planned.intermediate)
            precision: Precision = planned.intermediate or self.quant  # type: ignore[assignment]
            family_of(checkpoint).export(
                checkpoint,
                first,
                precision,
                details=Details(name=self.name, licence=self.licence),
                advance=_told(reporter, "writing"),
            )
        if planned.intermediate:
            with _timed(seconds, "quantising"):
                made = quantise(
                    first, part, self.quant, advance=_told(reporter, "quantising"), should_stop=reporter.should_stop
                )
        found: SelfCheck | None = None
        if self.check:
            with _timed(seconds, "checking"):
                found = self._check(
                    part, (first, planned.intermediate) if planned.intermediate else None, checkpoint, reporter
                )
        passed = found is None or found.passed
        file = target if passed else self.failed_target
        if passed and target.exists() and not self.force:
            raise OutputExists(f"{target} has come while it was written.", "Name another file with --output.")
        size = part.stat().st_size
        os.replace(part, file)
        return Result(
            file=str(file),
            model="" if "bert" in checkpoint.model_type or not passed else f"gguf:{file}",
            kind=self.quant,
            size=size,
            checkpoint=str(checkpoint.directory),
            adapter=str(self.adapter or ""),
            quantised=made,
            check=found,
            passed=passed,
            seconds=seconds,
        )

    def _check(
        self, part: Path, exact: tuple[Path, str] | None, checkpoint: Checkpoint, reporter: Reporter
    ) -> SelfCheck:
        return check(
            part,
            checkpoint,
            self.quant,
            exact=exact,
            adapter=self._adapter(),
            text=user_path(self.text) if self.text else None,
            windows=self.windows,
            folder=_part(self.target, "check"),
            advance=_told(reporter, "checking"),
            should_stop=reporter.should_stop,
        )

    def _adapter(self) -> Path | None:
        return user_path(self.adapter) if self.adapter else None

    @contextmanager
    def _alone(self, target: Path) -> Iterator[None]:
        """See to it that two exports do not write into one file."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with locked(_part(target, "lock")):
                yield
        except Locked as error:
            raise OutputInUse(
                f"{target} is being written by another export (process {error.process}).", "Wait for it, or stop it."
            ) from error


def _part(target: Path, what: str = "") -> Path:
    """A file on the way to the target; all end in ``.part``."""
    return target.with_name(".".join(filter(None, (target.name, what, "part"))))


@contextmanager
def _removed(target: Path) -> Iterator[None]:
    """Take away what is on the way to the target, before the block and after it; an earlier export may have died."""
    _remove(target)
    try:
        yield
    finally:
        _remove(target)


def _remove(target: Path) -> None:
    for what in ("", "f32", "f16", "bf16"):
        for path in (_part(target, what), _part(_part(target, what))):
            with suppress(OSError):
                path.unlink(missing_ok=True)
    shutil.rmtree(_part(target, "check"), ignore_errors=True)


@contextmanager
def _timed(seconds: dict[str, float], stage: Stage) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - started, 3)


def _told(reporter: Reporter, stage: Stage) -> Callable[[int, int], None]:
    """What tells the reporter how far a stage is, and stops it when somebody asks for that."""
    reporter.phase(stage)

    def tell(done: int, total: int) -> None:
        if reporter.should_stop():
            raise Stopped
        reporter.phase(stage, done, total)

    return tell

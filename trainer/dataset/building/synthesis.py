"""Building a data set: candidates for many disputes by any writer and strategy, resumable, with nothing done twice."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mediator.cancellation import Cancellation
from mediator.errors import EvenhandError, InputError, MissingExtraError, ModelFileError
from mediator.mediation import MediationOptions
from mediator.models import ModelChoice
from mediator.schema import StrategyChoice
from mediator.writers.base import AuthenticationFailed, ModelNotFound, WriterError
from trainer.dataset.building.crew import Crew, Outcome, ProcessCrew, ThreadCrew, WorkerDied
from trainer.dataset.building.output import BuildOutput, BuildSettings, open_output
from trainer.dataset.building.provider_limits import ABOUT_ONE_REQUEST
from trainer.dataset.data import Example

if TYPE_CHECKING:
    from mediator.empathy import EmpathyModel
    from mediator.writers.base import Writer

REMOTE_WORKERS = 4
"""Requests at the same time to a writer behind a network, unless told otherwise."""

MOST_WORKERS = 64

_HOPELESS = (AuthenticationFailed, ModelNotFound, ModelFileError, MissingExtraError, WorkerDied)
"""What fails for every dispute alike."""

_LOST_IN_A_ROW = 5
"""Disputes in a row on which the provider was lost, after all waits, from which the build is given up."""

_FAILED_IN_A_ROW = 25
"""Disputes in a row that failed for whatever reason, from which the build is given up: no credit, no usable model."""


@dataclass(frozen=True)
class BuildOptions:
    """How candidates are written.

    Attributes:
        strategy: one of the paper's four, or ``all``: the best of their common pool.
        count: candidates written in each round, and selected (the paper: 4).
        rounds: the most rounds of `cot-feedback`.
        seed: of the writer.
        workers: disputes at the same time; None for one, or `REMOTE_WORKERS` behind a network.
    """

    strategy: StrategyChoice = "all"
    count: int = 4
    rounds: int = 3
    seed: int = 0
    workers: int | None = None

    def mediation(self) -> MediationOptions:
        """What to ask of each mediation. Raises `InputError` for a value out of range."""
        return MediationOptions(strategy=self.strategy, count=self.count, rounds=self.rounds, seed=self.seed)


@dataclass(frozen=True)
class BuildProgress:
    """How far a build is.

    Attributes:
        done: disputes drafted by this call.
        failed: disputes that failed in this call.
        total: disputes that this call is to draft.
        seconds: since it started.
        seconds_left: an estimate; None before the first one is done.
    """

    done: int
    failed: int
    total: int
    seconds: float
    seconds_left: float | None


@dataclass
class BuildReport:
    """What a build did.

    Attributes:
        total: disputes asked for.
        present: of these, how many were in the output before.
        written: drafted and saved by this call.
        failed: those that could not be drafted, with the reason; the next call tries them again.
        partly: those that were drafted without one of the strategies, with the reason.
        mended: bytes of a line torn by a kill that were cut off the output.
        cancelled: somebody stopped it.
        declined: nobody agreed to its beginning.
        given_up: why it ended before all were tried; None if it did not.
        seconds: by the wall clock.
    """

    total: int
    present: int = 0
    written: int = 0
    failed: list[Outcome] = field(default_factory=list)
    partly: list[Outcome] = field(default_factory=list)
    mended: int = 0
    cancelled: bool = False
    declined: bool = False
    given_up: EvenhandError | None = None
    seconds: float = 0.0


def choose(examples: Sequence[Example], every: int = 1, limit: int | None = None) -> list[Example]:
    """Return every ``every``-th dispute, beginning with the first, and of these at most ``limit``.

    Raises `InputError` for values below 1.
    """
    for name, value in (("--every", every), ("--limit", limit)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}.", "Give 1 or more.")
    return list(examples[::every][:limit])


def settings_of(writer_name: str, scorer: "EmpathyModel", options: BuildOptions) -> BuildSettings:
    """Return what a build must have in common with the call that goes on with it."""
    return BuildSettings(
        model=writer_name,
        encoder=f"{scorer.encoder.name} {scorer.encoder.fingerprint}",
        strategy=options.strategy,
        count=options.count,
        rounds=options.rounds,
        seed=options.seed,
    )


def workers_for(choice: ModelChoice, asked: int | None) -> int:
    """Return how many disputes are drafted at the same time.

    Raises `InputError` for a number out of range, or for more than one with a model that runs here alone.
    """
    remote = choice.kind in ("claude", "openai")
    workers = asked if asked is not None else REMOTE_WORKERS if remote else 1
    if not 1 <= workers <= MOST_WORKERS:
        raise InputError(f"--workers is {workers}.", f"Give 1 to {MOST_WORKERS}.")
    if workers > 1 and not remote and choice.kind != "drafter":
        raise InputError(
            f"--workers is {workers}, but {choice} runs on this computer and uses all of it for one dispute.",
            "Leave --workers out.",
        )
    return workers


def crew_for(
    choice: ModelChoice, writer: "Writer", scorer: "EmpathyModel", encoder: str, options: BuildOptions
) -> Crew:
    """Return who drafts: processes for several drafters, else threads with the one writer."""
    workers = workers_for(choice, options.workers)
    if choice.kind == "drafter" and workers > 1:
        return ProcessCrew(str(choice), encoder, options.mediation(), workers)
    return ThreadCrew(writer, scorer, options.mediation(), workers)


def build(
    examples: Sequence[Example],
    output: Path,
    settings: BuildSettings,
    crew: Crew,
    cancel: Cancellation | None = None,
    watch: Callable[[BuildProgress], None] = lambda progress: None,
    agree: Callable[[Sequence[Example]], bool] = lambda left: True,
) -> BuildReport:
    """Draft every dispute that is not in the output yet, and append each as it is done.

    Args:
        examples: the disputes; candidates that they have are replaced.
        output: the data set to write. Each line is on the disk before the next is begun, so that a kill loses at most
            what is under way.
        settings: what an earlier call must have had in common, where there was one.
        crew: who drafts.
        cancel: stops the work; what is done stays.
        watch: told how far it is, every half second or so.
        agree: asked, with the disputes that are left, whether to begin; not asked when none are.

    Raises what `open_output` raises; a failure of the writer is in the report.
    """
    cancel = cancel or Cancellation()
    with open_output(output, settings) as opened:
        left = [example for example in examples if example.id not in opened.done]
        report = BuildReport(len(examples), len(examples) - len(left), mended=opened.mended)
        if not left or not agree(left):
            report.declined = bool(left)
            return report
        started = time.monotonic()
        try:
            _draft_all(left, opened, crew, cancel, watch, report, started)
        except (WorkerDied, WriterError) as error:  # the crew itself cannot go on
            report.given_up = error
        report.seconds = time.monotonic() - started
        # A cancel that came with the last dispute's end has stopped nothing.
        report.cancelled = (
            cancel.cancelled and report.given_up is None and report.written + len(report.failed) < len(left)
        )
    return report


def _draft_all(
    left: Sequence[Example],
    opened: BuildOutput,
    crew: Crew,
    cancel: Cancellation,
    watch: Callable[[BuildProgress], None],
    report: BuildReport,
    started: float,
) -> None:
    lost_in_a_row = failed_in_a_row = 0
    gave_up = Cancellation()
    with ExitStack() as ends:
        ends.enter_context(cancel.calling(gave_up.cancel))
        ends.callback(gave_up.cancel)  # whatever happens here, a full disk say: nobody works on for nothing
        for outcome in ends.enter_context(closing(crew.outcomes(left, gave_up))):
            if outcome is not None and outcome.example is not None:
                opened.add(outcome.example)
                report.written += 1
                lost_in_a_row = failed_in_a_row = 0
                if outcome.problem:
                    report.partly.append(outcome)
            elif outcome is not None:
                report.failed.append(outcome)
                failed_in_a_row += 1
                lost_in_a_row += _is_lost(outcome.error)
                if report.given_up is None and (
                    isinstance(outcome.error, _HOPELESS)
                    or lost_in_a_row >= _LOST_IN_A_ROW
                    or failed_in_a_row >= _FAILED_IN_A_ROW
                ):
                    report.given_up = outcome.error
                    gave_up.cancel()
            watch(_progress(report, len(left), time.monotonic() - started))


def _is_lost(error: EvenhandError | None) -> bool:
    """Whether an error says that the provider cannot be worked with, and not only that one request was bad."""
    return isinstance(error, WriterError) and not isinstance(error, ABOUT_ONE_REQUEST)


def _progress(report: BuildReport, total: int, seconds: float) -> BuildProgress:
    tried = report.written + len(report.failed)
    left = seconds / tried * (total - tried) if tried else None
    return BuildProgress(report.written, len(report.failed), total, seconds, left)

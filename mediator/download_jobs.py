"""Downloads that run on their own: begun from a page, they go on when it is closed, and another page finds them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from mediator.background import FAULT, Background
from mediator.cancellation import Cancellation, Cancelled
from mediator.catalogue import downloadable
from mediator.downloads import Progress, download
from mediator.errors import EvenhandError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobState:
    """What a page shows of a download.

    Attributes:
        running: whether it is under way.
        progress: the last report; None before the first one.
        problem: why it ended, as a sentence; empty while it runs and when it went well.
        stopped: somebody stopped it.
    """

    running: bool
    progress: Progress | None = None
    problem: str = ""
    stopped: bool = False


class DownloadJobs(Background[JobState]):
    """The downloads of this process, at most one of each model."""

    def __init__(self) -> None:
        super().__init__("download")

    def start(self, name: str) -> None:
        """Begin or resume the download of a catalogue's model; does nothing when it runs already.

        Raises `InputError` for a name that the catalogue does not have.
        """
        entry = downloadable(name)

        def work(cancel: Cancellation, report: Callable[[JobState], None]) -> JobState:
            def came(progress: Progress) -> None:
                report(JobState(running=True, progress=progress))

            try:
                download(entry, progress=came, cancel=cancel)
            except Cancelled:
                return JobState(running=False, stopped=True)
            except EvenhandError as error:
                _log.info("a download ended with an error", exc_info=error)
                return JobState(running=False, problem=str(error))
            return JobState(running=False)

        self._begin(name, JobState(running=True), JobState(running=False, problem=FAULT), work)


jobs = DownloadJobs()
"""Those of this process: all pages show the same."""

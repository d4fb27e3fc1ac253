"""Downloads that run on their own: begun from a page, they go on when it is closed, and another page finds them."""

import logging
import threading
from dataclasses import dataclass

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


class DownloadJobs:
    """The downloads of this process, at most one of each model. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, JobState] = {}
        self._cancels: dict[str, Cancellation] = {}

    def start(self, name: str) -> None:
        """Begin or resume the download of a catalogue's model; does nothing when it runs already.

        Raises `InputError` for a name that the catalogue does not have.
        """
        entry = downloadable(name)
        with self._lock:
            if name in self._cancels:
                return
            cancel = self._cancels[name] = Cancellation()
            self._states[name] = JobState(running=True)

        def report(progress: Progress) -> None:
            self._set(name, JobState(running=True, progress=progress))

        def work() -> None:
            end = JobState(running=False)
            try:
                download(entry, progress=report, cancel=cancel)
            except Cancelled:
                end = JobState(running=False, stopped=True)
            except EvenhandError as error:
                _log.info("a download ended with an error", exc_info=error)
                end = JobState(running=False, problem=str(error))
            except Exception as error:  # noqa: BLE001 - the reader of the page gets a sentence, the log the traceback
                _log.exception("a download failed", exc_info=error)
                end = JobState(running=False, problem="Something went wrong inside Evenhand; its log has the details.")
            finally:
                with self._lock:
                    self._states[name] = end
                    del self._cancels[name]

        threading.Thread(target=work, name=f"download {name}", daemon=True).start()

    def stop(self, name: str) -> None:
        """Stop a download, if it runs; what has come stays."""
        with self._lock:
            cancel = self._cancels.get(name)
        if cancel is not None:
            cancel.cancel()

    def state(self, name: str) -> JobState | None:
        """Return how the download of a model is or was, or None if there was none in this process."""
        with self._lock:
            return self._states.get(name)

    def forget(self, name: str) -> None:
        """Forget how a download ended."""
        with self._lock:
            if name not in self._cancels:
                self._states.pop(name, None)

    def running(self) -> bool:
        """Whether any download is under way."""
        with self._lock:
            return bool(self._cancels)

    def _set(self, name: str, state: JobState) -> None:
        with self._lock:
            if name in self._cancels:
                self._states[name] = state


jobs = DownloadJobs()
"""Those of this process: all pages show the same."""

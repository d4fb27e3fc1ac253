"""The engine behind the page: the scorer and the writers, each loaded once, lent to all sessions, freed when idle."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mediator.cancellation import Cancellation
from mediator.empathy import EmpathyModel
from mediator.errors import EvenhandError, InputError, ModelFileError
from mediator.llama_embedding import usable_cores
from mediator.models import Kind, ModelChoice, load_writer, model_file, parse_model
from mediator.settings import default_encoder, user_path
from mediator.writers.base import Writer
from ui.writer_queue import EngineClosed, WriterQueue

__all__ = ["Engine", "EngineClosed", "LoadedWriter", "WriterInUse", "idle_minutes", "places_for"]

IDLE_VARIABLE = "EVENHAND_IDLE_MINUTES"
IDLE_MINUTES = 15.0
"""Minutes without use after which a model is unloaded."""

SPARE_CONNECTIONS = 4
"""Remote writers that stay connected while nobody uses them."""

_LARGE: frozenset[Kind] = frozenset({"gguf", "hf", "bundled"})
"""Writers whose weights are in this computer's memory: one of them at a time."""

_AT_ONCE_REMOTE = 8
_MOST_AT_ONCE_DRAFTER = 4  # as many texts as the bundled encoder works on at a time


class WriterInUse(EvenhandError):
    """A writer cannot be unloaded while somebody uses it or waits for it."""


@dataclass(frozen=True)
class LoadedWriter:
    """A writer that is there.

    Attributes:
        name: as in the ``--model`` option.
        bytes: size of its weights; None when it has none here, or that cannot be told.
        idle_seconds: since it was last used; 0 while it is.
        users: how many use it now.
        waiting: how many wait for it.
    """

    name: str
    bytes: int | None
    idle_seconds: float
    users: int
    waiting: int


class _Place:
    """Where one writer is, or will be.

    Attributes:
        queue: the line in front of it; large models share one, because only one of them is in memory.
        loading: held while it is loaded or closed; large models share it as well.
        askers: how many are on their way to it or use it: as long, it is not closed for idleness.
    """

    def __init__(self, choice: ModelChoice, queue: WriterQueue, loading: threading.Lock) -> None:
        self.choice, self.queue, self.loading = choice, queue, loading
        self.writer: Writer | None = None
        self.size: int | None = None
        self.askers = 0
        self.users = 0
        self.last_used = 0.0

    @property
    def large(self) -> bool:
        return self.choice.kind in _LARGE


class Engine:
    """Hands out the scorer and the writers. Thread-safe.

    Args:
        encoder: names the scorer's encoder; None for the one of the settings.
        idle: minutes without use after which a model is unloaded; 0 for never, None for `idle_minutes`.
    """

    def __init__(self, encoder: str | None = None, idle: float | None = None) -> None:
        """Load nothing yet. Raises `InputError` when ``EVENHAND_IDLE_MINUTES`` is no number of minutes."""
        self._encoder = encoder or default_encoder()
        self._patience = 60.0 * (idle_minutes() if idle is None else idle)
        self._scorer: EmpathyModel | None = None
        self._scorer_lock = threading.Lock()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._places: dict[str, _Place] = {}
        self._large_queue = WriterQueue(1)
        self._large_loading = threading.Lock()
        self._housekeeper: threading.Thread | None = None
        self._closed = False

    def scorer(self) -> EmpathyModel:
        """Return the scorer. Raises `ModelFileError` when its file is missing, `EngineClosed` after `close`."""
        with self._scorer_lock:
            if self._closed:
                raise EngineClosed
            if self._scorer is None:
                self._scorer = EmpathyModel.load(self._encoder)
            return self._scorer

    @contextmanager
    def writer(
        self, spec: str, cancel: Cancellation | None = None, on_wait: Callable[[int], None] | None = None
    ) -> Iterator[Writer]:
        """Lend the writer that a model name stands for; where it is busy, wait in its line.

        A model of this computer serves one at a time, and one of them is in memory: who asks for another one waits in
        the same line, and the idle one is closed before the other is loaded. (So no thread may ask for a second one
        while it holds the first.) What cannot be loaded frees its place, and the next in the line tries again.

        Args:
            spec: as in the ``--model`` option.
            cancel: cancelling leaves the line at once. A model that is being loaded is loaded to the end, and kept.
            on_wait: see `WriterQueue.turn`.

        Raises:
            InputError: the name fits no form.
            EvenhandError: the writer cannot be loaded (see `mediator.models.load_writer`).
            Cancelled: ``cancel`` was cancelled before the writer was there.
            EngineClosed: the engine was closed.
        """
        choice, cancel = parse_model(spec), cancel or Cancellation()
        with self._asking(choice) as place, place.queue.turn(str(choice), cancel, on_wait):
            writer = self._ready(place, cancel)
            try:
                yield writer
            finally:
                with self._lock:
                    place.users -= 1
                    place.last_used = time.monotonic()

    def loaded(self) -> tuple[LoadedWriter, ...]:
        """What is there now, in the order of the names."""
        now = time.monotonic()
        with self._lock:
            return tuple(
                LoadedWriter(
                    name,
                    place.size,
                    0.0 if place.users else now - place.last_used,
                    place.users,
                    place.queue.waiting(name),
                )
                for name, place in sorted(self._places.items())
                if place.writer is not None
            )

    def unload(self, spec: str) -> None:
        """Free a writer now; nothing happens when it is not there.

        Raises:
            InputError: the name fits no form.
            WriterInUse: somebody uses it or waits for it.
        """
        name = str(parse_model(spec))
        with self._lock:
            place = self._places.get(name)
        if place is not None and not self._free(place):
            raise WriterInUse(f"{name} is in use.", "Wait until it has finished, or stop what it does.")

    def close(self) -> None:
        """Free the writers and the scorer; who waits for one gets `EngineClosed`. Safe to call twice."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            places = list(self._places.values())
            self._places.clear()
            writers = [place.writer for place in places if place.writer is not None]
            for place in places:
                place.writer = None
        for queue in {self._large_queue, *(place.queue for place in places)}:
            queue.close()
        for writer in writers:
            writer.close()
        with self._scorer_lock:
            if self._scorer is not None:
                self._scorer.close()
                self._scorer = None

    # -- places ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _asking(self, choice: ModelChoice) -> Iterator[_Place]:
        """Find or make the place of a writer, and keep it while the block runs."""
        name = str(choice)
        with self._lock:
            if self._closed:
                raise EngineClosed
            place = self._places.get(name)
            if place is None:
                place = self._places[name] = self._new_place(choice)
            place.askers += 1
        try:
            yield place
        finally:
            with self._lock:
                place.askers -= 1
                if place.writer is None and not place.askers and self._places.get(name) is place:
                    del self._places[name]
                self._changed.notify_all()
            if not place.large:
                self._hang_up()

    def _new_place(self, choice: ModelChoice) -> _Place:
        if choice.kind in _LARGE:
            return _Place(choice, self._large_queue, self._large_loading)
        return _Place(choice, WriterQueue(places_for(choice.kind)), threading.Lock())

    def _ready(self, place: _Place, cancel: Cancellation) -> Writer:
        """Return the writer of a place, loaded where it is not; counts a user."""
        while not place.loading.acquire(timeout=0.05):
            cancel.raise_if_cancelled()
        try:
            writer = place.writer or self._load(place)
            with self._lock:
                if self._closed:
                    raise EngineClosed
                cancel.raise_if_cancelled()
                place.users += 1
                return writer
        finally:
            place.loading.release()

    def _load(self, place: _Place) -> Writer:
        """Load the writer of a place. The caller holds ``place.loading``."""
        if place.large:
            self._make_room()
        writer = load_writer(place.choice, self.scorer())
        size = _size(place.choice)
        with self._lock:
            if not self._closed:
                place.writer, place.size, place.last_used = writer, size, time.monotonic()
                self._keep_house()
                return writer
        writer.close()
        raise EngineClosed

    # -- freeing -----------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Close the other large model: its memory is needed. Whoever may load one holds the only place in the line."""
        with self._lock:
            others = [place for place in self._places.values() if place.large and place.writer is not None]
            writers = [place.writer for place in others if place.writer is not None]
            for place in others:
                place.writer = None
                if not place.askers:
                    del self._places[str(place.choice)]
        for writer in writers:
            writer.close()

    def _free(self, place: _Place) -> bool:
        """Close a writer that nobody uses or asks for; False when somebody does."""
        if self._wanted(place):  # perhaps for minutes: not worth waiting
            return False
        with place.loading:  # whoever asks from here on waits until the memory is free
            with self._lock:
                if place.askers:
                    return False
                writer, place.writer = place.writer, None
                if self._places.get(str(place.choice)) is place:
                    del self._places[str(place.choice)]
            if writer is not None:
                writer.close()
        return True

    def _wanted(self, place: _Place) -> bool:
        with self._lock:
            return place.askers > 0

    def _hang_up(self) -> None:
        """Close the connections that were idle longest, beyond `SPARE_CONNECTIONS`."""
        with self._lock:
            idle = [
                place
                for place in self._places.values()
                if not place.large and place.choice.kind != "drafter" and place.writer is not None and not place.askers
            ]
        for place in sorted(idle, key=lambda place: -place.last_used)[SPARE_CONNECTIONS:]:
            self._free(place)

    def _keep_house(self) -> None:
        """Have a thread that unloads what is idle, if there is anything to unload. The caller holds the lock."""
        if self._patience > 0 and self._housekeeper is None and self._closable():
            self._housekeeper = threading.Thread(target=self._unload_idle, name="idle models", daemon=True)
            self._housekeeper.start()

    def _closable(self) -> list[_Place]:
        """The writers that hold anything. The caller holds the lock."""
        return [place for place in self._places.values() if place.writer is not None and place.choice.kind != "drafter"]

    def _unload_idle(self) -> None:
        while (place := self._next_idle()) is not None:
            self._free(place)

    def _next_idle(self) -> _Place | None:
        """Wait until a writer was idle for too long; None when none is left, or the engine is closed."""
        with self._lock:
            while not self._closed and (closable := self._closable()):
                idle = [place for place in closable if not place.askers]
                longest = min(idle, key=lambda place: place.last_used, default=None)
                left = None if longest is None else longest.last_used + self._patience - time.monotonic()
                if left is not None and left <= 0:
                    return longest
                self._changed.wait(left)
            self._housekeeper = None
            return None


def places_for(kind: Kind) -> int:
    """Return how many a writer of this kind serves at once.

    The drafter only computes, nearly all of it in the encoder: one of it a core. On two cores, twelve disputes at once
    took as long by fours as by twos, while everybody waited longer for the first card; one at a time left the second
    core idle half of the time (benchmarks/app_load.py measures it through the page).
    """
    if kind in _LARGE:
        return 1
    return min(usable_cores(), _MOST_AT_ONCE_DRAFTER) if kind == "drafter" else _AT_ONCE_REMOTE


def idle_minutes() -> float:
    """Read ``EVENHAND_IDLE_MINUTES``: after so many minutes without use a model is unloaded; 0 is never.

    Raises:
        InputError: it is no number, or a negative one.
    """
    named = os.environ.get(IDLE_VARIABLE, "").strip()
    try:
        minutes = float(named) if named else IDLE_MINUTES
    except ValueError:
        minutes = -1.0
    if not 0 <= minutes < math.inf:
        raise InputError(
            f"{IDLE_VARIABLE} is {named!r}, which is no number of minutes.", "Set it to e.g. 15, or 0 for never."
        )
    return minutes


def _size(choice: ModelChoice) -> int | None:
    """Bytes of the weights on disk, which is what they take in memory; None where that cannot be told."""
    if choice.kind not in ("gguf", "hf"):
        return None
    try:
        path = user_path(model_file(choice.model) if choice.kind == "gguf" else choice.model)
        files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
        return sum(file.stat().st_size for file in files) or None
    except (OSError, ValueError, ModelFileError):
        return None

"""The engine behind the page: the scorer and the writers, each loaded once, when first needed, for all sessions."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mediator.empathy import EmpathyModel
from mediator.models import load_writer, parse_model
from mediator.settings import default_encoder
from mediator.writers.base import Writer


@dataclass
class _Place:
    """Where one writer is, or will be: loading may take long, and holds up only those who want the same one."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    writer: Writer | None = None
    users: int = 0


class Engine:
    """Hands out the scorer and the writers. Thread-safe."""

    def __init__(self, encoder: str | None = None) -> None:
        """Load nothing yet. ``encoder`` names the scorer's encoder; None for the one of the settings."""
        self._encoder = encoder or default_encoder()
        self._scorer: EmpathyModel | None = None
        self._writers: dict[str, _Place] = {}
        self._scorer_lock = threading.Lock()
        self._lock = threading.Lock()

    def scorer(self) -> EmpathyModel:
        """Return the scorer. Raises `ModelFileError` when its file is missing."""
        with self._scorer_lock:
            if self._scorer is None:
                self._scorer = EmpathyModel.load(self._encoder)
            return self._scorer

    @contextmanager
    def writer(self, spec: str) -> Iterator[Writer]:
        """Lend the writer that a model name stands for.

        It stays loaded until another one is asked for while nobody uses it: one large model in memory at a time is
        enough for one person.

        Raises:
            InputError: the name fits no form.
            EvenhandError: the writer cannot be loaded (see `mediator.models.load_writer`).
        """
        choice = parse_model(spec)
        name, scorer = str(choice), self.scorer()
        with self._lock:
            place = self._writers.setdefault(name, _Place())
            place.users += 1
            idle = [key for key, other in self._writers.items() if not other.users]
            unused = [self._writers.pop(key).writer for key in idle]
        for other in unused:
            if other is not None:
                other.close()
        try:
            with place.lock:
                if place.writer is None:
                    place.writer = load_writer(choice, scorer)
            yield place.writer
        finally:
            with self._lock:
                place.users -= 1

    def close(self) -> None:
        """Free the writers and the scorer."""
        with self._lock, self._scorer_lock:
            for place in self._writers.values():
                if place.writer is not None:
                    place.writer.close()
            self._writers.clear()
            if self._scorer is not None:
                self._scorer.close()
                self._scorer = None

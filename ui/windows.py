"""The windows that show one session: what each has seen of it, so that none undoes what was typed in another."""

import threading
from dataclasses import dataclass, field

from mediator.errors import InputError
from mediator.session import Form, Session
from ui.shared_form import merged
from ui.workspace import Workspace

MOST_WINDOWS = 1000
"""So many windows are remembered. A window may save in the moment in which it is closed: nobody says so afterwards."""


class SessionDeleted(InputError):
    """The session that the page shows is not there any more."""

    def __init__(self) -> None:
        super().__init__(
            "This session is not there any more: it was deleted, or it was private and Evenhand was started again.",
            "Start a new dispute to go on; what you typed is still here to be copied.",
        )


@dataclass(frozen=True)
class Change:
    """What other windows did to a session since this one looked."""

    session: Session
    form_before: Form
    """What this window showed when it last took part."""
    title_before: str
    ended: bool
    """Whether the last round ended without this window being told."""


@dataclass
class _Seen:
    """What one window has seen of the session that it shows.

    Attributes:
        session_id: which one that is.
        form: all fields as the window shows them.
        title: likewise.
        version: of the session when the window last looked; None before the first time.
        round: id and state of the last round that the window was told of.
        cards: what it was last told to draw; empty when that is not known.
    """

    session_id: str
    form: Form = field(default_factory=Form)
    title: str = ""
    version: int | None = None
    round: str = ""
    cards: str = ""


class Windows:
    """What the open windows have seen. Thread-safe.

    Saving reads what is kept, merges and writes; it is done by one window at a time, as is looking. Otherwise two that
    are saved together would each write without the other's words.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._turn = threading.Lock()
        self._windows: dict[str, _Seen] = {}

    def open(self, window: str, session_id: str) -> Session:
        """Return the session that a window is about to show. Raises `mediator.store.SessionNotFound`, `StoreError`."""
        with self._turn:
            version = self._workspace.version(session_id)  # first: what comes between is then seen as a change
            session = self._workspace.open(session_id)
            self._remember(window, _Seen(session_id, session.form, session.title, version, round=_last_round(session)))
            return session

    def shows(self, window: str, session_id: str, form: Form, title: str) -> None:
        """Note what a window was made to show: from here on it has turned away from any other session."""
        with self._turn:
            seen = self._windows.get(window)
            if seen is None or seen.session_id != session_id:
                seen = _Seen(session_id)
            seen.form, seen.title = form, title
            self._remember(window, seen)

    def turned_from(self, window: str, session_id: str) -> bool:
        """Whether a window shows another session by now: what still comes of this one is not for it any more."""
        seen = self._windows.get(window)
        return seen is not None and seen.session_id != session_id

    def draws(self, window: str, cards: str) -> bool:
        """Note what a window is told to draw, empty for what is not known; returns whether it is anything new."""
        with self._turn:
            seen = self._windows.get(window)
            if seen is None:
                return True
            before, seen.cards = seen.cards, cards
            return not cards or cards != before

    def told_the_end(self, window: str, session: Session) -> None:
        """Note that a window was told how the last round of its session ended."""
        with self._turn:
            if (seen := self._windows.get(window)) is not None and seen.session_id == session.id:
                seen.round = _last_round(session)

    def leave(self, window: str) -> None:
        """Forget a window that was closed or reloaded."""
        with self._turn:
            self._windows.pop(window, None)

    def look(self, window: str, session_id: str) -> Change | None:
        """Return what changed since the window last looked, or None.

        Raises:
            SessionDeleted: the session that the window shows was deleted; said once.
            SessionNotFound: there is no such session.
            StoreError: it cannot be read.
        """
        with self._turn:
            seen = self._windows.get(window)
            if seen is not None and seen.session_id != session_id:
                return None  # it turned to another session while it asked
            version = self._workspace.version(session_id)
            if seen is not None and seen.version == version:
                return None
            if seen is not None and not version:
                seen.version = version
                raise SessionDeleted
            session = self._workspace.open(session_id)
            if seen is None:
                seen = _Seen(session_id, session.form, session.title)
            last = _last_round(session)
            ended = last != seen.round and bool(session.rounds) and session.rounds[-1].state != "running"
            change = Change(session, seen.form, seen.title, ended)
            seen.form, seen.title, seen.version, seen.round = session.form, session.title, version, last
            self._remember(window, seen)
            return change

    def save(self, window: str, session_id: str, form: Form, title: str, *, private: bool, is_saved: bool) -> str:
        """Save what is typed; what other windows typed in other fields stays.

        Args:
            window: whose words they are.
            session_id: the session, which is made if it is not there yet.
            form: all fields as the window shows them.
            title: likewise.
            private: keep it in memory only.
            is_saved: it was saved before, so that it is not made again if it is gone.

        Returns:
            The session's id.

        Raises:
            SessionDeleted: it was deleted, perhaps from another window; what is left on this page must not bring it
                back.
            StoreError: it cannot be saved.
        """
        with self._turn:
            if is_saved and not self._workspace.version(session_id):
                raise SessionDeleted
            seen = self._windows.get(window)
            late = seen is not None and seen.session_id != session_id  # of a session that it has turned from
            kept, name = form, title
            if is_saved and seen is not None and not late:
                stored = self._workspace.open(session_id)
                kept = merged(form, seen.form, stored.form)
                name = title if title != seen.title else stored.title
            session_id = self._workspace.save_form(session_id, kept, name, private)
            if seen is None:
                seen = _Seen(session_id)
            if not late:
                seen.session_id, seen.form, seen.title = session_id, form, title
                self._remember(window, seen)
            return session_id

    def _remember(self, window: str, seen: _Seen) -> None:
        """Keep what a window has seen, as that of the one heard of last. The caller holds the turn."""
        self._windows.pop(window, None)
        self._windows[window] = seen
        while len(self._windows) > MOST_WINDOWS:
            del self._windows[next(iter(self._windows))]


def _last_round(session: Session) -> str:
    return f"{session.rounds[-1].id} {session.rounds[-1].state}" if session.rounds else ""

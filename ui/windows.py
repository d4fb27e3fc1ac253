"""The windows that show one session: what each has seen of it, so that none undoes what was typed in another."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from mediator.errors import InputError
from mediator.session import Form, Session
from mediator.store import SessionNotFound, StoreError
from ui.shared_form import merged
from ui.workspace import Workspace

MOST_WINDOWS = 1000
"""So many windows are remembered. A window may save in the moment in which it is closed: nobody says so afterwards.

Of so many sessions, too, which a window has turned from or left, what it saw last is kept.
"""

SECONDS_BETWEEN_SEARCHES = 60.0
"""How often, at most, it is looked which sessions are gone that nobody said were deleted."""


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
        version: of the session when the window last looked; None before the first time, or when it is to draw anew.
        round: id and state of the last round that the window was told of.
        cards: digest of what it was last told to draw; empty when that is not known.
        shown: number of the round whose cards these are, 0 for the last one.
        sent: when the last of what it saved arrived, in seconds of `time.monotonic`; 0 before the first.
    """

    session_id: str
    form: Form = field(default_factory=Form)
    title: str = ""
    version: int | None = None
    round: str = ""
    cards: str = ""
    shown: int = 0
    sent: float = 0.0


class Windows:
    """What the open windows have seen. Thread-safe.

    Saving reads what is kept, merges and writes; it is done by one window at a time, as is looking. Otherwise two that
    are saved together would each write without the other's words.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._turn = threading.Lock()
        self._windows: dict[str, _Seen] = {}
        self._past: dict[tuple[str, str], _Seen] = {}  # by window and session, of those turned from and left
        self._anew: dict[str, int] = {}  # by session: how often one of its windows was to draw again
        self._searched = time.monotonic()

    def open(self, window: str, session_id: str) -> Session:
        """Return the session that a window is about to show. Raises `mediator.store.SessionNotFound`, `StoreError`."""
        self._search_for_deleted()
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

    def draws(self, window: str, cards: str, shown: int, asked: int | None = None) -> bool:
        """Note the digest of what a window is told to draw, and of which round; returns whether it is anything new.

        Nothing is noted, and nothing is to be drawn, where the window was told of another round than ``asked`` while
        that was being drawn.
        """
        with self._turn:
            seen = self._windows.get(window)
            if seen is None:
                return True
            if asked is not None and seen.shown != asked:
                return False
            before, seen.cards, seen.shown = seen.cards, cards, shown
            return cards != before

    def draws_anew(self, window: str, shown: int) -> None:
        """Note that a window is told to show a round, and that it is not known which cards it will show.

        Answers to quick presses may pass each other, and one to a look that began before may come last. The next look
        draws what is true.
        """
        with self._turn:
            if (seen := self._windows.get(window)) is not None:
                seen.cards, seen.version, seen.shown = "", None, shown
                self._anew[seen.session_id] = self._anew.pop(seen.session_id, 0) + 1
                while len(self._anew) > MOST_WINDOWS:
                    del self._anew[next(iter(self._anew))]

    def shown(self, window: str, session_id: str) -> int:
        """Return which round a window was last told to show, 0 for the last one and for a window that is not known."""
        seen = self._windows.get(window)
        return 0 if seen is None or seen.session_id != session_id else seen.shown

    def state(self, session_id: str) -> str:
        """Return a few characters that change when a window of the session has something new to draw.

        Raises `StoreError`.
        """
        return f"{self._workspace.version(session_id)} {self._anew.get(session_id, 0)}"

    def told_the_end(self, window: str, session: Session) -> None:
        """Note that a window was told how the last round of its session ended."""
        with self._turn:
            if (seen := self._windows.get(window)) is not None and seen.session_id == session.id:
                seen.round = _last_round(session)

    def leave(self, window: str) -> None:
        """Note that a window was closed or reloaded. What it typed last may come later than this."""
        with self._turn:
            if (seen := self._windows.pop(window, None)) is not None:
                self._put_aside(window, seen)
        self._search_for_deleted()

    def forget(self, session_id: str) -> None:
        """Forget what any window saw of a session that was deleted; those that show it are told when they look."""
        with self._turn:
            self._forget(session_id)

    def look(self, window: str, session_id: str, shown: int = 0) -> Change | None:
        """Return what changed since the window last looked, or None.

        ``shown`` is the round that it says it shows; it counts for a window that is not known yet.

        Raises:
            SessionDeleted: the session that the window shows was deleted; said once.
            SessionNotFound: there is no such session.
            StoreError: it cannot be read.
        """
        self._search_for_deleted()
        with self._turn:
            if self.turned_from(window, session_id):
                return None  # while it asked
            seen = self._known(window, session_id)
            version = self._workspace.version(session_id)
            if seen is not None and seen.version == version:
                return None
            if seen is not None and not version:
                seen.version = version
                self._forget(session_id)
                raise SessionDeleted
            session = self._workspace.open(session_id)
            if seen is None:
                seen = _Seen(session_id, session.form, session.title, shown=shown)
            last = _last_round(session)
            ended = last != seen.round and bool(session.rounds) and session.rounds[-1].state != "running"
            change = Change(session, seen.form, seen.title, ended)
            seen.form, seen.title, seen.version, seen.round = session.form, session.title, version, last
            self._remember(window, seen)
            return change

    def save(
        self, window: str, session_id: str, form: Form, title: str, sent: float, *, private: bool, is_saved: bool
    ) -> str:
        """Save what is typed; what other windows typed in other fields stays.

        Args:
            window: whose words they are.
            session_id: the session, which is made if it is not there yet.
            form: all fields as the window shows them.
            title: likewise.
            sent: when they arrived, in seconds of `time.monotonic`. What arrived later and was saved earlier, as when
                these waited in a queue, stays.
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
                self._forget(session_id)
                raise SessionDeleted
            late = self.turned_from(window, session_id)
            seen = self._known(window, session_id)
            if seen is not None and sent < seen.sent and self._workspace.version(session_id):
                return session_id
            kept, name = form, title
            try:  # the Sessions tab deletes without waiting for this turn
                if is_saved and seen is not None:
                    stored = self._workspace.open(session_id)
                    kept = merged(form, seen.form, stored.form)
                    name = title if title != seen.title else stored.title
                session_id = self._workspace.save_form(session_id, kept, name, private, is_saved=is_saved)
            except SessionNotFound:
                self._forget(session_id)
                raise SessionDeleted from None
            if seen is None:
                seen = _Seen(session_id)
            seen.session_id, seen.form, seen.title, seen.sent = session_id, form, title, sent
            if not late:
                self._remember(window, seen)
            return session_id

    def clear_comment(self, window: str, session_id: str, sent: str) -> bool:
        """Empty a comment that a window sent with a round, unless another one was typed since.

        Returns:
            Whether it was emptied; the window is then to show none.

        Raises:
            SessionDeleted: there is no such session any more.
            StoreError: it cannot be saved.
        """
        with self._turn:
            try:
                form = self._workspace.open(session_id).form
                if not sent or form.comment != sent:
                    return False
                self._workspace.store_of(session_id).save_form(session_id, form.model_copy(update={"comment": ""}))
            except SessionNotFound:
                raise SessionDeleted from None
            seen = self._known(window, session_id)
            if seen is not None and seen.form.comment == sent:
                seen.form = seen.form.model_copy(update={"comment": ""})
            return True

    def _known(self, window: str, session_id: str) -> _Seen | None:
        """Return what a window saw last of a session, be it one that it has turned from or left."""
        seen = self._windows.get(window)
        return seen if seen is not None and seen.session_id == session_id else self._past.get((window, session_id))

    def _remember(self, window: str, seen: _Seen) -> None:
        """Keep what a window has seen, as that of the one heard of last. The caller holds the turn."""
        before = self._windows.pop(window, None)
        if before is not None and before.session_id != seen.session_id:
            self._put_aside(window, before)
        self._past.pop((window, seen.session_id), None)
        self._windows[window] = seen
        while len(self._windows) > MOST_WINDOWS:
            del self._windows[next(iter(self._windows))]

    def _forget(self, session_id: str) -> None:
        """Forget the words of a session; a window goes on to show it. The caller holds the turn."""
        for place in [place for place in self._past if place[1] == session_id]:
            del self._past[place]
        for seen in self._windows.values():
            if seen.session_id == session_id:
                seen.form, seen.title, seen.cards = Form(), "", ""

    def _search_for_deleted(self) -> None:
        """Forget what was deleted by another process, and the private sessions that gave way to later ones."""
        with self._turn:
            if time.monotonic() < self._searched + SECONDS_BETWEEN_SEARCHES:
                return
            self._searched = time.monotonic()
            # A page has a session before anything is saved: such a one is not gone.
            known = {
                seen.session_id
                for seen in (*self._windows.values(), *self._past.values())
                if seen.version or seen.sent or seen.form != Form()
            }
        with suppress(StoreError):  # it is said to whoever saves
            for session_id in known:  # in nobody's turn: these may be many
                if not self._workspace.version(session_id):
                    self.forget(session_id)

    def _put_aside(self, window: str, seen: _Seen) -> None:
        """Keep what a window saw of a session that it does not show any more. The caller holds the turn."""
        self._past[window, seen.session_id] = seen
        while len(self._past) > MOST_WINDOWS:
            del self._past[next(iter(self._past))]


def _last_round(session: Session) -> str:
    return f"{session.rounds[-1].id} {session.rounds[-1].state}" if session.rounds else ""

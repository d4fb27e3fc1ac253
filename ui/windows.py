"""The windows that show one session: what each has seen of it, so that none undoes what was typed in another."""

import threading
from dataclasses import dataclass

from mediator.errors import InputError
from mediator.session import Form, Session
from ui.shared_form import merged
from ui.workspace import Workspace


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


class Windows:
    """What the open windows have seen.

    Saving reads what is kept, merges and writes; it is done by one window at a time, as is looking. Otherwise two that
    are saved together would each write without the other's words.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._turn = threading.Lock()
        self._seen: dict[str, int] = {}
        self._known: dict[str, tuple[Form, str]] = {}

    def open(self, window: str, session_id: str) -> Session:
        """Return the session that a window is about to show. Raises `mediator.store.SessionNotFound`, `StoreError`."""
        with self._turn:
            version = self._workspace.version(session_id)
            session = self._workspace.open(session_id)
            self._seen[window], self._known[window] = version, (session.form, session.title)
            return session

    def shows(self, window: str, form: Form, title: str) -> None:
        """Note what a window was made to show."""
        with self._turn:
            self._known[window] = (form, title)

    def leave(self, window: str) -> None:
        """Forget a window that was closed or reloaded."""
        with self._turn:
            self._seen.pop(window, None)
            self._known.pop(window, None)

    def look(self, window: str, session_id: str) -> Change | None:
        """Return what changed since the window last looked, or None. Raises `StoreError`, `SessionNotFound`."""
        with self._turn:
            version = self._workspace.version(session_id)
            if version == self._seen.get(window):
                return None
            session = self._workspace.open(session_id)
            form, title = self._known.get(window, (session.form, session.title))
            self._seen[window], self._known[window] = version, (session.form, session.title)
            return Change(session, form, title)

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
            kept, name = form, title
            if is_saved and (known := self._known.get(window)) is not None:
                stored = self._workspace.open(session_id)
                kept = merged(form, known[0], stored.form)
                name = title if title != known[1] else stored.title
            session_id = self._workspace.save_form(session_id, kept, name, private)
            self._known[window] = (form, title)
            return session_id

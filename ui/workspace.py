"""What the Mediate page does to a session, whichever window asks: open, save, propose, mark, edit, rate."""

import re
import threading
from collections.abc import Sequence

from mediator.acceptance import Kind, reading
from mediator.audit_keeping import kept
from mediator.errors import InputError
from mediator.mediation import MediationOptions, check_length
from mediator.models import parse_model
from mediator.schema import Dispute, Scores
from mediator.sentences import SentenceInfluence, influence
from mediator.session import Form, Mark, Proposal, Round, Session, leading_to, now
from mediator.store import Store, default_store
from mediator.swap_audit import SwapAudit
from ui.engine import Engine
from ui.forms import dispute_of, options_of
from ui.running import Mediations, Running

LONGEST_PROPOSAL = 10_000
"""Characters of a proposal that somebody edits."""

MOST_PRIVATE_SESSIONS = 200
"""Private sessions held in memory; with more, the one that was changed longest ago goes."""


def is_session_id(text: str) -> bool:
    """Whether a text has the form of a session's id: 32 hexadecimal digits."""
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None


class Workspace:
    """All sessions of this app: those on disk, and the private ones in memory. Thread-safe.

    ``store`` keeps what is not private; None for the one in the platform's data folder, opened when first needed.
    """

    def __init__(self, engine: Engine, store: Store | None = None) -> None:
        self.engine = engine
        self.mediations = Mediations(engine)
        self._disk = store
        self._memory = Store(None)
        self._consents: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    @property
    def disk(self) -> Store:
        """The store on disk. Raises `StoreError` when it cannot be opened."""
        with self._lock:
            if self._disk is None:
                self._disk = default_store()
            return self._disk

    def store_of(self, session_id: str) -> Store:
        """Return where a session is kept. Raises `StoreError` when the disk is needed and cannot be used."""
        return self._memory if self._memory.version(session_id) else self.disk

    def is_private(self, session_id: str) -> bool:
        """Whether a session is in memory only."""
        return bool(session_id) and bool(self._memory.version(session_id))

    def open(self, session_id: str) -> Session:
        """Return a session. Raises `SessionNotFound`, or `StoreError`."""
        session = self.store_of(session_id).get(session_id)
        return session.model_copy(update={"private": self.is_private(session_id)})

    def version(self, session_id: str) -> int:
        """Return the number of changes of a session, 0 for one that is not there."""
        return self.store_of(session_id).version(session_id) if session_id else 0

    def create(self, form: Form, title: str, private: bool, session_id: str | None = None) -> Session:
        """Make a session, with this id if it is given and free. Raises `StoreError`."""
        if not private:
            return self.disk.create(form, title, session_id)
        for old in self._memory.list()[MOST_PRIVATE_SESSIONS - 1 :]:
            self._memory.delete(old.id)
        return self._memory.create(form, title, session_id).model_copy(update={"private": True})

    def save_form(self, session_id: str, form: Form, title: str, private: bool, *, is_saved: bool = False) -> str:
        """Save what is typed; returns the session's id. A session that is not there yet is made.

        ``is_saved``: it was saved before, so that it is not made again if it is gone.

        Raises:
            SessionNotFound: it was saved before, and deleted since.
            StoreError: it cannot be saved.
        """
        if not is_saved and not is_session_id(session_id):
            return self.create(form, title, private).id
        store = self._memory if private else self.store_of(session_id)  # a private session never needs the disk
        if not is_saved and not store.version(session_id):
            return self.create(form, title, private, session_id).id
        store.save_form(session_id, form)
        store.rename(session_id, title)
        return session_id

    def needs_consent(self, session_id: str, model: str) -> str | None:
        """Return the host to which this session's text would go for the first time, or None.

        Raises:
            UnknownModelError: the model's name fits no form.
        """
        destination = parse_model(model).destination
        return None if destination is None or (session_id, destination) in self._consents else destination

    def consent(self, session_id: str, model: str) -> None:
        """Somebody agreed that this session's text goes where the model is."""
        if (destination := parse_model(model).destination) is not None:
            self._consents.add((session_id, destination))

    def propose(
        self, session_id: str, form: Form, language: str, *, title: str = "", shown: int = 0, like: str | None = None
    ) -> tuple[Running, bool]:
        """Begin the next round after the round ``shown`` (0: the last one), and those that this one went on from.

        Returns it, and whether it is new: False when one runs already, which another window began; then nothing of
        what was asked for here is done.

        Raises:
            InputError: a side is empty or too long, or an option is out of range.
            UnknownModelError: the model's name fits no form.
            StoreError: the round cannot be saved.
        """
        dispute = dispute_of(form, language, title)
        check_length(dispute)
        parse_model(form.model)
        store = self.store_of(session_id)
        rounds = self.open(session_id).rounds
        before = leading_to(rounds, shown)
        path = {entry.id for entry in before}
        aside = tuple(entry for entry in rounds if entry.id not in path)
        options = self._options(form, dispute, before, like, language, aside)

        def begin() -> Round:
            return store.start_round(
                session_id,
                dispute,
                form.model,
                form.strategy,
                form.count,
                form.rounds,
                form.seed,
                comment=form.comment.strip(),
                like=like,
                after=before[-1].number if before else None,
            )

        return self.mediations.start(session_id, begin, dispute, options, store)

    def _options(
        self,
        form: Form,
        dispute: Dispute,
        before: tuple[Round, ...],
        like: str | None,
        language: str,
        aside: tuple[Round, ...],
    ) -> MediationOptions:
        options = options_of(form, before, like, language, aside)
        if before and before[-1].dispute != dispute:
            stale = tuple(candidate.model_copy(update={"scores": None}) for candidate in options.earlier)
            return MediationOptions(**{**vars(options), "earlier": stale})
        return options

    def mark(self, session_id: str, proposal_id: str, mark: Mark) -> None:
        """Keep or drop a proposal, or take that back. Raises `StoreError`, `InputError`."""
        self._proposal(session_id, proposal_id)
        self.store_of(session_id).mark(proposal_id, mark)

    def rate(self, session_id: str, proposal_id: str, rater: str, value: int, note: str) -> None:
        """Save how somebody takes a proposal. Raises `StoreError`, `InputError`."""
        self._proposal(session_id, proposal_id)
        self.store_of(session_id).rate(proposal_id, rater, value, note)

    def score(self, session_id: str, proposal_id: str, text: str) -> Scores:
        """Score another wording of a proposal against the views of its round. Raises `InputError`, `StoreError`."""
        entry, _ = self._proposal(session_id, proposal_id)
        return self._score(entry.dispute, text)

    def edit(self, session_id: str, proposal_id: str, text: str) -> None:
        """Save another wording of a proposal, with its scores; nothing when it is the present one.

        Raises:
            InputError: the text is empty or too long.
            StoreError: it cannot be saved.
        """
        entry, proposal = self._proposal(session_id, proposal_id)
        if text.strip() == proposal.current.text:
            return
        scores = self._score(entry.dispute, text)
        self.store_of(session_id).add_edit(proposal_id, text.strip(), scores)

    def sentences(self, session_id: str, proposal_id: str) -> Sequence[SentenceInfluence]:
        """Measure what each sentence of a proposal does to its tilt. Raises `InputError`, `StoreError`."""
        entry, proposal = self._proposal(session_id, proposal_id)
        return influence(self.engine.scorer(), entry.dispute, proposal.current.text)

    def acceptance(self, session_id: str, proposal_id: str) -> Kind | None:
        """Read how widely acceptable a proposal tends to be; None: not known. Raises `InputError`, `StoreError`."""
        _, proposal = self._proposal(session_id, proposal_id)
        return reading(self.engine.scorer(), proposal.current.text)

    def keep_audit(self, session_id: str, found: SwapAudit, dispute: Dispute, form: Form, shown: int) -> None:
        """Save a finished swap audit, as one of the round ``shown`` (0: the last one) where it was run as that was.

        Args:
            session_id: of the session.
            found: with a verdict.
            dispute: the views as they stood.
            form: what was chosen.
            shown: number of the round whose proposals were on the page.

        Raises:
            SessionNotFound: it was deleted meanwhile.
            StoreError: it cannot be saved.
        """
        audit = kept(found, dispute, form.model, options_of(form), now())
        self.store_of(session_id).add_audit(session_id, audit, shown)

    def close(self) -> None:
        """End what runs and free everything. The app ends."""
        self.mediations.stop_all()
        self.engine.close()
        self._memory.close()
        if self._disk is not None:
            self._disk.close()

    def _score(self, dispute: Dispute, text: str) -> Scores:
        if not text.strip():
            raise InputError("The text is empty.", "Write the proposal, or cancel.")
        if len(text) > LONGEST_PROPOSAL:
            raise InputError(f"The text has {len(text):,} characters.", f"Shorten it to {LONGEST_PROPOSAL:,}.")
        return self.engine.scorer().score(dispute, [text.strip()])[0]

    def _proposal(self, session_id: str, proposal_id: str) -> tuple[Round, Proposal]:
        """Find a proposal in this session: another one's cannot be reached from here."""
        for entry in self.open(session_id).rounds:
            for proposal in entry.proposals:
                if proposal.id == proposal_id:
                    return entry, proposal
        raise InputError("This proposal is not there any more.", "Reload the page.")

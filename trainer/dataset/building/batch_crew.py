"""Drafting by batches: what all disputes ask next goes out together, wave after wave, until none asks any more."""

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from mediator.cancellation import Cancellation, Cancelled
from mediator.mediation import MediationOptions
from mediator.strategies import Scorer
from mediator.writers.base import (
    Overloaded,
    RateLimited,
    RequestRejected,
    Stalled,
    Unreachable,
    WriterError,
)
from mediator.writers.language_model import LanguageModelWriter
from trainer.dataset.building.batch_api import AnsweredModel, BatchClient, NotDone
from trainer.dataset.building.batch_journal import Answer, BatchJournal
from trainer.dataset.building.crew import Outcome, draft
from trainer.dataset.building.provider_limits import ProviderGate, Waits
from trainer.dataset.data import Example

MOST_REQUESTS = 10_000
"""Requests in one batch; the provider takes 100,000."""

MOST_BYTES = 100_000_000
"""Bytes of one batch; the provider takes 256 MB."""

_TRIES = 3
"""Batches in which a request is sent that expires, or on which the provider fails."""

_CLOCKS = 900.0
"""Seconds by which this computer's clock and the provider's may differ."""

_POLL = 20.0
"""Seconds between two questions whether a batch has ended."""


class BatchCrew:
    """Drafts disputes with Claude through batches.

    A dispute is drafted by the same code as with the streaming writer, from the answers on disk: what it asks that has
    no answer yet goes into the next batch, and then it is drafted anew from the start, up to its next question. The
    candidates that `cot-feedback` sends back depend on scores alone, which repeat exactly.
    """

    def __init__(
        self,
        client: BatchClient,
        journal: BatchJournal,
        scorer: Scorer,
        options: MediationOptions,
        tell: Callable[[str], None] = lambda words: None,
        poll: float = _POLL,
        waits: Waits | None = None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            client: speaks to the provider.
            journal: remembers batches and answers.
            scorer: of the candidates.
            options: what to ask for.
            tell: told in a sentence what is sent and waited for.
            poll: seconds between two questions whether a batch has ended.
            waits: how to wait while the provider takes no batch.
        """
        self._client, self._journal, self._scorer, self._options = client, journal, scorer, options
        self._tell, self._poll, self._waits = tell, poll, waits or Waits()
        self._errors: dict[str, WriterError] = {}
        self._sent: dict[str, int] = {}
        self._model = AnsweredModel(client.model, journal.answers, self._errors, client.destination)
        self._writer = LanguageModelWriter(self._model)

    def outcomes(self, examples: Iterable[Example], cancel: Cancellation) -> Generator[Outcome | None, None, None]:
        """See `Crew.outcomes`. Raises `WriterError` when the provider takes no batch, or gives none back."""
        pending = list(examples)
        try:
            while pending and not cancel.cancelled:
                yield from self._fetch_all(cancel)
                wanted: dict[str, dict[str, Any]] = {}
                waiting: list[Example] = []
                for example in pending:
                    self._model.wanted = {}
                    outcome = draft(
                        example, self._writer, self._scorer, self._options, cancel, ProviderGate(1), Waits(tries=1)
                    )
                    if self._model.wanted:
                        wanted.update(self._model.wanted)
                        waiting.append(example)
                        yield None
                    else:
                        yield outcome
                pending = waiting
                for chunk in _chunks(wanted):
                    yield from self._send(chunk, cancel)
        except Cancelled:
            return

    def _send(self, requests: dict[str, dict[str, Any]], cancel: Cancellation) -> Iterator[None]:
        """Send one batch, exactly once."""
        attempt = 0
        name = self._journal.announce(requests)
        while True:
            try:
                batch = self._client.send(requests, cancel)
                break
            except (RateLimited, Overloaded, Unreachable, Stalled) as error:
                attempt += 1
                if not isinstance(error, RateLimited) and (found := self._find(name, cancel)):
                    batch = found
                    break
                if attempt >= self._waits.tries:
                    self._journal.dropped(name)
                    raise
                yield from _pause(self._waits.after(attempt - 1, None), cancel)
            except WriterError:
                self._journal.dropped(name)
                raise
        self._journal.named(name, batch)
        self._tell(f"Batch {batch} with {len(requests):,} requests is sent; it may take up to 24 hours.")

    def _fetch_all(self, cancel: Cancellation) -> Iterator[None]:
        """Wait for every batch that is under way, also those of an earlier call, and keep their answers."""
        for name in list(self._journal.unnamed):  # a kill came between the sending and the name
            if found := self._find(name, cancel):
                self._journal.named(name, found)
                self._tell(f"Batch {found} had been sent before the last call was killed; it is not sent again.")
            else:
                self._journal.dropped(name)
        for name, batch in list(self._journal.batches.items()):
            if batch.id is None:  # all have a name by now
                continue
            self._tell(f"Waiting for batch {batch.id}. Ctrl-C leaves it running; the next call fetches it.")
            while not self._client.has_ended(batch.id, cancel):
                yield from _pause(self._poll, cancel)
            results = self._client.results(batch.id, cancel)
            missing = NotDone("The batch ended without a result for this request.", "Try again.")
            self._keep(name, {key: results.get(key, missing) for key in batch.keys})
            yield None

    def _keep(self, name: str, results: dict[str, Answer | WriterError]) -> None:
        self._journal.fetched(name, {key: found for key, found in results.items() if isinstance(found, Answer)})
        for key, found in results.items():
            if isinstance(found, Answer):
                continue
            self._sent[key] = self._sent.get(key, 0) + 1
            if not isinstance(found, NotDone):
                self._errors[key] = found
            elif not found.again or self._sent[key] >= _TRIES:
                self._errors[key] = RequestRejected(found.message, found.hint)

    def _find(self, name: str, cancel: Cancellation) -> str | None:
        """Ask the provider for a batch that was announced and never named; None if it has none such.

        A batch has nothing of ours on it but its size and its time, until its results show their keys.
        """
        announced = self._journal.batches[name]
        for batch in self._client.recent(cancel):
            alike = batch["requests"] == len(announced.keys) and batch["created"] >= announced.at - _CLOCKS
            if alike and not self._journal.is_known(batch["id"]):
                return str(batch["id"])
        return None


def _chunks(requests: dict[str, dict[str, Any]]) -> Iterator[dict[str, dict[str, Any]]]:
    """Divide requests into batches that the provider takes."""
    chunk: dict[str, dict[str, Any]] = {}
    size = 0
    for key, request in requests.items():
        length = len(json.dumps(request)) + 100
        if chunk and (len(chunk) >= MOST_REQUESTS or size + length > MOST_BYTES):
            yield chunk
            chunk, size = {}, 0
        chunk[key] = request
        size += length
    if chunk:
        yield chunk


def _pause(seconds: float, cancel: Cancellation) -> Iterator[None]:
    """Let time pass, with a sign of life now and then. Raises `Cancelled`."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        cancel.raise_if_cancelled()
        time.sleep(min(0.25, left))
        yield None
    cancel.raise_if_cancelled()

"""A few things lent out one at a time, made when first needed, and first come, first served among those who wait."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")


class PoolClosed(RuntimeError):
    """The pool was closed: there is nothing to lend any more."""

    def __init__(self) -> None:
        super().__init__("closed: there is nothing to lend any more")


class FairPool(Generic[Item]):
    """Lends items to threads. Thread-safe.

    A plain lock goes to whoever asks at the right moment, often to the thread that has just released it: under load
    some would wait without end. Here a returned item goes to whoever has waited longest.

    Args:
        first: the item that is there from the start.
        make: makes one more; when it fails, those that are there have to do.
        most: how many items there may be, >= 1.
        dispose: frees one item.
    """

    def __init__(self, first: Item, make: Callable[[], Item], most: int, dispose: Callable[[Item], None]) -> None:
        self._make, self._most, self._dispose = make, most, dispose
        self._lock = threading.Lock()
        self._returned = threading.Condition(self._lock)
        self._free: list[Item] = [first]
        self._made = 1
        self._waiting: deque[_Ticket[Item]] = deque()
        self._closed = False

    @contextmanager
    def lend(self) -> Iterator[Item]:
        """Lend one item for the block; waits for its turn. Raises `PoolClosed`."""
        item = self._take()
        try:
            yield item
        finally:
            with self._lock:
                self._give(item)

    def close(self) -> None:
        """Wait until all is returned, and free it. Those who wait get `PoolClosed`. Safe to call twice."""
        with self._lock:
            self._closed = True
            while self._waiting:
                self._waiting.popleft().turn.set()
            while len(self._free) < self._made:
                self._returned.wait()
            items, self._free, self._made = self._free, [], 0
        for item in items:
            self._dispose(item)

    def _take(self) -> Item:
        with self._lock:
            if self._closed:
                raise PoolClosed
            if self._free:  # then nobody waits
                return self._free.pop()
            room = self._made < self._most
            if room:
                self._made += 1
            else:
                ticket = self._queue_up()
        if room:
            try:
                return self._make()
            except Exception:  # noqa: BLE001 - most likely memory; an item is there already, so no work is lost
                with self._lock:
                    self._made -= 1
                    self._most = self._made
                    if self._free:
                        return self._free.pop()
                    ticket = self._queue_up()
        return self._wait(ticket)

    def _queue_up(self) -> "_Ticket[Item]":
        """Take a place at the end; the caller holds the lock."""
        ticket: _Ticket[Item] = _Ticket()
        if self._closed:  # while another item was being made, which failed
            ticket.turn.set()
            self._returned.notify_all()
        else:
            self._waiting.append(ticket)
        return ticket

    def _wait(self, ticket: "_Ticket[Item]") -> Item:
        try:
            ticket.turn.wait()
        except BaseException:  # Ctrl+C
            with self._lock:
                if ticket in self._waiting:
                    self._waiting.remove(ticket)
                for item in ticket.items:
                    self._give(item)
            raise
        if not ticket.items:
            raise PoolClosed
        return ticket.items[0]

    def _give(self, item: Item) -> None:
        """Hand an item to whoever has waited longest, or keep it. The caller holds the lock."""
        if self._waiting:
            ticket = self._waiting.popleft()
            ticket.items.append(item)
            ticket.turn.set()
        else:
            self._free.append(item)
            self._returned.notify_all()


class _Ticket(Generic[Item]):
    """One who waits; ``items`` is what was handed over, nothing when the pool was closed."""

    def __init__(self) -> None:
        self.turn = threading.Event()
        self.items: list[Item] = []

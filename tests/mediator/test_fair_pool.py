"""mediator/fair_pool.py: what is lent comes back to whoever has waited longest, and nobody is forgotten."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.patience import until

from mediator.fair_pool import FairPool, PoolClosed


def numbers(most: int, disposed: list[int] | None = None) -> FairPool[int]:
    """A pool of 0, 1, 2, ..."""
    further = iter(range(1, 100))
    return FairPool(0, lambda: next(further), most, (disposed if disposed is not None else []).append)


def test_a_second_item_is_made_only_when_two_are_needed_at_once() -> None:
    made: list[int] = []
    pool = FairPool(0, lambda: made.append(1) or 1, 2, lambda _: None)  # type: ignore[func-returns-value]
    for _ in range(3):
        with pool.lend() as item:
            assert item == 0
    assert made == []
    with pool.lend() as one, pool.lend() as other:
        assert {one, other} == {0, 1}
    with pool.lend(), pool.lend():
        assert made == [1]


def test_whoever_waits_longest_is_next_also_before_the_one_who_has_just_returned_it() -> None:
    pool, order = numbers(1), list[str]()
    threads = []
    with pool.lend():
        for name in ("first", "second", "third"):

            def wait(name: str = name) -> None:
                with pool.lend():
                    order.append(name)

            threads.append(threading.Thread(target=wait))
            threads[-1].start()
            until(lambda: len(pool._waiting) == len(threads))
    with pool.lend():  # asks at once after returning, as a thread in a loop does
        order.append("again")
    for thread in threads:
        thread.join()
    assert order == ["first", "second", "third", "again"]


def test_a_thread_in_a_loop_does_not_starve_the_others() -> None:
    pool, order, stop = numbers(1), list[int](), threading.Event()

    def loop(number: int) -> None:
        while not stop.is_set():
            with pool.lend():
                order.append(number)
                time.sleep(0.0005)

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: set(order) == set(range(8)))
    del order[:]
    until(lambda: len(order) > 400)
    stop.set()
    for thread in threads:
        thread.join()
    turns = [order.count(number) for number in range(8)]
    assert max(turns) < 2 * min(turns), turns


def test_never_more_than_there_are() -> None:
    pool, inside, most, lock = numbers(3), 0, 0, threading.Lock()

    def work(_: int) -> None:
        nonlocal inside, most
        with pool.lend():
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.001)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(12) as threads:
        assert len(list(threads.map(work, range(200)))) == 200
    assert most == 3


def test_what_cannot_be_made_is_done_without() -> None:
    def make() -> int:
        attempts.append(1)
        raise MemoryError

    attempts: list[int] = []
    pool, got = FairPool(0, make, 4, lambda _: None), list[int]()

    def wait() -> None:
        with pool.lend() as item:
            got.append(item)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    with pool.lend():
        for thread in threads:
            thread.start()
        until(lambda: len(pool._waiting) == 3)
    for thread in threads:
        thread.join()
    assert got == [0, 0, 0]
    assert len(attempts) <= 3


def test_closing_waits_for_what_is_lent_and_sends_home_who_waits() -> None:
    disposed: list[int] = []
    pool, failures = numbers(1, disposed), list[BaseException]()

    def wait() -> None:
        try:
            with pool.lend():
                pass
        except PoolClosed as error:
            failures.append(error)

    waiting, closing = threading.Thread(target=wait), threading.Thread(target=pool.close)
    with pool.lend():
        waiting.start()
        until(lambda: len(pool._waiting) == 1)
        closing.start()
        waiting.join(5)
        assert len(failures) == 1
        assert closing.is_alive()
        assert disposed == []
    closing.join(5)
    assert disposed == [0]
    pool.close()
    assert disposed == [0]
    with pytest.raises(PoolClosed), pool.lend():
        pass

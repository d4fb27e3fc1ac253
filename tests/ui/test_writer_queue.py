"""ui/writer_queue.py: nobody overtakes, everybody knows their place, and who gives up is gone at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.patience import PATIENCE, until

from mediator.cancellation import Cancellation, Cancelled
from ui.writer_queue import EngineClosed, WriterQueue


class Person:
    """Somebody in the line, in a thread of their own."""

    def __init__(self, queue, name=""):
        self.cancel, self.positions = Cancellation(), []
        self.inside, self.may_leave, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.failure = None
        self._thread = threading.Thread(target=self._stand, args=(queue, name), daemon=True)
        self._thread.start()

    def _stand(self, queue, name):
        try:
            with queue.turn(name, self.cancel, self.positions.append):
                self.inside.set()
                assert self.may_leave.wait(2 * PATIENCE)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.failure = error
        self.ended.set()

    def leave(self):
        self.may_leave.set()
        assert self.ended.wait(PATIENCE)


def line(queue, length):
    """People who came one after the other, each in the line before the next."""
    people = []
    for number in range(length):
        people.append(Person(queue, str(number)))
        until(lambda: people[-1].inside.is_set() or people[-1].positions)
    return people


def test_who_finds_a_place_free_waits_for_nothing():
    queue = WriterQueue(2)
    one, other = line(queue, 2)
    assert one.positions == other.positions == []
    assert one.inside.is_set()
    assert other.inside.is_set()
    one.leave()
    other.leave()


def test_each_is_told_every_place_on_the_way_and_nobody_overtakes():
    queue = WriterQueue(1)
    people = line(queue, 5)
    left = list(people)
    while left:
        person = left.pop(0)
        assert person.inside.wait(PATIENCE)
        assert not any(later.inside.is_set() for later in left)
        until(lambda: [later.positions[-1] for later in left] == list(range(1, len(left) + 1)))
        person.leave()
    assert [person.positions for person in people] == [list(range(place, 0, -1)) for place in range(5)]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_who_gives_up_is_gone_at_once_and_those_behind_move_up(which):
    queue = WriterQueue(1)
    first, *waiting = line(queue, 4)
    waiting[which].cancel.cancel()
    assert waiting[which].ended.wait(PATIENCE), "it waited for its turn"
    assert isinstance(waiting[which].failure, Cancelled)
    left = [person for number, person in enumerate(waiting) if number != which]
    until(lambda: [person.positions[-1] for person in left] == [1, 2])
    assert not first.ended.is_set()
    for person in (first, *left):
        assert person.inside.wait(PATIENCE)
        person.leave()


def test_cancelling_beforehand_does_not_even_queue_up():
    queue, cancel = WriterQueue(1), Cancellation()
    cancel.cancel()
    with pytest.raises(Cancelled), queue.turn("", cancel):
        pass
    with queue.turn():
        pass


@pytest.mark.parametrize("_", range(100))
def test_giving_up_in_the_moment_of_admission_loses_no_place(_):
    queue, start = WriterQueue(1), threading.Barrier(2)
    first, second = line(queue, 2)
    second.may_leave.set()
    canceller = threading.Thread(target=lambda: (start.wait(), second.cancel.cancel()))
    canceller.start()
    start.wait()
    first.leave()
    canceller.join()
    assert second.ended.wait(PATIENCE)
    third = Person(queue)
    assert third.inside.wait(PATIENCE)
    third.leave()


def test_a_failure_inside_or_in_the_listener_frees_the_place():
    queue = WriterQueue(1)
    with pytest.raises(ZeroDivisionError), queue.turn():
        raise ZeroDivisionError
    holder = Person(queue)
    assert holder.inside.wait(PATIENCE)

    def listener(_position):
        raise LookupError

    with pytest.raises(LookupError), queue.turn("", None, listener):
        pass
    holder.leave()
    with queue.turn():
        pass


def test_closing_sends_home_who_waits():
    queue = WriterQueue(1)
    holder, waiting = line(queue, 2)
    queue.close()
    queue.close()
    assert waiting.ended.wait(PATIENCE)
    assert isinstance(waiting.failure, EngineClosed)
    assert "closed" in str(waiting.failure)
    holder.leave()
    assert holder.failure is None
    with pytest.raises(EngineClosed), queue.turn():
        pass


def test_the_waiting_are_counted_by_what_they_wait_for():
    queue = WriterQueue(1)
    people = [Person(queue, "one")]
    assert people[0].inside.wait(PATIENCE)
    for name in ("one", "other", "one"):
        people.append(Person(queue, name))
        until(lambda: people[-1].positions)
    assert (queue.waiting("one"), queue.waiting("other"), queue.waiting("nobody")) == (2, 1, 0)
    for person in people:
        person.leave()
    assert queue.waiting("one") == 0


@pytest.mark.parametrize("places", [1, 2, 8])
def test_never_more_inside_than_places_and_all_get_their_turn(places):
    queue, inside, most, lock = WriterQueue(places), 0, 0, threading.Lock()

    def work(_):
        nonlocal inside, most
        with queue.turn():
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.001)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(24) as pool:
        assert len(list(pool.map(work, range(300)))) == 300
    assert most == places


def test_a_queue_without_places_is_refused():
    with pytest.raises(ValueError, match="0 places"):
        WriterQueue(0)

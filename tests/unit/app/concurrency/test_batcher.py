from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app.concurrency.batcher import Batches, GrowingBatches
from app.concurrency.future import Future
from tests.support.fibers import in_a_fiber

SOON = 20


class Slow:
    """Performs when it is let, and keeps what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.busy = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[Exception | None]:
        self.busy.set()
        assert self.gate.wait(SOON)
        self.batches.append(list(items))
        return [ValueError(f"{i}") if i < 0 else None for i in items]


@pytest.fixture
def slow() -> Slow:
    return Slow()


def test_what_gathers_meanwhile_is_one_batch_in_order(slow: Slow) -> None:
    made = Batches("test", slow, 10)
    first = made.submit(0)
    assert slow.busy.wait(SOON)
    rest = [made.submit(n) for n in range(1, 6)]
    slow.gate.set()
    for reply in (first, *rest):
        assert reply.result(SOON) is None
    assert slow.batches == [[0], [1, 2, 3, 4, 5]]
    made.close()


def test_no_more_than_so_many(slow: Slow) -> None:
    made = Batches("test", slow, 3)
    replies = [made.submit(n) for n in range(10)]
    slow.gate.set()
    for reply in replies:
        reply.result(SOON)
    assert max(map(len, slow.batches)) <= 3
    assert [i for batch in slow.batches for i in batch] == list(range(10))
    made.close()


def test_each_has_its_own_error(slow: Slow) -> None:
    slow.gate.set()
    made = Batches("test", slow, 10)
    good, bad = made.submit(1), made.submit(-1)
    assert good.exception(SOON) is None
    assert str(bad.exception(SOON)) == "-1"
    made.close()


def test_what_is_raised_is_the_error_of_all_and_the_next_is_done() -> None:
    refuse = threading.Event()
    refuse.set()

    def perform(items: Sequence[int]) -> list[Exception | None]:
        if refuse.is_set():
            raise ConnectionError("away")
        return [None] * len(items)

    made = Batches("test", perform, 10)
    assert isinstance(made.submit(1).exception(SOON), ConnectionError)
    refuse.clear()
    assert made.submit(2).exception(SOON) is None
    made.close()


def test_closing_does_what_is_queued(slow: Slow) -> None:
    made = Batches("test", slow, 2)
    replies = [made.submit(n) for n in range(5)]
    slow.gate.set()
    made.close()
    assert [r.exception(0) for r in replies] == [None] * 5


def test_after_closing_nothing_waits_for_ever(slow: Slow) -> None:
    slow.gate.set()
    made = Batches("test", slow, 2)
    made.close()
    with pytest.raises(RuntimeError, match="closed"):
        made.submit(1).result(SOON)
    assert slow.batches == []


def test_what_is_no_error_is_the_reply() -> None:
    made: Batches[int] = Batches("test", lambda items: [n * n for n in items], 10)
    assert [made.submit(n).result(SOON) for n in (2, 3)] == [4, 9]
    made.close()


def test_a_lone_fiber_does_it_itself() -> None:
    did: list[int] = []

    def perform(items: Sequence[int]) -> list[int]:
        did.append(threading.get_ident())
        return [-n for n in items]

    made: Batches[int] = Batches("test", perform, 10)
    here, reply = in_a_fiber(lambda: (threading.get_ident(), made.submit(1)))
    assert reply.done()
    assert (reply.result(0), did) == (-1, [here])
    assert made.submit(2).result(SOON) == -2
    assert did[1] != here
    made.close()


def test_but_not_while_the_thread_is_at_it(slow: Slow) -> None:
    made = Batches("test", slow, 10)
    first = made.submit(1)
    assert slow.busy.wait(SOON)
    reply = in_a_fiber(lambda: made.submit(2))
    assert not reply.done()
    slow.gate.set()
    assert first.exception(SOON) is reply.exception(SOON) is None
    assert slow.batches == [[1], [2]]
    made.close()


def test_a_lone_fiber_keeps_the_order_of_what_it_asked_before() -> None:
    """Also of what it could not do itself, and hands over at the end of its turn."""
    did: list[int] = []

    def perform(items: Sequence[int]) -> list[None]:
        did.extend(items)
        return [None] * len(items)

    made: Batches[int] = Batches("test", perform, 10)

    def ask() -> list[Future[None]]:
        with made._performing:  # as by the thread, with what others have asked
            first = made.submit(1)
        return [first, made.submit(2)]

    for reply in in_a_fiber(ask):
        assert reply.result(SOON) is None
    assert did == [1, 2]
    made.close()


def test_what_is_handed_over_behind_the_end_does_not_wait_for_ever(slow: Slow) -> None:
    slow.gate.set()
    made = Batches("test", slow, 2)

    def ask() -> Future[None]:
        with made._performing:
            reply = made.submit(1)
        made.close()
        return reply

    with pytest.raises(RuntimeError, match="closed"):
        in_a_fiber(ask).result(SOON)
    assert slow.batches == []


@pytest.mark.parametrize("most", [10, 4])
def test_a_growing_batch_takes_in_what_came_while_it_waited(slow: Slow, most: int) -> None:
    taken: list[list[int]] = []

    def perform(items: Sequence[int], more: Callable[[], Sequence[int]]) -> Sequence[int]:
        slow.busy.set()
        assert slow.gate.wait(SOON)
        taken.append([*items, *more()])
        assert not more()
        return taken[-1]

    made = GrowingBatches("test", perform, most)
    first = made.submit(0)
    assert slow.busy.wait(SOON)
    rest = [made.submit(n) for n in range(1, 6)]
    slow.gate.set()
    assert [reply.result(SOON) for reply in (first, *rest)] == [*range(6)]
    assert [n for batch in taken for n in batch] == [*range(6)]
    assert taken[0] == [*range(min(most, 6))]
    made.close()


def test_a_growing_batch_that_takes_in_the_end_is_the_last(slow: Slow) -> None:
    def perform(items: Sequence[int], more: Callable[[], Sequence[int]]) -> Sequence[int]:
        slow.busy.set()
        assert slow.gate.wait(SOON)
        return [*items, *more()]

    made = GrowingBatches("test", perform, 10)
    replies = [made.submit(0)]
    assert slow.busy.wait(SOON)
    replies += [made.submit(n) for n in (1, 2)]
    closing = threading.Thread(target=made.close)
    closing.start()
    while not made._closed:
        time.sleep(0.001)
    slow.gate.set()
    closing.join(SOON)
    assert [reply.result(SOON) for reply in replies] == [0, 1, 2]
    assert not made._thread.is_alive()


def test_what_the_other_one_that_performs_has_taken_is_not_waited_for() -> None:
    """A lone fiber takes in what is queued beside the thread, which is quicker here."""

    class Taken(queue.SimpleQueue[Any]):
        """Seems to hold something until one looks for it."""

        def empty(self) -> bool:
            return False

    made: GrowingBatches[int] = GrowingBatches("test", lambda items, more: [*items, *more()], 10)
    made.close()  # its thread is not there to take anything
    made._queue, reply = Taken(), Future[int]()
    threading.Thread(target=made._do, args=([(2, reply)],), daemon=True).start()
    assert reply.result(SOON) == 2


def test_the_end_is_the_thread_s_whoever_finds_it() -> None:
    made: GrowingBatches[int] = GrowingBatches("test", lambda items, more: [*items, *more()], 10)
    made.close()
    made._queue, reply = queue.SimpleQueue(), Future[int]()
    made._queue.put(None)
    made._do([(2, reply)])
    assert reply.result(0) == 2
    assert made._queue.get_nowait() is None


def test_who_came_last_hears_why_a_growing_batch_failed() -> None:
    def fails(_: Sequence[int], more: Callable[[], Sequence[int]]) -> Sequence[int]:
        more()
        raise RuntimeError("no")

    made = GrowingBatches("test", fails, 10)
    for reply in [made.submit(n) for n in range(5)]:
        with pytest.raises(RuntimeError, match="no"):
            reply.result(SOON)
    made.close()


class Seen(queue.SimpleQueue[Any]):
    """A queue that was looked at before the thread took what was in it."""

    def empty(self) -> bool:
        return False


def test_who_is_alone_does_not_wait_for_what_the_thread_has_taken() -> None:
    made: Batches[int] = Batches("test", lambda items: [None] * len(items), 10)
    thread_s, made._queue = made._queue, Seen()
    gathering = threading.Thread(target=made._gather, args=([],), daemon=True)
    gathering.start()
    gathering.join(SOON)
    assert not gathering.is_alive()
    made._queue = thread_s
    made.close()


def test_who_is_alone_leaves_the_end_to_the_thread() -> None:
    made: Batches[int] = Batches("test", lambda items: [None] * len(items), 10)
    thread_s, made._queue = made._queue, Seen()
    batch: list[tuple[int, Future[None]]] = []
    made._queue.put((1, Future()))
    made._queue.put(None)
    made._gather(batch)
    assert [item for item, _ in batch] == [1]
    assert made._queue.get_nowait() is None
    made._queue = thread_s
    made.close()

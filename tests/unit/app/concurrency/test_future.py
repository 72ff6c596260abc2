from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from app.concurrency.future import Future

SOON = 20


def test_value_and_error() -> None:
    value: Future[int] = Future()
    assert not value.done()
    assert value.set_result(5)
    assert (value.done(), value.result(), value.exception()) == (True, 5, None)
    error: Future[int] = Future()
    assert error.set_exception(KeyError("no"))
    assert isinstance(error.exception(), KeyError)
    with pytest.raises(KeyError):
        error.result()


def test_the_first_answer_stays() -> None:
    reply: Future[int] = Future()
    reply.set_result(1)
    assert not reply.set_result(2)
    assert not reply.set_exception(ValueError())
    assert reply.result() == 1


@pytest.mark.parametrize("turn", range(50))
def test_one_of_many_threads_answers(turn: int) -> None:
    reply: Future[int] = Future()
    told: list[Future[int]] = []
    won: list[int] = []
    reply.add_done_callback(told.append)
    gate = threading.Barrier(4)

    def answer(n: int) -> None:
        gate.wait(SOON)
        if reply.set_result(n):
            won.append(n)

    threads = [threading.Thread(target=answer, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert won == [reply.result()]
    assert told == [reply]


def test_no_callback_is_lost_to_an_answer_at_the_same_time() -> None:
    def tell(told: threading.Event, _: Future[None]) -> None:
        told.set()

    for _ in range(200):
        reply: Future[None] = Future()
        told = threading.Event()
        thread = threading.Thread(target=reply.set_result, args=(None,))
        thread.start()
        reply.add_done_callback(partial(tell, told))
        assert told.wait(SOON)
        thread.join(SOON)


def test_many_wait_for_one() -> None:
    reply: Future[str] = Future()
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(reply.result(SOON))) for _ in range(5)]
    for thread in threads:
        thread.start()
    reply.set_result("here")
    for thread in threads:
        thread.join(SOON)
    assert got == ["here"] * 5


def test_waiting_has_an_end() -> None:
    reply: Future[None] = Future()
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        reply.result(timeout=0.05)
    assert time.monotonic() - begin >= 0.04
    reply.set_result(None)  # who gave up is told too, and does not mind
    assert reply.result(timeout=0) is None


def test_a_callback_that_fails_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    reply: Future[None] = Future()
    told: list[str] = []

    def fail(_: object) -> None:
        raise RuntimeError("mine")

    reply.add_done_callback(fail)
    reply.add_done_callback(lambda _: told.append("second"))
    reply.set_result(None)
    reply.add_done_callback(lambda _: told.append("afterwards"))
    assert told == ["second", "afterwards"]
    assert "A callback of a reply failed" in caplog.text

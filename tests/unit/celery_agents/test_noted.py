from __future__ import annotations

import logging
import os
import threading

import pytest

from celery_agents.noted import PAUSE_S, Notes

log = logging.getLogger("test.noted")
KEY = "sk-live-" + "0123456789abcdef0123456789"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def notes(clock: Clock) -> Notes:
    return Notes(clock)


def test_the_first_is_told_the_others_are_counted(
    notes: Notes, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(1000):
        notes.note(log, "disk", "Not written by %s", "me", error=OSError("full"))
    assert caplog.messages == ["Not written by me: OSError: full"]
    assert caplog.records[0].levelno == logging.WARNING
    assert notes.counts() == {"disk": 1000}
    clock.now += PAUSE_S
    notes.note(log, "disk", "Not written by %s", "you", error=OSError("full"))
    assert caplog.messages[1:] == [
        "Not written by you: OSError: full (999 more since the last such line)"
    ]
    clock.now += PAUSE_S
    notes.note(log, "disk", "Not written")
    assert caplog.messages[2:] == ["Not written"]


def test_each_place_has_a_line_of_its_own(notes: Notes, caplog: pytest.LogCaptureFixture) -> None:
    for place in ("a", "b", "a", "c"):
        notes.note(log, place, "At %s", place)
    assert caplog.messages == ["At a", "At b", "At c"]
    assert notes.counts() == {"a": 2, "b": 1, "c": 1}


def test_whose_it_is_has_lines_of_its_own_and_counts_with_the_others(
    notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    for who in ("a", "b", "a"):
        notes.note(log, "raised", "%s failed", who, of=who)
    assert caplog.messages == ["a failed", "b failed"]
    assert notes.counts() == {"raised": 3}


@pytest.mark.parametrize("trace", [False, True])
def test_secrets_are_not_told(
    notes: Notes, caplog: pytest.LogCaptureFixture, *, trace: bool
) -> None:
    with pytest.raises(ValueError, match="not known") as caught:
        raise ValueError(f"the key {KEY} is not known")
    notes.note(log, "key", "Refused", error=caught.value, trace=trace)
    assert KEY not in caplog.text
    assert "the key *** is not known" in caplog.text
    assert ("test_secrets_are_not_told" in caplog.text) is trace


def fail(error: Exception) -> None:
    raise error


def test_noting_passes_on_what_is_not_expected(
    notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    with notes.noting(log, "a", "Not done", OSError, KeyError):
        fail(KeyError("k"))
    with (
        pytest.raises(ValueError, match="no"),
        notes.noting(log, "a", "Not done", OSError, KeyError),
    ):
        fail(ValueError("no"))
    with notes.noting(log, "b", "Not done at all"):
        fail(ValueError("no"))
    assert caplog.messages == ["Not done: KeyError: 'k'", "Not done at all: ValueError: no"]
    assert notes.counts() == {"a": 1, "b": 1}


def test_many_threads_lose_no_count(notes: Notes) -> None:
    def work() -> None:
        for _ in range(500):
            notes.note(log, "many", "Again")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notes.counts() == {"many": 4000}


def test_a_fork_amid_a_count_can_count(notes: Notes) -> None:
    with notes._lock:
        pid = os.fork()
        if pid == 0:
            notes.note(log, "child", "In the child")
            os._exit(0 if notes.counts() == {"child": 1} else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import current_app

from app.factory import create_app
from app.maintenance import beat as module
from app.maintenance.beat import BeatScheduler
from app.settings import Settings
from celery_agents import noted

KEYS = "agents:beat:"
PAUSE_S = 7.0
WELL = 1.0  # nothing is due before the lock is to be extended


@pytest.fixture
def make(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], BeatScheduler]]:
    """Makes beats of one Redis, which have nothing to send yet."""
    monkeypatch.setattr(module, "PAUSE_S", PAUSE_S)
    before = current_app._get_current_object()
    made: list[BeatScheduler] = []

    def make() -> BeatScheduler:
        app = create_app(Settings.model_validate({"redis_url": redis_url}))
        beat = BeatScheduler(app, lazy=False)
        made.append(beat)
        return beat

    yield make
    for beat in made:
        beat.close()
    before.set_default()


@pytest.fixture
def beat(make: Callable[[], BeatScheduler]) -> BeatScheduler:
    return make()


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def scheduled(server: redis.Redis) -> int:
    count: Any = server.zcard(f"{KEYS}:schedule")
    return int(count)


def test_it_takes_the_lock_and_goes_on(beat: BeatScheduler) -> None:
    assert beat.tick() == WELL
    assert beat.lock.owned()
    assert beat.tick() == WELL


def test_an_emptied_redis_gets_lock_and_schedule_again(
    beat: BeatScheduler, server: redis.Redis
) -> None:
    beat.tick()
    entries = scheduled(server)
    assert entries == 3
    server.flushdb()
    assert beat.tick() == PAUSE_S
    assert beat.tick() == WELL
    assert beat.lock.owned()
    assert scheduled(server) == entries


def test_one_of_two_works(make: Callable[[], BeatScheduler], server: redis.Redis) -> None:
    first, second = make(), make()
    assert first.tick() == WELL
    assert second.tick() == second.tick() == PAUSE_S
    server.flushdb()
    assert second.tick() == WELL  # it was quicker
    assert [first.tick(), first.tick()] == [PAUSE_S, PAUSE_S]
    assert not first.lock.owned()
    second.close()
    assert first.tick() == WELL


ERRORS = [
    redis.exceptions.ConnectionError("refused"),
    redis.exceptions.TimeoutError("late"),
    redis.exceptions.BusyLoadingError("loading"),
    redis.exceptions.ReadOnlyError("a replica"),
    redis.exceptions.OutOfMemoryError("full"),
    OSError("no route"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_a_redis_that_is_away_is_waited_for(
    beat: BeatScheduler, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    notes = noted.Notes()
    monkeypatch.setattr(module, "note", notes.note)
    beat.tick()

    def away(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(beat.lock, "extend", away)
        assert [beat.tick() for _ in range(3)] == [PAUSE_S] * 3
    assert notes.counts() == {"beat_away": 3}
    assert beat.tick() == WELL


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_it_starts_while_redis_is_away(
    make: Callable[[], BeatScheduler],
    monkeypatch: pytest.MonkeyPatch,
    server: redis.Redis,
    error: Exception,
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(BeatScheduler, "update_from_dict", away)
        beat = make()
        assert beat.tick() == PAUSE_S
    assert beat.tick() == WELL
    assert scheduled(server) == 3


def test_it_ends_though_redis_is_away(beat: BeatScheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    beat.tick()

    def away() -> None:
        raise redis.exceptions.ConnectionError("refused")

    with monkeypatch.context() as patched:
        patched.setattr(beat.lock, "owned", away)
        beat.close()

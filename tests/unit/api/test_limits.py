"""Limits of keys are counted for all who ask at once, with Redis and without it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from api.limits import KeyRates
from api.problems import ProblemError
from app.access.permissions import Principal, Role

ME = Principal(id="me", role=Role.USER)


class Memory:
    """A Redis that counts, or is away."""

    def __init__(self, *, away: bool) -> None:
        self.away, self.trips = away, 0
        self.counts: dict[str, int] = {}
        self._answers: list[int] = []

    def pipeline(self, *, transaction: bool) -> Memory:
        self._answers = []
        return self

    def incrby(self, name: str, number: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + number
        self._answers.append(self.counts[name])

    def expire(self, name: str, seconds: int) -> None:
        self._answers.append(1)

    async def execute(self) -> list[int]:
        self.trips += 1
        if self.away:
            raise RedisConnectionError("away")
        await asyncio.sleep(0)
        return self._answers


async def refused(rates: KeyRates, number: int, most: int | None, who: Principal = ME) -> int:
    taking = (rates.take(who, "runs", most) for _ in range(number))
    found = await asyncio.gather(*taking, return_exceptions=True)
    assert all(f is None or (isinstance(f, ProblemError) and f.status == 429) for f in found)
    return sum(f is not None for f in found)


@pytest.mark.parametrize("away", [False, True])
def test_a_second_has_so_many(monkeypatch: pytest.MonkeyPatch, *, away: bool) -> None:
    clock = SimpleNamespace(time=lambda: 5.0)
    monkeypatch.setattr("api.limits.time", clock)

    async def main() -> None:
        redis: Any = Memory(away=away)
        rates = KeyRates(redis)
        assert await refused(rates, 10, 4) == 6
        assert redis.trips == 1
        assert await refused(rates, 2, 4) == 2
        assert await refused(rates, 2, 4, Principal(id="you", role=Role.USER)) == 0
        assert await refused(rates, 1, 4) == 1
        clock.time = lambda: 6.0
        assert await refused(rates, 4, 4) == 0

    asyncio.run(main())


def test_no_limit_costs_nothing() -> None:
    redis: Any = Memory(away=False)
    assert asyncio.run(refused(KeyRates(redis), 5, None)) == 0
    assert redis.trips == 0

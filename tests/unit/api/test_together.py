"""What is asked for while a batch is under way goes together, and is never left behind."""

from __future__ import annotations

import asyncio

import pytest

from api.together import LoopTurn


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_none_is_left_and_no_more_are_under_way(at_once: int) -> None:
    served: list[int] = []
    under_way, most = 0, 0

    async def work(batch: list[int]) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001 * (batch[0] % 3))
        served.extend(batch)
        under_way -= 1

    async def main() -> None:
        turn = LoopTurn[int](work, lambda _, error: pytest.fail(str(error)), 7, at_once=at_once)
        for number in range(300):
            turn.add(number)
            for _ in range(number % 5):  # at each point of what a batch does
                await asyncio.sleep(0)
            if number % 40 == 0:
                await turn.close()
                assert sorted(served) == [*range(number + 1)]
        await turn.close()

    asyncio.run(main())
    assert sorted(served) == [*range(300)]
    assert most == at_once


def test_a_batch_that_fails_is_told_to_each_of_it() -> None:
    refused: list[tuple[int, str]] = []

    async def work(batch: list[int]) -> None:
        raise OSError("away")

    async def main() -> None:
        turn = LoopTurn[int](work, lambda n, error: refused.append((n, str(error))), 2)
        for number in range(3):
            turn.add(number)
        await turn.close()

    asyncio.run(main())
    assert refused == [(0, "away"), (1, "away"), (2, "away")]

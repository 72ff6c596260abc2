"""Maps over more inputs than a message holds: read in pages, each once, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from celery_agents import Client
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import (
    AgentFailedError,
    IdInUseError,
    InvalidPayloadError,
    PayloadTooLargeError,
    StepCancelledError,
)
from tests.integration.harness import FAST, SOON_S, Stack, eventually, lines
from tests.support.drawn import in_turn

#: Documents of the run whose worker is killed twice; 20,000 are the ones that users have. They are
#: so large that a few hundred fill several pages: each of them is a step.
DOCUMENTS, SIZE = int(os.environ.get("AGENTS_TEST_DOCUMENTS", "240")), 1_500
#: Inputs of the other maps, and the size of each: more than a page.
SOME, LARGE = 160, 1_800
pytestmark = [
    pytest.mark.databases("one"),
    pytest.mark.timeout(1_800),  # thousands of steps, on a busy machine, too
]


def states(stack: Stack, run_id: str) -> Counter[str]:
    return Counter(m.state for m in stack.members(run_id).values())


def texts(number: int, size: int = LARGE) -> Iterator[str]:
    return (f"{n} ".ljust(size, "x") for n in range(number))


def test_inputs_of_any_number(client: Client, stack: Stack) -> None:
    run = client.map("noop", texts(SOME), max_concurrent=40, tenant="many")
    found = run.get(timeout=120)
    assert (found.count, found.succeeded, found.results) == (SOME, SOME, None)
    assert [outcome.value for _, outcome in run.results()] == [*texts(SOME)]
    assert {m.round for m in stack.members(run.id).values()} == {1}
    told = run.progress()
    assert told is not None
    assert (told.total, told.succeeded) == (SOME, SOME)


def test_the_same_id_is_the_same_run(client: Client) -> None:
    run_id = str(uuid4())
    run = client.map("noop", texts(SOME), id=run_id)
    assert run.get(timeout=120).succeeded == SOME
    assert client.map("noop", texts(SOME), id=run_id).get(timeout=SOON_S).succeeded == SOME
    with pytest.raises(IdInUseError):
        client.map("noop", texts(SOME, LARGE + 1), id=run_id)
    with pytest.raises(IdInUseError):
        client.map("noop", texts(SOME + 1), id=run_id).get(timeout=SOON_S)


def test_what_a_client_that_died_has_left_runs_nowhere(client: Client, stack: Stack) -> None:
    def dies() -> Iterator[str]:
        yield from texts(SOME)
        raise KeyError("away")

    run_id = str(uuid4())
    with pytest.raises(KeyError):
        client.map("noop", dies(), id=run_id)
    assert stack.members(run_id) == {}
    assert client.map("noop", texts(SOME), id=run_id).get(timeout=120).succeeded == SOME


def test_a_coroutine_reads_what_comes(client: Client) -> None:
    async def come() -> AsyncIterator[str]:
        for text in texts(SOME):
            yield text

    async def main() -> Any:
        run = await client.map.aio("noop", come(), max_concurrent=100)
        again = await client.map.aio("noop", texts(3))
        return await run, await again

    found, few = asyncio.run(main())
    assert (found.succeeded, few.succeeded) == (SOME, 3)


def test_what_is_refused(client: Client) -> None:
    with pytest.raises(PayloadTooLargeError):
        client.map("noop", iter(["x" * 300_000]))
    with pytest.raises(InvalidPayloadError, match="wave"):
        client.map("noop", texts(SOME), wave=5)
    with pytest.raises(InvalidPayloadError, match=r"input\.1000"):
        client.map("noop", (object() if n == 1_000 else "x" * 300 for n in range(1_200)))  # type: ignore[misc]


def test_the_first_that_fails_stops_the_others(client: Client, stack: Stack) -> None:
    inputs = ("x" * LARGE if n != 135 else 1 for n in range(SOME))
    run = client.map("shout", inputs, max_concurrent=30, on_failure="stop")
    with pytest.raises(AgentFailedError, match=f"Input 135 of {SOME}"):
        run.get(timeout=120)
    eventually(lambda: all(m.finished_at for m in stack.members(run.id).values()))


def test_only_what_failed_is_asked_again(client: Client, stack: Stack) -> None:
    bad = {3, 99, 147}
    inputs = [n if n in bad else f"{n}".ljust(LARGE) for n in range(SOME)]
    first = client.map(["shout", "shout"], inputs, max_concurrent=50, assign="least_busy")
    assert first.get(timeout=120).failed == 3
    second = client.map.resume(first.id, agent=["noop", "shout", "noop"], max_concurrent=3)
    found = second.get(timeout=120)
    assert (found.count, found.succeeded, found.failed) == (SOME, SOME, 0)
    asked = {int(k): m.agent for k, m in stack.members(second.id).items() if m.round == 1}
    assert asked == dict.fromkeys(sorted(bad), "noop")
    values = [outcome.value for _, outcome in second.results()]
    assert len(values) == SOME
    assert [values[n] for n in sorted(bad)] == sorted(bad)
    third = client.map.resume(second.id)  # nothing is left
    assert third.get(timeout=120).succeeded == SOME
    assert [outcome.value for _, outcome in third.results()] == values


@pytest.fixture
def anywhere(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    """A stack of the test's own on each database, and no worker yet."""
    made = Stack(redis_url, database_url, tmp_path, FAST)
    yield made
    made.close()


def test_a_cancelled_one_stops(anywhere: Stack) -> None:
    anywhere.worker()
    order: JsonValue = {"seconds": 600, "value": "x" * LARGE}
    run = anywhere.client.map("slow", (order for _ in range(SOME)), max_concurrent=5)
    eventually(lambda: states(anywhere, run.id)["running"] > 0)
    run.cancel()
    with pytest.raises(StepCancelledError):
        run.get(timeout=SOON_S)
    eventually(lambda: set(states(anywhere, run.id)) <= {"cancelled", "skipped"})


def _has(counted: Path, number: int) -> bool:
    return len(lines(counted)) > number


@pytest.mark.databases("both")
@pytest.mark.parametrize("at_once", in_turn([50, None], 0, part=2), ids={50: "window"}.get)
def test_a_worker_killed_twice(anywhere: Stack, counted: Path, at_once: int | None) -> None:
    worker = anywhere.worker()
    path = str(counted)
    orders: Iterator[JsonValue] = ({"path": path, "value": text} for text in texts(DOCUMENTS, SIZE))
    run = anywhere.client.map("count", orders, max_concurrent=at_once)
    for done_by_then in (DOCUMENTS // 8, DOCUMENTS // 2):
        eventually(partial(_has, counted, done_by_then), timeout_s=600)
        worker.kill()
        worker.start()
    found = run.get(timeout=1_200)
    assert (found.count, found.succeeded) == (DOCUMENTS, DOCUMENTS)
    assert states(anywhere, run.id) == {"succeeded": DOCUMENTS}
    done = Counter(lines(counted))
    assert len(done) == DOCUMENTS
    # What ran as a worker died ran again, unless its end was written.
    assert sum(done.values()) - DOCUMENTS <= DOCUMENTS // 4
    assert [outcome.value for _, outcome in run.results()] == [*texts(DOCUMENTS, SIZE)]

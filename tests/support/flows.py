"""Flows for tests, pure or with real workers: each waits in another way."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from celery_agents import flow
from celery_agents.errors import AgentsError


@flow
async def one(run: Any, told: Any) -> Any:
    return await run.ask("echo", told)


@flow
async def in_a_row(run: Any, told: int) -> Any:
    found = 0
    for n in range(told):
        found += await run.ask("echo", n)
    return found


async def _two(run: Any, n: int) -> Any:
    return await run.ask("echo", n) + await run.ask("echo", 10 * n)


@flow
async def branches(run: Any, told: Any) -> Any:
    return await asyncio.gather(*(_two(run, n) for n in range(4)))


@flow
async def grouped(run: Any, told: Any) -> Any:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_two(run, n)) for n in range(3)]
    return [task.result() for task in tasks]


@flow
async def first_of_many(run: Any, told: Any) -> Any:
    tasks = {asyncio.create_task(_two(run, n)) for n in range(5)}
    found = []
    while tasks:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        found += [await run.ask("echo", task.result()) for task in done]
    return found


@flow
async def as_they_come(run: Any, told: Any) -> Any:
    tasks = [asyncio.create_task(_two(run, n)) for n in range(4)]
    return [await task for task in asyncio.as_completed(tasks)]


@flow
async def in_time(run: Any, told: Any) -> Any:
    found = []
    for n in range(3):
        try:
            found.append(await asyncio.wait_for(run.ask("echo", n), 5.0))
        except TimeoutError:
            found.append("late")
    return found


@flow
async def sleepy(run: Any, told: Any) -> Any:
    async def nap(n: int) -> Any:
        await asyncio.sleep(n)
        return await run.ask("echo", n), run.now().timestamp() > 0

    return await asyncio.gather(*(nap(n) for n in range(1, 4)))


@flow
async def producer(run: Any, told: Any) -> Any:
    queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=2)

    async def produce() -> None:
        for n in range(6):
            await queue.put(await run.ask("echo", n))
        await queue.put(None)

    found = []
    producing = asyncio.create_task(produce())
    while (one := await queue.get()) is not None:
        found.append(await run.ask("echo", one))
    await producing
    return found


@flow
async def drawing(run: Any, told: Any) -> Any:
    found = [str(run.uuid4())]
    while run.random.random() < 0.8:
        found.append(await run.ask("echo", run.random.randint(0, 9)))
    return found


@flow
async def signalled(run: Any, told: Any) -> Any:
    heard = []

    async def listen(name: str) -> None:
        heard.append((name, await run.signal(name)))

    await asyncio.gather(listen("a"), listen("b"), run.ask("echo", 1), listen("a"))
    run.emit("heard", "all", {"heard": heard})
    return heard


@flow
async def stubborn(run: Any, told: Any) -> Any:
    try:
        return await run.ask("broken", told)
    except AgentsError as error:
        return [error.kind, await run.ask("echo", "mended")]
    finally:
        await run.ask("echo", "cleaned")


@flow
async def tidy(run: Any, told: Any) -> Any:
    try:
        return await asyncio.gather(run.ask("echo", 1), run.signal("go"), asyncio.sleep(900))
    finally:
        await run.ask("echo", "cleaned")


@flow
async def counting(run: Any, told: dict[str, Any]) -> Any:
    """Takes two words a generation, and one that it is not asked for until the last."""
    found = list(told["found"])
    found += [await run.signal("word") for _ in range(2)]
    found.append(await run.ask("echo", len(found), key="count"))
    if len(found) < 9:
        run.again({"found": found})
    return [found, await run.signal("kept"), str(run.uuid4())]


EACH = (
    *(in_a_row, branches, grouped, first_of_many, as_they_come),
    *(in_time, sleepy, producer, drawing, signalled, stubborn),
)


#: Parts of a made-up flow, with the commands that each gives.
PARTS = {"ask": 1, "nap": 1, "fails": 1, "person": 1, "branches": 6, "in_time": 2}


def made_up(seed: int, commands: int) -> Any:
    """A flow of so many commands, made of parts in an order that the seed draws.

    What it gives follows from what was answered, whichever came first.
    """
    drawn, left = random.Random(seed), commands
    parts: list[str] = []
    while left:
        parts.append(drawn.choice([part for part, size in PARTS.items() if size <= left]))
        left -= PARTS[parts[-1]]

    @flow(name=f"made_up_{seed}")
    async def code(run: Any, told: Any) -> Any:
        found: list[Any] = []
        for number, part in enumerate(parts):
            found.append([part, await _part(run, part, number)])
        return found

    return code


async def _part(run: Any, part: str, number: int) -> Any:
    found: Any = None
    match part:
        case "ask":
            found = await run.ask("echo", number)
        case "nap":
            await asyncio.sleep(1.0)
        case "fails":
            try:
                await run.ask("broken", number)
            except AgentsError as error:
                found = error.kind
        case "person":
            found = (await run.approval(number)).choice
        case "branches":
            found = await asyncio.gather(*(_two(run, number + branch) for branch in range(3)))
        case "in_time":
            async with asyncio.timeout(10**6):
                found = await run.ask("echo", [number])
    return found

"""The workflows of DBOS: ``python -m bench.contestants.dbos.app`` runs what the queue has."""

import asyncio
import os

from dbos import DBOS, DBOSConfig

from bench.model_client import ask

QUEUE = "bench"
#: Seconds between two looks into the queue; its default of one second is for other loads.
LOOK_S = 0.005


def database_url() -> str:
    """The URL in the form that DBOS takes."""
    return os.environ["DATABASE_URL"].replace("+psycopg2", "")


@DBOS.workflow(name="noop")
async def noop(value: int) -> int:
    """Return the value."""
    return value


@DBOS.step()
async def asked(value: int) -> int:
    """Ask the model server, as a recorded step."""
    return await ask(value)


@DBOS.workflow(name="wait")
async def wait(value: int) -> int:
    """Run the one step that asks the model server."""
    answer: int = await asked(value)
    return answer


@DBOS.step()
async def add(value: int) -> int:
    """Add one, as a recorded step."""
    return value + 1


@DBOS.workflow(name="three")
async def three(value: int) -> int:
    """Run three steps that add one each."""
    total: int = await add(await add(await add(value)))
    return total


@DBOS.workflow(name="sequence")
async def sequence(steps: int) -> int:
    """Add one, so many times."""
    value = 0
    for _ in range(steps):
        value = await add(value)
    return value


async def main() -> None:
    """Run what the queue has until the process ends."""
    config: DBOSConfig = {"name": "bench", "system_database_url": database_url()}
    DBOS(config=config)
    DBOS.launch()
    await DBOS.register_queue_async(
        QUEUE,
        worker_concurrency=int(os.environ["BENCH_CONCURRENCY"]),
        polling_interval_sec=LOOK_S,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

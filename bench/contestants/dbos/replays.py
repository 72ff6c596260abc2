"""Replays of DBOS: ``python -m bench.contestants.dbos.replays BRANCHES REPLAYS``.

Workflows that gather branches of two steps, which take up to 20 ms each; each is forked from its
last step, so that all before it is replayed. Told as a line of JSON.
"""

import asyncio
import json
import random
import sys
import tempfile
from collections import Counter

from dbos import DBOS, DBOSConfig

MADE: list[int] = []


async def _takes_its_time(value: int) -> int:
    MADE.append(value)
    await asyncio.sleep(random.uniform(0.0, 0.02))
    return value + 1


@DBOS.step()
async def first(value: int) -> int:
    """Add one, as a recorded step."""
    return await _takes_its_time(value)


@DBOS.step()
async def second(value: int) -> int:
    """Add one more, as a recorded step of another name."""
    return await _takes_its_time(value)


async def _branch(number: int) -> int:
    total: int = await second(await first(number))
    return total


@DBOS.workflow(name="gathers")
async def gathers(branches: int) -> list[int]:
    """So many branches of two steps, side by side."""
    return await asyncio.gather(*map(_branch, range(branches)))


async def _replay(branches: int) -> str:
    whole = await DBOS.start_workflow_async(gathers, branches)
    right = await whole.get_result()
    MADE.clear()
    fork = await DBOS.fork_workflow_async(whole.get_workflow_id(), 2 * branches)
    try:
        return "same" if await fork.get_result() == right else "another result"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
        return type(error).__name__


async def main(branches: int, replays: int) -> None:
    """Replay so many workflows; tell what came of them."""
    ends, made = Counter[str](), 0
    for _ in range(replays):
        ends[await _replay(branches)] += 1
        made += len(MADE)
    other = replays - ends["same"]
    told = {"replays": replays, "other_or_failed": other, "steps_made_again": made, "ends": ends}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/dbos.db"
        config: DBOSConfig = {"name": "bench", "system_database_url": url, "log_level": "CRITICAL"}
        DBOS(config=config)
        DBOS.launch()
        asyncio.run(main(*map(int, sys.argv[1:])))
        DBOS.destroy()

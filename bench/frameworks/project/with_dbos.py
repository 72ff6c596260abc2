"""A process of DBOS on SQLite that runs what is asked for, and goes on with it as it starts.

What is asked for stands in a file, a line each; what has ended is written to another one.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from dbos import DBOS, SetWorkflowID

DBOS(
    config={
        "name": "team",
        "system_database_url": os.environ["DATABASE_URL"],
        "run_admin_server": False,
        "application_version": "1",
        "log_level": "ERROR",
    }
)


def serve(workflow: Any) -> None:
    """Serve until the process ends."""
    asyncio.run(_serve(workflow))


async def _serve(workflow: Any) -> None:
    # It goes on with what was under way, in the loop in which it is launched: clients are of one.
    DBOS.launch()
    folder = Path(os.environ["TEAM_FOLDER"])
    known: set[str] = set()
    running: set[asyncio.Task[None]] = set()
    print("serves", flush=True)
    while True:
        asked = folder / "asked"
        for id_ in asked.read_text().split() if asked.exists() else []:
            if id_ not in known:
                known.add(id_)
                running.add(asyncio.create_task(_run(workflow, id_, folder / "ended")))
        await asyncio.sleep(0.02)


async def _run(workflow: Any, id_: str, ended: Path) -> None:
    if await DBOS.get_workflow_status_async(id_) is None:
        with SetWorkflowID(id_):
            handle = await DBOS.start_workflow_async(workflow, id_)
    else:
        handle = await DBOS.retrieve_workflow_async(id_)
    try:
        told = {"id": id_, "value": await handle.get_result()}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the run's outcome
        told = {"id": id_, "error": f"{type(error).__name__}: {error}"}
    with ended.open("a") as file:
        file.write(json.dumps(told) + "\n")

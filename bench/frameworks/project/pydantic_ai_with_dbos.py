"""The team of pydantic-ai by its capability for DBOS."""

from dbos import DBOS
from of_pydantic_ai import team
from pydantic_ai.durable_exec.dbos import DBOSDurability
from with_dbos import serve

lead = team(DBOSDurability, DBOS.step(), {"dbos": {"child_workflow": {}}})


@DBOS.workflow()
async def run(topic: str) -> str:
    """One run of the lead."""
    return (await lead.run(topic)).output


if __name__ == "__main__":
    serve(run)

"""The team of OpenAI's SDK by dbos-openai-agents: who is asked has a runner of its own."""

from dbos import DBOS
from dbos_openai_agents import DBOSRunner
from of_openai_agents import expert, lead
from with_dbos import serve

from agents import function_tool

digs = expert(DBOS.step())


@function_tool
@DBOS.workflow()
async def delegate(input: str) -> str:  # noqa: A002 - as the SDK's own tool names it
    """Have an expert look something up."""
    return str((await DBOSRunner.run(digs, input)).final_output)


leads = lead(delegate)


@DBOS.workflow()
async def run(topic: str) -> str:
    """One run of the lead."""
    return str((await DBOSRunner.run(leads, topic)).final_output)


if __name__ == "__main__":
    serve(run)

"""A lead of pydantic-ai with one who digs; ``capability`` makes what keeps an agent's calls."""

from collections.abc import Callable
from typing import Any

import book
from pydantic_ai import Agent, FunctionToolset
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


def _model(name: str) -> OpenAIChatModel:
    provider = OpenAIProvider(base_url=f"{book.URL}/{name}/v1", api_key="sk-x")
    return OpenAIChatModel(name, provider=provider)


def team(
    capability: Callable[[], Any], tool: Callable[..., Any], delegates: dict[str, Any]
) -> Agent:
    """The lead; ``tool`` decorates a tool that acts, ``delegates`` is metadata of one that asks."""
    expert = Agent(_model("expert"), name="expert", capabilities=[capability()])

    @expert.tool_plain
    @tool
    async def look_up(about: str) -> str:
        """Look something up."""
        return await book.looked_up(about)

    asks = FunctionToolset(id="experts")

    @asks.tool_plain(metadata=delegates)
    async def delegate(input: str) -> str:  # noqa: A002 - as the other SDK names it
        """Have an expert look something up."""
        return (await expert.run(input)).output

    return Agent(_model("lead"), name="lead", capabilities=[capability()], toolsets=[asks])

"""A lead of OpenAI's SDK with one who digs."""

from collections.abc import Callable
from typing import Any

import book
from openai import AsyncOpenAI

from agents import Agent, OpenAIChatCompletionsModel, function_tool


def model(name: str) -> OpenAIChatCompletionsModel:
    """A model of the fake provider's."""
    client = AsyncOpenAI(base_url=f"{book.URL}/{name}/v1", api_key="sk-x", max_retries=0)
    return OpenAIChatCompletionsModel(name, openai_client=client)


def expert(tool: Callable[..., Any]) -> Agent:
    """The one who digs; ``tool`` decorates what acts."""

    @function_tool
    @tool
    async def look_up(about: str) -> str:
        """Look something up."""
        return await book.looked_up(about)

    return Agent(name="expert", model=model("expert"), tools=[look_up])


def lead(delegate: Any) -> Agent:
    """The lead, with the tool by which it has the other one dig."""
    return Agent(name="lead", model=model("lead"), tools=[delegate])

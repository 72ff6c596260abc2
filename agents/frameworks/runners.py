"""The runner of OpenAI's Agents SDK, for agents that the code of a step runs by itself."""

from __future__ import annotations

from collections.abc import Mapping

from agents.frameworks.backend import not_installed
from agents.models.config import Price

#: The name of the library, for errors.
SDK = "OpenAI's Agents SDK"


def durable_runner(*, price: Mapping[str, float] | None = None) -> None:
    """Have agents that a step's code runs by the ``Runner`` of OpenAI's Agents SDK be durable.

    Their requests, tools and sessions are journaled calls of the step, and so are those of agents
    that they hand over to or have as tools. Outside of steps they run as always. Call it once, in
    the module of the function.

    Args:
        price: as an agent's in agents.toml, for models whose price nobody knows.

    Raises:
        ConfigurationError: the SDK is not to be had.
    """
    known = None if price is None else Price.model_validate(price)
    try:
        from agents.frameworks.openai_agents_run import install
    except ImportError as error:
        raise not_installed(SDK, "openai-agents", error) from None
    install(known)

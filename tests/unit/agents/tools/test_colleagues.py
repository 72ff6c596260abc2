"""Other agents as the tools of one."""

from __future__ import annotations

import asyncio

import pytest

from agents.tools.colleagues import Colleagues, OtherAgents
from celery_agents.errors import ConfigurationError
from tests.support.memory_step import MemoryStep


def test_a_model_is_told_what_each_agent_is_for(step: MemoryStep) -> None:
    about = {"reviewer": "Reviews code."}
    known = Colleagues(
        ["reviewer", "mute"], ["reviewer"], OtherAgents(lambda name: about.get(name, ""))
    )
    told = {spec.name: spec.description for spec in asyncio.run(_listed(known, step))}
    assert told == {
        "ask_reviewer": "Asks reviewer, who knows nothing but its input. Reviews code.",
        "ask_mute": "Asks mute, who knows nothing but its input.",
        "transfer_to_reviewer": "Hands the conversation over to reviewer. Reviews code.",
    }
    assert known.agent_of("ask_reviewer") == known.agent_of("transfer_to_reviewer") == "reviewer"


async def _listed(known: Colleagues, step: MemoryStep) -> list:  # type: ignore[type-arg]
    return list(await known.specs(step))


@pytest.mark.parametrize(
    ("names", "why"),
    [(["a", "a"], "stands twice"), (["two words"], "no name for one"), (["x" * 70], "no name")],
)
def test_names_that_no_model_could_call(names: list[str], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Colleagues(names)
    with pytest.raises(ConfigurationError, match=why):
        Colleagues([], names)

"""Tools of a turn: those that its spec names, with the agents that it may ask."""

from __future__ import annotations

import pytest

from agents.tools import FunctionToolset, tool
from agents.tools.colleagues import Colleagues
from agents.tools.toolbox import Toolbox
from celery_agents import AgentSpec
from celery_agents.errors import ConfigurationError, InvalidPayloadError


@tool
async def look(text: str) -> str:
    """Looks."""
    return text


@tool
async def pay(text: str) -> str:
    """Pays."""
    return text


BOX = Toolbox(
    FunctionToolset("desk", look, pay),
    (),
    Colleagues(["critic"], ["billing"]),
    list_timeout_s=1,
    approve={"ask_*": "ask"},
)


@pytest.mark.parametrize(
    ("tools", "left"),
    [
        (None, ["look", "pay", "ask_critic", "transfer_to_billing"]),
        ((), []),
        (("look", "ask_critic"), ["look", "ask_critic"]),
        (("transfer_to_billing",), ["transfer_to_billing"]),
    ],
)
def test_those_that_are_named(tools: tuple[str, ...] | None, left: list[str]) -> None:
    assert list(BOX.narrowed(BOX.unlisted, tools, ()).tools) == left


def test_one_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidPayloadError, match="no 'loook'; did you mean 'look'"):
        BOX.narrowed(BOX.unlisted, ("loook",), ())


def test_members_are_asked_as_a_person_has_to_approve() -> None:
    poet = AgentSpec(base="writer", name="poet", description="Writes rhymes.")
    found = BOX.narrowed(BOX.unlisted, (), (poet,))
    (told,) = found.tools.values()
    assert (told.spec.name, told.policy.approve) == ("ask_poet", "ask")
    assert told.spec.description.endswith("Writes rhymes.")
    with pytest.raises(ConfigurationError, match="a tool 'ask_critic' already"):
        BOX.narrowed(BOX.unlisted, None, (AgentSpec(base="critic"),))

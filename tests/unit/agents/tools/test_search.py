"""Tools that are searched: which are found, and when they are offered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.tools import FunctionToolset
from agents.tools.base import Tool, tool
from agents.tools.calls import ToolCall, ToolSpec
from agents.tools.running import Running
from agents.tools.search import SEARCHED_ABOVE, KeptIndex, ToolIndex, words_of
from agents.tools.toolbox import Toolbox
from agents.tools.toolset import FixedToolset
from celery_agents.errors import ConfigurationError
from tests.support.memory_step import MemoryStep
from tests.support.toolsets import find


def named(name: str, words: str = "Acts.") -> Tool:
    def act(number: int) -> int:
        return number

    act.__doc__ = words
    return tool(name=name, effects="pure")(act)


MANY = [named(f"act_{n}") for n in range(SEARCHED_ABOVE)]
REFUND = named("refund_order", "Pays the money of an order back to its buyer.")
REFUNDS = named("list_refunds", "Lists what was paid back.")


def box(*tools: Tool, functions: tuple[Any, ...] = (find,)) -> Toolbox:
    own = FunctionToolset("functions", *functions)
    return Toolbox(own, [FixedToolset("shop", *tools)], list_timeout_s=1)


def used(found: Toolbox, step: MemoryStep, *calls: tuple[str, Any]) -> tuple[Running, list[Any]]:
    async def main() -> tuple[Running, list[Any]]:
        running = Running(await found.offered(step), step)
        told: list[Any] = []
        for number, (name, arguments) in enumerate(calls):
            call = ToolCall(id=str(number), name=name, arguments=arguments)
            results: Any = await running.answer([call])
            told.append(results[0])
        return running, told

    return asyncio.run(main())


def names(running: Running) -> list[str]:
    return [spec.name for spec in running.specs]


def test_a_few_are_shown(step: MemoryStep) -> None:
    running, _ = used(box(*MANY[: SEARCHED_ABOVE - 1]), step)
    assert len(running.specs) == SEARCHED_ABOVE
    assert "search_tools" not in names(running)


def test_of_many_an_agents_own_are_shown_and_the_rest_is_found(step: MemoryStep) -> None:
    found = box(*MANY, REFUND, REFUNDS)
    asked = {"query": "give a customer their money back for an order", "limit": 1}
    running, (told, called) = used(
        found, step, ("search_tools", asked), ("refund_order", {"number": 7})
    )
    assert told.value == [{"name": "refund_order", "description": REFUND.description}]
    assert names(running) == ["find", "search_tools", "refund_order"]
    assert called.value == 7
    assert step.calls == []  # nothing of it is journaled
    again, _ = used(found, step.again(), ("search_tools", asked))
    assert names(again) == names(running)  # a later attempt asks its model the same
    fresh, _ = used(found, step.again())
    assert names(fresh) == ["find", "search_tools"]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"query": ""}, {"query": "x", "limit": 0}, {"query": "x", "limit": 99}, "x", None],
)
def test_wrong_arguments_are_told(step: MemoryStep, arguments: Any) -> None:
    running, (told,) = used(box(*MANY), step, ("search_tools", arguments))
    assert told.failed
    assert "query" in str(told.value)
    assert names(running) == ["find", "search_tools"]


def test_words_that_fit_nothing_are_told(step: MemoryStep) -> None:
    _, (told,) = used(box(*MANY), step, ("search_tools", {"query": "zebra ☃"}))
    assert "No tool" in str(told.value)


def test_a_tool_that_has_its_name_is_in_its_way() -> None:
    with pytest.raises(ConfigurationError, match="search_tools"):
        _ = box(*MANY, named("search_tools")).unlisted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listRepos", ["list", "repo"]),
        ("list_repos/HTTPServers", ["list", "repo", "http", "serv"]),
        ("the companies of 2024", ["company", "2024"]),
        ("訂單 Änderung", ["訂單", "Ä".lower(), "nderung"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    found = list(words_of(text))
    assert found[:2] == words[:2]


def test_equals_stand_in_their_order_and_the_rarer_word_wins() -> None:
    made = [
        ToolSpec(name=name, description=words, parameters={})
        for name, words in [("y", "sends mail"), ("x", "sends mail"), ("c", "sends a fax")]
    ]
    index = ToolIndex(made)
    assert [s.name for s in index.find("mail", 5)] == ["y", "x"]
    assert index.find("send fax", 5)[0].name == "c"
    assert ToolIndex([]).find("mail", 5) == []


def test_an_index_that_is_kept_tells_nobody_of_anothers_parameters() -> None:
    """A toolset may list tools by the tenant, as with the names of its accounts."""
    kept = KeptIndex()

    def listed(tenant: str) -> list[ToolSpec]:
        account = {"type": "object", "properties": {"account": {"enum": [f"{tenant}'s"]}}}
        return [ToolSpec(name="pay", description="Pays money.", parameters=account)]

    for tenant in ("acme", "other", "acme"):
        assert kept.of(listed(tenant)).find("money", 5) == listed(tenant)
    assert kept.of(listed("acme")) is kept.of(listed("acme"))

"""Changes of a flow under way: each that matters is found at its line, a harmless one is none."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import pytest

from agents.flows.history import Difference, Line
from agents.flows.pattern import begun, dropped
from celery_agents.errors import AgentsError
from tests.unit.agents.flows.test_instance import STARTED, Code, Played

ORDER = """async def order(run, told):
    item = await run.ask("find", told, key="item")
    price, stock = await asyncio.gather(run.ask("price", item), run.ask("stock", item))
    await asyncio.sleep(5)
    try:
        await run.ask("broken", price)
    except AgentsError:
        run.emit("orders", "refused", {"stock": stock})
    paid = await run.signal("paid")
    await asyncio.wait_for(run.start("ship", paid, key="ship"), 60)
    return await run.ask("thank", str(run.uuid4()))
"""

#: What is replaced, by what, and the line of the new code that is to be told.
MUTATIONS = [
    ('"find", told', '"seek", told', 2),
    ('"find", told', '"find", [told]', 2),
    ('key="item"', 'key="items"', 2),
    ('key="item"', 'key="item", timeout_s=3.0', 2),
    ('run.ask("find"', 'run.start("find"', 2),
    ('await run.ask("find", told, key="item")', "told", 3),
    ('run.ask("price", item), run.ask("stock", item)', 'run.ask("price", item), two(item)', 3),
    ('run.ask("price", item), run.ask("stock", item)', "*(run.ask(n, item) for n in NAMES)", 3),
    ('"stock", item', '"store", item', 3),
    ('"price", item', '"price", [item]', 3),
    ("sleep(5)", "sleep(6)", 4),
    ("await asyncio.sleep(5)", "pass", 6),
    ('"broken", price', '"broken", [price]', 6),
    ('"broken", price', '"broken", price, timeout_s=3.0', 6),
    ('{"stock": stock}', '{"stock": 0}', 8),
    ('"refused"', '"denied"', 8),
    ('run.emit("orders", "refused", {"stock": stock})', "pass", 9),
    ('run.signal("paid")', 'run.signal("sold")', 9),
    ('key="ship"', 'key="sent"', 10),
    ('"ship", paid', '"ship", None', 10),
    ('run.start("ship"', 'run.ask("ship"', 10),
    ("str(run.uuid4())", "str(run.random.random())", 11),
]

HELPER = """async def found(run, told):
    return await run.ask("find", told, key="item")

"""
REFACTORINGS = {
    "a local name": [("paid =", "money ="), ('"ship", paid', '"ship", money')],
    "asked before, awaited later": [
        ("await asyncio.gather(", "[await one for one in ["),
        ('"stock", item))', '"stock", item)]]'),
    ],
    "a helper": [
        ('await run.ask("find", told, key="item")', "await found(run, told)"),
        ("async def order", HELPER + "async def order"),
    ],
    "comments": [("    await asyncio.sleep", "    # a while\n\n    await asyncio.sleep")],
    "a dict": [('{"stock": stock}', "dict(stock=stock)")],
    "a sum": [("sleep(5)", "sleep(2 + 3)")],
    "what comes later": [
        ("return await", "thanked = await"),
        ("uuid4()))\n", 'uuid4()))\n    return [thanked, await run.ask("more")]\n'),
    ],
    "other errors too": [("except AgentsError", "except (AgentsError, KeyError)")],
    "a text": [("str(run.uuid4())", 'f"{run.uuid4()}"')],
    "names of arguments": [('"price", item', 'agent="price", input=item')],
}


def _code(text: str) -> Code:
    names: dict[str, Any] = {"__name__": "orders", "asyncio": asyncio, "AgentsError": AgentsError}
    names |= {"NAMES": ("stock", "price"), "two": _two}
    exec(compile(text, "orders.py", "exec"), names)
    made: Code = names["order"]
    return made


async def _two(item: Any) -> Any:
    return item


@cache
def _history() -> tuple[Line, ...]:
    """What the flow was told until its last question is open."""
    played = Played(_code(ORDER), 7)
    played.wake([STARTED])
    for _ in range(5):
        played.at += 5
        played.wake([played._end(key) for key in [*played.open]])
    played.wake([Line("signal", "paid", played.at, 3)])
    played.wake([played._end("ship")])
    assert [member.agent for member in played.open.values()] == ["thank"]
    return tuple(played.history)


def _difference(text: str) -> Difference | None:
    instance = begun(_code(text), "run-1", 7, _history())
    dropped(instance)
    return instance.difference


def test_the_code_itself_differs_in_nothing() -> None:
    assert _difference(ORDER) is None


@pytest.mark.parametrize(("old", "new", "line"), MUTATIONS)
def test_each_mutation_is_found_at_its_line(old: str, new: str, line: int) -> None:
    assert ORDER.count(old) == 1
    found = _difference(ORDER.replace(old, new))
    assert found is not None
    assert found.place == f"orders.py:{line}"


@pytest.mark.parametrize("changes", REFACTORINGS.values(), ids=REFACTORINGS)
def test_a_refactoring_differs_in_nothing(changes: list[tuple[str, str]]) -> None:
    text = ORDER
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    assert _difference(text) is None

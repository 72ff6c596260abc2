"""Who can answer a turn: not those who lack something, nor those for whom it is too long."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest

from agents.base import Turn
from agents.catalog.registry import Registered, Registry
from agents.governance.routing import Asking, Experience, RoutePolicy, ServedTurn
from agents.needs import Weight
from app.admission.routing.placing import Way, needed, placed
from celery_agents.contracts.conversation import Attachment, ChatMessage, ToolUse
from celery_agents.errors import ContextExceededError, InvalidPayloadError
from tests.support.entries import agent_of

TABLE = {"kind": "openai", "model": "m"}
IMAGE = Attachment(kind="image", media_type="image/png", data="QUJD")
FILE = Attachment(kind="file", media_type="text/plain", data="QUJD")
CALL = ToolUse(id="1", name="find", arguments={})
CALLS = (
    ChatMessage(role="assistant", tool_calls=(CALL,)),
    ChatMessage(role="tool", content="none", call_id="1"),
)


class Model:
    """A model that weighs each turn so."""

    def __init__(self, weight: Weight) -> None:
        self.weight = weight
        self.weighed = 0

    async def weigh(self, _turn: Turn, *, priced: bool) -> Weight:
        self.weighed += 1
        return self.weight if priced else self.weight._replace(nano_usd=None)


class Lessons:
    """Nothing was learned, and nobody asks for it."""

    async def known(self, router: Registered) -> Experience:
        raise AssertionError(router)

    def add(self, router: Registered, served: ServedTurn) -> None:
        raise AssertionError(router, served)


def _self(model: Model) -> Model:
    return model


class Desk:
    def __init__(self, **models: Weight) -> None:
        self.registry = Registry(cast("Any", None))
        self.models = {name: Model(weight) for name, weight in models.items()}
        for name, model in self.models.items():
            self.registry._add(agent_of(name, partial(_self, model), None, TABLE))

    def lacks(self, name: str, *what: Any) -> None:
        self.registry.get(name).lacks = frozenset(what)

    def way(self, turn: Turn | None = None, by: Any = "order", **about: Any) -> Way:
        router = agent_of("any", lambda: None, None, None)
        router = replace(router, among=tuple(self.models), route=RoutePolicy(by))
        asking = Asking("s", "r")
        found = placed(self.registry, Lessons(), router, turn or Turn(input="?"), asking, **about)
        return asyncio.run(found)

    def names(self, turn: Turn | None = None, **about: Any) -> tuple[str, ...]:
        return self.way(turn, **about).order.names


def said(*parts: Any) -> Turn:
    return Turn(input="?", messages=(ChatMessage(role="user", content=parts),))


@pytest.mark.parametrize(
    ("turn", "streamed", "what"),
    [
        (Turn(input="?"), False, set()),
        (Turn(input="?"), True, {"stream"}),
        (Turn(input="?", choices=("a", "b")), False, {"schema"}),
        (Turn(input="?", answer_schema={"type": "object"}), False, {"schema"}),
        (said(IMAGE), False, {"messages", "images"}),
        (said(FILE, IMAGE), False, {"messages", "images", "files"}),
        (Turn(input="?", messages=CALLS), False, {"messages", "tools"}),
    ],
)
def test_what_a_turn_needs(turn: Turn, streamed: bool, what: set[str]) -> None:
    assert needed(turn, streamed=streamed) == what
    assert needed(turn, streamed=streamed, talks=True) == {*what, "messages"}


def test_who_lacks_it_is_not_asked() -> None:
    desk = Desk(a=Weight(), b=Weight())
    desk.lacks("a", "images")
    assert desk.names() == ("a", "b")
    assert desk.names(said(IMAGE)) == ("b",)
    desk.lacks("b", "images", "stream")
    with pytest.raises(InvalidPayloadError, match=r"any has nobody .*\(images, messages\): a, b\."):
        desk.names(said(IMAGE))
    assert desk.names(streamed=True) == ("a",)
    desk.lacks("a", "stream")
    assert desk.names(streamed=True) == ("a", "b")  # it is a wish
    desk.lacks("a", "messages")
    assert desk.names(talks=True) == ("b",)  # of a session, whose first exchange it may be


def test_those_for_whom_it_is_too_long_are_left_out() -> None:
    desk = Desk(small=Weight(False, 8), large=Weight(True, 900), unknown=Weight())
    assert desk.names() == ("large", "unknown")
    for model in desk.models.values():
        model.weight = model.weight._replace(fits=False)
    assert desk.names() == ("large",)  # it says so itself


def test_by_cost_each_agent_is_weighed_once() -> None:
    desk = Desk(a=Weight(nano_usd=30), b=Weight(nano_usd=10), c=Weight())
    assert desk.names(by="cost") == ("b", "a", "c")
    assert {model.weighed for model in desk.models.values()} == {1}


def test_one_alone_is_not_weighed() -> None:
    desk = Desk(a=Weight())
    assert desk.names(by="cost") == ("a",)
    assert desk.models["a"].weighed == 0


def test_a_way_knows_who_takes_more() -> None:
    way = Desk(a=Weight(True, 100), b=Weight(True, 900), c=Weight()).way()
    exceeded = ContextExceededError("too long", {"context_tokens": 100})
    assert way.after_exceeding(exceeded).order.names == ("b", "c")


def test_the_unhealthy_come_last_unless_all_are() -> None:
    desk = Desk(a=Weight(), b=Weight(), c=Weight())
    way = desk.way()
    assert way.well(frozenset({"agent:a"})).order.names == ("b", "c", "a")
    assert way.well(frozenset({"agent:a", "agent:b", "agent:c"})) is way
    loaded = desk.way(by="load")
    assert loaded.well(frozenset({"agent:a"})).order.names == ("b", "c")

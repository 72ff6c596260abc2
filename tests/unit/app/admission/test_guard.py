from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agents.base import Answer, Turn
from app.admission import chain
from app.admission.guard import Asked, Guarded, Next, Reply, WhenOpen, compose


def asked(name: str = "a") -> Asked:
    return Asked(cast("Any", name), Turn(input=1), cast("Any", SimpleNamespace()))


class Noting:
    """A guard that notes when it is passed."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes

    async def __call__(self, asked: Asked, go_on: Next) -> Reply:
        self.notes.append(f"{self.name} before")
        try:
            return await go_on(asked)
        finally:
            self.notes.append(f"{self.name} after")


async def say(asked: Asked) -> Reply:
    return Answer(value=str(asked.agent))


def run(*guards: Any) -> Any:
    reply = asyncio.run(cast("Any", compose(guards, say)(asked())))
    return reply.value


def test_the_first_one_is_outermost() -> None:
    notes: list[str] = []
    assert run(Noting("1", notes), Noting("2", notes)) == "a"
    assert notes == ["1 before", "2 before", "2 after", "1 after"]
    assert run() == "a"


class _Registry(list[Any]):
    def __init__(self, guards: Any, agents: Sequence[Any] = ()) -> None:
        super().__init__(agents)
        self.guards = guards


@pytest.fixture
def innermost(monkeypatch: pytest.MonkeyPatch) -> Callable[[_Registry], str]:
    """The last guard that a registry's chain has, by its name."""
    monkeypatch.setattr(chain, "Guarded", lambda guards, _last: type(guards[-1]).__name__)
    return lambda registry: str(chain.chain(*cast("Any", (registry, None, None))))


def test_without_guards_of_texts_there_is_none_in_the_chain(
    innermost: Callable[[_Registry], str],
) -> None:
    registries = [_Registry(SimpleNamespace(policies=p)) for p in ({}, {"privacy": object()})]
    assert [*map(innermost, registries)] == ["AdmissionGuard", "ScreenGuard"]


def test_without_windows_there_is_no_guard_of_them(innermost: Callable[[_Registry], str]) -> None:
    none = SimpleNamespace(policies={})
    registries = [_Registry(none, [SimpleNamespace(window=w)]) for w in (None, object())]
    assert [*map(innermost, registries)] == ["AdmissionGuard", "WindowGuard"]


def test_one_may_answer_refuse_or_ask_somebody_else() -> None:
    async def cached(_asked: Asked, _go_on: Next) -> Reply:
        return Answer(value="known")

    async def other(asked: Asked, go_on: Next) -> Reply:
        return await go_on(replace(asked, agent=cast("Any", "b")))

    async def refuse(_asked: Asked, _go_on: Next) -> Reply:
        raise PermissionError("full")

    notes: list[str] = []
    assert run(cached, Noting("never", notes)) == "known"
    assert notes == []
    assert run(other) == "b"
    with pytest.raises(PermissionError, match="full"):
        run(Noting("1", notes), refuse)
    assert notes == ["1 before", "1 after"]


class Choosy(Noting):
    """A guard of one agent alone, which counts how often it is asked about them."""

    def __init__(self, of: str, notes: list[str]) -> None:
        super().__init__(of, notes)
        self.looks = 0

    def concerns(self, agent: Any) -> bool:
        """Return whether it is the one."""
        self.looks += 1
        return bool(agent.name == self.name)


def turn(agent: Any, when_open: WhenOpen = "wait", allowance: object = None) -> Asked:
    step = SimpleNamespace(allowance=allowance)
    return Asked(agent, Turn(input=1), cast("Any", step), when_open)


def test_an_agent_that_concerns_no_guard_is_asked_without_them() -> None:
    notes: list[str] = []
    choosy = Choosy("watched", notes)
    ask = Guarded(cast("Any", [choosy]), say)
    plain, watched = SimpleNamespace(name="plain"), SimpleNamespace(name="watched")
    for _ in range(3):
        asyncio.run(cast("Any", ask(turn(plain))))
    assert (notes, choosy.looks) == ([], 1)
    asyncio.run(cast("Any", ask(turn(watched))))
    assert notes == ["watched before", "watched after"]


def test_a_turn_that_wants_something_of_guards_has_them() -> None:
    notes: list[str] = []
    ask = Guarded(cast("Any", [Choosy("another", notes)]), say)
    plain = SimpleNamespace(name="plain")
    for wants in ({"when_open": "fail"}, {"when_open": ("busy",)}, {"allowance": object()}):
        notes.clear()
        asyncio.run(cast("Any", ask(turn(plain, **cast("Any", wants)))))
        assert notes == ["another before", "another after"]


def test_an_agent_that_is_made_anew_is_looked_at_anew() -> None:
    notes: list[str] = []
    choosy = Choosy("watched", notes)
    ask = Guarded(cast("Any", [choosy]), say)
    for _ in range(2):
        asyncio.run(cast("Any", ask(turn(SimpleNamespace(name="plain")))))
    assert choosy.looks == 2

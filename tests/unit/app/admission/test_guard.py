from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agents.base import Answer, Turn
from app.admission import chain
from app.admission.guard import Asked, Next, Reply, compose


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
    monkeypatch.setattr(chain, "compose", lambda guards, _last: type(guards[-1]).__name__)
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

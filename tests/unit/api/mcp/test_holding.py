"""Calls that are held."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from api.mcp import holding
from api.mcp.holding import HeldCalls, end_of
from api.problems import ProblemError


def test_a_key_holds_so_many_and_no_others_count() -> None:
    held = HeldCalls(2)
    with held.place("a"), held.place("a"), held.place("b"):
        with pytest.raises(ProblemError) as one_too_many:
            held.place("a").__enter__()
        assert one_too_many.value.status == 429
    with held.place("a"), held.place("a"):
        pass


def test_who_waits_is_looked_at_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that holds no longer ends it, and what was waited for is let go."""
    monkeypatch.setattr(holding, "LOOK_S", 0.01)
    monkeypatch.setattr(holding, "PROGRESS_S", 0.0)
    let_go: list[bool] = []
    heard: list[float] = []
    looks = 0

    async def never(*_: Any, **__: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            let_go.append(True)

    async def refusal() -> ProblemError | None:
        nonlocal looks
        looks += 1
        return ProblemError(401, "unauthorized", "It holds no longer.") if looks > 3 else None

    async def tell(seconds: float) -> None:
        heard.append(seconds)

    monkeypatch.setattr(holding, "end_within", never)
    caller: Any = SimpleNamespace(services=None, who=None, refusal=refusal)
    with pytest.raises(ProblemError, match="holds no longer"):
        asyncio.run(end_of(caller, "r", look=False, tell=tell))
    assert let_go == [True]
    assert len(heard) == 3


def test_a_call_whose_tool_asks_is_let_go_though_a_cancellation_is_swallowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cancelled: list[bool] = []

    async def deaf(*_: Any, **__: Any) -> None:
        while len(cancelled) < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
        raise asyncio.CancelledError

    async def nothing(*_: Any) -> None:
        return None

    looks = iter([False, False, True])

    async def asks() -> bool:
        return next(looks)

    monkeypatch.setattr(holding, "end_within", deaf)
    caller: Any = SimpleNamespace(services=None, who=None, refusal=nothing)
    assert asyncio.run(end_of(caller, "r", look=False, tell=nothing, asks=asks)) is None
    assert len(cancelled) == 2

"""Calls whose time is over while their tool still asks."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from api.mcp import held
from api.mcp.calls import CalledRun
from api.mcp.held import HeldCall
from api.mcp.states import CORE


@pytest.mark.parametrize(("version", "told"), [(CORE, None), ("2026-07-28", "its questions")])
def test_an_older_client_is_given_no_result_that_it_does_not_know(
    monkeypatch: pytest.MonkeyPatch, version: str, told: str | None
) -> None:
    """It has been asked on its stream; the result says that the run goes on."""

    async def over(*_: Any, **__: Any) -> None:
        return None

    async def asked(*_: Any) -> str:
        return "its questions"

    waiting = SimpleNamespace(open=[{"key": "k"}], look=over, close=lambda: None)
    monkeypatch.setattr(held, "end_of", over)
    monkeypatch.setattr(held, "Questions", lambda *_: waiting)
    monkeypatch.setattr(held, "asked", asked)
    ctx = SimpleNamespace(method="tools/call", protocol_version=version, params={})
    under_way = SimpleNamespace(leaving=False)
    caller: Any = SimpleNamespace(services=SimpleNamespace(under_way=under_way))
    call = HeldCall(ctx, caller, SimpleNamespace(), [])
    call._run = CalledRun("r", "t", replayed=False, of_tool=True)
    assert asyncio.run(call.end()) == told
